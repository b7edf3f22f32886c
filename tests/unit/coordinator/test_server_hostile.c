/* test_server_hostile.c - peers that have a key and lie: about tokens, attempts, sessions, names.
 */
#include "tests/unit/coordinator/server_fixture.h"

static void test_a_result_whose_token_is_wrong_is_not_summed(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    struct wire_message m = note(WIRE_RESULT, &job, session);
    m.job_note.token[WIRE_TOKEN_BYTES - 1] ^= 1;
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    assert_int_equal(w.server->bad_tokens, 1);
    m = note(WIRE_RESULT, &job, session);
    m.job_note.attempt++; /* the token is another attempt's */
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 1);
    send_result_as(0, 0, &m); /* and only once */
    assert_int_equal(w.payloads, 1);
    server_summed(w.server, job.job, OK);
    assert_int_equal(times(0, WIRE_ACK), 1);
    assert_int_equal(w.counted, 1);
}

static void test_a_job_is_not_given_back_announced_or_failed_with_a_wrong_token(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    struct wire_job forged = job;
    forged.token[0] ^= 1;
    assert_int_equal(leased(), 1);
    struct wire_message m = note(WIRE_RELEASE, &forged, session);
    say(0, &m);
    assert_int_equal(leased(), 1);
    m = note(WIRE_FAILED, &forged, session);
    m.job_note.code = WIRE_FAILURE_INPUT;
    say(0, &m);
    assert_int_equal(leased(), 1);
    announce(0, &forged, session);
    assert_int_equal(leased(), 1);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(w.server->bad_tokens, 3);
    assert_int_equal(dispatch_stats(w.server->dispatch).failed, 0);
    m = note(WIRE_RELEASE, &job, session);
    say(0, &m);
    assert_int_equal(leased(), 0);
    assert_int_equal(dispatch_stats(w.server->dispatch).released, 1);
}

/* A worker with a key of its own, that has seen another's session and token. */
static void test_a_tensor_connection_of_another_key_speaks_for_nobody(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)joined(1);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    struct peer *peer = server_peer_by_session(w.server, session);
    struct wire_message m = {.kind = WIRE_ATTACH};
    m.session.session = session;
    say_as(1, true, 3, &m, NULL);
    assert_false(peer->has_tensor);
    m = note(WIRE_RESULT, &job, session);
    send_result_as(1, 3, &m);
    assert_false(peer->has_tensor);
    assert_int_equal(w.payloads, 0);
    m = (struct wire_message){.kind = WIRE_FETCH};
    m.params.session = session;
    say_as(1, true, 3, &m, NULL);
    assert_int_equal(w.n_heard[3], 0);
    assert_false(peer->has_tensor);
    m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_true(peer->has_tensor);
    assert_int_equal(w.payloads, 1);
}

static void test_a_session_is_the_connections_that_began_it(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)joined(1);
    struct wire_job job = asked(0, session, 1);
    struct wire_message m = note(WIRE_RELEASE, &job, session);
    say(1, &m); /* with the right token, from elsewhere */
    assert_int_equal(leased(), 1);
    assert_int_equal(last(1)->kind, WIRE_REFUSED);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_SESSION);
    m = (struct wire_message){.kind = WIRE_GOODBYE};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    uint32_t heard = w.n_heard[1];
    say(1, &m);
    assert_int_equal(w.n_heard[1], heard); /* whoever says goodbye wants no answer */
    assert_int_equal(server_workers(w.server), 2);
    assert_int_equal(leased(), 1);
}

static void test_a_session_that_was_made_up_is_nobodys(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)joined(1);
    struct wire_job job = asked(0, session, 1);
    for (int bit = 16; bit < 64; bit++) { /* the low bits say where it lies */
        struct wire_message m = note(WIRE_RELEASE, &job, session ^ 1ull << bit);
        say(0, &m);
        assert_int_equal(leased(), 1);
        assert_int_equal(last(0)->kind, WIRE_REFUSED);
        w.n_heard[0] = 0;
    }
    struct wire_message m = note(WIRE_RELEASE, &job, session + 7);
    say(0, &m);
    assert_int_equal(leased(), 1);
}

