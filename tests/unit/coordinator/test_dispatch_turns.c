/* test_dispatch_turns.c - whatever frees a job, a credit or a slot, whoever waits for one has it
 * when the event is over; jobs that several could share are cut; when the next turn is due. */
#include "tests/unit/coordinator/dispatch_fixture.h"

/* Worker 0 computes a job of several units; units of one job were measured before. */
static struct dispatch_action long_job(uint32_t workers)
{
    begin(workers, 1, 40, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    pay(&a, OK);
    a = want(0, 0, 2);
    assert_true(a.job != 0 && dispatch_job(w.d, a.job)->n_units > 1);
    dispatch_pause(w.d, true, w.now); /* so that nothing is handed out meanwhile */
    return a;
}

static void test_a_long_job_that_ends_is_cut_when_two_could_share_it(void **state)
{
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        struct dispatch_action a = long_job(3);
        (void)want(1, 0, 1);
        (void)want(2, 0, 1);
        const uint32_t waiting = dispatch_counts(w.d).waiting;
        const uint32_t units = dispatch_job(w.d, a.job)->n_units;
        if (lost) {
            dispatch_gone(w.d, a.worker, "it broke", w.now);
        } else {
            dispatch_release(w.d, a.worker, a.job, a.attempt, w.now);
        }
        assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_CLOSED);
        assert_int_equal(dispatch_counts(w.d).waiting, waiting + units);
        dispatch_pause(w.d, false, w.now);
        collect();
        const struct dispatch_action *one = nth(DISPATCH_ASSIGN, 0);
        const struct dispatch_action *two = nth(DISPATCH_ASSIGN, 1);
        assert_true(one && two && one->job != two->job && one->worker != two->worker);
        dispatch_free(&w.d);
    }
}

static void test_a_long_job_stays_whole_for_a_single_slot(void **state)
{
    (void)state;
    struct dispatch_action a = long_job(3);
    (void)want(1, 0, 1);
    dispatch_release(w.d, a.worker, a.job, a.attempt, w.now);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_QUEUED);
}

static void test_a_job_of_one_unit_cannot_be_cut(void **state)
{
    (void)state;
    begin(3, 1, 3, 0);
    struct dispatch_action a = want(0, 0, 1);
    assert_int_equal(dispatch_job(w.d, a.job)->n_units, 1);
    dispatch_pause(w.d, true, w.now);
    (void)want(1, 0, 1);
    (void)want(2, 0, 1);
    dispatch_release(w.d, a.worker, a.job, a.attempt, w.now);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_QUEUED);
}

/* What is known of a job goes with it: who failed it, and what was said of its sum. */
static void test_a_job_about_which_something_is_known_is_not_cut(void **state)
{
    (void)state;
    struct dispatch_action a = long_job(3);
    (void)want(1, 0, 1);
    (void)want(2, 0, 1);
    dispatch_failed(w.d, a.worker, a.job, a.attempt, "no luck", w.now);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_QUEUED);
    dispatch_free(&w.d);
    a = long_job(3);
    (void)want(1, 0, 1);
    (void)want(2, 0, 1);
    assert_true(screen_keep(w.d->screen, a.job, w.workers[1], probe));
    dispatch_release(w.d, a.worker, a.job, a.attempt, w.now);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_QUEUED);
}

enum freed { BY_HELLO, BY_PROBE, BY_STRIKES, BY_FAILURE, BY_RELEASE, BY_UNITS, BY_SUM, BY_SILENCE };

static void free_job(enum freed by, const struct dispatch_action *a)
{
    static const uint8_t other[HASH_XXH128_BYTES] = {9};
    const struct roster_hello hello = {.name = "w0", .host = "w0", .epoch = 2, .slots = 1};
    const struct result_row row = {.unit = 99};
    const struct dispatch_result odd = {
        .worker = a->worker, .job = a->job, .attempt = a->attempt, .n_rows = 1, .rows = &row};
    uint64_t id;
    switch (by) {
    case BY_HELLO: /* of its next life */
        assert_int_equal(dispatch_hello(w.d, &hello, w.now, &id, NULL), OK);
        return;
    case BY_PROBE: /* it computes other bits than before */
        roster_reprobe(w.d->roster, a->worker);
        assert_int_equal(dispatch_probed(w.d, a->worker, other, w.now, NULL), ERR_REFUSED);
        return;
    case BY_STRIKES:
        for (int i = 0; i < ROSTER_STRIKES; i++) {
            dispatch_blame(w.d, a->worker, "nonsense", w.now);
        }
        return;
    case BY_FAILURE:
        dispatch_failed(w.d, a->worker, a->job, a->attempt, "no luck", w.now);
        return;
    case BY_RELEASE:
        dispatch_release(w.d, a->worker, a->job, a->attempt, w.now);
        return;
    case BY_UNITS:
        dispatch_announce(w.d, &odd, w.now);
        return;
    case BY_SUM:
        announce(a);
        assert_int_equal(dispatch_payload(w.d, a->worker, a->job, a->attempt, w.now), OK);
        dispatch_summed(w.d, a->job, ERR_CORRUPT, w.now);
        return;
    case BY_SILENCE:
    default:
        for (int i = 0; i < 6; i++) {
            w.now += 500 * MS;
            dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
            (void)dispatch_tick(w.d, w.now);
        }
        return;
    }
}

