/* test_forecast_worker.c - the forecast's worker says what the real agent says: both hear the same
 * seeded random life and must answer with the same requests, fetches, announcements and gradients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/forecast_state.h"
#include "worker/agent.h"

enum { SESSION = 99, SLOTS = 3, OUTPUTS = SLOTS + 2, SAID = 64, EVENTS = 4000, BEAT_MS = 500 };

/* A message: what, and the number that tells it from others of its kind. */
struct said {
    enum forecast_kind kind;
    uint64_t number;
};

struct list {
    struct said items[SAID];
    uint32_t n;
};

struct pair {
    struct agent *agent;
    uint64_t now_ms;
    struct forecast_config cfg;
    struct forecast out;
    struct forecast_sim sim;
    struct forecast_worker worker;
    struct forecast_slot slots[SLOTS];
    struct forecast_output outputs[OUTPUTS];
    /* What the coordinator would know. */
    uint64_t wanted[SLOTS], job_of[SLOTS], results[OUTPUTS];
    uint32_t n_results;
    bool leaving[SLOTS];
    uint64_t fetched, version, jobs, draw, seed, compared, gradients;
};

static uint64_t below(struct pair *p, uint64_t bound)
{
    return rng_below(p->seed, p->draw++, bound);
}

static void add(struct list *l, enum forecast_kind kind, uint64_t number)
{
    assert_true(l->n < SAID);
    l->items[l->n++] = (struct said){.kind = kind, .number = number};
}

static int by_kind(const void *a, const void *b)
{
    const struct said *x = a;
    const struct said *y = b;
    return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind)
                              : (x->number > y->number) - (x->number < y->number);
}

static void hear_agent(struct pair *p, struct list *l)
{
    struct agent_action a;
    while (agent_next(p->agent, &a)) {
        if (a.act == AGENT_SEND_REQUEST) {
            add(l, FORECAST_WANT, (uint64_t)a.slot << 32 | a.number);
        } else if (a.act == AGENT_FETCH) {
            add(l, FORECAST_FETCH, a.number);
        } else if (a.act == AGENT_ANNOUNCE) {
            add(l, FORECAST_ANNOUNCE, agent_result_job(p->agent, a.result)->job);
        } else if (a.act == AGENT_SEND_RESULT) {
            add(l, FORECAST_PAYLOAD, agent_result_job(p->agent, a.result)->job);
        } else if (a.act == AGENT_SEND_HEARTBEAT) {
            add(l, FORECAST_HEARTBEAT, 0);
        } else if (a.act == AGENT_ABANDON) {
            p->leaving[a.slot] = true;
        }
    }
}

/* Ends of computations stay where they are: the test says when they come. */
static void hear_virtual(struct pair *p, struct list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->sim.n_heap; i++) {
        const struct forecast_event *e = &p->sim.heap[i].event;
        if (e->kind == FORECAST_COMPUTED) {
            p->sim.heap[kept++] = p->sim.heap[i];
        } else if (e->kind == FORECAST_WANT) {
            add(l, e->kind, (uint64_t)e->slot << 32 | e->request);
        } else if (e->kind == FORECAST_FETCH) {
            add(l, e->kind, e->version);
        } else if (e->kind == FORECAST_ANNOUNCE) {
            add(l, e->kind, e->job);
        } else if (e->kind == FORECAST_HEARTBEAT) {
            add(l, e->kind, 0);
        }
    }
    p->sim.n_heap = kept;
    while (p->sim.down.n > 0) {
        struct forecast_event e;
        forecast_link_take(&p->sim.down, forecast_link_next_ns(&p->sim.down), &e);
        add(l, e.kind, e.job);
    }
}

