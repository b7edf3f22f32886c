/* test_progress.c - the progress line fits and keeps what matters most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/progress.h"
#include "common/wire/status_message.h"

static struct status training(uint64_t step, double tokens_per_s)
{
    struct status s = {.step_committed = step,
                       .step_total = 1000000,
                       .loss = 12.34567,
                       .kl = 0.12345,
                       .pairs_per_s = 12345.67,
                       .tokens_per_s = tokens_per_s,
                       .utilisation = 1.0,
                       .n_workers = 250,
                       .eta_s = 359999.0};
    (void)snprintf(s.task, sizeof s.task, "train");
    (void)snprintf(s.state, sizeof s.state, "running");
    return s;
}

static void test_a_line_fits_whatever_the_width_and_keeps_the_step_longest(void **state)
{
    (void)state;
    char line[PROGRESS_BYTES];
    const struct status s = training(654321, 9876543.0);
    for (size_t most = 20; most < 200; most++) {
        progress_line(line, &s, most);
        assert_true(strlen(line) <= most);
        assert_non_null(strstr(line, "train"));
        if (most >= 60) {
            assert_non_null(strstr(line, "step 654321/1000000  loss 12.3457"));
            assert_non_null(strstr(line, "ETA 99:59:59"));
        }
    }
    progress_line(line, &s, PROGRESS_BYTES - 1);
    assert_non_null(strstr(line, "12345.67 pairs/s  9876543 tokens/s  250 workers 100% busy  ETA"));
    assert_non_null(strstr(line, "KL 0.1235"));
}

static void test_an_ordinary_line_has_its_rates_on_eighty_columns(void **state)
{
    (void)state;
    char line[PROGRESS_BYTES];
    struct status s = training(12, 318.0);
    s.step_total = 36;
    s.kl = (double)NAN;
    s.loss = 6.4982;
    s.pairs_per_s = 5.33;
    s.n_workers = 2;
    s.eta_s = 145.0;
    progress_line(line, &s, 80);
    assert_string_equal(line,
                        "train [###.......] step 12/36  loss 6.4982  318 tokens/s  2 workers  "
                        "ETA 02:25");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_fits_whatever_the_width_and_keeps_the_step_longest),
        cmocka_unit_test(test_an_ordinary_line_has_its_rates_on_eighty_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
