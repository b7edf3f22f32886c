/* test_allow_list.c - the folder of public keys: added, found, revoked for good, damaged files,
 * folders that others may write to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/net/allow_list.h"
#include "tests/support/temp_folder.h"

struct world {
    struct temp_folder folder;
    struct key_file keys[3];
};

static int setup(void **state)
{
    static struct world w;
    struct errbuf e;
    const char *names[] = {"zoe", "bob", "mia"};
    const enum key_role roles[] = {KEY_WORKER, KEY_OBSERVER, KEY_OPERATOR};
    memset(&w, 0, sizeof w);
    temp_folder_make(&w.folder);
    assert_int_equal(file_make_folder(temp_folder_file(&w.folder, "allowed"), &e), OK);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(w.keys[i].name, sizeof w.keys[i].name, "%s", names[i]);
        w.keys[i].role = roles[i];
        key_generate(&w.keys[i]);
        assert_int_equal(allow_list_add(w.folder.path, &w.keys[i], &e), OK);
    }
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    temp_folder_clear(w->folder.path);
    return 0;
}

static struct allow_list read_list(const struct world *w)
{
    struct allow_list list;
    struct errbuf e;
    assert_int_equal(allow_list_read(w->folder.path, &list, &e), OK);
    return list;
}

static void test_who_was_added_is_found_by_key_and_by_name_with_the_role(void **state)
{
    struct world *w = *state;
    struct allow_list list = read_list(w);
    struct key_file stranger;
    assert_int_equal(list.n, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct allowed_key *found = allow_list_find(&list, w->keys[i].public_key);
        assert_non_null(found);
        assert_string_equal(found->name, w->keys[i].name);
        assert_int_equal(found->role, w->keys[i].role);
        assert_ptr_equal(allow_list_named(&list, w->keys[i].name), found);
    }
    key_generate(&stranger);
    assert_null(allow_list_find(&list, stranger.public_key));
    assert_null(allow_list_named(&list, "nobody"));
    assert_null(allow_list_named(&list, ""));
    allow_list_free(&list);
}

static void test_who_was_revoked_stays_out_under_any_name(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct key_file again = w->keys[0];
    assert_int_equal(allow_list_revoke(w->folder.path, "zoe", &e), OK);
    assert_int_equal(allow_list_revoke(w->folder.path, "zoe", &e), ERR_STALE);
    assert_int_equal(allow_list_revoke(w->folder.path, "nobody", &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "pft keys list"));
    assert_int_equal(allow_list_add(w->folder.path, &again, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "revoked"));
    (void)snprintf(again.name, sizeof again.name, "zoe2");
    assert_int_equal(allow_list_add(w->folder.path, &again, &e), OK);
    struct allow_list list = read_list(w);
    assert_int_equal(list.n, 4);
    assert_null(allow_list_find(&list, w->keys[0].public_key));
    assert_null(allow_list_named(&list, "zoe"));
    assert_null(allow_list_named(&list, "zoe2"));
    assert_non_null(allow_list_named(&list, "bob"));
    struct allow_list copy;
    assert_int_equal(allow_list_copy(&list, &copy), OK);
    assert_null(allow_list_named(&copy, "zoe"));
    assert_non_null(allow_list_named(&copy, "mia"));
    allow_list_free(&copy);
    allow_list_free(&list);
}

static void test_a_damaged_file_lets_nobody_in_and_is_named(void **state)
{
    struct world *w = *state;
    char good[80];
    char hex[KEY_HEX];
    key_hex(w->keys[0].public_key, hex);
    int n = snprintf(good, sizeof good, "worker %s\n", hex);
    const char *bad[] = {"", "worker", "king 00\n", "coordinator 00\n", "worker 00\n", "\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)temp_folder_text(&w->folder, "allowed/zoe.pub", bad[i]);
        struct allow_list list = read_list(w);
        assert_int_equal(list.n, 2);
        assert_int_equal(list.damaged, 1);
        assert_non_null(strstr(list.first.text, "zoe.pub"));
        assert_null(allow_list_find(&list, w->keys[0].public_key));
        allow_list_free(&list);
    }
    for (int cut = 0; cut <= n; cut++) {
        (void)temp_folder_write(&w->folder, "allowed/zoe.pub", good, (size_t)cut);
        struct allow_list list = read_list(w);
        assert_int_equal(list.damaged, cut < n);
        allow_list_free(&list);
    }
    (void)temp_folder_text(&w->folder, "allowed/-x.pub", good);
    (void)temp_folder_text(&w->folder, "allowed/notes.txt", "not ours");
    struct allow_list list = read_list(w);
    assert_int_equal(list.n, 3);
    assert_int_equal(list.damaged, 1);
    allow_list_free(&list);
}

static void test_a_folder_that_others_may_write_to_is_refused(void **state)
{
    struct world *w = *state;
    struct allow_list list;
    struct errbuf e;
    const char *allowed = temp_folder_file(&w->folder, "allowed");
    const char *folders[] = {w->folder.path, allowed};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(chmod(folders[i], 0720), 0);
        assert_int_equal(allow_list_read(w->folder.path, &list, &e), ERR_REFUSED);
        assert_non_null(strstr(e.text, "chmod 700"));
        assert_int_equal(chmod(folders[i], 0755), 0);
        assert_int_equal(allow_list_read(w->folder.path, &list, &e), OK);
        allow_list_free(&list);
    }
    assert_int_equal(allow_list_read("/nonexistent/keys", &list, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "pft keys init"));
}

static void test_the_stamp_changes_with_every_change(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    bool settled;
    uint64_t before = allow_list_stamp(w->folder.path, &settled);
    assert_false(settled);
    assert_int_not_equal(before, 0);
    /* Within one tick of the file system's clock only `settled` tells: so it must be false. */
    assert_int_equal(allow_list_revoke(w->folder.path, "bob", &e), OK);
    assert_true(allow_list_stamp(w->folder.path, &settled) != before || !settled);
    assert_int_equal(allow_list_stamp("/nonexistent/keys", &settled), 0);
}

/* Read without it, the list would revoke the key of every file that was not opened. */
static void test_a_list_that_finds_no_descriptor_is_not_read_in_part(void **state)
{
    struct world *w = *state;
    struct allow_list list;
    struct errbuf e;
    struct rlimit old;
    int next = dup(STDERR_FILENO);
    assert_true(next > 0);
    (void)close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (rlim_t room = 0; room < 2; room++) { /* for the folder, not for what is in it */
        const struct rlimit few = {.rlim_cur = (rlim_t)next + room, .rlim_max = old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        enum err error = allow_list_read(w->folder.path, &list, &e);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(error, ERR_NOSPACE);
        assert_non_null(strstr(e.text, "Too many open files"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_who_was_added_is_found_by_key_and_by_name_with_the_role, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_was_revoked_stays_out_under_any_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_lets_nobody_in_and_is_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_folder_that_others_may_write_to_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_stamp_changes_with_every_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_list_that_finds_no_descriptor_is_not_read_in_part,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
