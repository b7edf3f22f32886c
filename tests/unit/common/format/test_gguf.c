/* test_gguf.c - reader of GGUF: typed getters, every refusal with its message, every truncation,
 * every failing allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/format/gguf.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

/* Opens and frees what was built; gives code and message. */
static enum err open_built(struct str *s, struct errbuf *e)
{
    struct gguf *g = NULL;
    assert_int_equal(str_ok(s), OK);
    char *exact = mem_strndup(s->data, s->len);
    e->text[0] = '\0';
    enum err error = gguf_open_memory(exact, s->len, &g, e);
    assert_true((error == OK) == (g != NULL));
    gguf_close(&g);
    mem_free(exact);
    str_clear(s);
    return error;
}

#define REFUSED(s, code, message)                                                                  \
    do {                                                                                           \
        struct errbuf why_;                                                                        \
        enum err got_ = open_built(s, &why_);                                                      \
        if (got_ != (code) || !strstr(why_.text, message)) {                                       \
            fail_msg("got %d \"%s\", wanted \"%s\"", (int)got_, why_.text, message);               \
        }                                                                                          \
    } while (0)

static void test_values_of_every_type_are_read_by_their_getter(void **state)
{
    (void)state;
    static const char *const names[] = {"u8", "u16", "u32", "u64"};
    static const uint64_t values[] = {255, 65535, 4294967295, UINT64_MAX};
    struct str s = {0};
    struct gguf *g = NULL;
    struct errbuf e = {0};
    uint64_t number = 0;
    double real = 0;
    bool flag = false;
    const char *text = NULL;
    size_t n = 0;
    gguf_build_every_type(&s);
    assert_int_equal(gguf_open_memory(s.data, s.len, &g, &e), OK);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(gguf_get_uint(g, names[i], &number, &e), OK);
        assert_true(number == values[i]);
    }
    assert_int_equal(gguf_get_uint(g, "i8", &number, &e), ERR_PARSE);
    assert_string_equal(e.text, "memory: key i8 is -1, a count is needed");
    assert_int_equal(gguf_get_uint(g, "i64", &number, &e), ERR_PARSE);
    assert_int_equal(gguf_get_float(g, "f32", &real, &e), OK);
    assert_true(real == 1.5);
    assert_int_equal(gguf_get_float(g, "f64", &real, &e), OK);
    assert_true(real == 2.5);
    assert_int_equal(gguf_get_bool(g, "bool", &flag, &e), OK);
    assert_true(flag);
    assert_int_equal(gguf_get_string(g, "string", &text, &n, &e), OK);
    assert_int_equal(n, 4);
    assert_memory_equal(text, "text", 4);
    assert_int_equal(gguf_get_string(g, "u8", &text, &n, &e), ERR_PARSE);
    assert_string_equal(e.text, "memory: key u8 is a value of type u8, a string is needed");
    assert_int_equal(gguf_get_uint(g, "f32", &number, &e), ERR_PARSE);
    assert_int_equal(gguf_get_float(g, "u32", &real, &e), ERR_PARSE);
    assert_int_equal(gguf_get_bool(g, "u8", &flag, &e), ERR_PARSE);
    assert_int_equal(gguf_get_bool(g, "absent", &flag, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "memory: key absent is missing");
    assert_true(gguf_has(g, "string") && !gguf_has(g, "strin") && !gguf_has(g, "strings2"));
    gguf_close(&g);
    str_free(&s);
}

