/* test_roster.c - sessions, states, strikes, silence, the line of waiting slots. */
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
    const struct roster_hello hello = {
        .name = name, .host = "host", .core_type = "SkylakeX", .epoch = epoch, .slots = 2};
    uint64_t id;
    uint64_t replaced;
    assert_int_equal(roster_hello(r, &hello, now, &id, &replaced, NULL), OK);
    if (replaced) {
        roster_remove(r, replaced);
    }
    return id;
}

static struct roster *made(void)
{
    struct roster *r = NULL;
    assert_int_equal(roster_new(&r), OK);
    return r;
}

static void test_hello_again_is_the_same_session_and_a_newer_epoch_replaces_it(void **state)
{
    (void)state;
    struct roster *r = made();
    uint64_t id = entered(r, "w", 1, SEC);
    assert_true(entered(r, "w", 1, SEC) == id);
    uint64_t newer = entered(r, "w", 2, SEC);
    assert_true(newer != id && roster_get(r, id) == NULL && roster_count(r) == 1);
    const struct roster_hello old = {.name = "w", .epoch = 1, .slots = 2};
    uint64_t other;
    uint64_t replaced;
    struct errbuf e;
    assert_int_equal(roster_hello(r, &old, SEC, &other, &replaced, &e), ERR_STALE);
    const struct roster_hello none = {.name = "x", .epoch = 1, .slots = 0};
    assert_int_equal(roster_hello(r, &none, SEC, &other, &replaced, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "--slots"));
    roster_free(&r);
}

static void test_only_ready_workers_that_read_their_socket_get_jobs(void **state)
{
    (void)state;
    struct roster *r = made();
    uint64_t a = entered(r, "a", 1, SEC);
    uint64_t b = entered(r, "b", 1, SEC);
    uint64_t id;
    uint32_t slot;
    roster_wait(r, a, 1, 1);
    roster_wait(r, b, 0, 1);
    assert_false(roster_first(r, &id, &slot));
    roster_ready(r, b, false);
    assert_true(roster_first(r, &id, &slot) && id == b && slot == 0);
    roster_ready(r, a, false);
    assert_int_equal(roster_ready_slots(r), 4);
    assert_true(roster_first(r, &id, &slot) && id == a && slot == 1);
    assert_true(roster_after(r, &id, &slot) && id == b);
    assert_false(roster_after(r, &id, &slot));
    roster_slow(r, a, true);
    assert_true(roster_first(r, &id, &slot) && id == b);
    roster_drain(r, b);
    assert_false(roster_first(r, &id, &slot));
    roster_slow(r, a, false);
    roster_hold(r, a, 1, 77, 1, 0);
    assert_int_equal(roster_waiting_slots(r), 1);
    assert_int_equal(roster_get(r, a)->busy, 1);
    roster_free_slot(r, a, 1);
    roster_remove(r, a);
    roster_remove(r, b);
    assert_int_equal(roster_waiting_slots(r), 0);
    assert_int_equal(roster_ready_count(r), 0);
    roster_free(&r);
}

static void test_silence_finds_the_longest_silent_first_and_a_stall_excuses_all(void **state)
{
    (void)state;
    struct roster *r = made();
    uint64_t a = entered(r, "a", 1, SEC);
    uint64_t b = entered(r, "b", 1, 2 * SEC);
    roster_heard(r, a, 3 * SEC);
    assert_true(roster_sleep_ns(r, 3 * SEC) == ROSTER_SILENCE_NS - SEC);
    assert_int_equal(roster_silent(r, 4 * SEC), 0);
    assert_true(roster_silent(r, 5 * SEC) == b);
    roster_shift(r, 100 * SEC);
    assert_int_equal(roster_silent(r, 104 * SEC), 0);
    assert_true(roster_silent(r, 105 * SEC) == b);
    roster_remove(r, b);
    assert_true(roster_silent(r, 106 * SEC) == a);
    roster_free(&r);
}

static void test_strikes_quarantine_the_name_longer_each_time(void **state)
{
    (void)state;
    struct roster *r = made();
    uint64_t now = SEC;
    uint64_t id = entered(r, "bad", 1, now);
    roster_ready(r, id, false);
    assert_false(roster_strike(r, id, false, now));
    assert_false(roster_strike(r, id, false, now));
    assert_true(roster_strike(r, id, false, now));
    assert_int_equal(roster_get(r, id)->state, WORKER_QUARANTINED);
    assert_int_equal(roster_ready_count(r), 0);
    id = entered(r, "bad", 2, now); /* a reconnect does not help */
    assert_int_equal(roster_get(r, id)->state, WORKER_QUARANTINED);
    assert_int_equal(roster_released(r, now + ROSTER_QUARANTINE_NS - 1), 0);
    now += ROSTER_QUARANTINE_NS;
    assert_true(roster_released(r, now) == id);
    assert_int_equal(roster_get(r, id)->state, WORKER_PROBING);
    roster_ready(r, id, true);
    assert_true(roster_get(r, id)->marked);
    assert_true(roster_strike(r, id, true, now));
    assert_int_equal(roster_released(r, now + 2 * ROSTER_QUARANTINE_NS - 1), 0);
    assert_true(roster_released(r, now + 2 * ROSTER_QUARANTINE_NS) == id);
    roster_free(&r);
}

static void test_rate_is_the_recent_mean(void **state)
{
    (void)state;
    struct roster *r = made();
    uint64_t id = entered(r, "w", 1, SEC);
    for (uint64_t i = 1; i <= 200; i++) {
        roster_done(r, id, 1, i <= 100 ? 100 : 400, SEC + i * SEC);
    }
    const struct worker *w = roster_get(r, id);
    assert_int_equal(w->units_done, 200);
    assert_int_equal(w->tokens_done, 50000);
    assert_true(w->tokens_per_s > 390.0 && w->tokens_per_s < 410.0);
    roster_free(&r);
}

static void test_roster_is_full_at_its_limit(void **state)
{
    (void)state;
    struct roster *r = made();
    struct errbuf e;
    uint64_t id;
    uint64_t replaced;
    for (int i = 0; i <= LIMIT_WORKERS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "w%d", i);
        const struct roster_hello hello = {.name = name, .epoch = 1, .slots = 1};
        assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e),
                         i < LIMIT_WORKERS ? OK : ERR_FULL);
    }
    roster_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_again_is_the_same_session_and_a_newer_epoch_replaces_it),
        cmocka_unit_test(test_only_ready_workers_that_read_their_socket_get_jobs),
        cmocka_unit_test(test_silence_finds_the_longest_silent_first_and_a_stall_excuses_all),
        cmocka_unit_test(test_strikes_quarantine_the_name_longer_each_time),
        cmocka_unit_test(test_rate_is_the_recent_mean),
        cmocka_unit_test(test_roster_is_full_at_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
