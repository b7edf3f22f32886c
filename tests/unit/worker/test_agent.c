/* test_agent.c - the worker's state machine, event by event, with a clock of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "worker/agent.h"

enum { SESSION = 99, SLOTS = 2 };

struct world {
    struct agent *a;
    uint64_t now;
    struct agent_action actions[200];
    uint32_t n;
};

/* Collects what the agent wants done. */
static void drain(struct world *w)
{
    w->n = 0;
    while (agent_next(w->a, &w->actions[w->n])) {
        w->n++;
        assert_true(w->n < 200);
    }
}

static uint32_t count(const struct world *w, enum agent_act act)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        n += w->actions[i].act == act;
    }
    return n;
}

static const struct agent_action *find(const struct world *w, enum agent_act act)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->actions[i].act == act) {
            return &w->actions[i];
        }
    }
    fail_msg("action %d is missing", (int)act);
    return NULL;
}

static void tick(struct world *w, uint64_t ms)
{
    w->now += ms;
    (void)agent_tick(w->a, w->now);
    drain(w);
}

static bool say(struct world *w, const struct wire_message *m)
{
    bool wanted = agent_message(w->a, m, w->now);
    drain(w);
    return wanted;
}

static void welcome(struct world *w, uint64_t session)
{
    struct wire_message m = {.kind = WIRE_WELCOME};
    m.welcome = (struct wire_welcome){
        .protocol = WIRE_PROTOCOL, .session = session, .heartbeat_ms = 500, .silence_ms = 3000};
    (void)say(w, &m);
}

static void session_message(struct world *w, enum wire_kind kind)
{
    struct wire_message m = {.kind = kind};
    m.session.session = SESSION;
    (void)say(w, &m);
}

static bool job(struct world *w, uint32_t slot, uint64_t id, uint64_t request, uint64_t version)
{
    struct wire_message m = {.kind = WIRE_JOB};
    m.job = (struct wire_job){.session = SESSION,
                              .job = id,
                              .token = {(uint8_t)id},
                              .kind = WIRE_GRADIENT,
                              .version = version,
                              .adapter = true,
                              .units = 1,
                              .rows = 10,
                              .attempt = 1,
                              .slot = slot,
                              .request = request};
    return say(w, &m);
}

static void note(struct world *w, enum wire_kind kind, uint64_t id)
{
    struct wire_message m = {.kind = kind};
    m.job_note =
        (struct wire_job_note){.session = SESSION, .job = id, .token = {(uint8_t)id}, .attempt = 1};
    (void)say(w, &m);
}

static void connection_note(struct world *w, enum wire_kind kind, uint32_t code, uint32_t retry_ms)
{
    struct wire_message m = {.kind = kind};
    m.note =
        (struct wire_note){.session = SESSION, .code = code, .retry_ms = retry_ms, .text = "why"};
    (void)say(w, &m);
}

static void params(struct world *w, uint64_t version)
{
    struct wire_message m = {.kind = WIRE_PARAMS};
    m.params = (struct wire_params){.session = SESSION, .version = version};
    assert_true(say(w, &m));
    agent_params(w->a, version, w->now);
    drain(w);
}

static void to_ready(struct world *w)
{
    welcome(w, SESSION);
    assert_int_equal(count(w, AGENT_PREPARE), 1);
    agent_prepared(w->a, OK, "", w->now);
    drain(w);
    assert_int_equal(find(w, AGENT_RUN_PROBE)->number, 0);
    agent_probed(w->a, OK, "", w->now);
    drain(w);
    assert_int_equal(count(w, AGENT_SEND_PROBE), 1);
    session_message(w, WIRE_READY);
    assert_int_equal(agent_state(w->a), AGENT_READY);
    assert_int_equal(count(w, AGENT_SEND_REQUEST), SLOTS);
}

static int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    const struct agent_config cfg = {.slots = SLOTS, .give_up_ms = 60000};
    assert_int_equal(agent_new(&cfg, &w.a), OK);
    w.now = 1000;
    agent_start(w.a, w.now);
    drain(&w);
    assert_int_equal(count(&w, AGENT_OPEN), 1);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    agent_free(&w->a);
    return 0;
}

