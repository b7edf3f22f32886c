/* test_agent_times.c - when a worker repeats itself, when it gives up, with which code it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "worker/agent.h"

enum { SESSION = 99, HEARTBEAT_MS = 500, SILENCE_MS = 3000, GIVE_UP_MS = 60000, ACTIONS = 200 };

struct world {
    struct agent *a;
    uint64_t now;
    struct agent_action actions[ACTIONS];
    uint32_t n;
};

static void drain(struct world *w)
{
    w->n = 0;
    while (agent_next(w->a, &w->actions[w->n])) {
        assert_true(++w->n < ACTIONS);
    }
}

static const struct agent_action *said(const struct world *w, enum agent_act act)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->actions[i].act == act) {
            return &w->actions[i];
        }
    }
    return NULL;
}

static void tick(struct world *w, uint64_t ms)
{
    w->now += ms;
    (void)agent_tick(w->a, w->now);
    drain(w);
}

static void say(struct world *w, const struct wire_message *m)
{
    (void)agent_message(w->a, m, w->now);
    drain(w);
}

static void hear_pong(struct world *w)
{
    struct wire_message m = {.kind = WIRE_PONG};
    m.session.session = SESSION;
    say(w, &m);
}

static void refuse(struct world *w, enum wire_refusal code, uint64_t session, uint32_t retry_ms)
{
    struct wire_message m = {.kind = WIRE_REFUSED};
    m.note = (struct wire_note){
        .session = session, .code = (uint32_t)code, .retry_ms = retry_ms, .text = "why"};
    say(w, &m);
}

static void welcome(struct world *w)
{
    struct wire_message m = {.kind = WIRE_WELCOME};
    m.welcome = (struct wire_welcome){.protocol = WIRE_PROTOCOL,
                                      .session = SESSION,
                                      .heartbeat_ms = HEARTBEAT_MS,
                                      .silence_ms = SILENCE_MS};
    say(w, &m);
}

static void to_probing(struct world *w)
{
    welcome(w);
    agent_prepared(w->a, OK, "", w->now);
    drain(w);
    assert_int_equal(agent_state(w->a), AGENT_PROBING);
}

static void to_ready(struct world *w)
{
    to_probing(w);
    agent_probed(w->a, OK, "", w->now);
    struct wire_message m = {.kind = WIRE_READY};
    m.session.session = SESSION;
    say(w, &m);
    assert_int_equal(agent_state(w->a), AGENT_READY);
}

static void job(struct world *w, uint64_t id, uint64_t request, uint64_t version)
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
                              .request = request};
    say(w, &m);
}

static void note(struct world *w, enum wire_kind kind, uint64_t id)
{
    struct wire_message m = {.kind = kind};
    m.job_note =
        (struct wire_job_note){.session = SESSION, .job = id, .token = {(uint8_t)id}, .attempt = 1};
    say(w, &m);
}

static int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    const struct agent_config cfg = {.slots = 1, .give_up_ms = GIVE_UP_MS};
    assert_int_equal(agent_new(&cfg, &w.a), OK);
    w.now = 1000;
    agent_start(w.a, w.now);
    drain(&w);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    agent_free(&w->a);
    agent_free(&w->a); /* nothing is left of it */
    return 0;
}

static void test_a_forgotten_session_says_hello_again_at_once(void **state)
{
    struct world *w = *state;
    to_ready(w);
    refuse(w, WIRE_REFUSED_SESSION, SESSION, 0);
    assert_non_null(said(w, AGENT_OPEN));
    assert_int_equal(agent_session(w->a), 0);
    tick(w, 0);
    assert_non_null(said(w, AGENT_SEND_HELLO));
}

static void test_epochs_only_grow(void **state)
{
    struct world *w = *state;
    tick(w, 0);
    uint64_t epoch = said(w, AGENT_SEND_HELLO)->number;
    for (int i = 0; i < 5; i++) {
        welcome(w);
        refuse(w, WIRE_REFUSED_SESSION, SESSION, 0);
        tick(w, i == 3 ? 1000 : 0);
        assert_true(said(w, AGENT_SEND_HELLO)->number > epoch);
        epoch = said(w, AGENT_SEND_HELLO)->number;
    }
}

