/* test_exact_math.c - exp, log, sine and cosine against the C library's long double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "worker/model/exact_math.h"
#include "worker/model/rope.h"

enum { DRAWS = 100000, SEED = 99 };

static void test_exp_and_log_are_right_to_a_few_units(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = ((double)rng_unit(SEED, i) - 0.5) * (i % 2 ? 1400.0 : 2.0);
        double e = exact_exp(x);
        long double expected = expl((long double)x);
        assert_true(fabsl(((long double)e - expected) / expected) <= 1e-15L);
        double l = exact_log(e);
        long double back = logl((long double)e);
        assert_true(fabsl((long double)l - back) <= 1e-15L * fmaxl(fabsl(back), 0.1L));
    }
    assert_true(exact_exp(0) == 1.0 && exact_log(1.0) == 0.0);
    assert_true(exact_exp(-1000) == 0.0 && isinf(exact_exp(1000)) && isnan(exact_exp(NAN)));
    assert_true(isnan(exact_log(0)) && isnan(exact_log(-1)) && isnan(exact_log(NAN)));
}

static void test_sine_and_cosine_hold_for_every_position(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = (double)rng_unit(SEED + 1, i) * (i % 2 ? 0x1p20 : 7.0);
        double s;
        double c;
        exact_sine_cosine(x, &s, &c);
        assert_true(fabsl((long double)s - sinl((long double)x)) <= 1e-15L);
        assert_true(fabsl((long double)c - cosl((long double)x)) <= 1e-15L);
    }
}

static void test_the_table_of_angles_turns_by_position(void **state)
{
    (void)state;
    const struct model_shape shape = {.head_dim = 64, .rope_theta = 1e5f};
    enum { POSITIONS = 600 };
    static float table[POSITIONS * 64];
    rope_table(&shape, POSITIONS, table);
    for (int position = 0; position < POSITIONS; position++) {
        for (int i = 0; i < 32; i++) {
            double angle = position * pow(1e5, -2.0 * i / 64);
            assert_true(fabs((double)table[position * 64 + i] - cos(angle)) <= 1e-4);
            assert_true(fabs((double)table[position * 64 + 32 + i] - sin(angle)) <= 1e-4);
        }
    }
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_and_log_are_right_to_a_few_units),
        cmocka_unit_test(test_sine_and_cosine_hold_for_every_position),
        cmocka_unit_test(test_the_table_of_angles_turns_by_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
