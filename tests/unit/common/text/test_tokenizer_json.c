/* test_tokenizer_json.c - what a tokenizer.json may say, and the message each refusal gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/limits.h"
#include "tests/unit/common/text/tiny_tokenizer.h"

struct refusal {
    const char *from, *to; /* the change to the good document */
    enum err code;
    const char *message;
};

#define NORMALIZER "\"normalizer\":null"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"
#define SPLIT(regex, behavior)                                                                     \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"" behavior           \
    "\",\"invert\":false}"

static const struct refusal REFUSALS[] = {
    {NORMALIZER, "\"normalizer\":{\"type\":\"Lowercase\"}", ERR_UNSUPPORTED,
     "normalizer 'Lowercase'; none (null) and NFC"},
    {NORMALIZER, "\"normalizer\":7", ERR_UNSUPPORTED, "normalizer 'without a type'"},
    {"\"add_prefix_space\":false", "\"add_prefix_space\":true", ERR_UNSUPPORTED,
     "pre_tokenizer 'Sequence' [Digits, ByteLevel]"},
    {"\"individual_digits\":true", "\"individual_digits\":false", ERR_UNSUPPORTED, "known are"},
    {"\"use_regex\":true", "\"use_regex\":false", ERR_UNSUPPORTED, "known are"},
    {"\"type\":\"Sequence\"", "\"type\":\"Whitespace\"", ERR_UNSUPPORTED,
     "pre_tokenizer 'Whitespace'"},
    {TINY_PRE_SMOLLM, "null", ERR_UNSUPPORTED, "pre_tokenizer 'null'"},
    {DIGITS, SPLIT("(a+)+", "Isolated"), ERR_UNSUPPORTED, "[Split, ByteLevel]"},
    {"\"BPE\"", "\"Unigram\"", ERR_UNSUPPORTED, "model type 'Unigram'; only BPE"},
    {"\"dropout\":null", "\"dropout\":0.1", ERR_UNSUPPORTED, "model.dropout is set"},
    {"\"byte_fallback\":false", "\"byte_fallback\":true", ERR_UNSUPPORTED, "byte_fallback is true"},
    {"\"type\":\"BPE\"", "\"continuing_subword_prefix\":\"##\"", ERR_UNSUPPORTED,
     "model.continuing_subword_prefix"},
    {"\"h e\"", "\"h zz\"", ERR_PARSE, "merge 0 'h' + 'zz': its second token"},
    {"\"h e\"", "\"zz h\"", ERR_PARSE, "merge 0 'zz' + 'h': its first token"},
    {"\"h e\"", "\"e h\"", ERR_PARSE, "merge 0 'e' + 'h': the merged token"},
    {"\"h e\"", "\"<|im_end|> e\"", ERR_PARSE, "merge 0 '<|im_end|>' + 'e': its first"},
    {"\"h e\"", "\"he\"", ERR_PARSE, "model.merges[0]: \"a b\" with one space"},
    {"\"h e\"", "\"h  e\"", ERR_PARSE, "model.merges[0]"},
    {"\"h e\"", "[\"h\"]", ERR_PARSE, "model.merges[0]"},
    {"\"merges\":[", "\"other\":[", ERR_PARSE, "model.merges is missing"},
    {"\"vocab\":{", "\"words\":{", ERR_PARSE, "model.vocab is missing"},
    {"\"he\":259", "\"he\":-1", ERR_RANGE, "token 'he' needs an integer id of 0 to 268"},
    {"\"he\":259", "\"he\":269", ERR_RANGE, "token 'he' needs an integer id of 0 to 268"},
    {"\"he\":259", "\"he\":1e3", ERR_RANGE, "token 'he' needs an integer id"},
    {"\"he\":259", "\"he\":260", ERR_PARSE, "have the same id 260"},
    {"\"he\":259,", "", ERR_PARSE, "token id 259 is missing; ids must be 0 to 268"},
    {"\"he\":259", "\"he\":259,\"he\":259", ERR_PARSE, "duplicate object key"},
    {"\"he\":259", "\"\":259", ERR_UNSUPPORTED, "token 259 '' is empty"},
    {"\"he\":259", "\"\\u2581he\":259", ERR_UNSUPPORTED, "byte alphabet"},
    {"\"he\":259", "\"\\ud800\":259", ERR_PARSE, "line 1 column"},
    {"\"b\":101", "\"bb\":101", ERR_PARSE, "no token for the byte 0x62"},
    {"{\"id\":2,", "{\"id\":269,", ERR_RANGE, "token '<|im_end|>' needs an integer id"},
    {"{\"id\":2,", "{\"id\":1,", ERR_PARSE, "added_tokens[2] '<|im_end|>' with id 1 contradicts"},
    {"\"content\":\"<|im_end|>\"", "\"content\":\"he\"", ERR_PARSE, "added_tokens[2] 'he'"},
    {"\"content\":\"<|im_end|>\"", "\"text\":\"he\"", ERR_PARSE, "added_tokens[2] has no content"},
    {"\"added_tokens\":[", "\"added_tokens\":5,\"old\":[", ERR_PARSE, "added_tokens is no array"},
    {"\"model\":{", "\"modell\":{", ERR_UNSUPPORTED, "model type 'nothing'"},
};

static void test_each_thing_not_known_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        const struct refusal *r = &REFUSALS[i];
        struct errbuf e = {0};
        struct tokenizer *tok = NULL;
        struct str json = tiny_json_with(r->from, r->to);
        enum err error = tokenizer_from_json(json.data, json.len, TINY_VOCAB, &tok, &e);
        if (error != r->code || !strstr(e.text, r->message)) {
            fail_msg("%s -> %s: code %d, '%s'; expected %d, '%s'", r->from, r->to, error, e.text,
                     r->code, r->message);
        }
        assert_null(tok);
        str_free(&json);
    }
}

