/* fuzz_server.c - a coordinator and whatever its workers send: bytes -> decode -> the real server,
 * its dispatch, roster, queue, screen and sum. Only the network and the clock are the fuzzer's: the
 * functions of socket.h and clock.h are defined here and linked in place of the real ones.
 *
 * An input is a byte of settings and records of 6 bytes and a body: op, route, kind, argument,
 * u16 bytes of the body.
 *   RAW     the body is a header frame as it is; argument: which payload goes along
 *   HONEST  what a good worker would say now, a message of that kind; the body then overwrites
 *           bytes of the frame, pairs of (place, value); of answers, with argument 128 and above,
 *           of the payload
 *   TIME    argument * 50 ms pass, then a tick
 *   SUMMED  the reducer's oldest answer arrives
 *   FULL    the route's queue is full (argument 1), gone (2) or fine (0) from now on
 *   STATUS  the body is a status request
 * After every record the books must balance (check_books). */
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "coordinator/dispatch_state.h"
#include "coordinator/generate.h"
#include "coordinator/plan.h"
#include "coordinator/reduce.h"
#include "coordinator/server_state.h"
#include "tests/fuzz/driver.h"
#include "tests/support/no_keys.h"
#include "tests/support/no_net.h"
#include "tests/support/wire_sample.h"

enum { OP_RAW, OP_HONEST, OP_TIME, OP_SUMMED, OP_FULL, OP_STATUS, OPS };
enum {
    ROUTES = 4,
    FLOATS = 4,
    UNITS = 6,
    LEAVES = 2,
    VOCAB = 50,
    BATCHES_MAX = 8,
    RECORD_BYTES = 6,
    RECORDS_MAX = 400,
};
/* Jobs are gradients, scores, answers (VALUES) or captured sums (both). */
enum {
    SETTING_SCORE = 1,
    SETTING_RELAXED = 2,
    SETTING_VALUES = 4,
    SETTINGS = 8,
    SETTING_AUDIT = 8, /* every gradient by two hosts */
};
enum { ANSWER_TOKENS = 3 };

/* A job that was handed to a route, and where its token is. */
struct held {
    struct wire_job job;
    bool credited;
};

struct route {
    uint8_t full;
    uint64_t session, request[2], epoch;
    struct held held[2]; /* by slot */
};

/* An answer of the reducer on its way. */
struct answer {
    uint64_t job;
    enum err code;
};

static struct {
    uint64_t now_ns;
    struct server *server;
    struct batch batch;
    struct tree trees[UNITS];
    struct unit units[UNITS];
    uint64_t ids[UNITS];
    uint32_t rows[UNITS];
    uint32_t counted[UNITS]; /* times, in this batch */
    struct reduce *reduce;
    struct generate *generate;
    struct answer answers[LIMIT_RESULTS_IN_FLIGHT];
    uint32_t n_answers, batches;
    struct route routes[ROUTES];
    double scores; /* read, so that a sanitizer sees where they end */
    bool done, stopped;
} w;

/* -- the clock and the network ------------------------------------------------------------------
 */

uint64_t clock_now_ns(void)
{
    return w.now_ns;
}

uint64_t clock_now_ms(void)
{
    return w.now_ns / 1000000u;
}

/* What a worker learns from what it is sent; every frame must be one that a worker accepts. */
static void hear(struct route *r, const struct wire_message *m)
{
    if (m->kind == WIRE_WELCOME) {
        *r = (struct route){.full = r->full, .session = m->welcome.session, .epoch = r->epoch};
    } else if (m->kind == WIRE_JOB) {
        r->held[m->job.slot % 2] = (struct held){.job = m->job};
    } else if (m->kind == WIRE_SEND) {
        for (int s = 0; s < 2; s++) {
            r->held[s].credited =
                r->held[s].credited || (r->held[s].job.job == m->job_note.job &&
                                        r->held[s].job.attempt == m->job_note.attempt);
        }
    }
}

