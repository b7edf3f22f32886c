/* test_queue.c - job states one by one, units in one open job each, and a random walk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/queue.h"

static const uint8_t one[HASH_XXH128_BYTES] = {1};
static const uint8_t two[HASH_XXH128_BYTES] = {2};

static struct queue *opened(uint32_t units)
{
    struct queue *q = NULL;
    uint32_t rows[100];
    for (uint32_t i = 0; i < units; i++) {
        rows[i] = 200 - i; /* the longest first, as they are handed out */
    }
    assert_int_equal(queue_new(5, &q), OK);
    assert_int_equal(queue_open(q, JOB_GRADIENT, rows, units), OK);
    return q;
}

static uint64_t made(struct queue *q, uint32_t n)
{
    uint64_t id;
    assert_int_equal(queue_make(q, n, UINT64_MAX, &id), OK);
    return id;
}

static uint32_t taken(struct queue *q, uint64_t id, uint64_t worker)
{
    uint32_t number = 0;
    assert_int_equal(queue_take(q, id, worker, 0, &number), OK);
    return number;
}

static void end(struct queue *q, uint64_t id, uint32_t number, enum attempt_end why, bool buried)
{
    bool got;
    queue_end(q, id, number, why, false, &got);
    assert_int_equal(got, buried);
}

static void test_job_goes_from_queued_to_done(void **state)
{
    (void)state;
    struct queue *q = opened(5);
    uint64_t id = made(q, 3);
    const struct job *job = queue_job(q, id);
    assert_true(job->state == JOB_QUEUED && job->n_units == 3 && job->rows == 597);
    assert_true(job->units[0] == 0 && job->units[2] == 2);
    assert_true(queue_first(q, 1, false) == id);
    uint32_t number = taken(q, id, 1);
    assert_true(job->state == JOB_LEASED && queue_first(q, 1, false) == 0);
    assert_int_equal(queue_accept(q, id, number, 1, one), OK);
    assert_int_equal(job->state, JOB_SETTLING);
    assert_int_equal(queue_settle(q, id, true), OK);
    assert_int_equal(queue_settle(q, id, true), ERR_STALE);
    struct queue_counts c = queue_counts(q);
    assert_true(c.done == 3 && c.waiting == 2 && c.leased == 0 && c.rows_done == 597);
    queue_free(&q);
}

static void test_duplicate_is_stale_and_a_differing_one_corrupt(void **state)
{
    (void)state;
    struct queue *q = opened(1);
    uint64_t id = made(q, 1);
    uint32_t a = taken(q, id, 1);
    uint32_t b = taken(q, id, 2);
    assert_int_equal(queue_accept(q, id, a, 1, one), OK);
    assert_int_equal(queue_accept(q, id, b, 2, one), ERR_STALE);
    assert_int_equal(queue_accept(q, id, b, 2, two), ERR_CORRUPT);
    assert_int_equal(queue_settle(q, id, true), OK);
    assert_int_equal(queue_accept(q, id, b, 2, two), ERR_CORRUPT);
    assert_int_equal(queue_accept(q, id, 99, 2, one), ERR_STALE);
    queue_free(&q);
}

static void
test_lost_attempt_puts_the_job_first_in_line_and_its_late_result_still_wins(void **state)
{
    (void)state;
    struct queue *q = opened(3);
    uint64_t id = made(q, 1);
    uint64_t later = made(q, 1);
    uint32_t number = taken(q, id, 1);
    end(q, id, number, ATTEMPT_LOST, false);
    assert_true(queue_first(q, 2, false) == id && id != later);
    assert_int_equal(queue_accept(q, id, number, 1, one), OK);
    assert_true(queue_first(q, 2, false) == later);
    queue_free(&q);
}

static void test_backup_copy_is_of_the_longest_running_job_of_another_worker(void **state)
{
    (void)state;
    struct queue *q = opened(3);
    uint64_t a = made(q, 1);
    uint64_t b = made(q, 1);
    uint32_t number = taken(q, a, 1);
    (void)taken(q, b, 2);
    assert_true(queue_slowest(q, 3) == a);
    assert_true(queue_slowest(q, 1) == b);
    (void)taken(q, a, 3);
    assert_true(queue_slowest(q, 4) == b);
    end(q, a, number, ATTEMPT_LOST, false);
    assert_int_equal(queue_job(q, a)->state, JOB_LEASED);
    assert_true(queue_slowest(q, 4) == b && queue_slowest(q, 2) == a);
    queue_free(&q);
}

