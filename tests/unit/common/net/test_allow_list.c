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

#include "common/base/mem.h"
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

/* Names of keys that a list holds, in its order. */
static void assert_names(const struct allow_list *list, const char *want)
{
    char names[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? " " : "",
                              list->keys[i].name);
    }
    assert_string_equal(names, want);
}

static void test_a_line_is_a_role_one_space_a_key_and_a_newline(void **state)
{
    struct world *w = *state;
    char hex[KEY_HEX];
    char line[256];
    key_hex(w->keys[0].public_key, hex);
    static const struct {
        const char *before, *behind;
        bool good;
    } cases[] = {{"worker ", "\n", true},
                 {"observer ", "\n", true},
                 {"operator ", "\n", true},
                 {"coordinator ", "\n", false},
                 {"king ", "\n", false},
                 {" ", "\n", false},
                 {"", "\n", false},
                 {"worker  ", "\n", false},
                 {"worker ", "", false},
                 {"worker ", " \n", false},
                 {"worker ", "\n\n", false},
                 {"worker ", "a\n", false},
                 {" worker ", "\n", false},
                 {"Worker ", "\n", false},
                 {"worker\t", "\n", false},
                 {"workerworkerwor ", "\n", false},
                 {"workerworkerwork ", "\n", false},
                 {"workerworkerworker ", "\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(line, sizeof line, "%s%s%s", cases[i].before, hex, cases[i].behind);
        (void)temp_folder_text(&w->folder, "allowed/zoe.pub", line);
        struct allow_list list = read_list(w);
        assert_int_equal(list.n, cases[i].good ? 3 : 2);
        assert_int_equal(list.damaged, cases[i].good ? 0 : 1);
        assert_int_equal(allow_list_named(&list, "zoe") != NULL, cases[i].good);
        allow_list_free(&list);
    }
    memset(line, 'w', sizeof line);
    (void)snprintf(line + 120, sizeof line - 120, " 0\n"); /* a word longer than any role */
    (void)temp_folder_text(&w->folder, "allowed/zoe.pub", line);
    struct allow_list longest = read_list(w);
    assert_int_equal(longest.damaged, 1);
    allow_list_free(&longest);
    for (char *c = hex; *c != '\0'; c++) {
        *c = *c >= 'a' ? (char)(*c - 'a' + 'A') : *c;
    }
    hex[0] = 'A';
    (void)snprintf(line, sizeof line, "worker %s\n", hex);
    (void)temp_folder_text(&w->folder, "allowed/zoe.pub", line);
    struct allow_list list = read_list(w);
    assert_int_equal(list.damaged, 1);
    allow_list_free(&list);
}

static void test_files_that_cannot_be_keys_are_damaged_and_others_not_looked_at(void **state)
{
    struct world *w = *state;
    char good[128];
    char hex[KEY_HEX];
    char name[128];
    key_hex(w->keys[0].public_key, hex);
    int n = snprintf(good, sizeof good, "worker %s\n", hex);
    static const char *const ours[] = {"-x.pub", "a b.pub", ".x.revoked", "a\xc3\xa4.pub"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        (void)snprintf(name, sizeof name, "allowed/%s", ours[i]);
        (void)temp_folder_text(&w->folder, name, good);
    }
    (void)snprintf(name, sizeof name, "allowed/%.*s.pub", KEY_NAME_BYTES,
                   "n23456789n123456789n123456789n123456789n123456789n123456789n1234");
    (void)temp_folder_text(&w->folder, name, good);
    struct allow_list list = read_list(w);
    assert_int_equal(list.n, 3);
    assert_int_equal(list.damaged, 5);
    allow_list_free(&list);
    (void)snprintf(name, sizeof name, "allowed/%.*s.pub", KEY_NAME_BYTES - 1,
                   "n23456789n123456789n123456789n123456789n123456789n123456789n1234");
    (void)temp_folder_text(&w->folder, name, good);
    static const char *const not_ours[] = {".pub", ".revoked", "pub", "bob.pub.tmp", "bob.PUB"};
    for (size_t i = 0; i < sizeof not_ours / sizeof not_ours[0]; i++) {
        (void)snprintf(name, sizeof name, "allowed/%s", not_ours[i]);
        (void)temp_folder_text(&w->folder, name, "not ours");
    }
    list = read_list(w);
    assert_int_equal(list.n, 4);
    assert_int_equal(list.damaged, 5);
    allow_list_free(&list);
    good[n - 2] = '\0'; /* a NUL, and more than a key */
    (void)temp_folder_write(&w->folder, "allowed/bob.pub", good, (size_t)n);
    char large[200];
    memset(large, 'x', sizeof large);
    (void)temp_folder_write(&w->folder, "allowed/mia.pub", large, sizeof large);
    list = read_list(w);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.damaged, 7);
    assert_non_null(strstr(list.first.text, "allowed/"));
    allow_list_free(&list);
}

