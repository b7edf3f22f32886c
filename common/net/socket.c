/* socket.c - ZeroMQ under libuv; the rules are told in the header. */
#include "common/net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>
#include <zmq.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/half_open.h"
#include "common/net/handshake.h"
#include "common/net/inflow.h"

enum { HANDLES = 5, INFLOW_MS = 100, LIBZMQ_NAME_BYTES = 5 };

struct socket_context {
    void *zmq;
};

struct socket {
    void *zmq;
    enum socket_type type;
    bool closed, keyed, watching, local;
    struct handshake_watch *watch;
    struct inflow *inflow;       /* NULL: no cap */
    struct half_open *half_open; /* NULL: no cap */
    int descriptor_max;
    enum handshake failed; /* the last one without a verdict, until its connection is closed */
    struct socket_refusals refusals;
    const char *sender; /* during receive */
    int sender_fd;      /* during receive */
    uv_poll_t poll, watch_poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t inflow_timer;
    int handles_open;
    socket_receive receive;
    void *ctx;
};

enum err socket_context_open(struct socket_context **out, struct errbuf *e)
{
    int major;
    int minor;
    int patch;
    zmq_version(&major, &minor, &patch);
    if (ZMQ_MAKE_VERSION(major, minor, patch) < ZMQ_MAKE_VERSION(4, 3, 3)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "libzmq %d.%d.%d has known remote faults; 4.3.3 or "
                       "later is needed",
                       major, minor, patch);
    }
    struct socket_context *c = mem_calloc(1, sizeof *c);
    if (!c) {
        return err_set(e, ERR_NOMEM, "no memory for a socket context");
    }
    c->zmq = zmq_ctx_new();
    if (!c->zmq) {
        mem_free(c);
        return err_set(e, ERR_NOMEM, "zmq_ctx_new: %s", zmq_strerror(errno));
    }
    (void)zmq_ctx_set(c->zmq, ZMQ_BLOCKY, 0);
    *out = c;
    return OK;
}

void socket_context_close(struct socket_context **context)
{
    struct socket_context *c = *context;
    *context = NULL;
    if (!c) {
        return;
    }
    (void)zmq_ctx_shutdown(c->zmq);
    while (zmq_ctx_term(c->zmq) != 0 && errno == EINTR) {
    }
    mem_free(c);
}

static bool readable(struct socket *s)
{
    int events = 0;
    size_t bytes = sizeof events;
    return !s->closed && zmq_getsockopt(s->zmq, ZMQ_EVENTS, &events, &bytes) == 0 &&
           (events & ZMQ_POLLIN) != 0;
}

static void free_message(void *hint)
{
    zmq_msg_t *message = hint;
    (void)zmq_msg_close(message);
    mem_free(message);
}

/* A payload frame becomes a blob that keeps the ZeroMQ message alive. */
static struct blob *wrap_message(zmq_msg_t *message)
{
    zmq_msg_t *kept = mem_calloc(1, sizeof *kept);
    if (!kept) {
        return NULL;
    }
    (void)zmq_msg_init(kept);
    (void)zmq_msg_move(kept, message);
    struct blob *blob = blob_wrap(zmq_msg_data(kept), zmq_msg_size(kept), free_message, kept);
    if (!blob) {
        free_message(kept);
    }
    return blob;
}

struct incoming {
    zmq_msg_t frames[3]; /* route (ROUTER only), header, payload */
    int count;           /* frames the peer sent, those beyond three too */
    uint64_t bytes;
};

