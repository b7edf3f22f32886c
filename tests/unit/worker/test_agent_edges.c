/* test_agent_edges.c - a worker at its edges: how it parts and with which words, how much it asks
 * for, what it hands back, when its next turn is due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "worker/agent_state.h"

enum { SESSION = 99, HEARTBEAT_MS = 500, SILENCE_MS = 3000, SLOTS = 2, ACTIONS = 300 };

struct world {
    struct agent *a;
    uint64_t now;
    struct agent_action actions[ACTIONS];
    uint32_t n;
};

static struct world w;

static void drain(void)
{
    w.n = 0;
    while (agent_next(w.a, &w.actions[w.n])) {
        assert_true(++w.n < ACTIONS);
    }
}

static uint32_t times(enum agent_act act)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.n; i++) {
        n += w.actions[i].act == act;
    }
    return n;
}

static const struct agent_action *said(enum agent_act act)
{
    for (uint32_t i = 0; i < w.n; i++) {
        if (w.actions[i].act == act) {
            return &w.actions[i];
        }
    }
    return NULL;
}

static void tick(uint64_t ms)
{
    w.now += ms;
    (void)agent_tick(w.a, w.now);
    drain();
}

static bool say(const struct wire_message *m)
{
    bool wanted = agent_message(w.a, m, w.now);
    drain();
    return wanted;
}

static void say_session(enum wire_kind kind)
{
    struct wire_message m = {.kind = kind};
    m.session.session = SESSION;
    (void)say(&m);
}

static void say_note(enum wire_kind kind, uint32_t code, uint32_t retry_ms, const char *text)
{
    struct wire_message m = {.kind = kind};
    m.note = (struct wire_note){.session = SESSION, .code = code, .retry_ms = retry_ms};
    (void)snprintf(m.note.text, sizeof m.note.text, "%s", text);
    (void)say(&m);
}

static void welcome(uint32_t heartbeat_ms)
{
    struct wire_message m = {.kind = WIRE_WELCOME};
    m.welcome = (struct wire_welcome){.protocol = WIRE_PROTOCOL,
                                      .session = SESSION,
                                      .heartbeat_ms = heartbeat_ms,
                                      .silence_ms = SILENCE_MS};
    (void)say(&m);
}

static void to_probing(void)
{
    welcome(HEARTBEAT_MS);
    agent_prepared(w.a, OK, "", w.now);
    drain();
    assert_int_equal(agent_state(w.a), AGENT_PROBING);
}

static void to_ready(void)
{
    to_probing();
    agent_probed(w.a, OK, "", w.now);
    say_session(WIRE_READY);
    assert_int_equal(agent_state(w.a), AGENT_READY);
}

static struct wire_message a_job(uint32_t slot, uint64_t id, uint64_t request, uint64_t version)
{
    struct wire_message m = {.kind = WIRE_JOB};
    m.job = (struct wire_job){.session = SESSION,
                              .job = id,
                              .token = {(uint8_t)id, 7},
                              .kind = WIRE_GRADIENT,
                              .version = version,
                              .adapter = true,
                              .units = 1,
                              .rows = 10,
                              .attempt = 3,
                              .slot = slot,
                              .request = request};
    return m;
}

static bool job(uint32_t slot, uint64_t id, uint64_t request, uint64_t version)
{
    struct wire_message m = a_job(slot, id, request, version);
    return say(&m);
}

static struct wire_message a_note(enum wire_kind kind, uint64_t id)
{
    struct wire_message m = {.kind = kind};
    m.job_note = (struct wire_job_note){
        .session = SESSION, .job = id, .token = {(uint8_t)id, 7}, .attempt = 3};
    return m;
}

static void note(enum wire_kind kind, uint64_t id)
{
    struct wire_message m = a_note(kind, id);
    (void)say(&m);
}

static void params(uint64_t version)
{
    agent_params(w.a, version, w.now);
    drain();
}

static uint32_t done(uint32_t slot, enum agent_outcome outcome)
{
    uint32_t r = agent_slot_done(w.a, slot, outcome, false, WIRE_FAILURE_NUMBERS, w.now);
    drain();
    return r;
}

static int setup_with(uint64_t give_up_ms)
{
    memset(&w, 0, sizeof w);
    const struct agent_config cfg = {.slots = SLOTS, .give_up_ms = give_up_ms};
    assert_int_equal(agent_new(&cfg, &w.a), OK);
    w.now = 1000;
    agent_start(w.a, w.now);
    drain();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(60000);
}

static int teardown(void **state)
{
    (void)state;
    agent_free(&w.a);
    assert_null(w.a);
    return 0;
}

static void test_states_have_their_names(void **state)
{
    (void)state;
    static const char *const names[] = {"connecting", "preparing", "probing",
                                        "ready",      "draining",  "gone"};
    for (int s = 0; s < AGENT_STATES; s++) {
        assert_string_equal(agent_state_name((enum agent_state)s), names[s]);
    }
    assert_string_equal(agent_state_name(AGENT_STATES), "unknown");
}

/* A coordinator that is told to stop may come back: its goodbye is answered, then it is looked for.
 */
