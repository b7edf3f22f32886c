/* test_screen_band.c - the band is of the middle of the norms, in whatever order they came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_outlier_anywhere_does_not_move_the_band)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
