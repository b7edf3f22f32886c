/* server.c - the loop, the sockets, and dispatch's actions as messages. */
#include "coordinator/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/wire/units_frame.h"
#include "coordinator/server_state.h"

enum {
    BEAT_MS = 500,
    PARTING_MS = 1000, /* workers have this long to say goodbye back */
};

uint64_t server_now_ns(void)
{
    return clock_now_ns();
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* the poll must not block: a tick is due after what waits in the sockets */
}

void server_wake(struct server *s)
{
    s->due = true;
    (void)uv_idle_start(&s->idle, on_idle);
}

static void peer_trouble(struct server *s, struct peer *peer, enum err error)
{
    if (error == ERR_GONE && peer->link == LINK_UP) {
        peer->link = LINK_LOST;
        server_wake(s);
    } else if (error != ERR_GONE && !peer->slow) {
        peer->slow = true;
        log_event(LOG_WARN, "worker_slow", "worker=%s %s", peer->name, err_text(error));
        dispatch_slow(s->dispatch, peer->worker, true, server_now_ns());
    }
}

enum err server_send(struct server *s, struct peer *peer, const struct wire_message *m,
                     struct blob *payload)
{
    uint8_t header[LIMIT_HEADER_BYTES];
    size_t bytes;
    wire_encode(m, header, &bytes);
    enum err error = socket_send(s->control, &peer->control, header, bytes, payload);
    if (error != OK) {
        peer_trouble(s, peer, error);
    }
    return error;
}

enum err server_send_tensor(struct server *s, struct peer *peer, const struct wire_message *m,
                            struct blob *payload)
{
    uint8_t header[LIMIT_HEADER_BYTES];
    size_t bytes;
    wire_encode(m, header, &bytes);
    return peer->has_tensor ? socket_send(s->tensor, &peer->tensor, header, bytes, payload)
                            : ERR_BUSY;
}

void server_refuse(struct server *s, const struct socket_route *route, uint64_t session,
                   enum wire_refusal code, uint32_t retry_ms, const char *text)
{
    log_limited(&s->refused_limit, clock_now_ms(), LOG_WARN, "refused", "%s", text);
    server_put_off(s, route, session, code, retry_ms, text);
}

void server_put_off(struct server *s, const struct socket_route *route, uint64_t session,
                    enum wire_refusal code, uint32_t retry_ms, const char *text)
{
    struct wire_message m = {.kind = WIRE_REFUSED};
    uint8_t header[LIMIT_HEADER_BYTES];
    size_t bytes;
    m.note.session = session;
    m.note.code = (uint32_t)code;
    m.note.retry_ms = retry_ms;
    (void)snprintf(m.note.text, sizeof m.note.text, "%s", text);
    wire_encode(&m, header, &bytes);
    if (socket_send(s->control, route, header, bytes, NULL) != OK) {
        log_event(LOG_DEBUG, "unsent", "message=refused");
    }
}

void server_send_params(struct server *s, struct peer *peer)
{
    struct wire_message m = {.kind = WIRE_PARAMS};
    m.params.session = peer->session;
    m.params.version = s->params_version;
    m.params.floats = s->params_floats;
    memcpy(m.params.hash, s->params_digest, sizeof m.params.hash);
    peer->fetch_waits = server_send_tensor(s, peer, &m, s->params) != OK;
}

static struct blob *job_frame(const struct server *s, const struct job *job)
{
    const struct unit *units[LIMIT_JOB_UNITS];
    CHECK(job->n_units <= LIMIT_JOB_UNITS);
    for (uint32_t i = 0; i < job->n_units; i++) {
        units[i] = &s->batch->units[job->units[i]];
    }
    if (s->batch->kind == JOB_GENERATE) {
        return server_requests_frame(s, job, units);
    }
    struct blob *frame = blob_new(units_frame_bytes(units, job->n_units));
    if (frame) {
        units_frame_write(units, job->n_units, blob_data_mut(frame));
    }
    return frame;
}