static void
test_a_goodbye_of_a_coordinator_that_stops_is_answered_and_it_is_waited_for(void **state)
{
    (void)state;
    to_ready();
    (void)job(0, 7, 1, 3);
    params(3);
    say_note(WIRE_GOODBYE, WIRE_PARTING_SHUTDOWN, 0, "stopping");
    assert_int_equal(said(AGENT_SEND_GOODBYE)->number, SESSION);
    assert_int_equal(w.actions[0].act, AGENT_SEND_GOODBYE); /* before the connection is closed */
    assert_int_equal(times(AGENT_OPEN), 1);
    assert_int_equal(said(AGENT_ABANDON)->slot, 0);
    assert_int_equal(times(AGENT_DROP_PARAMS), 1);
    assert_int_equal(agent_session(w.a), 0);
    tick(AGENT_HELLO_MS - 1);
    assert_null(said(AGENT_SEND_HELLO));
    tick(1);
    assert_non_null(said(AGENT_SEND_HELLO));
    assert_null(said(AGENT_EXIT));
}

static void test_a_run_that_is_over_ends_the_worker_by_what_became_of_it(void **state)
{
    (void)state;
    to_ready();
    say_note(WIRE_GOODBYE, WIRE_PARTING_FAILED, 0, "the disk is full");
    assert_int_equal(said(AGENT_SEND_GOODBYE)->number, SESSION);
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_RUN_FAILED);
    assert_string_equal(said(AGENT_EXIT)->text, "the disk is full");
    (void)teardown(state);
    (void)setup(state);
    to_ready();
    say_note(WIRE_GOODBYE, WIRE_PARTING_FINISHED, 0, "done");
    assert_int_equal(said(AGENT_SEND_GOODBYE)->number, SESSION);
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_DONE);
    agent_signal(w.a, w.now); /* it has left: nothing more to say */
    agent_key_denied(w.a);
    tick(1000);
    assert_int_equal(times(AGENT_EXIT) + times(AGENT_SEND_DRAIN), 0);
    assert_int_equal(agent_tick(w.a, w.now), 200);
}

static void test_a_key_that_is_not_let_in_ends_the_worker(void **state)
{
    (void)state;
    agent_key_denied(w.a);
    drain();
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_REFUSED);
    assert_non_null(strstr(said(AGENT_EXIT)->text, "pft keys list"));
    assert_int_equal(agent_state(w.a), AGENT_GONE);
}

static void test_a_refusal_for_good_ends_the_worker_with_its_words(void **state)
{
    (void)state;
    tick(0);
    say_note(WIRE_REFUSED, WIRE_REFUSED_KERNELS, 0, "kernels: too old");
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_REFUSED);
    assert_string_equal(said(AGENT_EXIT)->text, "kernels: too old");
    assert_null(said(AGENT_SEND_GOODBYE));
}

static void test_an_engine_that_cannot_be_made_ends_it_by_the_kind_of_error(void **state)
{
    (void)state;
    static const struct {
        enum err error;
        enum agent_exit code;
    } cases[] = {{ERR_UNSUPPORTED, AGENT_EXIT_REFUSED},
                 {ERR_REFUSED, AGENT_EXIT_REFUSED},
                 {ERR_NOMEM, AGENT_EXIT_ERROR},
                 {ERR_CORRUPT, AGENT_EXIT_ERROR}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        welcome(HEARTBEAT_MS);
        agent_prepared(w.a, cases[i].error, "why", w.now);
        drain();
        assert_int_equal(said(AGENT_EXIT)->number, cases[i].code);
        assert_string_equal(said(AGENT_EXIT)->text, "why");
        assert_int_equal(said(AGENT_SEND_GOODBYE)->number, SESSION);
        (void)teardown(state);
        (void)setup(state);
    }
}

