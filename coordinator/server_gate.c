/* server_gate.c - the doors: sockets with and without keys, the proof at the start that strangers
 * stay out, whose messages count, and what happens when a key is revoked. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/base/clock.h"
#include "common/net/self_attack.h"
#include "coordinator/server_state.h"

enum {
    CONTROL_QUEUE = 1024,
    TENSOR_QUEUE = 4,
    STATUS_QUEUE = 64,
    WORKER_MESSAGES_PER_S = 200000, /* of a connection: more than the loop can make use of */
    STATUS_MESSAGES_PER_S = 256,
    HALF_OPEN_MAX = 1024, /* of a socket */
    HALF_OPEN_SHARE = 8,  /* but no more than this part of all descriptors */
    FILES_MAX = 64,       /* descriptors that no connection gets */
    FILES_SHARE = 4,
    STATUS_UNREAD_FRAMES = 5,
    LINGER_MS = 1000,
    NEWS_MAX = 64,
    PARTING_MS = 1000, /* after a change of the list, for what a cut worker is told to arrive */
    CONTROL_LEAST_BYTES = 1 << 20,
    TENSOR_LEAST_BYTES = LIMIT_RESULTS_BYTES_IN_FLIGHT,
};

static bool keyed(const struct server *s, const char *address)
{
    return s->doors.key && !address_ipc_path(address);
}

/* Who connects gets no more descriptors than leave enough for files. */
static void keep_descriptors(struct socket_options *o)
{
    struct rlimit limit;
    uint32_t all = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        all = limit.rlim_cur < INT32_MAX ? (uint32_t)limit.rlim_cur : INT32_MAX;
    }
    uint32_t files = all / FILES_SHARE < FILES_MAX ? all / FILES_SHARE : FILES_MAX;
    uint32_t half_open = all / HALF_OPEN_SHARE;
    o->descriptor_max = (int)(all - files) - 1;
    o->half_open = half_open > HALF_OPEN_MAX ? HALF_OPEN_MAX : half_open < 2 ? 2 : half_open;
    o->half_open_per_address = o->half_open / 2;
}

static enum err open_socket(struct server *s, const char *address,
                            const struct socket_options *options, socket_receive receive,
                            struct socket **out, char endpoint[ADDRESS_BYTES], struct errbuf *e)
{
    struct socket_options o = *options;
    o.type = SOCKET_ROUTER;
    keep_descriptors(&o);
    o.linger_ms = LINGER_MS;
    o.key = keyed(s, address) ? s->doors.key : NULL;
    enum err error = socket_open(s->context, &s->loop, &o, receive, s, out, e);
    return error == OK ? socket_bind(*out, address, endpoint, e) : error;
}

/* The largest that a worker has to say on the control channel are a job's scores: a double a leaf,
 * and a leaf has a token at least. */
static struct socket_options control_options(const struct server *s)
{
    const struct wire_welcome *w = &s->cfg.welcome;
    int64_t tokens = w->unit_tokens > w->tree_tokens_max ? w->unit_tokens : w->tree_tokens_max;
    int64_t frame = 2 * LIMIT_JOB_UNITS * tokens * (int64_t)sizeof(double);
    frame = frame > CONTROL_LEAST_BYTES ? frame : CONTROL_LEAST_BYTES;
    frame = frame < LIMIT_JOB_BYTES ? frame : LIMIT_JOB_BYTES;
    return (struct socket_options){.domain = RIGHTS_JOBS,
                                   .queue_messages = CONTROL_QUEUE,
                                   .frame_bytes = s->standing ? LIMIT_JOB_BYTES : frame,
                                   .unread_bytes = 2 * (uint64_t)frame,
                                   .unread_total_bytes = 16 * (uint64_t)frame,
                                   .messages_per_s = WORKER_MESSAGES_PER_S};
}

/* Gradients come on credit, so few are under way. */
static struct socket_options tensor_options(const struct server *s)
{
    int64_t frame = (int64_t)(s->cfg.floats * sizeof(int64_t));
    frame = frame > TENSOR_LEAST_BYTES ? frame : TENSOR_LEAST_BYTES;
    uint64_t unread = (LIMIT_RESULTS_LARGE_IN_FLIGHT + 1) * (uint64_t)frame;
    return (struct socket_options){.domain = RIGHTS_TENSORS,
                                   .queue_messages = TENSOR_QUEUE,
                                   .frame_bytes = s->standing ? LIMIT_TENSOR_BYTES : frame,
                                   .unread_bytes = unread,
                                   .unread_total_bytes = 2 * unread,
                                   .messages_per_s = WORKER_MESSAGES_PER_S};
}

