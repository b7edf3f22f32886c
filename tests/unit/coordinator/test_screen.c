/* test_screen.c - bands come from committed steps alone; second opinions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "coordinator/screen.h"

static const uint8_t bits[4][HASH_XXH128_BYTES] = {{1}, {2}, {3}, {4}};

static enum screen_verdict judge(struct screen *s, uint64_t worker, int digest, double norm,
                                 uint64_t others[2])
{
    const struct result_row row = {.unit = 1, .sumsq = norm * norm};
    uint32_t opinions;
    return screen_judge(s, 77, worker, bits[digest], &row, 1, others, &opinions);
}

static struct screen *taught(void)
{
    struct screen *s = NULL;
    assert_int_equal(screen_new(&s), OK);
    for (uint32_t step = 0; step < 10; step++) {
        for (int i = 0; i < 10; i++) {
            const struct result_row row = {.sumsq = 1.0 + 0.01 * i};
            screen_note(s, &row, 1);
        }
        screen_seal(s, step);
        assert_true(isinf(screen_band(s)) || step >= 7);
        screen_committed(s, step);
    }
    return s;
}

static void test_no_band_before_enough_norms_are_committed(void **state)
{
    (void)state;
    struct screen *s = NULL;
    uint64_t others[2];
    assert_int_equal(screen_new(&s), OK);
    for (int i = 0; i < 500; i++) {
        const struct result_row row = {.sumsq = 1.0};
        screen_note(s, &row, 1);
    }
    screen_seal(s, 1);
    assert_true(isinf(screen_band(s)));
    assert_int_equal(judge(s, 1, 0, 1e9, others), SCREEN_ACCEPT);
    screen_committed(s, 1);
    assert_true(screen_band(s) > 1.0 && screen_band(s) < 3.0);
    screen_free(&s);
}

static void test_values_that_are_not_finite_are_never_accepted(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    assert_int_equal(judge(s, 1, 0, (double)NAN, others), SCREEN_NOT_FINITE);
    assert_int_equal(judge(s, 1, 0, (double)INFINITY, others), SCREEN_NOT_FINITE);
    const struct result_row row = {.sumsq = -1.0};
    uint32_t opinions;
    assert_int_equal(screen_judge(s, 77, 1, bits[0], &row, 1, others, &opinions),
                     SCREEN_NOT_FINITE);
    screen_free(&s);
}

static void test_large_gradient_that_two_workers_agree_on_is_accepted(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    assert_int_equal(judge(s, 1, 0, 1.1, others), SCREEN_ACCEPT);
    assert_false(screen_has_case(s, 77));
    assert_int_equal(judge(s, 1, 0, 50.0, others), SCREEN_AGAIN);
    assert_true(screen_has_case(s, 77));
    assert_int_equal(judge(s, 2, 0, 50.0, others), SCREEN_ACCEPT);
    screen_close(s, 77);
    assert_int_equal(judge(s, 1, 0, 50.0, others), SCREEN_AGAIN);
    screen_free(&s);
}

static void test_third_opinion_decides_between_two(void **state)
{
    (void)state;
    uint64_t others[2];
    for (int third = 0; third <= 2; third++) {
        struct screen *s = taught();
        assert_int_equal(judge(s, 1, 0, 50.0, others), SCREEN_AGAIN);
        assert_int_equal(judge(s, 2, 1, 1.0, others), SCREEN_CONFLICT);
        assert_int_equal(others[0], 1);
        enum screen_verdict verdict = judge(s, 3, third, 1.0, others);
        assert_int_equal(verdict, third < 2 ? SCREEN_DECIDED : SCREEN_NO_MAJORITY);
        if (third < 2) {
            assert_int_equal(others[0], third == 0 ? 2 : 1);
        } else {
            assert_true(others[0] == 1 && others[1] == 2);
        }
        screen_free(&s);
    }
}

static void test_dispute_starts_with_two_opinions(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    screen_dispute(s, 77, 5, bits[0], 6, bits[1]);
    assert_int_equal(judge(s, 7, 1, 1.0, others), SCREEN_DECIDED);
    assert_int_equal(others[0], 5);
    screen_close_all(s);
    assert_false(screen_has_case(s, 77));
    screen_free(&s);
}

static void test_worker_does_not_outvote_another_by_saying_the_same_twice(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    assert_true(screen_keep(s, 77, 1, bits[0]));
    assert_true(screen_heard(s, 77, 1) && !screen_heard(s, 77, 2));
    assert_int_equal(judge(s, 2, 1, 1.0, others), SCREEN_CONFLICT);
    assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_REPEATED);
    assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_REPEATED);
    assert_int_equal(judge(s, 2, 1, 1.0, others), SCREEN_NO_MAJORITY);
    screen_close_all(s);
    assert_true(screen_keep(s, 77, 1, bits[0]));
    assert_int_equal(judge(s, 2, 1, 1.0, others), SCREEN_CONFLICT);
    for (int i = 1; i < SCREEN_REPEATS; i++) {
        assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_REPEATED);
    }
    assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_NO_MAJORITY); /* the other never answers */
    screen_free(&s);
}

