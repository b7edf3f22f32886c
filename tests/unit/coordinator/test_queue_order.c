/* test_queue_order.c - the lines of a queue job by job, its counts after every change, how far it
 * is searched, what buries a job, and a batch that starts again many times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/queue.h"

enum { JOBS = 40 };

static const uint8_t one[HASH_XXH128_BYTES] = {1};

static struct queue *opened(enum job_kind kind, uint32_t units)
{
    struct queue *q = NULL;
    uint32_t *rows = mem_calloc(units, sizeof *rows);
    assert_non_null(rows);
    for (uint32_t i = 0; i < units; i++) {
        rows[i] = 3000 - i % 2048;
    }
    assert_int_equal(queue_new(5, &q), OK);
    assert_int_equal(queue_open(q, kind, rows, units), OK);
    mem_free(rows);
    return q;
}

/* Jobs of a unit each. */
static void make_jobs(struct queue *q, uint64_t *jobs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(queue_make(q, 1, UINT64_MAX, &jobs[i]), OK);
        assert_true(jobs[i] != 0);
    }
}

static uint32_t taken(struct queue *q, uint64_t id, uint64_t worker)
{
    uint32_t number = 0;
    assert_int_equal(queue_take(q, id, worker, 3, &number), OK);
    return number;
}

static bool ended(struct queue *q, uint64_t id, uint32_t number, enum attempt_end why)
{
    bool buried = true;
    queue_end(q, id, number, why, false, &buried);
    return buried;
}

/* Takes whatever is first until nothing is queued: the order must be this. */
static void assert_order(struct queue *q, const uint64_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = queue_first(q, 9, false);
        assert_true(id == order[i]);
        (void)taken(q, id, 9);
    }
    assert_int_equal(queue_first(q, 9, false), 0);
}

static void test_a_serial_is_never_0_and_begins_without_jobs(void **state)
{
    (void)state;
    const uint32_t rows[2] = {10, 20};
    struct queue *q = NULL;
    uint64_t id;
    assert_int_equal(queue_new(UINT32_MAX - 1, &q), OK);
    const uint32_t serials[] = {UINT32_MAX, 1, 2};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(queue_open(q, JOB_GRADIENT, rows, 2), OK);
        assert_int_equal(queue_counts(q).serial, serials[i]);
        assert_null(queue_job(q, (uint64_t)serials[i] << 32));
        struct queue_counts c = queue_counts(q);
        assert_true(c.units == 2 && c.waiting == 2 && c.rows == 30 && c.rows_waiting == 30);
        assert_true(c.jobs == 0 && c.leased == 0 && c.done == 0 && c.rows_done == 0);
        assert_int_equal(queue_make(q, 9, UINT64_MAX, &id), OK);
        assert_true(id == (uint64_t)serials[i] << 32);
        assert_null(queue_job(q, id + 1));
        assert_null(queue_job(q, id ^ 1ull << 32));
        assert_int_equal(queue_counts(q).jobs, 1);
    }
    queue_close(q);
    struct queue_counts c = queue_counts(q);
    assert_true(c.units == 0 && c.waiting == 0 && c.rows == 0 && c.jobs_queued == 0);
    queue_free(&q);
    assert_null(q);
    queue_free(&q);
}

static void test_queued_jobs_stand_in_their_order_wherever_one_leaves(void **state)
{
    (void)state;
    uint64_t j[7];
    struct queue *q = opened(JOB_GRADIENT, 10);
    make_jobs(q, j, 5);
    (void)taken(q, j[2], 1); /* from the middle */
    (void)taken(q, j[4], 1); /* the last */
    make_jobs(q, j + 5, 1);
    uint32_t first = taken(q, j[0], 1); /* the first */
    make_jobs(q, j + 6, 1);
    assert_false(ended(q, j[0], first, ATTEMPT_RELEASED));
    const uint64_t order[] = {j[0], j[1], j[3], j[5], j[6]}; /* what lost its attempt goes first */
    assert_order(q, order, 5);
    assert_false(ended(q, j[3], 1, ATTEMPT_LOST));
    assert_false(ended(q, j[6], 1, ATTEMPT_RELEASED));
    const uint64_t again[] = {j[6], j[3]};
    assert_order(q, again, 2);
    queue_free(&q);
}