static void test_a_name_belongs_to_the_key_that_holds_it(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    say_hello(1, "w0", 2);
    assert_int_equal(last(1)->kind, WIRE_REFUSED);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_STALE);
    assert_int_equal(last(1)->note.session, 0);
    assert_non_null(server_peer_by_session(w.server, session));
    say_hello(0, "w0", 2); /* its own key may */
    assert_int_equal(last(0)->kind, WIRE_WELCOME);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 1);
}

/* Over connection r, all with one key. */
static void say_hello_as(uint32_t r, const char *name, uint64_t epoch, uint64_t process)
{
    struct wire_message m = hello(name, epoch);
    m.hello.process = process;
    say_as(0, false, r, &m, NULL);
}

/* Two containers of one host name, say: neither must end the other's work. */
static void test_a_second_holder_of_a_living_name_waits(void **state)
{
    (void)state;
    say_hello_as(0, "box", 1, 11);
    uint64_t session = last(0)->welcome.session;
    for (uint64_t epoch = 2; epoch < 6; epoch++) {
        say_hello_as(1, "box", epoch, 22);
        assert_int_equal(last(1)->kind, WIRE_REFUSED);
        assert_int_equal(last(1)->note.code, WIRE_REFUSED_STALE);
        assert_true(last(1)->note.retry_ms > 0);
        assert_non_null(strstr(last(1)->note.text, "another --id"));
        assert_non_null(server_peer_by_session(w.server, session));
    }
    say_hello_as(2, "box", 7, 11); /* the same process over another connection */
    assert_int_equal(last(2)->kind, WIRE_WELCOME);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 1);
}

/* Its clock may be behind: it may run on another machine now. */
static void test_a_worker_started_again_has_its_name_once_the_old_connection_is_closed(void **state)
{
    (void)state;
    say_hello_as(0, "box", 9, 11);
    uint64_t session = last(0)->welcome.session;
    w.gone[0] = true;
    say_hello_as(1, "box", 2, 22);
    assert_int_equal(last(1)->kind, WIRE_WELCOME);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 1);
}

static void test_the_key_of_an_observer_is_no_workers(void **state)
{
    (void)state;
    say_hello(3, "w3", 1);
    assert_int_equal(w.n_heard[3], 0);
    assert_int_equal(server_workers(w.server), 0);
}

static void revoke_alice(void)
{
    static const char *const rest[] = {"bob", "dave", "eve"};
    post_list(3, rest);
}

/* The connection lives on, and the result is whole: its key may not come in any more. */
static void test_a_revoked_key_is_not_heard_on_a_living_connection(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    revoke_alice();
    struct wire_message m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(last(0)->kind, WIRE_REFUSED);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_KEY);
    assert_int_equal(w.hung_up, 0); /* the word gets a second to arrive */
    say_hello(0, "w0", 2);
    assert_int_equal(server_workers(w.server), 0);
    w.now_ns += 2000000000ull;
    say_hello(0, "w0", 3);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(w.hung_up, 1);
    uint64_t other = joined(1); /* the job is another's now */
    struct wire_job again = asked(1, other, 1);
    assert_int_equal(again.job, job.job);
}

static void test_the_sessions_of_a_revoked_key_end_before_its_next_word(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    uint64_t other = joined(1);
    struct wire_job job = asked(0, session, 1);
    revoke_alice();
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT); /* the letter alone */
    assert_null(server_peer_by_session(w.server, session));
    assert_non_null(server_peer_by_session(w.server, other));
    assert_int_equal(leased(), 0);
    struct wire_message m = note(WIRE_RELEASE, &job, session);
    say(0, &m);
    assert_int_equal(times(0, WIRE_REFUSED), 1);
}

static void test_a_quarantined_workers_announcement_gets_no_credit(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    const uint64_t worker = server_peer_by_session(w.server, session)->worker;
    for (int i = 0; i < ROSTER_STRIKES; i++) {
        dispatch_blame(w.server->dispatch, worker, "a test", server_now_ns());
    }
    server_pump(w.server);
    announce(0, &job, session);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(last(0)->kind, WIRE_REJECTED);
    struct wire_message m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    uint64_t other = joined(1);
    struct wire_job again = asked(1, other, 1);
    announce(1, &again, other);
    assert_int_equal(last(1)->kind, WIRE_SEND);
}