static void test_a_signal_before_any_work_ends_it_at_once(void **state)
{
    (void)state;
    welcome(HEARTBEAT_MS);
    agent_signal(w.a, w.now);
    drain();
    assert_int_equal(said(AGENT_SEND_GOODBYE)->number, SESSION);
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_DONE);
    assert_null(said(AGENT_SEND_DRAIN));
}

static void test_a_signal_under_an_operators_drain_drains_no_second_time(void **state)
{
    (void)state;
    to_ready();
    (void)job(0, 7, 1, 3);
    params(3);
    say_note(WIRE_DRAIN, 0, 0, "");
    assert_int_equal(times(AGENT_SEND_DRAIN), 1);
    const uint64_t from = w.now;
    w.now += 1000;
    say_note(WIRE_DRAIN, 0, 0, "");
    assert_int_equal(times(AGENT_SEND_DRAIN), 0);
    agent_signal(w.a, w.now);
    drain();
    assert_int_equal(times(AGENT_SEND_DRAIN) + times(AGENT_EXIT), 0);
    while (w.now < from + AGENT_DRAIN_MS - 100) {
        say_session(WIRE_PONG);
        tick(100);
        assert_null(said(AGENT_EXIT));
    }
    say_session(WIRE_PONG);
    tick(99);
    assert_null(said(AGENT_EXIT));
    tick(1);
    assert_int_equal(said(AGENT_RELEASE)->job, 7);
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_DONE);
    assert_non_null(strstr(said(AGENT_EXIT)->text, "out of time"));
}

static void test_a_drain_gives_back_what_waits_for_parameters_and_finishes_what_runs(void **state)
{
    (void)state;
    to_ready();
    (void)job(0, 7, 1, 3);
    params(3);
    (void)job(1, 8, 1, 4);
    assert_true(agent_slot_computes(w.a, 0) && agent_slot_fetches(w.a, 1));
    say_note(WIRE_DRAIN, 0, 0, "");
    assert_int_equal(times(AGENT_RELEASE), 1);
    assert_int_equal(said(AGENT_RELEASE)->job, 8);
    assert_int_equal(said(AGENT_RELEASE)->attempt, 3);
    assert_int_equal(said(AGENT_RELEASE)->token[0], 8);
    assert_int_equal(said(AGENT_RELEASE)->token[1], 7);
    assert_false(agent_slot_fetches(w.a, 1));
    assert_true(agent_slot_computes(w.a, 0));
    tick(AGENT_WANT_MS); /* nothing more is asked for */
    assert_null(said(AGENT_SEND_REQUEST));
    uint32_t r = done(0, AGENT_COMPUTED);
    assert_true(r != UINT32_MAX);
    say_session(WIRE_PONG);
    tick(20);
    assert_null(said(AGENT_EXIT)); /* its result waits */
    note(WIRE_ACK, 7);
    tick(20);
    assert_non_null(strstr(said(AGENT_EXIT)->text, "drained"));
    assert_null(strstr(said(AGENT_EXIT)->text, "out of time"));
}

static void test_a_drain_waits_for_every_slot(void **state)
{
    (void)state;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        to_ready();
        (void)job(slot, 7, 1, 3);
        params(3);
        say_note(WIRE_DRAIN, 0, 0, "");
        tick(20);
        assert_null(said(AGENT_EXIT));
        (void)done(slot, AGENT_FAILED);
        tick(20);
        assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_DONE);
        (void)teardown(state);
        (void)setup(state);
    }
}

static void test_a_probe_under_a_drain_is_answered_and_the_drain_goes_on(void **state)
{
    (void)state;
    to_ready();
    (void)job(0, 7, 1, 3);
    params(3);
    say_note(WIRE_DRAIN, 0, 0, "");
    say_session(WIRE_REPROBE);
    assert_int_equal(said(AGENT_RUN_PROBE)->number, 1);
    assert_int_equal(agent_state(w.a), AGENT_DRAINING);
    agent_probed(w.a, OK, "", w.now);
    drain();
    assert_int_equal(times(AGENT_SEND_PROBE), 1);
}