static void test_a_job_whose_copy_died_is_as_old_as_the_attempt_that_is_left(void **state)
{
    (void)state;
    struct queue *q = opened(3);
    uint64_t a = made(q, 1);
    uint64_t b = made(q, 1);
    uint64_t c = made(q, 1);
    uint32_t old = taken(q, a, 1);
    (void)taken(q, b, 2);
    uint32_t copy = taken(q, a, 3);
    (void)taken(q, c, 4);
    end(q, a, copy, ATTEMPT_LOST, false);
    assert_true(queue_slowest(q, 9) == a); /* runs longest */
    copy = taken(q, a, 3);
    end(q, a, old, ATTEMPT_LOST, false);
    assert_true(queue_slowest(q, 9) == b); /* the copy is the youngest of all */
    assert_true(queue_slowest(q, 2) == c);
    (void)taken(q, b, 5);
    (void)taken(q, c, 6);
    assert_true(queue_slowest(q, 9) == a);
    queue_free(&q);
}

static void test_attempts_of_a_job_are_limited(void **state)
{
    (void)state;
    struct queue *q = opened(1);
    uint64_t id = made(q, 1);
    uint32_t number;
    for (uint64_t w = 1; w <= QUEUE_LIVE; w++) {
        (void)taken(q, id, w);
    }
    assert_int_equal(queue_take(q, id, 9, 0, &number), ERR_FULL);
    queue_free(&q);
}

static void test_failures_on_two_workers_bury_and_on_one_only_when_alone(void **state)
{
    (void)state;
    bool buried;
    for (int alone = 0; alone <= 1; alone++) {
        struct queue *q = opened(1);
        uint64_t id = made(q, 1);
        for (int i = 1; i <= QUEUE_FAILURES; i++) {
            assert_int_equal(queue_first(q, 1, false), i == 1 ? id : 0);
            assert_true(queue_first(q, 1, true) == id);
            queue_end(q, id, taken(q, id, 1), ATTEMPT_FAILED, alone, &buried);
            assert_int_equal(buried, alone && i == QUEUE_FAILURES);
        }
        if (!alone) {
            end(q, id, taken(q, id, 2), ATTEMPT_FAILED, true);
        }
        assert_int_equal(queue_job(q, id)->state, JOB_BURIED);
        queue_free(&q);
    }
}

static void test_job_that_is_lost_again_and_again_is_buried(void **state)
{
    (void)state;
    struct queue *q = opened(1);
    uint64_t id = made(q, 1);
    for (uint32_t i = 1; i <= QUEUE_LOSSES; i++) {
        end(q, id, taken(q, id, i), ATTEMPT_LOST, i == QUEUE_LOSSES);
    }
    queue_free(&q);
}

static void test_split_gives_the_units_back_and_the_old_result_is_stale(void **state)
{
    (void)state;
    struct queue *q = opened(6);
    uint64_t id = made(q, 4);
    uint32_t number = taken(q, id, 1);
    assert_int_equal(queue_split(q, id), OK);
    assert_int_equal(queue_split(q, id), ERR_STATE);
    assert_int_equal(queue_counts(q).waiting, 6);
    assert_int_equal(queue_accept(q, id, number, 1, one), ERR_STALE);
    uint64_t again = made(q, 1);
    assert_int_equal(queue_job(q, again)->units[0], 0);
    queue_free(&q);
}

static void test_payload_that_was_refused_reopens_the_job(void **state)
{
    (void)state;
    struct queue *q = opened(1);
    uint64_t id = made(q, 1);
    assert_int_equal(queue_accept(q, id, taken(q, id, 1), 1, one), OK);
    assert_int_equal(queue_settle(q, id, false), OK);
    assert_true(queue_first(q, 1, false) == id);
    queue_free(&q);
}

static void test_the_longest_units_go_first_and_a_job_ends_at_its_tokens(void **state)
{
    (void)state;
    static const uint32_t rows[6] = {30, 500, 30, 200, 100, 200};
    static const uint32_t order[6] = {1, 3, 5, 4, 0, 2}; /* equal ones in their order */
    struct queue *q = NULL;
    uint64_t id;
    assert_int_equal(queue_new(5, &q), OK);
    assert_int_equal(queue_open(q, JOB_GRADIENT, rows, 6), OK);
    assert_int_equal(queue_counts(q).rows_waiting, 1060);
    assert_int_equal(queue_make(q, 9, 400, &id), OK); /* one is taken whatever it has */
    assert_int_equal(queue_job(q, id)->n_units, 1);
    assert_int_equal(queue_job(q, id)->units[0], order[0]);
    assert_int_equal(queue_make(q, 9, 400, &id), OK);
    assert_int_equal(queue_job(q, id)->rows, 400);
    assert_int_equal(queue_job(q, id)->units[0], order[1]);
    assert_int_equal(queue_job(q, id)->units[1], order[2]);
    assert_int_equal(queue_counts(q).rows_waiting, 160);
    assert_int_equal(queue_split(q, id), OK);
    assert_int_equal(queue_counts(q).rows_waiting, 560);
    uint64_t rest = made(q, 9);
    assert_int_equal(queue_job(q, rest)->n_units, 5);
    for (uint32_t i = 1; i < 6; i++) {
        assert_int_equal(queue_job(q, rest)->units[i - 1], order[i]);
    }
    assert_int_equal(queue_counts(q).rows_waiting, 0);
    queue_free(&q);
}

