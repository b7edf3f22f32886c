/* test_server_messages.c - every message of a worker has its own answer and no other, and whatever
 * follows from it for other workers is said at once. */
#include "tests/unit/coordinator/server_fixture.h"

enum { VERSION = 3 };

static struct peer *peer_of(uint64_t session)
{
    return server_peer_by_session(w.server, session);
}

static void request(uint32_t r, uint64_t session, uint64_t number)
{
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = number};
    say(r, &m);
}

static void heartbeat(uint32_t r, uint64_t session, const struct wire_job *job)
{
    struct wire_message m = {.kind = WIRE_HEARTBEAT};
    m.heartbeat.session = session;
    if (job) {
        m.heartbeat.n_slots = 1;
        m.heartbeat.slots[0] =
            (struct wire_progress){.job = job->job, .attempt = job->attempt, .progress = 1};
    }
    say(r, &m);
}

static void part(uint32_t r, enum wire_kind kind, uint64_t session)
{
    struct wire_message m = {.kind = kind};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(r, &m);
}

/* Over the tensor connection of worker r. */
static void say_tensor(uint32_t r, enum wire_kind kind, uint64_t session, uint64_t version)
{
    struct wire_message m = {.kind = kind};
    m.params.session = session;
    m.params.version = version;
    say_as(r, true, r, &m, NULL);
}

static void publish(void)
{
    const struct adamw_config adamw = {.beta1 = 0.9};
    struct params *params = NULL;
    struct params_snapshot *snapshot = NULL;
    assert_int_equal(params_new_empty(FLOATS, &adamw, &params), OK);
    params->version = VERSION;
    assert_int_equal(params_snapshot(params, &snapshot), OK);
    params_free(&params);
    assert_int_equal(server_publish(w.server, snapshot), OK);
}

/* All units are with worker 0, but for those that worker 1 has announced; worker 1 waits. */
static uint64_t worker_1_waits(uint64_t zero, struct wire_job *held)
{
    *held = asked(0, zero, 1);
    uint64_t one = joined(1);
    for (uint64_t n = 1; n < UNITS; n++) {
        struct wire_job job = asked(1, one, n);
        announce(1, &job, one);
    }
    uint32_t jobs = times(1, WIRE_JOB);
    request(1, one, UNITS);
    assert_int_equal(times(1, WIRE_JOB), jobs);
    return one;
}

static void test_every_message_has_its_own_answer_and_no_other(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    assert_int_equal(w.n_heard[0], 2); /* welcome, ready */
    struct wire_job job = asked(0, session, 1);
    assert_int_equal(w.n_heard[0], 3);
    assert_int_equal(job.slot, 0);
    assert_int_equal(job.request, 1);
    assert_int_equal(w.carried[0][2] > 0, 1); /* its units */
    heartbeat(0, session, &job);
    assert_int_equal(w.n_heard[0], 4);
    assert_int_equal(last(0)->kind, WIRE_PONG);
    assert_int_equal(last(0)->session.session, session);
    announce(0, &job, session);
    assert_int_equal(w.n_heard[0], 5);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    assert_int_equal(last(0)->job_note.job, job.job);
    assert_int_equal(last(0)->job_note.attempt, job.attempt);
    assert_memory_equal(last(0)->job_note.token, job.token, sizeof job.token);
    struct wire_message m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 1);
    assert_int_equal(w.last_job, job.job);
    server_summed(w.server, job.job, OK);
    assert_int_equal(last(0)->kind, WIRE_ACK);
    struct wire_job next = asked(0, session, 2);
    m = note(WIRE_FAILED, &next, session);
    m.job_note.code = WIRE_FAILURE_INPUT;
    say(0, &m);
    assert_int_equal(dispatch_stats(w.server->dispatch).failed, 1);
    assert_int_equal(dispatch_stats(w.server->dispatch).released, 0);
    next = asked(0, session, 3);
    uint32_t heard = w.n_heard[0];
    m = note(WIRE_RELEASE, &next, session);
    say(0, &m);
    assert_int_equal(w.n_heard[0], heard);
    assert_int_equal(dispatch_stats(w.server->dispatch).released, 1);
    assert_int_equal(server_workers(w.server), 1);
    part(0, WIRE_DRAIN, session);
    assert_int_equal(w.n_heard[0], heard);
    assert_int_equal(server_workers(w.server), 1);
    part(0, WIRE_GOODBYE, session);
    assert_int_equal(w.n_heard[0], heard);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(dispatch_stats(w.server->dispatch).unknown, 0);
    assert_int_equal(w.server->malformed + w.server->bad_tokens, 0);
}