enum err socket_send(struct socket *s, const struct socket_route *route, const uint8_t *header,
                     size_t header_bytes, struct blob *payload)
{
    struct wire_message m;
    struct errbuf e;
    (void)s;
    CHECK(route->length == 1 && route->bytes[0] < ROUTES);
    struct route *r = &w.routes[route->bytes[0]];
    if (r->full != 0) {
        return r->full == 1 ? ERR_BUSY : ERR_GONE;
    }
    if (wire_decode(header, header_bytes, &m, &e) == OK) {
        /* Parameters are never published here: the answer is that the version is not served. */
        CHECK(m.kind == WIRE_PARAMS ? !payload : payload || m.kind != WIRE_JOB);
        hear(r, &m);
    } else {
        struct status status; /* the only frame that is no message of the two channels */
        CHECK(status_decode(header, header_bytes, &status, &e) == OK);
        status_free(&status);
    }
    return OK;
}

/* -- the run behind the server ------------------------------------------------------------------
 */

static void on_payload(void *ctx, const struct job *job, const struct wire_result_ready *announced,
                       struct blob *payload)
{
    (void)ctx;
    int64_t loss[LIMIT_JOB_UNITS];
    uint32_t labels[LIMIT_JOB_UNITS];
    CHECK(w.batch.kind == JOB_GRADIENT && announced->n_rows == job->n_units);
    /* What is summed is what was judged. */
    CHECK(memcmp(announced->payload_hash, job->digest, sizeof job->digest) == 0);
    for (uint32_t i = 0; i < announced->n_rows; i++) {
        CHECK(announced->rows[i].unit == w.ids[job->units[i]]);
        loss[i] = announced->rows[i].loss;
        labels[i] = announced->rows[i].labels;
    }
    struct reduce_job r = {.n_units = job->n_units,
                           .units = job->units,
                           .loss = loss,
                           .labels = labels,
                           .payload = blob_data(payload),
                           .bytes = blob_bytes(payload)};
    memcpy(r.digest, announced->payload_hash, sizeof r.digest);
    enum err code = reduce_add(w.reduce, w.batch.tag, &r);
    CHECK(code != ERR_STATE && code != ERR_STALE); /* a unit twice, another step */
    for (uint32_t i = 0; code == OK && i < job->n_units; i++) {
        w.counted[job->units[i]]++;
    }
    CHECK(w.n_answers < LIMIT_RESULTS_IN_FLIGHT);
    w.answers[w.n_answers++] = (struct answer){.job = job->id, .code = code};
}

static void on_scores(void *ctx, const struct job *job, const double *leaf)
{
    (void)ctx;
    CHECK(w.batch.kind == JOB_SCORE);
    for (uint32_t i = 0; i < job->n_units; i++) {
        w.counted[job->units[i]]++;
        w.scores += leaf[i * LEAVES] + leaf[i * LEAVES + LEAVES - 1];
    }
}

/* As phases hand it on; what is taken must be usable as it is. */
static void on_values(void *ctx, const struct job *job, const struct blob *payload)
{
    struct errbuf e;
    (void)ctx;
    CHECK(w.batch.kind == JOB_GENERATE || w.batch.kind == JOB_CAPTURE);
    if (w.batch.kind == JOB_GENERATE) {
        CHECK(generate_take_job(w.generate, job, payload, &e) == OK);
    } else {
        CHECK(blob_bytes(payload) == FLOATS * sizeof(int64_t));
    }
    for (uint32_t i = 0; i < job->n_units; i++) {
        w.counted[job->units[i]]++;
    }
}

static void on_counted(void *ctx, uint32_t tokens)
{
    (void)ctx;
    CHECK(tokens > 0);
}

static void on_restart(void *ctx)
{
    (void)ctx;
    memset(w.counted, 0, sizeof w.counted);
    if (w.batch.kind == JOB_GRADIENT) {
        CHECK(reduce_begin(w.reduce, w.batch.tag, UNITS, UNITS) == OK);
    }
}

static void on_batch_done(void *ctx, uint32_t tag)
{
    (void)ctx;
    CHECK(tag == w.batch.tag);
    for (uint32_t i = 0; i < UNITS; i++) {
        CHECK(w.counted[i] == 1);
    }
    CHECK(w.batch.kind != JOB_GENERATE || generate_left(w.generate) == 0);
    w.done = true;
}

