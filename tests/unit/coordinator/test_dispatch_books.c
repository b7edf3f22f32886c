/* test_dispatch_books.c - what dispatch counts and remembers: ends of attempts, strikes, the line
 * of results that wait for credit, deadlines of payloads, and that its own absence costs nobody
 * anything, whichever event ends it. */
#include "tests/unit/coordinator/dispatch_fixture.h"

static void test_ids_of_jobs_begin_with_the_start_of_the_coordinator(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    assert_int_equal(a.job >> 52, 3);
}

static void test_every_end_of_an_attempt_is_counted_as_what_it_was(void **state)
{
    (void)state;
    begin(3, 1, 3, 0);
    struct dispatch_action a = want(0, 0, 1);
    struct dispatch_action b = want(1, 0, 1);
    struct dispatch_action c = want(2, 0, 1);
    dispatch_failed(w.d, a.worker, a.job, a.attempt, "no luck", w.now);
    struct dispatch_stats s = dispatch_stats(w.d);
    assert_true(s.failed == 1 && s.lost == 0 && s.released == 0);
    dispatch_release(w.d, b.worker, b.job, b.attempt, w.now);
    s = dispatch_stats(w.d);
    assert_true(s.failed == 1 && s.lost == 0 && s.released == 1);
    dispatch_gone(w.d, c.worker, "it broke", w.now);
    s = dispatch_stats(w.d);
    assert_true(s.failed == 1 && s.lost == 1 && s.released == 1);
    collect();
    assert_non_null(action(DISPATCH_GONE));
    assert_int_equal(roster_count(dispatch_roster(w.d)), 2);
    assert_int_equal(roster_ready_slots(dispatch_roster(w.d)), 2);
}