static void test_what_a_worker_gives_up_another_gets_at_once(void **state)
{
    (void)state;
    static const enum wire_kind kinds[] = {WIRE_RELEASE, WIRE_FAILED, WIRE_GOODBYE, WIRE_HELLO};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        void *none = NULL;
        struct wire_job job;
        uint64_t zero = joined(0);
        (void)worker_1_waits(zero, &job);
        uint32_t jobs = times(1, WIRE_JOB);
        struct wire_message m = note(kinds[i], &job, zero);
        m.job_note.code = WIRE_FAILURE_INPUT;
        if (kinds[i] == WIRE_GOODBYE) {
            part(0, WIRE_GOODBYE, zero);
        } else if (kinds[i] == WIRE_HELLO) { /* of its next life */
            say_hello(0, "w0", 2);
            assert_null(peer_of(zero));
        } else {
            say(0, &m);
        }
        assert_int_equal(times(1, WIRE_JOB), jobs + 1);
        assert_int_equal(last(1)->job.job, job.job);
        (void)teardown(&none);
        (void)setup(&none);
    }
}

static void test_strikes_free_the_job_of_whoever_is_quarantined_at_once(void **state)
{
    (void)state;
    struct wire_job job;
    uint64_t zero = joined(0);
    (void)worker_1_waits(zero, &job);
    uint32_t jobs = times(1, WIRE_JOB);
    for (int i = 0; i < ROSTER_STRIKES; i++) {
        assert_int_equal(times(1, WIRE_JOB), jobs);
        server_strike(w.server, &peer_of(zero)->control, peer_of(zero), "a test");
    }
    assert_int_equal(times(1, WIRE_JOB), jobs + 1);
}

static void test_a_hello_names_what_it_lacks(void **state)
{
    (void)state;
    static const struct {
        uint32_t levels;
        const char *best;
    } cases[] = {{1, "runs up to portable;"}, {3, "runs up to x86-64-v3;"}};
    w.server->cfg.kernels_bit = 4;
    for (size_t i = 0; i < 2; i++) {
        struct wire_message m = hello("w0", 1);
        m.hello.kernel_levels = cases[i].levels;
        say(0, &m);
        assert_int_equal(last(0)->kind, WIRE_REFUSED);
        assert_int_equal(last(0)->note.code, WIRE_REFUSED_KERNELS);
        assert_int_equal(last(0)->note.retry_ms, 0);
        assert_non_null(strstr(last(0)->note.text, cases[i].best));
    }
    struct wire_message m = hello("w0", 1);
    m.hello.kernel_levels = 7;
    say(0, &m);
    assert_int_equal(last(0)->kind, WIRE_WELCOME);
    m = hello("w1", 1);
    m.hello.kernel_levels = 7;
    m.hello.shape_digest[0] = 'c';
    say(1, &m);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_SHAPE);
    assert_int_equal(last(1)->note.retry_ms, 0);
}

static void test_a_run_that_is_full_says_when_to_come_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < LIMIT_WORKERS; i++) {
        char name[16];
        uint64_t worker;
        (void)snprintf(name, sizeof name, "x%u", i);
        const struct roster_hello one = {.name = name, .epoch = 1, .slots = 1};
        assert_int_equal(dispatch_hello(w.server->dispatch, &one, server_now_ns(), &worker, NULL),
                         OK);
    }
    say_hello(0, "w0", 1);
    assert_int_equal(last(0)->kind, WIRE_REFUSED);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_FULL);
    assert_int_equal(last(0)->note.session, 0);
    assert_true(last(0)->note.retry_ms >= 5000);
    assert_int_equal(w.n_heard[0], 1);
}

