/* test_address_file.c - default addresses of short and long run paths, the file itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "coordinator/address_file.h"

struct place {
    char root[64];
    char run[FILE_PATH_BYTES];
};

static int setup(void **state)
{
    static struct place p;
    (void)snprintf(p.root, sizeof p.root, "/tmp/pft-address-XXXXXX");
    assert_non_null(mkdtemp(p.root));
    *state = &p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    (void)rmdir(p->run);
    assert_int_equal(rmdir(p->root), 0);
    return 0;
}

static void test_a_run_folder_holds_its_sockets_and_its_address_file(void **state)
{
    struct place *p = *state;
    struct address_file a;
    struct errbuf e;
    char *text;
    size_t bytes;
    (void)snprintf(p->run, sizeof p->run, "%s/run", p->root);
    assert_int_equal(file_make_folder(p->run, &e), OK);
    assert_int_equal(address_file_choose(p->run, NULL, NULL, false, &a, &e), OK);
    assert_non_null(strstr(a.jobs, "/run/jobs.sock"));
    assert_string_equal(a.folder, "");
    assert_int_equal(address_file_write(&a, "ipc://a \"b\"", a.status, &e), OK);
    assert_int_equal(file_read(a.path, 4096, &text, &bytes, &e), OK);
    assert_non_null(strstr(text, "\"jobs\": \"ipc://a \\\"b\\\"\""));
    mem_free(text);
    address_file_remove(&a, true);
    assert_false(file_exists(a.path));
}

static void test_a_path_too_long_for_a_socket_gets_a_private_folder(void **state)
{
    struct place *p = *state;
    struct address_file a;
    struct errbuf e;
    (void)snprintf(p->run, sizeof p->run, "%s/%0*d", p->root, 120, 0);
    assert_int_equal(file_make_folder(p->run, &e), OK);
    assert_int_equal(address_file_choose(p->run, NULL, NULL, false, &a, &e), OK);
    assert_int_equal(address_check_bind(a.jobs, false, &e), OK);
    assert_int_equal(access(a.folder, R_OK | W_OK | X_OK), 0);
    address_file_remove(&a, false);
    assert_int_equal(access(a.folder, F_OK), -1);
    /* Given addresses need no folder. */
    assert_int_equal(
        address_file_choose(p->run, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", false, &a, &e), OK);
    assert_string_equal(a.folder, "");
    assert_string_equal(a.jobs, "tcp://127.0.0.1:*");
    assert_int_equal(address_file_choose(p->run, "tcp://0.0.0.0:1", NULL, false, &a, &e),
                     ERR_REFUSED);
}

static void test_sockets_lie_elsewhere_where_the_run_folder_can_hold_none(void **state)
{
    struct place *p = *state;
    struct address_file a;
    struct errbuf e;
    (void)snprintf(p->run, sizeof p->run, "%s/no-utf8-\xff", p->root);
    assert_int_equal(file_make_folder(p->run, &e), OK);
    const char *const folders[] = {p->run, "/proc/self"}; /* no socket can be bound below /proc */
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(address_file_choose(folders[i], NULL, NULL, false, &a, &e), OK);
        assert_string_not_equal(a.folder, "");
        assert_int_equal(strncmp(a.jobs + strlen("ipc://"), a.folder, strlen(a.folder)), 0);
        address_file_remove(&a, false);
        assert_int_equal(access(a.folder, F_OK), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_run_folder_holds_its_sockets_and_its_address_file,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_path_too_long_for_a_socket_gets_a_private_folder,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_sockets_lie_elsewhere_where_the_run_folder_can_hold_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
