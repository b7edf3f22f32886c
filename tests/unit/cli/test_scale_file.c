/* test_scale_file.c - a wish is taken up once, whole, and only when it makes sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/scale_file.h"
#include "common/base/file.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/pft-scale-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    scale_remove(folder);
    return rmdir(folder);
}

static void write_wish(const char *text)
{
    char path[FILE_PATH_BYTES];
    struct errbuf e;
    assert_int_equal(file_join(path, folder, "workers.want", &e), OK);
    assert_int_equal(file_write_atomic(path, text, strlen(text), &e), OK);
}

static void a_wish_is_taken_up_once(void **state)
{
    uint32_t n = 99;
    struct errbuf e;
    (void)state;
    assert_false(scale_take(folder, 8, &n));
    assert_int_equal(scale_wish(folder, 5, &e), OK);
    assert_true(scale_wish_waits(folder));
    assert_true(scale_take(folder, 8, &n));
    assert_int_equal(n, 5);
    assert_false(scale_wish_waits(folder));
    assert_false(scale_take(folder, 8, &n));
}

static void a_wish_that_makes_no_sense_is_dropped(void **state)
{
    static const char *const bad[] = {
        "", "\n", "0\n", "9\n", "-1\n", "3", "3x\n", "x3\n", "99999999999999999999\n"};
    uint32_t n;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_wish(bad[i]);
        assert_false(scale_take(folder, 8, &n));
        assert_false(scale_wish_waits(folder));
    }
}

static void the_state_comes_back_and_a_dead_owner_is_named(void **state)
{
    struct scale_state s = {.pid = getpid(), .wanted = 4, .running = 3, .draining = 2};
    struct scale_state out;
    struct errbuf e;
    (void)state;
    assert_int_equal(scale_read(folder, &out, &e), ERR_NOT_FOUND);
    assert_int_equal(scale_publish(folder, &s, &e), OK);
    assert_int_equal(scale_read(folder, &out, &e), OK);
    assert_int_equal(out.pid, s.pid);
    assert_int_equal(out.wanted, 4);
    assert_int_equal(out.running, 3);
    assert_int_equal(out.draining, 2);
    s.pid = 0x3fffffff; /* beyond every pid_max */
    assert_int_equal(scale_publish(folder, &s, &e), OK);
    assert_int_equal(scale_read(folder, &out, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "--resume"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_wish_is_taken_up_once, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_wish_that_makes_no_sense_is_dropped, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_state_comes_back_and_a_dead_owner_is_named, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