static void test_a_name_that_was_ever_used_is_taken(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct key_file other = w->keys[1];
    key_generate(&other);
    assert_int_equal(allow_list_add(w->folder.path, &other, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "bob: that name is taken;"));
    struct allow_list list = read_list(w);
    assert_non_null(allow_list_find(&list, w->keys[1].public_key));
    assert_null(allow_list_find(&list, other.public_key));
    assert_null(allow_list_named(&list, "bo"));
    assert_null(allow_list_named(&list, "bobb"));
    allow_list_free(&list);
    assert_int_equal(allow_list_revoke(w->folder.path, "bob", &e), OK);
    assert_int_not_equal(access(temp_folder_file(&w->folder, "allowed/bob.pub"), F_OK), 0);
    assert_int_equal(access(temp_folder_file(&w->folder, "allowed/bob.revoked"), F_OK), 0);
    assert_int_equal(allow_list_add(w->folder.path, &other, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "bob: that name is taken by a revoked key;"));
    (void)snprintf(other.name, sizeof other.name, "-bob");
    assert_int_equal(allow_list_add(w->folder.path, &other, &e), ERR_USAGE);
    assert_int_equal(allow_list_revoke(w->folder.path, "", &e), ERR_USAGE);
    assert_int_equal(allow_list_revoke("/nonexistent/keys", "bob", &e), ERR_NOT_FOUND);
    assert_int_equal(allow_list_add("/nonexistent/keys", &w->keys[0], &e), ERR_NOT_FOUND);
}

static void test_every_one_of_many_names_is_found(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    static const char *const names[] = {"m", "c", "k", "a", "i", "g", "e", "o"};
    struct key_file keys[8];
    for (int i = 0; i < 8; i++) {
        keys[i] = w->keys[0];
        key_generate(&keys[i]);
        (void)snprintf(keys[i].name, sizeof keys[i].name, "%s", names[i]);
        assert_int_equal(allow_list_add(w->folder.path, &keys[i], &e), OK);
        struct allow_list list = read_list(w);
        for (int k = 0; k <= i; k++) {
            const struct allowed_key *found = allow_list_named(&list, names[k]);
            assert_non_null(found);
            assert_memory_equal(found->public_key, keys[k].public_key, KEY_BYTES);
            assert_ptr_equal(allow_list_find(&list, keys[k].public_key), found);
        }
        static const char *const none[] = {"", "b", "d", "f", "h", "j", "l", "n", "p", "zzz"};
        for (size_t k = 0; k < sizeof none / sizeof none[0]; k++) {
            assert_null(allow_list_named(&list, none[k]));
        }
        allow_list_free(&list);
    }
    struct allow_list list = read_list(w);
    assert_names(&list, "a bob c e g i k m mia o zoe");
    struct allow_list copy;
    list.damaged = 3;
    assert_int_equal(allow_list_copy(&list, &copy), OK);
    assert_names(&copy, "a bob c e g i k m mia o zoe");
    assert_int_equal(copy.damaged, 3);
    allow_list_free(&copy);
    assert_true(copy.n == 0 && !copy.keys && copy.damaged == 0);
    mem_fail_after(1);
    assert_int_equal(allow_list_copy(&list, &copy), ERR_NOMEM);
    mem_fail_after(0);
    assert_true(copy.n == 0 && !copy.keys);
    allow_list_free(&list);
    assert_int_equal(allow_list_copy(&list, &copy), OK); /* of nothing */
    assert_int_equal(copy.n, 0);
    allow_list_free(&copy);
}