static void test_a_refusal_for_now_waits_as_long_as_it_says(void **state)
{
    struct world *w = *state;
    tick(w, 0);
    refuse(w, WIRE_REFUSED_FULL, 0, 5000);
    assert_null(said(w, AGENT_OPEN)); /* over the connection that is there */
    assert_non_null(said(w, AGENT_NOTE));
    tick(w, 4999);
    assert_null(said(w, AGENT_SEND_HELLO));
    tick(w, 1);
    assert_non_null(said(w, AGENT_SEND_HELLO));
    refuse(w, WIRE_REFUSED_FULL, 0, 5000);
    assert_null(said(w, AGENT_NOTE)); /* said before */
}

static void test_a_worker_that_hears_nobody_says_so_ever_later(void **state)
{
    struct world *w = *state;
    uint64_t alone = 0;
    uint64_t said_at[8];
    size_t n = 0;
    for (; alone < GIVE_UP_MS; alone += 500) {
        tick(w, alone > 0 ? 500 : 0);
        const struct agent_action *action = said(w, AGENT_UNHEARD);
        if (action) {
            assert_int_equal(action->number, alone / 1000);
            assert_true(n < 8);
            said_at[n++] = action->number;
        }
    }
    const uint64_t expected[] = {5, 10, 20, 40};
    assert_int_equal(n, 4);
    assert_memory_equal(said_at, expected, sizeof expected);
    refuse(w, WIRE_REFUSED_FULL, 0, 1000); /* somebody is heard: it counts anew */
    tick(w, 4999);
    assert_null(said(w, AGENT_UNHEARD));
    tick(w, 1);
    assert_non_null(said(w, AGENT_UNHEARD));
}

static void test_new_sockets_come_later_and_later_and_soon_again_after_a_word(void **state)
{
    struct world *w = *state;
    uint64_t opened[4];
    for (int i = 0; i < 4; i++) {
        uint64_t from = w->now;
        do {
            tick(w, 100);
        } while (!said(w, AGENT_OPEN));
        opened[i] = w->now - from;
    }
    assert_int_equal(opened[0], AGENT_REOPEN_MS);
    assert_int_equal(opened[1], 2 * AGENT_REOPEN_MS);
    assert_int_equal(opened[2], 4 * AGENT_REOPEN_MS);
    assert_int_equal(opened[3], AGENT_REOPEN_MAX_MS);
    tick(w, 0);
    refuse(w, WIRE_REFUSED_FULL, 0, 100);
    tick(w, 100);
    uint64_t from = w->now;
    do {
        tick(w, 100);
    } while (!said(w, AGENT_OPEN));
    assert_int_equal(w->now - from, AGENT_REOPEN_MS);
}

static void test_hello_is_repeated_in_time_and_at_once_when_it_was_not_sent(void **state)
{
    struct world *w = *state;
    tick(w, 0);
    assert_non_null(said(w, AGENT_SEND_HELLO));
    tick(w, AGENT_HELLO_MS - 1);
    assert_null(said(w, AGENT_SEND_HELLO));
    tick(w, 1);
    assert_non_null(said(w, AGENT_SEND_HELLO));
    agent_hello_unsent(w->a);
    tick(w, 1);
    assert_non_null(said(w, AGENT_SEND_HELLO));
}

static void test_a_probe_that_cannot_be_computed_ends_the_worker_with_an_error(void **state)
{
    struct world *w = *state;
    to_probing(w);
    agent_probed(w->a, ERR_NOMEM, "no memory", w->now);
    drain(w);
    assert_int_equal(said(w, AGENT_SEND_GOODBYE)->number, SESSION);
    assert_int_equal(said(w, AGENT_EXIT)->number, AGENT_EXIT_ERROR);
    assert_string_equal(said(w, AGENT_EXIT)->text, "no memory");
    assert_int_equal(agent_state(w->a), AGENT_GONE);
}

static void test_an_engine_that_cannot_be_made_ends_it_by_its_reason(void **state)
{
    struct world *w = *state;
    welcome(w);
    agent_prepared(w->a, ERR_UNSUPPORTED, "kernels", w->now);
    drain(w);
    assert_int_equal(said(w, AGENT_EXIT)->number, AGENT_EXIT_REFUSED);
    agent_prepared(w->a, OK, "", w->now); /* of a session that is over */
    drain(w);
    assert_int_equal(w->n, 0);
}