static void assign(struct server *s, struct peer *peer, const struct dispatch_action *a)
{
    const struct job *job = dispatch_job(s->dispatch, a->job);
    struct blob *frame = job ? job_frame(s, job) : NULL;
    if (!frame) {
        dispatch_release(s->dispatch, a->worker, a->job, a->attempt, server_now_ns());
        return;
    }
    struct wire_message m = {.kind = WIRE_JOB};
    m.job = (struct wire_job){.session = peer->session,
                              .job = a->job,
                              .kind = server_wire_kind(s->batch->kind),
                              .step = s->batch->kind == JOB_GRADIENT ? s->batch->tag : 0,
                              .version = s->version,
                              .adapter = s->adapter,
                              .units = job->n_units,
                              .rows = job->rows,
                              .attempt = a->attempt,
                              .slot = a->slot,
                              .request = a->request,
                              .score = s->batch->score,
                              .steer = s->batch->steer};
    server_token(s, a->worker, a->job, a->attempt, m.job.token);
    hash_xxh128(blob_data(frame), blob_bytes(frame), m.job.units_hash);
    enum err error = server_send(s, peer, &m, frame);
    blob_free(&frame);
    if (error != OK && error != ERR_GONE) {
        dispatch_release(s->dispatch, a->worker, a->job, a->attempt, server_now_ns());
    }
}

static void say(struct server *s, struct peer *peer, const struct dispatch_action *a,
                enum wire_kind kind)
{
    struct wire_message m = {.kind = kind};
    m.job_note.session = peer->session;
    m.job_note.job = a->job;
    m.job_note.attempt = a->attempt;
    server_token(s, a->worker, a->job, a->attempt, m.job_note.token);
    (void)snprintf(m.job_note.text, sizeof m.job_note.text, "%s", a->text);
    (void)server_send(s, peer, &m, NULL);
}

static void settled(struct server *s, struct peer *peer, const struct dispatch_action *a)
{
    const struct job *job = dispatch_job(s->dispatch, a->job);
    if (a->code == OK && job) {
        s->events.counted(s->events.ctx, job->rows);
    }
    if (peer) {
        server_drop_announced(peer, a->job, a->attempt);
        say(s, peer, a,
            a->code == OK            ? WIRE_ACK
            : a->code == ERR_REFUSED ? WIRE_REJECTED
                                     : WIRE_STALE);
    }
}

static void gone(struct server *s, struct peer *peer, const struct dispatch_action *a)
{
    log_event(LOG_INFO, "worker_gone", "%s", a->text);
    if (peer) {
        const struct socket_route route = peer->control;
        uint64_t session = peer->session;
        server_peer_free(s, peer);
        server_refuse(s, &route, session, WIRE_REFUSED_SESSION, 0, a->text);
    }
}

static void reprobe(struct server *s, struct peer *peer, const struct dispatch_action *a)
{
    log_event(LOG_WARN, "probe_again", "worker=%s %s", peer->name, a->text);
    struct wire_message m = {.kind = WIRE_REPROBE};
    m.session.session = peer->session;
    (void)server_send(s, peer, &m, NULL);
}

/* Actions that need a worker which is still there. */
static void for_peer(struct server *s, struct peer *peer, const struct dispatch_action *a)
{
    switch (a->act) {
    case DISPATCH_ASSIGN:
        assign(s, peer, a);
        return;
    case DISPATCH_CREDIT:
        say(s, peer, a, WIRE_SEND);
        return;
    case DISPATCH_CANCEL:
        say(s, peer, a, WIRE_STALE);
        return;
    case DISPATCH_PROBE:
        reprobe(s, peer, a);
        return;
    case DISPATCH_QUARANTINE:
        log_event(LOG_WARN, "quarantined", "worker=%s %s", peer->name, a->text);
        return;
    case DISPATCH_SETTLED:
    case DISPATCH_GONE:
    case DISPATCH_PROBE_SET:
    case DISPATCH_RESTART:
    case DISPATCH_BATCH_DONE:
    case DISPATCH_STOP:
    case DISPATCH_SUSPECT:
    case DISPATCH_NOTE:
    default:
        CHECK(!"an action for a worker");
    }
}

