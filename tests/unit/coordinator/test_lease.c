/* test_lease.c - deadlines from measured costs, renewal up to the cap, stalls of our own, and the
 * heap against a plain search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/lease.h"

#define SEC 1000000000ull

static uint32_t granted(struct leases *l, uint32_t tokens, uint64_t now)
{
    const struct lease what = {.job = 1, .worker = 2, .tokens = tokens, .kind = JOB_GRADIENT};
    uint32_t handle;
    assert_int_equal(lease_grant(l, &what, now, &handle), OK);
    return handle;
}

static struct leases *taught(uint64_t ns_per_token)
{
    struct leases *l = NULL;
    assert_int_equal(leases_new(&l), OK);
    for (int i = 0; i < 10; i++) {
        lease_end(l, granted(l, 100, SEC), true, SEC + 100 * ns_per_token);
    }
    return l;
}

static void test_first_lease_is_long_and_later_ones_follow_the_measured_cost(void **state)
{
    (void)state;
    struct leases *l = NULL;
    assert_int_equal(leases_new(&l), OK);
    uint32_t h = granted(l, 500, SEC);
    assert_true(lease_get(l, h)->ttl_ns == LEASE_FIRST_NS);
    assert_int_equal(lease_expected_ns(l, JOB_GRADIENT, 100), 0);
    leases_free(&l);
    l = taught(10000000); /* 10 ms a token */
    assert_true(lease_expected_ns(l, JOB_GRADIENT, 400) == 4 * SEC);
    assert_true(lease_get(l, granted(l, 400, SEC))->ttl_ns == 4 * SEC);
    assert_true(lease_get(l, granted(l, 1, SEC))->ttl_ns == LEASE_FLOOR_NS);
    assert_int_equal(lease_expected_ns(l, JOB_SCORE, 400), 0);
    leases_free(&l);
}

static void
test_computing_costs_what_the_worker_says_but_no_more_than_the_lease_lasted(void **state)
{
    (void)state;
    struct leases *l = NULL;
    assert_int_equal(leases_new(&l), OK);
    assert_int_equal(lease_cost_ns(l, JOB_GRADIENT, 400), 0);
    const struct {
        uint64_t said_ns, cost_ns;
    } cases[] = {{SEC / 2, SEC / 2}, {7 * SEC, SEC}, {0, SEC}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct leases *one = NULL;
        assert_int_equal(leases_new(&one), OK);
        lease_computed(one, granted(one, 100, SEC), cases[i].said_ns, 2 * SEC);
        assert_true(lease_cost_ns(one, JOB_GRADIENT, 200) == 2 * cases[i].cost_ns);
        assert_int_equal(lease_cost_ns(one, JOB_SCORE, 200), 0);
        leases_free(&one);
    }
    leases_free(&l);
}

static void test_one_slow_job_does_not_move_the_median(void **state)
{
    (void)state;
    struct leases *l = taught(10000000);
    lease_end(l, granted(l, 100, SEC), true, 3600 * SEC);
    assert_true(lease_expected_ns(l, JOB_GRADIENT, 100) == SEC);
    assert_true(lease_get(l, granted(l, 400, SEC))->ttl_ns == 4 * SEC);
    leases_free(&l);
}

static void test_heartbeats_renew_up_to_the_cap_and_not_beyond(void **state)
{
    (void)state;
    struct leases *l = taught(10000000);
    uint32_t h = granted(l, 400, 10 * SEC); /* ttl 4 s, cap 120 s */
    uint64_t now = 10 * SEC;
    while (lease_due(l, now) == UINT32_MAX && now < 1000 * SEC) {
        lease_renew(l, h, now);
        now += SEC;
    }
    assert_true(now == 130 * SEC && lease_due(l, now) == h);
    lease_end(l, h, false, now);
    assert_int_equal(lease_due(l, now), UINT32_MAX);
    assert_true(lease_sleep_ns(l, now) == UINT64_MAX);
    leases_free(&l);
}