static void test_a_probe_of_a_session_that_is_over_is_not_sent(void **state)
{
    (void)state;
    to_probing();
    say_note(WIRE_REFUSED, WIRE_REFUSED_STATE, 1000, "the run is ending");
    agent_probed(w.a, OK, "", w.now);
    drain();
    assert_null(said(AGENT_SEND_PROBE));
    welcome(HEARTBEAT_MS);
    agent_probed(w.a, OK, "", w.now); /* while the engine of the new one is made */
    drain();
    assert_null(said(AGENT_SEND_PROBE));
}

static void test_after_a_reprobe_the_old_digest_is_not_repeated(void **state)
{
    (void)state;
    to_ready();
    say_session(WIRE_REPROBE);
    say_session(WIRE_PONG);
    tick(AGENT_WANT_MS);
    assert_null(said(AGENT_SEND_PROBE));
    agent_probed(w.a, OK, "", w.now);
    drain();
    assert_int_equal(times(AGENT_SEND_PROBE), 1);
}

static void test_no_more_is_asked_for_than_results_find_room(void **state)
{
    (void)state;
    uint64_t id = 100;
    uint32_t results[SLOTS + AGENT_RESULTS_EXTRA];
    to_ready();
    params(3);
    for (uint32_t i = 0; i < SLOTS + AGENT_RESULTS_EXTRA; i++) {
        uint32_t slot = i % 2;
        assert_true(job(slot, id + i, 1 + i / 2, 3));
        results[i] = done(slot, AGENT_COMPUTED);
        assert_true(results[i] != UINT32_MAX);
        assert_int_equal(times(AGENT_SEND_REQUEST), i < 2 ? 1 : 0); /* room for 4 in all */
    }
    tick(AGENT_WANT_MS);
    assert_null(said(AGENT_SEND_REQUEST));
    note(WIRE_ACK, id);
    assert_int_equal(said(AGENT_DROP_RESULT)->result, results[0]);
    assert_int_equal(times(AGENT_SEND_REQUEST), 1);
    note(WIRE_STALE, id + 1);
    assert_int_equal(times(AGENT_SEND_REQUEST), 1);
    note(WIRE_REJECTED, id + 2);
    assert_int_equal(times(AGENT_SEND_REQUEST), 0); /* both slots want */
    note(WIRE_ACK, id + 2);                         /* said again */
    assert_null(said(AGENT_DROP_RESULT));
}

static void test_a_session_that_ends_drops_every_result_and_every_slot(void **state)
{
    (void)state;
    to_ready();
    params(3);
    (void)job(0, 7, 1, 3);
    (void)job(1, 8, 1, 3);
    uint32_t r = done(0, AGENT_COMPUTED);
    (void)job(0, 9, 2, 4); /* waits for others */
    assert_true(agent_slot_fetches(w.a, 0) && agent_slot_computes(w.a, 1));
    say_note(WIRE_REFUSED, WIRE_REFUSED_SESSION, 0, "say hello");
    assert_int_equal(times(AGENT_DROP_RESULT), 1);
    assert_int_equal(said(AGENT_DROP_RESULT)->result, r);
    assert_int_equal(times(AGENT_ABANDON), 1);
    assert_int_equal(said(AGENT_ABANDON)->slot, 1);
    assert_int_equal(times(AGENT_DROP_PARAMS), 1);
    assert_false(agent_slot_fetches(w.a, 0) || agent_slot_computes(w.a, 1));
    tick(0); /* and again: there is nothing left to drop */
    say_note(WIRE_REFUSED, WIRE_REFUSED_FULL, 100, "full");
    assert_int_equal(times(AGENT_DROP_RESULT) + times(AGENT_ABANDON) + times(AGENT_DROP_PARAMS), 0);
    tick(100);
    to_ready();
    assert_int_equal(times(AGENT_SEND_REQUEST), 1); /* slot 1 is still busy with what is over */
    assert_int_equal(said(AGENT_SEND_REQUEST)->slot, 0);
    assert_int_equal(done(1, AGENT_COMPUTED), UINT32_MAX);
    assert_int_equal(said(AGENT_SEND_REQUEST)->slot, 1);
    assert_null(said(AGENT_ANNOUNCE));
    assert_true(job(1, 10, said(AGENT_SEND_REQUEST)->number, 3));
    assert_int_equal(said(AGENT_FETCH)->number, 3); /* what it had was of the other session */
}