static void test_whoever_waits_has_the_job_when_the_event_that_freed_it_is_over(void **state)
{
    (void)state;
    for (int by = BY_HELLO; by <= BY_SILENCE; by++) {
        begin(2, 1, 1, 0);
        (void)dispatch_tick(w.d, w.now);
        struct dispatch_action a = want(0, 0, 1);
        assert_int_equal(want(1, 0, 1).job, 0);
        free_job((enum freed)by, &a);
        collect();
        const struct dispatch_action *next = action(DISPATCH_ASSIGN);
        assert_true(next && next->worker == w.workers[1] && next->job == a.job);
        assert_int_equal(next->attempt, 2);
        assert_int_equal(next->request, 1);
        dispatch_free(&w.d);
    }
}

/* The event that ends a stall of ours hands out a job: the stall is no part of its lease. */
static void test_a_lease_that_an_event_after_a_stall_gives_is_no_longer_than_others(void **state)
{
    (void)state;
    for (int by = BY_HELLO; by < BY_SILENCE; by++) {
        begin(2, 1, 1, 0);
        struct dispatch_action a = want(0, 0, 1);
        (void)want(1, 0, 1);
        (void)dispatch_tick(w.d, w.now);
        w.now += 3600 * SEC;
        free_job((enum freed)by, &a);
        collect();
        assert_int_equal(action(DISPATCH_ASSIGN)->worker, w.workers[1]);
        const uint64_t lost = dispatch_stats(w.d).lost;
        for (uint64_t end = w.now + LEASE_FIRST_NS + SEC; w.now < end; w.now += 500 * MS) {
            dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
            (void)dispatch_tick(w.d, w.now);
            collect();
        }
        assert_non_null(worker(1));
        assert_int_equal(worker(1)->busy, 0);
        assert_true(dispatch_stats(w.d).lost > lost);
        dispatch_free(&w.d);
    }
}

enum credit_freed { CREDIT_GONE, CREDIT_LATE, CREDIT_RELEASED, CREDIT_SUMMED, CREDIT_REFUSED };

/* Worker 0 has all the credits; two results of worker 1 wait behind. */
static void take_credits(struct dispatch_action given[6])
{
    begin(2, 4, 12, 64 << 20);
    for (uint32_t i = 0; i < 6; i++) {
        given[i] = want(i / 4, i % 4, 1);
        announce(&given[i]);
    }
    assert_int_equal(dispatch_stats(w.d).in_flight, LIMIT_RESULTS_LARGE_IN_FLIGHT);
    assert_int_equal(dispatch_stats(w.d).credit_waiting, 2);
}

static void free_credit(enum credit_freed by, const struct dispatch_action *a)
{
    switch (by) {
    case CREDIT_GONE:
        dispatch_gone(w.d, a->worker, "it broke", w.now);
        break;
    case CREDIT_LATE:
        for (uint64_t end = w.now + CREDIT_NS; w.now < end; w.now += SEC) {
            dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
            dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
            (void)dispatch_tick(w.d, w.now);
        }
        collect();
        assert_null(action(DISPATCH_CREDIT));
        (void)dispatch_tick(w.d, w.now);
        break;
    case CREDIT_RELEASED:
        dispatch_release(w.d, a->worker, a->job, a->attempt, w.now);
        break;
    case CREDIT_SUMMED:
    case CREDIT_REFUSED:
    default:
        assert_int_equal(dispatch_payload(w.d, a->worker, a->job, a->attempt, w.now), OK);
        dispatch_summed(w.d, a->job, by == CREDIT_SUMMED ? OK : ERR_CORRUPT, w.now);
        break;
    }
    collect();
}

