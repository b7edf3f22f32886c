/* test_status_board.c - rates over the window, restarts, what is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "coordinator/status_board.h"

static void test_rates_are_means_of_the_last_thirty_seconds(void **state)
{
    (void)state;
    struct board b = {0};
    double tokens;
    double pairs;
    board_rates(&b, &tokens, &pairs);
    assert_true(tokens == 0.0 && pairs == 0.0);
    board_batch(&b, 1000000, 1000);
    for (uint64_t ms = 0; ms <= 60000; ms += 500) {
        board_tick(&b, ms);
        board_count(&b, ms < 30000 ? 50 : 100); /* 100 a second, then 200 */
    }
    board_rates(&b, &tokens, &pairs);
    assert_true(fabs(tokens - 200.0) < 4.0);
    assert_true(fabs(pairs - 0.2) < 0.004);
}

static void test_a_restart_gives_the_batch_back_but_not_the_work_done(void **state)
{
    (void)state;
    struct board b = {0};
    board_batch(&b, 100, 10);
    board_count(&b, 60);
    assert_true(board_left(&b) == 40.0);
    board_restart(&b);
    assert_true(board_left(&b) == 100.0);
    assert_true(b.tokens == 60.0);
    board_count(&b, 120);
    assert_true(board_left(&b) == 0.0);
}

static void test_time_to_go_counts_the_evaluation_that_follows(void **state)
{
    (void)state;
    struct board b = {0};
    assert_true(isnan(board_eta(&b, 100.0, 100.0, 0.01)));
    board_batch(&b, 1000, 10);
    board_tick(&b, 0);
    board_count(&b, 200);
    board_tick(&b, 2000); /* 100 a second */
    assert_true(fabs(board_eta(&b, 0.0, 0.0, 0.0) - 8.0) < 1e-9);
    assert_true(fabs(board_eta(&b, 3000.0, 0.0, 0.0) - 38.0) < 1e-9);
    assert_true(fabs(board_eta(&b, 3000.0, 500.0, 0.01) - 43.0) < 1e-9); /* measured */
    assert_true(fabs(board_eta(&b, 3000.0, 500.0, 0.0) - 40.5) < 1e-9);  /* half of 10 ms */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_are_means_of_the_last_thirty_seconds),
        cmocka_unit_test(test_a_restart_gives_the_batch_back_but_not_the_work_done),
        cmocka_unit_test(test_time_to_go_counts_the_evaluation_that_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