static void test_a_hello_for_which_there_is_no_memory_leaves_no_worker(void **state)
{
    (void)state;
    unsigned long n = 0;
    do {
        assert_true(n < 20);
        w.n_heard[0] = 0;
        mem_fail_after(++n);
        say_hello(0, "w0", n);
        mem_fail_after(0);
        assert_int_equal(w.n_heard[0], 1);
        if (last(0)->kind == WIRE_REFUSED) {
            assert_int_equal(server_workers(w.server), 0);
            assert_true(last(0)->note.retry_ms > 0);
            assert_true(last(0)->note.code == WIRE_REFUSED_FULL ||
                        last(0)->note.code == WIRE_REFUSED_QUARANTINE);
        }
    } while (last(0)->kind == WIRE_REFUSED);
    assert_int_equal(last(0)->kind, WIRE_WELCOME);
    assert_true(n >= 3);
}

/* A worker whose connection was made anew goes on with the session it has. */
static void test_a_hello_over_a_new_connection_moves_the_session_there(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    w.gone[0] = true;
    heartbeat(0, session, NULL);
    assert_int_equal(peer_of(session)->link, LINK_LOST);
    struct wire_message m = hello("w0", 1);
    say_as(0, false, 2, &m, NULL);
    assert_int_equal(last(2)->kind, WIRE_WELCOME);
    assert_int_equal(last(2)->welcome.session, session);
    assert_int_equal(peer_of(session)->link, LINK_UP);
    assert_false(server_part_lost(w.server));
    assert_false(server_part_lost(w.server));
    assert_non_null(peer_of(session));
    m = note(WIRE_RELEASE, &job, session);
    say_as(0, false, 2, &m, NULL);
    assert_int_equal(leased(), 0);
    uint32_t heard = w.n_heard[2];
    m = hello("w0", 1); /* the same hello once more, from there */
    say_as(0, false, 2, &m, NULL);
    assert_int_equal(w.n_heard[2], heard + 1);
    assert_int_equal(last(2)->welcome.session, session);
}

static void test_who_says_hello_while_a_run_ends_is_told_to_come_back(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    w.server->ending = true;
    say_hello(1, "w1", 1);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_STATE);
    assert_true(last(1)->note.retry_ms > 0);
    assert_int_equal(server_workers(w.server), 1);
    uint32_t heard = w.n_heard[0];
    request(0, session, 1); /* nothing but its goodbye is heard now */
    heartbeat(0, session, NULL);
    assert_int_equal(w.n_heard[0], heard);
    assert_int_equal(leased(), 0);
    say_tensor(0, WIRE_FETCH, session, VERSION);
    assert_int_equal(w.n_heard[0], heard);
    assert_false(peer_of(session)->has_tensor);
    part(0, WIRE_GOODBYE, session);
    assert_int_equal(server_workers(w.server), 0);
    assert_true(w.server->ended); /* the last one left */
    say_hello(2, "w2", 1);
    assert_int_equal(w.n_heard[2], 0);
}

static void test_a_goodbye_in_the_middle_of_a_run_does_not_end_it(void **state)
{
    (void)state;
    part(0, WIRE_GOODBYE, joined(0));
    assert_int_equal(server_workers(w.server), 0);
    assert_false(w.server->ended);
}

static void test_a_probe_waits_for_the_runs_own(void **state)
{
    (void)state;
    w.server->own_probe_pending = true;
    say_hello(0, "w0", 1);
    uint64_t session = last(0)->welcome.session;
    struct wire_message m = {.kind = WIRE_PROBE};
    m.probe.session = session;
    m.probe.digest[3] = 0;
    say(0, &m);
    assert_int_equal(times(0, WIRE_READY) + times(0, WIRE_REFUSED), 0);
    struct peer *peer = peer_of(session);
    assert_true(peer->probe_waits);
    assert_memory_equal(peer->probe, m.probe.digest, sizeof peer->probe);
    request(0, session, 1);
    assert_int_equal(times(0, WIRE_JOB), 0);
    w.server->own_probe_pending = false;
    server_judge_probe(w.server, peer, peer->probe);
    assert_int_equal(times(0, WIRE_READY), 1);
    assert_int_equal(last(0)->kind, WIRE_JOB); /* and what it asked for comes at once */
    assert_int_equal(last(0)->job.session, session);
}