static void test_a_shift_moves_every_deadline(void **state)
{
    (void)state;
    struct leases *l = taught(10000000);
    uint32_t h = granted(l, 400, 10 * SEC);
    lease_shift(l, 50 * SEC);
    assert_int_equal(lease_due(l, 63 * SEC), UINT32_MAX);
    assert_true(lease_sleep_ns(l, 61 * SEC) == 3 * SEC);
    assert_true(lease_elapsed_ns(l, h, 61 * SEC) == SEC);
    assert_int_equal(lease_due(l, 64 * SEC), h);
    leases_free(&l);
}

static void test_heap_gives_deadlines_in_order(void **state)
{
    (void)state;
    enum { N = 300 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct leases *l = taught(1000000000);
        uint32_t handles[N];
        bool live[N] = {false};
        uint64_t draw = 0;
        for (uint32_t i = 0; i < N; i++) {
            handles[i] = granted(l, 1 + (uint32_t)rng_below(seed, draw++, 1000), 10 * SEC);
            live[i] = true;
        }
        for (uint32_t i = 0; i < 100; i++) {
            uint32_t k = (uint32_t)rng_below(seed, draw++, N);
            if (live[k] && i % 2) {
                lease_renew(l, handles[k], 10 * SEC + rng_below(seed, draw++, 100) * SEC);
            } else if (live[k]) {
                lease_end(l, handles[k], false, 10 * SEC);
                live[k] = false;
            }
        }
        uint64_t before = 0;
        while (leases_count(l) > 0) {
            uint32_t h = lease_due(l, UINT64_MAX / 2);
            uint64_t deadline = lease_get(l, h)->deadline_ns;
            assert_true(deadline >= before);
            before = deadline;
            lease_end(l, h, false, 10 * SEC);
        }
        leases_free(&l);
    }
}

static void test_a_lease_allows_for_six_times_how_far_costs_lie_apart(void **state)
{
    (void)state;
    struct leases *l = NULL;
    assert_int_equal(leases_new(&l), OK);
    for (uint64_t i = 0; i < 10; i++) { /* 10 and 20 ms a token, in turn */
        lease_end(l, granted(l, 100, SEC), true, SEC + (1 + i % 2) * SEC);
    }
    assert_true(lease_expected_ns(l, JOB_GRADIENT, 100) == 2 * SEC);    /* the upper middle */
    assert_true(lease_get(l, granted(l, 100, SEC))->ttl_ns == 8 * SEC); /* 2 + 6 * 1 */
    leases_free(&l);
    assert_null(l);
}

static void test_costs_are_those_of_the_last_64_results(void **state)
{
    (void)state;
    struct leases *l = taught(10000000);
    for (int i = 10; i < LEASE_WINDOW; i++) {
        lease_end(l, granted(l, 100, SEC), true, 2 * SEC);
    }
    assert_true(lease_expected_ns(l, JOB_GRADIENT, 100) == SEC);
    for (int i = 0; i < LEASE_WINDOW; i++) { /* ten times slower from now on */
        lease_end(l, granted(l, 100, SEC), true, 11 * SEC);
        bool known = i >= LEASE_WINDOW / 2 - 1; /* half of the window at the latest */
        assert_true(!known || lease_expected_ns(l, JOB_GRADIENT, 100) == 10 * SEC);
    }
    assert_true(lease_get(l, granted(l, 100, SEC))->ttl_ns == 10 * SEC); /* and none lies apart */
    leases_free(&l);
}

static void test_handles_are_given_out_again(void **state)
{
    (void)state;
    struct leases *l = taught(10000000);
    for (int i = 0; i < 1000; i++) {
        uint32_t a = granted(l, 400, SEC);
        uint32_t b = granted(l, 500, SEC);
        assert_true(a < 2 && b < 2 && a != b);
        assert_int_equal(leases_count(l), 2);
        assert_int_equal(lease_get(l, b)->tokens, 500);
        lease_end(l, a, false, SEC);
        assert_int_equal(leases_count(l), 1);
        assert_true(lease_sleep_ns(l, SEC) == 5 * SEC);
        lease_end(l, b, false, SEC);
    }
    leases_free(&l);
}