static void test_a_worker_without_a_session_says_no_goodbye(void **state)
{
    struct world *w = *state;
    tick(w, 0);
    agent_signal(w->a, w->now);
    drain(w);
    assert_null(said(w, AGENT_SEND_GOODBYE));
    assert_int_equal(said(w, AGENT_EXIT)->number, AGENT_EXIT_DONE);
}

static void test_a_probe_is_repeated_until_it_is_answered(void **state)
{
    struct world *w = *state;
    to_probing(w);
    tick(w, AGENT_WANT_MS);
    assert_null(said(w, AGENT_SEND_PROBE)); /* not computed yet */
    hear_pong(w);
    agent_probed(w->a, OK, "", w->now);
    drain(w);
    assert_non_null(said(w, AGENT_SEND_PROBE));
    tick(w, AGENT_WANT_MS - 1);
    assert_null(said(w, AGENT_SEND_PROBE));
    tick(w, 1);
    assert_non_null(said(w, AGENT_SEND_PROBE));
}

static void test_heartbeats_keep_their_time(void **state)
{
    struct world *w = *state;
    to_ready(w);
    tick(w, HEARTBEAT_MS);
    uint32_t beats = 0;
    for (int ms = 0; ms < 20 * HEARTBEAT_MS; ms += 50) {
        hear_pong(w);
        tick(w, 50);
        beats += said(w, AGENT_SEND_HEARTBEAT) != NULL;
    }
    assert_int_equal(beats, 20);
}

static void test_requests_are_repeated_with_the_same_number(void **state)
{
    struct world *w = *state;
    to_ready(w);
    tick(w, AGENT_WANT_MS - 1);
    assert_null(said(w, AGENT_SEND_REQUEST));
    tick(w, 1);
    assert_int_equal(said(w, AGENT_SEND_REQUEST)->number, 1);
    assert_int_equal(said(w, AGENT_SEND_REQUEST)->slot, 0);
}

static void test_a_fetch_that_was_not_sent_is_sent_at_the_next_tick(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 0);
    assert_int_equal(said(w, AGENT_FETCH)->number, 0);
    agent_fetch_unsent(w->a);
    tick(w, 10);
    assert_int_equal(said(w, AGENT_FETCH)->number, 0);
    tick(w, 10);
    assert_null(said(w, AGENT_FETCH));
}

static void test_parameters_that_are_gone_are_never_fetched_again(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 3);
    agent_params_gone(w->a, 3, w->now);
    drain(w);
    assert_int_equal(said(w, AGENT_RELEASE)->job, 7);
    for (int ms = 0; ms <= AGENT_TRANSFER_MS; ms += 1000) {
        hear_pong(w);
        tick(w, 1000);
        assert_null(said(w, AGENT_FETCH));
    }
}

static void test_parameters_that_are_here_are_not_fetched_again(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 0);
    agent_params(w->a, 0, w->now);
    drain(w);
    assert_non_null(said(w, AGENT_COMPUTE));
    for (int ms = 0; ms <= AGENT_TRANSFER_MS; ms += 1000) {
        hear_pong(w);
        tick(w, 1000);
        assert_null(said(w, AGENT_FETCH));
    }
}

static void test_the_same_refusal_is_news_again_after_a_welcome(void **state)
{
    struct world *w = *state;
    tick(w, 0);
    refuse(w, WIRE_REFUSED_FULL, 0, 100);
    assert_non_null(said(w, AGENT_NOTE));
    to_ready(w);
    refuse(w, WIRE_REFUSED_STATE, 0, 100);
    assert_non_null(said(w, AGENT_NOTE));
}

static void test_without_memory_there_is_no_agent(void **state)
{
    (void)state;
    const struct agent_config cfg = {.slots = 1};
    struct agent *a = NULL;
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(agent_new(&cfg, &a), ERR_NOMEM);
        mem_fail_after(0);
        assert_null(a);
    }
}

static void test_a_job_that_is_stale_while_it_waits_for_parameters_makes_room(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 3);
    assert_true(agent_slot_fetches(w->a, 0));
    note(w, WIRE_STALE, 7);
    assert_false(agent_slot_fetches(w->a, 0));
    assert_int_equal(said(w, AGENT_SEND_REQUEST)->number, 2);
    agent_params(w->a, 3, w->now);
    drain(w);
    assert_null(said(w, AGENT_COMPUTE));
}