static void test_ids_of_an_earlier_batch_are_stale(void **state)
{
    (void)state;
    struct queue *q = opened(4);
    uint64_t id = made(q, 2);
    uint32_t number = taken(q, id, 1);
    uint64_t again;
    assert_int_equal(queue_restart(q, id, &again), OK);
    assert_true(again != id && queue_first(q, 1, false) == again);
    assert_int_equal(queue_job(q, again)->n_units, 2);
    assert_int_equal(queue_job(q, again)->units[1], 1);
    assert_null(queue_job(q, id));
    assert_int_equal(queue_accept(q, id, number, 1, one), ERR_STALE);
    uint64_t rest = made(q, 9);
    assert_int_equal(queue_job(q, rest)->n_units, 2);
    assert_int_equal(queue_job(q, rest)->units[0], 2);
    queue_close(q);
    assert_null(queue_job(q, again));
    assert_int_equal(made(q, 1), 0);
    queue_free(&q);
}

static void test_sizes_are_checked_and_memory_may_fail(void **state)
{
    (void)state;
    struct queue *q = NULL;
    static uint32_t rows[LIMIT_STEP_UNITS + 1];
    uint64_t id;
    assert_int_equal(queue_new(1, &q), OK);
    assert_int_equal(queue_open(q, JOB_GRADIENT, rows, LIMIT_STEP_UNITS + 1), ERR_RANGE);
    assert_int_equal(queue_open(q, JOB_SCORE, rows, LIMIT_STEP_UNITS + 1), OK);
    assert_int_equal(queue_open(q, JOB_GRADIENT, rows, 0), ERR_RANGE);
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(queue_open(q, JOB_GRADIENT, rows, 3), ERR_NOMEM);
        mem_fail_after(0);
        mem_fail_after(n);
        assert_int_equal(queue_make(q, 1, 1, &id), ERR_NOMEM);
        mem_fail_after(0);
        struct queue_counts c = queue_counts(q);
        assert_true(c.jobs == 0 && c.waiting == c.units);
    }
    queue_free(&q);
}

/* Whatever happens: every unit waits, or is in exactly one open or done job, and counts agree. */
static void check_units(struct queue *q, const uint64_t *jobs, uint32_t n, uint32_t units)
{
    uint32_t held[100] = {0};
    uint32_t in_jobs = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct job *job = queue_job(q, jobs[i]);
        if (job->state == JOB_CLOSED) {
            continue;
        }
        for (uint32_t u = 0; u < job->n_units; u++) {
            assert_int_equal(held[job->units[u]]++, 0);
        }
        in_jobs += job->n_units;
    }
    struct queue_counts c = queue_counts(q);
    assert_int_equal(c.waiting + in_jobs, units);
    assert_int_equal(c.waiting + c.leased + c.done, units);
}

static void test_random_walk_keeps_each_unit_in_one_place(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t jobs[1000];
        uint32_t n = 0;
        uint64_t draw = 0;
        bool buried;
        struct queue *q = opened(60);
        print_message("seed %llu\n", (unsigned long long)seed);
        for (int i = 0; i < 600; i++) {
            uint64_t what = rng_below(seed, draw++, 6);
            uint64_t id = n ? jobs[rng_below(seed, draw++, n)] : 0;
            const struct job *job = id ? queue_job(q, id) : NULL;
            uint32_t number = job && job->n_live ? job->live[0].number : 1;
            uint64_t worker = 1 + rng_below(seed, draw++, 4);
            uint32_t given;
            if (what == 0 && n < 1000) {
                id = made(q, 1 + (uint32_t)rng_below(seed, draw++, 7));
                n += id != 0;
                jobs[n ? n - 1 : 0] = id ? id : jobs[n ? n - 1 : 0];
            } else if (what == 1) {
                id = queue_first(q, worker, false);
                assert_true(id == 0 || queue_take(q, id, worker, 0, &given) == OK);
            } else if (what == 2 && job) {
                queue_end(q, id, number, (enum attempt_end)rng_below(seed, draw++, 2), false,
                          &buried);
            } else if (what == 3 && job && queue_accept(q, id, number, worker, one) == OK) {
                assert_int_equal(queue_settle(q, id, rng_below(seed, draw++, 3) > 0), OK);
            } else if (what == 4 && job && rng_below(seed, draw++, 4) == 0) {
                (void)!queue_split(q, id);
            } else if (what == 5) {
                id = queue_slowest(q, worker);
                assert_true(id == 0 || queue_take(q, id, worker, 0, &given) == OK);
            }
            check_units(q, jobs, n, 60);
        }
        queue_free(&q);
    }
}