static void test_a_worker_that_is_ready_gets_what_waits_at_once(void **state)
{
    (void)state;
    say_hello(0, "w0", 1);
    uint64_t session = last(0)->welcome.session;
    request(0, session, 1); /* before it has proven anything */
    assert_int_equal(times(0, WIRE_JOB), 0);
    struct wire_message m = {.kind = WIRE_PROBE};
    m.probe.session = session;
    say(0, &m);
    assert_int_equal(times(0, WIRE_READY), 1);
    assert_int_equal(times(0, WIRE_JOB), 1);
}

static void test_a_worker_whose_socket_was_full_gets_jobs_again_with_its_next_pong(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    w.full[0] = true;
    request(0, session, 1);
    assert_true(peer_of(session)->slow);
    assert_int_equal(leased(), 0); /* it could not be told */
    heartbeat(0, session, NULL);
    assert_true(peer_of(session)->slow);
    w.full[0] = false;
    heartbeat(0, session, NULL);
    assert_false(peer_of(session)->slow);
    assert_int_equal(times(0, WIRE_PONG), 1);
    request(0, session, 1); /* it heard nothing: it asks again */
    assert_int_equal(times(0, WIRE_JOB), 1);
}

static void test_heartbeats_renew_the_lease_of_what_they_name(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    for (int s = 0; s < 100; s++) { /* a lease lasts 60 s before anything is measured */
        w.now_ns += 1000000000ull;
        heartbeat(0, session, &job);
        w.n_heard[0] = 0;
        (void)dispatch_tick(w.server->dispatch, server_now_ns());
    }
    assert_int_equal(leased(), 1);
    for (int s = 0; s < 61; s++) {
        w.now_ns += 1000000000ull;
        heartbeat(0, session, NULL);
        w.n_heard[0] = 0;
        (void)dispatch_tick(w.server->dispatch, server_now_ns());
    }
    assert_int_equal(leased(), 0);
}

static void test_parameters_are_served_by_their_version(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    say_tensor(0, WIRE_FETCH, session, VERSION); /* there are none yet */
    assert_int_equal(last(0)->kind, WIRE_PARAMS);
    assert_int_equal(w.carried[0][w.n_heard[0] - 1], 0);
    publish();
    say_tensor(0, WIRE_FETCH, session, VERSION);
    assert_int_equal(last(0)->kind, WIRE_PARAMS);
    assert_int_equal(last(0)->params.version, VERSION);
    assert_int_equal(last(0)->params.session, session);
    assert_int_equal(last(0)->params.floats, FLOATS);
    assert_int_equal(w.carried[0][w.n_heard[0] - 1], FLOATS * sizeof(float));
    say_tensor(0, WIRE_FETCH, session, VERSION + 1);
    assert_int_equal(last(0)->params.version, VERSION + 1);
    assert_int_equal(last(0)->params.session, session);
    assert_int_equal(last(0)->params.floats, 0);
    assert_int_equal(w.carried[0][w.n_heard[0] - 1], 0);
    assert_false(peer_of(session)->fetch_waits);
    heartbeat(0, session, NULL);
    assert_int_equal(times(0, WIRE_PARAMS), 3);
}

static void test_parameters_that_found_a_full_queue_come_with_a_later_heartbeat(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    publish();
    w.full[0] = true;
    say_tensor(0, WIRE_FETCH, session, VERSION);
    assert_true(peer_of(session)->fetch_waits);
    w.full[0] = false;
    heartbeat(0, session, NULL);
    assert_int_equal(times(0, WIRE_PARAMS), 1);
    assert_false(peer_of(session)->fetch_waits);
    heartbeat(0, session, NULL);
    assert_int_equal(times(0, WIRE_PARAMS), 1);
}

