/* test_inflow.c - unread bytes by connection, on real tcp sockets: what is read and delivered is
 * forgiven, what is still in the kernel is not counted, what is kept unread is hung up on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/inflow.h"

enum { CAP = 100000, RATE = 100, PEERS = 3, PATIENCE_MS = 10000 };

struct world {
    struct inflow *inflow;
    int near[PEERS]; /* accepted: as libzmq would hold them */
    int far[PEERS];
};

static int setup(void **state)
{
    static struct world w;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, PEERS), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &bytes), 0);
    assert_int_equal(inflow_open(CAP, 2 * CAP, RATE, &w.inflow), OK);
    for (int i = 0; i < PEERS; i++) {
        w.far[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(w.far[i], (struct sockaddr *)&name, sizeof name), 0);
        w.near[i] = accept(listener, NULL, NULL);
        assert_true(w.near[i] >= 0);
        inflow_accepted(w.inflow, w.near[i]);
    }
    (void)close(listener);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    inflow_close(&w->inflow);
    for (int i = 0; i < PEERS; i++) {
        (void)close(w->near[i]);
        (void)close(w->far[i]);
    }
    return 0;
}

/* A peer sends so much, and it is taken out of the kernel. */
static void take_in(struct world *w, int peer, size_t bytes)
{
    static char block[10000];
    for (size_t left = bytes; left > 0;) {
        size_t n = left < sizeof block ? left : sizeof block;
        assert_int_equal(send(w->far[peer], block, n, 0), (ssize_t)n);
        for (size_t got = 0; got < n;) {
            ssize_t m = recv(w->near[peer], block, n - got, 0);
            assert_true(m > 0);
            got += (size_t)m;
        }
        left -= n;
    }
}

static bool hung_up(const struct world *w, int peer)
{
    char byte;
    struct pollfd item = {.fd = w->far[peer], .events = POLLIN};
    return poll(&item, 1, 0) > 0 && recv(w->far[peer], &byte, 1, MSG_DONTWAIT) <= 0;
}

static void deliver(struct world *w, int peer, uint64_t parts, uint64_t bytes)
{
    assert_int_equal(inflow_delivered(w->inflow, w->near[peer], (uint32_t)peer + 1, parts, bytes),
                     INFLOW_GOOD);
}

static void test_what_was_delivered_is_forgiven_for_ever(void **state)
{
    struct world *w = *state;
    for (uint64_t now = 1; now <= 50; now++) {
        take_in(w, 0, CAP / 2);
        deliver(w, 0, 1, CAP / 2);
        assert_int_equal(inflow_check(w->inflow, now), 0);
    }
    assert_false(hung_up(w, 0));
}

static void test_a_connection_beyond_its_cap_is_hung_up_on_and_the_others_are_not(void **state)
{
    struct world *w = *state;
    take_in(w, 0, CAP);
    take_in(w, 1, CAP / 2);
    assert_int_equal(inflow_check(w->inflow, 1), 0);
    take_in(w, 0, 100);
    assert_int_equal(inflow_check(w->inflow, 2), 1);
    assert_true(hung_up(w, 0));
    assert_false(hung_up(w, 1));
    assert_int_equal(inflow_check(w->inflow, 3), 0);
}

static void test_all_together_beyond_theirs_the_worst_goes(void **state)
{
    struct world *w = *state;
    take_in(w, 0, CAP - 30000);
    take_in(w, 1, CAP - 10000);
    take_in(w, 2, CAP - 20000);
    assert_int_equal(inflow_check(w->inflow, 1), 1);
    assert_false(hung_up(w, 0));
    assert_true(hung_up(w, 1));
    assert_false(hung_up(w, 2));
}

static void test_caps_grow_and_never_shrink(void **state)
{
    struct world *w = *state;
    inflow_widen(w->inflow, 3 * CAP, 6 * CAP);
    inflow_widen(w->inflow, 1, 1);
    take_in(w, 0, 3 * CAP);
    take_in(w, 1, 2 * CAP);
    assert_int_equal(inflow_check(w->inflow, 1), 0);
    take_in(w, 0, 100);
    assert_int_equal(inflow_check(w->inflow, 2), 1);
    assert_true(hung_up(w, 0));
    assert_false(hung_up(w, 1));
}