static void test_a_credit_that_is_free_goes_to_the_oldest_that_waits(void **state)
{
    (void)state;
    for (int by = CREDIT_GONE; by <= CREDIT_REFUSED; by++) {
        struct dispatch_action given[6];
        take_credits(given);
        free_credit((enum credit_freed)by, &given[0]);
        const struct dispatch_action *credit = action(DISPATCH_CREDIT);
        assert_true(credit && credit->worker == w.workers[1] && credit->job == given[4].job);
        assert_int_equal(credit->attempt, given[4].attempt);
        bool all = by == CREDIT_GONE || by == CREDIT_LATE;
        assert_int_equal(dispatch_stats(w.d).credit_waiting, all ? 0 : 1);
        assert_int_equal(dispatch_stats(w.d).in_flight, all ? 2 : LIMIT_RESULTS_LARGE_IN_FLIGHT);
        dispatch_free(&w.d);
    }
}

static void test_results_that_wait_when_a_batch_is_given_up_are_answered(void **state)
{
    (void)state;
    struct dispatch_action given[6];
    take_credits(given);
    for (uint32_t i = 0; i < 12; i++) {
        w.ids[i] = (uint64_t)(TAG + 1) << 32 | i;
    }
    const struct dispatch_batch batch = {
        .kind = JOB_GRADIENT, .tag = TAG + 1, .n_units = 12, .unit_ids = w.ids, .rows = w.rows};
    assert_int_equal(dispatch_open(w.d, &batch, w.now), OK);
    collect();
    for (uint32_t i = 0; i < 2; i++) {
        const struct dispatch_action *settled = nth(DISPATCH_SETTLED, i);
        assert_true(settled && settled->worker == w.workers[1]);
        assert_int_equal(settled->job, given[4 + i].job);
        assert_int_equal(settled->attempt, given[4 + i].attempt);
        assert_int_equal(settled->code, ERR_STALE);
    }
    assert_null(nth(DISPATCH_SETTLED, 2));
    struct dispatch_action a = want(1, 0, 2);
    announce(&a);
    assert_null(action(DISPATCH_CREDIT)); /* those that are under way still count */
    assert_int_equal(dispatch_payload(w.d, given[0].worker, given[0].job, given[0].attempt, w.now),
                     ERR_STALE);
    collect();
    assert_int_equal(action(DISPATCH_SETTLED)->code, ERR_STALE);
    const struct dispatch_action *credit = action(DISPATCH_CREDIT);
    assert_true(credit && credit->job == a.job);
}

/* It had its reasons: the batch started again, and nobody wants the payload any more. */
static void test_a_payload_that_is_not_wanted_any_more_and_late_is_nobodys_strike(void **state)
{
    (void)state;
    struct dispatch_action given[6];
    take_credits(given);
    open_batch(TAG + 1, 12);
    for (uint64_t end = w.now + CREDIT_NS + SEC; w.now < end; w.now += SEC) {
        dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        (void)dispatch_tick(w.d, w.now);
    }
    collect();
    assert_int_equal(dispatch_stats(w.d).in_flight, 0);
    assert_int_equal(worker(0)->strikes, 0);
    assert_int_equal(worker(0)->state, WORKER_READY);
}

static void test_a_stall_of_ours_puts_a_payloads_deadline_off_by_as_much(void **state)
{
    (void)state;
    begin(2, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    (void)dispatch_tick(w.d, w.now);
    w.now += 3600 * SEC; /* of which a second was promised */
    const uint64_t until = w.now - SEC + CREDIT_NS;
    while (w.now < until) {
        dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        (void)dispatch_tick(w.d, w.now);
        collect();
        assert_null(action(DISPATCH_SETTLED));
        w.now += SEC;
    }
    dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
    (void)dispatch_tick(w.d, w.now);
    collect();
    assert_int_equal(action(DISPATCH_SETTLED)->code, ERR_STALE);
    assert_int_equal(action(DISPATCH_SETTLED)->job, a.job);
}

static void test_a_payload_that_is_being_summed_is_not_late_and_comes_once(void **state)
{
    (void)state;
    begin(2, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), OK);
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), ERR_STALE);
    assert_int_equal(dispatch_stats(w.d).unknown, 1);
    for (uint64_t end = w.now + 2 * CREDIT_NS; w.now < end; w.now += SEC) {
        dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        assert_int_equal(dispatch_tick(w.d, w.now), SEC);
    }
    dispatch_release(w.d, a.worker, a.job, a.attempt, w.now); /* too late for that */
    assert_int_equal(dispatch_stats(w.d).unknown, 2);
    dispatch_summed(w.d, a.job, OK, w.now);
    collect();
    assert_int_equal(action(DISPATCH_SETTLED)->code, OK);
    assert_int_equal(worker(0)->strikes, 0);
    assert_int_equal(dispatch_counts(w.d).done, 1);
}