static void test_a_result_that_is_announced_twice_and_not_the_same_is_a_strike(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    struct peer *peer = server_peer_by_session(w.server, session);
    uint64_t before = w.server->malformed;
    peer->announced->ready.rows[0].labels++; /* as if it had said so the first time */
    announce(0, &job, session);
    assert_int_equal(w.server->malformed, before + 1);
}

/* What is refused for good names no time to come back; the rest does. */
static void test_only_what_may_change_is_told_to_come_back(void **state)
{
    (void)state;
    struct wire_message m = hello("w0", 1);
    m.hello.protocol++;
    say(0, &m);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_PROTOCOL);
    assert_int_equal(last(0)->note.retry_ms, 0);
    m = hello("w0", 1);
    m.hello.model_hash[0] = 'c';
    say(0, &m);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_MODEL);
    assert_int_equal(last(0)->note.retry_ms, 0);
    say_hello(0, "w0", 5);
    say_hello(0, "w0", 4); /* an older life of it */
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_STALE);
    assert_true(last(0)->note.retry_ms > 0);
    server_drain(w.server);
    say_hello(1, "w1", 1);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_STATE);
    assert_true(last(1)->note.retry_ms > 0);
}

static void test_what_may_wait_unread_follows_from_the_run_and_is_bounded(void **state)
{
    (void)state;
    const uint64_t large = 1ull << 28;
    w.server->cfg.floats = large;
    w.server->cfg.welcome.unit_tokens = 100000;
    server_make_room(w.server);
    assert_int_equal(w.unread[1], (LIMIT_RESULTS_LARGE_IN_FLIGHT + 1) * large * sizeof(int64_t));
    assert_true(w.unread[0] <= 2ull * LIMIT_JOB_BYTES);
    w.server->cfg.floats = 1;
    server_make_room(w.server);
    assert_true(w.unread[1] < large && w.unread[1] >= LIMIT_RESULTS_BYTES_IN_FLIGHT);
}

static void test_only_an_operator_or_the_owner_may_command(void **state)
{
    (void)state;
    w.sender = "dave";
    assert_int_equal(server_asker(w.server), KEY_OBSERVER);
    w.sender = "nobody";
    assert_int_equal(server_asker(w.server), KEY_OBSERVER);
    w.server->doors.key = NULL; /* without keys the file system decides */
    assert_int_equal(server_asker(w.server), KEY_OBSERVER);
    w.server->owner_commands = true;
    assert_int_equal(server_asker(w.server), KEY_OPERATOR);
    w.server->doors.key = &w.key;
}

static void test_sessions_are_never_0_and_never_twice_the_same(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t epoch = 1; epoch <= 20; epoch++) {
        say_hello(0, "w0", epoch);
        uint64_t session = last(0)->welcome.session;
        assert_int_equal(session >> 63, 1);
        assert_true(session >> 16 != before >> 16);
        before = session;
    }
    assert_int_equal(server_workers(w.server), 1);
}

static void test_other_arithmetic_ends_the_session(void **state)
{
    (void)state;
    say_hello(0, "w0", 1);
    uint64_t session = last(0)->welcome.session;
    assert_true(session >> 63 == 1 && (session & 0xFFFF) == 0);
    struct wire_message m = {.kind = WIRE_PROBE};
    m.probe.session = session;
    m.probe.digest[0] = 1;
    say(0, &m);
    assert_int_equal(last(0)->kind, WIRE_REFUSED);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_PROBE);
    assert_int_equal(last(0)->note.retry_ms, 0);
    assert_int_equal(times(0, WIRE_READY), 0);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 0);
}