static void test_worker_that_contradicts_itself_loses_its_opinion(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    assert_true(screen_keep(s, 77, 1, bits[0]));
    assert_int_equal(judge(s, 2, 1, 1.0, others), SCREEN_CONFLICT);
    assert_int_equal(judge(s, 1, 1, 1.0, others), SCREEN_PERJURED);
    assert_int_equal(others[0], 2);
    assert_int_equal(screen_opinions(s, 77), 1);
    assert_int_equal(judge(s, 3, 1, 1.0, others), SCREEN_ACCEPT);
    screen_close(s, 77);
    assert_true(screen_keep(s, 77, 1, bits[0]));
    assert_int_equal(judge(s, 1, 1, 1.0, others), SCREEN_PERJURED);
    assert_int_equal(others[0], 0);
    screen_free(&s);
}

static void test_opinion_stays_with_a_worker_that_comes_back(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    assert_true(screen_keep(s, 77, 1, bits[0]));
    assert_int_equal(judge(s, 2, 1, 1.0, others), SCREEN_CONFLICT);
    screen_rename(s, 1, 9);
    assert_int_equal(judge(s, 9, 0, 1.0, others), SCREEN_REPEATED);
    screen_free(&s);
}

static void test_a_whole_step_can_wait_for_second_opinions(void **state)
{
    (void)state;
    struct screen *s = taught();
    for (uint64_t job = 1; job <= LIMIT_STEP_UNITS; job++) {
        assert_true(screen_keep(s, job, 1, bits[0]));
    }
    assert_false(screen_keep(s, LIMIT_STEP_UNITS + 1, 1, bits[0]));
    screen_close(s, 5);
    assert_true(screen_keep(s, LIMIT_STEP_UNITS + 1, 1, bits[0]));
    screen_free(&s);
}

static void test_what_is_exactly_at_the_band_is_within(void **state)
{
    (void)state;
    struct screen *s = NULL;
    uint64_t others[2];
    assert_int_equal(screen_new(&s), OK);
    for (int i = 0; i < SCREEN_MIN; i++) {
        const struct result_row row = {.sumsq = 1.0};
        screen_note(s, &row, 1);
    }
    screen_seal(s, 1);
    screen_committed(s, 1);
    assert_true(screen_band(s) == 2.0);
    assert_int_equal(judge(s, 1, 0, 2.0, others), SCREEN_ACCEPT);
    assert_int_equal(judge(s, 1, 0, nextafter(2.0, 3.0) + 1e-12, others), SCREEN_AGAIN);
    screen_free(&s);
}

static void test_every_row_of_a_result_is_looked_at(void **state)
{
    (void)state;
    struct screen *s = taught();
    for (uint32_t odd = 0; odd < 4; odd++) {
        struct result_row rows[4] = {
            {.sumsq = 1.0}, {.sumsq = 1.0}, {.sumsq = 1.0}, {.sumsq = 1.0}};
        uint64_t others[2] = {5, 6};
        uint32_t opinions = 7;
        rows[odd].sumsq = 2500.0;
        assert_int_equal(screen_judge(s, 10 + odd, 1, bits[0], rows, 4, others, &opinions),
                         SCREEN_AGAIN);
        assert_true(others[0] == 0 && others[1] == 0 && opinions == 0);
        rows[odd].sumsq = (double)NAN;
        assert_int_equal(screen_judge(s, 20 + odd, 1, bits[0], rows, 4, others, &opinions),
                         SCREEN_NOT_FINITE);
        rows[odd].sumsq = 1.0;
        assert_int_equal(screen_judge(s, 10 + odd, 2, bits[0], rows, 4, others, &opinions),
                         SCREEN_ACCEPT);
        assert_true(others[0] == 1 && opinions == 1);
    }
    const struct result_row none = {.sumsq = 0.0}; /* a gradient may vanish */
    uint64_t others[2];
    uint32_t opinions;
    assert_int_equal(screen_judge(s, 30, 1, bits[0], &none, 1, others, &opinions), SCREEN_ACCEPT);
    screen_free(&s);
}

static void test_a_worker_that_lost_is_forgotten_case_by_case(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t left;
    uint32_t found = 0;
    assert_true(screen_keep(s, 10, 1, bits[0]));
    assert_true(screen_keep(s, 11, 2, bits[0]));
    screen_dispute(s, 12, 1, bits[0], 3, bits[1]);
    screen_dispute(s, 13, 4, bits[0], 1, bits[1]);
    assert_true(screen_keep(s, 14, 1, bits[0]));
    screen_close(s, 14); /* it is settled */
    for (uint64_t job; (job = screen_forget(s, 1, &left)) != 0; found++) {
        assert_true(found < 3);
        assert_int_equal(job, found == 0 ? 10 : found == 1 ? 12 : 13);
        assert_int_equal(left, found == 0 ? 0 : found == 1 ? 3 : 4);
    }
    assert_int_equal(found, 3);
    assert_int_equal(screen_opinions(s, 10), 0);
    assert_int_equal(screen_opinions(s, 11), 1);
    assert_int_equal(screen_opinions(s, 12), 1);
    assert_true(screen_heard(s, 12, 3) && screen_heard(s, 13, 4) && screen_heard(s, 11, 2));
    assert_false(screen_heard(s, 12, 1) || screen_heard(s, 13, 1) || screen_heard(s, 10, 1));
    assert_int_equal(screen_opinions(s, 0), 0);
    assert_int_equal(screen_opinions(s, 99), 0);
    assert_false(screen_has_case(s, 0) || screen_heard(s, 0, 1) || screen_has_case(s, 14));
    screen_free(&s);
}

