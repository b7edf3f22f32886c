/* test_tokenizer_golden.c - the committed goldens of Hugging Face `tokenizers`, text by text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "common/text/tokenizer.h"

static void check_line(const struct tokenizer *tok, const char *line, size_t n)
{
    json_error_t at;
    struct errbuf e = {0};
    struct token_list list = {0};
    json_t *value = json_loadb(line, n, JSON_ALLOW_NUL, &at);
    assert_non_null(value);
    const json_t *text = json_object_get(value, "text");
    const json_t *ids = json_object_get(value, "ids");
    assert_int_equal(
        tokenizer_encode(tok, json_string_value(text), json_string_length(text), &list, &e), OK);
    if (list.count != json_array_size(ids)) {
        fail_msg("%.*s: %zu tokens", (int)n, line, list.count);
    }
    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i].id != json_integer_value(json_array_get(ids, i))) {
            fail_msg("%.*s: token %zu is %u", (int)n, line, i, list.items[i].id);
        }
    }
    token_list_free(&list);
    json_decref(value);
}

static void check_file(const char *model, const char *lines)
{
    struct errbuf e = {0};
    struct model_file *mf = NULL;
    struct tokenizer *tok = NULL;
    char *text = NULL;
    size_t bytes = 0;
    size_t count = 0;
    assert_int_equal(model_open(model, &mf, &e), OK);
    assert_int_equal(tokenizer_open(mf, &tok, &e), OK);
    model_close(&mf);
    assert_int_equal(file_read(lines, LIMIT_JSON_BYTES, &text, &bytes, &e), OK);
    for (const char *at = text; *at; count++) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        check_line(tok, at, (size_t)(end - at));
        at = end + 1;
    }
    print_message("%zu texts of %s\n", count, lines);
    assert_true(count >= 100);
    mem_free(text);
    tokenizer_close(&tok);
}

static void test_merges_as_pairs_give_the_golden_ids(void **state)
{
    (void)state;
    check_file("tests/golden/tiny", "tests/golden/tokenizer.tiny.jsonl");
}

static void test_merges_as_text_and_missing_bytes_give_the_golden_ids(void **state)
{
    (void)state;
    check_file("tests/golden/tiny-untied", "tests/golden/tokenizer.tiny-untied.jsonl");
}

static void test_the_metadata_of_a_gguf_gives_the_golden_ids(void **state)
{
    (void)state;
    check_file("tests/golden/gguf/tiny.Q4_1.gguf", "tests/golden/tokenizer.tiny.jsonl");
    check_file("tests/golden/gguf/tiny-untied.Q8_0.gguf",
               "tests/golden/tokenizer.tiny-untied.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_as_pairs_give_the_golden_ids),
        cmocka_unit_test(test_merges_as_text_and_missing_bytes_give_the_golden_ids),
        cmocka_unit_test(test_the_metadata_of_a_gguf_gives_the_golden_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
