/* test_pretokenizer.c - where the four known pre-tokenizers cut, and the classes they cut by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/text/pretokenizer.h"
#include "common/text/utf8.h"

static struct unicode_classes classes;

static int make_classes(void **state)
{
    (void)state;
    struct errbuf e = {0};
    return unicode_classes_init(&classes, &e) == OK ? 0 : -1;
}

static int free_classes(void **state)
{
    (void)state;
    unicode_classes_free(&classes);
    return 0;
}

struct cut {
    enum pretokenizer kind;
    const char *text;
    const char *pieces; /* joined by '|' */
};

static const struct cut CUTS[] = {
    {PRE_GPT2, "it's we'll I'd 'sx", "it|'s| we|'ll| I|'d| '|sx"},
    {PRE_GPT2, "'sx '", "'s|x| '"},
    {PRE_GPT2, "IT'S", "IT|'|S"},
    {PRE_GPT2, "a 123 b45", "a| 123| b|45"},
    {PRE_GPT2, "a   b", "a|  | b"},
    {PRE_GPT2, "a  \n b  ", "a|  \n| b|  "},
    {PRE_GPT2, "a\tb\n", "a|\t|b|\n"},
    {PRE_GPT2, " ...!x?", " ...!|x|?"},
    {PRE_GPT2, "\xC3\xA9t\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD",
     "\xC3\xA9t\xC3\xA9| \xE4\xBD\xA0\xE5\xA5\xBD"},
    {PRE_GPT2,
     "a\xC2\xA0"
     "b",
     "a|\xC2\xA0|b"},
    {PRE_GPT2, "e\xCC\x81", "e|\xCC\x81"},
    {PRE_GPT2, "x\xE1\xA0\x8E y", "x|\xE1\xA0\x8E| y"}, /* U+180E is no space */
    {PRE_DIGIT_GPT2, "a 123", "a| |1|2|3"},
    {PRE_DIGIT_GPT2, "a  5b", "a|  |5|b"},
    {PRE_DIGIT_GPT2, "1 2\xE2\x85\xA7", "1| |2|\xE2\x85\xA7"},
    {PRE_DIGIT_GPT2, "x 's5's", "x| '|s|5|'s"},
    {PRE_LLAMA3, "IT'S 'Tis we'LL", "IT|'S| '|Tis| we|'LL"},
    {PRE_LLAMA3, "x'\xC5\xBF", "x|'\xC5\xBF"},
    {PRE_LLAMA3, "12345 678", "123|45| |678"},
    {PRE_LLAMA3, "a\tb(c", "a|\tb|(c"},
    {PRE_LLAMA3, "a \n\n  b", "a| \n\n| | b"},
    {PRE_LLAMA3, "end.\r\n\nx", "end|.\r\n\n|x"},
    {PRE_LLAMA3, " ?!\n x", " ?!\n| x"},
    {PRE_LLAMA3, "a   ", "a|   "},
    {PRE_LLAMA3, "\nx\r", "\n|x|\r"},
    {PRE_QWEN2, "12 x", "1|2| x"},
    {PRE_QWEN2, "a  1", "a| | |1"},
};

static void test_each_text_is_cut_where_its_pattern_cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CUTS / sizeof CUTS[0]; i++) {
        const struct cut *c = &CUTS[i];
        struct str pieces = {0};
        size_t n = strlen(c->text);
        for (size_t begin = 0; begin < n;) {
            size_t end = pretokenizer_next(c->kind, &classes, c->text, begin, n);
            assert_true(end > begin && end <= n);
            str_add(&pieces, begin > 0 ? "|" : "");
            str_append(&pieces, c->text + begin, end - begin);
            begin = end;
        }
        assert_string_equal(pieces.data, c->pieces);
        str_free(&pieces);
    }
}

static void test_pieces_tile_a_megabyte_of_one_kind_or_of_two_in_turn(void **state)
{
    (void)state;
    static const char *const UNITS[] = {" ", "\n", "a", "1", "'", " \t", "' ", "\n ", "a ", "\r1"};
    static const enum pretokenizer KINDS[] = {PRE_GPT2, PRE_DIGIT_GPT2, PRE_LLAMA3, PRE_QWEN2};
    char *text = mem_calloc(LIMIT_TEXT_BYTES, 1);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof UNITS / sizeof UNITS[0]; u++) {
        for (size_t i = 0; i < LIMIT_TEXT_BYTES; i++) {
            text[i] = UNITS[u][i % strlen(UNITS[u])];
        }
        for (size_t k = 0; k < 4; k++) {
            size_t at = 0;
            while (at < LIMIT_TEXT_BYTES) {
                size_t end = pretokenizer_next(KINDS[k], &classes, text, at, LIMIT_TEXT_BYTES);
                assert_true(end > at && end <= LIMIT_TEXT_BYTES);
                at = end;
            }
        }
    }
    mem_free(text);
}

static void test_classes_are_those_of_unicode(void **state)
{
    (void)state;
    size_t spaces = 0;
    for (uint32_t code = 0; code < UTF8_CODE_POINTS; code++) {
        spaces += (classes.of[code] & CLASS_SPACE) != 0;
        int kinds = classes.of[code] & (CLASS_LETTER | CLASS_NUMBER | CLASS_SPACE);
        assert_int_equal(kinds & (kinds - 1), 0);
    }
    assert_int_equal(spaces, 25); /* White_Space, unchanged since Unicode 6.3 */
    assert_int_equal(classes.of['a'], CLASS_LETTER);
    assert_int_equal(classes.of['7'], CLASS_NUMBER);
    assert_int_equal(classes.of['_'], 0);
    assert_int_equal(classes.of[0x2167], CLASS_NUMBER); /* roman eight */
    assert_int_equal(classes.of[0x4E00], CLASS_LETTER);
    assert_int_equal(classes.of[0x301], CLASS_NFC_UNSURE);
    assert_int_equal(classes.of[0xF900], CLASS_LETTER | CLASS_NFC_UNSURE);
    assert_int_equal(classes.of[0x10FFFF], 0);
}

static void test_names_in_a_gguf_are_known_or_refused(void **state)
{
    (void)state;
    enum pretokenizer kind = PRE_GPT2;
    assert_true(pretokenizer_from_gguf("smollm", 6, &kind));
    assert_int_equal(kind, PRE_DIGIT_GPT2);
    assert_true(pretokenizer_from_gguf("llama-bpe", 9, &kind));
    assert_int_equal(kind, PRE_LLAMA3);
    assert_false(pretokenizer_from_gguf("default", 7, &kind));
    assert_false(pretokenizer_from_gguf("smollm2", 7, &kind));
    assert_false(pretokenizer_from_gguf("", 0, &kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_text_is_cut_where_its_pattern_cuts),
        cmocka_unit_test(test_pieces_tile_a_megabyte_of_one_kind_or_of_two_in_turn),
        cmocka_unit_test(test_classes_are_those_of_unicode),
        cmocka_unit_test(test_names_in_a_gguf_are_known_or_refused),
    };
    return cmocka_run_group_tests(tests, make_classes, free_classes);
}