/* The worker's last words may still wait in the socket: it is gone a turn later. */
static void test_a_lost_connection_gives_its_job_to_another(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    uint64_t other = joined(1);
    struct wire_job job = asked(0, session, 1);
    assert_false(server_part_lost(w.server));
    w.gone[0] = true;
    struct wire_message m = {.kind = WIRE_HEARTBEAT};
    m.heartbeat.session = session;
    say(0, &m); /* its pong cannot be sent */
    assert_int_equal(leased(), 1);
    assert_true(server_part_lost(w.server));
    assert_non_null(server_peer_by_session(w.server, session));
    assert_false(server_part_lost(w.server));
    assert_null(server_peer_by_session(w.server, session));
    assert_non_null(server_peer_by_session(w.server, other));
    assert_int_equal(server_workers(w.server), 1);
    assert_int_equal(leased(), 0);
    assert_int_equal(asked(1, other, 1).job, job.job);
}

static void test_nonsense_three_times_is_not_heard_any_more(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_message m = {.kind = WIRE_WELCOME}; /* only a coordinator says that */
    m.welcome = w.server->cfg.welcome;
    m.welcome.session = session;
    for (int i = 0; i < SERVER_STRIKES; i++) {
        struct wire_message ask = {.kind = WIRE_HEARTBEAT};
        ask.heartbeat.session = session;
        say(0, &ask);
        assert_int_equal(times(0, WIRE_PONG), i + 1);
        say(0, &m);
        assert_int_equal(w.server->malformed, i + 1);
    }
    struct wire_message ask = {.kind = WIRE_HEARTBEAT};
    ask.heartbeat.session = session;
    say(0, &ask);
    assert_int_equal(times(0, WIRE_PONG), SERVER_STRIKES);
    const struct worker *worker = roster_at(dispatch_roster(w.server->dispatch), 0);
    assert_int_equal(worker->state, WORKER_QUARANTINED);
}

static void test_a_gradient_of_another_size_is_a_strike_and_not_asked_for(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    w.server->cfg.floats++; /* so that an honest one is too short */
    announce(0, &job, session);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(w.server->malformed, 1);
    assert_int_equal(leased(), 1);
}

static void test_a_goodbye_gives_back_what_runs(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)asked(0, session, 1);
    struct wire_message m = {.kind = WIRE_GOODBYE};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(0, &m);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(leased(), 0);
    assert_null(server_peer_by_session(w.server, session));
}

static void test_a_worker_that_drains_gets_nothing_more(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    struct wire_message m = {.kind = WIRE_DRAIN};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(0, &m);
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    m = (struct wire_message){.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = 2};
    say(0, &m);
    assert_int_equal(times(0, WIRE_JOB), 1);
    assert_int_equal(server_slots(w.server), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_result_whose_token_is_wrong_is_not_summed),
        TEST(test_a_job_is_not_given_back_announced_or_failed_with_a_wrong_token),
        TEST(test_a_tensor_connection_of_another_key_speaks_for_nobody),
        TEST(test_a_session_is_the_connections_that_began_it),
        TEST(test_a_session_that_was_made_up_is_nobodys),
        TEST(test_a_name_belongs_to_the_key_that_holds_it),
        TEST(test_a_second_holder_of_a_living_name_waits),
        TEST(test_a_worker_started_again_has_its_name_once_the_old_connection_is_closed),
        TEST(test_the_key_of_an_observer_is_no_workers),
        TEST(test_a_revoked_key_is_not_heard_on_a_living_connection),
        TEST(test_the_sessions_of_a_revoked_key_end_before_its_next_word),
        TEST(test_a_quarantined_workers_announcement_gets_no_credit),
        TEST(test_a_result_that_is_announced_twice_and_not_the_same_is_a_strike),
        TEST(test_only_what_may_change_is_told_to_come_back),
        TEST(test_what_may_wait_unread_follows_from_the_run_and_is_bounded),
        TEST(test_only_an_operator_or_the_owner_may_command),
        TEST(test_sessions_are_never_0_and_never_twice_the_same),
        TEST(test_other_arithmetic_ends_the_session),
        TEST(test_a_lost_connection_gives_its_job_to_another),
        TEST(test_nonsense_three_times_is_not_heard_any_more),
        TEST(test_a_gradient_of_another_size_is_a_strike_and_not_asked_for),
        TEST(test_a_goodbye_gives_back_what_runs),
        TEST(test_a_worker_that_drains_gets_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