static void on_stop(void *ctx, const char *why)
{
    (void)ctx;
    CHECK(why[0] != '\0');
    w.stopped = true;
    server_end(w.server, WIRE_PARTING_FAILED, why);
}

static void on_probe(void *ctx, const uint8_t *digest)
{
    (void)ctx;
    CHECK(digest != NULL);
}

static void on_status(void *ctx, struct status *status)
{
    (void)ctx;
    (void)snprintf(status->state, sizeof status->state, "running");
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void on_tick(void *ctx, uint64_t now_ms)
{
    (void)ctx;
    (void)now_ms;
}

static void make_trees(void)
{
    struct errbuf e;
    for (uint32_t i = 0; i < UNITS; i++) {
        struct tree *t = &w.trees[i];
        CHECK(tree_alloc(t, 3, 4, 2, LEAVES) == OK);
        t->id = i;
        t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = 2};
        t->nodes[1] = (struct tree_node){.parent = 0, .count = 1};
        t->nodes[2] = (struct tree_node){.parent = 0, .count = 1};
        t->labels[0] = (struct tree_label){.row = 1, .target = 3, .leaf = 0, .weight = 1.0f};
        t->labels[1] = (struct tree_label){.row = 1, .target = 4, .leaf = 1, .weight = 1.0f};
        CHECK(tree_finish(t, VOCAB, &e) == OK);
        w.rows[i] = t->n_rows;
        w.units[i] = (struct unit){.n_trees = 1, .n_rows = t->n_rows, .trees = t};
    }
}

static enum job_kind kind_of(uint8_t settings)
{
    static const enum job_kind kinds[] = {JOB_GRADIENT, JOB_SCORE, JOB_GENERATE, JOB_CAPTURE};
    return kinds[(settings & SETTING_SCORE) | (settings & SETTING_VALUES ? 2 : 0)];
}

/* Questions to a model, by the coordinator's own module. */
static void ask(uint32_t number)
{
    static const uint32_t prompt[] = {1, 2, 3};
    const struct generate_branch one = {prompt, 3, 1.0f};
    const struct generate_branch two[] = {{prompt, 3, 0.25f}, {prompt, 2, 0.75f}};
    struct errbuf e;
    batch_free(&w.batch);
    generate_free(&w.generate);
    CHECK(generate_new(NULL, VOCAB, &w.generate, &e) == OK);
    for (uint32_t i = 0; i < UNITS; i++) {
        const struct answer_request how = {.seed = i,
                                           .temperature = 1.0f,
                                           .top_p = 1.0f,
                                           .max_new_tokens = ANSWER_TOKENS,
                                           .n_stops = 1,
                                           .stops = {7}};
        CHECK(generate_add(w.generate, i % 2 ? two : &one, 1 + i % 2, &how, &e) == OK);
    }
    CHECK(generate_batch(w.generate, number, &w.batch, &e) == OK);
    CHECK(w.batch.n_units == UNITS);
    memcpy(w.ids, w.batch.ids, sizeof w.ids);
}

/* The next batch, as phases.c opens one when the last is done. */
static void open_batch(enum job_kind kind)
{
    uint32_t tag = kind == JOB_GRADIENT ? w.batches : PLAN_EVAL_TAG | w.batches;
    for (uint32_t i = 0; i < UNITS; i++) {
        w.ids[i] = w.units[i].id = ((uint64_t)tag << 32) | i;
    }
    if (kind == JOB_GENERATE) {
        ask(w.batches);
    } else {
        w.batch = (struct batch){.kind = kind,
                                 .tag = tag,
                                 .n_units = UNITS,
                                 .units = w.units,
                                 .ids = w.ids,
                                 .rows = w.rows,
                                 .trees = w.trees,
                                 .sums = FLOATS};
    }
    w.batches++;
    w.done = false;
    w.n_answers = 0;
    on_restart(NULL);
    CHECK(server_batch(w.server, &w.batch, kind == JOB_GRADIENT, 0) == OK);
}