static void test_what_a_slot_says_in_the_end_is_told_by_its_outcome(void **state)
{
    (void)state;
    to_ready();
    params(3);
    (void)job(0, 7, 1, 3);
    assert_int_equal(done(0, AGENT_ABANDONED), UINT32_MAX); /* it stopped though it was wanted */
    assert_int_equal(said(AGENT_RELEASE)->job, 7);
    assert_null(said(AGENT_SEND_FAILED));
    (void)job(1, 8, 1, 3);
    assert_int_equal(done(1, AGENT_FAILED), UINT32_MAX);
    assert_int_equal(said(AGENT_SEND_FAILED)->slot, 1);
    assert_int_equal(said(AGENT_SEND_FAILED)->number, WIRE_FAILURE_NUMBERS);
    assert_null(said(AGENT_RELEASE));
    (void)job(0, 9, 2, 3);
    assert_int_equal(agent_slot_job(w.a, 0)->job, 9);
    note(WIRE_STALE, 9);
    assert_int_equal(done(0, AGENT_FAILED), UINT32_MAX); /* nobody wants to know */
    assert_int_equal(times(AGENT_SEND_FAILED) + times(AGENT_RELEASE), 0);
    assert_int_equal(times(AGENT_SEND_REQUEST), 1);
}

static void test_a_job_that_needs_no_parameters_is_computed_at_once(void **state)
{
    (void)state;
    to_ready();
    struct wire_message m = a_job(0, 7, 1, 3);
    m.job.adapter = false;
    assert_true(say(&m));
    assert_int_equal(said(AGENT_COMPUTE)->slot, 0);
    assert_null(said(AGENT_FETCH));
    m = a_job(1, 8, 1, 3);
    m.job.adapter = false;
    m.job.steer = true; /* the vectors are behind them */
    assert_true(say(&m));
    assert_null(said(AGENT_COMPUTE));
    assert_int_equal(said(AGENT_FETCH)->number, 3);
}

static void test_parameters_start_the_jobs_of_their_version_alone(void **state)
{
    (void)state;
    to_ready();
    (void)job(0, 7, 1, 3);
    (void)job(1, 8, 1, 4);
    assert_int_equal(said(AGENT_FETCH)->number, 4);
    struct wire_message m = {.kind = WIRE_PARAMS};
    m.params = (struct wire_params){.session = SESSION, .version = 3};
    assert_false(say(&m)); /* the newer one is waited for */
    m.params.version = 4;
    assert_true(say(&m));
    params(4);
    assert_int_equal(times(AGENT_COMPUTE), 1);
    assert_int_equal(said(AGENT_COMPUTE)->slot, 1);
    assert_false(say(&m)); /* they are here */
    params(3);
    assert_int_equal(said(AGENT_COMPUTE)->slot, 0);
    assert_int_equal(times(AGENT_COMPUTE), 1);
}

static void test_parameters_that_are_gone_give_back_the_jobs_of_their_version_alone(void **state)
{
    (void)state;
    to_ready();
    (void)job(0, 7, 1, 3);
    (void)job(1, 8, 1, 4);
    agent_params_gone(w.a, 4, w.now);
    drain();
    assert_int_equal(times(AGENT_RELEASE), 1);
    assert_int_equal(said(AGENT_RELEASE)->job, 8);
    assert_true(agent_slot_fetches(w.a, 0));
    assert_int_equal(said(AGENT_SEND_REQUEST)->slot, 1);
    assert_int_equal(said(AGENT_SEND_REQUEST)->number, 2);
    agent_params_gone(w.a, 4, w.now);
    drain();
    assert_int_equal(w.n, 0);
}

static void test_a_job_that_came_twice_is_not_given_back(void **state)
{
    (void)state;
    to_ready();
    params(3);
    assert_true(job(0, 7, 1, 3));
    assert_false(job(0, 7, 1, 3)); /* it computes that */
    assert_null(said(AGENT_RELEASE));
    struct wire_message m = a_job(0, 7, 1, 3);
    m.job.attempt++;
    assert_false(say(&m)); /* another attempt: not asked for */
    assert_int_equal(said(AGENT_RELEASE)->job, 7);
    assert_int_equal(said(AGENT_RELEASE)->attempt, 4);
    assert_false(job(0, 8, 1, 3));
    assert_int_equal(said(AGENT_RELEASE)->job, 8);
    assert_false(job(1, 9, 2, 3)); /* it asked with number 1 there */
    assert_int_equal(said(AGENT_RELEASE)->job, 9);
    assert_false(job(SLOTS, 9, 1, 3));
    assert_int_equal(said(AGENT_RELEASE)->job, 9);
}

