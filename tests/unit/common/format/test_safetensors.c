/* test_safetensors.c - reader and writer: round trips, every header rule with its message, every
 * truncation, every failing allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/safetensors.h"
#include "tests/support/temp_folder.h"

static struct temp_folder temp;

/* A file of a header and n bytes of data, opened from memory. */
static enum err open_header(const char *json, size_t n, struct errbuf *e)
{
    struct str s = {0};
    struct safetensors *st = NULL;
    char length[8];
    static const char zeros[1024];
    bytes_put_u64(length, strlen(json));
    str_append(&s, length, sizeof length);
    str_add(&s, json);
    str_append(&s, zeros, n);
    assert_int_equal(str_ok(&s), OK);
    enum err error = safetensors_open_memory(s.data, s.len, &st, e);
    safetensors_close(&st);
    str_free(&s);
    return error;
}

static void test_written_tensors_are_read_back(void **state)
{
    (void)state;
    const float a[6] = {1, -2, 0.5f, 4, 5, 6};
    const uint16_t half[2] = {0x3C00, 0xC000};
    const int32_t ids[3] = {7, -8, 9};
    const struct safetensors_item items[] = {
        {"z.half", SAFETENSORS_F16, 1, {2}, half},   {"b.ids", SAFETENSORS_I32, 1, {3}, ids},
        {"a.matrix", SAFETENSORS_F32, 2, {2, 3}, a}, {"empty", SAFETENSORS_F32, 2, {0, 3}, NULL},
        {"scalar", SAFETENSORS_F32, 0, {0}, a},
    };
    const struct safetensors_text metadata[] = {{"format", "pt"}, {"note", "quote \" and \n"}};
    const char *path = temp_folder_file(&temp, "round.safetensors");
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    float out[6];
    int32_t back[3];
    assert_int_equal(safetensors_write(path, items, 5, metadata, 2, &e), OK);
    assert_int_equal(safetensors_open(path, &st, &e), OK);
    assert_int_equal(safetensors_count(st), 5);
    assert_string_equal(safetensors_metadata(st, "format"), "pt");
    assert_string_equal(safetensors_metadata(st, "note"), "quote \" and \n");
    assert_null(safetensors_metadata(st, "absent"));
    const struct safetensors_tensor *t = safetensors_find(st, "a.matrix");
    assert_non_null(t);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 2);
    assert_int_equal(t->dims[1], 3);
    assert_int_equal(t->offset % 8, 0);
    assert_int_equal(safetensors_read_f32(st, t, 0, 6, out, &e), OK);
    assert_memory_equal(out, a, sizeof a);
    assert_int_equal(safetensors_read_f32(st, t, 4, 2, out, &e), OK);
    assert_memory_equal(out, a + 4, 8);
    assert_int_equal(safetensors_read_f32(st, t, 4, 3, out, &e), ERR_RANGE);
    assert_int_equal(safetensors_read_f32(st, safetensors_find(st, "z.half"), 0, 2, out, &e), OK);
    assert_true(out[0] == 1.0f && out[1] == -2.0f);
    t = safetensors_find(st, "b.ids");
    assert_int_equal(safetensors_read_f32(st, t, 0, 3, out, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "b.ids is I32; F32, F16 and BF16 are supported"));
    assert_int_equal(safetensors_read_raw(st, t, back, &e), OK);
    assert_memory_equal(back, ids, sizeof ids);
    assert_int_equal(safetensors_find(st, "scalar")->elements, 1);
    assert_int_equal(safetensors_find(st, "empty")->bytes, 0);
    assert_null(safetensors_find(st, "a.matri"));
    safetensors_close(&st);
    assert_null(st);
}

static void test_written_bytes_are_sorted_padded_and_always_the_same(void **state)
{
    (void)state;
    const float f[2] = {1, 2};
    const uint8_t u[1] = {3};
    const struct safetensors_item items[] = {{"c", SAFETENSORS_U8, 1, {1}, u},
                                             {"b", SAFETENSORS_F32, 1, {1}, f},
                                             {"a", SAFETENSORS_F32, 1, {1}, f + 1}};
    const char *path = temp_folder_file(&temp, "order.safetensors");
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
                                 "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]}}";
    struct errbuf e = {0};
    char *data = NULL;
    size_t n = 0;
    assert_int_equal(safetensors_write(path, items, 3, NULL, 0, &e), OK);
    assert_int_equal(file_read(path, 4096, &data, &n, &e), OK);
    uint64_t length = bytes_get_u64(data);
    assert_int_equal(length % 8, 0);
    assert_int_equal(n, 8 + length + 9);
    assert_memory_equal(data + 8, header, sizeof header - 1);
    for (size_t i = sizeof header - 1; i < length; i++) {
        assert_int_equal(data[8 + i], ' ');
    }
    assert_memory_equal(data + 8 + length, f + 1, 4);
    assert_memory_equal(data + 8 + length + 4, f, 4);
    assert_int_equal(data[8 + length + 8], 3);
    mem_free(data);
    const struct safetensors_item twice[] = {items[1], items[0], items[1]};
    assert_int_equal(safetensors_write(path, twice, 3, NULL, 0, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "tensor b is there twice"));
}

