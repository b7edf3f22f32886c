/* fuzz_agent.c - a worker and whatever its coordinator sends: bytes -> decode -> the agent, with a
 * shell around it that does what client.c does, less the sockets and the arithmetic.
 *
 * An input is a byte of settings and records of 5 bytes and a body: op, kind, argument, u16 bytes
 * of the body.
 *   RAW     the body is a header frame as it is
 *   HONEST  what a good coordinator would say now, of that kind; the body then overwrites bytes of
 *           the frame, pairs of (place, value)
 *   TIME    argument * 100 ms pass, then a tick
 *   DONE    the slot's thread (argument) is ready: computed, failed or abandoned
 *   BLOCK   sockets take nothing (argument odd), or everything, from now on
 *   SIGNAL  SIGTERM
 * After every record the shell and the agent must agree on who computes, what is held and what may
 * be said (carry_out, check). */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "tests/fuzz/driver.h"
#include "tests/support/wire_sample.h"
#include "worker/agent.h"

enum { OP_RAW, OP_HONEST, OP_TIME, OP_DONE, OP_BLOCK, OP_SIGNAL, OPS };
enum { SLOTS = 3, RECORD_BYTES = 5, RECORDS_MAX = 400, ACTIONS_A_CALL = 2000 };

static struct {
    struct agent *agent;
    uint64_t now_ms, session, version;
    bool open, blocked, ended, params;
    bool computes[SLOTS];         /* the slot's thread */
    bool wanted[SLOTS];           /* a job was taken for the slot and has not been started */
    uint64_t asked[SLOTS];        /* the slot's request */
    bool holds[AGENT_RESULTS];    /* a payload */
    struct wire_job jobs[SLOTS];  /* the last one of each slot */
    struct wire_job done[SLOTS];  /* the last result of each slot */
    uint64_t next_job, preparing; /* answers that are due */
    bool probing;
} w;

static void carry_out(const struct agent_action *a)
{
    CHECK(!w.ended);
    CHECK((unsigned)a->act <= AGENT_NOTE && a->slot < SLOTS && a->result < AGENT_RESULTS);
    switch (a->act) {
    case AGENT_OPEN:
        w.open = true;
        return;
    case AGENT_SEND_HELLO:
        CHECK(w.open && agent_session(w.agent) == 0);
        if (w.blocked) {
            agent_hello_unsent(w.agent);
        }
        return;
    case AGENT_PREPARE:
        w.preparing++;
        return;
    case AGENT_RUN_PROBE:
        w.probing = true;
        return;
    case AGENT_SEND_REQUEST:
        CHECK(a->number != 0 && a->number >= w.asked[a->slot]);
        w.asked[a->slot] = a->number;
        return;
    case AGENT_FETCH:
        if (w.blocked) {
            agent_fetch_unsent(w.agent);
        }
        return;
    case AGENT_COMPUTE: {
        const struct wire_job *job = agent_slot_job(w.agent, a->slot);
        CHECK(!w.computes[a->slot] && w.wanted[a->slot]);
        CHECK(!job->adapter || (w.params && w.version == job->version));
        w.computes[a->slot] = true;
        w.wanted[a->slot] = false;
        return;
    }
    case AGENT_ABANDON:
        CHECK(w.computes[a->slot]);
        return;
    case AGENT_ANNOUNCE:
        CHECK(agent_result_job(w.agent, a->result)->job != 0);
        return;
    case AGENT_SEND_RESULT:
        if (w.blocked) {
            agent_result_unsent(w.agent, a->result, w.now_ms);
        }
        return;
    case AGENT_DROP_RESULT:
        w.holds[a->result] = false;
        return;
    case AGENT_DROP_PARAMS:
        w.params = false;
        return;
    case AGENT_EXIT:
        CHECK(a->number <= AGENT_EXIT_RUN_FAILED && agent_state(w.agent) == AGENT_GONE);
        w.ended = true;
        return;
    case AGENT_SEND_PROBE:
    case AGENT_RELEASE:
    case AGENT_SEND_FAILED:
    case AGENT_SEND_HEARTBEAT:
    case AGENT_SEND_DRAIN:
    case AGENT_SEND_GOODBYE:
    case AGENT_UNHEARD:
    case AGENT_NOTE:
    default:
        return;
    }
}

static void drain(void)
{
    struct agent_action action;
    int n = 0;
    while (!w.ended && agent_next(w.agent, &action)) {
        carry_out(&action);
        CHECK(++n < ACTIONS_A_CALL);
    }
}

static void check(void)
{
    CHECK((unsigned)agent_state(w.agent) < AGENT_STATES);
    for (uint32_t s = 0; s < SLOTS; s++) {
        CHECK(!agent_slot_computes(w.agent, s) || w.computes[s]);
        CHECK(!(agent_slot_computes(w.agent, s) && agent_slot_fetches(w.agent, s)));
    }
    uint32_t held = 0;
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        held += w.holds[r];
    }
    CHECK(held <= SLOTS + AGENT_RESULTS_EXTRA);
}