static void test_single_attempts_stand_by_age_wherever_one_leaves(void **state)
{
    (void)state;
    uint64_t j[5];
    struct queue *q = opened(JOB_GRADIENT, 10);
    make_jobs(q, j, 5);
    for (int i = 0; i < 5; i++) {
        (void)taken(q, j[i], (uint64_t)i + 1);
    }
    assert_int_equal(queue_accept(q, j[2], 1, 3, one), OK); /* from the middle */
    assert_true(queue_slowest(q, 9) == j[0]);
    assert_true(queue_slowest(q, 1) == j[1]);
    assert_false(ended(q, j[0], 1, ATTEMPT_LOST)); /* the first */
    assert_true(queue_slowest(q, 9) == j[1] && queue_slowest(q, 2) == j[3]);
    assert_false(ended(q, j[4], 1, ATTEMPT_LOST)); /* the last */
    assert_true(queue_slowest(q, 4) == j[1]);
    queue_avoid(q, j[1], 7);
    assert_true(queue_slowest(q, 7) == j[3]);
    (void)taken(q, j[4], 8); /* given out again: the youngest */
    (void)taken(q, j[1], 9); /* two run: no third */
    (void)taken(q, j[3], 9);
    assert_true(queue_slowest(q, 1) == j[4]);
    assert_int_equal(queue_slowest(q, 8), 0);
    queue_close(q);
    assert_int_equal(queue_slowest(q, 1), 0);
    assert_int_equal(queue_first(q, 1, true), 0);
    assert_int_equal(queue_audited(q, 0), 0);
    queue_free(&q);
}

static void test_the_first_32_jobs_of_a_line_are_looked_at(void **state)
{
    (void)state;
    uint64_t j[JOBS];
    struct queue *q = opened(JOB_GRADIENT, JOBS);
    make_jobs(q, j, QUEUE_SCAN + 1);
    for (int i = 0; i < QUEUE_SCAN - 1; i++) {
        queue_avoid(q, j[i], 1);
    }
    assert_true(queue_first(q, 1, false) == j[QUEUE_SCAN - 1]);
    assert_true(queue_first(q, 1, true) == j[0]);
    queue_avoid(q, j[QUEUE_SCAN - 1], 1);
    assert_int_equal(queue_first(q, 1, false), 0);
    for (int i = 0; i < QUEUE_SCAN - 1; i++) {
        (void)taken(q, j[i], 1);
    }
    (void)taken(q, j[QUEUE_SCAN - 1], 2);
    assert_true(queue_slowest(q, 3) == j[0]);
    assert_int_equal(queue_slowest(q, 1), 0); /* it avoids that one */
    assert_true(queue_slowest(q, 2) == j[0]);
    queue_free(&q);
    q = opened(JOB_GRADIENT, JOBS);
    make_jobs(q, j, QUEUE_SCAN + 1);
    for (int i = 0; i <= QUEUE_SCAN; i++) {
        (void)taken(q, j[i], i < QUEUE_SCAN - 1 ? 1 : 2);
    }
    assert_true(queue_slowest(q, 1) == j[QUEUE_SCAN - 1]);
    assert_int_equal(queue_accept(q, j[QUEUE_SCAN - 1], 1, 2, one), OK);
    assert_true(queue_slowest(q, 1) == j[QUEUE_SCAN]);
    queue_free(&q);
}

static void test_the_33rd_single_attempt_is_too_far_away(void **state)
{
    (void)state;
    uint64_t j[JOBS];
    struct queue *q = opened(JOB_GRADIENT, JOBS);
    make_jobs(q, j, QUEUE_SCAN + 1);
    for (int i = 0; i <= QUEUE_SCAN; i++) {
        (void)taken(q, j[i], i < QUEUE_SCAN ? 1 : 2);
    }
    assert_int_equal(queue_slowest(q, 1), 0);
    queue_free(&q);
}

