/* socket.c - ZeroMQ under libuv; the rules are told in the header. */
#include "common/net/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>
#include <zmq.h>

#include "common/base/check.h"
#include "common/base/mem.h"

enum {
    HEARTBEAT_MS = 1000,
    HEARTBEAT_SILENCE_MS = 3000,
    HANDSHAKE_MS = 2000,
    BACKLOG = 256,
    REQUEST_QUEUE = 4,
    HANDLES = 4,
};

struct socket_context {
    void *zmq;
};

struct socket {
    void *zmq;
    enum socket_type type;
    bool closed;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
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

static int set_int(void *zmq, int option, int value)
{
    return zmq_setsockopt(zmq, option, &value, sizeof value);
}

static enum err set_options(void *zmq, const struct socket_options *o, struct errbuf *e)
{
    const struct {
        int option, value;
    } list[] = {
        {ZMQ_LINGER, o->linger_ms},
        {ZMQ_SNDHWM, o->queue_messages},
        {ZMQ_RCVHWM, o->queue_messages},
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_SILENCE_MS},
        {ZMQ_HEARTBEAT_TTL, HEARTBEAT_SILENCE_MS},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_BACKLOG, BACKLOG},
        {ZMQ_IPV6, 1},
        {ZMQ_RECONNECT_IVL, o->reconnect_ms > 0 ? o->reconnect_ms : 100},
        {ZMQ_RECONNECT_IVL_MAX, o->reconnect_max_ms},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (set_int(zmq, list[i].option, list[i].value) != 0) {
            return err_set(e, ERR_IO, "socket option %d: %s", list[i].option, zmq_strerror(errno));
        }
    }
    if (o->type == SOCKET_ROUTER && set_int(zmq, ZMQ_ROUTER_MANDATORY, 1) != 0) {
        return err_set(e, ERR_IO, "ZMQ_ROUTER_MANDATORY: %s", zmq_strerror(errno));
    }
    int64_t frame = o->frame_bytes;
    if (zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &frame, sizeof frame) != 0) {
        return err_set(e, ERR_IO, "ZMQ_MAXMSGSIZE: %s", zmq_strerror(errno));
    }
    return OK;
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
};

/* False when nothing waits. All frames of one message are taken. */
static bool receive_frames(struct socket *s, struct incoming *in)
{
    in->count = 0;
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
        if (frame == &extra) {
            (void)zmq_msg_close(frame);
        }
        in->count++;
    }
    return true;
}

/* A peer may name itself with up to 255 bytes, and noise can look like such a name (ZMTP 1); the
 * peers that this program knows leave the name to libzmq, which takes 5. */
static bool read_route(struct incoming *in, struct socket_route *route)
{
    size_t bytes = zmq_msg_size(&in->frames[0]);
    if (bytes > SOCKET_ROUTE_BYTES) {
        return false;
    }
    route->length = (uint8_t)bytes;
    memcpy(route->bytes, zmq_msg_data(&in->frames[0]), bytes);
    return true;
}