static void test_arrays_are_walked_in_their_own_type_only(void **state)
{
    (void)state;
    struct str s = {0};
    struct gguf *g = NULL;
    struct errbuf e = {0};
    struct gguf_array array;
    const char *text;
    size_t n;
    int64_t number;
    float real;
    gguf_build_every_type(&s);
    assert_int_equal(gguf_open_memory(s.data, s.len, &g, &e), OK);
    assert_int_equal(gguf_get_array(g, "strings", GGUF_STRING, &array, &e), OK);
    assert_int_equal(array.count, 3);
    assert_true(gguf_array_next_string(&array, &text, &n) && n == 1 && text[0] == 'a');
    assert_true(gguf_array_next_string(&array, &text, &n) && n == 0);
    assert_true(gguf_array_next_string(&array, &text, &n) && n == 3 && text[2] == 'c');
    assert_false(gguf_array_next_string(&array, &text, &n));
    assert_int_equal(gguf_get_array(g, "i16s", GGUF_I32, &array, &e), OK);
    assert_true(gguf_array_next_int(&array, &number) && number == 7);
    assert_true(gguf_array_next_int(&array, &number) && number == -2);
    assert_false(gguf_array_next_int(&array, &number));
    assert_int_equal(gguf_get_array(g, "f32s", GGUF_F32, &array, &e), OK);
    assert_true(gguf_array_next_float(&array, &real) && real == 0.25f);
    assert_true(gguf_array_next_float(&array, &real) && real == -8.0f);
    assert_false(gguf_array_next_float(&array, &real));
    assert_int_equal(gguf_get_array(g, "bools", GGUF_BOOL, &array, &e), OK);
    assert_true(gguf_array_next_int(&array, &number) && number == 1);
    assert_true(gguf_array_next_int(&array, &number) && number == 0);
    assert_int_equal(gguf_get_array(g, "f32s", GGUF_STRING, &array, &e), ERR_PARSE);
    assert_string_equal(e.text,
                        "memory: key f32s is an array of f32, an array of strings is needed");
    assert_int_equal(gguf_get_array(g, "string", GGUF_STRING, &array, &e), ERR_PARSE);
    assert_int_equal(gguf_get_array(g, "absent", GGUF_STRING, &array, &e), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_string(g, "strings", &text, &n, &e), ERR_PARSE);
    gguf_close(&g);
    str_free(&s);
}

static void test_tensors_are_read_from_a_file(void **state)
{
    (void)state;
    struct temp_folder temp;
    struct str s = {0};
    struct gguf *g = NULL;
    struct errbuf e = {0};
    float out[64];
    temp_folder_make(&temp);
    gguf_build_every_type(&s);
    const char *path = temp_folder_write(&temp, "t.gguf", s.data, s.len);
    assert_int_equal(gguf_open(path, &g, &e), OK);
    assert_int_equal(gguf_tensor_count(g), 1);
    const struct gguf_tensor *t = gguf_tensor_find(g, "t");
    assert_non_null(t);
    assert_null(gguf_tensor_find(g, "u"));
    assert_int_equal(t->offset % 64, 0);
    assert_int_equal(gguf_tensor_read(g, t, 0, 64, out, &e), OK);
    for (int i = 0; i < 64; i++) {
        assert_true(out[i] == (float)i);
    }
    assert_int_equal(gguf_tensor_read(g, t, 63, 2, out, &e), ERR_RANGE);
    assert_int_equal(truncate(path, (off_t)s.len - 4), 0);
    assert_int_equal(gguf_tensor_read(g, t, 32, 32, out, &e), ERR_IO);
    gguf_close(&g);
    assert_int_equal(gguf_open(path, &g, &e), ERR_CORRUPT);
    assert_non_null(
        strstr(e.text, "t.gguf: tensor t: 256 bytes at offset 0 of the data do not fit"));
    assert_int_equal(gguf_open(temp.path, &g, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "is a folder"));
    str_free(&s);
    temp_folder_clear(temp.path);
}

