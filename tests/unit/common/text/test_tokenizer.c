/* test_tokenizer.c - plain text to tokens and back, on a tiny tokenizer made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/rng.h"
#include "tests/unit/common/text/tiny_tokenizer.h"

static struct tokenizer *tok;

static int open_tiny(void **state)
{
    (void)state;
    tok = tiny_open(TINY_PRE_SMOLLM, "");
    return 0;
}

static int close_tiny(void **state)
{
    (void)state;
    tokenizer_close(&tok);
    return 0;
}

static struct token_list encode(const char *text, size_t n)
{
    struct token_list list = {0};
    struct errbuf e = {0};
    assert_int_equal(tokenizer_encode(tok, text, n, &list, &e), OK);
    return list;
}

static uint32_t byte_id(char c)
{
    return TINY_BYTES_FIRST + (unsigned char)c;
}

static uint32_t merged_id(unsigned rank)
{
    return TINY_MERGED_FIRST + rank;
}

static void expect(const char *text, const uint32_t *ids, size_t n)
{
    struct token_list list = encode(text, strlen(text));
    assert_int_equal(list.count, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(list.items[i].id, ids[i]);
    }
    token_list_free(&list);
}

static void test_merges_go_by_rank_and_digits_stand_alone(void **state)
{
    (void)state;
    const uint32_t the[] = {merged_id(1), merged_id(2)};
    const uint32_t hello[] = {merged_id(5), byte_id('x')};
    const uint32_t digits[] = {byte_id('1'), byte_id('2'), byte_id(' '), byte_id('1')};
    const uint32_t spaces[] = {byte_id('a'), merged_id(9), byte_id(' '), byte_id('b')};
    const uint32_t owner[] = {byte_id('x'), merged_id(8)};
    expect("the the", the, 2);
    expect("hellox", hello, 2);
    expect("12 1", digits, 4);
    expect("a   b", spaces, 4);
    expect("x's", owner, 2);
    expect("", the, 0);
}

static void test_text_of_a_control_token_stays_plain(void **state)
{
    (void)state;
    struct token_list list = encode("<|im_start|>", 12);
    uint32_t id = 99;
    assert_int_equal(list.count, 12);
    for (size_t i = 0; i < list.count; i++) {
        assert_true(list.items[i].id >= TINY_BYTES_FIRST);
    }
    token_list_free(&list);
    assert_true(tokenizer_special(tok, "<|im_end|>", &id));
    assert_int_equal(id, 2);
    assert_false(tokenizer_special(tok, "hello", &id));
    assert_false(tokenizer_special(tok, "<|im_end|", &id));
}

static void test_tokens_are_appended_with_offsets_from_the_text(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct token_list list = encode("the", 3);
    assert_int_equal(tokenizer_encode(tok, "a hello", 7, &list, &e), OK);
    assert_int_equal(list.count, 4);
    assert_int_equal(list.items[1].begin, 0);
    assert_int_equal(list.items[1].end, 1);
    assert_int_equal(list.items[3].begin, 2);
    assert_int_equal(list.items[3].end, 7);
    token_list_free(&list);
}

static size_t random_text(uint64_t key, char *out, size_t characters)
{
    static const uint32_t FROM[] = {'a',  'h',   ' ',    '\n',    '0', '\'',
                                    0xE0, 0x370, 0x4E00, 0x1F600, 0};
    static const uint32_t SIZE[] = {26, 8, 1, 1, 10, 1, 64, 256, 4096, 64, 0xD800};
    size_t n = 0;
    for (uint64_t i = 0; i < characters; i++) {
        uint64_t kind = rng_below(key, 2 * i, sizeof FROM / sizeof FROM[0]);
        n += utf8_put(out + n, FROM[kind] + (uint32_t)rng_below(key, 2 * i + 1, SIZE[kind]));
    }
    return n;
}

static void test_decoding_an_encoding_gives_the_text_and_ranges_tile_it(void **state)
{
    (void)state;
    const char *given = getenv("PFT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20261123;
    char text[800];
    struct errbuf e = {0};
    print_message("seed %llu (PFT_SEED changes it)\n", (unsigned long long)seed);
    for (uint64_t round = 0; round < 500; round++) {
        uint64_t key = rng_key(seed, round, 0, 0);
        size_t n = random_text(key, text, (size_t)rng_below(key, 9999, 200));
        struct token_list list = encode(text, n);
        struct str back = {0};
        size_t at = 0;
        for (size_t i = 0; i < list.count; i++) {
            assert_int_equal(list.items[i].begin, at);
            at = list.items[i].end;
            assert_int_equal(tokenizer_decode(tok, &list.items[i].id, 1, &back, &e), OK);
            assert_int_equal(back.len, at);
        }
        assert_int_equal(at, n);
        assert_true(n == 0 || memcmp(back.data, text, n) == 0);
        str_free(&back);
        token_list_free(&list);
    }
}

static void test_bytes_that_are_no_utf8_are_refused_with_their_offset(void **state)
{
    (void)state;
    static const char *const BAD[] = {"ab\xFFx",
                                      "ab\xC3",
                                      "ab\xC0\x80",
                                      "ab\xED\xA0\x80",
                                      "ab\xE0\x80\x80",
                                      "ab\xF4\x90\x80\x80",
                                      "ab\xF0\x80\x80\x80",
                                      "ab\x80",
                                      "ab\xE2\x82"};
    struct token_list list = encode("the", 3);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct errbuf e = {0};
        assert_int_equal(tokenizer_encode(tok, BAD[i], strlen(BAD[i]), &list, &e), ERR_PARSE);
        assert_non_null(strstr(e.text, "byte 2 "));
        assert_int_equal(list.count, 1);
    }
    token_list_free(&list);
}

static void test_a_text_may_hold_a_nul_and_a_megabyte_but_no_more(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct token_list list = encode("a\0b", 3);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.items[1].id, TINY_BYTES_FIRST);
    char *text = mem_calloc(LIMIT_TEXT_BYTES + 1, 1);
    assert_non_null(text);
    memset(text, 'h', LIMIT_TEXT_BYTES + 1);
    assert_int_equal(tokenizer_encode(tok, text, LIMIT_TEXT_BYTES, &list, &e), OK);
    assert_int_equal(list.count, 3 + LIMIT_TEXT_BYTES);
    assert_int_equal(tokenizer_encode(tok, text, LIMIT_TEXT_BYTES + 1, &list, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "1048577 bytes; at most 1048576"));
    mem_free(text);
    token_list_free(&list);
}

static void test_ids_without_text_are_refused(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct str out = {0};
    const uint32_t ids[] = {merged_id(0), TINY_VOCAB};
    size_t bytes = 7;
    assert_null(tokenizer_text(tok, TINY_VOCAB, &bytes));
    assert_int_equal(bytes, 0);
    assert_null(tokenizer_text(tok, UINT32_MAX, &bytes));
    assert_int_equal(tokenizer_decode(tok, ids, 2, &out, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "token 1 is id 269"));
    str_free(&out);
    const char *name = tokenizer_text(tok, 1, &bytes);
    assert_int_equal(bytes, 12);
    assert_memory_equal(name, "<|im_start|>", 12);
    assert_int_equal(tokenizer_count(tok), TINY_VOCAB);
    assert_true(strlen(tokenizer_unicode_version(tok)) >= 5);
}

static void test_a_whole_piece_is_taken_when_merges_are_ignored(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct token_list list = {0};
    struct tokenizer *whole =
        tiny_open("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
                  "\"ignore_merges\":true,");
    assert_int_equal(tokenizer_encode(whole, " 12", 3, &list, &e), OK);
    assert_int_equal(list.count, 2); /* " 12" is no token; rank 6 "12" goes before rank 7 " 1" */
    assert_int_equal(list.items[1].id, merged_id(6));
    assert_int_equal(tokenizer_encode(whole, "hello", 5, &list, &e), OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(tokenizer_encode(whole, "<|im_end|>", 10, &list, &e), OK);
    assert_int_equal(list.count, 13);
    token_list_free(&list);
    tokenizer_close(&whole);
}