static void test_hello_is_repeated_with_one_epoch_until_new_sockets_are_opened(void **state)
{
    struct world *w = *state;
    tick(w, 0);
    uint64_t epoch = find(w, AGENT_SEND_HELLO)->number;
    tick(w, 100);
    assert_int_equal(count(w, AGENT_SEND_HELLO), 0);
    tick(w, AGENT_HELLO_MS);
    assert_int_equal(find(w, AGENT_SEND_HELLO)->number, epoch);
    tick(w, AGENT_REOPEN_MS);
    assert_int_equal(count(w, AGENT_OPEN), 1);
    tick(w, 0);
    assert_true(find(w, AGENT_SEND_HELLO)->number > epoch);
}

static void test_a_job_fetches_its_parameters_once_and_brings_a_result(void **state)
{
    struct world *w = *state;
    to_ready(w);
    assert_true(job(w, 0, 7, 1, 3));
    assert_int_equal(find(w, AGENT_FETCH)->number, 3);
    assert_true(job(w, 1, 8, 1, 3));
    assert_int_equal(count(w, AGENT_FETCH), 0);
    assert_int_equal(count(w, AGENT_COMPUTE), 0);
    params(w, 3);
    assert_int_equal(count(w, AGENT_COMPUTE), 2);
    assert_true(agent_slot_computes(w->a, 0));

    uint32_t r = agent_slot_done(w->a, 0, AGENT_COMPUTED, false, 0, w->now);
    assert_true(r != UINT32_MAX);
    drain(w);
    assert_int_equal(find(w, AGENT_ANNOUNCE)->result, r);
    assert_int_equal(find(w, AGENT_SEND_REQUEST)->number, 2); /* the slot wants the next job */
    assert_int_equal(agent_result_job(w->a, r)->job, 7);
    note(w, WIRE_SEND, 7);
    assert_int_equal(find(w, AGENT_SEND_RESULT)->result, r);
    agent_result_unsent(w->a, r, w->now);
    tick(w, 10);
    assert_int_equal(find(w, AGENT_SEND_RESULT)->result, r);
    note(w, WIRE_ACK, 7);
    assert_int_equal(find(w, AGENT_DROP_RESULT)->result, r);
    assert_true(job(w, 0, 9, 2, 3)); /* parameters are here already */
    assert_int_equal(count(w, AGENT_COMPUTE), 1);
}

/* A slow link: what is under way is not asked for or sent again before AGENT_TRANSFER_MS. */
static void test_what_may_still_be_under_way_is_not_repeated(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    assert_int_equal(count(w, AGENT_FETCH), 1);
    assert_true(agent_slot_fetches(w->a, 0) && !agent_slot_computes(w->a, 0));
    for (int ms = 0; ms < AGENT_TRANSFER_MS - 1000; ms += 1000) {
        session_message(w, WIRE_PONG);
        tick(w, 1000);
        assert_int_equal(count(w, AGENT_FETCH), 0);
    }
    session_message(w, WIRE_PONG);
    tick(w, 1000);
    assert_int_equal(find(w, AGENT_FETCH)->number, 3);
    params(w, 3);
    uint32_t r = agent_slot_done(w->a, 0, AGENT_COMPUTED, false, 0, w->now);
    drain(w);
    note(w, WIRE_SEND, 7);
    assert_int_equal(find(w, AGENT_SEND_RESULT)->result, r);
    int said = 0;
    for (int ms = 0; ms < AGENT_TRANSFER_MS - 1000; ms += 1000) {
        session_message(w, WIRE_PONG);
        tick(w, 1000);
        if (count(w, AGENT_ANNOUNCE) > 0) { /* answered by the credit again */
            said++;
            note(w, WIRE_SEND, 7);
            assert_int_equal(count(w, AGENT_SEND_RESULT), 0);
        }
    }
    assert_true(said >= 4);
    session_message(w, WIRE_PONG);
    tick(w, 1000);
    note(w, WIRE_SEND, 7);
    assert_int_equal(find(w, AGENT_SEND_RESULT)->result, r);
}