static void test_a_job_has_as_many_units_as_one_message_takes(void **state)
{
    (void)state;
    uint64_t id;
    uint32_t units[LIMIT_JOB_UNITS];
    struct queue *q = opened(JOB_GRADIENT, 100);
    assert_int_equal(queue_peek(q, 100, UINT64_MAX, units), LIMIT_JOB_UNITS);
    assert_int_equal(queue_peek(q, 1, 1, units), 1); /* whatever it has */
    assert_int_equal(queue_peek(q, 0, UINT64_MAX, units), 0);
    assert_int_equal(queue_make(q, 100, UINT64_MAX, &id), OK);
    assert_int_equal(queue_job(q, id)->n_units, LIMIT_JOB_UNITS);
    assert_int_equal(queue_make(q, 100, UINT64_MAX, &id), OK);
    assert_int_equal(queue_job(q, id)->n_units, 100 - LIMIT_JOB_UNITS);
    assert_int_equal(queue_make(q, 100, UINT64_MAX, &id), OK);
    assert_int_equal(id, 0);
    queue_free(&q);
}

static void test_batches_are_bounded_by_their_kind(void **state)
{
    (void)state;
    enum { MOST = 1 << 20 };
    struct queue *q = NULL;
    uint32_t *rows = mem_calloc(MOST + 1, sizeof *rows);
    assert_non_null(rows);
    assert_int_equal(queue_new(1, &q), OK);
    assert_int_equal(queue_open(q, JOB_CAPTURE, rows, LIMIT_STEP_UNITS), OK);
    assert_int_equal(queue_open(q, JOB_CAPTURE, rows, LIMIT_STEP_UNITS + 1), ERR_RANGE);
    assert_int_equal(queue_open(q, JOB_GRADIENT, rows, LIMIT_STEP_UNITS), OK);
    assert_int_equal(queue_open(q, JOB_GENERATE, rows, LIMIT_STEP_UNITS + 1), OK);
    assert_int_equal(queue_open(q, JOB_SCORE, rows, MOST), OK);
    assert_int_equal(queue_open(q, JOB_SCORE, rows, MOST + 1), ERR_RANGE);
    assert_int_equal(queue_open(q, JOB_SCORE, rows, 0), ERR_RANGE);
    assert_int_equal(queue_counts(q).units, MOST); /* the last one is open still */
    for (unsigned long n = 1; n <= 3; n++) {
        mem_fail_after(n);
        assert_int_equal(queue_open(q, JOB_SCORE, rows, 7), ERR_NOMEM);
        mem_fail_after(0);
    }
    assert_int_equal(queue_counts(q).units, MOST);
    mem_free(rows);
    queue_free(&q);
}

static void test_a_worker_is_avoided_once_and_eight_at_most(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, 1);
    make_jobs(q, &id, 1);
    for (uint64_t worker = 1; worker <= QUEUE_AVOID + 1; worker++) {
        queue_avoid(q, id, worker);
        queue_avoid(q, id, worker);
        assert_int_equal(queue_job(q, id)->n_avoid, worker < QUEUE_AVOID ? worker : QUEUE_AVOID);
        assert_int_equal(queue_first(q, worker, false) == 0, worker <= QUEUE_AVOID);
    }
    queue_avoid(q, id + 1, 1); /* no such job */
    queue_free(&q);
}

