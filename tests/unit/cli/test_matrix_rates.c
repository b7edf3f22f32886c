/* test_matrix_rates.c - a cell's seconds from what it computes and the rates of a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/matrix_rates.h"

static const struct matrix_rates rates = {.train_flops_s = 10.0,
                                          .score_flops_s = 20.0,
                                          .decode_tokens_s = 4.0,
                                          .run_s = 3.0,
                                          .eval_s = 1.0};

static void close_to(double found, double wanted)
{
    assert_true(found > wanted - 1e-9 && found < wanted + 1e-9);
}

static void test_every_kind_of_work_takes_its_own_time(void **state)
{
    (void)state;
    const struct matrix_amount training = {
        .trained = 100.0, .scored = 40.0, .runs = 1, .known = true};
    const struct matrix_amount scoring = {.scored = 40.0, .starts = 1, .known = true};
    const struct matrix_amount answers = {
        .scored = 40.0, .decoded = 8.0, .starts = 2, .known = true};
    close_to(matrix_rates_seconds(&rates, &training), 3.0 + 10.0 + 2.0);
    close_to(matrix_rates_seconds(&rates, &scoring), 1.0 + 2.0);
    close_to(matrix_rates_seconds(&rates, &answers), 2.0 + 2.0 + 2.0);
}

static void test_what_is_not_counted_or_not_measured_has_no_estimate(void **state)
{
    (void)state;
    struct matrix_rates few = rates;
    struct matrix_amount a = {.scored = 40.0, .decoded = 8.0, .starts = 1};
    close_to(matrix_rates_seconds(&rates, &a), 0.0);
    a.known = true;
    few.decode_tokens_s = 0.0;
    close_to(matrix_rates_seconds(&few, &a), 0.0);
    a.decoded = 0.0; /* a rate that nothing needs may be missing */
    close_to(matrix_rates_seconds(&few, &a), 1.0 + 2.0);
}

static void test_nothing_read_is_no_operation(void **state)
{
    (void)state;
    const struct matrix_work work = {.shape = {.layers = 1,
                                               .hidden = 8,
                                               .ff = 8,
                                               .heads = 1,
                                               .kv_heads = 1,
                                               .head_dim = 8,
                                               .vocab = 16}};
    const struct tree_work none = {0};
    const struct tree_work some = {.rows = 10.0, .context = 50.0, .label_rows = 5.0};
    const struct tree_work twice = {.rows = 20.0, .context = 100.0, .label_rows = 10.0};
    close_to(matrix_rates_flops(&work, &none), 0.0);
    assert_true(matrix_rates_flops(&work, &some) > 0.0);
    close_to(matrix_rates_flops(&work, &twice), 2.0 * matrix_rates_flops(&work, &some));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_work_takes_its_own_time),
        cmocka_unit_test(test_what_is_not_counted_or_not_measured_has_no_estimate),
        cmocka_unit_test(test_nothing_read_is_no_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
