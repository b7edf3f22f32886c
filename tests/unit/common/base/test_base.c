/* test_base.c - errors, memory, strings, hashes, files, logs, random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/base/str.h"
#include "common/text/utf8.h"
#include "tests/support/temp_folder.h"

static void test_overflowing_allocation_is_refused(void **state)
{
    (void)state;
    assert_null(mem_calloc(SIZE_MAX / 2, 3));
    assert_null(mem_aligned(SIZE_MAX, 1));
}

static void test_the_nth_allocation_can_be_made_to_fail(void **state)
{
    (void)state;
    mem_fail_after(2);
    void *first = mem_calloc(1, 1);
    void *second = mem_calloc(1, 1);
    void *third = mem_calloc(1, 1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    mem_free(first);
    mem_free(third);
}

static void test_json_strings_are_escaped_and_bad_utf8_is_replaced(void **state)
{
    (void)state;
    struct str s = {0};
    str_add_json(&s, "a\"\\\n\x01\xff\xc3\xa9", 8);
    assert_int_equal(str_ok(&s), OK);
    assert_string_equal(s.data, "\"a\\\"\\\\\\n\\u0001\\ufffd\xc3\xa9\"");
    str_free(&s);
}

static void test_a_string_stops_at_its_limit(void **state)
{
    (void)state;
    struct str s = {.limit = 4};
    str_add(&s, "1234");
    assert_int_equal(str_ok(&s), OK);
    str_add(&s, "5");
    assert_int_equal(str_ok(&s), ERR_FULL);
    str_free(&s);
}

static void test_digests_match_known_values(void **state)
{
    (void)state;
    char hex[HASH_SHA256_HEX];
    hash_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_files_are_replaced_whole_and_folders_and_fifos_are_refused(void **state)
{
    (void)state;
    char folder[] = "/tmp/pft-test-XXXXXX";
    char path[FILE_PATH_BYTES];
    struct errbuf e = {0};
    char *data = NULL;
    size_t bytes = 0;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(file_join(path, folder, "f", &e), OK);
    assert_int_equal(file_write_atomic(path, "one", 3, &e), OK);
    assert_int_equal(file_write_atomic(path, "two!", 4, &e), OK);
    assert_int_equal(file_read(path, 100, &data, &bytes, &e), OK);
    assert_int_equal(bytes, 4);
    assert_string_equal(data, "two!");
    mem_free(data);
    assert_int_equal(file_read(path, 3, &data, &bytes, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "4 bytes, at most 3"));
    assert_int_equal(file_read(folder, 3, &data, &bytes, &e), ERR_UNSUPPORTED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_read(path, 3, &data, &bytes, &e), ERR_UNSUPPORTED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_the_reason_behind_a_long_path_is_kept(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    struct errbuf e;
    for (size_t i = 0; i < sizeof path; i++) {
        path[i] = "/\xC3\xA9"[i % 3];
    }
    path[sizeof path - 1] = '\0';
    (void)err_set(&e, ERR_IO, "%s: cannot be opened: %s", path, "No space left on device");
    assert_int_equal(strncmp(e.text, "/\xC3\xA9/", 4), 0);
    assert_non_null(strstr(e.text, ": cannot be opened: No space left on device"));
    (void)err_prefix(&e, ERR_IO, "%s", path);
    assert_non_null(strstr(e.text, ": cannot be opened: No space left on device"));
    uint32_t code;
    for (size_t at = 0, n = strlen(e.text), step; at < n; at += step) {
        step = utf8_get(e.text + at, n - at, &code);
        assert_int_not_equal(step, 0);
    }
    (void)err_set(&e, ERR_IO, "%s", "short");
    assert_string_equal(e.text, "short");
}

static void test_links_and_fifos_are_written_to_and_stay(void **state)
{
    (void)state;
    struct temp_folder t;
    struct errbuf e = {0};
    char got[8] = "";
    struct stat info;
    temp_folder_make(&t);
    const char *target = temp_folder_text(&t, "target", "old");
    const char *link = temp_folder_file(&t, "link");
    const char *fifo = temp_folder_file(&t, "fifo");
    assert_int_equal(symlink("target", link), 0);
    assert_int_equal(file_write_atomic(link, "new", 3, &e), OK);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(unlink(target), 0); /* now it leads to nothing yet */
    assert_int_equal(file_write_atomic(link, "again", 5, &e), OK);
    assert_int_equal(lstat(target, &info), 0);
    assert_int_equal(info.st_size, 5);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(file_write_atomic(fifo, "piped", 5, &e), OK);
    assert_int_equal(read(reader, got, sizeof got), 5);
    assert_memory_equal(got, "piped", 5);
    assert_int_equal(close(reader), 0);
    assert_int_equal(lstat(fifo, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    temp_folder_clear(t.path);
}

static void test_log_lines_go_to_a_copy_only_while_it_is_given(void **state)
{
    (void)state;
    int ends[2];
    char line[512];
    assert_int_equal(pipe(ends), 0);
    log_copy(ends[1]);
    log_event(LOG_ERROR, "first", "n=%d", 1);
    log_copy(-1);
    log_event(LOG_ERROR, "second", "n=%d", 2);
    assert_int_equal(close(ends[1]), 0);
    ssize_t n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_non_null(strstr(line, "error first n=1\n"));
    assert_null(strstr(line, "second"));
    assert_int_equal(close(ends[0]), 0);
}

static void test_shuffle_is_a_permutation_and_depends_only_on_its_key(void **state)
{
    (void)state;
    uint32_t a[100];
    uint32_t b[100];
    int seen[100] = {0};
    for (uint32_t i = 0; i < 100; i++) {
        a[i] = b[i] = i;
    }
    rng_shuffle(7, a, 100);
    rng_shuffle(7, b, 100);
    assert_memory_equal(a, b, sizeof a);
    for (uint32_t i = 0; i < 100; i++) {
        seen[a[i]]++;
    }
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(seen[i], 1);
    }
    rng_shuffle(8, b, 100);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overflowing_allocation_is_refused),
        cmocka_unit_test(test_the_nth_allocation_can_be_made_to_fail),
        cmocka_unit_test(test_json_strings_are_escaped_and_bad_utf8_is_replaced),
        cmocka_unit_test(test_a_string_stops_at_its_limit),
        cmocka_unit_test(test_digests_match_known_values),
        cmocka_unit_test(test_files_are_replaced_whole_and_folders_and_fifos_are_refused),
        cmocka_unit_test(test_the_reason_behind_a_long_path_is_kept),
        cmocka_unit_test(test_links_and_fifos_are_written_to_and_stay),
        cmocka_unit_test(test_log_lines_go_to_a_copy_only_while_it_is_given),
        cmocka_unit_test(test_shuffle_is_a_permutation_and_depends_only_on_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