static void test_an_attempt_knows_who_where_and_since_when(void **state)
{
    (void)state;
    uint64_t j[2];
    uint32_t number;
    struct queue *q = opened(JOB_GRADIENT, 2);
    make_jobs(q, j, 2);
    assert_int_equal(queue_take(q, j[0], 7, 3, &number), OK);
    assert_int_equal(number, 1);
    assert_int_equal(queue_take(q, j[1], 8, 4, &number), OK);
    assert_int_equal(number, 1);
    assert_int_equal(queue_take(q, j[0], 8, 5, &number), OK);
    assert_int_equal(number, 2);
    const struct job *job = queue_job(q, j[0]);
    assert_true(job->n_live == 2 && job->attempts == 2);
    assert_true(job->live[0].worker == 7 && job->live[0].slot == 3 && job->live[0].number == 1);
    assert_true(job->live[1].worker == 8 && job->live[1].slot == 5 && job->live[1].number == 2);
    assert_true(job->live[0].grant < queue_job(q, j[1])->live[0].grant);
    assert_true(queue_job(q, j[1])->live[0].grant < job->live[1].grant);
    assert_false(ended(q, j[0], 1, ATTEMPT_RELEASED));
    assert_true(job->n_live == 1 && job->live[0].worker == 8);
    assert_false(ended(q, j[0], 1, ATTEMPT_LOST)); /* it has ended */
    assert_int_equal(job->losses, 0);
    assert_int_equal(queue_take(q, j[0] + 9, 7, 0, &number), ERR_STALE);
    assert_int_equal(queue_accept(q, j[0], 0, 8, one), ERR_STALE);
    assert_int_equal(queue_accept(q, j[0], 3, 8, one), ERR_STALE); /* never given out */
    assert_int_equal(queue_accept(q, j[0] + 9, 1, 8, one), ERR_STALE);
    assert_int_equal(queue_accept(q, j[0], 2, 8, one), OK);
    assert_true(job->n_live == 0 && job->winner == 8);
    assert_memory_equal(job->digest, one, sizeof one);
    assert_int_equal(queue_take(q, j[0], 7, 0, &number), ERR_STATE);
    assert_int_equal(queue_split(q, j[0]), ERR_STATE);
    assert_int_equal(queue_split(q, j[0] + 9), ERR_STALE);
    queue_free(&q);
}

static void test_the_end_of_a_copy_changes_nothing_once_a_result_is_there(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, 1);
    make_jobs(q, &id, 1);
    uint32_t a = taken(q, id, 1);
    uint32_t b = taken(q, id, 2);
    assert_int_equal(queue_accept(q, id, a, 1, one), OK);
    assert_false(ended(q, id, b, ATTEMPT_LOST));
    assert_int_equal(queue_job(q, id)->state, JOB_SETTLING);
    assert_true(queue_holds(q, 1) && !queue_holds(q, 2));
    assert_int_equal(queue_settle(q, id, true), OK);
    assert_true(queue_holds(q, 1) && !queue_holds(q, 2));
    assert_int_equal(queue_settle(q, id + 9, true), ERR_STALE);
    queue_free(&q);
}

static void test_a_refused_result_leaves_a_job_to_its_copy(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, 1);
    make_jobs(q, &id, 1);
    uint32_t a = taken(q, id, 1);
    (void)taken(q, id, 2);
    assert_int_equal(queue_accept(q, id, a, 1, one), OK);
    assert_int_equal(queue_settle(q, id, false), OK);
    assert_int_equal(queue_job(q, id)->state, JOB_LEASED);
    assert_int_equal(queue_first(q, 9, true), 0);
    assert_int_equal(queue_counts(q).jobs_leased, 1);
    queue_free(&q);
}

static void test_failures_of_two_workers_bury_once_nothing_runs_any_more(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, 1);
    make_jobs(q, &id, 1);
    const struct job *job = queue_job(q, id);
    assert_false(ended(q, id, taken(q, id, 1), ATTEMPT_FAILED));
    assert_true(job->failed_by == 1 && !job->many_failed && job->n_avoid == 1);
    assert_false(ended(q, id, taken(q, id, 2), ATTEMPT_FAILED));
    assert_true(job->failed_by == 1 && job->many_failed && job->failures == 2);
    uint32_t a = taken(q, id, 3);
    uint32_t b = taken(q, id, 4);
    assert_false(ended(q, id, a, ATTEMPT_FAILED)); /* the other may still bring it */
    assert_int_equal(job->state, JOB_LEASED);
    assert_true(ended(q, id, b, ATTEMPT_RELEASED));
    assert_int_equal(job->state, JOB_BURIED);
    assert_true(queue_counts(q).jobs_leased == 0 && queue_counts(q).jobs_queued == 0);
    assert_int_equal(queue_first(q, 9, true), 0);
    assert_int_equal(queue_accept(q, id, b, 4, one), ERR_STALE);
    queue_free(&q);
}