static void test_headers_that_lie_are_refused(void **state)
{
    (void)state;
    struct str s = {0};
    str_add(&s, "GGUG............................");
    REFUSED(&s, ERR_PARSE, "does not begin with GGUF");
    gguf_build_header(&s, 1, 0, 0);
    REFUSED(&s, ERR_UNSUPPORTED, "GGUF version 1 is not supported, 2 and 3 are");
    gguf_build_header(&s, 0x03000000, 0, 0);
    REFUSED(&s, ERR_UNSUPPORTED, "a big-endian file?");
    gguf_build_header(&s, 3, 1, 0);
    REFUSED(&s, ERR_CORRUPT, "says it has 1 tensors; at most 65536 are read and 0 fit");
    gguf_build_header(&s, 3, UINT64_MAX, 0);
    REFUSED(&s, ERR_CORRUPT, "18446744073709551615 tensors");
    gguf_build_header(&s, 3, 0, UINT64_MAX);
    REFUSED(&s, ERR_CORRUPT, "18446744073709551615 keys");
    gguf_build_header(&s, 3, 0, 2);
    gguf_build_key(&s, "k", GGUF_U8);
    str_add(&s, "x");
    REFUSED(&s, ERR_CORRUPT, "says it has 2 keys; at most 65536 are read and 1 fit");
    gguf_build_header(&s, 2, 0, 0);
    REFUSED(&s, OK, "");
    str_free(&s);
}

static void test_keys_that_lie_are_refused(void **state)
{
    (void)state;
    struct str s = {0};
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_u64(&s, UINT64_MAX - 7); /* length of the key */
    str_add(&s, "0123456789abcdef");
    REFUSED(&s, ERR_CORRUPT, "ends at byte 48 inside a key");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_key(&s, "s", GGUF_STRING);
    gguf_build_u64(&s, 1ull << 62);
    REFUSED(&s, ERR_CORRUPT, "inside a value");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_array(&s, "a", GGUF_U64, (1ull << 61) + 1); /* times 8 wraps to 8 */
    gguf_build_u64(&s, 0);
    REFUSED(&s, ERR_CORRUPT, "key a: an array of 2305843009213693953 x u64 does not fit");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_array(&s, "a", GGUF_STRING, 3);
    gguf_build_string(&s, "0123456789");
    REFUSED(&s, ERR_CORRUPT, "key a: an array of 3 x string does not fit into the 18 bytes left");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_array(&s, "a", GGUF_ARRAY, 1);
    gguf_build_u64(&s, 0);
    REFUSED(&s, ERR_UNSUPPORTED, "key a: an array of arrays is not supported");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_array(&s, "a", 77, 0);
    REFUSED(&s, ERR_UNSUPPORTED, "an array of an unknown type");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_key(&s, "k", 13);
    gguf_build_u64(&s, 0);
    REFUSED(&s, ERR_PARSE, "key k: value type 13 is not known (0 to 12 are)");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_key(&s, "k", GGUF_BOOL);
    str_append(&s, "\x02", 1);
    REFUSED(&s, ERR_PARSE, "key k: a bool is 2");
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_key(&s, "", GGUF_U8);
    str_add(&s, "xx");
    REFUSED(&s, ERR_PARSE, "has 0 bytes or holds a NUL");
    gguf_build_header(&s, 3, 0, 3);
    for (int i = 0; i < 3; i++) {
        gguf_build_key(&s, i == 1 ? "other" : "same", GGUF_U8);
        str_add(&s, "x");
    }
    REFUSED(&s, ERR_PARSE, "key same is there twice");
    static const uint32_t wrong[] = {0, 3, 48, 1 << 21};
    for (size_t i = 0; i < 4; i++) {
        gguf_build_header(&s, 3, 0, 1);
        gguf_build_key(&s, "general.alignment", GGUF_U32);
        gguf_build_u32(&s, wrong[i]);
        REFUSED(&s, ERR_RANGE, "a power of two up to 1048576 is needed");
    }
    gguf_build_header(&s, 3, 0, 1);
    gguf_build_key(&s, "general.alignment", GGUF_STRING);
    gguf_build_string(&s, "32");
    REFUSED(&s, ERR_PARSE, "general.alignment is a value of type string, an integer is needed");
    str_free(&s);
}

/* One tensor and 64 bytes of data behind it. */
static void one_tensor(struct str *s, const char *name, uint32_t n_dims, const uint64_t *dims,
                       uint32_t type, uint64_t offset)
{
    gguf_build_header(s, 3, 1, 0);
    gguf_build_tensor(s, name, n_dims, dims, type, offset);
    gguf_build_pad(s, 32);
    for (int i = 0; i < 16; i++) {
        gguf_build_f32(s, 1.0f);
    }
}