static void test_a_file_without_tensors_is_legal(void **state)
{
    (void)state;
    const char *path = temp_folder_file(&temp, "none.safetensors");
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    assert_int_equal(safetensors_write(path, NULL, 0, NULL, 0, &e), OK);
    assert_int_equal(safetensors_open(path, &st, &e), OK);
    assert_int_equal(safetensors_count(st), 0);
    assert_null(safetensors_find(st, "a"));
    safetensors_close(&st);
}

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_each_header_rule_is_kept_with_its_message(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t data;
        enum err error;
        const char *message;
    } rows[] = {
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 8, OK, ""},
        {"{" T("a", "F32", "[2]", "[0,8]") "}   ", 8, OK, ""},
        {"{" T("e", "F32", "[0]", "[0,0]") "," T("a", "F32", "[2]", "[0,8]") "}", 8, OK, ""},
        {"{" T("a", "F32", "[2]", "[0,8]") "," T("e", "F32", "[0,9]", "[8,8]") "}", 8, OK, ""},
        {" {" T("a", "F32", "[2]", "[0,8]") "}", 8, ERR_PARSE,
         "must begin with '{', not with byte"},
        {"[]", 0, ERR_PARSE, "must begin with '{'"},
        {"{" T("a", "F32", "[2]", "[0,8]") "}x", 8, ERR_PARSE, "line 1 column"},
        {"{" T("a", "F32", "[2]", "[0,8]"), 8, ERR_PARSE, "line 1 column"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, ERR_PARSE,
         "duplicate"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, ERR_CORRUPT,
         "tensor b begins at 8 of the data, the one before ends at 4: a hole"},
        {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", 8, ERR_CORRUPT,
         "an overlap"},
        {"{" T("a", "F32", "[2]", "[4,12]") "}", 12, ERR_CORRUPT, "a hole"},
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 9, ERR_CORRUPT, "cover 8 of 9 bytes"},
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 7, ERR_CORRUPT, "which has 7 bytes"},
        {"{" T("a", "F32", "[2]", "[8,0]") "}", 8, ERR_RANGE, "ends at 0, before it begins at 8"},
        {"{" T("a", "F32", "[3]", "[0,8]") "}", 8, ERR_RANGE,
         "hold 8 bytes, its shape and dtype F32 "
         "need 12"},
        {"{" T("a", "F32", "[4611686018427387905]", "[0,4]") "}", 4, ERR_RANGE, "hold 4 bytes"},
        {"{" T("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, ERR_RANGE, "2^64 elements"},
        {"{" T("a", "F32", "[18446744073709551616]", "[0,4]") "}", 4, ERR_PARSE, "too big integer"},
        {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, ERR_PARSE, "size 0 of the shape is no count"},
        {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, ERR_PARSE, "is no count"},
        {"{" T("a", "F32", "[1]", "[0,-4]") "}", 4, ERR_PARSE, "data_offsets must be two counts"},
        {"{" T("a", "F32", "[1]", "[0,4,8]") "}", 4, ERR_PARSE, "must be two counts"},
        {"{" T("a", "F32", "{}", "[0,4]") "}", 4, ERR_RANGE, "shape must be an array"},
        {"{" T("a", "F32", "[1,1,1,1,1]", "[0,4]") "}", 4, ERR_RANGE, "an array of 0 to 4 sizes"},
        {"{" T("a", "F33", "[1]", "[0,4]") "}", 4, ERR_UNSUPPORTED, "dtype F33 is not known"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_UNSUPPORTED, "dtype (no string)"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0, ERR_PARSE,
         "key x is not known"},
        {"{\"a\":7}", 0, ERR_PARSE, "tensor a: is an integer, an object is needed"},
        {"{\"__metadata__\":{\"a\":1}}", 0, ERR_PARSE, "a is an integer, a string is needed"},
        {"{\"__metadata__\":[]}", 0, ERR_PARSE, "__metadata__ is an array"},
        {"{\"a\\u0000\":{}}", 0, ERR_PARSE, "line 1"},
        {"{\"\xff\":{}}", 0, ERR_PARSE, "unable to decode byte 0xff"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct errbuf e = {0};
        enum err error = open_header(rows[i].json, rows[i].data, &e);
        if (error != rows[i].error || !strstr(e.text, rows[i].message)) {
            fail_msg("row %zu %s: got %d \"%s\"", i, rows[i].json, (int)error, e.text);
        }
    }
}

static void test_a_deep_header_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    struct str s = {0};
    struct errbuf e = {0};
    str_add(&s, "{\"a\":");
    for (int i = 0; i < 100000; i++) {
        str_add(&s, "[");
    }
    assert_int_equal(open_header(s.data, 0, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "deeper than 64 at byte 68"));
    str_free(&s);
}