static void compare(struct pair *p)
{
    struct list a = {.n = 0};
    struct list v = {.n = 0};
    hear_agent(p, &a);
    hear_virtual(p, &v);
    qsort(a.items, a.n, sizeof a.items[0], by_kind);
    qsort(v.items, v.n, sizeof v.items[0], by_kind);
    assert_int_equal(a.n, v.n);
    for (uint32_t i = 0; i < a.n; i++) {
        const struct said *said = &a.items[i];
        assert_true(said->kind == v.items[i].kind && said->number == v.items[i].number);
        p->compared++;
        p->gradients += said->kind == FORECAST_PAYLOAD;
        if (said->kind == FORECAST_WANT) {
            p->wanted[said->number >> 32] = said->number & UINT32_MAX;
        } else if (said->kind == FORECAST_FETCH) {
            p->fetched = said->number + 1;
        }
    }
    for (uint32_t s = 0; s < SLOTS; s++) {
        const struct forecast_slot *slot = &p->slots[s];
        assert_int_equal(agent_slot_fetches(p->agent, s), slot->state == VIRTUAL_FETCHING);
        assert_int_equal(agent_slot_computes(p->agent, s),
                         slot->state == VIRTUAL_COMPUTING && !slot->leaving);
    }
}

static void to_virtual(struct pair *p, const struct forecast_event *event)
{
    p->sim.now_ns = p->now_ms * 1000000u;
    forecast_worker_hear(&p->sim, &p->worker, event);
}

static void to_agent(struct pair *p, const struct wire_message *m)
{
    (void)agent_message(p->agent, m, p->now_ms);
}

static void session_message(struct pair *p, enum wire_kind kind)
{
    struct wire_message m = {.kind = kind};
    m.session.session = SESSION;
    to_agent(p, &m);
}

static void give_job(struct pair *p, uint32_t slot)
{
    struct wire_message m = {.kind = WIRE_JOB};
    p->version += below(p, 5) == 0;
    m.job = (struct wire_job){.session = SESSION,
                              .job = ++p->jobs,
                              .kind = WIRE_GRADIENT,
                              .version = p->version,
                              .adapter = true,
                              .units = 1,
                              .rows = 10,
                              .attempt = 1,
                              .slot = slot,
                              .request = p->wanted[slot]};
    const struct forecast_event event = {.kind = FORECAST_JOB,
                                         .slot = slot,
                                         .attempt = 1,
                                         .rows = 10,
                                         .n_units = 1,
                                         .job = p->jobs,
                                         .request = p->wanted[slot],
                                         .version = p->version};
    p->wanted[slot] = 0;
    p->job_of[slot] = p->jobs;
    to_agent(p, &m);
    to_virtual(p, &event);
}

static void give_params(struct pair *p)
{
    struct wire_message m = {.kind = WIRE_PARAMS};
    const struct forecast_event event = {.kind = FORECAST_PARAMS, .version = p->fetched - 1};
    m.params = (struct wire_params){.session = SESSION, .version = p->fetched - 1};
    if (agent_message(p->agent, &m, p->now_ms)) {
        agent_params(p->agent, p->fetched - 1, p->now_ms);
    }
    p->fetched = 0;
    to_virtual(p, &event);
}

static void end_slot(struct pair *p, uint32_t slot)
{
    size_t at = 0;
    while (p->sim.heap[at].event.slot != slot ||
           p->sim.heap[at].event.request != p->slots[slot].run) {
        at++;
        assert_true(at < p->sim.n_heap);
    }
    const struct forecast_event event = p->sim.heap[at].event;
    p->sim.heap[at] = p->sim.heap[--p->sim.n_heap];
    bool counts = !p->leaving[slot];
    (void)agent_slot_done(p->agent, slot, counts ? AGENT_COMPUTED : AGENT_ABANDONED, false, 0,
                          p->now_ms);
    if (counts) {
        assert_true(p->n_results < OUTPUTS);
        p->results[p->n_results++] = p->job_of[slot];
    }
    p->leaving[slot] = false;
    to_virtual(p, &event);
}

