/* test_select_all.c - what a set of picked options is worth, and the threshold that serves best. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "common/base/mem.h"
#include "coordinator/select_all.h"

static const bool right[4] = {true, true, false, false};

static struct select_all_counts count(const double score[4])
{
    const struct select_all_question q = {.n = 4, .score = score, .right = right};
    return select_all_count(&q, 0.0);
}

static void test_exact_is_one_any_wrong_one_zero_else_recall(void **state)
{
    (void)state;
    const struct select_all_counts exact = count((const double[]){1.0, 0.1, -1.0, -0.1});
    assert_true(exact.score == 1.0 && exact.picked == 2 && exact.hits == 2 && exact.right == 2);
    const struct select_all_counts half = count((const double[]){1.0, -0.1, -1.0, -0.1});
    assert_true(half.score == 0.5 && half.picked == 1 && half.hits == 1);
    const struct select_all_counts wrong = count((const double[]){1.0, 1.0, 1.0, -1.0});
    assert_true(wrong.score == 0.0 && wrong.picked == 3 && wrong.hits == 2);
    const struct select_all_counts none = count((const double[]){-1.0, 0.0, -1.0, -1.0});
    assert_true(none.score == 0.0 && none.picked == 0); /* 0 is not above 0 */
}

static void test_the_fitted_threshold_lies_between_the_right_and_the_wrong(void **state)
{
    (void)state;
    const double first[] = {-1.0, -2.0, -5.0, -6.0};
    const double second[] = {-1.5, -3.0, -4.0, -9.0};
    const struct select_all_question q[] = {{4, first, right}, {4, second, right}};
    double threshold = 0.0;
    assert_int_equal(select_all_fit(q, 2, &threshold), OK);
    assert_true(fabs(threshold + 3.5) < 1e-12); /* between -3 and -4 */
}

static void test_a_threshold_may_take_everything_and_equal_scores_are_one(void **state)
{
    (void)state;
    const bool all[] = {true, true};
    const double same[] = {-2.0, -2.0};
    const struct select_all_question q = {2, same, all};
    double threshold = 0.0;
    assert_int_equal(select_all_fit(&q, 1, &threshold), OK);
    assert_true(threshold == -3.0);
    assert_true(select_all_count(&q, threshold).score == 1.0);
    mem_fail_after(1);
    assert_int_equal(select_all_fit(&q, 1, &threshold), ERR_NOMEM);
    mem_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_is_one_any_wrong_one_zero_else_recall),
        cmocka_unit_test(test_the_fitted_threshold_lies_between_the_right_and_the_wrong),
        cmocka_unit_test(test_a_threshold_may_take_everything_and_equal_scores_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