static void test_a_drained_worker_that_leaves_gives_its_job_back(void **state)
{
    (void)state;
    begin(2, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    assert_true(a.job != 0);
    dispatch_drain(w.d, w.workers[0], w.now);
    assert_int_equal(roster_ready_slots(dispatch_roster(w.d)), 1);
    assert_int_equal(roster_ready_count(dispatch_roster(w.d)), 1);
    dispatch_gone(w.d, w.workers[0], "it said goodbye", w.now);
    assert_int_equal(dispatch_stats(w.d).released, 1);
    assert_int_equal(dispatch_stats(w.d).lost, 0);
}

static void test_a_buried_job_names_the_failure_not_the_loss_behind_it(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    const uint64_t id = want(0, 0, 1).job;
    uint64_t request = 1;
    bool stopped = false;
    for (uint32_t i = 0; i < 40 && !stopped; i++) {
        const struct job *job = dispatch_job(w.d, id);
        assert_int_equal(job->n_live, 1);
        if (i == 0) {
            const struct attempt first = job->live[0];
            dispatch_failed(w.d, first.worker, id, first.number, "NaN in layer 3", w.now);
        } else {
            dispatch_end(w.d, id, job->live[0].number, ATTEMPT_LOST, "its deadline passed", w.now);
        }
        collect();
        stopped = action(DISPATCH_STOP) != NULL;
        for (uint32_t who = 0; who < 2 && !stopped && dispatch_job(w.d, id)->n_live == 0; who++) {
            (void)want(who, 0, ++request);
        }
    }
    assert_true(stopped);
    assert_non_null(strstr(action(DISPATCH_STOP)->text, "NaN in layer 3"));
    assert_true(dispatch_stats(w.d).stopped);
}

static void test_while_it_is_paused_nothing_is_handed_out(void **state)
{
    (void)state;
    begin(1, 1, 2, 0);
    dispatch_pause(w.d, true, w.now);
    assert_int_equal(want(0, 0, 1).job, 0);
    assert_true(dispatch_stats(w.d).paused);
    dispatch_pause(w.d, false, w.now);
    collect();
    assert_non_null(action(DISPATCH_ASSIGN));
    assert_false(dispatch_stats(w.d).paused);
}

static void test_results_beyond_the_credits_get_theirs_in_their_order(void **state)
{
    (void)state;
    struct dispatch_action given[150];
    uint32_t n = 0;
    begin(3, 50, 150, 64 << 20);
    for (uint32_t slot = 0; slot < 50; slot++) {
        for (uint32_t i = 0; i < 3; i++) {
            given[n] = want(i, slot, 1);
            assert_true(given[n].job != 0);
            n++;
        }
    }
    uint32_t credited = 0;
    for (uint32_t i = 0; i < n;
         i++) { /* two come for one that is paid: the ring wraps, and grows */
        announce(&given[i]);
        credited += action(DISPATCH_CREDIT) != NULL;
        if (i % 2 == 1) {
            const struct dispatch_action *a = &given[i / 2];
            assert_int_equal(dispatch_payload(w.d, a->worker, a->job, a->attempt, w.now), OK);
            dispatch_summed(w.d, a->job, OK, w.now);
            collect();
            const struct dispatch_action *next = action(DISPATCH_CREDIT);
            if (next) {
                assert_int_equal(next->job, given[credited].job);
                credited++;
            }
            assert_int_equal(action(DISPATCH_SETTLED)->job, a->job);
            assert_int_equal(action(DISPATCH_SETTLED)->code, OK);
        }
    }
    assert_int_equal(dispatch_stats(w.d).credit_waiting, n - credited);
    for (uint32_t i = n / 2; i < n; i++) {
        const struct dispatch_action *a = &given[i];
        assert_int_equal(dispatch_payload(w.d, a->worker, a->job, a->attempt, w.now), OK);
        dispatch_summed(w.d, a->job, OK, w.now);
        collect();
    }
    assert_non_null(action(DISPATCH_BATCH_DONE));
    assert_int_equal(dispatch_stats(w.d).in_flight, 0);
}

static void test_only_the_result_that_is_given_back_goes_back_in_line(void **state)
{
    (void)state;
    struct dispatch_action given[12];
    begin(2, 6, 12, 64 << 20);
    for (uint32_t i = 0; i < 12; i++) {
        given[i] = want(i / 6, i % 6, 1);
        announce(&given[i]);
    }
    uint32_t flying = dispatch_stats(w.d).in_flight;
    uint32_t waiting = dispatch_stats(w.d).credit_waiting;
    assert_true(flying >= 2 && waiting >= 4 && flying + waiting == 12);
    const struct dispatch_action *a = &given[flying + 1];            /* it waits for credit */
    dispatch_release(w.d, a->worker, a->job, a->attempt + 1, w.now); /* never given out */
    dispatch_release(w.d, w.workers[a->worker == w.workers[0]], a->job, a->attempt, w.now);
    assert_int_equal(dispatch_stats(w.d).unknown, 2);
    assert_int_equal(dispatch_stats(w.d).credit_waiting, waiting);
    dispatch_release(w.d, a->worker, a->job, a->attempt, w.now);
    assert_int_equal(dispatch_stats(w.d).credit_waiting, waiting - 1);
    assert_int_equal(dispatch_job(w.d, a->job)->state, JOB_QUEUED);
    a = &given[1]; /* it has its credit */
    dispatch_release(w.d, w.workers[1], a->job, a->attempt, w.now);
    assert_int_equal(dispatch_stats(w.d).in_flight, flying);
    assert_int_equal(dispatch_job(w.d, a->job)->state, JOB_SETTLING); /* not that worker's */
    dispatch_release(w.d, a->worker, a->job, a->attempt, w.now);
    assert_int_equal(dispatch_job(w.d, a->job)->state, JOB_QUEUED);
    assert_int_equal(dispatch_stats(w.d).in_flight, flying); /* the next one's now */
    assert_int_equal(dispatch_stats(w.d).credit_waiting, waiting - 2);
    for (uint32_t i = 0; i < 12; i++) {
        if (i != 1 && i != flying + 1) {
            assert_int_equal(dispatch_job(w.d, given[i].job)->state, JOB_SETTLING);
        }
    }
    collect();
    uint32_t stale = 0;
    for (uint32_t i = 0; i < w.n; i++) {
        stale += w.last[i].act == DISPATCH_SETTLED && w.last[i].code == ERR_STALE;
    }
    assert_int_equal(stale, 2);
    assert_int_equal(dispatch_stats(w.d).stale, 2);
    assert_int_equal(dispatch_stats(w.d).refused, 0);
}

static void test_results_of_a_worker_that_is_gone_wait_no_more(void **state)
{
    (void)state;
    struct dispatch_action given[12];
    begin(2, 6, 12, 64 << 20);
    for (uint32_t i = 0; i < 12; i++) {
        given[i] = want(i % 2, i / 2, 1);
        announce(&given[i]);
    }
    dispatch_gone(w.d, w.workers[0], "it broke", w.now);
    collect();
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(dispatch_job(w.d, given[i].job)->state,
                         i % 2 == 0 ? JOB_QUEUED : JOB_SETTLING);
    }
    struct dispatch_stats s = dispatch_stats(w.d);
    assert_int_equal(s.in_flight + s.credit_waiting, 6);
    for (uint32_t i = 1; i < 12; i += 2) {
        const struct dispatch_action *a = &given[i];
        assert_int_equal(dispatch_payload(w.d, a->worker, a->job, a->attempt, w.now), OK);
        dispatch_summed(w.d, a->job, OK, w.now);
    }
    assert_int_equal(dispatch_counts(w.d).done, 6);
}