/* False when nothing waits. All frames of one message are taken. */
static bool receive_frames(struct socket *s, struct incoming *in)
{
    in->count = 0;
    in->bytes = 0;
    for (int more = 1; more;) {
        zmq_msg_t extra;
        zmq_msg_t *frame = in->count < 3 ? &in->frames[in->count] : &extra;
        (void)zmq_msg_init(frame);
        int n;
        do {
            n = zmq_msg_recv(frame, s->zmq, ZMQ_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        if (n < 0) {
            (void)zmq_msg_close(frame);
            return in->count > 0;
        }
        more = zmq_msg_more(frame);
        in->bytes += zmq_msg_size(frame);
        if (frame == &extra) {
            (void)zmq_msg_close(frame);
        }
        in->count++;
    }
    return true;
}

/* A peer may name itself with up to 255 bytes, and noise can look like such a name (ZMTP 1); the
 * peers that this program knows leave the name to libzmq: a zero and a number that grows from one
 * connection to the next. */
static bool read_route(struct incoming *in, struct socket_route *route, uint32_t *number)
{
    const uint8_t *bytes = zmq_msg_data(&in->frames[0]);
    if (zmq_msg_size(&in->frames[0]) != LIBZMQ_NAME_BYTES || bytes[0] != 0) {
        return false;
    }
    route->length = LIBZMQ_NAME_BYTES;
    memcpy(route->bytes, bytes, LIBZMQ_NAME_BYTES);
    *number = (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 |
              (uint32_t)bytes[4];
    return true;
}

/* False: the message is to be dropped unseen. */
static bool count_in(struct socket *s, const struct incoming *in, uint32_t number, int parts)
{
    if (!s->inflow) {
        return true;
    }
    enum inflow_verdict v =
        inflow_delivered(s->inflow, s->sender_fd, number, (uint64_t)parts, in->bytes);
    s->refusals.flooded += v == INFLOW_FLOOD;
    if (s->half_open) {
        (void)half_open_over(s->half_open, s->sender_fd, clock_now_ms());
    }
    return v == INFLOW_GOOD;
}

static void deliver(struct socket *s, struct incoming *in)
{
    int head = s->type == SOCKET_ROUTER ? 1 : 0;
    int kept = in->count < 3 ? in->count : 3;
    uint32_t number = 0;
    struct socket_route route = {0};
    bool known = head == 0 || read_route(in, &route, &number);
    int parts = in->count - head;
    s->sender_fd = parts > 0 ? zmq_msg_get(&in->frames[head], ZMQ_SRCFD) : -1;
    known = count_in(s, in, number, parts) && known;
    bool good = known && (parts == 1 || parts == 2);
    struct blob *payload = good && parts == 2 ? wrap_message(&in->frames[head + 1]) : NULL;
    s->sender = parts > 0 ? zmq_msg_gets(&in->frames[head], "User-Id") : NULL;
    if (good && (parts == 1 || payload)) {
        s->receive(s->ctx, head ? &route : NULL, zmq_msg_data(&in->frames[head]),
                   zmq_msg_size(&in->frames[head]), &payload);
    } else if (known && !good) {
        s->receive(s->ctx, head ? &route : NULL, NULL, 0, &payload);
    }
    s->sender = NULL;
    blob_free(&payload);
    for (int i = 0; i < kept; i++) {
        (void)zmq_msg_close(&in->frames[i]);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    /* Only wakes the loop: on_check reads the events. */
    (void)poll;
    (void)status;
    (void)events;
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* running, it keeps the poll from blocking */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct socket *s = prepare->data;
    if (readable(s)) {
        (void)uv_idle_start(&s->idle, on_idle);
    }
}

/* A hash of where the connection comes from, of IPv6 the network; 0: a unix socket. */
static uint64_t address_of(int fd)
{
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &bytes) != 0) {
        return 0;
    }
    if (peer.ss_family == AF_INET) {
        return 1u + (uint64_t)((struct sockaddr_in *)&peer)->sin_addr.s_addr;
    }
    const uint8_t *six = ((struct sockaddr_in6 *)&peer)->sin6_addr.s6_addr;
    return peer.ss_family == AF_INET6 ? 1u + bytes_get_u64(six) : 0;
}

static void on_accepted(struct socket *s, int fd)
{
    inflow_accepted(s->inflow, fd);
    if (!s->half_open) {
        return;
    }
    int victim = half_open_accepted(s->half_open, fd, address_of(fd), clock_now_ms());
    if (fd > s->descriptor_max) {
        half_open_evict(s->half_open, fd);
        inflow_hang_up(s->inflow, fd);
        s->refusals.crowded++;
    }
    if (victim >= 0 && (victim != fd || fd <= s->descriptor_max)) {
        inflow_hang_up(s->inflow, victim);
        s->refusals.crowded++;
    }
}

/* libzmq tells a failure without saying of which connection, and right after it that this one is
 * closed. Nobody is kept out of a unix socket: its handshakes only take too long, on either side,
 * where the machine is busy. */
static void on_closed(struct socket *s, int fd)
{
    enum half_open_end end =
        s->half_open ? half_open_over(s->half_open, fd, clock_now_ms()) : HALF_OPEN_UNKNOWN;
    bool left = s->local || (s->failed == HANDSHAKE_LEFT && end == HALF_OPEN_WAITING);
    if (s->failed != HANDSHAKE_NONE && end != HALF_OPEN_EVICTED) { /* that one is counted */
        s->refusals.left += left;
        s->refusals.broken += !left;
    }
    s->failed = HANDSHAKE_NONE;
}

static void count_handshakes(struct socket *s)
{
    enum handshake h;
    int fd = -1;
    while (s->watch && (h = handshake_next(s->watch, &fd)) != HANDSHAKE_NONE) {
        bool open = h == HANDSHAKE_LEFT || h == HANDSHAKE_SLOW;
        if (s->inflow && h == HANDSHAKE_BEGUN) {
            on_accepted(s, fd);
        } else if (h == HANDSHAKE_CLOSED) {
            on_closed(s, fd);
        } else if (open && s->type == SOCKET_ROUTER) {
            s->failed = h;
        }
        s->refusals.denied += h == HANDSHAKE_DENIED;
        s->refusals.broken += h == HANDSHAKE_BROKEN || (open && s->type == SOCKET_DEALER);
    }
}

static void on_inflow(uv_timer_t *timer)
{
    struct socket *s = timer->data;
    count_handshakes(s);
    s->refusals.flooded += inflow_check(s->inflow, clock_now_ms());
}

static void on_check(uv_check_t *check)
{
    struct socket *s = check->data;
    (void)uv_idle_stop(&s->idle);
    count_handshakes(s);
    for (int i = 0; i < SOCKET_TURN_MESSAGES && readable(s); i++) {
        struct incoming in;
        if (!receive_frames(s, &in)) {
            break;
        }
        deliver(s, &in);
    }
}

static enum err open_handles(struct socket *s, struct uv_loop_s *loop, struct errbuf *e)
{
    uv_os_sock_t fd;
    size_t bytes = sizeof fd;
    if (zmq_getsockopt(s->zmq, ZMQ_FD, &fd, &bytes) != 0) {
        return err_set(e, ERR_IO, "ZMQ_FD: %s", zmq_strerror(errno));
    }
    int code = uv_poll_init(loop, &s->poll, fd);
    if (code != 0) {
        return err_set(e, ERR_IO, "uv_poll_init: %s", uv_strerror(code));
    }
    (void)uv_prepare_init(loop, &s->prepare);
    (void)uv_check_init(loop, &s->check);
    (void)uv_idle_init(loop, &s->idle);
    (void)uv_timer_init(loop, &s->inflow_timer);
    s->poll.data = s->watch_poll.data = s->prepare.data = s->check.data = s->idle.data =
        s->inflow_timer.data = s;
    s->handles_open = HANDLES;
    code = uv_poll_init(loop, &s->watch_poll, handshake_watch_fd(s->watch));
    if (code == 0) {
        s->watching = true;
        s->handles_open++;
        code = uv_poll_start(&s->watch_poll, UV_READABLE, on_poll);
    }
    if (code == 0) {
        code = uv_poll_start(&s->poll, UV_READABLE, on_poll);
    }
    if (code != 0) {
        return err_set(e, ERR_IO, "uv_poll_start: %s", uv_strerror(code));
    }
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_check_start(&s->check, on_check);
    return OK;
}

enum err socket_open(struct socket_context *c, struct uv_loop_s *loop,
                     const struct socket_options *options, socket_receive receive, void *ctx,
                     struct socket **out, struct errbuf *e)
{
    *out = NULL;
    struct socket *s = mem_calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_NOMEM, "no memory for a socket");
    }
    s->type = options->type;
    s->receive = receive;
    s->ctx = ctx;
    s->zmq = zmq_socket(c->zmq, options->type == SOCKET_ROUTER ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!s->zmq) {
        mem_free(s);
        return err_set(e, ERR_IO, "zmq_socket: %s", zmq_strerror(errno));
    }
    s->keyed = options->key != NULL;
    enum err error = socket_options_apply(s->zmq, options, e);
    if (error == OK && options->unread_bytes > 0) {
        error = inflow_open(options->unread_bytes, options->unread_total_bytes,
                            options->messages_per_s, &s->inflow);
    }
    if (error == OK && options->half_open > 0) {
        s->descriptor_max = options->descriptor_max;
        error = half_open_open(options->half_open, options->half_open_per_address, &s->half_open);
    }
    if (error == OK) {
        error = handshake_watch_open(c->zmq, s->zmq, s->type == SOCKET_ROUTER, &s->watch, e);
    }
    if (error == OK) {
        error = open_handles(s, loop, e);
    }
    if (error != OK) {
        socket_close(&s);
        return error;
    }
    *out = s;
    return OK;
}