static void test_a_job_nobody_asked_for_is_given_back_and_a_repeat_is_ignored(void **state)
{
    struct world *w = *state;
    to_ready(w);
    assert_false(job(w, 0, 7, 55, 3));
    assert_int_equal(find(w, AGENT_RELEASE)->job, 7);
    assert_false(job(w, SLOTS, 7, 1, 3));
    assert_true(job(w, 0, 7, 1, 3));
    assert_false(job(w, 0, 7, 1, 3));
    assert_int_equal(count(w, AGENT_RELEASE), 0);
}

static void test_stale_stops_the_slot_and_its_late_answer_is_thrown_away(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    note(w, WIRE_STALE, 7);
    assert_int_equal(find(w, AGENT_ABANDON)->slot, 0);
    assert_int_equal(agent_slot_done(w->a, 0, AGENT_COMPUTED, false, 0, w->now), UINT32_MAX);
    drain(w);
    assert_int_equal(count(w, AGENT_ANNOUNCE), 0);
    assert_int_equal(count(w, AGENT_SEND_REQUEST), 1);
}

static void test_credit_for_a_result_that_was_dropped_is_given_back(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    assert_true(agent_slot_done(w->a, 0, AGENT_COMPUTED, false, 0, w->now) != UINT32_MAX);
    drain(w);
    note(w, WIRE_STALE, 7);
    assert_int_equal(count(w, AGENT_DROP_RESULT), 1);
    note(w, WIRE_SEND, 7);
    assert_int_equal(count(w, AGENT_SEND_RESULT), 0);
    assert_int_equal(find(w, AGENT_RELEASE)->job, 7);
    assert_int_equal(find(w, AGENT_RELEASE)->attempt, 1);
}

static void test_a_job_whose_parameters_are_gone_is_given_back_and_the_slot_asks_again(void **state)
{
    struct world *w = *state;
    to_ready(w);
    assert_true(job(w, 0, 7, 1, 3));
    agent_params_gone(w->a, 2, w->now); /* an earlier version: nobody waits for it */
    drain(w);
    assert_int_equal(count(w, AGENT_RELEASE), 0);
    agent_params_gone(w->a, 3, w->now);
    drain(w);
    assert_int_equal(find(w, AGENT_RELEASE)->job, 7);
    assert_int_equal(find(w, AGENT_SEND_REQUEST)->number, 2);
    tick(w, AGENT_ANNOUNCE_MS);
    assert_int_equal(count(w, AGENT_FETCH), 0);
}

static void test_a_note_with_another_token_changes_nothing(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    struct wire_message m = {.kind = WIRE_STALE};
    m.job_note = (struct wire_job_note){.session = SESSION, .job = 7, .token = {1}, .attempt = 1};
    (void)say(w, &m);
    assert_true(agent_slot_computes(w->a, 0));
}

static void test_silence_drops_everything_and_connects_anew(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    tick(w, 500);
    assert_int_equal(count(w, AGENT_SEND_HEARTBEAT), 1);
    session_message(w, WIRE_PONG);
    tick(w, 2999);
    assert_int_equal(count(w, AGENT_OPEN), 0);
    tick(w, 1);
    assert_int_equal(count(w, AGENT_OPEN), 1);
    assert_int_equal(count(w, AGENT_ABANDON), 1);
    assert_int_equal(count(w, AGENT_DROP_PARAMS), 1);
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
    assert_int_equal(agent_session(w->a), 0);
    note(w, WIRE_ACK, 7); /* of the old session */
    assert_int_equal(agent_unexpected(w->a), 1);
}

static void test_an_unknown_session_says_hello_again(void **state)
{
    struct world *w = *state;
    to_ready(w);
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_SESSION, 0);
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
    assert_int_equal(count(w, AGENT_OPEN), 1);
}

static void test_a_refusal_for_good_ends_the_program_and_one_for_now_waits(void **state)
{
    struct world *w = *state;
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 5000);
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
    tick(w, 4000);
    assert_int_equal(count(w, AGENT_SEND_HELLO), 0);
    tick(w, 1000);
    assert_int_equal(count(w, AGENT_SEND_HELLO), 1);
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_MODEL, 0);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_REFUSED);
    assert_int_equal(agent_state(w->a), AGENT_GONE);
}