static void test_a_payload_that_differs_from_its_digest_is_the_senders_strike(void **state)
{
    (void)state;
    begin(2, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), OK);
    dispatch_summed(w.d, a.job, ERR_CORRUPT, w.now);
    collect();
    assert_int_equal(action(DISPATCH_SETTLED)->code, ERR_REFUSED);
    assert_int_equal(action(DISPATCH_SETTLED)->worker, w.workers[0]);
    assert_int_equal(dispatch_stats(w.d).refused, 1);
    assert_int_equal(worker(0)->strikes, 1);
    assert_int_equal(worker(0)->state, WORKER_READY);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_QUEUED);
    assert_int_equal(dispatch_job(w.d, a.job)->n_avoid, 1);
    assert_int_equal(want(1, 0, 1).job, a.job); /* the other one shall do it */
}

static void test_units_nobody_asked_for_are_one_strike_of_three(void **state)
{
    (void)state;
    begin(1, 3, 3, 0);
    for (uint32_t i = 0; i < ROSTER_STRIKES; i++) {
        struct dispatch_action a = want(0, i, 1);
        assert_true(a.job != 0);
        const struct result_row row = {.unit = 99};
        const struct dispatch_result r = {
            .worker = a.worker, .job = a.job, .attempt = a.attempt, .n_rows = 1, .rows = &row};
        dispatch_announce(w.d, &r, w.now);
        collect();
        assert_int_equal(action(DISPATCH_SETTLED)->code, ERR_REFUSED);
        assert_int_equal(worker(0)->state,
                         i + 1 < ROSTER_STRIKES ? WORKER_READY : WORKER_QUARANTINED);
    }
    assert_non_null(action(DISPATCH_QUARANTINE));
    assert_int_equal(roster_ready_slots(dispatch_roster(w.d)), 0);
}

static void test_a_result_of_nobody_is_counted_and_nothing_else(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce_as(12345, &a, 1);
    assert_int_equal(w.n, 0);
    assert_int_equal(dispatch_stats(w.d).unknown, 1);
    dispatch_summed(w.d, a.job, OK, w.now); /* its payload never came */
    assert_int_equal(dispatch_stats(w.d).unknown, 2);
    assert_int_equal(dispatch_counts(w.d).done, 0);
    dispatch_failed(w.d, a.worker, a.job, a.attempt + 1, "of another attempt", w.now);
    assert_int_equal(dispatch_stats(w.d).unknown, 3);
    assert_int_equal(dispatch_stats(w.d).failed, 0);
    assert_int_equal(dispatch_counts(w.d).jobs_leased, 1);
}

static void test_a_payload_is_waited_for_until_its_deadline_and_not_longer(void **state)
{
    (void)state;
    begin(2, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    uint64_t until = w.now + CREDIT_NS;
    while (w.now + SEC < until) {
        w.now += SEC;
        dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        (void)dispatch_tick(w.d, w.now);
    }
    w.now = until - 100 * MS;
    dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
    assert_true(dispatch_tick(w.d, w.now) <= 100 * MS); /* it wakes in time */
    collect();
    assert_null(action(DISPATCH_SETTLED));
    w.now = until;
    (void)dispatch_tick(w.d, w.now);
    collect();
    assert_int_equal(action(DISPATCH_SETTLED)->code, ERR_STALE);
    assert_int_equal(worker(0)->strikes, 1);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_QUEUED);
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), ERR_STALE);
}