static void say_note(struct pair *p, enum wire_kind kind, uint64_t job)
{
    struct wire_message m = {.kind = kind};
    const struct forecast_event event = {
        .kind = kind == WIRE_SEND ? FORECAST_CREDIT : FORECAST_SETTLED, .attempt = 1, .job = job};
    m.job_note = (struct wire_job_note){.session = SESSION, .job = job, .attempt = 1};
    to_agent(p, &m);
    to_virtual(p, &event);
}

static void beat(struct pair *p)
{
    const struct forecast_event event = {.kind = FORECAST_BEAT};
    p->now_ms += BEAT_MS;
    session_message(p, WIRE_PONG);
    (void)agent_tick(p->agent, p->now_ms);
    to_virtual(p, &event);
}

/* One event of those that are possible now. */
static void live(struct pair *p)
{
    uint32_t slot = (uint32_t)below(p, SLOTS);
    uint64_t what = below(p, 9);
    bool busy = agent_slot_computes(p->agent, slot) || p->leaving[slot];
    if (what == 0 && p->wanted[slot] != 0) {
        give_job(p, slot);
    } else if (what == 1 && p->fetched != 0 && below(p, 4) == 0) {
        give_params(p);
    } else if (what == 2 && busy) {
        end_slot(p, slot);
    } else if (what == 3 && p->n_results > 0) {
        say_note(p, WIRE_SEND, p->results[below(p, p->n_results)]);
    } else if (what == 4 && p->n_results > 0 && below(p, 4) == 0) {
        uint32_t r = (uint32_t)below(p, p->n_results);
        uint64_t job = p->results[r];
        p->results[r] = p->results[--p->n_results];
        say_note(p, WIRE_ACK, job);
    } else if (what == 5 && below(p, 8) == 0 && !p->leaving[slot] &&
               (busy || agent_slot_fetches(p->agent, slot))) {
        say_note(p, WIRE_STALE, p->job_of[slot]);
    } else if (what >= 6) {
        beat(p);
    }
    compare(p);
}

static void begin(struct pair *p)
{
    struct wire_message m = {.kind = WIRE_WELCOME};
    const struct agent_config cfg = {.slots = SLOTS};
    assert_int_equal(agent_new(&cfg, &p->agent), OK);
    p->now_ms = 1000;
    agent_start(p->agent, p->now_ms);
    m.welcome = (struct wire_welcome){
        .protocol = WIRE_PROTOCOL, .session = SESSION, .heartbeat_ms = BEAT_MS, .silence_ms = 3000};
    to_agent(p, &m);
    agent_prepared(p->agent, OK, "", p->now_ms);
    agent_probed(p->agent, OK, "", p->now_ms);
    session_message(p, WIRE_READY);
    assert_int_equal(agent_state(p->agent), AGENT_READY);
    p->cfg = (struct forecast_config){
        .workers = 1, .slots = SLOTS, .floats = 1, .seconds_per_token = 1e-3};
    p->sim = (struct forecast_sim){.cfg = &p->cfg, .out = &p->out};
    p->sim.down.bytes_per_s = 1e18;
    p->worker = (struct forecast_worker){.slots = p->slots, .outputs = p->outputs};
    p->sim.now_ns = p->now_ms * 1000000u;
    forecast_worker_begin(&p->sim, &p->worker);
    compare(p);
}

static void test_it_answers_as_the_agent_does(void **state)
{
    (void)state;
    uint64_t compared = 0;
    uint64_t gradients = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair *p = mem_calloc(1, sizeof *p);
        assert_non_null(p);
        p->seed = seed;
        begin(p);
        for (int i = 0; i < EVENTS; i++) {
            live(p);
        }
        compared += p->compared;
        gradients += p->gradients;
        agent_free(&p->agent);
        forecast_link_free(&p->sim.down);
        mem_free(p->sim.heap);
        mem_free(p);
    }
    print_message("%llu messages, %llu of them gradients\n", (unsigned long long)compared,
                  (unsigned long long)gradients);
    assert_true(gradients > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_it_answers_as_the_agent_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