/* As client.c hands a frame on. */
static void deliver(const uint8_t *frame, size_t bytes)
{
    struct wire_message m;
    struct errbuf e;
    uint8_t *copy = mem_calloc(bytes, 1); /* exactly so long, for the sanitizer */
    CHECK(copy);
    if (bytes > 0) {
        memcpy(copy, frame, bytes);
    }
    enum err error = wire_decode(copy, bytes, &m, &e);
    mem_free(copy);
    if (error != OK) {
        return;
    }
    bool wanted = agent_message(w.agent, &m, w.now_ms);
    CHECK(!wanted || m.kind == WIRE_JOB || m.kind == WIRE_PARAMS);
    if (wanted && m.kind == WIRE_JOB) {
        CHECK(m.job.slot < SLOTS && m.job.request == w.asked[m.job.slot]);
        w.wanted[m.job.slot] = true;
        w.jobs[m.job.slot] = m.job;
    } else if (wanted) {
        w.params = true;
        w.version = m.params.version;
        agent_params(w.agent, m.params.version, w.now_ms);
    }
    drain();
}

/* What the run's own coordinator would say; the kinds that only workers send are said too. */
static void honest(enum wire_kind kind, uint8_t argument, struct wire_message *m)
{
    uint32_t slot = argument % SLOTS;
    wire_sample(m, kind);
    uint64_t session = agent_session(w.agent) ? agent_session(w.agent) : w.session + 1;
    switch (kind) {
    case WIRE_WELCOME:
        m->welcome.session = ++w.session;
        return;
    case WIRE_JOB:
        m->job = (struct wire_job){.session = session,
                                   .job = ++w.next_job,
                                   .token = {(uint8_t)w.next_job},
                                   .kind = argument & 64 ? WIRE_SCORE : WIRE_GRADIENT,
                                   .version = argument / 16 % 4,
                                   .adapter = argument < 128,
                                   .units = 1,
                                   .rows = 9,
                                   .attempt = 1,
                                   .slot = slot,
                                   .request = w.asked[slot]};
        return;
    case WIRE_PARAMS:
        m->params.session = session;
        m->params.version = argument % 4;
        return;
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED: {
        const struct wire_job *job = argument & 128 ? &w.done[slot] : &w.jobs[slot];
        m->job_note.session = session;
        m->job_note.job = job->job ? job->job : 1;
        m->job_note.attempt = job->attempt;
        memcpy(m->job_note.token, job->token, sizeof m->job_note.token);
        return;
    }
    case WIRE_REFUSED:
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        m->note.session = session;
        m->note.code =
            1u + argument % (kind == WIRE_REFUSED ? WIRE_REFUSALS - 1u : WIRE_PARTINGS - 1u);
        m->note.retry_ms = argument / 16 * 100u;
        return;
    case WIRE_READY:
    case WIRE_PONG:
    case WIRE_REPROBE:
        m->session.session = session;
        return;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_PROBE:
    case WIRE_REQUEST:
    case WIRE_HEARTBEAT:
    case WIRE_RESULT_READY:
    case WIRE_FAILED:
    case WIRE_RELEASE:
    case WIRE_ATTACH:
    case WIRE_FETCH:
    case WIRE_RESULT:
    case WIRE_KINDS:
    default:
        return;
    }
}

static void say_honestly(uint8_t kind, uint8_t argument, const uint8_t *body, size_t n)
{
    uint8_t frame[LIMIT_HEADER_BYTES];
    size_t bytes;
    struct wire_message m;
    honest((enum wire_kind)(1 + kind % (WIRE_KINDS - 1)), argument, &m);
    wire_encode(&m, frame, &bytes);
    for (size_t i = 0; i + 1 < n; i += 2) {
        frame[body[i] % bytes] = body[i + 1];
    }
    deliver(frame, bytes);
}

/* The loading thread, the probe, or a slot answers. */
static void answer(uint8_t argument)
{
    uint32_t s = argument % SLOTS;
    if (w.preparing > 0) {
        w.preparing--;
        agent_prepared(w.agent, argument > 250 ? ERR_NOMEM : OK, "no memory", w.now_ms);
    } else if (w.probing) {
        w.probing = false;
        agent_probed(w.agent, argument > 250 ? ERR_NOMEM : OK, "no memory", w.now_ms);
    } else if (w.computes[s]) {
        enum agent_outcome outcome = argument < 192   ? AGENT_COMPUTED
                                     : argument < 224 ? AGENT_FAILED
                                                      : AGENT_ABANDONED;
        w.computes[s] = false;
        w.done[s] = w.jobs[s];
        uint32_t r = agent_slot_done(w.agent, s, outcome, w.jobs[s].kind == WIRE_SCORE,
                                     WIRE_FAILURE_NUMBERS, w.now_ms);
        CHECK(r == UINT32_MAX || (r < AGENT_RESULTS && !w.holds[r] && outcome == AGENT_COMPUTED));
        if (r != UINT32_MAX) {
            w.holds[r] = true;
        }
    }
    drain();
}