/* Before the lease is over its heartbeat comes, for each of the slots. */
static void test_a_job_that_moves_keeps_its_lease_in_every_slot(void **state)
{
    (void)state;
    struct dispatch_running running[2];
    begin(1, 2, 2, 0);
    for (uint32_t s = 0; s < 2; s++) {
        struct dispatch_action a = want(0, s, 1);
        running[s] = (struct dispatch_running){.job = a.job, .attempt = a.attempt};
    }
    uint64_t until = w.now + LEASE_FIRST_NS + LEASE_FIRST_NS / 2;
    while (w.now < until) {
        w.now += SEC;
        dispatch_heartbeat(w.d, w.workers[0], running, 2, w.now);
        (void)dispatch_tick(w.d, w.now);
        collect();
        assert_null(action(DISPATCH_CANCEL));
    }
    assert_int_equal(dispatch_counts(w.d).jobs_leased, 2);
    for (uint64_t end = w.now + LEASE_FIRST_NS + SEC; w.now < end; w.now += SEC) { /* one stops */
        dispatch_heartbeat(w.d, w.workers[0], running, 1, w.now);
        (void)dispatch_tick(w.d, w.now);
    }
    assert_int_equal(dispatch_counts(w.d).jobs_leased, 1);
    assert_int_equal(dispatch_stats(w.d).lost, 1);
}

static void any_event(uint32_t kind, const struct dispatch_action *a)
{
    const struct roster_hello hello = {.name = "new", .host = "h", .epoch = 1, .slots = 1};
    uint64_t id;
    switch (kind) {
    case 0:
        assert_int_equal(dispatch_hello(w.d, &hello, w.now, &id, NULL), OK);
        break;
    case 1:
        assert_int_equal(dispatch_probed(w.d, w.workers[1], probe, w.now, NULL), OK);
        break;
    case 2:
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        break;
    case 3:
        dispatch_drain(w.d, w.workers[1], w.now);
        break;
    case 4:
        dispatch_gone(w.d, 12345, "nobody", w.now);
        break;
    case 5:
        dispatch_want(w.d, w.workers[1], 0, 9, w.now);
        break;
    case 6:
        dispatch_failed(w.d, w.workers[1], a->job, 9, "not its", w.now);
        break;
    case 7:
        dispatch_release(w.d, w.workers[1], a->job, 9, w.now);
        break;
    case 8:
        assert_int_equal(dispatch_payload(w.d, w.workers[1], a->job, 9, w.now), ERR_STALE);
        break;
    case 9:
        dispatch_summed(w.d, a->job, OK, w.now);
        break;
    case 10:
        announce_as(12345, a, 1);
        break;
    case 11:
        dispatch_computed(w.d, w.workers[1], 5, w.now);
        break;
    case 12:
        dispatch_slow(w.d, w.workers[1], false, w.now);
        break;
    case 13:
        dispatch_blame(w.d, 12345, "nobody", w.now);
        break;
    default:
        dispatch_pause(w.d, false, w.now);
        break;
    }
}

static void test_whatever_ends_a_stall_of_ours_nobody_pays_for_it(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind <= 14; kind++) {
        begin(2, 1, 4, 0);
        struct dispatch_action a = want(0, 0, 1);
        struct dispatch_action b = want(1, 0, 1);
        announce(&b);
        (void)dispatch_tick(w.d, w.now);
        w.now += 3600 * SEC;
        any_event(kind, &a);
        collect();
        for (uint32_t i = 0; i < w.n; i++) {
            assert_true(w.last[i].act == DISPATCH_ASSIGN);
        }
        w.now += 100 * MS;
        (void)dispatch_tick(w.d, w.now);
        collect();
        assert_null(action(DISPATCH_GONE));
        assert_null(action(DISPATCH_CANCEL));
        assert_null(action(DISPATCH_SETTLED));
        assert_int_equal(dispatch_stats(w.d).lost, 0);
        assert_int_equal(worker(0)->strikes + worker(1)->strikes, 0);
        dispatch_free(&w.d);
    }
}

/* Whoever is quarantined, or has not proven its arithmetic, gets no result in by saying goodbye. */
static void test_a_drain_makes_nobody_trusted(void **state)
{
    (void)state;
    begin(2, 1, 4, 0);
    struct dispatch_action a = want(0, 0, 1);
    dispatch_quarantine(w.d, w.workers[0], true, "a lie", w.now);
    dispatch_drain(w.d, w.workers[0], w.now);
    assert_int_equal(worker(0)->state, WORKER_QUARANTINED);
    assert_int_equal(queue_job(w.d->queue, a.job)->state, JOB_QUEUED);
    announce(&a);
    assert_int_equal(queue_job(w.d->queue, a.job)->state, JOB_QUEUED);
    struct dispatch_action b = want(1, 0, 1);
    roster_reprobe(w.d->roster, w.workers[1]);
    dispatch_drain(w.d, w.workers[1], w.now);
    assert_int_equal(worker(1)->state, WORKER_DRAINING);
    announce(&b);
    assert_int_not_equal(queue_job(w.d->queue, b.job)->state, JOB_SETTLING);
    dispatch_free(&w.d);
}

