/* test_model_hash.c - what a model's hash is made of, and the cache that must never matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/str.h"
#include "common/format/model_hash.h"
#include "tests/support/temp_folder.h"

static struct temp_folder temp;

static const char *hash_of(const char *path)
{
    static char hex[2][HASH_SHA256_HEX];
    static unsigned turn;
    struct errbuf e = {0};
    char *out = hex[turn++ % 2];
    if (model_hash_file(path, out, &e) != OK) {
        fail_msg("%s", e.text);
    }
    return out;
}

static void set_times(const char *path, time_t seconds)
{
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_a_folder_is_the_digest_of_its_sorted_lines(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "m-2.safetensors", "m.safetensors",
                                        "tokenizer.json"};
    char hex[HASH_SHA256_HEX];
    char wanted[HASH_SHA256_HEX];
    struct str lines = {0};
    struct errbuf e = {0};
    struct temp_folder folder;
    temp_folder_make(&folder);
    for (size_t i = 4; i-- > 0;) {
        temp_folder_text(&folder, names[i], names[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        hash_sha256_hex(names[i], strlen(names[i]), hex);
        str_addf(&lines, "%s %s\n", names[i], hex);
    }
    hash_sha256_hex(lines.data, lines.len, wanted);
    assert_int_equal(model_hash_folder(folder.path, hex, &e), OK);
    assert_string_equal(hex, wanted);
    temp_folder_text(&folder, "README.md", "not part of it");
    assert_int_equal(model_hash_folder(folder.path, hex, &e), OK);
    assert_string_equal(hex, wanted);
    temp_folder_text(&folder, "m-3.safetensors", "part of it");
    assert_int_equal(model_hash_folder(folder.path, hex, &e), OK);
    assert_string_not_equal(hex, wanted);
    assert_int_equal(model_hash_folder("/nonexistent", hex, &e), ERR_NOT_FOUND);
    temp_folder_clear(folder.path);
    str_free(&lines);
}

static void test_a_cached_digest_is_used_until_size_or_time_change(void **state)
{
    (void)state;
    char one[HASH_SHA256_HEX];
    char two[HASH_SHA256_HEX];
    char path[FILE_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s", temp_folder_text(&temp, "cached", "content 1"));
    hash_sha256_hex("content 1", 9, one);
    hash_sha256_hex("content 2", 9, two);
    set_times(path, 1000000);
    assert_string_equal(hash_of(path), one);
    temp_folder_text(&temp, "cached", "content 2");
    set_times(path, 1000000); /* same size, same time: nobody could tell */
    assert_string_equal(hash_of(path), one);
    set_times(path, 1000001);
    assert_string_equal(hash_of(path), two);
    temp_folder_text(&temp, "cached", "content 1 and more");
    set_times(path, 1000001);
    assert_string_not_equal(hash_of(path), two);
    assert_int_equal(symlink(path, temp_folder_file(&temp, "link")), 0);
    assert_string_equal(hash_of(temp_folder_file(&temp, "link")), hash_of(path));
}

static void test_a_cache_that_is_damaged_or_not_there_changes_nothing(void **state)
{
    (void)state;
    char right[HASH_SHA256_HEX];
    char name[HASH_SHA256_HEX];
    char entry[256];
    char path[FILE_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s", temp_folder_text(&temp, "file", "bytes"));
    hash_sha256_hex("bytes", 5, right);
    assert_string_equal(hash_of(path), right);
    hash_sha256_hex(path, strlen(path), name);
    (void)snprintf(entry, sizeof entry, "cache/hashes/%s", name);
    assert_true(file_exists(temp_folder_file(&temp, entry)));
    static const char *const damages[] = {"", "garbage", "5 0.000000000 /other\nabc\n"};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        temp_folder_text(&temp, entry, damages[i]);
        assert_string_equal(hash_of(path), right);
    }
    temp_folder_text(&temp, "no-folder", "");
    assert_int_equal(setenv("PFT_CACHE", temp_folder_file(&temp, "no-folder"), 1), 0);
    assert_string_equal(hash_of(path), right);
    assert_int_equal(unsetenv("PFT_CACHE"), 0);
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_string_equal(hash_of(path), right);
    struct errbuf e = {0};
    assert_int_equal(model_hash_file("/nonexistent", right, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "/nonexistent"));
}

static int set_up(void **state)
{
    (void)state;
    temp_folder_make(&temp);
    return setenv("PFT_CACHE", temp_folder_file(&temp, "cache"), 1);
}

static int tear_down(void **state)
{
    (void)state;
    temp_folder_clear(temp.path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_is_the_digest_of_its_sorted_lines),
        cmocka_unit_test(test_a_cached_digest_is_used_until_size_or_time_change),
        cmocka_unit_test(test_a_cache_that_is_damaged_or_not_there_changes_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
