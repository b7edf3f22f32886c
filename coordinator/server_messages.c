/* server_messages.c - what workers say, turned into calls of dispatch. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/mem.h"
#include "coordinator/server_state.h"

enum { RETRY_MS = 1000, RETRY_LONG_MS = 5000, RETRY_UNFIT_MS = 30000 };

static const char *const levels[] = {"portable", "x86-64-v3", "x86-64-v4"};

/* The best level in a bit set; "portable" at least. */
static const char *best_level(uint32_t bits)
{
    return (bits & 4u) ? levels[2] : (bits & 2u) ? levels[1] : levels[0];
}

/* For good; of a standing coordinator only until a task comes that it fits. */
static void turn_away(struct server *s, const struct socket_route *route,
                      const struct wire_hello *h, enum wire_refusal code, const char *text)
{
    if (s->standing) {
        server_park(s, route, h, code, text);
    } else {
        server_refuse(s, route, 0, code, 0, text);
    }
}

/* Does the worker fit the run? False: it was refused. */
static bool fits(struct server *s, const struct socket_route *route, const struct wire_hello *h)
{
    char text[WIRE_TEXT_BYTES];
    const struct server_config *c = &s->cfg;
    if (h->protocol != WIRE_PROTOCOL) {
        (void)snprintf(text, sizeof text,
                       "protocol %u of %s is not %d of this coordinator (%s): use the same build "
                       "on both sides",
                       h->protocol, h->build, WIRE_PROTOCOL, PFT_VERSION);
        server_refuse(s, route, 0, WIRE_REFUSED_PROTOCOL, 0, text);
        return false;
    }
    if (strcmp(h->model_hash, c->model_hash) != 0) {
        (void)snprintf(text, sizeof text,
                       "model: the run is on %s, SHA-256 %.16s..., the worker has %.16s...; give "
                       "it --model with that file",
                       c->model_name, c->model_hash, h->model_hash);
        turn_away(s, route, h, WIRE_REFUSED_MODEL, text);
        return false;
    }
    if (strcmp(h->shape_digest, c->shape_digest) != 0) {
        (void)snprintf(text, sizeof text,
                       "shape: the run's model has digest %s, the worker reads %s from the same "
                       "file: use the same build on both sides",
                       c->shape_digest, h->shape_digest);
        turn_away(s, route, h, WIRE_REFUSED_SHAPE, text);
        return false;
    }
    if ((h->kernel_levels & c->kernels_bit) == 0) {
        (void)snprintf(text, sizeof text,
                       "kernels: the run uses %s, this CPU runs up to %s; a run with 'kernels: %s' "
                       "in its config would admit it",
                       c->welcome.kernels, best_level(h->kernel_levels),
                       best_level(h->kernel_levels));
        turn_away(s, route, h, WIRE_REFUSED_KERNELS, text);
        return false;
    }
    return true;
}

static void welcome(struct server *s, struct peer *peer)
{
    struct wire_message m = {.kind = WIRE_WELCOME, .welcome = s->cfg.welcome};
    m.welcome.session = peer->session;
    m.welcome.probe = true;
    if (s->tell_tensor) {
        (void)snprintf(m.welcome.tensor_endpoint, sizeof m.welcome.tensor_endpoint, "%s",
                       s->tensor_address);
    }
    (void)server_send(s, peer, &m, NULL);
}

/* Whether a connection leads to it still; a pong is what a session may get at any time. */
static bool is_connected(struct server *s, struct peer *peer)
{
    struct wire_message m = {.kind = WIRE_PONG};
    m.session.session = peer->session;
    return server_send(s, peer, &m, NULL) != ERR_GONE;
}

/* A newer session of a worker ends the older one: of the same process, or of one that is no longer
 * connected, and with keys only where both have the older one's key. */
static bool owns_name(struct server *s, const struct socket_route *route,
                      const struct wire_hello *h)
{
    struct peer *holder = server_peer_by_name(s, h->worker);
    if (!holder) {
        return true;
    }
    bool same_key = strcmp(holder->user, socket_sender(s->control)) == 0;
    if (same_key && holder->process == h->process) {
        return true;
    }
    char text[WIRE_TEXT_BYTES];
    if (!same_key) {
        (void)snprintf(text, sizeof text,
                       "a worker named %s is here already, with another key; give this one --id",
                       h->worker);
    } else if (is_connected(s, holder)) {
        (void)snprintf(text, sizeof text,
                       "a worker named %s is here already, another process: give this one another "
                       "--id, or none (where that one is gone, its name is free after %u s)",
                       h->worker, s->cfg.welcome.silence_ms / 1000);
    } else {
        uint64_t gone = holder->worker; /* started again, perhaps with an older clock */
        server_peer_free(s, holder);
        dispatch_gone(s->dispatch, gone, "a newer session of it said hello", server_now_ns());
        return true;
    }
    server_refuse(s, route, 0, WIRE_REFUSED_STALE, same_key ? RETRY_MS : RETRY_LONG_MS, text);
    return false;
}