/* A word of a worker is a sign of life, whichever word it is. */
static void test_any_word_of_a_worker_is_a_sign_of_life(void **state)
{
    (void)state;
    for (uint32_t kind = 1; kind <= 8; kind++) {
        if (kind == 4) {
            continue; /* it is gone */
        }
        begin(2, 1, 4, 0);
        struct dispatch_action a = want(0, 0, 1);
        w.now += ROSTER_SILENCE_NS - MS;
        any_event(kind, &a);
        w.now += 2 * MS;
        (void)dispatch_tick(w.d, w.now);
        collect();
        assert_null(worker(0)); /* it said nothing */
        assert_non_null(worker(1));
        dispatch_free(&w.d);
    }
}

static void test_nothing_is_left_of_a_batch_when_the_next_one_opens(void **state)
{
    (void)state;
    begin(2, 2, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    struct dispatch_action b = want(1, 0, 1);
    announce(&a);
    screen_dispute(w.d->screen, b.job, w.workers[0], probe, w.workers[1], probe);
    assert_true(screen_has_case(w.d->screen, b.job));
    open_batch(TAG + 1, 2);
    assert_false(screen_has_case(w.d->screen, b.job));
    const struct dispatch_action *cancel = action(DISPATCH_CANCEL);
    assert_true(cancel && cancel->worker == w.workers[1] && cancel->job == b.job);
    assert_int_equal(worker(1)->busy, 0);
    assert_null(dispatch_job(w.d, a.job));
    assert_int_equal(dispatch_stats(w.d).tag, TAG + 1);
    /* Its payload only frees the credit. */
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), ERR_STALE);
    assert_int_equal(dispatch_stats(w.d).in_flight, 0);
}

static void test_what_a_payload_takes_of_the_way_is_a_moving_mean(void **state)
{
    (void)state;
    begin(1, 4, 4, 0);
    for (uint32_t i = 0; i < 4; i++) {
        static const uint64_t took[] = {16 * MS, 32 * MS, 64 * MS, 100000 * MS};
        struct dispatch_action a = want(0, i, 1);
        uint64_t before = w.d->way_ns;
        announce(&a);
        w.now += took[i];
        assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), OK);
        dispatch_summed(w.d, a.job, OK, w.now);
        collect();
        uint64_t counts = i == 3 ? 16 * before : took[i]; /* one that hung counts little */
        assert_int_equal(w.d->way_ns, i == 0 ? took[i] : (15 * before + counts) / 16);
        assert_int_equal(w.d->summed_ns, w.now);
    }
}

/* The event that ends a stall hands out a job: its deadline is not put off by the stall. */
static void test_a_lease_that_ends_a_stall_is_no_longer_than_others(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    (void)want(1, 0, 1);
    assert_true(a.job != 0);
    (void)dispatch_tick(w.d, w.now);
    w.now += 3600 * SEC;
    dispatch_gone(w.d, w.workers[0], "it broke", w.now);
    collect();
    assert_int_equal(action(DISPATCH_ASSIGN)->worker, w.workers[1]);
    for (uint64_t end = w.now + LEASE_FIRST_NS + SEC; w.now < end; w.now += SEC) {
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        (void)dispatch_tick(w.d, w.now);
    }
    assert_int_equal(dispatch_stats(w.d).lost, 2);
}

static void test_a_lease_is_no_longer_when_a_pause_or_a_full_socket_ends_with_a_stall(void **state)
{
    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        begin(1, 1, 1, 0);
        slow ? dispatch_slow(w.d, w.workers[0], true, w.now) : dispatch_pause(w.d, true, w.now);
        dispatch_want(w.d, w.workers[0], 0, 1, w.now);
        (void)dispatch_tick(w.d, w.now);
        collect();
        assert_null(action(DISPATCH_ASSIGN));
        w.now += 3600 * SEC;
        slow ? dispatch_slow(w.d, w.workers[0], false, w.now) : dispatch_pause(w.d, false, w.now);
        collect();
        assert_non_null(action(DISPATCH_ASSIGN));
        for (uint64_t end = w.now + LEASE_FIRST_NS + SEC; w.now < end; w.now += SEC) {
            dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
            (void)dispatch_tick(w.d, w.now);
        }
        assert_int_equal(dispatch_stats(w.d).lost, 1);
        dispatch_free(&w.d);
    }
}