static void play(const uint8_t *record, const uint8_t *body, size_t n)
{
    switch (record[0] % OPS) {
    case OP_RAW:
        deliver(body, n);
        return;
    case OP_HONEST:
        say_honestly(record[1], record[2], body, n);
        return;
    case OP_TIME: {
        w.now_ms += record[2] * 100u;
        uint64_t rest = agent_tick(w.agent, w.now_ms);
        CHECK(rest > 0 && rest <= 1000);
        drain();
        return;
    }
    case OP_DONE:
        answer(record[2]);
        return;
    case OP_BLOCK:
        w.blocked = record[2] & 1;
        return;
    default:
        agent_signal(w.agent, w.now_ms);
        drain();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    memset(&w, 0, sizeof w);
    w.now_ms = 1000;
    const struct agent_config cfg = {.slots = SLOTS, .give_up_ms = data[0] & 1 ? 20000 : 0};
    CHECK(agent_new(&cfg, &w.agent) == OK);
    agent_start(w.agent, w.now_ms);
    drain();
    size_t at = 1;
    for (int i = 0; i < RECORDS_MAX && bytes - at >= RECORD_BYTES && !w.ended; i++) {
        const uint8_t *record = data + at;
        size_t n = (size_t)record[3] | (size_t)record[4] << 8;
        at += RECORD_BYTES;
        n = n < bytes - at ? n : bytes - at;
        play(record, data + at, n);
        at += n;
        check();
    }
    agent_free(&w.agent);
    return 0;
}

static void put(struct str *s, uint8_t op, enum wire_kind kind, uint8_t argument)
{
    const char record[RECORD_BYTES] = {(char)op, (char)(kind - 1), (char)argument};
    str_append(s, record, sizeof record);
}

static void put_join(struct str *s)
{
    put(s, OP_TIME, WIRE_HELLO, 1);
    put(s, OP_HONEST, WIRE_WELCOME, 0);
    put(s, OP_DONE, WIRE_HELLO, 0);
    put(s, OP_DONE, WIRE_HELLO, 0);
    put(s, OP_HONEST, WIRE_READY, 0);
}

static struct fuzz_seed finished(struct str *s)
{
    CHECK(str_ok(s) == OK);
    struct fuzz_seed seed = fuzz_seed_text(s->data, s->len);
    str_free(s);
    return seed;
}

static struct fuzz_seed quiet_life(void)
{
    struct str s = {0};
    str_append(&s, "", 1);
    put_join(&s);
    for (uint8_t i = 0; i < 6; i++) {
        uint8_t slot = i % SLOTS;
        put(&s, OP_HONEST, WIRE_JOB, slot);
        put(&s, OP_HONEST, WIRE_PARAMS, 0);
        put(&s, OP_TIME, WIRE_HELLO, 6);
        put(&s, OP_DONE, WIRE_HELLO, slot);
        put(&s, OP_HONEST, WIRE_SEND, slot);
        put(&s, OP_HONEST, WIRE_ACK, slot);
        put(&s, OP_HONEST, WIRE_PONG, 0);
    }
    put(&s, OP_HONEST, WIRE_GOODBYE, 0);
    return finished(&s);
}

static struct fuzz_seed rough_life(void)
{
    struct str s = {0};
    str_append(&s, "\1", 1);
    put_join(&s);
    put(&s, OP_HONEST, WIRE_JOB, 0);
    put(&s, OP_HONEST, WIRE_JOB, 16 + 1);
    put(&s, OP_BLOCK, WIRE_HELLO, 1);
    put(&s, OP_HONEST, WIRE_PARAMS, 0);
    put(&s, OP_DONE, WIRE_HELLO, 0);
    put(&s, OP_HONEST, WIRE_SEND, 0);
    put(&s, OP_HONEST, WIRE_STALE, 1);
    put(&s, OP_HONEST, WIRE_REPROBE, 0);
    put(&s, OP_DONE, WIRE_HELLO, 0);
    put(&s, OP_BLOCK, WIRE_HELLO, 0);
    put(&s, OP_TIME, WIRE_HELLO, 60); /* silence */
    put_join(&s);
    put(&s, OP_HONEST, WIRE_JOB, 128 + 64 + 2);
    put(&s, OP_HONEST, WIRE_GOODBYE, 2);
    put_join(&s);
    put(&s, OP_SIGNAL, WIRE_HELLO, 0);
    put(&s, OP_DONE, WIRE_HELLO, 2);
    put(&s, OP_TIME, WIRE_HELLO, 250);
    return finished(&s);
}

/* Every kind once as bytes. */
static struct fuzz_seed strangers(void)
{
    struct str s = {0};
    str_append(&s, "", 1);
    put_join(&s);
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message m;
        uint8_t frame[LIMIT_HEADER_BYTES];
        size_t n;
        wire_sample(&m, (enum wire_kind)kind);
        wire_encode(&m, frame, &n);
        const char record[RECORD_BYTES] = {OP_RAW, 0, 0, (char)(n & 255), (char)(n >> 8)};
        str_append(&s, record, sizeof record);
        str_append(&s, (const char *)frame, n);
    }
    return finished(&s);
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    seeds[0] = quiet_life();
    seeds[1] = rough_life();
    seeds[2] = strangers();
    return 3;
}