static void test_too_much_credit_is_not_kept_for_later(void **state)
{
    struct world *w = *state;
    take_in(w, 0, 1000);
    deliver(w, 0, 1000000, 1000);
    assert_int_equal(inflow_check(w->inflow, 1), 0);
    take_in(w, 0, CAP + 1000);
    assert_int_equal(inflow_check(w->inflow, 2), 1);
}

static void test_what_waits_in_the_kernel_is_not_counted(void **state)
{
    struct world *w = *state;
    static char block[CAP + 1000];
    struct pollfd item = {.fd = w->near[0], .events = POLLIN};
    assert_int_equal(send(w->far[0], block, sizeof block, 0), (ssize_t)sizeof block);
    assert_int_equal(poll(&item, 1, PATIENCE_MS), 1);
    assert_int_equal(inflow_check(w->inflow, 1), 0);
    assert_false(hung_up(w, 0));
}

static void test_a_descriptor_that_was_closed_and_used_again_is_left_alone(void **state)
{
    struct world *w = *state;
    int pair[2];
    take_in(w, 0, 2 * CAP);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(dup2(pair[0], w->near[0]), w->near[0]);
    assert_int_equal(inflow_check(w->inflow, 1), 0);
    inflow_hang_up(w->inflow, w->near[0]);
    assert_int_equal(write(pair[1], "x", 1), 1);
    (void)close(pair[0]);
    (void)close(pair[1]);
    assert_int_equal(inflow_delivered(w->inflow, 60000, 1, 1, 1), INFLOW_GOOD);
    inflow_accepted(w->inflow, -1);
    assert_int_equal(inflow_check(w->inflow, 2), 0);
}

static void test_a_connection_that_sends_too_many_messages_is_hung_up_on(void **state)
{
    struct world *w = *state;
    for (uint64_t now = 1000; now <= 3000; now += 1000) {
        assert_int_equal(inflow_check(w->inflow, now), 0);
        for (int i = 0; i < RATE; i++) {
            deliver(w, 0, 1, 1);
            deliver(w, 1, 1, 1);
        }
    }
    assert_int_equal(inflow_delivered(w->inflow, w->near[0], 1, 1, 1), INFLOW_FLOOD);
    assert_int_equal(inflow_delivered(w->inflow, w->near[0], 1, 1, 1), INFLOW_LATE);
    assert_true(hung_up(w, 0));
    assert_false(hung_up(w, 1));
}

static void
test_messages_that_come_late_are_not_charged_to_the_next_on_that_descriptor(void **state)
{
    struct world *w = *state;
    assert_int_equal(inflow_delivered(w->inflow, w->near[0], 7, 1, 1), INFLOW_GOOD);
    inflow_accepted(w->inflow, w->near[0]);
    assert_int_equal(inflow_delivered(w->inflow, w->near[0], 8, 1, 1), INFLOW_GOOD);
    for (int i = 0; i < 2 * RATE; i++) {
        assert_int_equal(inflow_delivered(w->inflow, w->near[0], 7, 1, 1), INFLOW_GOOD);
    }
    assert_false(hung_up(w, 0));
}

static void test_messages_over_a_unix_socket_are_counted_too(void **state)
{
    struct world *w = *state;
    int pair[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    inflow_accepted(w->inflow, pair[0]);
    for (int i = 0; i < RATE; i++) {
        assert_int_equal(inflow_delivered(w->inflow, pair[0], 9, 1, 1), INFLOW_GOOD);
        assert_int_equal(inflow_check(w->inflow, 1), 0);
    }
    assert_int_equal(inflow_delivered(w->inflow, pair[0], 9, 1, 1), INFLOW_FLOOD);
    assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_delivered_is_forgiven_for_ever, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_connection_beyond_its_cap_is_hung_up_on_and_the_others_are_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_together_beyond_theirs_the_worst_goes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_caps_grow_and_never_shrink, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_much_credit_is_not_kept_for_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_in_the_kernel_is_not_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_descriptor_that_was_closed_and_used_again_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_connection_that_sends_too_many_messages_is_hung_up_on, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_messages_that_come_late_are_not_charged_to_the_next_on_that_descriptor, setup,
            teardown),
        cmocka_unit_test_setup_teardown(test_messages_over_a_unix_socket_are_counted_too, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