static void carry_out(struct server *s, const struct dispatch_action *a)
{
    struct peer *peer = a->worker ? server_peer_by_worker(s, a->worker) : NULL;
    switch (a->act) {
    case DISPATCH_SETTLED:
        settled(s, peer, a);
        return;
    case DISPATCH_GONE:
        gone(s, peer, a);
        return;
    case DISPATCH_PROBE_SET:
        if (!s->own_probe_known) {
            log_event(LOG_WARN, "probe", "taken from the first worker, %s",
                      peer ? peer->name : "gone by now");
            s->events.probe(s->events.ctx, dispatch_probe_digest(s->dispatch));
        }
        return;
    case DISPATCH_RESTART:
        log_event(LOG_WARN, "batch_restarts", "tag=%u", a->tag);
        s->events.restart(s->events.ctx);
        return;
    case DISPATCH_BATCH_DONE:
        s->events.batch_done(s->events.ctx, a->tag);
        return;
    case DISPATCH_STOP:
        s->events.stop(s->events.ctx, a->text);
        return;
    case DISPATCH_SUSPECT:
        log_event(LOG_WARN, "suspect_steps", "%s", a->text);
        if (s->events.suspect) {
            s->events.suspect(s->events.ctx, a->tag, a->job, a->text);
        }
        return;
    case DISPATCH_NOTE:
        log_event(LOG_WARN, "note", "%s", a->text);
        return;
    case DISPATCH_ASSIGN:
    case DISPATCH_CREDIT:
    case DISPATCH_CANCEL:
    case DISPATCH_PROBE:
    case DISPATCH_QUARANTINE:
    default:
        if (peer) {
            for_peer(s, peer, a);
        }
    }
}

void server_pump(struct server *s)
{
    struct dispatch_action action;
    while (s->dispatch && !s->ended && !s->ending && dispatch_next(s->dispatch, &action)) {
        carry_out(s, &action);
    }
}

static void on_timer(uv_timer_t *timer)
{
    server_wake(timer->data);
}

/* After the sockets had their turn, so that no deadline fires on a message that is already here. */
static void on_check(uv_check_t *check)
{
    struct server *s = check->data;
    if (!s->due || s->ended) {
        return;
    }
    s->due = false;
    (void)uv_idle_stop(&s->idle);
    if (server_part_lost(s)) {
        server_wake(s);
    }
    if (s->ending && s->dispatch && s->standing) {
        s->owner.task_over(s->owner.ctx);
        return;
    }
    if (s->ending) {
        server_end_when_alone(s);
        return;
    }
    if (!s->dispatch) {
        return;
    }
    uint64_t rest_ns = dispatch_tick(s->dispatch, server_now_ns());
    server_pump(s);
    uint64_t rest_ms = rest_ns / 1000000u;
    (void)uv_timer_start(&s->timer, on_timer, rest_ms < 5 ? 5 : rest_ms, 0);
}

static void on_beat(uv_timer_t *timer)
{
    struct server *s = timer->data;
    server_report_turned_away(s);
    if (s->standing) {
        server_forget_silent(s);
        s->owner.tick(s->owner.ctx, clock_now_ms());
    } else {
        s->events.tick(s->events.ctx, clock_now_ms());
    }
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct server *s = handle->data;
    log_event(LOG_INFO, "signal", "number=%d", signum);
    if (s->standing) {
        s->owner.signal(s->owner.ctx);
    } else {
        s->events.signal(s->events.ctx);
    }
}