static void test_a_result_that_did_not_go_out_is_sent_at_the_next_tick(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 3);
    agent_params(w->a, 3, w->now);
    uint32_t r = agent_slot_done(w->a, 0, AGENT_COMPUTED, false, 0, w->now);
    drain(w);
    assert_int_equal(said(w, AGENT_ANNOUNCE)->result, r);
    note(w, WIRE_SEND, 7);
    assert_int_equal(said(w, AGENT_SEND_RESULT)->result, r);
    agent_result_unsent(w->a, r, w->now);
    tick(w, 10);
    assert_int_equal(said(w, AGENT_SEND_RESULT)->result, r);
    tick(w, 10);
    assert_null(said(w, AGENT_SEND_RESULT));
    note(w, WIRE_REJECTED, 7);
    assert_int_equal(said(w, AGENT_DROP_RESULT)->result, r);
    assert_non_null(said(w, AGENT_NOTE));
}

static void test_an_announcement_is_repeated_until_it_is_answered(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 3);
    agent_params(w->a, 3, w->now);
    (void)agent_slot_done(w->a, 0, AGENT_COMPUTED, false, 0, w->now);
    drain(w);
    for (int ms = 0; ms < AGENT_ANNOUNCE_MS - 500; ms += 500) {
        hear_pong(w);
        tick(w, 500);
        assert_null(said(w, AGENT_ANNOUNCE));
    }
    hear_pong(w);
    tick(w, 500);
    assert_non_null(said(w, AGENT_ANNOUNCE));
    note(w, WIRE_ACK, 7);
    assert_non_null(said(w, AGENT_DROP_RESULT));
    for (int ms = 0; ms < 2 * AGENT_ANNOUNCE_MS; ms += 500) {
        hear_pong(w);
        tick(w, 500);
        assert_null(said(w, AGENT_ANNOUNCE));
    }
}

static void test_a_score_needs_no_credit(void **state)
{
    struct world *w = *state;
    to_ready(w);
    job(w, 7, 1, 3);
    agent_params(w->a, 3, w->now);
    (void)agent_slot_done(w->a, 0, AGENT_COMPUTED, true, 0, w->now);
    drain(w);
    note(w, WIRE_SEND, 7);
    assert_null(said(w, AGENT_SEND_RESULT));
    assert_null(said(w, AGENT_RELEASE));
}

static void test_nobody_heard_gives_up_and_not_a_moment_earlier(void **state)
{
    struct world *w = *state;
    uint64_t from = w->now;
    while (w->now - from < GIVE_UP_MS - 100) {
        tick(w, 100);
        assert_null(said(w, AGENT_EXIT));
    }
    tick(w, 99);
    assert_null(said(w, AGENT_EXIT));
    tick(w, 1);
    assert_int_equal(said(w, AGENT_EXIT)->number, AGENT_EXIT_UNREACHABLE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_forgotten_session_says_hello_again_at_once),
        TEST(test_epochs_only_grow),
        TEST(test_a_refusal_for_now_waits_as_long_as_it_says),
        TEST(test_a_worker_that_hears_nobody_says_so_ever_later),
        TEST(test_new_sockets_come_later_and_later_and_soon_again_after_a_word),
        TEST(test_hello_is_repeated_in_time_and_at_once_when_it_was_not_sent),
        TEST(test_a_probe_that_cannot_be_computed_ends_the_worker_with_an_error),
        TEST(test_an_engine_that_cannot_be_made_ends_it_by_its_reason),
        TEST(test_a_worker_without_a_session_says_no_goodbye),
        TEST(test_a_probe_is_repeated_until_it_is_answered),
        TEST(test_heartbeats_keep_their_time),
        TEST(test_requests_are_repeated_with_the_same_number),
        TEST(test_a_fetch_that_was_not_sent_is_sent_at_the_next_tick),
        TEST(test_parameters_that_are_gone_are_never_fetched_again),
        TEST(test_parameters_that_are_here_are_not_fetched_again),
        TEST(test_the_same_refusal_is_news_again_after_a_welcome),
        TEST(test_without_memory_there_is_no_agent),
        TEST(test_a_job_that_is_stale_while_it_waits_for_parameters_makes_room),
        TEST(test_a_result_that_did_not_go_out_is_sent_at_the_next_tick),
        TEST(test_an_announcement_is_repeated_until_it_is_answered),
        TEST(test_a_score_needs_no_credit),
        TEST(test_nobody_heard_gives_up_and_not_a_moment_earlier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
