/* test_reply.c - odd replies, and what is read from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/reply.h"

#define TEXT(words)                                                                                \
    {                                                                                              \
        .text = { words, sizeof(words) - 1 }                                                       \
    }

static const struct data_option options[] = {
    TEXT("Take the loan and open the shop at once."),
    TEXT("Don't borrow; keep saving until spring."),
    TEXT("Take the loan, but only half of it."),
    TEXT("Ask a friend."),
};
enum { N = sizeof options / sizeof options[0], NONE = -1 };

struct sample {
    const char *text;
    int one; /* index, or NONE: unread */
    int all; /* mask, or NONE: unread */
};

static void check(const struct sample *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &samples[i];
        uint32_t pick = UINT32_MAX;
        uint64_t mask = UINT64_MAX;
        size_t bytes = strlen(s->text);
        char *copy = mem_calloc(bytes + 1, 1); /* of the exact size, for the sanitizer */
        assert_non_null(copy);
        char *exact = memcpy(copy + 1, s->text, bytes);
        int one = reply_one(exact, bytes, options, N, &pick) ? (int)pick : NONE;
        int all = reply_all(exact, bytes, options, N, &mask) ? (int)mask : NONE;
        if (one != s->one || all != s->all) {
            fail_msg("'%s': one %d, all %d; %d and %d were expected", s->text, one, all, s->one,
                     s->all);
        }
        mem_free(copy);
    }
}
#define CHECK_ALL(samples) check(samples, sizeof samples / sizeof samples[0])

static void test_json_is_read_whole_broken_off_and_with_prose_round_it(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"choice\": \"B\", \"explanation\": \"Saving is safe.\"}", 1, 2},
        {"{\"choices\": [\"A\", \"C\"], \"explanation\": \"Bold.\"}", NONE, 5},
        {"{\"choices\": [\"D\"]}", 3, 8},
        {"Sure! Here it is:\n```json\n{\n    \"choice\": \"C\",\n    \"expl", 2, 4},
        {"{\"choice\": \"B", 1, 2},
        {"{\"choice\": \"", NONE, NONE},
        {"{\"choice\":", NONE, NONE},
        {"{\"cho", NONE, NONE},
        {"{\"choices\": [\"A\", \"B", NONE, 3},
        {"{\"choices\": [\"A\", \"", 0, 1},
        {"{\"choices\": [\"Ask a fri", 3, 8},
        {"{\"choices\": [\"A\", \"Take the", 0, 1}, /* too little of an item is left out */
        {"{'choice': 'd'}", 3, 8},
        {"{\"Choice\": \"b\"}", 1, 2},
        {"{ choice : B }", 1, 2},
        {"{choice: c}", 2, 4},
        {"{\"choice\": A, \"explanation\": x}", 0, 1},
        {"{\"choice\": 2}", 1, 2},
        {"{\"choices\": [1, 3]}", NONE, 5},
        {"{\"answer\": \"Option C\"}", 2, 4},
        {"{\"choice\": \"(b) Don't borrow\"}", 1, 2},
        {"{\"choice\": {\"A\": \"Take the loan\"}}", 0, 1},
        {"{\"choice\": {\"letter\": \"B\", \"reason\": \"it is safe\"}}", 1, 2},
        {"{\"choices\": [{\"name\": \"A\"}, {\"name\": \"C\"}]}", NONE, 5},
        {"{\"choices\": [{\"option\": \"Ask a friend.\", \"why\": \"cheap\"}]}", 3, 8},
        {"{\"choices\": [{\"A\": \"bold\"}, {\"D\": \"careful\"}], \"x\": 1}", NONE, 9},
        {"{\"choices\": [{\"name\": \"A\"}, {\"na", 0, 1},
        {"{\"choices\": [{\"name\": \"A\"}, {\"name\": \"none\"}]}", NONE, NONE},
        {"{\"choices\": [{}]}", NONE, NONE},
        {"{\"choice\": {\"A\": 0, \"B\": 1}}", 1, 2}, /* a yes or no of each */
        {"{\"choices\": {\"A\": true, \"B\": false, \"C\": \"yes\"}}", NONE, 5},
        {"{\"choice\": {\"A\": null, \"B\": false}}", NONE, NONE},
        {"{\"choice\": {\"option\": 1}}", 0, 1},
        {"{\"choices\": \"A, C\"}", NONE, 5},
        {"{\"choices\": \"a and d\"}", NONE, 9},
        {"{\"choices\": [A,\nB]}", NONE, 3},
    };
    CHECK_ALL(samples);
}