static void test_losses_make_nobody_avoided(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, 1);
    make_jobs(q, &id, 1);
    for (uint32_t i = 1; i < QUEUE_LOSSES; i++) {
        assert_false(ended(q, id, taken(q, id, 1), ATTEMPT_LOST));
        assert_int_equal(queue_job(q, id)->losses, i);
        assert_true(queue_first(q, 1, false) == id);
    }
    for (int i = 0; i < 40; i++) { /* given back politely: counts for nothing */
        assert_false(ended(q, id, taken(q, id, 1), ATTEMPT_RELEASED));
    }
    assert_true(ended(q, id, taken(q, id, 1), ATTEMPT_LOST));
    queue_free(&q);
}

static void test_a_split_gives_back_what_runs_too_and_its_counts(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, 9);
    assert_int_equal(queue_make(q, 4, UINT64_MAX, &id), OK);
    struct queue_counts before = queue_counts(q);
    assert_true(before.waiting == 5 && before.leased == 4 && before.jobs_queued == 1);
    uint32_t number = taken(q, id, 1);
    assert_int_equal(queue_split(q, id), OK);
    struct queue_counts c = queue_counts(q);
    assert_true(c.waiting == 9 && c.leased == 0 && c.rows_waiting == c.rows);
    assert_true(c.jobs_leased == 0 && c.jobs_queued == 0);
    assert_int_equal(queue_job(q, id)->state, JOB_CLOSED);
    assert_false(ended(q, id, number, ATTEMPT_LOST));
    assert_int_equal(queue_job(q, id)->state, JOB_CLOSED);
    assert_int_equal(queue_make(q, 9, UINT64_MAX, &id), OK);
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(queue_job(q, id)->units[i], i);
    }
    queue_free(&q);
}

static void test_a_batch_may_start_again_any_number_of_times(void **state)
{
    (void)state;
    uint64_t id;
    struct queue *q = opened(JOB_GRADIENT, LIMIT_STEP_UNITS);
    for (int round = 0; round < 9000; round++) {
        for (uint32_t units = 0; units < LIMIT_STEP_UNITS; units += LIMIT_JOB_UNITS) {
            assert_int_equal(queue_make(q, LIMIT_JOB_UNITS, UINT64_MAX, &id), OK);
        }
        assert_int_equal(queue_counts(q).waiting, 0);
        assert_int_equal(queue_restart(q, 0, &id), OK);
        assert_int_equal(id, 0);
        assert_int_equal(queue_counts(q).waiting, LIMIT_STEP_UNITS);
    }
    queue_free(&q);
}

static void test_a_restart_for_which_there_is_no_memory_changes_nothing(void **state)
{
    (void)state;
    uint32_t failed = 0;
    for (uint32_t n = 1; n <= JOBS; n++) {
        uint64_t j[JOBS];
        uint64_t again = 1;
        struct queue *q = opened(JOB_GRADIENT, JOBS);
        make_jobs(q, j, n);
        mem_fail_after(1);
        enum err error = queue_restart(q, j[0], &again);
        mem_fail_after(0);
        assert_true(error == OK || error == ERR_NOMEM);
        if (error == ERR_NOMEM) {
            failed++;
            assert_int_equal(again, 0);
            assert_int_equal(queue_counts(q).jobs, n);
            assert_true(queue_first(q, 1, false) == j[0]);
        } else {
            assert_true(again != 0 && !queue_job(q, j[0]));
        }
        queue_free(&q);
    }
    assert_true(failed > 0);
}

