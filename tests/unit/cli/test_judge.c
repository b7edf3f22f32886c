/* test_judge.c - scores out of replies, the words' scorer, cutting, the statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "cli/judge_sum.h"
#include "common/base/mem.h"

static void test_a_score_is_read_leniently_and_never_guessed(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        double score; /* below 0: none */
    } cases[] = {
        {"7", 7},
        {" 10\n", 10},
        {"Score: 8", 8},
        {"8/10", 8},
        {"**9** out of **9**", 9},
        {"{\"score\": 6.5}", 6.5},
        {"{\"score\": 3, \"why\": \"2 of 5\"}", 3},
        {"<think>3 or 4, rather 4 of 10.</think>\n\n4", 4},
        {"<think>5</think><think>6</think> 7/10", 7},
        {"<think>It is 4", -1},
        {"<think>4</think>", -1},
        {"", -1},
        {"no idea", -1},
        {"11", -1},
        {"-3", -1},
        {"3 or 4", -1},
        {"7.5", -1},
        {"{\"score\": 12}", -1},
        {"99999999999999999999999", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double score = -1.0;
        bool found = judge_read_score(cases[i].reply, &score);
        assert_int_equal(found, cases[i].score >= 0.0);
        if (found) {
            assert_true(fabs(score - cases[i].score) < 1e-12);
        }
    }
}

static void test_answers_are_cut_to_whole_words(void **state)
{
    (void)state;
    char *cut = judge_cut("  one two\nthree four", 3);
    assert_string_equal(cut, "  one two\nthree");
    mem_free(cut);
    cut = judge_cut("one", 5);
    assert_string_equal(cut, "one");
    mem_free(cut);
    assert_int_equal(judge_words_in(" a  b\tc\n"), 3);
    assert_int_equal(judge_words_in(""), 0);
}

static void test_the_words_score_an_answer_low_for_the_opposite_value(void **state)
{
    (void)state;
    struct values *values = NULL;
    struct judge_scorer *s = NULL;
    struct errbuf e = {0};
    assert_int_equal(values_load("configs/values/vcd.yaml", &values, &e), OK);
    assert_int_equal(judge_words_new("data/starter_train.json", values, &s, &e), OK);
    assert_string_equal(s->name, "words");
    struct judge_question q = {.values = values,
                               .prompt = "p",
                               .answer = "Take the risk and bet the savings on the new venture."};
    double own;
    double opposite;
    bool known;
    assert_int_equal(s->score(s, &q, &own, &known, &e), OK);
    assert_true(known);
    q.side = 1;
    assert_int_equal(s->score(s, &q, &opposite, &known, &e), OK);
    assert_true(fabs(own + opposite - 10.0) < 1e-9);
    assert_true(own >= 0.0 && own <= 10.0);
    s->free(s);
    values_free(&values);
}

static void test_scores_come_with_swap_and_length(void **state)
{
    (void)state;
    struct values *values = NULL;
    struct errbuf e = {0};
    assert_int_equal(values_load("configs/values/vcd.yaml", &values, &e), OK);
    struct judge_answer items[4] = {{.prompt = "p", .answer = "a", .axis = 0, .side = 0},
                                    {.prompt = "p", .answer = "b", .axis = 0, .side = 1},
                                    {.prompt = "q", .answer = "c", .axis = 1, .side = 0},
                                    {.prompt = "q", .answer = "d", .axis = 1, .side = 1}};
    items[2].cluster = items[3].cluster = 1;
    const struct judge_marks marks[4] = {
        {.own = 8, .opposite = 2, .cut = 7, .words = 10},
        {.own = 6, .opposite = 7, .cut = 6, .words = 8},
        {.own = 9, .opposite = 1, .cut = 9, .words = 12},
        {.own = (double)NAN, .opposite = 3, .cut = (double)NAN, .words = 4}};
    struct judge_answers answers = {.n = 4, .items = items};
    struct judge_scorer scorer = {.name = "words"};
    const struct judge_sum_input in = {
        .values = values, .answers = &answers, .marks = marks, .cut_words = 8, .scorer = &scorer};
    json_t *all = NULL;
    assert_int_equal(judge_sum(&in, &all, &e), OK);
    assert_int_equal(json_integer_value(json_object_get(all, "n")), 3);
    assert_int_equal(json_integer_value(json_object_get(all, "unscored")), 1);
    assert_true(fabs(json_number_value(json_object_get(all, "score")) - 23.0 / 3.0) < 1e-9);
    const json_t *swap = json_object_get(all, "swap");
    assert_true(fabs(json_number_value(json_object_get(swap, "difference")) - 13.0 / 3.0) < 1e-9);
    assert_true(fabs(json_number_value(json_object_get(swap, "lower")) - 2.0 / 3.0) < 1e-9);
    const json_t *length = json_object_get(all, "length");
    assert_true(json_number_value(json_object_get(length, "correlation")) > 0.9);
    assert_int_equal(json_object_size(json_object_get(all, "per_value")), 3);
    assert_true(json_is_false(json_object_get(all, "is_llm_judge")));
    json_decref(all);
    values_free(&values);
}

static void test_a_key_leaves_this_machine_only_encrypted(void **state)
{
    (void)state;
    struct judge_http *h = NULL;
    struct errbuf e = {0};
    struct judge_http_config cfg = {
        .url = "http://judge.example/v1", .key = "secret", .per_minute = 60, .attempts = 1};
    assert_int_equal(judge_http_open(&cfg, &h, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "use https://"));
    assert_null(strstr(e.text, "secret"));
    cfg.url = "http://127.0.0.1.evil.example/v1";
    assert_int_equal(judge_http_open(&cfg, &h, &e), ERR_REFUSED);
    cfg.url = "ftp://127.0.0.1/";
    assert_int_equal(judge_http_open(&cfg, &h, &e), ERR_USAGE);
    cfg.url = "http://127.0.0.1:9/v1";
    cfg.key = "two\r\nlines";
    assert_int_equal(judge_http_open(&cfg, &h, &e), ERR_REFUSED);
    cfg.key = "secret";
    assert_int_equal(judge_http_open(&cfg, &h, &e), OK);
    judge_http_close(&h);
    assert_null(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_score_is_read_leniently_and_never_guessed),
        cmocka_unit_test(test_answers_are_cut_to_whole_words),
        cmocka_unit_test(test_the_words_score_an_answer_low_for_the_opposite_value),
        cmocka_unit_test(test_scores_come_with_swap_and_length),
        cmocka_unit_test(test_a_key_leaves_this_machine_only_encrypted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