static void open_handles(struct server *s)
{
    CHECK(uv_timer_init(&s->loop, &s->timer) == 0);
    CHECK(uv_timer_init(&s->loop, &s->beat) == 0);
    CHECK(uv_check_init(&s->loop, &s->check) == 0);
    CHECK(uv_idle_init(&s->loop, &s->idle) == 0);
    CHECK(uv_signal_init(&s->loop, &s->terminate) == 0);
    CHECK(uv_signal_init(&s->loop, &s->interrupt) == 0);
    s->timer.data = s->beat.data = s->check.data = s;
    s->terminate.data = s->interrupt.data = s;
    (void)signal(SIGPIPE, SIG_IGN);
}

enum err server_shell_open(const struct server_doors *doors, const struct server_config *cfg,
                           struct server **out, struct errbuf *e)
{
    *out = NULL;
    struct server *s = mem_calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_NOMEM, "no memory for the server");
    }
    s->doors = *doors;
    s->standing = cfg == NULL;
    s->cfg = cfg ? *cfg : (struct server_config){0};
    CHECK(uv_loop_init(&s->loop) == 0);
    open_handles(s);
    CHECK(getrandom(s->secret, sizeof s->secret, 0) == (ssize_t)sizeof s->secret);
    enum err error = server_open_sockets(s, e);
    if (error != OK) {
        server_close(&s);
        return error;
    }
    *out = s;
    return OK;
}

const char *server_jobs_address(const struct server *s)
{
    return s->jobs_address;
}

const char *server_status_address(const struct server *s)
{
    return s->status_address;
}

enum err server_attach(struct server *s, struct mailbox *m, void (*ready)(void *ctx), void *ctx)
{
    return mailbox_attach(m, &s->loop, ready, ctx);
}

void server_start(struct server *s)
{
    (void)uv_signal_start(&s->terminate, on_signal, SIGTERM);
    (void)uv_signal_start(&s->interrupt, on_signal, SIGINT);
    (void)uv_timer_start(&s->timer, on_timer, 1, 0);
    if (!s->ending) {
        (void)uv_timer_start(&s->beat, on_beat, 0, BEAT_MS);
    }
    (void)uv_check_start(&s->check, on_check);
}

bool server_ended(const struct server *s)
{
    return s->ended;
}

void server_run(struct server *s)
{
    server_start(s);
    while (!s->ended) {
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    }
}

static void tell_all(struct server *s, enum wire_kind kind, enum wire_parting why, const char *text)
{
    for (size_t i = 0; i < s->n_peers; i++) {
        if (!s->peers[i].used) {
            continue;
        }
        struct wire_message m = {.kind = kind};
        m.note.session = s->peers[i].session;
        m.note.code = (uint32_t)why;
        (void)snprintf(m.note.text, sizeof m.note.text, "%s", text);
        (void)server_send(s, &s->peers[i], &m, NULL);
    }
}

static void end_now(struct server *s)
{
    s->ended = true;
    uv_stop(&s->loop);
}

static void on_parted(uv_timer_t *timer)
{
    end_now(timer->data);
}

void server_end_when_alone(struct server *s)
{
    for (size_t i = 0; i < s->n_peers; i++) {
        if (s->peers[i].used) {
            return;
        }
    }
    if (s->ending) {
        end_now(s);
    }
}

/* A DEALER that does not queue to absent peers drops what it has not read yet when its peer closes:
 * so the sockets stay open until every worker has answered, or for a second. A task of a standing
 * server ends without goodbyes: the owner closes it, and its workers wait for the next. */
void server_end(struct server *s, enum wire_parting why, const char *text)
{
    if (s->standing && s->dispatch) {
        s->ending = true;
        server_wake(s);
    } else if (!s->ended && !s->ending) {
        tell_all(s, WIRE_GOODBYE, why, text);
        s->ending = true;
        (void)uv_timer_start(&s->beat, on_parted, PARTING_MS, 0);
        server_end_when_alone(s);
    }
}