static void test_between_two_tasks_it_waits_on_the_connection_it_has(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 1000);
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
    assert_int_equal(agent_session(w->a), 0);
    assert_int_equal(count(w, AGENT_OPEN), 0);
    assert_int_equal(count(w, AGENT_NOTE), 1);
    /* What was under way when the session ended is answered late, and is not about the next one. */
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_SESSION, 0);
    assert_int_equal(count(w, AGENT_OPEN), 0);
    for (int i = 0; i < 20; i++) {
        tick(w, 1000);
        assert_int_equal(count(w, AGENT_SEND_HELLO), 1);
        connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 1000);
        assert_int_equal(count(w, AGENT_OPEN), 0);
        assert_int_equal(count(w, AGENT_NOTE), 0); /* said once */
    }
    tick(w, 1000);
    to_ready(w);
    assert_int_equal(agent_state(w->a), AGENT_READY);
}

static void test_one_that_waits_finds_a_coordinator_that_was_restarted(void **state)
{
    struct world *w = *state;
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_MODEL, 5000);
    tick(w, 5000);
    assert_int_equal(count(w, AGENT_SEND_HELLO), 1);
    tick(w, AGENT_REOPEN_MS);
    assert_int_equal(count(w, AGENT_OPEN), 1);
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 1000);
    agent_signal(w->a, w->now); /* nothing is open: it just leaves */
    drain(w);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_DONE);
}

static void test_one_that_waits_leaves_when_it_is_told_to(void **state)
{
    struct world *w = *state;
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 1000);
    connection_note(w, WIRE_DRAIN, 0, 0); /* of a session that is over */
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 0);
    assert_int_equal(count(w, AGENT_SEND_GOODBYE), 0);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_DONE);
}

static void test_a_task_that_ends_under_a_drain_ends_the_worker(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    connection_note(w, WIRE_DRAIN, 0, 0);
    assert_int_equal(agent_state(w->a), AGENT_DRAINING);
    connection_note(w, WIRE_REFUSED, WIRE_REFUSED_STATE, 1000);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_DONE);
}

static void test_a_signal_drains_and_a_second_one_leaves_at_once(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    agent_signal(w->a, w->now);
    drain(w);
    assert_int_equal(count(w, AGENT_SEND_DRAIN), 1);
    assert_int_equal(agent_state(w->a), AGENT_DRAINING);
    assert_false(job(w, 1, 8, 1, 3)); /* crossed the drain on its way */
    assert_int_equal(find(w, AGENT_RELEASE)->job, 8);
    tick(w, 20);
    assert_int_equal(count(w, AGENT_EXIT), 0);
    uint32_t r = agent_slot_done(w->a, 0, AGENT_COMPUTED, true, 0, w->now);
    drain(w);
    assert_true(r != UINT32_MAX);
    assert_int_equal(count(w, AGENT_SEND_REQUEST), 0);
    note(w, WIRE_ACK, 7);
    tick(w, 20);
    assert_int_equal(count(w, AGENT_SEND_GOODBYE), 1);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_DONE);
}

static void test_a_second_signal_does_not_wait_for_what_runs(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    agent_signal(w->a, w->now);
    agent_signal(w->a, w->now);
    drain(w);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_HURRIED);
}

static void test_a_drain_that_takes_too_long_hands_its_job_back(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 0, 7, 1, 3);
    params(w, 3);
    agent_signal(w->a, w->now);
    drain(w);
    for (uint64_t ms = 0; ms < AGENT_DRAIN_MS; ms += 500) {
        session_message(w, WIRE_PONG);
        tick(w, 500);
    }
    assert_int_equal(find(w, AGENT_RELEASE)->job, 7);
    assert_int_equal(count(w, AGENT_SEND_GOODBYE), 1);
}

static void test_a_failed_job_is_said_and_the_slot_goes_on(void **state)
{
    struct world *w = *state;
    to_ready(w);
    (void)job(w, 1, 7, 1, 3);
    params(w, 3);
    (void)agent_slot_done(w->a, 1, AGENT_FAILED, false, WIRE_FAILURE_NUMBERS, w->now);
    drain(w);
    assert_int_equal(find(w, AGENT_SEND_FAILED)->number, WIRE_FAILURE_NUMBERS);
    assert_int_equal(count(w, AGENT_SEND_REQUEST), 1);
}