/* Norms that were announced in a batch that never ended are not of the band. */
static void test_norms_of_a_batch_that_was_given_up_are_forgotten(void **state)
{
    (void)state;
    begin(1, SLOTS, SLOTS, 64);
    for (uint64_t request = 1; request <= 2; request++) {
        struct dispatch_action given[SLOTS];
        struct result_row row = {.sumsq = request == 1 ? 1e6 : 1.0, .labels = 1};
        uint32_t n = 0;
        for (uint32_t s = 0; s < SLOTS; s++) {
            given[n] = want(0, s, request);
            n += given[n].job != 0;
        }
        assert_true(n >= SCREEN_MIN);
        for (uint32_t i = 0; i < n; i++) {
            row.unit = w.ids[dispatch_job(w.d, given[i].job)->units[0]];
            const struct dispatch_result r = {.worker = given[i].worker,
                                              .job = given[i].job,
                                              .attempt = given[i].attempt,
                                              .n_rows = 1,
                                              .rows = &row};
            dispatch_announce(w.d, &r, w.now);
            if (request == 2) {
                assert_int_equal(dispatch_payload(w.d, r.worker, r.job, r.attempt, w.now), OK);
                dispatch_summed(w.d, r.job, OK, w.now);
            }
            collect();
        }
        if (request == 1) {
            open_batch(TAG + 1, SLOTS);
            for (uint32_t i = 0; i < n; i++) { /* their credits are free again */
                assert_int_equal(
                    dispatch_payload(w.d, given[i].worker, given[i].job, given[i].attempt, w.now),
                    ERR_STALE);
            }
            collect();
        }
    }
    assert_true(dispatch_stats(w.d).done);
    dispatch_committed(w.d, TAG + 1);
    assert_true(screen_band(w.d->screen) < 10.0);
    screen_free(&w.d->screen);
    assert_null(w.d->screen);
}

static void test_what_a_worker_says_of_its_work_is_kept(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    const struct utilisation none = {0};
    assert_memory_equal(&worker(0)->utilisation, &none, sizeof none);
    dispatch_computed(w.d, w.workers[0], 500, w.now);
    w.now += SEC;
    dispatch_computed(w.d, w.workers[0], 1000, w.now);
    assert_memory_not_equal(&worker(0)->utilisation, &none, sizeof none);
}

static void test_a_closed_queue_does_not_start_again(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    uint64_t id = 1;
    queue_close(w.d->queue);
    assert_int_equal(queue_restart(w.d->queue, 0, &id), ERR_STATE);
    assert_int_equal(id, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ids_of_jobs_begin_with_the_start_of_the_coordinator),
        TEST(test_every_end_of_an_attempt_is_counted_as_what_it_was),
        TEST(test_a_drained_worker_that_leaves_gives_its_job_back),
        TEST(test_a_buried_job_names_the_failure_not_the_loss_behind_it),
        TEST(test_while_it_is_paused_nothing_is_handed_out),
        TEST(test_results_beyond_the_credits_get_theirs_in_their_order),
        TEST(test_only_the_result_that_is_given_back_goes_back_in_line),
        TEST(test_results_of_a_worker_that_is_gone_wait_no_more),
        TEST(test_a_payload_that_differs_from_its_digest_is_the_senders_strike),
        TEST(test_units_nobody_asked_for_are_one_strike_of_three),
        TEST(test_a_result_of_nobody_is_counted_and_nothing_else),
        TEST(test_a_payload_is_waited_for_until_its_deadline_and_not_longer),
        TEST(test_a_job_that_moves_keeps_its_lease_in_every_slot),
        TEST(test_whatever_ends_a_stall_of_ours_nobody_pays_for_it),
        TEST(test_a_drain_makes_nobody_trusted),
        TEST(test_any_word_of_a_worker_is_a_sign_of_life),
        TEST(test_nothing_is_left_of_a_batch_when_the_next_one_opens),
        TEST(test_what_a_payload_takes_of_the_way_is_a_moving_mean),
        TEST(test_a_lease_that_ends_a_stall_is_no_longer_than_others),
        TEST(test_a_lease_is_no_longer_when_a_pause_or_a_full_socket_ends_with_a_stall),
        TEST(test_norms_of_a_batch_that_was_given_up_are_forgotten),
        TEST(test_what_a_worker_says_of_its_work_is_kept),
        TEST(test_a_closed_queue_does_not_start_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
