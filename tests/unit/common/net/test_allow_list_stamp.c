/* test_allow_list_stamp.c - what of a folder of keys tells that it changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/net/allow_list.h"
#include "tests/support/temp_folder.h"

static void test_a_change_of_permissions_is_a_change(void **state)
{
    (void)state;
    struct temp_folder folder;
    struct errbuf e;
    bool settled;
    temp_folder_make(&folder);
    assert_int_equal(allow_list_stamp(folder.path, &settled), 0);
    assert_false(settled);
    assert_int_equal(file_make_folder(temp_folder_file(&folder, "allowed"), &e), OK);
    const uint64_t before = allow_list_stamp(folder.path, &settled);
    assert_true(before != 0);
    assert_false(settled); /* just made */
    assert_true(allow_list_stamp(folder.path, &settled) == before);
    for (mode_t mode = 0701; mode < 0710; mode++) {
        assert_int_equal(chmod(temp_folder_file(&folder, "allowed"), mode), 0);
        assert_true(allow_list_stamp(folder.path, &settled) != before);
    }
    temp_folder_clear(folder.path);
}

/* Only once the last change is some seconds old another one could not hide behind its time. */
static void test_a_list_is_settled_some_seconds_after_its_last_change(void **state)
{
    (void)state;
    struct temp_folder folder;
    struct errbuf e;
    temp_folder_make(&folder);
    assert_int_equal(file_make_folder(temp_folder_file(&folder, "allowed"), &e), OK);
    uint64_t stamps[4];
    for (int i = 0; i < 4; i++) {
        static const struct {
            time_t ago, nsec;
            bool settled;
        } cases[4] = {{3600, 5, true}, {3600, 6, true}, {10, 5, true}, {0, 5, false}};
        bool settled = !cases[i].settled;
        const time_t at = time(NULL) - cases[i].ago;
        const struct timespec times[2] = {{.tv_sec = at}, {.tv_sec = at, .tv_nsec = cases[i].nsec}};
        assert_int_equal(utimensat(AT_FDCWD, temp_folder_file(&folder, "allowed"), times, 0), 0);
        stamps[i] = allow_list_stamp(folder.path, &settled);
        assert_int_equal(settled, cases[i].settled);
        for (int k = 0; k < i; k++) {
            assert_true(stamps[i] != stamps[k]);
        }
    }
    temp_folder_clear(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_of_permissions_is_a_change),
        cmocka_unit_test(test_a_list_is_settled_some_seconds_after_its_last_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
