/* test_address.c - which addresses may be bound, connected, and what the tensor channel is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/net/address.h"

static void test_beyond_loopback_and_socket_files_nothing_is_bound_without_keys(void **state)
{
    (void)state;
    struct errbuf e;
    const char *good[] = {"ipc:///tmp/x", "ipc://runs/a/jobs.sock", "tcp://127.0.0.1:5555",
                          "tcp://127.9.9.9:*", "tcp://[::1]:80"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(address_check_bind(good[i], false, &e), OK);
    }
    const char *open[] = {"tcp://0.0.0.0:5555", "tcp://*:5555",      "tcp://192.168.1.4:5555",
                          "tcp://[::]:5555",    "tcp://localhost:5", "tcp://128.0.0.1:1"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        assert_int_equal(address_check_bind(open[i], false, &e), ERR_REFUSED);
        assert_non_null(strstr(e.text, "pft keys init"));
        assert_int_equal(address_check_bind(open[i], true, &e), OK);
    }
    assert_int_equal(address_check_bind("tcp://0.0.0.0:*", false, &e), ERR_REFUSED);
    assert_int_equal(address_check_bind("tcp://0.0.0.0:*", true, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "a port is needed"));
    assert_int_equal(address_check_bind("tcp://127.0.0.1:*", true, &e), OK);
    const char *wrong[] = {"",           "tcp://127.0.0.1",      "tcp://127.0.0.1:0", "ipc://",
                           "ipc://@abc", "tcp://127.0.0.1:x",    "udp://127.0.0.1:4", "tcp://:5",
                           "inproc://x", "tcp://127.0.0.1:65535", "ipc:///a\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(address_check_bind(wrong[i], false, &e), ERR_USAGE);
    }
}

static void test_a_path_that_does_not_fit_a_socket_is_refused_with_its_length(void **state)
{
    (void)state;
    struct errbuf e;
    char address[256];
    (void)snprintf(address, sizeof address, "ipc:///%0*d", 98, 0);
    assert_int_equal(address_check_bind(address, false, &e), OK);
    (void)snprintf(address, sizeof address, "ipc:///%0*d", 99, 0);
    assert_int_equal(address_check_bind(address, false, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "100 bytes"));
}

static void test_the_tensor_channel_follows_from_the_control_address(void **state)
{
    (void)state;
    struct errbuf e;
    char out[ADDRESS_BYTES];
    assert_int_equal(address_tensor("ipc:///a/b", out, &e), OK);
    assert_string_equal(out, "ipc:///a/b.tensors");
    assert_int_equal(address_tensor("tcp://127.0.0.1:5555", out, &e), OK);
    assert_string_equal(out, "tcp://127.0.0.1:5556");
    assert_int_equal(address_tensor("tcp://[::1]:*", out, &e), OK);
    assert_string_equal(out, "tcp://[::1]:*");
    assert_int_equal(address_tensor("nowhere", out, &e), ERR_USAGE);
    assert_int_equal(address_check_connect("tcp://gateway.example:5555", &e), OK);
    assert_int_equal(address_check_connect("tcp://127.0.0.1:*", &e), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beyond_loopback_and_socket_files_nothing_is_bound_without_keys),
        cmocka_unit_test(test_a_path_that_does_not_fit_a_socket_is_refused_with_its_length),
        cmocka_unit_test(test_the_tensor_channel_follows_from_the_control_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