/* zmq_bind would unlink whatever lies at the path: a socket that somebody serves, or a file. */
static enum err check_free(const char *address, struct errbuf *e)
{
    const char *path = address_ipc_path(address);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat info;
    if (!path || strlen(path) >= sizeof name.sun_path || lstat(path, &info) != 0) {
        return OK;
    }
    if (!S_ISSOCK(info.st_mode)) {
        return err_set(e, ERR_REFUSED,
                       "%s: a file that is no socket lies there; choose another path", address);
    }
    memcpy(name.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool served =
        fd >= 0 && (connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EAGAIN);
    if (fd >= 0) {
        (void)close(fd);
    }
    return served ? err_set(e, ERR_BUSY, "%s: is in use by a running program; choose another path",
                            address)
                  : OK;
}

enum err socket_bind(struct socket *s, const char *address, char endpoint[ADDRESS_BYTES],
                     struct errbuf *e)
{
    enum err error = address_check_bind(address, s->keyed, e);
    if (error == OK) {
        error = check_free(address, e);
    }
    if (error != OK) {
        return error;
    }
    /* With IPv6 on, 127.0.0.1 would come out as a mapped address. */
    int six = strchr(address, '[') != NULL;
    if (zmq_setsockopt(s->zmq, ZMQ_IPV6, &six, sizeof six) != 0 || zmq_bind(s->zmq, address) != 0) {
        return err_set(e, err_from_errno(errno), "%s: cannot bind: %s%s", address,
                       zmq_strerror(errno), errno == ENOENT ? "; make the folder first" : "");
    }
    size_t bytes = ADDRESS_BYTES;
    if (zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, endpoint, &bytes) != 0) {
        return err_set(e, ERR_IO, "%s: no endpoint: %s", address, zmq_strerror(errno));
    }
    s->local = address_ipc_path(address) != NULL;
    if (s->inflow) {
        (void)uv_timer_start(&s->inflow_timer, on_inflow, INFLOW_MS, INFLOW_MS);
    }
    return OK;
}

