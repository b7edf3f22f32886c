/* test_bpe.c - the merging of one piece: the work is bounded by its structure, however hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/rng.h"
#include "tests/unit/common/text/tiny_tokenizer.h"

enum { DOUBLINGS = 12, ALPHABET = 95 };

/* Printable ASCII, then "aa", "aaaa", ... and, right-leaning, "ba", "cba", "dcba". */
static void make_doubling(struct bpe **out)
{
    static char letters[ALPHABET * 2];
    static char as[1 << DOUBLINGS];
    static const char *const CHAIN[] = {"ba", "cba", "dcba"};
    struct token_source tokens[ALPHABET + DOUBLINGS + 3];
    struct merge_source merges[DOUBLINGS + 3];
    struct errbuf e = {0};
    memset(as, 'a', sizeof as);
    for (uint32_t i = 0; i < ALPHABET; i++) {
        uint32_t code = tiny_code_of_byte(0x20 + i);
        tokens[i] =
            (struct token_source){letters + 2 * i, utf8_put(letters + 2 * i, code), TOKEN_TEXT};
    }
    for (size_t i = 0; i < DOUBLINGS; i++) {
        size_t half = (size_t)1 << i;
        tokens[ALPHABET + i] = (struct token_source){as, 2 * half, TOKEN_TEXT};
        merges[i] = (struct merge_source){as, as, half, half};
    }
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(CHAIN[i]);
        tokens[ALPHABET + DOUBLINGS + i] = (struct token_source){CHAIN[i], n, TOKEN_TEXT};
        merges[DOUBLINGS + i] = (struct merge_source){CHAIN[i], CHAIN[i] + 1, 1, n - 1};
    }
    const struct bpe_source source = {.tokens = tokens,
                                      .merges = merges,
                                      .tokens_count = sizeof tokens / sizeof tokens[0],
                                      .merges_count = sizeof merges / sizeof merges[0]};
    assert_int_equal(bpe_new(&source, out, &e), OK);
}

static void check_work(const struct bpe *bpe, const char *piece, size_t n, size_t tokens_expected)
{
    struct bpe_scratch scratch = {0};
    struct token_list list = {0};
    assert_int_equal(bpe_encode(bpe, &scratch, piece, 0, n, &list), OK);
    assert_true(scratch.pushes <= 3 * (uint64_t)n);
    assert_int_equal(scratch.heap_count, 0);
    if (tokens_expected > 0) {
        assert_int_equal(list.count, tokens_expected);
    }
    uint32_t at = 0;
    for (size_t i = 0; i < list.count; i++) {
        size_t bytes;
        const char *text = bpe_text(bpe, list.items[i].id, &bytes);
        assert_int_equal(list.items[i].begin, at);
        assert_int_equal(list.items[i].end - at, bytes);
        assert_memory_equal(text, piece + at, bytes);
        at = list.items[i].end;
    }
    assert_int_equal(at, n);
    bpe_scratch_free(&scratch);
    token_list_free(&list);
}

static void test_a_megabyte_without_a_space_costs_three_pushes_a_byte_at_most(void **state)
{
    (void)state;
    struct bpe *bpe = NULL;
    char *piece = mem_calloc(LIMIT_TEXT_BYTES, 1);
    assert_non_null(piece);
    make_doubling(&bpe);
    memset(piece, 'a', LIMIT_TEXT_BYTES);
    check_work(bpe, piece, LIMIT_TEXT_BYTES, LIMIT_TEXT_BYTES >> DOUBLINGS);
    check_work(bpe, piece, LIMIT_TEXT_BYTES - 1, 0);
    for (size_t i = 0; i < LIMIT_TEXT_BYTES; i++) {
        piece[i] = "dcba"[i % 4];
    }
    check_work(bpe, piece, LIMIT_TEXT_BYTES, LIMIT_TEXT_BYTES / 4);
    for (size_t i = 0; i < LIMIT_TEXT_BYTES; i++) {
        piece[i] = "aaab"[rng_below(7, i, 4)];
    }
    check_work(bpe, piece, LIMIT_TEXT_BYTES, 0);
    bpe_free(&bpe);
    mem_free(piece);
}

static void test_of_equal_pairs_the_leftmost_is_merged_first(void **state)
{
    (void)state;
    struct bpe *bpe = NULL;
    struct bpe_scratch scratch = {0};
    struct token_list list = {0};
    make_doubling(&bpe);
    assert_int_equal(bpe_encode(bpe, &scratch, "xaaay", 1, 4, &list), OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].begin, 1);
    assert_int_equal(list.items[0].end, 3);
    bpe_scratch_free(&scratch);
    token_list_free(&list);
    bpe_free(&bpe);
}

static void expect_refusal(const struct token_source *tokens, size_t n, enum err code,
                           const char *message)
{
    struct errbuf e = {0};
    struct bpe *bpe = NULL;
    const struct bpe_source source = {.tokens = tokens, .tokens_count = n};
    assert_int_equal(bpe_new(&source, &bpe, &e), code);
    assert_null(bpe);
    if (!strstr(e.text, message)) {
        fail_msg("'%s' does not say '%s'", e.text, message);
    }
}

static void test_twins_gaps_and_counts_are_refused(void **state)
{
    (void)state;
    const struct token_source twins[] = {{"a", 1, TOKEN_TEXT}, {"a", 1, TOKEN_TEXT}};
    const struct token_source specials[] = {{"<x>", 3, TOKEN_SPECIAL}, {"<x>", 3, TOKEN_SPECIAL}};
    const struct token_source gap[] = {{"a", 1, TOKEN_TEXT}, {NULL, 0, TOKEN_ABSENT}};
    const struct token_source nameless[] = {{"", 0, TOKEN_SPECIAL}};
    const struct token_source control[] = {{"a\nb", 3, TOKEN_TEXT}};
    const struct token_source lone[] = {{"a", 1, TOKEN_TEXT}, {"pad", 3, TOKEN_UNUSED}};
    const struct token_source huge[] = {{"a", SIZE_MAX, TOKEN_TEXT}};
    expect_refusal(twins, 2, ERR_PARSE, "tokens 0 and 1 are the same: 'a'");
    expect_refusal(specials, 2, ERR_PARSE, "tokens 0 and 1 are the same: '<x>'");
    expect_refusal(gap, 2, ERR_PARSE, "token id 1 is missing");
    expect_refusal(nameless, 1, ERR_UNSUPPORTED, "token 0 '' is empty");
    expect_refusal(control, 1, ERR_UNSUPPORTED, "token 0 'a?b'");
    expect_refusal(lone, 2, ERR_PARSE, "no token for the byte 0x20");
    expect_refusal(huge, 1, ERR_RANGE, "exceed 268435456 bytes");
    expect_refusal(NULL, 0, ERR_RANGE, "0 tokens");
    expect_refusal(lone, LIMIT_VOCAB + 1, ERR_RANGE, "1048577 tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_megabyte_without_a_space_costs_three_pushes_a_byte_at_most),
        cmocka_unit_test(test_of_equal_pairs_the_leftmost_is_merged_first),
        cmocka_unit_test(test_twins_gaps_and_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