static void test_a_word_about_a_result_must_name_all_of_it(void **state)
{
    (void)state;
    to_ready();
    params(3);
    (void)job(0, 7, 1, 3);
    (void)done(0, AGENT_COMPUTED);
    for (int field = 0; field < 3; field++) {
        struct wire_message m = a_note(WIRE_STALE, 7);
        m.job_note.job += field == 0;
        m.job_note.attempt += field == 1;
        m.job_note.token[WIRE_TOKEN_BYTES - 1] ^= field == 2;
        (void)say(&m);
        assert_null(said(AGENT_DROP_RESULT));
    }
    note(WIRE_STALE, 7);
    assert_int_equal(times(AGENT_DROP_RESULT), 1);
}

static void test_a_credit_for_what_is_not_there_is_given_back_whole(void **state)
{
    (void)state;
    to_ready();
    note(WIRE_SEND, 7);
    assert_int_equal(said(AGENT_RELEASE)->job, 7);
    assert_int_equal(said(AGENT_RELEASE)->attempt, 3);
    assert_int_equal(said(AGENT_RELEASE)->token[0], 7);
    assert_int_equal(said(AGENT_RELEASE)->token[1], 7);
}

static void test_only_a_result_that_was_sent_is_sent_again(void **state)
{
    (void)state;
    to_ready();
    params(3);
    (void)job(0, 7, 1, 3);
    uint32_t r = done(0, AGENT_COMPUTED);
    agent_result_unsent(w.a, r, w.now); /* no credit yet */
    tick(10);
    assert_null(said(AGENT_SEND_RESULT));
    note(WIRE_SEND, 7);
    assert_int_equal(said(AGENT_SEND_RESULT)->result, r);
    note(WIRE_SEND, 7); /* the credit again: it is on its way */
    assert_null(said(AGENT_SEND_RESULT));
    agent_result_unsent(w.a, r, w.now);
    note(WIRE_SEND, 7);
    assert_int_equal(said(AGENT_SEND_RESULT)->result, r);
    for (uint64_t ms = 0; ms < AGENT_ANNOUNCE_MS - 500; ms += 500) {
        say_session(WIRE_PONG);
        tick(500);
        assert_null(said(AGENT_ANNOUNCE));
    }
    say_session(WIRE_PONG);
    tick(500);
    assert_int_equal(said(AGENT_ANNOUNCE)->result, r); /* no word came back */
    assert_null(said(AGENT_SEND_RESULT));
}

static void test_the_next_turn_is_as_soon_as_the_state_wants_it(void **state)
{
    (void)state;
    assert_int_equal(agent_tick(w.a, w.now), 50);
    welcome(HEARTBEAT_MS);
    assert_int_equal(agent_tick(w.a, w.now), 200);
    (void)teardown(state);
    (void)setup(state);
    welcome(120);
    assert_int_equal(agent_tick(w.a, w.now), 120);
    (void)teardown(state);
    (void)setup(state);
    to_ready();
    (void)job(0, 7, 1, 3);
    params(3);
    say_note(WIRE_DRAIN, 0, 0, "");
    assert_int_equal(agent_tick(w.a, w.now), 20);
    say_session(WIRE_PONG);
    assert_int_equal(agent_tick(w.a, w.now + SILENCE_MS), 50); /* its session is over */
}

static void test_silence_ends_a_session_and_says_how_long_it_was(void **state)
{
    (void)state;
    to_ready();
    tick(SILENCE_MS - 1);
    assert_null(said(AGENT_OPEN));
    tick(2);
    assert_int_equal(times(AGENT_OPEN), 1);
    assert_non_null(strstr(said(AGENT_NOTE)->text, "nothing heard for 3001 ms"));
    assert_int_equal(agent_session(w.a), 0);
    tick(0);
    assert_non_null(said(AGENT_SEND_HELLO)); /* at once */
}