enum err socket_connect(struct socket *s, const char *address, struct errbuf *e)
{
    enum err error = address_check_connect(address, e);
    if (error == OK && zmq_connect(s->zmq, address) != 0) {
        error = err_set(e, err_from_errno(errno), "%s: cannot connect: %s", address,
                        zmq_strerror(errno));
    }
    return error;
}

static void release_blob(void *data, void *hint)
{
    (void)data;
    struct blob *blob = hint;
    blob_free(&blob);
}

static int send_bytes(void *zmq, const void *data, size_t bytes, int flags)
{
    int n;
    do {
        n = zmq_send(zmq, data, bytes, flags | ZMQ_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

static enum err send_error(void)
{
    return errno == EHOSTUNREACH ? ERR_GONE : errno == EAGAIN ? ERR_BUSY : ERR_IO;
}

enum err socket_send(struct socket *s, const struct socket_route *route, const uint8_t *header,
                     size_t header_bytes, struct blob *payload)
{
    CHECK((s->type == SOCKET_ROUTER) == (route != NULL) && !s->closed);
    zmq_msg_t tail;
    if (payload && zmq_msg_init_data(&tail, (void *)(uintptr_t)blob_data(payload),
                                     blob_bytes(payload), release_blob, blob_ref(payload)) != 0) {
        struct blob *reference = payload;
        blob_free(&reference);
        return ERR_NOMEM;
    }
    enum err error = OK;
    if (route && send_bytes(s->zmq, route->bytes, route->length, ZMQ_SNDMORE) < 0) {
        error = send_error();
    }
    if (error == OK && send_bytes(s->zmq, header, header_bytes, payload ? ZMQ_SNDMORE : 0) < 0) {
        error = send_error();
    }
    if (payload) {
        if (error == OK && zmq_msg_send(&tail, s->zmq, ZMQ_DONTWAIT) < 0) {
            error = send_error();
        }
        if (error != OK) {
            (void)zmq_msg_close(&tail);
        }
    }
    return error;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct socket *s = handle->data;
    if (--s->handles_open == 0) {
        mem_free(s);
    }
}

void socket_close(struct socket **socket)
{
    struct socket *s = *socket;
    *socket = NULL;
    if (!s || s->closed) {
        return;
    }
    s->closed = true;
    if (s->watching) {
        (void)uv_poll_stop(&s->watch_poll);
        uv_close((uv_handle_t *)&s->watch_poll, on_handle_closed);
    }
    handshake_watch_close(&s->watch);
    inflow_close(&s->inflow);
    half_open_close(&s->half_open);
    if (s->handles_open == 0) {
        (void)zmq_close(s->zmq);
        mem_free(s);
        return;
    }
    (void)uv_poll_stop(&s->poll);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&s->check, on_handle_closed);
    uv_close((uv_handle_t *)&s->idle, on_handle_closed);
    uv_close((uv_handle_t *)&s->inflow_timer, on_handle_closed);
    (void)zmq_close(s->zmq);
}

const char *socket_sender(const struct socket *s)
{
    return s->sender ? s->sender : "";
}

void socket_hang_up_sender(struct socket *s)
{
    if (s->inflow) {
        inflow_hang_up(s->inflow, s->sender_fd);
    }
}

void socket_allow_unread(struct socket *s, uint64_t unread_bytes, uint64_t unread_total_bytes)
{
    if (s->inflow) {
        inflow_widen(s->inflow, unread_bytes, unread_total_bytes);
    }
}

struct socket_refusals socket_refusals(struct socket *s)
{
    count_handshakes(s);
    return s->refusals;
}

void *socket_context_zmq(const struct socket_context *c)
{
    return c->zmq;
}

bool socket_route_equal(const struct socket_route *a, const struct socket_route *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}