static void test_a_cap_is_twenty_times_a_long_lease(void **state)
{
    (void)state;
    struct leases *l = taught(100000000); /* 0.1 s a token */
    uint32_t h = granted(l, 100, SEC);    /* 10 s, so 200 s at most */
    uint64_t now = SEC;
    for (; lease_due(l, now) == UINT32_MAX && now < 1000 * SEC; now += SEC) {
        lease_renew(l, h, now);
    }
    assert_true(now == 201 * SEC);
    assert_int_equal(lease_sleep_ns(l, now + SEC), 0);
    leases_free(&l);
}

static void test_a_renewal_never_makes_a_lease_shorter(void **state)
{
    (void)state;
    struct leases *l = taught(10000000);
    uint32_t h = granted(l, 400, 10 * SEC);
    lease_renew(l, h, 12 * SEC);
    assert_true(lease_sleep_ns(l, 12 * SEC) == 4 * SEC);
    lease_renew(l, h, 11 * SEC); /* a heartbeat that was delivered late */
    assert_true(lease_sleep_ns(l, 12 * SEC) == 4 * SEC);
    assert_int_equal(lease_due(l, 16 * SEC - 1), UINT32_MAX);
    assert_int_equal(lease_due(l, 16 * SEC), h);
    assert_int_equal(lease_elapsed_ns(l, h, 9 * SEC), 0);
    leases_free(&l);
}

static void test_costs_of_the_kinds_of_jobs_are_apart_and_bounded(void **state)
{
    (void)state;
    struct leases *l = NULL;
    uint32_t h;
    assert_int_equal(leases_new(&l), OK);
    const struct lease what = {.job = 1, .worker = 2, .tokens = 1, .kind = JOB_SCORE};
    assert_int_equal(lease_grant(l, &what, SEC, &h), OK);
    lease_end(l, h, true, SEC + 3600 * SEC);
    assert_int_equal(lease_expected_ns(l, JOB_GRADIENT, 1), 0);
    assert_true(lease_expected_ns(l, JOB_SCORE, 1) == 3600 * SEC);
    assert_true(lease_expected_ns(l, JOB_SCORE, 0) == 3600 * SEC); /* a job has a token at least */
    assert_true(lease_expected_ns(l, JOB_SCORE, UINT32_MAX) == 1000000000 * SEC);
    leases_free(&l);
}

static void test_without_memory_no_lease_is_granted(void **state)
{
    (void)state;
    const struct lease what = {.job = 1, .tokens = 1};
    struct leases *l = NULL;
    uint32_t h;
    mem_fail_after(1);
    assert_int_equal(leases_new(&l), ERR_NOMEM);
    mem_fail_after(0);
    assert_int_equal(leases_new(&l), OK);
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(lease_grant(l, &what, SEC, &h), ERR_NOMEM);
        mem_fail_after(0);
        assert_int_equal(leases_count(l), 0);
    }
    assert_int_equal(lease_grant(l, &what, SEC, &h), OK);
    leases_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_lease_is_long_and_later_ones_follow_the_measured_cost),
        cmocka_unit_test(
            test_computing_costs_what_the_worker_says_but_no_more_than_the_lease_lasted),
        cmocka_unit_test(test_one_slow_job_does_not_move_the_median),
        cmocka_unit_test(test_heartbeats_renew_up_to_the_cap_and_not_beyond),
        cmocka_unit_test(test_a_shift_moves_every_deadline),
        cmocka_unit_test(test_heap_gives_deadlines_in_order),
        cmocka_unit_test(test_a_lease_allows_for_six_times_how_far_costs_lie_apart),
        cmocka_unit_test(test_costs_are_those_of_the_last_64_results),
        cmocka_unit_test(test_handles_are_given_out_again),
        cmocka_unit_test(test_a_cap_is_twenty_times_a_long_lease),
        cmocka_unit_test(test_a_renewal_never_makes_a_lease_shorter),
        cmocka_unit_test(test_costs_of_the_kinds_of_jobs_are_apart_and_bounded),
        cmocka_unit_test(test_without_memory_no_lease_is_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