static void test_a_worker_that_never_gives_up_looks_on(void **state)
{
    (void)state;
    (void)teardown(state);
    (void)setup_with(0);
    for (int i = 0; i < 5000; i++) {
        tick(1000);
        assert_null(said(AGENT_EXIT));
    }
}

static void test_a_word_makes_a_worker_patient_again(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        for (int s = 0; s < 59; s++) {
            tick(1000);
            assert_null(said(AGENT_EXIT));
        }
        say_note(WIRE_REFUSED, WIRE_REFUSED_FULL, 1, "full");
    }
    for (int s = 0; s < 59; s++) {
        tick(1000);
    }
    assert_null(said(AGENT_EXIT));
    say_session(WIRE_PONG); /* of no session: no sign of life */
    tick(1000);
    assert_int_equal(said(AGENT_EXIT)->number, AGENT_EXIT_UNREACHABLE);
}

static void test_settings_are_those_of_the_last_welcome(void **state)
{
    (void)state;
    welcome(123);
    assert_int_equal(agent_settings(w.a)->heartbeat_ms, 123);
    assert_int_equal(agent_session(w.a), SESSION);
    assert_int_equal(times(AGENT_PREPARE), 1);
    welcome(456); /* said again: it prepares already */
    assert_int_equal(agent_settings(w.a)->heartbeat_ms, 123);
    assert_int_equal(agent_unexpected(w.a), 1);
}

static void test_actions_come_out_in_their_order_however_many_there_are(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 100;
         round++) { /* a long life: the list does not grow with it */
        for (uint64_t i = 0; i < 250; i++) {
            agent_act(w.a, AGENT_NOTE)->number = i;
        }
        agent_act_text(w.a, AGENT_NOTE, 250, "number %d", 7);
        drain();
        assert_int_equal(w.n, 251);
        for (uint64_t i = 0; i <= 250; i++) {
            assert_int_equal(w.actions[i].number, i);
        }
        assert_string_equal(w.actions[250].text, "number 7");
        assert_string_equal(w.actions[0].text, "");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_states_have_their_names),
        TEST(test_a_goodbye_of_a_coordinator_that_stops_is_answered_and_it_is_waited_for),
        TEST(test_a_run_that_is_over_ends_the_worker_by_what_became_of_it),
        TEST(test_a_key_that_is_not_let_in_ends_the_worker),
        TEST(test_a_refusal_for_good_ends_the_worker_with_its_words),
        TEST(test_an_engine_that_cannot_be_made_ends_it_by_the_kind_of_error),
        TEST(test_a_signal_before_any_work_ends_it_at_once),
        TEST(test_a_signal_under_an_operators_drain_drains_no_second_time),
        TEST(test_a_drain_gives_back_what_waits_for_parameters_and_finishes_what_runs),
        TEST(test_a_drain_waits_for_every_slot),
        TEST(test_a_probe_under_a_drain_is_answered_and_the_drain_goes_on),
        TEST(test_a_probe_of_a_session_that_is_over_is_not_sent),
        TEST(test_after_a_reprobe_the_old_digest_is_not_repeated),
        TEST(test_no_more_is_asked_for_than_results_find_room),
        TEST(test_a_session_that_ends_drops_every_result_and_every_slot),
        TEST(test_what_a_slot_says_in_the_end_is_told_by_its_outcome),
        TEST(test_a_job_that_needs_no_parameters_is_computed_at_once),
        TEST(test_parameters_start_the_jobs_of_their_version_alone),
        TEST(test_parameters_that_are_gone_give_back_the_jobs_of_their_version_alone),
        TEST(test_a_job_that_came_twice_is_not_given_back),
        TEST(test_a_word_about_a_result_must_name_all_of_it),
        TEST(test_a_credit_for_what_is_not_there_is_given_back_whole),
        TEST(test_only_a_result_that_was_sent_is_sent_again),
        TEST(test_the_next_turn_is_as_soon_as_the_state_wants_it),
        TEST(test_silence_ends_a_session_and_says_how_long_it_was),
        TEST(test_a_worker_that_never_gives_up_looks_on),
        TEST(test_a_word_makes_a_worker_patient_again),
        TEST(test_settings_are_those_of_the_last_welcome),
        TEST(test_actions_come_out_in_their_order_however_many_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