/* Whichever of them stands first: a revocation is of the name and of the key. */
static void test_a_revocation_reaches_names_and_keys_before_and_behind_it(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    static const char *const names[] = {"adam", "zula"};
    for (int i = 0; i < 2; i++) {
        struct key_file again = w->keys[2]; /* mia's key under other names */
        (void)snprintf(again.name, sizeof again.name, "%s", names[i]);
        assert_int_equal(allow_list_add(w->folder.path, &again, &e), OK);
    }
    struct allow_list list = read_list(w);
    assert_non_null(allow_list_named(&list, "adam"));
    assert_non_null(allow_list_named(&list, "zula"));
    allow_list_free(&list);
    assert_int_equal(allow_list_revoke(w->folder.path, "mia", &e), OK);
    char text[128];
    char hex[KEY_HEX];
    struct key_file fresh;
    key_generate(&fresh);
    key_hex(fresh.public_key, hex);
    (void)snprintf(text, sizeof text, "worker %s\n", hex);
    (void)temp_folder_text(&w->folder, "allowed/mia.pub", text); /* the name again, by hand */
    list = read_list(w);
    for (size_t i = 0; i < list.n; i++) {
        bool kept = strcmp(list.keys[i].name, "bob") == 0 || strcmp(list.keys[i].name, "zoe") == 0;
        assert_int_equal(list.keys[i].revoked, !kept);
        assert_int_equal(allow_list_named(&list, list.keys[i].name) != NULL, kept);
    }
    assert_int_equal(list.n, 6);
    assert_null(allow_list_find(&list, w->keys[2].public_key));
    assert_null(allow_list_find(&list, fresh.public_key));
    allow_list_free(&list);
}

static void test_without_memory_a_list_is_not_read_in_part(void **state)
{
    struct world *w = *state;
    struct allow_list list;
    struct errbuf e;
    enum err error = ERR_NOMEM;
    unsigned long n = 0;
    while (error != OK) {
        assert_true(n < 50);
        mem_fail_after(++n);
        error = allow_list_read(w->folder.path, &list, &e);
        mem_fail_after(0);
        assert_true(error == OK || (error == ERR_NOMEM && list.n == 0 && !list.keys));
    }
    assert_int_equal(list.n, 3);
    assert_true(n > 3);
    allow_list_free(&list);
}

static void test_a_folder_of_keys_is_a_folder(void **state)
{
    struct world *w = *state;
    struct allow_list list;
    struct errbuf e;
    const char *file = temp_folder_text(&w->folder, "file", "");
    assert_int_equal(allow_list_read(file, &list, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "is no folder"));
    assert_true(list.n == 0 && !list.keys);
    static const mode_t bad[] = {0702, 0720, 0722, 0777};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(chmod(temp_folder_file(&w->folder, "allowed"), bad[i]), 0);
        assert_int_equal(allow_list_read(w->folder.path, &list, &e), ERR_REFUSED);
        assert_int_equal(allow_list_add(w->folder.path, &w->keys[0], &e), ERR_REFUSED);
        assert_int_equal(allow_list_revoke(w->folder.path, "bob", &e), ERR_REFUSED);
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
        cmocka_unit_test_setup_teardown(test_a_line_is_a_role_one_space_a_key_and_a_newline, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_files_that_cannot_be_keys_are_damaged_and_others_not_looked_at, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_that_was_ever_used_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_one_of_many_names_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_revocation_reaches_names_and_keys_before_and_behind_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory_a_list_is_not_read_in_part, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_folder_of_keys_is_a_folder, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