static void on_hello(struct server *s, const struct socket_route *route, const struct wire_hello *h)
{
    if (s->standing && (!s->dispatch || s->draining || s->ending)) {
        server_park(s, route, h, WIRE_REFUSED_STATE, s->waits_for);
        return;
    }
    if (s->draining || s->ending) {
        server_refuse(s, route, 0, WIRE_REFUSED_STATE, RETRY_LONG_MS, "the run is ending");
        return;
    }
    if (!fits(s, route, h) || !owns_name(s, route, h)) {
        return;
    }
    const struct roster_hello hello = {.name = h->worker,
                                       .host = h->host,
                                       .core_type = h->core_type,
                                       .epoch = h->epoch,
                                       .slots = h->slots};
    struct errbuf e = {{0}};
    uint64_t worker = 0;
    enum err error = dispatch_hello(s->dispatch, &hello, server_now_ns(), &worker, &e);
    server_pump(s);
    if (error != OK) {
        enum wire_refusal code = error == ERR_STALE  ? WIRE_REFUSED_STALE
                                 : error == ERR_FULL ? WIRE_REFUSED_FULL
                                                     : WIRE_REFUSED_QUARANTINE;
        server_refuse(s, route, 0, code, error == ERR_STALE ? RETRY_MS : RETRY_LONG_MS, e.text);
        return;
    }
    struct peer *peer = server_peer_by_worker(s, worker);
    if (!peer) {
        peer = server_peer_new(s, worker, route);
    }
    if (!peer) {
        dispatch_gone(s->dispatch, worker, "no room", server_now_ns());
        server_pump(s);
        server_refuse(s, route, 0, WIRE_REFUSED_FULL, RETRY_LONG_MS, "no room for more workers");
        return;
    }
    if (!socket_route_equal(&peer->control, route)) {
        peer->control = *route;
        peer->link = LINK_UP; /* what was lost was the connection before */
    }
    (void)snprintf(peer->name, sizeof peer->name, "%s", h->worker);
    (void)snprintf(peer->user, sizeof peer->user, "%s", socket_sender(s->control));
    peer->process = h->process;
    server_unpark(s, h->worker);
    log_event(LOG_INFO, "worker_joined", "worker=%s host=%s slots=%u core=%s", h->worker, h->host,
              h->slots, h->core_type);
    welcome(s, peer);
}

void server_judge_probe(struct server *s, struct peer *peer,
                        const uint8_t digest[WIRE_DIGEST_BYTES])
{
    struct errbuf e = {{0}};
    uint64_t worker = peer->worker;
    const struct socket_route route = peer->control;
    enum err error = dispatch_probed(s->dispatch, worker, digest, server_now_ns(), &e);
    if (error == OK) {
        struct wire_message m = {.kind = WIRE_READY};
        m.session.session = peer->session;
        (void)server_send(s, peer, &m, NULL);
    } else {
        server_refuse(s, &route, peer->session, WIRE_REFUSED_PROBE,
                      s->standing ? RETRY_UNFIT_MS : 0, e.text);
        server_peer_free(s, peer);
    }
    server_pump(s);
}

static void on_probe(struct server *s, struct peer *peer, const struct wire_probe *m)
{
    if (s->own_probe_pending) {
        peer->probe_waits = true;
        memcpy(peer->probe, m->digest, sizeof peer->probe);
        return;
    }
    server_judge_probe(s, peer, m->digest);
}

static void on_heartbeat(struct server *s, struct peer *peer, const struct wire_heartbeat *m)
{
    struct dispatch_running running[LIMIT_SLOTS];
    for (uint32_t i = 0; i < m->n_slots; i++) {
        running[i] =
            (struct dispatch_running){.job = m->slots[i].job, .attempt = m->slots[i].attempt};
    }
    struct wire_message pong = {.kind = WIRE_PONG};
    pong.session.session = peer->session;
    dispatch_heartbeat(s->dispatch, peer->worker, running, m->n_slots, server_now_ns());
    dispatch_computed(s->dispatch, peer->worker, m->computed_ms, server_now_ns());
    if (server_send(s, peer, &pong, NULL) == OK && peer->slow) {
        peer->slow = false;
        dispatch_slow(s->dispatch, peer->worker, false, server_now_ns());
    }
    if (peer->used && peer->fetch_waits) {
        server_send_params(s, peer);
    }
}