static void test_tensors_that_lie_are_refused(void **state)
{
    (void)state;
    struct str s = {0};
    const uint64_t small[] = {4, 4, 1, 1, 1};
    const uint64_t huge[] = {1ull << 32, 1ull << 32, 1, 1, 1};
    const uint64_t wraps[] = {1ull << 62, 1, 1, 1, 1};
    const uint64_t block[] = {32, 1, 1, 1, 1};
    const uint64_t none[] = {4, 0, 1, 1, 1};
    one_tensor(&s, "t", 2, small, 0, 0);
    REFUSED(&s, OK, "");
    one_tensor(&s, "t", 0, small, 0, 0);
    REFUSED(&s, ERR_RANGE, "tensor t has 0 dimensions, 1 to 4");
    one_tensor(&s, "t", 5, small, 0, 0);
    REFUSED(&s, ERR_RANGE, "tensor t has 5 dimensions, 1 to 4");
    one_tensor(&s, "t", 2, huge, 0, 0);
    REFUSED(&s, ERR_RANGE, "tensor t: its sizes hold 2^63 elements or more");
    one_tensor(&s, "t", 1, wraps, 0, 0);
    REFUSED(&s, ERR_RANGE, "tensor t: has 2^64 bytes or more");
    one_tensor(&s, "t", 2, none, 0, 0);
    REFUSED(&s, ERR_RANGE, "tensor t: size 1 is 0");
    one_tensor(&s, "t", 2, small, 8, 0);
    REFUSED(&s, ERR_CORRUPT, "tensor t: rows of 4 are no multiple of the 32 elements of a Q8_0");
    one_tensor(&s, "t", 2, small, 0, 16);
    REFUSED(&s, ERR_CORRUPT, "tensor t: offset 16 is no multiple of the alignment 32");
    one_tensor(&s, "t", 2, small, 0, 32);
    REFUSED(&s, ERR_CORRUPT, "tensor t: 64 bytes at offset 32 of the data do not fit");
    one_tensor(&s, "t", 2, small, 0, UINT64_MAX - 31);
    REFUSED(&s, ERR_CORRUPT, "do not fit");
    one_tensor(&s, "", 2, small, 0, 0);
    REFUSED(&s, ERR_PARSE, "tensor 0: its name has 0 bytes");
    one_tensor(&s, "0123456789012345678901234567890123456789012345678901234567890123", 2, small, 0,
               0);
    REFUSED(&s, ERR_PARSE, "tensor 0: its name has 64 bytes");
    gguf_build_header(&s, 3, 2, 0);
    gguf_build_tensor(&s, "t", 1, block, 8, 0);
    gguf_build_tensor(&s, "u", 1, block, 8, 32);
    gguf_build_pad(&s, 32);
    gguf_build_pad(&s, 4096);
    REFUSED(&s, ERR_CORRUPT, "tensors t and u overlap");
    gguf_build_header(&s, 3, 2, 0);
    gguf_build_tensor(&s, "t", 1, block, 8, 0);
    gguf_build_tensor(&s, "t", 1, block, 8, 64);
    gguf_build_pad(&s, 4096);
    REFUSED(&s, ERR_PARSE, "tensor t is there twice");
    str_free(&s);
}

static void test_unsupported_types_are_listed_but_not_read(void **state)
{
    (void)state;
    struct temp_folder temp;
    struct str s = {0};
    struct gguf *g = NULL;
    struct errbuf e = {0};
    const uint64_t dims[] = {256, 1, 1, 1, 1};
    float out[256];
    temp_folder_make(&temp);
    one_tensor(&s, "t", 1, dims, 12, 0);
    assert_int_equal(gguf_open(temp_folder_write(&temp, "k.gguf", s.data, s.len), &g, &e), OK);
    assert_int_equal(gguf_tensor_at(g, 0)->type, QUANT_TYPES);
    assert_int_equal(gguf_tensor_read(g, gguf_tensor_at(g, 0), 0, 256, out, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "tensor t is Q4_K; F32, F16, BF16, Q8_0, Q4_0 and Q4_1"));
    assert_null(gguf_ggml_type_name(4));
    assert_null(gguf_ggml_type_name(4000000000u));
    gguf_close(&g);
    str_free(&s);
    temp_folder_clear(temp.path);
}