static void test_a_length_beyond_the_file_or_the_limit_is_refused(void **state)
{
    (void)state;
    uint8_t file[32] = {0};
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    file[8] = '{';
    bytes_put_u64(file, 25);
    assert_int_equal(safetensors_open_memory(file, sizeof file, &st, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "says it has 25 bytes, the file has 32"));
    bytes_put_u64(file, 100000001);
    assert_int_equal(safetensors_open_memory(file, sizeof file, &st, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "at most 100000000"));
    bytes_put_u64(file, UINT64_MAX);
    assert_int_equal(safetensors_open_memory(file, sizeof file, &st, &e), ERR_RANGE);
    assert_int_equal(safetensors_open_memory(file, 9, &st, &e), ERR_CORRUPT);
    assert_int_equal(safetensors_open_memory("", 0, &st, &e), ERR_CORRUPT);
    assert_null(st);
}

static void test_every_truncation_of_a_file_is_refused(void **state)
{
    (void)state;
    struct errbuf e = {0};
    char *data = NULL;
    size_t n = 0;
    static const char source[] = "tests/golden/tiny-sharded/model-00003-of-00003.safetensors";
    assert_int_equal(file_read(source, 1 << 20, &data, &n, &e), OK);
    for (size_t cut = 0; cut < n; cut++) {
        struct safetensors *st = NULL;
        e.text[0] = '\0';
        char *exact = mem_strndup(data, cut);
        assert_int_not_equal(safetensors_open_memory(exact, cut, &st, &e), OK);
        assert_null(st);
        assert_string_not_equal(e.text, "");
        mem_free(exact);
    }
    const char *path = temp_folder_write(&temp, "cut.safetensors", data, n - 1);
    struct safetensors *st = NULL;
    assert_int_equal(safetensors_open(path, &st, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "cut.safetensors: tensor"));
    mem_free(data);
}

static void test_every_failing_allocation_gives_an_error(void **state)
{
    (void)state;
    static const char path[] = "tests/golden/tiny/model.safetensors";
    for (unsigned long n = 1;; n++) {
        struct safetensors *st = NULL;
        struct errbuf e = {0};
        mem_fail_after(n);
        enum err error = safetensors_open(path, &st, &e);
        mem_fail_after(0);
        assert_true(n < 10000);
        if (error == OK) {
            assert_true(n > 10);
            safetensors_close(&st);
            break;
        }
        assert_int_equal(error, ERR_NOMEM);
        assert_null(st);
        assert_string_not_equal(e.text, "");
    }
    const float f = 1;
    const struct safetensors_item item = {"a", SAFETENSORS_F32, 1, {1}, &f};
    const char *out = temp_folder_file(&temp, "memory.safetensors");
    enum err error = ERR_NOMEM;
    for (unsigned long n = 1; error != OK; n++) {
        struct errbuf e = {0};
        mem_fail_after(n);
        error = safetensors_write(out, &item, 1, NULL, 0, &e);
        mem_fail_after(0);
        assert_true(n < 100 && (error == OK || error == ERR_NOMEM));
        assert_true(error == OK || !file_exists(out));
    }
}

static void test_a_file_that_shrinks_gives_an_error_and_no_signal(void **state)
{
    (void)state;
    const float f[4] = {1, 2, 3, 4};
    const struct safetensors_item item = {"a", SAFETENSORS_F32, 1, {4}, f};
    const char *path = temp_folder_file(&temp, "shrinks.safetensors");
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    float out[4];
    assert_int_equal(safetensors_write(path, &item, 1, NULL, 0, &e), OK);
    assert_int_equal(safetensors_open(path, &st, &e), OK);
    assert_int_equal(truncate(path, 20), 0);
    const struct safetensors_tensor *t = safetensors_find(st, "a");
    assert_int_equal(safetensors_read_f32(st, t, 0, 4, out, &e), ERR_IO);
    assert_non_null(strstr(e.text, "more were expected"));
    safetensors_close(&st);
}

static int set_up(void **state)
{
    (void)state;
    temp_folder_make(&temp);
    return 0;
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
        cmocka_unit_test(test_written_tensors_are_read_back),
        cmocka_unit_test(test_written_bytes_are_sorted_padded_and_always_the_same),
        cmocka_unit_test(test_a_file_without_tensors_is_legal),
        cmocka_unit_test(test_each_header_rule_is_kept_with_its_message),
        cmocka_unit_test(test_a_deep_header_is_refused_before_it_is_parsed),
        cmocka_unit_test(test_a_length_beyond_the_file_or_the_limit_is_refused),
        cmocka_unit_test(test_every_truncation_of_a_file_is_refused),
        cmocka_unit_test(test_every_failing_allocation_gives_an_error),
        cmocka_unit_test(test_a_file_that_shrinks_gives_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