static void test_a_byte_may_lack_a_token_unless_an_unknown_token_would_stand_for_it(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    struct token_list list = {0};
    struct str json = tiny_json_with("\"\xC4\x84\":7", "\"bb\":7"); /* byte 4 */
    assert_int_equal(tokenizer_from_json(json.data, json.len, TINY_VOCAB, &tok, &e), OK);
    assert_int_equal(tokenizer_encode(tok, "\x04", 1, &list, &e), OK);
    assert_int_equal(list.count, 0);
    assert_int_equal(tokenizer_encode(tok, " \x04 ", 3, &list, &e), OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[1].begin, 2);
    token_list_free(&list);
    tokenizer_close(&tok);
    char *unknown = strstr(json.data, "\"unk_token\":null");
    assert_non_null(unknown);
    memcpy(unknown + 12, "\"hh\"", 4);
    assert_int_equal(tokenizer_from_json(json.data, json.len, TINY_VOCAB, &tok, &e),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "1 of the 256 byte tokens are missing"));
    str_free(&json);
}

static void
test_a_vocabulary_larger_than_the_model_is_refused_a_smaller_one_is_padding(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    struct str json = tiny_json(TINY_PRE_SMOLLM, "");
    assert_int_equal(tokenizer_from_json(json.data, json.len, TINY_VOCAB - 1, &tok, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "0 to 267, the model's vocabulary"));
    assert_int_equal(tokenizer_from_json(json.data, json.len, TINY_VOCAB + 50, &tok, &e), OK);
    assert_int_equal(tokenizer_count(tok), TINY_VOCAB);
    tokenizer_close(&tok);
    str_free(&json);
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    struct str json = tiny_json(TINY_PRE_SMOLLM, "");
    for (size_t n = 0; n < json.len; n++) {
        struct errbuf e = {0};
        struct tokenizer *tok = NULL;
        assert_int_equal(tokenizer_from_json(json.data, n, TINY_VOCAB, &tok, &e), ERR_PARSE);
        assert_non_null(strstr(e.text, "line 1"));
    }
    str_free(&json);
}

static void test_deep_nesting_stops_before_the_parser(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    char deep[100001];
    memset(deep, '[', sizeof deep);
    assert_int_equal(tokenizer_from_json(deep, sizeof deep, TINY_VOCAB, &tok, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "JSON nests deeper than 64 at byte 64"));
}

static struct tokenizer *open_split(const char *pattern, const char *normalizer)
{
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    struct str pre = {0};
    str_add(&pre, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
                  "{\"Regex\":");
    str_add_json(&pre, pattern, strlen(pattern));
    str_add(&pre, "},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","
                  "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]}");
    struct str from = tiny_json_with(TINY_PRE_SMOLLM, pre.data);
    struct str json = {0};
    char *at = strstr(from.data, NORMALIZER);
    assert_non_null(at);
    str_append(&json, from.data, (size_t)(at - from.data));
    str_add(&json, normalizer);
    str_add(&json, at + strlen(NORMALIZER));
    assert_int_equal(tokenizer_from_json(json.data, json.len, TINY_VOCAB, &tok, &e), OK);
    str_free(&pre);
    str_free(&from);
    str_free(&json);
    return tok;
}

static void test_the_patterns_of_llama_3_and_qwen_2_are_known_as_text(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct token_list list = {0};
    struct tokenizer *llama = open_split(PRETOKENIZER_LLAMA3_PATTERN, NORMALIZER);
    struct tokenizer *qwen =
        open_split(PRETOKENIZER_QWEN2_PATTERN, "\"normalizer\":{\"type\":\"NFC\"}");
    assert_int_equal(tokenizer_encode(llama, "12", 2, &list, &e), OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(tokenizer_encode(qwen, "12", 2, &list, &e), OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(tokenizer_encode(qwen, "\xC3\xA9", 2, &list, &e), OK);
    assert_int_equal(tokenizer_encode(qwen, "e\xCC\x81", 3, &list, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "U+0301 at byte 1: this tokenizer normalises to NFC"));
    assert_int_equal(tokenizer_encode(llama, "e\xCC\x81", 3, &list, &e), OK);
    token_list_free(&list);
    tokenizer_close(&llama);
    tokenizer_close(&qwen);
}

static void test_every_failing_allocation_of_loading_is_an_error(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct tokenizer *first = tiny_open(TINY_PRE_SMOLLM, "");
    struct str json = tiny_json(TINY_PRE_SMOLLM, "");
    enum err error = ERR_NOMEM;
    unsigned long n = 1;
    tokenizer_close(&first);
    /* Only our own allocations: jansson's lexer passes over a failure and shortens the string. */
    json_set_alloc_funcs(malloc, free);
    for (; error != OK && n < 20000; n++) {
        struct tokenizer *tok = NULL;
        mem_fail_after(n);
        error = tokenizer_from_json(json.data, json.len, TINY_VOCAB, &tok, &e);
        mem_fail_after(0);
        assert_true(error == OK || (error == ERR_NOMEM && !tok));
        tokenizer_close(&tok);
    }
    assert_int_equal(error, OK);
    assert_true(n > 10);
    str_free(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_thing_not_known_is_refused_by_name),
        cmocka_unit_test(test_a_byte_may_lack_a_token_unless_an_unknown_token_would_stand_for_it),
        cmocka_unit_test(
            test_a_vocabulary_larger_than_the_model_is_refused_a_smaller_one_is_padding),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_deep_nesting_stops_before_the_parser),
        cmocka_unit_test(test_the_patterns_of_llama_3_and_qwen_2_are_known_as_text),
        cmocka_unit_test(test_every_failing_allocation_of_loading_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