static void open_world(uint8_t settings)
{
    const struct server_doors doors = {.bind = "ipc:///nowhere/jobs",
                                       .status = "ipc:///nowhere/status"};
    struct server_config c = {.kernels_bit = 1,
                              .model_hash = wire_sample_hash,
                              .model_name = "tiny",
                              .model_path = "tiny",
                              .shape_digest = "0123456789abcdef0123456789abcdef",
                              .floats = FLOATS,
                              .start = 1,
                              .has_probe = true};
    struct wire_message sample;
    wire_sample(&sample, WIRE_WELCOME);
    c.welcome = sample.welcome;
    c.welcome.strict = (settings & SETTING_RELAXED) == 0;
    c.welcome.silence_ms = SERVER_SILENCE_MS;
    c.audit_rate = settings & SETTING_AUDIT ? 1.0 : 0.0;
    const struct server_events events = {.payload = on_payload,
                                         .scores = on_scores,
                                         .values = on_values,
                                         .counted = on_counted,
                                         .restart = on_restart,
                                         .batch_done = on_batch_done,
                                         .stop = on_stop,
                                         .probe = on_probe,
                                         .status = on_status,
                                         .signal = on_nothing,
                                         .tick = on_tick};
    struct errbuf e;
    memset(&w, 0, sizeof w);
    log_init("fuzz", LOG_ERROR);
    w.now_ns = 1000000000ull;
    make_trees();
    CHECK(reduce_new(FLOATS, &w.reduce) == OK);
    CHECK(server_open(&doors, &c, &events, &w.server, &e) == OK);
    memset(w.server->secret, 7, sizeof w.server->secret); /* the same tokens every time */
    open_batch(kind_of(settings));
}

static void close_world(void)
{
    server_close(&w.server);
    if (w.batch.kind == JOB_GENERATE) {
        batch_free(&w.batch);
    }
    generate_free(&w.generate);
    reduce_free(&w.reduce);
    for (uint32_t i = 0; i < UNITS; i++) {
        tree_free(&w.trees[i]);
    }
}

/* -- what is sent -------------------------------------------------------------------------------
 */

/* By argument: none, empty, one element, three elements too few or too many, and the right ones. */
static struct blob *payload_of(uint8_t argument, size_t elements)
{
    static const int more[] = {0, 0, -1, 1};
    if (argument % 8 == 1) {
        return NULL;
    }
    size_t n = argument % 8 == 2 ? 0 : (size_t)((int)elements + more[argument % 4]) * 8;
    struct blob *blob = blob_new(n);
    CHECK(blob);
    if (n > 0) {
        memset(blob_data_mut(blob), argument / 8, n);
    }
    return blob;
}

static size_t elements_of(const struct wire_job *job)
{
    return job->kind == WIRE_SCORE ? (size_t)job->units * LEAVES : FLOATS;
}

/* Answers of the units of a job: as many tokens as the argument says, the body's bytes over them.
 */
static struct blob *answers_of(uint8_t argument, uint32_t units, const uint8_t *body, size_t n)
{
    uint32_t tokens = argument % 4;
    size_t each = 8 + 4 * (size_t)tokens;
    struct blob *blob = blob_new(units * each);
    CHECK(blob);
    for (uint32_t i = 0; i < units; i++) {
        uint8_t *at = blob_data_mut(blob) + i * each;
        memset(at, 0, each);
        at[0] = (uint8_t)tokens;
        at[4] = tokens == ANSWER_TOKENS ? ANSWER_FULL : ANSWER_STOPPED;
        memset(at + 8, 0, each - 8);
    }
    for (size_t i = 0; argument >= 64 && i + 1 < n; i += 2) {
        blob_data_mut(blob)[body[i] % (units * each)] = body[i + 1];
    }
    return blob;
}

static void honest_result(struct wire_result_ready *m, const struct wire_job *job,
                          struct blob *payload)
{
    const struct job *known = dispatch_job(w.server->dispatch, job->job);
    m->session = job->session;
    m->job = job->job;
    m->kind = job->kind;
    m->attempt = job->attempt;
    memcpy(m->token, job->token, sizeof m->token);
    m->n_rows = job->units;
    for (uint32_t i = 0; i < job->units; i++) {
        m->rows[i] = (struct wire_unit_row){
            .unit = known ? w.ids[known->units[i]] : i, .loss = 1, .sumsq = 1.0, .labels = 2};
    }
    m->payload_bytes =
        job->kind == WIRE_GENERATE && payload ? blob_bytes(payload) : elements_of(job) * 8;
    if (payload) {
        hash_xxh128(blob_data(payload), blob_bytes(payload), m->payload_hash);
    }
}

