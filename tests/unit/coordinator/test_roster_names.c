/* test_roster_names.c - what is remembered of a name while its workers come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/roster.h"

#define SEC 1000000000ull

static uint64_t entered(struct roster *r, const char *name, uint64_t epoch, uint64_t now)
{
    const struct roster_hello hello = {.name = name, .epoch = epoch, .slots = 3};
    uint64_t id = 0;
    uint64_t replaced = 99; /* always written */
    assert_int_equal(roster_hello(r, &hello, now, &id, &replaced, NULL), OK);
    assert_int_equal(replaced, 0);
    return id;
}

/* Whoever was never struck takes no place among those who were. */
static void test_strikes_outlast_any_number_of_other_names(void **state)
{
    (void)state;
    struct roster *r = NULL;
    assert_int_equal(roster_new(&r), OK);
    uint64_t id = entered(r, "bad", 1, SEC);
    for (int i = 0; i < ROSTER_STRIKES - 1; i++) {
        assert_false(roster_strike(r, id, false, SEC));
    }
    roster_remove(r, id);
    for (int i = 0; i < 2 * ROSTER_RECORDS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        roster_remove(r, entered(r, name, 1, SEC));
    }
    id = entered(r, "bad", 2, SEC);
    assert_int_equal(roster_get(r, id)->strikes, ROSTER_STRIKES - 1);
    assert_true(roster_strike(r, id, false, SEC));
    roster_remove(r, id);
    id = entered(r, "bad", 3, 2 * SEC);
    assert_int_equal(roster_get(r, id)->state, WORKER_QUARANTINED);
    roster_ready(r, id, false); /* no probe ends it early */
    roster_reprobe(r, id);
    assert_int_equal(roster_get(r, id)->state, WORKER_QUARANTINED);
    assert_int_equal(roster_ready_slots(r), 0);
    assert_int_equal(roster_released(r, SEC + ROSTER_QUARANTINE_NS - 1), 0);
    assert_int_equal(roster_released(r, SEC + ROSTER_QUARANTINE_NS), id);
    assert_int_equal(roster_get(r, id)->state, WORKER_PROBING);
    roster_free(&r);
    assert_null(r);
    roster_free(&r);
}

static void test_draining_ends_no_quarantine_and_proves_nothing(void **state)
{
    (void)state;
    struct roster *r = NULL;
    assert_int_equal(roster_new(&r), OK);
    uint64_t probing = entered(r, "a", 1, SEC);
    uint64_t ready = entered(r, "b", 1, SEC);
    uint64_t bad = entered(r, "c", 1, SEC);
    roster_ready(r, ready, false);
    roster_ready(r, bad, false);
    assert_true(roster_get(r, ready)->proven);
    assert_true(roster_strike(r, bad, true, SEC));
    const uint64_t all[] = {probing, ready, bad};
    for (int i = 0; i < 3; i++) {
        roster_drain(r, all[i]);
        roster_drain(r, all[i]);
        assert_true(roster_get(r, all[i])->leaving);
    }
    assert_int_equal(roster_get(r, probing)->state, WORKER_DRAINING);
    assert_false(roster_get(r, probing)->proven);
    assert_int_equal(roster_get(r, ready)->state, WORKER_DRAINING);
    assert_true(roster_get(r, ready)->proven);
    assert_int_equal(roster_get(r, bad)->state, WORKER_QUARANTINED);
    assert_false(roster_get(r, bad)->proven);
    assert_int_equal(roster_ready_slots(r), 0);
    assert_true(roster_strike(r, ready, true, SEC));
    assert_false(roster_get(r, ready)->proven);
    roster_free(&r);
}

static void test_the_same_life_again_replaces_nobody(void **state)
{
    (void)state;
    struct roster *r = NULL;
    assert_int_equal(roster_new(&r), OK);
    uint64_t id = entered(r, "a", 1, SEC);
    assert_true(entered(r, "a", 1, SEC) == id);
    roster_free(&r);
}

static void test_each_quarantine_is_twice_as_long_up_to_a_bound(void **state)
{
    (void)state;
    struct roster *r = NULL;
    uint64_t length = ROSTER_QUARANTINE_NS;
    uint64_t now = SEC;
    assert_int_equal(roster_new(&r), OK);
    uint64_t id = entered(r, "bad", 1, now);
    for (int i = 0; i < 12; i++) {
        assert_true(roster_strike(r, id, true, now));
        assert_false(roster_strike(r, id, true, now)); /* it is in one */
        assert_int_equal(roster_released(r, now + length - 1), 0);
        assert_int_equal(roster_released(r, now + length), id);
        roster_ready(r, id, false);
        now += length;
        length = length * 2 < ROSTER_QUARANTINE_MAX_NS ? length * 2 : ROSTER_QUARANTINE_MAX_NS;
    }
    roster_free(&r);
}

static void test_slots_that_may_work_are_counted_in_every_state(void **state)
{
    (void)state;
    struct roster *r = NULL;
    assert_int_equal(roster_new(&r), OK);
    uint64_t a = entered(r, "a", 1, SEC);
    uint64_t b = entered(r, "b", 1, SEC);
    assert_int_equal(roster_ready_slots(r), 0);
    roster_ready(r, a, false);
    roster_ready(r, b, false);
    assert_true(roster_ready_slots(r) == 6 && roster_ready_count(r) == 2);
    roster_reprobe(r, a);
    assert_true(roster_ready_slots(r) == 3 && roster_ready_count(r) == 1);
    roster_ready(r, a, false);
    roster_drain(r, a);
    assert_true(roster_ready_slots(r) == 3 && roster_ready_count(r) == 1);
    roster_remove(r, a);
    assert_true(roster_ready_slots(r) == 3 && roster_ready_count(r) == 1);
    assert_true(roster_strike(r, b, true, SEC));
    assert_true(roster_ready_slots(r) == 0 && roster_ready_count(r) == 0);
    roster_remove(r, b);
    assert_int_equal(roster_count(r), 0);
    roster_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strikes_outlast_any_number_of_other_names),
        cmocka_unit_test(test_draining_ends_no_quarantine_and_proves_nothing),
        cmocka_unit_test(test_the_same_life_again_replaces_nobody),
        cmocka_unit_test(test_each_quarantine_is_twice_as_long_up_to_a_bound),
        cmocka_unit_test(test_slots_that_may_work_are_counted_in_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