static void test_a_payload_that_is_summed_outlives_its_sender(void **state)
{
    (void)state;
    begin(2, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), OK);
    dispatch_gone(w.d, a.worker, "it broke", w.now);
    assert_int_equal(dispatch_stats(w.d).in_flight, 1);
    assert_int_equal(dispatch_job(w.d, a.job)->state, JOB_SETTLING);
    dispatch_summed(w.d, a.job, OK, w.now);
    assert_int_equal(dispatch_counts(w.d).done, 1);
}

/* Of the batch before: its sum was begun anew. */
static void test_a_payload_summed_after_its_batch_was_given_up_counts_nothing(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    assert_int_equal(dispatch_payload(w.d, a.worker, a.job, a.attempt, w.now), OK);
    open_batch(TAG + 1, 1);
    dispatch_summed(w.d, a.job, OK, w.now);
    collect();
    assert_int_equal(action(DISPATCH_SETTLED)->code, ERR_STALE);
    assert_int_equal(dispatch_counts(w.d).done, 0);
    assert_int_equal(dispatch_stats(w.d).in_flight, 0);
    assert_false(dispatch_stats(w.d).done);
}

static void test_only_results_teach_what_a_job_costs(void **state)
{
    (void)state;
    for (int how = 0; how < 6; how++) {
        begin(2, 1, 2, 0);
        struct dispatch_action a = want(0, 0, 1);
        (void)dispatch_tick(w.d, w.now);
        w.now += SEC;
        if (how == 0) {
            dispatch_failed(w.d, a.worker, a.job, a.attempt, "no luck", w.now);
        } else if (how == 1) {
            dispatch_release(w.d, a.worker, a.job, a.attempt, w.now);
        } else if (how == 2) {
            dispatch_gone(w.d, a.worker, "it broke", w.now);
        } else if (how == 3) {
            dispatch_quarantine(w.d, a.worker, true, "a lie", w.now);
        } else if (how == 4) {
            open_batch(TAG + 1, 2);
        } else {
            announce(&a);
        }
        assert_int_equal(lease_expected_ns(w.d->leases, JOB_GRADIENT, 10), how == 5 ? SEC : 0);
        assert_int_equal(lease_cost_ns(w.d->leases, JOB_GRADIENT, 10), how == 5 ? SEC : 0);
        assert_int_equal(leases_count(w.d->leases), 0);
        dispatch_free(&w.d);
    }
}

static void test_the_next_turn_is_due_with_the_next_deadline_and_within_a_second(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dispatch_tick(w.d, w.now), SEC);
        w.now += SEC;
    }
    assert_int_equal(dispatch_tick(w.d, w.now), 500 * MS); /* then both are silent for too long */
    (void)want(0, 0, 1);
    dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
    assert_int_equal(dispatch_tick(w.d, w.now), SEC); /* nobody waits */
    (void)want(1, 0, 1);
    assert_int_equal(dispatch_tick(w.d, w.now), 200 * MS); /* for a copy of what runs */
    const uint64_t granted = w.now;
    while (w.now < granted + LEASE_FIRST_NS - 500 * MS) {
        w.now += 500 * MS;
        dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        assert_int_equal(dispatch_tick(w.d, w.now), 200 * MS);
    }
    w.now = granted + LEASE_FIRST_NS - 50 * MS;
    dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
    dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
    assert_int_equal(dispatch_tick(w.d, w.now), 50 * MS); /* the lease */
}

static void test_who_waits_while_nothing_runs_needs_no_early_turn(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    announce(&a);
    pay(&a, OK);
    (void)want(1, 0, 1);
    assert_int_equal(roster_waiting_slots(dispatch_roster(w.d)), 1);
    assert_int_equal(dispatch_tick(w.d, w.now), SEC);
}

