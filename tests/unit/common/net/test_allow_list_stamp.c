/* test_allow_list_stamp.c - what of a folder of keys tells that it changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_change_of_permissions_is_a_change)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