/* The same announcement again, word for word? What is judged once must be what is summed. */
static bool same_result(const struct wire_result_ready *a, const struct wire_result_ready *b)
{
    bool same = a->n_rows == b->n_rows &&
                memcmp(a->payload_hash, b->payload_hash, sizeof a->payload_hash) == 0;
    for (uint32_t i = 0; same && i < a->n_rows; i++) {
        const struct wire_unit_row *x = &a->rows[i];
        const struct wire_unit_row *y = &b->rows[i];
        same = x->unit == y->unit && x->loss == y->loss && x->labels == y->labels &&
               x->sumsq == y->sumsq;
    }
    return same;
}

static void on_gradient(struct server *s, struct peer *peer, const struct wire_result_ready *m)
{
    if (m->payload_bytes != s->cfg.floats * 8) {
        server_strike(s, &peer->control, peer, "a gradient of a wrong size");
        return;
    }
    struct announced *a = server_find_announced(peer, m->job, m->attempt);
    if (a && !same_result(&a->ready, m)) {
        server_strike(s, &peer->control, peer, "a result announced twice, not the same");
        return;
    }
    if (!a) {
        a = mem_calloc(1, sizeof *a);
        if (!a) { /* the job goes to somebody else, later */
            dispatch_release(s->dispatch, peer->worker, m->job, m->attempt, server_now_ns());
            return;
        }
        a->next = peer->announced;
        a->ready = *m;
        peer->announced = a;
    }
    struct result_row rows[LIMIT_JOB_UNITS];
    struct dispatch_result result;
    server_fill_result(peer, m, rows, &result);
    FAILPOINT("result.announced");
    dispatch_announce(s->dispatch, &result, server_now_ns());
}

static void on_result_ready(struct server *s, struct peer *peer, const struct wire_result_ready *m,
                            const struct blob *payload)
{
    if (dispatch_job(s->dispatch, m->job) && m->kind != server_wire_kind(s->batch->kind)) {
        server_strike(s, &peer->control, peer, "a result of another kind than its job");
    } else if (m->kind == WIRE_GRADIENT) {
        on_gradient(s, peer, m);
    } else {
        server_on_values(s, peer, m, payload);
    }
}

static bool token_fits(struct server *s, const struct peer *peer, uint64_t job, uint32_t attempt,
                       const uint8_t token[WIRE_TOKEN_BYTES])
{
    uint8_t right[WIRE_TOKEN_BYTES];
    server_token(s, peer->worker, job, attempt, right);
    if (sodium_memcmp(right, token, sizeof right) == 0) { /* its time tells nothing */
        return true;
    }
    s->bad_tokens++;
    return false;
}

static void on_parting(struct server *s, struct peer *peer, enum wire_kind kind)
{
    if (kind == WIRE_DRAIN) {
        log_event(LOG_INFO, "worker_drains", "worker=%s", peer->name);
        dispatch_drain(s->dispatch, peer->worker, server_now_ns());
        return;
    }
    log_event(LOG_INFO, "worker_left", "worker=%s", peer->name);
    uint64_t worker = peer->worker;
    server_peer_free(s, peer);
    dispatch_gone(s->dispatch, worker, "it said goodbye", server_now_ns());
    server_end_when_alone(s);
}

/* A message of a known peer on the control channel. */
static void from_peer(struct server *s, struct peer *peer, const struct wire_message *m,
                      const struct blob *payload)
{
    const struct wire_job_note *note = &m->job_note;
    uint64_t now = server_now_ns();
    switch (m->kind) {
    case WIRE_PROBE:
        on_probe(s, peer, &m->probe);
        break;
    case WIRE_REQUEST:
        dispatch_want(s->dispatch, peer->worker, m->request.slot, m->request.request, now);
        break;
    case WIRE_HEARTBEAT:
        on_heartbeat(s, peer, &m->heartbeat);
        break;
    case WIRE_RESULT_READY:
        if (token_fits(s, peer, m->result_ready.job, m->result_ready.attempt,
                       m->result_ready.token)) {
            on_result_ready(s, peer, &m->result_ready, payload);
        }
        break;
    case WIRE_FAILED:
        if (token_fits(s, peer, note->job, note->attempt, note->token)) {
            log_event(LOG_WARN, "job_failed", "worker=%s %s", peer->name, note->text);
            dispatch_failed(s->dispatch, peer->worker, note->job, note->attempt, note->text, now);
        }
        break;
    case WIRE_RELEASE:
        if (token_fits(s, peer, note->job, note->attempt, note->token)) {
            dispatch_release(s->dispatch, peer->worker, note->job, note->attempt, now);
        }
        break;
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        on_parting(s, peer, m->kind);
        break;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_WELCOME:
    case WIRE_REFUSED:
    case WIRE_READY:
    case WIRE_JOB:
    case WIRE_PONG:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_ATTACH:
    case WIRE_FETCH:
    case WIRE_PARAMS:
    case WIRE_RESULT:
    case WIRE_REPROBE:
    case WIRE_KINDS:
    default:
        server_strike(s, &peer->control, peer, "a message that only a coordinator sends");
        break;
    }
    server_pump(s);
}

