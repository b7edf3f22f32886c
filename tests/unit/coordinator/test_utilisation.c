/* test_utilisation.c - shares over a sliding window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>

#include "coordinator/utilisation.h"

#define MS 1000000ull

static double share(const struct utilisation *u, uint32_t slots)
{
    double computed = 0.0;
    double wall = 0.0;
    utilisation_add(u, slots, &computed, &wall);
    return utilisation_share(computed, wall);
}

static bool near(double a, double b)
{
    return fabs(a - b) < 0.02;
}

static void test_the_share_is_that_of_the_last_thirty_seconds(void **state)
{
    (void)state;
    struct utilisation u = {0};
    uint64_t computed = 0;
    assert_true(isnan(share(&u, 2)));
    utilisation_note(&u, 0, 0);
    assert_true(isnan(share(&u, 2)));
    for (uint64_t ms = 500; ms <= 60000; ms += 500) { /* both of two slots compute */
        utilisation_note(&u, computed += 1000, ms * MS);
        assert_true(near(share(&u, 2), 1.0) && near(share(&u, 4), 0.5));
    }
    for (uint64_t ms = 60500; ms <= 75000; ms += 500) { /* then neither */
        utilisation_note(&u, computed, ms * MS);
    }
    assert_true(near(share(&u, 2), 0.5));
    for (uint64_t ms = 75500; ms <= 92000; ms += 500) {
        utilisation_note(&u, computed, ms * MS);
    }
    assert_true(near(share(&u, 2), 0.0));
}

static void test_a_worker_that_begins_again_begins_a_new_window(void **state)
{
    (void)state;
    struct utilisation u = {0};
    for (uint64_t s = 0; s <= 20; s++) {
        utilisation_note(&u, 1000 * s, 1000 * s * MS);
    }
    utilisation_note(&u, 100, 21000 * MS);
    assert_true(isnan(share(&u, 1)));
    utilisation_note(&u, 600, 22000 * MS);
    assert_true(near(share(&u, 1), 0.5));
}

static void test_shares_of_workers_add_up_by_slots_and_never_exceed_one(void **state)
{
    (void)state;
    struct utilisation busy = {0};
    struct utilisation idle = {0};
    double computed = 0.0;
    double wall = 0.0;
    utilisation_note(&busy, 0, 0);
    utilisation_note(&idle, 0, 0);
    utilisation_note(&busy, 30100, 10000 * MS); /* three slots, and a rounding too much */
    utilisation_note(&idle, 0, 10000 * MS);
    assert_true(share(&busy, 3) <= 1.0);
    utilisation_add(&busy, 3, &computed, &wall);
    utilisation_add(&idle, 1, &computed, &wall);
    assert_true(near(utilisation_share(computed, wall), 0.75));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_share_is_that_of_the_last_thirty_seconds),
        cmocka_unit_test(test_a_worker_that_begins_again_begins_a_new_window),
        cmocka_unit_test(test_shares_of_workers_add_up_by_slots_and_never_exceed_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