static void deliver(struct socket *s, struct incoming *in)
{
    int head = s->type == SOCKET_ROUTER ? 1 : 0;
    int kept = in->count < 3 ? in->count : 3;
    struct socket_route route = {0};
    bool known = head == 0 || read_route(in, &route);
    int parts = in->count - head;
    bool good = known && (parts == 1 || parts == 2);
    struct blob *payload = good && parts == 2 ? wrap_message(&in->frames[head + 1]) : NULL;
    if (good && (parts == 1 || payload)) {
        s->receive(s->ctx, head ? &route : NULL, zmq_msg_data(&in->frames[head]),
                   zmq_msg_size(&in->frames[head]), &payload);
    } else if (known && !good) {
        s->receive(s->ctx, head ? &route : NULL, NULL, 0, &payload);
    }
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

static void on_check(uv_check_t *check)
{
    struct socket *s = check->data;
    (void)uv_idle_stop(&s->idle);
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
    s->poll.data = s->prepare.data = s->check.data = s->idle.data = s;
    s->handles_open = HANDLES;
    code = uv_poll_start(&s->poll, UV_READABLE, on_poll);
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
    enum err error = set_options(s->zmq, options, e);
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
    enum err error = address_check_bind(address, e);
    if (error == OK) {
        error = check_free(address, e);
    }
    if (error != OK) {
        return error;
    }
    /* With IPv6 on, 127.0.0.1 would come out as a mapped address. */
    if (set_int(s->zmq, ZMQ_IPV6, strchr(address, '[') != NULL) != 0 ||
        zmq_bind(s->zmq, address) != 0) {
        return err_set(e, err_from_errno(errno), "%s: cannot bind: %s%s", address,
                       zmq_strerror(errno), errno == ENOENT ? "; make the folder first" : "");
    }
    size_t bytes = ADDRESS_BYTES;
    if (zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, endpoint, &bytes) != 0) {
        return err_set(e, ERR_IO, "%s: no endpoint: %s", address, zmq_strerror(errno));
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
    (void)zmq_close(s->zmq);
}

bool socket_route_equal(const struct socket_route *a, const struct socket_route *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static enum err take_reply(void *zmq, size_t reply_max, uint8_t **reply, size_t *reply_bytes,
                           struct errbuf *e)
{
    zmq_msg_t message;
    (void)zmq_msg_init(&message);
    enum err error = OK;
    int n = zmq_msg_recv(&message, zmq, 0);
    if (n < 0 || zmq_msg_more(&message) || zmq_msg_size(&message) > reply_max) {
        error = err_set(e, ERR_PARSE, "the reply is not one frame of at most %zu bytes", reply_max);
    } else {
        *reply_bytes = zmq_msg_size(&message);
        *reply = mem_calloc(1, *reply_bytes);
        if (*reply) {
            memcpy(*reply, zmq_msg_data(&message), *reply_bytes);
        } else {
            error = err_set(e, ERR_NOMEM, "no memory for a reply of %zu bytes", *reply_bytes);
        }
    }
    (void)zmq_msg_close(&message);
    return error;
}

enum err socket_request(const char *address, const uint8_t *request, size_t bytes, size_t reply_max,
                        int timeout_ms, uint8_t **reply, size_t *reply_bytes, struct errbuf *e)
{
    *reply = NULL;
    enum err error = address_check_connect(address, e);
    struct socket_context *c = NULL;
    if (error == OK) {
        error = socket_context_open(&c, e);
    }
    if (error != OK) {
        return error;
    }
    const struct socket_options options = {
        .type = SOCKET_DEALER, .queue_messages = REQUEST_QUEUE, .frame_bytes = (int64_t)reply_max};
    void *zmq = zmq_socket(c->zmq, ZMQ_DEALER);
    error = zmq ? set_options(zmq, &options, e)
                : err_set(e, ERR_IO, "zmq_socket: %s", zmq_strerror(errno));
    if (error == OK &&
        (set_int(zmq, ZMQ_SNDTIMEO, timeout_ms) != 0 ||
         set_int(zmq, ZMQ_RCVTIMEO, timeout_ms) != 0 || zmq_connect(zmq, address) != 0)) {
        error = err_set(e, ERR_IO, "%s: %s", address, zmq_strerror(errno));
    }
    if (error == OK && zmq_send(zmq, request, bytes, 0) < 0) {
        error = err_set(e, ERR_TIMEOUT, "%s: no answer within %d ms; has the coordinator ended?",
                        address, timeout_ms);
    }
    zmq_pollitem_t item = {.socket = zmq, .events = ZMQ_POLLIN};
    if (error == OK && zmq_poll(&item, 1, timeout_ms) <= 0) {
        error = err_set(e, ERR_TIMEOUT, "%s: no reply within %d ms", address, timeout_ms);
    }
    if (error == OK) {
        error = take_reply(zmq, reply_max, reply, reply_bytes, e);
    }
    if (zmq) {
        (void)zmq_close(zmq);
    }
    socket_context_close(&c);
    return error;
}