/* A message that fits what the route was told; false when there is nothing to say. */
static bool honest(struct route *r, uint8_t route, enum wire_kind kind, uint8_t argument,
                   const uint8_t *body, size_t n, struct wire_message *m, struct blob **payload)
{
    const struct held *held = &r->held[argument & 1];
    wire_sample(m, kind);
    if (kind == WIRE_HELLO) {
        (void)snprintf(m->hello.worker, sizeof m->hello.worker, "w%u", route);
        (void)snprintf(m->hello.host, sizeof m->hello.host, "host-%u", route);
        r->epoch += argument & 1; /* or the same hello again */
        m->hello.epoch = r->epoch;
        return true;
    }
    if (kind == WIRE_REQUEST) {
        r->request[argument & 1] += argument < 128;
        m->request = (struct wire_request){
            .session = r->session, .slot = argument & 1, .request = r->request[argument & 1] + 1};
    } else if (kind == WIRE_RESULT_READY) {
        if (held->job.units > 0) {
            *payload = held->job.kind == WIRE_GENERATE
                           ? answers_of(argument >> 1, held->job.units, body, n)
                           : payload_of(argument >> 1, elements_of(&held->job));
        }
        honest_result(&m->result_ready, &held->job, *payload);
        if (held->job.kind == WIRE_GRADIENT) {
            blob_free(payload);
        }
    } else if (kind == WIRE_HEARTBEAT) {
        m->heartbeat = (struct wire_heartbeat){.session = r->session, .n_slots = 1};
        m->heartbeat.slots[0].job = held->job.job;
        m->heartbeat.slots[0].attempt = held->job.attempt;
    } else if (kind == WIRE_FAILED || kind == WIRE_RELEASE || kind == WIRE_RESULT) {
        m->job_note.session = r->session;
        m->job_note.job = held->job.job;
        m->job_note.attempt = held->job.attempt;
        memcpy(m->job_note.token, held->job.token, sizeof m->job_note.token);
        *payload = kind == WIRE_RESULT ? payload_of(argument >> 1, FLOATS) : NULL;
    } else if (kind == WIRE_PROBE) {
        memset(m->probe.digest, argument > 250, sizeof m->probe.digest);
        m->probe.session = r->session;
    } else {
        /* Every message but hello and refused begins with the session. */
        m->session.session = r->session;
    }
    struct errbuf e;
    return wire_check(m, &e) == OK;
}

static void deliver(uint8_t route, enum wire_kind kind, const uint8_t *frame, size_t bytes,
                    struct blob *payload)
{
    struct socket_route from = {.length = 1, .bytes = {route}};
    bool tensor = kind == WIRE_ATTACH || kind == WIRE_FETCH || kind == WIRE_RESULT;
    uint8_t *copy = mem_calloc(bytes, 1); /* exactly so long, for the sanitizer */
    CHECK(copy);
    if (bytes > 0) {
        memcpy(copy, frame, bytes);
    }
    (tensor ? server_on_tensor : server_on_control)(w.server, &from, copy, bytes, &payload);
    blob_free(&payload);
    mem_free(copy);
}

static void say_honestly(uint8_t route, uint8_t kind, uint8_t argument, const uint8_t *body,
                         size_t n)
{
    uint8_t frame[LIMIT_HEADER_BYTES];
    size_t bytes;
    struct wire_message m;
    struct blob *payload = NULL;
    enum wire_kind which = (enum wire_kind)(1 + kind % (WIRE_KINDS - 1));
    if (!honest(&w.routes[route], route, which, argument, body, n, &m, &payload)) {
        blob_free(&payload);
        return;
    }
    wire_encode(&m, frame, &bytes);
    bool in_payload = argument >= 128 && which == WIRE_RESULT_READY && w.batch.kind == JOB_GENERATE;
    for (size_t i = 0; i + 1 < n && !in_payload; i += 2) {
        frame[body[i] % bytes] = body[i + 1];
    }
    deliver(route, which, frame, bytes, payload);
}