static void test_a_tensor_connection_says_three_things_and_the_rest_is_a_strike(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    say_tensor(0, WIRE_ATTACH, session, 0);
    assert_true(peer_of(session)->has_tensor);
    assert_int_equal(w.server->malformed, 0);
    uint32_t heard = w.n_heard[0];
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = 1};
    for (uint64_t n = 1; n <= SERVER_STRIKES; n++) {
        say_as(0, true, 2, &m, NULL);
        assert_int_equal(w.server->malformed, n);
    }
    assert_int_equal(w.n_heard[0], heard);
    assert_int_equal(w.n_heard[2], 0);
    publish();
    say_as(0, true, 2, &m, NULL); /* not heard any more, nor counted */
    assert_int_equal(w.server->malformed, SERVER_STRIKES);
    m = (struct wire_message){.kind = WIRE_FETCH};
    m.params.session = session;
    m.params.version = VERSION;
    say_as(0, true, 2, &m, NULL);
    assert_int_equal(w.n_heard[2], 0);
}

static void test_a_message_without_a_header_is_a_strike(void **state)
{
    (void)state;
    const struct socket_route from = route(2);
    struct blob *none = NULL;
    w.sender = NAMES[0];
    for (uint64_t n = 1; n <= SERVER_STRIKES + 1; n++) {
        w.sockets[0].receive(w.sockets[0].ctx, &from, NULL, 0, &none);
        assert_int_equal(w.server->malformed, n < SERVER_STRIKES ? n : SERVER_STRIKES);
    }
    struct wire_message m = hello("w0", 1);
    say_as(0, false, 2, &m, NULL);
    assert_int_equal(w.n_heard[2], 0);
    say_hello(0, "w0", 1); /* over another connection */
    assert_int_equal(last(0)->kind, WIRE_WELCOME);
}

static void test_an_announcement_said_again_word_for_word_is_answered_again(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    announce(0, &job, session);
    assert_int_equal(times(0, WIRE_SEND), 2);
    assert_int_equal(w.server->malformed, 0);
    assert_null(peer_of(session)->announced->next); /* kept once */
}

static void test_an_announcement_that_says_anything_else_is_a_strike(void **state)
{
    (void)state;
    for (int field = 0; field < 6; field++) {
        void *none = NULL;
        uint64_t session = joined(0);
        struct wire_job job = asked(0, session, 1);
        announce(0, &job, session);
        struct wire_result_ready *first = &peer_of(session)->announced->ready;
        first->n_rows += field == 0;
        first->payload_hash[WIRE_DIGEST_BYTES - 1] = field == 1 ? 6 : 5;
        first->rows[0].unit += field == 2;
        first->rows[0].loss += field == 3;
        first->rows[0].labels += field == 4;
        first->rows[0].sumsq += field == 5 ? 0.5 : 0.0;
        announce(0, &job, session);
        assert_int_equal(w.server->malformed, 1);
        assert_int_equal(times(0, WIRE_SEND), 1);
        (void)teardown(&none);
        (void)setup(&none);
    }
}

static void test_an_announcement_without_memory_gives_the_job_back(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    mem_fail_after(1);
    announce(0, &job, session);
    mem_fail_after(0);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(dispatch_stats(w.server->dispatch).released, 1);
    assert_null(peer_of(session)->announced);
}

static void test_a_result_of_another_kind_is_a_strike(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    w.batch.kind = JOB_CAPTURE; /* as if the batch were one of these */
    announce(0, &job, session);
    assert_int_equal(w.server->malformed, 1);
    assert_int_equal(times(0, WIRE_SEND), 0);
    w.batch.kind = JOB_GRADIENT;
    announce(0, &job, session);
    assert_int_equal(times(0, WIRE_SEND), 1);
}

/* Credited, and the payload is missing: its sender gets the blame, the job goes on. */
static void test_a_result_without_its_payload_is_refused_and_done_again(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    struct wire_message m = note(WIRE_RESULT, &job, session);
    say_as(0, true, 0, &m, NULL);
    assert_int_equal(w.payloads, 0);
    assert_int_equal(last(0)->kind, WIRE_REJECTED);
    assert_int_equal(server_counts(w.server).jobs_queued, 1);
    assert_int_equal(roster_at(dispatch_roster(w.server->dispatch), 0)->strikes, 1);
    assert_null(peer_of(session)->announced);
}

static void test_a_result_that_was_announced_otherwise_is_refused(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    peer_of(session)->announced->ready.n_rows++;
    struct wire_message m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    assert_int_equal(last(0)->kind, WIRE_REJECTED);
    assert_int_equal(server_counts(w.server).jobs_queued, 1);
}