/* A frame's own bound cannot change once a socket is bound: of a standing server it is the widest
 * there is, and what a connection may leave unread is the bound that counts. */
void server_make_room(struct server *s)
{
    const struct socket_options control = control_options(s);
    const struct socket_options tensor = tensor_options(s);
    socket_allow_unread(s->control, control.unread_bytes, control.unread_total_bytes);
    socket_allow_unread(s->tensor, tensor.unread_bytes, tensor.unread_total_bytes);
}

static struct socket_options status_options(void)
{
    const uint64_t unread = STATUS_UNREAD_FRAMES * STATUS_REQUEST_BYTES;
    return (struct socket_options){.domain = RIGHTS_STATUS,
                                   .queue_messages = STATUS_QUEUE,
                                   .frame_bytes = STATUS_REQUEST_BYTES,
                                   .unread_bytes = unread,
                                   .unread_total_bytes = 16 * unread,
                                   .messages_per_s = STATUS_MESSAGES_PER_S};
}

/* Sessions of keys that may not come in any more end now; their messages count no more. */
static void cut_sessions(struct server *s)
{
    for (size_t i = 0; i < s->n_peers; i++) {
        struct peer *peer = &s->peers[i];
        const struct allowed_key *key = allow_list_named(&s->allowed, peer->user);
        if (!peer->used || peer->user[0] == '\0' ||
            (key && rights_connect(RIGHTS_JOBS, key->role))) {
            continue;
        }
        const struct socket_route route = peer->control;
        uint64_t session = peer->session;
        uint64_t worker = peer->worker;
        char text[WIRE_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "key '%s' was revoked", peer->user);
        log_event(LOG_WARN, "session_cut", "worker=%s %s", peer->name, text);
        server_refuse(s, &route, session, WIRE_REFUSED_KEY, 0, text);
        server_peer_free(s, peer);
        dispatch_gone(s->dispatch, worker, text, server_now_ns());
    }
}

/* True when there was any. */
static bool take_news(struct server *s)
{
    bool any = false;
    for (struct letter *l = s->news ? mailbox_take(s->news) : NULL; l; l = mailbox_take(s->news)) {
        struct zap_news *news = (struct zap_news *)l;
        struct allow_list earlier = s->allowed;
        s->allowed = news->list;
        news->list = earlier;
        l->drop(l);
        any = true;
        s->news_ms = clock_now_ms();
        log_event(LOG_INFO, "keys", "known=%zu", s->allowed.n);
    }
    return any;
}

static void on_news(void *ctx)
{
    struct server *s = ctx;
    if (take_news(s) && !s->ended) {
        cut_sessions(s);
        server_pump(s);
    }
}

static enum err open_door_keeper(struct server *s, struct errbuf *e)
{
    enum err error = mailbox_open(NEWS_MAX, &s->news);
    if (error == OK) {
        error = mailbox_attach(s->news, &s->loop, on_news, s);
    }
    if (error != OK) {
        return err_set(e, error, "no memory to check keys");
    }
    const struct zap_config zap = {.keys_folder = s->doors.keys_folder,
                                   .own = s->doors.key->public_key,
                                   .may = rights_connect,
                                   .news = s->news};
    return zap_open(s->context, &zap, &s->zap, e);
}

/* Whoever can connect to an ipc socket of mode 0700 is the owner (or root). */
static bool only_the_owners(const char *endpoint)
{
    const char *path = address_ipc_path(endpoint);
    struct stat info;
    return path && lstat(path, &info) == 0 && (info.st_mode & 077) == 0;
}

static enum err prove(struct server *s, struct errbuf *e)
{
    const char *const endpoints[] = {s->jobs_address, s->tensor_address, s->status_address};
    enum err error = OK;
    int proven = 0;
    for (size_t i = 0; i < 3 && error == OK; i++) {
        if (keyed(s, endpoints[i])) {
            error = self_attack(endpoints[i], s->doors.key, e);
            proven++;
        }
    }
    if (error == OK && proven > 0) {
        log_event(LOG_INFO, "closed_to_strangers", "sockets=%d keys=%zu", proven, s->allowed.n);
    } else if (error == OK && s->doors.key) {
        log_event(LOG_WARN, "keys_unused", "ipc sockets are guarded by the file system");
    }
    return error;
}