/* -- the books ----------------------------------------------------------------------------------
 */

static void check_books(void)
{
    const struct server *s = w.server;
    struct dispatch_action action;
    struct queue_counts q = server_counts(s);
    CHECK(s->ended || s->ending || !dispatch_next(s->dispatch, &action));
    CHECK(q.units == UNITS && q.waiting + q.leased + q.done == q.units);
    CHECK(q.rows_done <= q.rows);
    CHECK(s->dispatch->n_credited <= LIMIT_RESULTS_IN_FLIGHT);
    const struct roster *roster = dispatch_roster(s->dispatch);
    for (uint32_t i = 0; i < roster_count(roster); i++) {
        const struct worker *worker = roster_at(roster, i);
        uint32_t busy = 0;
        for (uint32_t slot = 0; slot < worker->n_slots; slot++) {
            busy += worker->slots[slot].state == SLOT_BUSY;
        }
        CHECK(busy == worker->busy && busy <= worker->n_slots);
    }
    for (uint32_t i = 0; i < UNITS; i++) {
        CHECK(w.counted[i] <= 1);
    }
    for (size_t i = 0; i < s->n_peers; i++) {
        uint32_t kept = 0;
        for (const struct announced *a = s->peers[i].announced; a; a = a->next) {
            kept++;
        }
        CHECK(kept <= UNITS); /* a job is announced and waits, or is forgotten */
        CHECK(s->peers[i].used || kept == 0);
    }
}

static void tick(uint8_t argument)
{
    w.now_ns += argument * 50000000ull;
    (void)server_part_lost(w.server);
    (void)dispatch_tick(w.server->dispatch, w.now_ns);
    server_pump(w.server);
}

static void hear_reducer(void)
{
    if (w.n_answers > 0) {
        struct answer a = w.answers[0];
        w.n_answers--;
        memmove(w.answers, w.answers + 1, w.n_answers * sizeof *w.answers);
        server_summed(w.server, a.job, a.code);
    }
}

