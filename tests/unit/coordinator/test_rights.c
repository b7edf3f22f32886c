/* test_rights.c - every role at every socket, and who may command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/rights.h"

static void test_each_role_uses_its_sockets_and_no_other(void **state)
{
    (void)state;
    const char *domains[] = {RIGHTS_JOBS, RIGHTS_TENSORS, RIGHTS_STATUS, "", "job", "other"};
    const struct {
        enum key_role role;
        bool may[6];
    } table[] = {
        {KEY_COORDINATOR, {false, false, false, false, false, false}},
        {KEY_WORKER, {true, true, false, false, false, false}},
        {KEY_OBSERVER, {false, false, true, false, false, false}},
        {KEY_OPERATOR, {false, false, true, false, false, false}},
    };
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 6; k++) {
            assert_int_equal(rights_connect(domains[k], table[i].role), table[i].may[k]);
        }
    }
}

static void test_only_an_operator_changes_anything_and_an_observer_reads(void **state)
{
    (void)state;
    const enum status_command changes[] = {STATUS_DRAIN, STATUS_STOP, STATUS_SUBMIT, STATUS_CANCEL};
    const enum status_command reads[] = {STATUS_ASK, STATUS_JOBS, STATUS_READ};
    assert_int_equal(sizeof changes / sizeof changes[0] + sizeof reads / sizeof reads[0],
                     STATUS_COMMANDS);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        assert_true(rights_command(KEY_OPERATOR, changes[i]));
        assert_false(rights_command(KEY_OBSERVER, changes[i]));
        assert_false(rights_command(KEY_WORKER, changes[i]));
        assert_false(rights_command(KEY_COORDINATOR, changes[i]));
    }
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        assert_true(rights_command(KEY_OPERATOR, reads[i]));
        assert_true(rights_command(KEY_OBSERVER, reads[i]));
        assert_false(rights_command(KEY_WORKER, reads[i]));
        assert_false(rights_command(KEY_COORDINATOR, reads[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_role_uses_its_sockets_and_no_other),
        cmocka_unit_test(test_only_an_operator_changes_anything_and_an_observer_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