/* All three sockets'. */
static struct socket_refusals refusals(const struct server *s)
{
    struct socket *const sockets[] = {s->control, s->tensor, s->status};
    struct socket_refusals all = {0};
    for (size_t i = 0; i < 3; i++) {
        const struct socket_refusals r = socket_refusals(sockets[i]);
        all.denied += r.denied;
        all.broken += r.broken;
        all.flooded += r.flooded;
        all.crowded += r.crowded;
        all.left += r.left;
    }
    return all;
}

enum err server_open_sockets(struct server *s, struct errbuf *e)
{
    char tensor[ADDRESS_BYTES];
    char derived[ADDRESS_BYTES];
    enum err error = socket_context_open(&s->context, e);
    if (error == OK && s->doors.key) {
        error = open_door_keeper(s, e);
    }
    if (error == OK) {
        error = address_tensor(s->doors.bind, tensor, e);
    }
    if (error == OK) {
        const struct socket_options options = control_options(s);
        error = open_socket(s, s->doors.bind, &options, server_on_control, &s->control,
                            s->jobs_address, e);
    }
    if (error == OK) {
        const struct socket_options options = tensor_options(s);
        error =
            open_socket(s, tensor, &options, server_on_tensor, &s->tensor, s->tensor_address, e);
    }
    if (error == OK) {
        const struct socket_options options = status_options();
        error = open_socket(s, s->doors.status, &options, server_on_status, &s->status,
                            s->status_address, e);
    }
    if (error == OK) {
        s->tell_tensor = address_tensor(s->jobs_address, derived, NULL) != OK ||
                         strcmp(derived, s->tensor_address) != 0;
        s->owner_commands = only_the_owners(s->status_address);
        (void)take_news(s);
        error = prove(s, e);
        s->refusals_first = refusals(s);
        if (s->zap) {
            zap_speak(s->zap);
        }
    }
    return error;
}

void server_close_sockets(struct server *s)
{
    socket_close(&s->control);
    socket_close(&s->tensor);
    socket_close(&s->status);
    zap_close(&s->zap);
    mailbox_close(&s->news);
    allow_list_free(&s->allowed);
}

bool server_admits(struct server *s, struct socket *socket, const char *domain)
{
    const char *address = socket == s->status ? s->doors.status : s->doors.bind;
    if (!keyed(s, address)) {
        return true;
    }
    if (take_news(s)) {
        cut_sessions(s);
        server_pump(s);
    }
    const struct allowed_key *key = allow_list_named(&s->allowed, socket_sender(socket));
    bool admitted = key && rights_connect(domain, key->role);
    if (!admitted && clock_now_ms() - s->news_ms > PARTING_MS) {
        socket_hang_up_sender(socket);
    }
    return admitted;
}

enum key_role server_asker(const struct server *s)
{
    if (!keyed(s, s->doors.status)) {
        return s->owner_commands ? KEY_OPERATOR : KEY_OBSERVER;
    }
    const struct allowed_key *key = allow_list_named(&s->allowed, socket_sender(s->status));
    return key ? key->role : KEY_OBSERVER;
}

static uint64_t turned_away(const struct socket_refusals *r)
{
    return r->denied + r->broken + r->flooded + r->crowded;
}

uint64_t server_turned_away(const struct server *s)
{
    const struct socket_refusals now = refusals(s);
    return turned_away(&now) - turned_away(&s->refusals_first);
}

void server_report_turned_away(struct server *s)
{
    const struct socket_refusals now = refusals(s);
    uint64_t n = turned_away(&now) - turned_away(&s->refusals_first);
    uint64_t left = now.left - s->refusals_first.left;
    if (n > s->turned_away_told) {
        log_limited(&s->turned_away_limit, clock_now_ms(), LOG_WARN, "turned_away",
                    "connections=%llu: no key, a wrong one, more bytes or messages than a peer "
                    "may send, or too many connections at once",
                    (unsigned long long)n);
        s->turned_away_told = n;
    }
    if (left > s->left_told) {
        log_limited(&s->left_limit, clock_now_ms(), LOG_INFO, "hung_up_early",
                    "connections=%llu: the other side left before its handshake was over",
                    (unsigned long long)left);
        s->left_told = left;
    }
}
