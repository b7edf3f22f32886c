/* test_half_open.c - who has to go when too many connections say nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/net/half_open.h"
#include "common/net/socket_options.h"

enum { TOTAL = 6, PER_ADDRESS = 3, NOBODY = -1 };

static int setup(void **state)
{
    struct half_open *h = NULL;
    assert_int_equal(half_open_open(TOTAL, PER_ADDRESS, &h), OK);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct half_open *h = *state;
    half_open_close(&h);
    return 0;
}

static void test_the_oldest_of_a_crowded_address_goes(void **state)
{
    struct half_open *h = *state;
    assert_int_equal(half_open_accepted(h, 9, 2, 1), NOBODY);
    for (int fd = 10; fd < 10 + PER_ADDRESS; fd++) {
        assert_int_equal(half_open_accepted(h, fd, 1, 1), NOBODY);
    }
    assert_int_equal(half_open_accepted(h, 20, 1, 2), 10);
    assert_int_equal(half_open_accepted(h, 21, 1, 2), 11);
    assert_int_equal(half_open_over(h, 10, 2), HALF_OPEN_EVICTED);
    assert_int_equal(half_open_over(h, 10, 2), HALF_OPEN_UNKNOWN);
    assert_int_equal(half_open_over(h, 9, 2), HALF_OPEN_WAITING);
}

static void test_the_oldest_of_all_goes_when_there_are_too_many(void **state)
{
    struct half_open *h = *state;
    for (int i = 0; i < TOTAL; i++) {
        assert_int_equal(half_open_accepted(h, 10 + i, (uint64_t)i + 1, 1), NOBODY);
    }
    assert_int_equal(half_open_accepted(h, 20, 100, 1), 10);
}

static void test_who_waited_for_as_long_as_a_handshake_may_take_is_late(void **state)
{
    struct half_open *h = *state;
    assert_int_equal(half_open_accepted(h, 10, 1, 1), NOBODY);
    assert_int_equal(half_open_over(h, 10, 1 + SOCKET_HANDSHAKE_MS), HALF_OPEN_LATE);
}

static void test_who_spoke_or_is_gone_counts_no_more(void **state)
{
    struct half_open *h = *state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(half_open_accepted(h, i, 1, 1), NOBODY);
        assert_int_equal(half_open_over(h, i, 2), HALF_OPEN_WAITING);
    }
}

static void test_a_handshake_whose_time_is_over_counts_no_more(void **state)
{
    struct half_open *h = *state;
    uint64_t now = 1;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(half_open_accepted(h, i, 1, now), NOBODY);
        now += 2 * SOCKET_HANDSHAKE_MS / PER_ADDRESS;
    }
}

static void test_unix_sockets_share_the_total_alone(void **state)
{
    struct half_open *h = *state;
    for (int i = 0; i < TOTAL; i++) {
        assert_int_equal(half_open_accepted(h, 10 + i, 0, 1), NOBODY);
    }
    assert_int_equal(half_open_accepted(h, 20, 0, 1), 10);
}

static void test_a_descriptor_that_comes_again_is_a_new_connection(void **state)
{
    struct half_open *h = *state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(half_open_accepted(h, 10, 1, 1), NOBODY);
        half_open_evict(h, 10);
    }
    assert_int_equal(half_open_over(h, 10, 2), HALF_OPEN_EVICTED);
}

static void test_many_that_never_end_leave_room_for_the_next(void **state)
{
    struct half_open *h = *state;
    for (int fd = 0; fd < 1000; fd++) {
        assert_int_equal(half_open_accepted(h, fd, 1, 1), fd < PER_ADDRESS ? -1 : fd - PER_ADDRESS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_oldest_of_a_crowded_address_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_oldest_of_all_goes_when_there_are_too_many, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_who_waited_for_as_long_as_a_handshake_may_take_is_late,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_spoke_or_is_gone_counts_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_handshake_whose_time_is_over_counts_no_more, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_unix_sockets_share_the_total_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_descriptor_that_comes_again_is_a_new_connection,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_that_never_end_leave_room_for_the_next, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