static void test_the_end_of_a_quarantine_is_a_turn_and_a_probe(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    const uint64_t from = w.now;
    dispatch_quarantine(w.d, w.workers[0], true, "a lie", w.now);
    while (w.now < from + ROSTER_QUARANTINE_NS - 100 * MS) {
        dispatch_heartbeat(w.d, w.workers[0], NULL, 0, w.now);
        uint64_t sleep = dispatch_tick(w.d, w.now);
        uint64_t left = from + ROSTER_QUARANTINE_NS - w.now;
        assert_int_equal(sleep, left < SEC ? left : SEC);
        w.now += 100 * MS;
    }
    collect();
    assert_null(action(DISPATCH_PROBE));
    w.now = from + ROSTER_QUARANTINE_NS;
    (void)dispatch_tick(w.d, w.now);
    collect();
    assert_int_equal(action(DISPATCH_PROBE)->worker, w.workers[0]);
    assert_int_equal(worker(0)->state, WORKER_PROBING);
}

/* Half a second more than promised is the machine's; what is more was our own stall. */
static void test_a_turn_that_is_a_little_late_excuses_nobody(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        begin(1, 1, 1, 0);
        const uint64_t from = w.now;
        for (int i = 0; i < 2; i++) {
            assert_int_equal(dispatch_tick(w.d, w.now), SEC);
            w.now += SEC + 500 * MS + (unsigned)late;
        }
        (void)dispatch_tick(w.d, w.now); /* 3 s after it was heard */
        assert_int_equal(w.now - from, 3 * SEC + 2 * (uint64_t)late);
        assert_int_equal(worker(0) == NULL, late == 0);
        dispatch_free(&w.d);
    }
}

static void test_the_last_unit_ends_the_batch_and_copies_of_it_stop(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    uint32_t copy;
    uint32_t handle;
    const struct lease lease = {
        .job = a.job, .worker = w.workers[1], .attempt = 2, .tokens = 10, .kind = JOB_GRADIENT};
    assert_int_equal(queue_take(w.d->queue, a.job, w.workers[1], 0, &copy), OK);
    assert_int_equal(lease_grant(w.d->leases, &lease, w.now, &handle), OK);
    roster_hold(w.d->roster, w.workers[1], 0, a.job, copy, handle);
    announce(&a);
    pay(&a, OK);
    const struct dispatch_action *cancel = action(DISPATCH_CANCEL);
    assert_true(cancel && cancel->worker == w.workers[1] && cancel->job == a.job);
    assert_int_equal(cancel->attempt, copy);
    assert_int_equal(cancel->slot, 0);
    assert_int_equal(worker(1)->busy, 0);
    assert_int_equal(leases_count(w.d->leases), 0);
    assert_int_equal(dispatch_stats(w.d).released, 1);
    assert_int_equal(action(DISPATCH_BATCH_DONE)->tag, TAG);
    assert_int_equal(worker(0)->units_done, 1);
    assert_int_equal(worker(0)->tokens_done, 10);
    assert_int_equal(worker(1)->units_done, 0);
}

static void open_kind(enum job_kind kind, uint32_t units)
{
    for (uint32_t i = 0; i < units; i++) {
        w.ids[i] = i;
        w.rows[i] = 10;
    }
    const struct dispatch_batch batch = {
        .kind = kind, .tag = TAG + 1, .n_units = units, .unit_ids = w.ids, .rows = w.rows};
    assert_int_equal(dispatch_open(w.d, &batch, w.now), OK);
    collect();
}

/* Requests are decoded together, as many as branches are, but no slot gets more than its share. */
static void test_requests_are_shared_evenly_and_no_more_than_are_decoded_together(void **state)
{
    (void)state;
    static const uint32_t units[] = {14, 9, 6, 4, 3, 2, 1, 1};
    begin(3, 1, 1, 0);
    open_kind(JOB_GENERATE, 40);
    for (uint32_t i = 0; i < 8; i++) { /* each takes a third, rounded up, of what is left */
        struct dispatch_action a = want(i % 3, 0, 1 + i / 3);
        assert_int_equal(dispatch_job(w.d, a.job)->n_units, units[i]);
        const struct job *job = dispatch_job(w.d, a.job);
        struct result_row rows[LIMIT_JOB_UNITS];
        for (uint32_t u = 0; u < job->n_units; u++) {
            rows[u] = (struct result_row){.unit = job->units[u]};
        }
        const struct dispatch_result r = {.worker = a.worker,
                                          .job = a.job,
                                          .attempt = a.attempt,
                                          .n_rows = job->n_units,
                                          .rows = rows};
        assert_int_equal(dispatch_result(w.d, &r, w.now), OK);
    }
    assert_true(dispatch_stats(w.d).done);
    dispatch_free(&w.d);
    begin(2, 1, 1, 0);
    open_kind(JOB_GENERATE, 100);
    assert_int_equal(dispatch_job(w.d, want(0, 0, 1).job)->n_units, LIMIT_BRANCHES);
}