static void test_what_was_announced_is_forgotten_with_its_batch(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    assert_non_null(server_find_announced(peer_of(session), job.job, job.attempt));
    assert_null(server_find_announced(peer_of(session), job.job, job.attempt + 1));
    assert_null(server_find_announced(peer_of(session), job.job + 1, job.attempt));
    server_drop_announced(peer_of(session), job.job, job.attempt + 1);
    server_drop_announced(peer_of(session), job.job + 1, job.attempt);
    assert_non_null(server_find_announced(peer_of(session), job.job, job.attempt));
    assert_int_equal(server_batch(w.server, &w.batch, false, 0), OK);
    assert_null(peer_of(session)->announced);
}

static void test_of_several_announcements_the_one_that_is_settled_is_dropped(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job jobs[3];
    for (uint64_t n = 0; n < 3; n++) {
        jobs[n] = asked(0, session, n + 1);
        announce(0, &jobs[n], session);
    }
    struct wire_message m = note(WIRE_RESULT, &jobs[1], session);
    send_result_as(0, 0, &m);
    server_summed(w.server, jobs[1].job, OK);
    for (uint64_t n = 0; n < 3; n++) {
        const struct announced *a =
            server_find_announced(peer_of(session), jobs[n].job, jobs[n].attempt);
        assert_int_equal(a == NULL, n == 1);
        assert_true(!a || a->ready.job == jobs[n].job);
    }
}

static void test_a_token_is_of_one_worker_one_job_and_one_attempt(void **state)
{
    (void)state;
    uint8_t one[WIRE_TOKEN_BYTES];
    uint8_t other[WIRE_TOKEN_BYTES];
    server_token(w.server, 7, 8, 9, one);
    server_token(w.server, 7, 8, 9, other);
    assert_memory_equal(one, other, sizeof one);
    for (int bit = 0; bit < 64; bit++) {
        server_token(w.server, 7 ^ 1ull << bit, 8, 9, other);
        assert_memory_not_equal(one, other, sizeof one);
        server_token(w.server, 7, 8 ^ 1ull << bit, 9, other);
        assert_memory_not_equal(one, other, sizeof one);
        server_token(w.server, 7, 8, 9 ^ (uint32_t)1 << bit % 32, other);
        assert_memory_not_equal(one, other, sizeof one);
    }
}

/* Ids of workers grow with every session; tables that go by them must not. */
static void test_a_thousand_sessions_of_one_worker_harm_nobody_elses_job(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    for (uint64_t epoch = 1; epoch <= 1000; epoch++) {
        w.n_heard[1] = 0;
        say_hello(1, "w1", epoch);
        assert_int_equal(last(1)->kind, WIRE_WELCOME);
    }
    assert_int_equal(server_workers(w.server), 2);
    assert_true(w.server->n_peers <= 3); /* places of sessions that are over are used again */
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    assert_int_equal(w.server->bad_tokens, 0);
}

static void test_a_peer_is_found_by_what_it_is_and_only_while_it_is_there(void **state)
{
    (void)state;
    uint64_t sessions[3] = {joined(0), joined(1), joined(2)};
    for (uint32_t r = 0; r < 3; r++) {
        struct peer *peer = peer_of(sessions[r]);
        assert_int_equal(server_peer_by_worker(w.server, peer->worker)->session, sessions[r]);
        assert_int_equal(server_peer_by_name(w.server, peer->name)->session, sessions[r]);
        assert_string_equal(peer->user, NAMES[r]);
    }
    uint64_t worker = peer_of(sessions[1])->worker;
    server_peer_free(w.server, peer_of(sessions[1]));
    assert_null(server_peer_by_session(w.server, sessions[1]));
    assert_null(server_peer_by_worker(w.server, worker));
    assert_null(server_peer_by_name(w.server, "w1"));
    assert_non_null(server_peer_by_name(w.server, "w2"));
    assert_null(server_peer_by_name(w.server, "nobody"));
    const struct socket_route from = route(3);
    struct peer *again = server_peer_new(w.server, worker, &from);
    assert_int_equal(w.server->n_peers, 3);
    assert_ptr_equal(server_peer_by_worker(w.server, worker), again);
    assert_true(again->session != sessions[1]);
}