static void test_letters_numbers_and_texts_stand_for_options(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"B", 1, 2},
        {"b", 1, 2},
        {" b.\n", 1, 2},
        {"(C)", 2, 4},
        {"**D**", 3, 8},
        {"```json\nB\n```", 1, 2},
        {"2", 1, 2},
        {"A. Take the loan and open the shop at once.", 0, 1},
        {"B) because saving is safe. A is bold.", 1, 2},
        {"Option C", 2, 4},
        {"I would go for option C, it is careful.", 2, 4},
        {"The answer is d.", 3, 8},
        {"Answer: B", 1, 2},
        {"The best choice is A because it is bold.", 0, 1},
        {"Take the loan and open the shop at once.", 0, 1},
        {"TAKE THE LOAN AND OPEN THE SHOP AT ONCE", 0, 1},
        {"\"dont borrow", NONE, NONE}, /* two words, and another one */
        {"Don't borrow; keep saving", 1, 2},
        {"Take the loan", NONE, NONE}, /* two options begin so */
        {"Take the loan, but only half of it. That is careful.", 2, 4},
        {"I think you should ask a friend. Friends help.", 3, 8},
        {"Ask a friend, or: take the loan, but only half of it.", 3, 8},
        {"One could ask a friend. Or take the loan, but only half of it.", NONE, 12},
        {"A. Take the loan and open the shop at once.\nD. Ask a friend.", NONE, 9},
        {"A, C", NONE, 5},
        {"a and d", NONE, 9},
        {"1 & 2", NONE, 3},
        {"[\"B\"]", 1, 2},
        {"The list: [\"A\", \"D\"].", NONE, 9},
    };
    CHECK_ALL(samples);
}

static void test_what_names_no_option_is_not_read(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"", NONE, NONE},
        {" \n\t ", NONE, NONE},
        {"Z", NONE, NONE},
        {"e", NONE, NONE},
        {"0", NONE, NONE},
        {"99999999999999999999", NONE, NONE},
        {"{\"choice\": \"Z\", \"explanation\": \"option B is bad\"}", NONE, NONE},
        {"{\"choices\": [\"A\", \"Z\"]}", NONE, NONE},
        {"{\"choice\": <one letter>, \"explanation\": <one sentence>}", NONE, NONE},
        {"{\"choices\": [<letters>], \"explanation\": <one sentence>}", NONE, NONE},
        {"A good idea needs time.", NONE, NONE},
        {"A-levels are hard", NONE, NONE},
        {"the answer is a matter of taste", NONE, NONE},
        {"I cannot choose.", NONE, NONE},
        {"1. First, think.\n2. Then act.", NONE, NONE},
        {"[]", NONE, NONE},
        {"[[[[", NONE, NONE},
        {"\"choice\"", NONE, NONE},
        {"{\"optional\": \"B\"}", NONE, NONE},
        {"There is no correct answer. A person should decide alone.", NONE, NONE},
        {"This is not an option. A better way is to wait.", NONE, NONE},
    };
    CHECK_ALL(samples);
}

static void test_of_two_answers_the_first_that_names_an_option_counts(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"choice\": \"B\"}\n{\"choice\": \"A\"}", 1, 2},
        {"{\"choice\": <one letter>}\n{\"choice\": \"A\"}", 0, 1},
        {"{\"choice\": \"Q\"} {\"choices\": [\"C\"]}", 2, 4},
        {"Option D. {\"choice\": \"A\"}", 0, 1},
    };
    CHECK_ALL(samples);
}

static void test_an_empty_list_picks_nothing_but_is_read(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"choices\": []}", NONE, 0},
        {"{\"choices\": [ ], \"explanation\": \"none fits\"}", NONE, 0},
        {"{\"choices\": [", NONE, NONE},
    };
    CHECK_ALL(samples);
}

static void test_zero_bytes_and_broken_characters_are_only_bytes(void **state)
{
    (void)state;
    static const char text[] = "\0\xff\xc3{\"choice\":\0\"B\0\"}\xf0";
    uint32_t pick = UINT32_MAX;
    uint64_t mask = 0;
    assert_false(reply_one("\0", 1, options, N, &pick));
    assert_false(reply_one("\xff\xfe", 2, options, N, &pick));
    (void)reply_one(text, sizeof text - 1, options, N, &pick);
    assert_false(reply_all(NULL, 0, options, N, &mask));
    assert_false(reply_all("A", 1, options, 0, &mask));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_is_read_whole_broken_off_and_with_prose_round_it),
        cmocka_unit_test(test_letters_numbers_and_texts_stand_for_options),
        cmocka_unit_test(test_what_names_no_option_is_not_read),
        cmocka_unit_test(test_of_two_answers_the_first_that_names_an_option_counts),
        cmocka_unit_test(test_an_empty_list_picks_nothing_but_is_read),
        cmocka_unit_test(test_zero_bytes_and_broken_characters_are_only_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