static void play(const uint8_t *record, const uint8_t *body, size_t n)
{
    uint8_t route = record[1] % ROUTES;
    switch (record[0] % OPS) {
    case OP_RAW: {
        /* The kind only says on which channel it comes. */
        enum wire_kind kind = record[2] & 1 ? WIRE_RESULT : WIRE_REQUEST;
        deliver(route, kind, body, n, record[3] == 0 ? NULL : payload_of(record[3], FLOATS));
        break;
    }
    case OP_HONEST:
        say_honestly(route, record[2], record[3], body, n);
        break;
    case OP_TIME:
        tick(record[3]);
        break;
    case OP_SUMMED:
        hear_reducer();
        break;
    case OP_FULL:
        w.routes[route].full = record[3] % 3;
        break;
    default: {
        struct socket_route from = {.length = 1, .bytes = {route}};
        server_on_status(w.server, &from, body, n, NULL);
        break;
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    open_world(data[0]);
    size_t at = 1;
    for (int i = 0; i < RECORDS_MAX && bytes - at >= RECORD_BYTES && !w.stopped; i++) {
        const uint8_t *record = data + at;
        size_t n = (size_t)record[4] | (size_t)record[5] << 8;
        at += RECORD_BYTES;
        n = n < bytes - at ? n : bytes - at;
        play(record, data + at, n);
        at += n;
        check_books();
        if (w.done && !w.stopped) {
            server_committed(w.server, w.batch.tag);
            if (w.batches == BATCHES_MAX) {
                break;
            }
            open_batch(w.batch.kind);
            check_books();
        }
    }
    close_world();
    return 0;
}

/* -- seeds: whole lives -------------------------------------------------------------------------
 */

static void put(struct str *s, uint8_t op, uint8_t route, enum wire_kind kind, uint8_t argument)
{
    const char record[RECORD_BYTES] = {(char)op, (char)route, (char)(kind - 1), (char)argument};
    str_append(s, record, sizeof record);
}

static void put_join(struct str *s, uint8_t route)
{
    put(s, OP_HONEST, route, WIRE_HELLO, 1);
    put(s, OP_HONEST, route, WIRE_PROBE, 0);
    put(s, OP_HONEST, route, WIRE_ATTACH, 0);
}

/* One job of a slot, from the request to the sum. */
static void put_job(struct str *s, uint8_t route, uint8_t slot, uint8_t shade)
{
    uint8_t argument = (uint8_t)(slot | shade << 4);
    put(s, OP_HONEST, route, WIRE_REQUEST, slot);
    put(s, OP_HONEST, route, WIRE_HEARTBEAT, slot);
    put(s, OP_HONEST, route, WIRE_RESULT_READY, argument);
    put(s, OP_HONEST, route, WIRE_RESULT, argument);
    put(s, OP_SUMMED, 0, WIRE_HELLO, 0);
}

static struct fuzz_seed finished(struct str *s)
{
    CHECK(str_ok(s) == OK);
    struct fuzz_seed seed = fuzz_seed_text(s->data, s->len);
    str_free(s);
    return seed;
}

static struct fuzz_seed quiet_life(char settings)
{
    struct str s = {0};
    str_append(&s, &settings, 1);
    put_join(&s, 0);
    put_join(&s, 1);
    for (int i = 0; i < 8; i++) {
        put_job(&s, (uint8_t)(i % 2), (uint8_t)(i / 2 % 2), 0);
    }
    return finished(&s);
}

static struct fuzz_seed rough_life(char settings)
{
    struct str s = {0};
    str_append(&s, &settings, 1);
    for (uint8_t route = 0; route < ROUTES; route++) {
        put_join(&s, route);
        put(&s, OP_HONEST, route, WIRE_REQUEST, 0);
    }
    put(&s, OP_HONEST, 0, WIRE_FAILED, 0);
    put(&s, OP_HONEST, 1, WIRE_RELEASE, 0);
    put(&s, OP_TIME, 0, WIRE_HELLO, 80); /* everybody is silent */
    put_join(&s, 2);
    put(&s, OP_FULL, 2, WIRE_HELLO, 1);
    put_job(&s, 2, 0, 0);
    put(&s, OP_FULL, 2, WIRE_HELLO, 0);
    put(&s, OP_HONEST, 2, WIRE_HEARTBEAT, 0);
    put_join(&s, 3);
    put_job(&s, 3, 1, 3); /* other bits than the others' */
    put_job(&s, 2, 1, 0);
    put(&s, OP_HONEST, 2, WIRE_DRAIN, 0);
    put(&s, OP_HONEST, 3, WIRE_GOODBYE, 0);
    put(&s, OP_FULL, 2, WIRE_HELLO, 2);
    put(&s, OP_TIME, 0, WIRE_HELLO, 200);
    return finished(&s);
}

/* Every kind once as bytes, from nobody. */
static struct fuzz_seed strangers(void)
{
    struct str s = {0};
    str_append(&s, "", 1);
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message m;
        uint8_t frame[LIMIT_HEADER_BYTES];
        size_t n;
        wire_sample(&m, (enum wire_kind)kind);
        wire_encode(&m, frame, &n);
        const char record[RECORD_BYTES] = {OP_RAW, (char)(kind % ROUTES), (char)kind,
                                           0,      (char)(n & 255),       (char)(n >> 8)};
        str_append(&s, record, sizeof record);
        str_append(&s, (const char *)frame, n);
    }
    return finished(&s);
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    size_t n = 0;
    for (char settings = 0; settings < SETTINGS; settings++) {
        seeds[n++] = quiet_life(settings);
        seeds[n++] = rough_life(settings);
    }
    for (char settings = SETTING_AUDIT; settings <= SETTING_AUDIT + SETTING_RELAXED;
         settings = (char)(settings + SETTING_RELAXED)) {
        seeds[n++] = quiet_life(settings);
        seeds[n++] = rough_life(settings);
    }
    seeds[n++] = strangers();
    return n;
}