static void check_counts(struct queue *q, const uint64_t *jobs, uint32_t n)
{
    struct queue_counts want = {.serial = queue_counts(q).serial};
    const struct queue_counts c = queue_counts(q);
    uint64_t rows_held = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct job *job = queue_job(q, jobs[i]);
        want.jobs_queued += job->state == JOB_QUEUED;
        want.jobs_leased += job->state == JOB_LEASED;
        want.done += job->state == JOB_DONE ? job->n_units : 0;
        want.rows_done += job->state == JOB_DONE ? job->rows : 0;
        want.leased += job->state != JOB_DONE && job->state != JOB_CLOSED ? job->n_units : 0;
        rows_held += job->state != JOB_CLOSED ? job->rows : 0;
        assert_int_equal(job->n_live > 0 || job->state != JOB_LEASED, 1);
    }
    assert_true(c.jobs == n && c.jobs_queued == want.jobs_queued);
    assert_true(c.jobs_leased == want.jobs_leased && c.done == want.done);
    assert_true(c.leased == want.leased && c.rows_done == want.rows_done);
    assert_true(c.rows_waiting + rows_held == c.rows);
}

static void test_counts_follow_every_change(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t jobs[400];
        uint32_t n = 0;
        uint64_t draw = 0;
        bool buried;
        struct queue *q = opened(JOB_GRADIENT, 60);
        print_message("seed %llu\n", (unsigned long long)seed);
        for (int i = 0; i < 400; i++) {
            uint64_t what = rng_below(seed, draw++, 8);
            uint64_t id = n ? jobs[rng_below(seed, draw++, n)] : 0;
            const struct job *job = id ? queue_job(q, id) : NULL;
            uint32_t number = job && job->n_live ? job->live[job->n_live - 1].number : 1;
            uint64_t worker = 1 + rng_below(seed, draw++, 4);
            uint32_t given;
            if (what <= 1 && n < 400) {
                id = 0;
                assert_int_equal(
                    queue_make(q, 1 + (uint32_t)rng_below(seed, draw++, 5), UINT64_MAX, &id), OK);
                jobs[n] = id;
                n += id != 0;
            } else if (what <= 3 && job) {
                (void)!queue_take(q, id, worker, 0, &given);
            } else if (what == 4 && job) {
                queue_end(q, id, number, (enum attempt_end)rng_below(seed, draw++, 3), false,
                          &buried);
            } else if (what == 5 && job && queue_accept(q, id, number, worker, one) == OK) {
                assert_int_equal(queue_settle(q, id, rng_below(seed, draw++, 2) > 0), OK);
            } else if (what == 6 && job && rng_below(seed, draw++, 3) == 0) {
                (void)!queue_split(q, id);
            } else if (what == 7 && job) {
                queue_audit(q, id, rng_below(seed, draw++, 2) > 0);
            }
            check_counts(q, jobs, n);
        }
        queue_free(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_serial_is_never_0_and_begins_without_jobs),
        cmocka_unit_test(test_queued_jobs_stand_in_their_order_wherever_one_leaves),
        cmocka_unit_test(test_single_attempts_stand_by_age_wherever_one_leaves),
        cmocka_unit_test(test_the_first_32_jobs_of_a_line_are_looked_at),
        cmocka_unit_test(test_the_33rd_single_attempt_is_too_far_away),
        cmocka_unit_test(test_a_job_has_as_many_units_as_one_message_takes),
        cmocka_unit_test(test_batches_are_bounded_by_their_kind),
        cmocka_unit_test(test_a_worker_is_avoided_once_and_eight_at_most),
        cmocka_unit_test(test_an_attempt_knows_who_where_and_since_when),
        cmocka_unit_test(test_the_end_of_a_copy_changes_nothing_once_a_result_is_there),
        cmocka_unit_test(test_a_refused_result_leaves_a_job_to_its_copy),
        cmocka_unit_test(test_failures_of_two_workers_bury_once_nothing_runs_any_more),
        cmocka_unit_test(test_losses_make_nobody_avoided),
        cmocka_unit_test(test_a_split_gives_back_what_runs_too_and_its_counts),
        cmocka_unit_test(test_a_batch_may_start_again_any_number_of_times),
        cmocka_unit_test(test_a_restart_for_which_there_is_no_memory_changes_nothing),
        cmocka_unit_test(test_counts_follow_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