void server_drain_worker(struct server *s, struct peer *peer)
{
    struct wire_message m = {.kind = WIRE_DRAIN};
    m.note.session = peer->session;
    m.note.code = (uint32_t)WIRE_PARTING_SHUTDOWN;
    (void)snprintf(m.note.text, sizeof m.note.text, "drained by an operator");
    (void)server_send(s, peer, &m, NULL);
    dispatch_drain(s->dispatch, peer->worker, server_now_ns());
    server_pump(s);
}

void server_drain(struct server *s)
{
    s->draining = true;
    dispatch_pause(s->dispatch, true, server_now_ns());
    server_pump(s);
}

void server_close(struct server **server)
{
    struct server *s = *server;
    *server = NULL;
    if (!s) {
        return;
    }
    s->ended = true;
    server_probe_stop(s);
    server_close_sockets(s);
    uv_handle_t *const handles[] = {(uv_handle_t *)&s->timer,     (uv_handle_t *)&s->beat,
                                    (uv_handle_t *)&s->check,     (uv_handle_t *)&s->idle,
                                    (uv_handle_t *)&s->terminate, (uv_handle_t *)&s->interrupt};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        uv_close(handles[i], NULL);
    }
    while (uv_run(&s->loop, UV_RUN_DEFAULT) != 0) { /* a stop may be left from the end */
    }
    CHECK(uv_loop_close(&s->loop) == 0);
    for (size_t i = 0; i < s->n_peers; i++) {
        server_peer_free(s, &s->peers[i]);
    }
    socket_context_close(&s->context);
    dispatch_free(&s->dispatch);
    blob_free(&s->params);
    mem_free(s->peers);
    mem_free(s->parked);
    mem_free(s);
}

static void release_snapshot(void *snapshot)
{
    params_snapshot_release(snapshot);
}

enum err server_publish(struct server *s, struct params_snapshot *snapshot)
{
    FAILPOINT("params.publish");
    struct blob *blob = blob_wrap(snapshot->flat, snapshot->count * sizeof *snapshot->flat,
                                  release_snapshot, snapshot);
    if (!blob) {
        params_snapshot_release(snapshot);
        return ERR_NOMEM;
    }
    blob_free(&s->params);
    s->params = blob;
    s->params_version = snapshot->version;
    s->params_floats = snapshot->count;
    memcpy(s->params_digest, snapshot->digest, sizeof s->params_digest);
    FAILPOINT("params.published");
    return OK;
}

enum err server_batch(struct server *s, const struct batch *batch, bool adapter, uint64_t version)
{
    s->batch = batch;
    s->adapter = adapter;
    s->version = version;
    for (size_t i = 0; i < s->n_peers; i++) {
        while (s->peers[i].used && s->peers[i].announced) {
            const struct wire_result_ready *r = &s->peers[i].announced->ready;
            server_drop_announced(&s->peers[i], r->job, r->attempt);
        }
    }
    const struct dispatch_batch open = {.kind = batch->kind,
                                        .tag = batch->tag,
                                        .n_units = batch->n_units,
                                        .unit_ids = batch->ids,
                                        .rows = batch->rows};
    enum err error = dispatch_open(s->dispatch, &open, server_now_ns());
    server_pump(s);
    return error;
}

void server_summed(struct server *s, uint64_t job, enum err code)
{
    dispatch_summed(s->dispatch, job, code, server_now_ns());
    server_pump(s);
}

void server_committed(struct server *s, uint32_t tag)
{
    dispatch_committed(s->dispatch, tag);
    server_pump(s);
}

void server_pause(struct server *s, bool paused)
{
    dispatch_pause(s->dispatch, paused, server_now_ns());
    server_pump(s);
}

struct queue_counts server_counts(const struct server *s)
{
    return dispatch_counts(s->dispatch);
}

uint32_t server_workers(const struct server *s)
{
    return roster_count(dispatch_roster(s->dispatch));
}

uint32_t server_slots(const struct server *s)
{
    return roster_ready_slots(dispatch_roster(s->dispatch));
}