static void test_every_failing_allocation_of_encoding_is_an_error(void **state)
{
    (void)state;
    struct errbuf e = {0};
    enum err error = ERR_NOMEM;
    for (unsigned long n = 1; error != OK && n < 100; n++) {
        struct token_list list = {0};
        mem_fail_after(n);
        error = tokenizer_encode(tok, "hello the hello", 15, &list, &e);
        mem_fail_after(0);
        assert_true(error == OK || (error == ERR_NOMEM && list.count == 0));
        token_list_free(&list);
    }
    assert_int_equal(error, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_go_by_rank_and_digits_stand_alone),
        cmocka_unit_test(test_text_of_a_control_token_stays_plain),
        cmocka_unit_test(test_tokens_are_appended_with_offsets_from_the_text),
        cmocka_unit_test(test_decoding_an_encoding_gives_the_text_and_ranges_tile_it),
        cmocka_unit_test(test_bytes_that_are_no_utf8_are_refused_with_their_offset),
        cmocka_unit_test(test_a_text_may_hold_a_nul_and_a_megabyte_but_no_more),
        cmocka_unit_test(test_ids_without_text_are_refused),
        cmocka_unit_test(test_a_whole_piece_is_taken_when_merges_are_ignored),
        cmocka_unit_test(test_every_failing_allocation_of_encoding_is_an_error),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
