/* test_choices.c - the list of lettered answers behind a question. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/choices.h"

static void expect_stem(const char *text, const char *stem)
{
    struct choices_span s = choices_stem(text, strlen(text));
    assert_int_equal(s.bytes, strlen(stem));
    assert_memory_equal(text + s.begin, stem, s.bytes);
}

/* words NULL: there is no such choice. */
static void expect_choice(const char *text, const char *answer, const char *words)
{
    struct choices_span s = {0};
    assert_int_equal(choices_find(text, strlen(text), answer, &s), words != NULL);
    if (words) {
        assert_int_equal(s.bytes, strlen(words));
        assert_memory_equal(text + s.begin, words, s.bytes);
    }
}

static void test_a_letter_stands_for_the_words_behind_it(void **state)
{
    (void)state;
    static const char text[] = "Yes or no?\n\nChoices:\n (A) Yes\n (B) No, thanks (really)";
    expect_stem(text, "Yes or no?");
    expect_choice(text, "(A)", "Yes");
    expect_choice(text, " (B)\n", "No, thanks (really)");
    expect_choice(text, "(C)", NULL);
    expect_choice(text, "A", NULL);
    expect_choice(text, "(A) Yes", NULL);
}

static void test_words_may_go_over_several_lines_and_lists_may_be_long(void **state)
{
    (void)state;
    static const char text[] = "Q\nChoices:\n(A) one\nand more\n(B) two\n(C) three\n";
    expect_choice(text, "(A)", "one\nand more");
    expect_choice(text, "(B)", "two");
    expect_choice(text, "(C)", "three");
}

static void test_a_question_without_a_list_is_all_stem(void **state)
{
    (void)state;
    expect_stem("  Why?\n", "Why?");
    expect_stem("Choices: which are there?", "Choices: which are there?");
    expect_choice("Why? (A) because", "(A)", NULL);
    expect_choice("", "(A)", NULL);
    expect_choice("Q\nChoices:\n(A)   \n(B) x", "(A)", NULL);
}

static void test_the_last_list_counts(void **state)
{
    (void)state;
    static const char text[] = "About:\nChoices:\n(A) old\n\nChoices:\n(A) new";
    expect_stem(text, "About:\nChoices:\n(A) old");
    expect_choice(text, "(A)", "new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_letter_stands_for_the_words_behind_it),
        cmocka_unit_test(test_words_may_go_over_several_lines_and_lists_may_be_long),
        cmocka_unit_test(test_a_question_without_a_list_is_all_stem),
        cmocka_unit_test(test_the_last_list_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