static void test_audited_job_wants_a_copy_until_two_attempts_run_or_one_result_is_kept(void **state)
{
    (void)state;
    struct queue *q = opened(3);
    uint64_t plain = made(q, 1);
    uint64_t id = made(q, 1);
    queue_audit(q, id, true);
    assert_int_equal(queue_audited(q, 0), 0); /* nobody computes it yet: it waits as any other */
    (void)taken(q, plain, 1);
    uint32_t first = taken(q, id, 1);
    assert_int_equal(queue_audited(q, 0), id);
    assert_int_equal(queue_audited(q, id), 0);
    assert_int_equal(queue_slowest(q, 2), plain); /* a copy of it is no backup */
    uint32_t copy = taken(q, id, 2);
    assert_int_equal(queue_audited(q, 0), 0);
    end(q, id, copy, ATTEMPT_LOST, false);
    assert_int_equal(queue_audited(q, 0), id);
    queue_opinions(q, id, 1, 77);
    end(q, id, first, ATTEMPT_RELEASED, false);
    assert_int_equal(queue_audited(q, 0), id);
    assert_int_equal(queue_first(q, 9, true), 0); /* not to be had by just anybody */
    assert_int_equal(queue_job(q, id)->opinion_host, 77);
    uint32_t third = taken(q, id, 3);
    assert_int_equal(queue_audited(q, 0), 0);
    assert_int_equal(queue_accept(q, id, third, 3, two), OK);
    assert_true(queue_holds(q, 3) && !queue_holds(q, 1));
    assert_int_equal(queue_settle(q, id, false), OK); /* its payload did not come */
    assert_int_equal(queue_audited(q, 0), id);
    queue_audit(q, id, false);
    assert_int_equal(queue_audited(q, 0), 0);
    assert_int_equal(queue_first(q, 9, false), id);
    queue_free(&q);
}

static void test_unit_brought_to_the_front_is_made_next_and_the_rest_keep_their_order(void **state)
{
    (void)state;
    struct queue *q = opened(5);
    uint32_t units[LIMIT_JOB_UNITS];
    assert_int_equal(queue_peek(q, 3, UINT64_MAX, units), 3);
    assert_true(units[0] == 0 && units[1] == 1 && units[2] == 2);
    assert_int_equal(queue_peek(q, 5, 399, units), 2);
    queue_bring(q, 2);
    uint64_t id = made(q, 1);
    assert_int_equal(queue_job(q, id)->units[0], 2);
    id = made(q, 4);
    const struct job *job = queue_job(q, id);
    assert_true(job->units[0] == 0 && job->units[1] == 1 && job->units[2] == 3 &&
                job->units[3] == 4);
    queue_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_goes_from_queued_to_done),
        cmocka_unit_test(test_duplicate_is_stale_and_a_differing_one_corrupt),
        cmocka_unit_test(
            test_lost_attempt_puts_the_job_first_in_line_and_its_late_result_still_wins),
        cmocka_unit_test(test_backup_copy_is_of_the_longest_running_job_of_another_worker),
        cmocka_unit_test(test_a_job_whose_copy_died_is_as_old_as_the_attempt_that_is_left),
        cmocka_unit_test(test_attempts_of_a_job_are_limited),
        cmocka_unit_test(test_failures_on_two_workers_bury_and_on_one_only_when_alone),
        cmocka_unit_test(test_job_that_is_lost_again_and_again_is_buried),
        cmocka_unit_test(test_split_gives_the_units_back_and_the_old_result_is_stale),
        cmocka_unit_test(test_payload_that_was_refused_reopens_the_job),
        cmocka_unit_test(test_the_longest_units_go_first_and_a_job_ends_at_its_tokens),
        cmocka_unit_test(test_ids_of_an_earlier_batch_are_stale),
        cmocka_unit_test(test_sizes_are_checked_and_memory_may_fail),
        cmocka_unit_test(test_random_walk_keeps_each_unit_in_one_place),
        cmocka_unit_test(
            test_audited_job_wants_a_copy_until_two_attempts_run_or_one_result_is_kept),
        cmocka_unit_test(test_unit_brought_to_the_front_is_made_next_and_the_rest_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
