/* test_json_stream.c - items one by one, and the exact words for files that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json_stream.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/str.h"

/* Reads all items; *n counts those that came before an error. */
static enum err read_all(const char *text, size_t bytes, size_t *n, struct errbuf *e)
{
    struct json_stream s;
    json_t *item = NULL;
    *e = (struct errbuf){0};
    *n = 0;
    enum err error = json_stream_open(&s, "f.json", text, bytes, e);
    while (error == OK) {
        error = json_stream_next(&s, &item, NULL, e);
        if (error != OK || !item) {
            break;
        }
        json_decref(item);
        (*n)++;
    }
    return error;
}

static void expect(const char *text, size_t items, enum err code, const char *message)
{
    struct errbuf e;
    size_t n;
    int got = read_all(text, strlen(text), &n, &e);
    assert_string_equal(e.text, message);
    assert_int_equal(got, code);
    assert_int_equal(n, items);
}

static void test_arrays_and_lines_give_the_same_items_and_places(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[{\"a\":1},\n  {\"a\":2}]\n",
        "{\"a\":1}\n  {\"a\":2}\n",
        "\xEF\xBB\xBF{\"a\":1}\r\n  {\"a\":2}\r\n",
        "\xEF\xBB\xBF[{\"a\":1},\r\n  {\"a\":2}\r\n]\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_stream s;
        struct errbuf e = {0};
        struct json_place place = {0};
        json_t *item = NULL;
        assert_int_equal(json_stream_open(&s, "f", texts[i], strlen(texts[i]), &e), OK);
        assert_int_equal(json_stream_next(&s, &item, &place, &e), OK);
        assert_int_equal(place.line, 1);
        assert_int_equal(place.column, s.array ? 2 : 1);
        json_decref(item);
        assert_int_equal(json_stream_next(&s, &item, &place, &e), OK);
        assert_int_equal(json_integer_value(json_object_get(item, "a")), 2);
        assert_int_equal(place.line, 2);
        assert_int_equal(place.column, 3);
        json_decref(item);
        assert_int_equal(json_stream_next(&s, &item, &place, &e), OK);
        assert_null(item);
    }
    expect("[]", 0, OK, "");
    expect("[ ]\r\n", 0, OK, "");
}

static void test_broken_files_get_line_column_and_what_was_expected(void **state)
{
    (void)state;
    expect("", 0, ERR_PARSE,
           "f.json:1:1: the file is empty; expected a JSON array of items, or an item a line");
    expect(" \n ", 0, ERR_PARSE,
           "f.json:2:2: the file is empty; expected a JSON array of items, or an item a line");
    expect("hello", 0, ERR_PARSE,
           "f.json:1:1: expected '[' (a JSON array of items) or '{' (an item a line), found 'h'");
    expect("\xff\xfe[\1", 0, ERR_PARSE, "f.json:1:1: is UTF-16; save it as UTF-8");
    expect("[1]", 0, ERR_PARSE, "f.json:1:2: expected item 1, an object '{...}', found '1'");
    expect("[", 0, ERR_PARSE,
           "f.json:1:2: expected item 1, an object '{...}', found the end of the file");
    expect("[{},]", 1, ERR_PARSE, "f.json:1:5: expected item 2, an object '{...}', found ']'");
    expect("[{}\n{}]", 1, ERR_PARSE, "f.json:2:1: expected ',' or ']' behind item 1, found '{'");
    expect("[{}] x", 1, ERR_PARSE, "f.json:1:6: expected nothing behind the array, found 'x'");
    expect("{} {}", 1, ERR_PARSE, "f.json:1:4: expected a line end behind item 1, found '{'");
    expect("{}\n\n]", 1, ERR_PARSE, "f.json:3:1: expected item 2, an object '{...}', found ']'");
    expect("[{\"a\": \"x\n\"}]", 0, ERR_PARSE,
           "f.json:1:10: is no JSON: unexpected newline near '\"x'");
    expect("[{\"a\": tru}]", 0, ERR_PARSE, "f.json:1:11: is no JSON: invalid token near 'tru'");
    expect("[\n {\"a\": 1, \"a\": 2}]", 0, ERR_PARSE,
           "f.json:2:14: is no JSON: duplicate object key near '\"a\"'");
    expect("[{\"a\": 1e400}]", 0, ERR_RANGE, "f.json:1:13: a number is too large");
    expect("[{\"a\": \"\\u0000\"}]", 0, ERR_PARSE, "f.json:1:16: a text holds the NUL character");
    expect("[{\"a\": \"\\ud800\"}]", 0, ERR_PARSE,
           "f.json:1:16: is no JSON: invalid Unicode '\\uD800' near '\"\\ud800\"'");
    expect("[{\"a\": \"\\udc00 \"}]", 0, ERR_PARSE,
           "f.json:1:17: is no JSON: invalid Unicode '\\uDC00' near '\"\\udc00 \"'");
    expect("[{\"a\": \"\xff\"}]", 0, ERR_PARSE,
           "f.json:1:9: is no JSON: unable to decode byte 0xff near '\"'; the file must be "
           "UTF-8 throughout");
    expect("[{\"a\": 1,}]", 0, ERR_PARSE,
           "f.json:1:11: is no JSON: string or '}' expected near '}'");
    expect("[{\"a\": [1}]", 0, ERR_PARSE, "f.json:1:11: is no JSON: ']' expected near '}'");
    expect("[{\"a\": 1}, {\"b\": ", 1, ERR_PARSE,
           "f.json:1:18: the file ends inside item 2, which begins at 1:12");
    expect("{\"a\": 1}\n{\"b\": \"x\n", 1, ERR_PARSE,
           "f.json:2:9: is no JSON: unexpected newline near '\"x'");
}

static void test_depth_is_capped_without_recursion(void **state)
{
    (void)state;
    struct str text = {0};
    struct errbuf e;
    size_t n;
    for (int depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
        str_clear(&text);
        str_add(&text, "[{\"a\":");
        for (int i = 1; i < depth; i++) {
            str_add(&text, "[");
        }
        for (int i = 1; i < depth; i++) {
            str_add(&text, "]");
        }
        str_add(&text, "}]");
        enum err error = read_all(text.data, text.len, &n, &e);
        assert_int_equal(error, depth <= LIMIT_JSON_DEPTH ? OK : ERR_RANGE);
    }
    assert_string_equal(e.text, "f.json:1:70: is nested more than 64 deep");
    str_clear(&text);
    str_add(&text, "[{\"a\":");
    for (int i = 0; i < 100000; i++) {
        str_add(&text, "[");
    }
    assert_int_equal(read_all(text.data, text.len, &n, &e), ERR_RANGE);
    str_free(&text);
}

static void test_a_nul_byte_and_every_truncation_end_in_a_message(void **state)
{
    (void)state;
    static const char text[] = "[{\"a\": \"x\\u00e9\\\"]}\", \"b\": [1, -2.5e3, true, null, {}]},\n"
                               " {\"c\": {\"d\": \"\xC3\xA9\"}}\n]\n";
    size_t n;
    struct errbuf e;
    for (size_t bytes = 0; bytes < sizeof text - 3; bytes++) {
        char *copy = mem_strndup(text, bytes); /* exact size: ASan sees a read behind the end */
        assert_int_not_equal(read_all(copy, bytes, &n, &e), OK);
        assert_true(strncmp(e.text, "f.json:", 7) == 0);
        mem_free(copy);
    }
    assert_int_equal(read_all(text, sizeof text - 1, &n, &e), OK);
    assert_int_equal(n, 2);
    assert_int_equal(read_all("{\"a\": \"x\0y\"}", 12, &n, &e), ERR_PARSE);
    assert_int_equal(read_all("{}\n\0", 4, &n, &e), ERR_PARSE);
    assert_string_equal(e.text, "f.json:2:1: expected item 2, an object '{...}', found byte 0x00");
}

static void test_values_inside_an_item_are_located(void **state)
{
    (void)state;
    static const char text[] = "[{\"x\": 0},\n {\"s\": \"a{\\\"}\", \"n\": -1.5,\n"
                               "  \"o\": [ {\"t\": 1},\n          {\"\\u0074\": [], \"u\": 7} ]}]";
    struct json_stream s;
    struct errbuf e = {0};
    json_t *item = NULL;
    assert_int_equal(json_stream_open(&s, "f", text, sizeof text - 1, &e), OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(json_stream_next(&s, &item, NULL, &e), OK);
        json_decref(item);
    }
    const struct json_step u[] = {{"o", 0}, {NULL, 1}, {"u", 0}};
    struct json_place p = json_stream_locate(&s, u, 3);
    assert_true(p.line == 4 && p.column == 31);
    const struct json_step t[] = {{"o", 0}, {NULL, 1}, {"t", 0}};
    p = json_stream_locate(&s, t, 3);
    assert_true(p.line == 4 && p.column == 22);
    const struct json_step missing[] = {{"o", 0}, {NULL, 0}, {"u", 0}};
    p = json_stream_locate(&s, missing, 3);
    assert_true(p.line == 3 && p.column == 10);
    const struct json_step number[] = {{"n", 0}};
    p = json_stream_locate(&s, number, 1);
    assert_true(p.line == 2 && p.column == 22);
    assert_int_equal(json_stream_fail(&s, number, 1, &e, ERR_RANGE, "n is %d", 3), ERR_RANGE);
    assert_string_equal(e.text, "f:2:22: n is 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays_and_lines_give_the_same_items_and_places),
        cmocka_unit_test(test_broken_files_get_line_column_and_what_was_expected),
        cmocka_unit_test(test_depth_is_capped_without_recursion),
        cmocka_unit_test(test_a_nul_byte_and_every_truncation_end_in_a_message),
        cmocka_unit_test(test_values_inside_an_item_are_located),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