/* Worker 0 stands still with its unit, worker 1 had its own done after so long and wants more: ns
 * from the start of worker 0's until it is given to worker 1 too. */
static uint64_t copied_after(uint64_t took)
{
    begin(3, 1, 2, 0);
    struct dispatch_action still = want(0, 0, 1);
    struct dispatch_action quick = want(1, 0, 1);
    const struct dispatch_running running = {still.job, still.attempt};
    const uint64_t from = w.now;
    bool done = false;
    while (w.now < from + 20 * SEC) {
        (void)dispatch_tick(w.d, w.now);
        collect();
        const struct dispatch_action *copy = action(DISPATCH_ASSIGN);
        if (copy) {
            assert_true(copy->worker == w.workers[1] && copy->job == still.job);
            assert_int_equal(copy->attempt, 2);
            assert_int_equal(dispatch_stats(w.d).backups, 1);
            break;
        }
        w.now += 100 * MS;
        for (uint32_t i = 0; i < 3; i++) {
            dispatch_heartbeat(w.d, w.workers[i], &running, i == 0, w.now);
        }
        if (!done && w.now - from == took) {
            announce(&quick);
            pay(&quick, OK);
            assert_int_equal(want(1, 0, 2).job, 0);
            assert_int_equal(want(0, 0, 1).job, still.job); /* asked again: it has its own */
            done = true;
        }
    }
    assert_int_equal(want(2, 0, 1).job, 0); /* two are enough */
    uint64_t after = w.now - from;
    dispatch_free(&w.d);
    return after;
}

static void test_a_slow_job_is_copied_once_it_took_half_as_long_again_as_expected(void **state)
{
    (void)state;
    assert_int_equal(copied_after(2 * SEC), 3 * SEC);
    assert_int_equal(copied_after(4 * SEC), 6 * SEC);
    assert_int_equal(copied_after(200 * MS), SEC); /* not sooner */
}

static void test_nothing_is_copied_before_anything_was_measured(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    const struct dispatch_running running = {a.job, a.attempt};
    (void)want(1, 0, 1);
    for (int i = 0; i < 200; i++) {
        w.now += 200 * MS;
        dispatch_heartbeat(w.d, w.workers[0], &running, 1, w.now);
        dispatch_heartbeat(w.d, w.workers[1], NULL, 0, w.now);
        (void)dispatch_tick(w.d, w.now);
        collect();
        assert_null(action(DISPATCH_ASSIGN));
    }
    assert_int_equal(dispatch_stats(w.d).backups, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_long_job_that_ends_is_cut_when_two_could_share_it),
        TEST(test_a_long_job_stays_whole_for_a_single_slot),
        TEST(test_a_job_of_one_unit_cannot_be_cut),
        TEST(test_a_job_about_which_something_is_known_is_not_cut),
        TEST(test_whoever_waits_has_the_job_when_the_event_that_freed_it_is_over),
        TEST(test_a_lease_that_an_event_after_a_stall_gives_is_no_longer_than_others),
        TEST(test_a_credit_that_is_free_goes_to_the_oldest_that_waits),
        TEST(test_results_that_wait_when_a_batch_is_given_up_are_answered),
        TEST(test_a_payload_that_is_not_wanted_any_more_and_late_is_nobodys_strike),
        TEST(test_a_stall_of_ours_puts_a_payloads_deadline_off_by_as_much),
        TEST(test_a_payload_that_is_being_summed_is_not_late_and_comes_once),
        TEST(test_a_payload_that_is_summed_outlives_its_sender),
        TEST(test_a_payload_summed_after_its_batch_was_given_up_counts_nothing),
        TEST(test_only_results_teach_what_a_job_costs),
        TEST(test_the_next_turn_is_due_with_the_next_deadline_and_within_a_second),
        TEST(test_who_waits_while_nothing_runs_needs_no_early_turn),
        TEST(test_the_end_of_a_quarantine_is_a_turn_and_a_probe),
        TEST(test_a_turn_that_is_a_little_late_excuses_nobody),
        TEST(test_the_last_unit_ends_the_batch_and_copies_of_it_stop),
        TEST(test_requests_are_shared_evenly_and_no_more_than_are_decoded_together),
        TEST(test_a_slow_job_is_copied_once_it_took_half_as_long_again_as_expected),
        TEST(test_nothing_is_copied_before_anything_was_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