static void test_as_many_peers_find_room_as_a_run_takes(void **state)
{
    (void)state;
    const struct socket_route from = route(3);
    for (uint64_t i = 0; i < LIMIT_WORKERS; i++) {
        assert_non_null(server_peer_new(w.server, 1 << 16 | i, &from));
    }
    assert_null(server_peer_new(w.server, 2 << 16, &from));
    for (uint64_t i = 0; i < LIMIT_WORKERS; i += 1000) {
        assert_int_equal(server_peer_by_worker(w.server, 1 << 16 | i)->worker, 1 << 16 | i);
    }
}

/* Strikes are of a connection; so many other bad ones later the oldest is forgotten. */
static void test_strikes_of_connections_are_told_apart(void **state)
{
    (void)state;
    struct server *s = w.server;
    struct socket_route other = {.length = 2};
    const struct socket_route bad = route(1);
    for (int i = 1; i < SERVER_STRIKES; i++) {
        server_strike(s, &bad, NULL, "a test");
        assert_false(server_route_is_bad(s, &bad));
    }
    for (uint8_t i = 1; i < SERVER_BAD_ROUTES; i++) {
        other.bytes[1] = i;
        server_strike(s, &other, NULL, "a test");
        assert_false(server_route_is_bad(s, &other));
    }
    server_strike(s, &bad, NULL, "a test");
    assert_true(server_route_is_bad(s, &bad));
    other.bytes[1] = 1; /* is known still: takes no place of another */
    server_strike(s, &other, NULL, "a test");
    assert_true(server_route_is_bad(s, &bad));
    other.bytes[1] = SERVER_BAD_ROUTES;
    server_strike(s, &other, NULL, "a test");
    assert_false(server_route_is_bad(s, &bad));
    assert_int_equal(s->malformed, SERVER_STRIKES + SERVER_BAD_ROUTES + 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_message_has_its_own_answer_and_no_other),
        TEST(test_what_a_worker_gives_up_another_gets_at_once),
        TEST(test_strikes_free_the_job_of_whoever_is_quarantined_at_once),
        TEST(test_a_hello_names_what_it_lacks),
        TEST(test_a_run_that_is_full_says_when_to_come_back),
        TEST(test_a_hello_for_which_there_is_no_memory_leaves_no_worker),
        TEST(test_a_hello_over_a_new_connection_moves_the_session_there),
        TEST(test_who_says_hello_while_a_run_ends_is_told_to_come_back),
        TEST(test_a_goodbye_in_the_middle_of_a_run_does_not_end_it),
        TEST(test_a_probe_waits_for_the_runs_own),
        TEST(test_a_worker_that_is_ready_gets_what_waits_at_once),
        TEST(test_a_worker_whose_socket_was_full_gets_jobs_again_with_its_next_pong),
        TEST(test_heartbeats_renew_the_lease_of_what_they_name),
        TEST(test_parameters_are_served_by_their_version),
        TEST(test_parameters_that_found_a_full_queue_come_with_a_later_heartbeat),
        TEST(test_a_tensor_connection_says_three_things_and_the_rest_is_a_strike),
        TEST(test_a_message_without_a_header_is_a_strike),
        TEST(test_an_announcement_said_again_word_for_word_is_answered_again),
        TEST(test_an_announcement_that_says_anything_else_is_a_strike),
        TEST(test_an_announcement_without_memory_gives_the_job_back),
        TEST(test_a_result_of_another_kind_is_a_strike),
        TEST(test_a_result_without_its_payload_is_refused_and_done_again),
        TEST(test_a_result_that_was_announced_otherwise_is_refused),
        TEST(test_what_was_announced_is_forgotten_with_its_batch),
        TEST(test_of_several_announcements_the_one_that_is_settled_is_dropped),
        TEST(test_a_token_is_of_one_worker_one_job_and_one_attempt),
        TEST(test_a_thousand_sessions_of_one_worker_harm_nobody_elses_job),
        TEST(test_a_peer_is_found_by_what_it_is_and_only_while_it_is_there),
        TEST(test_as_many_peers_find_room_as_a_run_takes),
        TEST(test_strikes_of_connections_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
