/* test_screen_band.c - the band is of the middle of the norms, in whatever order they came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "coordinator/screen.h"

static void test_one_outlier_anywhere_does_not_move_the_band(void **state)
{
    (void)state;
    for (uint32_t place = 0; place < SCREEN_MIN; place++) {
        struct screen *s = NULL;
        assert_int_equal(screen_new(&s), OK);
        for (uint32_t i = 0; i < SCREEN_MIN; i++) {
            const struct result_row row = {.sumsq = i == place ? 81.0 : 1.0};
            screen_note(s, &row, 1);
        }
        screen_seal(s, 1);
        screen_committed(s, 2); /* of another step */
        assert_true(screen_band(s) > 1e30);
        screen_committed(s, 1);
        assert_true(screen_band(s) >= 1.0 && screen_band(s) < 5.0);
        screen_free(&s);
        assert_null(s);
    }
}

static void seal(struct screen *s, uint32_t tag, const double *norms, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct result_row row = {.sumsq = norms[i] * norms[i]};
        screen_note(s, &row, 1);
    }
    screen_seal(s, tag);
}

static void fill(double *norms, uint32_t n, double value)
{
    for (uint32_t i = 0; i < n; i++) {
        norms[i] = value;
    }
}

/* 20 times the median of how far they lie from their median, in whatever order they came. */
static void test_the_band_follows_how_far_norms_lie_apart(void **state)
{
    (void)state;
    for (uint32_t turn = 0; turn < SCREEN_MIN; turn++) {
        struct screen *s = NULL;
        double norms[SCREEN_MIN];
        assert_int_equal(screen_new(&s), OK);
        for (uint32_t i = 0; i < SCREEN_MIN; i++) {
            norms[(i * 37 + turn) % SCREEN_MIN] = 8.0 + 2.0 * (i % 3); /* 22, 21 and 21 */
        }
        seal(s, 1, norms, SCREEN_MIN);
        screen_committed(s, 1);
        assert_true(screen_band(s) == 10.0 + 20 * 2.0);
        screen_free(&s);
    }
}

static void test_norms_that_are_all_the_same_have_a_band_all_the_same(void **state)
{
    (void)state;
    struct screen *s = NULL;
    double norms[SCREEN_MIN];
    assert_int_equal(screen_new(&s), OK);
    fill(norms, SCREEN_MIN, 3.0);
    seal(s, 1, norms, SCREEN_MIN - 1);
    screen_committed(s, 1);
    assert_true(isinf(screen_band(s))); /* one too few */
    seal(s, 2, norms, 1);
    screen_committed(s, 2);
    assert_true(fabs(screen_band(s) - 6.0) < 1e-12); /* median + 20 * median / 20 */
    screen_free(&s);
}

static void test_a_step_counts_once_and_only_the_last_four_are_waited_for(void **state)
{
    (void)state;
    struct screen *s = NULL;
    double norms[SCREEN_MIN];
    assert_int_equal(screen_new(&s), OK);
    fill(norms, SCREEN_MIN, 1.0);
    seal(s, 1, norms, SCREEN_MIN / 2);
    for (int i = 0; i < 3; i++) {
        screen_committed(s, 1);
    }
    assert_true(isinf(screen_band(s)));
    seal(s, 2, norms, SCREEN_MIN / 2);
    for (uint32_t tag = 3; tag < 3 + SCREEN_BATCHES; tag++) {
        seal(s, tag, norms, 1);
    }
    screen_committed(s, 2); /* sealed too long ago */
    assert_true(isinf(screen_band(s)));
    screen_committed(s, 3);
    seal(s, 9, norms, SCREEN_MIN / 2 - 1);
    screen_committed(s, 9);
    assert_true(!isinf(screen_band(s)));
    screen_free(&s);
}

static void test_norms_that_were_dropped_are_of_no_step(void **state)
{
    (void)state;
    struct screen *s = NULL;
    double norms[SCREEN_MIN];
    const struct result_row huge = {.sumsq = 1e12};
    assert_int_equal(screen_new(&s), OK);
    fill(norms, SCREEN_MIN, 1.0);
    for (uint32_t i = 0; i < SCREEN_MIN; i++) {
        screen_note(s, &huge, 1);
    }
    screen_drop(s);
    seal(s, 1, norms, SCREEN_MIN);
    screen_committed(s, 1);
    assert_true(screen_band(s) == 2.0);
    screen_free(&s);
}

static void test_the_band_is_of_the_last_512_norms(void **state)
{
    (void)state;
    struct screen *s = NULL;
    double norms[SCREEN_WINDOW];
    assert_int_equal(screen_new(&s), OK);
    fill(norms, SCREEN_WINDOW, 1.0);
    seal(s, 1, norms, SCREEN_WINDOW);
    screen_committed(s, 1);
    assert_true(screen_band(s) == 2.0);
    fill(norms, SCREEN_WINDOW, 100.0);
    seal(s, 2, norms, SCREEN_WINDOW - 1);
    screen_committed(s, 2);
    assert_true(screen_band(s) == 200.0);
    fill(norms, SCREEN_WINDOW, 1.0);
    seal(s, 3, norms, SCREEN_WINDOW / 2);
    screen_committed(s, 3);
    assert_true(screen_band(s) == 100.0 + 20 * 99.0); /* half of them, the upper middle */
    screen_free(&s);
}

static void test_no_more_norms_are_kept_than_a_step_has_units(void **state)
{
    (void)state;
    struct screen *s = NULL;
    static struct result_row rows[LIMIT_STEP_UNITS + 8];
    assert_int_equal(screen_new(&s), OK);
    for (uint32_t i = 0; i < LIMIT_STEP_UNITS + 8; i++) {
        rows[i].sumsq = i < LIMIT_STEP_UNITS ? 1.0 : 1e12;
    }
    screen_note(s, rows, LIMIT_STEP_UNITS + 8);
    screen_note(s, rows + LIMIT_STEP_UNITS, 8);
    screen_seal(s, 1);
    screen_committed(s, 1);
    assert_true(screen_band(s) == 2.0);
    screen_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_outlier_anywhere_does_not_move_the_band),
        cmocka_unit_test(test_the_band_follows_how_far_norms_lie_apart),
        cmocka_unit_test(test_norms_that_are_all_the_same_have_a_band_all_the_same),
        cmocka_unit_test(test_a_step_counts_once_and_only_the_last_four_are_waited_for),
        cmocka_unit_test(test_norms_that_were_dropped_are_of_no_step),
        cmocka_unit_test(test_the_band_is_of_the_last_512_norms),
        cmocka_unit_test(test_no_more_norms_are_kept_than_a_step_has_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