static void test_a_reprobe_is_really_computed_and_work_waits_for_it(void **state)
{
    struct world *w = *state;
    to_ready(w);
    session_message(w, WIRE_REPROBE);
    assert_int_equal(find(w, AGENT_RUN_PROBE)->number, 1);
    assert_int_equal(agent_state(w->a), AGENT_PROBING);
    agent_probed(w->a, OK, "", w->now);
    session_message(w, WIRE_READY);
    assert_int_equal(count(w, AGENT_SEND_REQUEST), SLOTS);
    assert_int_equal(find(w, AGENT_SEND_REQUEST)->number, 2);
}

static void test_partings_end_fail_or_wait_for_a_restarted_coordinator(void **state)
{
    struct world *w = *state;
    to_ready(w);
    connection_note(w, WIRE_GOODBYE, WIRE_PARTING_SHUTDOWN, 0);
    assert_int_equal(agent_state(w->a), AGENT_CONNECTING);
    tick(w, AGENT_HELLO_MS);
    to_ready(w);
    connection_note(w, WIRE_GOODBYE, WIRE_PARTING_FINISHED, 0);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_DONE);
}

static void test_nobody_for_too_long_gives_up(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 119; i++) {
        tick(w, 500);
        assert_int_equal(count(w, AGENT_EXIT), 0);
    }
    tick(w, 500);
    assert_int_equal(find(w, AGENT_EXIT)->number, AGENT_EXIT_UNREACHABLE);
}

/* Every kind of message in every state: none may break an invariant or wake a dead session. */
static void test_any_message_in_any_state_is_survived(void **state)
{
    struct world *w = *state;
    for (int s = AGENT_CONNECTING; s <= AGENT_DRAINING; s++) {
        for (int kind = WIRE_NONE; kind < WIRE_KINDS; kind++) {
            (void)teardown((void **)&w);
            (void)setup((void **)&w);
            if (s >= AGENT_PREPARING) {
                welcome(w, SESSION);
            }
            if (s >= AGENT_PROBING) {
                agent_prepared(w->a, OK, "", w->now);
            }
            if (s >= AGENT_READY) {
                session_message(w, WIRE_READY);
            }
            if (s == AGENT_DRAINING) {
                agent_signal(w->a, w->now);
            }
            assert_int_equal(agent_state(w->a), s);
            struct wire_message m = {.kind = (enum wire_kind)kind};
            m.job_note.session = SESSION; /* the session comes first in every message */
            (void)say(w, &m);
            tick(w, 100);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_hello_is_repeated_with_one_epoch_until_new_sockets_are_opened),
        CASE(test_a_job_fetches_its_parameters_once_and_brings_a_result),
        CASE(test_what_may_still_be_under_way_is_not_repeated),
        CASE(test_a_job_nobody_asked_for_is_given_back_and_a_repeat_is_ignored),
        CASE(test_stale_stops_the_slot_and_its_late_answer_is_thrown_away),
        CASE(test_credit_for_a_result_that_was_dropped_is_given_back),
        CASE(test_a_job_whose_parameters_are_gone_is_given_back_and_the_slot_asks_again),
        CASE(test_a_note_with_another_token_changes_nothing),
        CASE(test_silence_drops_everything_and_connects_anew),
        CASE(test_an_unknown_session_says_hello_again),
        CASE(test_a_refusal_for_good_ends_the_program_and_one_for_now_waits),
        CASE(test_between_two_tasks_it_waits_on_the_connection_it_has),
        CASE(test_one_that_waits_finds_a_coordinator_that_was_restarted),
        CASE(test_one_that_waits_leaves_when_it_is_told_to),
        CASE(test_a_task_that_ends_under_a_drain_ends_the_worker),
        CASE(test_a_signal_drains_and_a_second_one_leaves_at_once),
        CASE(test_a_second_signal_does_not_wait_for_what_runs),
        CASE(test_a_drain_that_takes_too_long_hands_its_job_back),
        CASE(test_a_failed_job_is_said_and_the_slot_goes_on),
        CASE(test_a_reprobe_is_really_computed_and_work_waits_for_it),
        CASE(test_partings_end_fail_or_wait_for_a_restarted_coordinator),
        CASE(test_nobody_for_too_long_gives_up),
        CASE(test_any_message_in_any_state_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
