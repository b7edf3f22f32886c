/* test_bootstrap.c - shares of rows, their intervals, paired differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/bootstrap.h"

static void test_interval_holds_the_share_and_is_the_same_every_time(void **state)
{
    (void)state;
    struct bootstrap_row rows[80];
    for (uint32_t i = 0; i < 80; i++) {
        rows[i] =
            (struct bootstrap_row){.cluster = i / 2, .gain = i % 4 != 0 ? 1.0 : 0.0, .weight = 1.0};
    }
    struct bootstrap_share one;
    struct bootstrap_share two;
    assert_int_equal(bootstrap_share(rows, 80, &one), OK);
    assert_int_equal(bootstrap_share(rows, 80, &two), OK);
    assert_int_equal(one.n, 80);
    assert_true(fabs(one.share - 0.75) < 1e-12);
    assert_true(one.lo <= 0.75 && one.hi >= 0.75 && one.lo > 0.6 && one.hi < 0.9);
    assert_memory_equal(&one, &two, sizeof one);
}

static void test_a_share_is_the_ratio_of_the_sums(void **state)
{
    (void)state;
    /* 2 of 3 picks right, then 0 of 1: a precision of 2 / 4, not the mean of 2 / 3 and 0. */
    const struct bootstrap_row rows[] = {{0, 2.0, 3.0}, {1, 0.0, 1.0}};
    struct bootstrap_share s;
    assert_int_equal(bootstrap_share(rows, 2, &s), OK);
    assert_true(fabs(s.share - 0.5) < 1e-12);
    assert_true(s.lo == 0.0 && fabs(s.hi - 2.0 / 3.0) < 1e-12);
}

static void test_no_rows_and_no_weight_give_zero(void **state)
{
    (void)state;
    const struct bootstrap_row none = {0, 0.0, 0.0};
    struct bootstrap_share s;
    assert_int_equal(bootstrap_share(&none, 0, &s), OK);
    assert_true(s.n == 0 && s.share == 0.0 && s.lo == 0.0 && s.hi == 0.0);
    assert_int_equal(bootstrap_share(&none, 1, &s), OK);
    assert_true(s.n == 1 && s.share == 0.0);
}

static void test_paired_difference_of_equal_answers_is_zero_without_width(void **state)
{
    (void)state;
    struct bootstrap_row rows[10];
    for (uint32_t i = 0; i < 10; i++) {
        rows[i] =
            (struct bootstrap_row){.cluster = i, .gain = i % 3 == 0 ? 1.0 : 0.0, .weight = 1.0};
    }
    struct bootstrap_share d;
    assert_int_equal(bootstrap_paired(rows, rows, 10, &d), OK);
    assert_true(d.share == 0.0 && d.lo == 0.0 && d.hi == 0.0);
}

static void test_paired_difference_draws_the_same_scenarios_for_both(void **state)
{
    (void)state;
    struct bootstrap_row before[40];
    struct bootstrap_row after[40];
    for (uint32_t i = 0; i < 40; i++) { /* one quarter of the questions goes from wrong to right */
        before[i] = (struct bootstrap_row){i, i % 2 == 0 ? 1.0 : 0.0, 1.0};
        after[i] = (struct bootstrap_row){i, i % 4 == 3 ? 1.0 : before[i].gain, 1.0};
    }
    struct bootstrap_share d;
    assert_int_equal(bootstrap_paired(before, after, 40, &d), OK);
    assert_true(fabs(d.share - 0.25) < 1e-12);
    assert_true(d.lo >= 0.0 && d.lo > 0.05 && d.hi < 0.45); /* no question got worse */
}

static void test_out_of_memory_is_said(void **state)
{
    (void)state;
    const struct bootstrap_row row = {0, 1.0, 1.0};
    struct bootstrap_share s;
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(bootstrap_share(&row, 1, &s), ERR_NOMEM);
    }
    mem_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interval_holds_the_share_and_is_the_same_every_time),
        cmocka_unit_test(test_a_share_is_the_ratio_of_the_sums),
        cmocka_unit_test(test_no_rows_and_no_weight_give_zero),
        cmocka_unit_test(test_paired_difference_of_equal_answers_is_zero_without_width),
        cmocka_unit_test(test_paired_difference_draws_the_same_scenarios_for_both),
        cmocka_unit_test(test_out_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