/* The decoded message, or false after it was counted against the sender. */
static bool read_message(struct server *s, const struct socket_route *route, const uint8_t *header,
                         size_t bytes, struct wire_message *m)
{
    struct errbuf e = {{0}};
    if (server_route_is_bad(s, route)) {
        return false;
    }
    if (!header || wire_decode(header, bytes, m, &e) != OK) {
        server_strike(s, route, NULL, header ? e.text : "a wrong number of frames");
        return false;
    }
    return true;
}

void server_on_control(void *ctx, const struct socket_route *route, const uint8_t *header,
                       size_t bytes, struct blob **payload)
{
    struct server *s = ctx;
    struct wire_message m;
    if (s->ended || !server_admits(s, s->control, RIGHTS_JOBS) ||
        !read_message(s, route, header, bytes, &m)) {
        return;
    }
    if (m.kind == WIRE_HELLO) {
        on_hello(s, route, &m.hello);
        return;
    }
    struct peer *peer = server_peer_by_session(s, wire_session_of(&m));
    if (!peer || !socket_route_equal(&peer->control, route)) {
        if (m.kind != WIRE_GOODBYE) {
            server_refuse(s, route, wire_session_of(&m), WIRE_REFUSED_SESSION, 0,
                          "this session is not known (any more): say hello again");
        }
        return;
    }
    if (!s->ending || m.kind == WIRE_GOODBYE) {
        from_peer(s, peer, &m, *payload);
    }
}

static void on_result(struct server *s, struct peer *peer, const struct wire_job_note *m,
                      struct blob *payload)
{
    if (!token_fits(s, peer, m->job, m->attempt, m->token)) {
        return;
    }
    const struct announced *a = server_find_announced(peer, m->job, m->attempt);
    enum err error =
        dispatch_payload(s->dispatch, peer->worker, m->job, m->attempt, server_now_ns());
    FAILPOINT("result.received");
    if (error == OK) {
        const struct job *job = dispatch_job(s->dispatch, m->job);
        if (a && job && payload && a->ready.n_rows == job->n_units) {
            s->events.payload(s->events.ctx, job, &a->ready, payload);
        } else {
            dispatch_summed(s->dispatch, m->job, ERR_CORRUPT, server_now_ns());
        }
    }
    server_pump(s);
}

/* A version that is not served any more: whoever waits for it missed the word that its job is over.
 */
static void no_params(struct server *s, struct peer *peer, uint64_t version)
{
    struct wire_message m = {.kind = WIRE_PARAMS};
    m.params.session = peer->session;
    m.params.version = version;
    if (server_send_tensor(s, peer, &m, NULL) != OK) {
        log_event(LOG_DEBUG, "unsent", "message=params"); /* it will ask again */
    }
}

void server_on_tensor(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    struct server *s = ctx;
    struct wire_message m;
    if (s->ended || s->ending || !server_admits(s, s->tensor, RIGHTS_TENSORS) ||
        !read_message(s, route, header, bytes, &m)) {
        return;
    }
    struct peer *peer = server_peer_by_session(s, wire_session_of(&m));
    if (!peer || strcmp(peer->user, socket_sender(s->tensor)) != 0) {
        return; /* the control channel tells it to say hello again */
    }
    /* Whatever names the session attaches it: a DEALER does not know that its connection is a new
     * one, and would not say attach again. */
    peer->tensor = *route;
    peer->has_tensor = true;
    if (m.kind == WIRE_FETCH) {
        peer->fetch_waits = m.params.version == s->params_version && s->params;
        if (peer->fetch_waits) {
            server_send_params(s, peer);
        } else {
            no_params(s, peer, m.params.version);
        }
    } else if (m.kind == WIRE_RESULT) {
        on_result(s, peer, &m.job_note, *payload);
    } else if (m.kind != WIRE_ATTACH) {
        server_strike(s, route, NULL, "a message on the wrong channel");
    }
}