static void test_every_truncation_of_a_file_is_refused(void **state)
{
    (void)state;
    struct str s = {0};
    struct errbuf e = {0};
    const struct gguf_build_model model = {.matrix = QUANT_Q4_1};
    for (int which = 0; which < 2; which++) {
        str_clear(&s);
        if (which == 0) {
            gguf_build_every_type(&s);
        } else {
            gguf_build_tiny_model(&s, &model);
        }
        /* The last tensor's padding may go; everything before may not. */
        size_t whole = which == 0 ? s.len : s.len - 31;
        for (size_t cut = 0; cut < whole; cut++) {
            struct gguf *g = NULL;
            char *exact = mem_strndup(s.data, cut);
            e.text[0] = '\0';
            assert_int_not_equal(gguf_open_memory(exact, cut, &g, &e), OK);
            assert_null(g);
            assert_string_not_equal(e.text, "");
            mem_free(exact);
        }
    }
    str_free(&s);
}

static void test_metadata_larger_than_the_first_read_are_read_whole(void **state)
{
    (void)state;
    struct temp_folder temp;
    struct str s = {0};
    struct gguf *g = NULL;
    struct errbuf e = {0};
    struct gguf_array array;
    const uint64_t dims[] = {8};
    const char *text;
    size_t n;
    uint64_t sum = 0;
    temp_folder_make(&temp);
    gguf_build_header(&s, 3, 1, 1);
    gguf_build_array(&s, "many", GGUF_STRING, 400000);
    for (int i = 0; i < 400000; i++) {
        gguf_build_string(&s, "12345678"); /* 6.4 MB in all */
    }
    gguf_build_tensor(&s, "t", 1, dims, 0, 0);
    gguf_build_pad(&s, 32);
    for (int i = 0; i < 8; i++) {
        gguf_build_f32(&s, 2.0f);
    }
    assert_int_equal(gguf_open(temp_folder_write(&temp, "large.gguf", s.data, s.len), &g, &e), OK);
    assert_int_equal(gguf_get_array(g, "many", GGUF_STRING, &array, &e), OK);
    while (gguf_array_next_string(&array, &text, &n)) {
        sum += n;
    }
    assert_int_equal(sum, 3200000);
    gguf_close(&g);
    str_free(&s);
    temp_folder_clear(temp.path);
}

static void test_every_failing_allocation_gives_an_error(void **state)
{
    (void)state;
    enum err error = ERR_NOMEM;
    for (unsigned long n = 1; error != OK; n++) {
        struct gguf *g = NULL;
        struct errbuf e = {0};
        mem_fail_after(n);
        error = gguf_open("tests/golden/gguf/tiny.Q4_1.gguf", &g, &e);
        mem_fail_after(0);
        assert_true(n < 100 && (error == OK || error == ERR_NOMEM));
        assert_true((error == OK) == (g != NULL));
        assert_true(error == OK || e.text[0] != '\0');
        gguf_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_of_every_type_are_read_by_their_getter),
        cmocka_unit_test(test_arrays_are_walked_in_their_own_type_only),
        cmocka_unit_test(test_tensors_are_read_from_a_file),
        cmocka_unit_test(test_headers_that_lie_are_refused),
        cmocka_unit_test(test_keys_that_lie_are_refused),
        cmocka_unit_test(test_tensors_that_lie_are_refused),
        cmocka_unit_test(test_unsupported_types_are_listed_but_not_read),
        cmocka_unit_test(test_every_truncation_of_a_file_is_refused),
        cmocka_unit_test(test_metadata_larger_than_the_first_read_are_read_whole),
        cmocka_unit_test(test_every_failing_allocation_gives_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