static void test_a_new_session_takes_over_every_opinion_of_the_one_before(void **state)
{
    (void)state;
    struct screen *s = taught();
    assert_true(screen_keep(s, 10, 1, bits[0]));
    screen_dispute(s, 11, 2, bits[0], 1, bits[1]);
    screen_rename(s, 0, 9); /* there was none before */
    assert_false(screen_heard(s, 10, 9) || screen_heard(s, 11, 9));
    screen_rename(s, 1, 9);
    assert_true(screen_heard(s, 10, 9) && screen_heard(s, 11, 9) && screen_heard(s, 11, 2));
    assert_false(screen_heard(s, 10, 1) || screen_heard(s, 11, 1));
    screen_free(&s);
}

static void test_repeats_count_anew_once_an_opinion_is_gone(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    uint64_t left;
    screen_dispute(s, 77, 1, bits[0], 2, bits[1]);
    assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_REPEATED);
    assert_int_equal(screen_forget(s, 2, &left), 77);
    assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_ACCEPT); /* nobody else is left to ask */
    assert_int_equal(judge(s, 3, 2, 1.0, others), SCREEN_CONFLICT);
    assert_int_equal(judge(s, 3, 2, 1.0, others), SCREEN_REPEATED); /* what 1 said again is over */
    assert_int_equal(judge(s, 1, 0, 1.0, others), SCREEN_NO_MAJORITY);
    screen_free(&s);
}

static void test_a_worker_that_never_says_the_same_ends_it(void **state)
{
    (void)state;
    struct screen *s = taught();
    uint64_t others[2];
    assert_true(screen_keep(s, 77, 9, bits[0]));
    for (int i = 1; i < SCREEN_REPEATS; i++) {
        assert_int_equal(judge(s, 9, i % 2, 1.0, others), SCREEN_PERJURED);
        assert_int_equal(others[0], 0);
        assert_int_equal(judge(s, 9, i % 2, 1.0, others), SCREEN_AGAIN);
    }
    assert_int_equal(judge(s, 9, SCREEN_REPEATS % 2, 1.0, others), SCREEN_NO_MAJORITY);
    screen_free(&s);
}

static void test_places_of_closed_cases_are_used_again(void **state)
{
    (void)state;
    struct screen *s = taught();
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t job = 1; job <= SCREEN_CASES; job++) {
            assert_true(screen_keep(s, round << 32 | job, 1, bits[0]));
        }
        uint64_t others[2];
        uint32_t opinions;
        const struct result_row row = {.sumsq = 2500.0};
        assert_int_equal(screen_judge(s, 9ull << 32, 1, bits[0], &row, 1, others, &opinions),
                         SCREEN_ACCEPT); /* every case is taken */
        screen_dispute(s, 9ull << 32, 1, bits[0], 2, bits[1]);
        assert_false(screen_has_case(s, 9ull << 32));
        for (uint64_t job = 1; job <= SCREEN_CASES; job++) {
            screen_close(s, round << 32 | job);
        }
        screen_close(s, 0);
        screen_close(s, 5);
    }
    screen_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_band_before_enough_norms_are_committed),
        cmocka_unit_test(test_values_that_are_not_finite_are_never_accepted),
        cmocka_unit_test(test_large_gradient_that_two_workers_agree_on_is_accepted),
        cmocka_unit_test(test_third_opinion_decides_between_two),
        cmocka_unit_test(test_dispute_starts_with_two_opinions),
        cmocka_unit_test(test_worker_does_not_outvote_another_by_saying_the_same_twice),
        cmocka_unit_test(test_worker_that_contradicts_itself_loses_its_opinion),
        cmocka_unit_test(test_opinion_stays_with_a_worker_that_comes_back),
        cmocka_unit_test(test_a_whole_step_can_wait_for_second_opinions),
        cmocka_unit_test(test_what_is_exactly_at_the_band_is_within),
        cmocka_unit_test(test_every_row_of_a_result_is_looked_at),
        cmocka_unit_test(test_a_worker_that_lost_is_forgotten_case_by_case),
        cmocka_unit_test(test_a_new_session_takes_over_every_opinion_of_the_one_before),
        cmocka_unit_test(test_repeats_count_anew_once_an_opinion_is_gone),
        cmocka_unit_test(test_a_worker_that_never_says_the_same_ends_it),
        cmocka_unit_test(test_places_of_closed_cases_are_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
