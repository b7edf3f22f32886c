/* test_agent_session.c - what belongs to a session that is over, or to none, moves a worker in no
 * state: each kind of message of it is counted and otherwise not heard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "worker/agent.h"

enum { OLD = 98, NOW = 99, HEARTBEAT_MS = 500, SILENCE_MS = 3000 };

struct world {
    struct agent *a;
    uint64_t now;
    struct agent_action last;
    uint32_t n; /* actions since it was last asked */
};

static uint32_t drain(struct world *w)
{
    struct agent_action action;
    w->n = 0;
    while (agent_next(w->a, &action)) {
        w->last = action;
        w->n++;
    }
    return w->n;
}

static void say(struct world *w, const struct wire_message *m)
{
    (void)agent_message(w->a, m, w->now);
    (void)drain(w);
}

static struct wire_message of_session(enum wire_kind kind, uint64_t session)
{
    struct wire_message m = {.kind = kind};
    m.session.session = session;
    assert_int_equal(wire_session_of(&m), session);
    return m;
}

static void begin(struct world *w, uint64_t session)
{
    struct wire_message m = {.kind = WIRE_WELCOME};
    m.welcome = (struct wire_welcome){.protocol = WIRE_PROTOCOL,
                                      .session = session,
                                      .heartbeat_ms = HEARTBEAT_MS,
                                      .silence_ms = SILENCE_MS};
    say(w, &m);
    agent_prepared(w->a, OK, "", w->now);
    agent_probed(w->a, OK, "", w->now);
    m = of_session(WIRE_READY, session);
    say(w, &m);
    assert_int_equal(agent_state(w->a), AGENT_READY);
    assert_int_equal(w->last.act, AGENT_SEND_REQUEST);
}

/* The second session, after the coordinator forgot the first. */
static int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    const struct agent_config cfg = {.slots = 1, .give_up_ms = 60000};
    assert_int_equal(agent_new(&cfg, &w.a), OK);
    w.now = 1000;
    agent_start(w.a, w.now);
    (void)drain(&w);
    begin(&w, OLD);
    struct wire_message m = {.kind = WIRE_REFUSED};
    m.note = (struct wire_note){.session = OLD, .code = WIRE_REFUSED_SESSION, .text = "gone"};
    say(&w, &m);
    assert_int_equal(agent_state(w.a), AGENT_CONNECTING);
    begin(&w, NOW);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    agent_free(&w->a);
    return 0;
}

static struct wire_message a_job(uint64_t session, uint64_t id, uint64_t request)
{
    struct wire_message m = {.kind = WIRE_JOB};
    m.job = (struct wire_job){.session = session,
                              .job = id,
                              .token = {(uint8_t)id},
                              .kind = WIRE_GRADIENT,
                              .units = 1,
                              .rows = 10,
                              .attempt = 1,
                              .request = request};
    return m;
}

static struct wire_message a_note(enum wire_kind kind, uint64_t session, uint64_t id)
{
    struct wire_message m = {.kind = kind};
    m.job_note =
        (struct wire_job_note){.session = session, .job = id, .token = {(uint8_t)id}, .attempt = 1};
    return m;
}

/* Says it, and nothing may follow: no action, no other state, and it is counted. */
static void not_heard(struct world *w, const struct wire_message *m)
{
    enum agent_state state = agent_state(w->a);
    uint64_t before = agent_unexpected(w->a);
    say(w, m);
    assert_int_equal(w->n, 0);
    assert_int_equal(agent_state(w->a), state);
    assert_int_equal(agent_session(w->a), NOW);
    assert_int_equal(agent_unexpected(w->a), before + 1);
}

static void test_a_job_of_an_old_session_is_not_computed(void **state)
{
    struct world *w = *state;
    uint64_t request = w->last.number;
    struct wire_message m = a_job(OLD, 5, request);
    not_heard(w, &m);
    assert_false(agent_slot_computes(w->a, 0) || agent_slot_fetches(w->a, 0));
    m = a_job(NOW, 5, request);
    say(w, &m);
    assert_true(agent_slot_computes(w->a, 0) || agent_slot_fetches(w->a, 0));
}

static void test_words_of_an_old_session_about_a_job_change_nothing(void **state)
{
    static const enum wire_kind kinds[] = {WIRE_SEND, WIRE_ACK, WIRE_STALE, WIRE_REJECTED};
    struct world *w = *state;
    struct wire_message m = a_job(NOW, 5, w->last.number);
    say(w, &m);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        m = a_note(kinds[i], OLD, 5);
        not_heard(w, &m);
    }
    assert_true(agent_slot_computes(w->a, 0) || agent_slot_fetches(w->a, 0));
}

static void test_an_old_session_neither_drains_nor_ends_nor_probes_a_worker(void **state)
{
    static const enum wire_kind kinds[] = {WIRE_DRAIN, WIRE_GOODBYE};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct wire_message m = {.kind = kinds[i]};
        m.note = (struct wire_note){
            .session = OLD, .code = WIRE_PARTING_FINISHED, .text = "of another time"};
        not_heard(w, &m);
    }
    struct wire_message m = of_session(WIRE_REPROBE, OLD);
    not_heard(w, &m);
    m = (struct wire_message){.kind = WIRE_PARAMS};
    m.params = (struct wire_params){.session = OLD, .version = 0};
    not_heard(w, &m);
}

static void test_an_old_session_is_no_sign_of_life(void **state)
{
    struct world *w = *state;
    w->now += SILENCE_MS - 1;
    struct wire_message m = of_session(WIRE_PONG, OLD);
    not_heard(w, &m);
    (void)agent_tick(w->a, w->now);
    assert_int_equal(agent_state(w->a), AGENT_READY);
    w->now++;
    (void)agent_tick(w->a, w->now);
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
}

static void test_a_refusal_of_an_old_session_does_not_end_the_new_one(void **state)
{
    struct world *w = *state;
    struct wire_message m = {.kind = WIRE_REFUSED};
    m.note = (struct wire_note){.session = OLD, .code = WIRE_REFUSED_SESSION, .text = "gone"};
    say(w, &m);
    assert_int_equal(w->n, 0);
    assert_int_equal(agent_state(w->a), AGENT_READY);
    assert_int_equal(agent_session(w->a), NOW);
}

static void test_ready_is_heard_only_while_it_is_waited_for(void **state)
{
    struct world *w = *state;
    struct wire_message m = of_session(WIRE_READY, NOW);
    not_heard(w, &m);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_job_of_an_old_session_is_not_computed),
        TEST(test_words_of_an_old_session_about_a_job_change_nothing),
        TEST(test_an_old_session_neither_drains_nor_ends_nor_probes_a_worker),
        TEST(test_an_old_session_is_no_sign_of_life),
        TEST(test_a_refusal_of_an_old_session_does_not_end_the_new_one),
        TEST(test_ready_is_heard_only_while_it_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
