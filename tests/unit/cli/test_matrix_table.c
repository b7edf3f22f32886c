/* test_matrix_table.c - figures, differences and verdicts from made-up results, and the report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/matrix_claim.h"
#include "cli/matrix_report.h"
#include "cli/report_doc.h"
#include "cli/report_html.h"
#include "common/base/mem.h"

enum { SCENARIOS = 40, CELLS = 5 };

static char base[] = "base", pft[] = "pft", name[] = "select", none[] = "", eval[] = "eval",
            measure[] = "accuracy", x[] = "shots", list[] = "results", title[] = "T <b>",
            all_part[] = "select_all";
static char *parts[] = {all_part};

/* Two questions a scenario, side a and b; right where bit (scenario % 8) of right[side] is set. */
static json_t *make_result(const unsigned right[2], int shots)
{
    json_t *questions = json_array();
    double sum = 0.0;
    double sides[2] = {0.0, 0.0};
    for (int i = 0; i < SCENARIOS; i++) {
        for (int side = 0; side < 2; side++) {
            int correct = (right[side] >> (i % 8) & 1u) != 0;
            (void)json_array_append_new(questions,
                                        json_pack("[i,i,i,i,i]", i, 0, side, 0, correct));
            sum += correct;
            sides[side] += correct;
        }
    }
    json_t *result =
        json_pack("{s:s,s:i,s:i,s:f,s:[f,f],s:{s:{s:i,s:f,s:[f,f]},s:{s:i,s:f,s:[f,f]}},s:o}",
                  "readout", "likelihood", "shots", shots, "n", 2 * SCENARIOS, "accuracy",
                  sum / (2 * SCENARIOS), "ci95", 0.1, 0.9, "per_value", "Bold", "n", SCENARIOS,
                  "accuracy", sides[0] / SCENARIOS, "ci95", 0.2, 0.8, "Shy", "n", SCENARIOS,
                  "accuracy", sides[1] / SCENARIOS, "ci95", 0.2, 0.8, "questions", questions);
    (void)json_object_set_new(
        result, "bag_of_words",
        json_pack("{s:i,s:f,s:[f,f]}", "n", 80, "accuracy", 0.6, "ci95", 0.5, 0.7));
    (void)json_object_set_new(
        result, "select_all",
        json_pack("{s:i,s:f,s:[f,f]}", "n", 80, "accuracy", 0.3, "ci95", 0.2, 0.4));
    assert_non_null(result);
    return json_pack("{s:s,s:f,s:i,s:{s:[o]}}", "key", "k", "seconds", 2.0, "attempts", 1, "result",
                     "results", result);
}

struct fixture {
    struct matrix m;
    struct matrix_variant variants[2];
    struct matrix_evaluation evaluation;
    struct matrix_cell cells[CELLS];
    json_t *results[CELLS];
    struct matrix_table *t;
};

static void make(struct fixture *f)
{
    struct errbuf e = {0};
    *f = (struct fixture){0};
    f->variants[0] = (struct matrix_variant){
        .name = base, .what = none, .config = none, .plotted = true, .n_seeds = 1};
    f->variants[1] = (struct matrix_variant){
        .name = pft, .what = none, .config = none, .trained = true, .plotted = true, .n_seeds = 2};
    f->evaluation = (struct matrix_evaluation){.name = name,
                                               .what = none,
                                               .command = eval,
                                               .measure = measure,
                                               .list = list,
                                               .x = x,
                                               .note = none,
                                               .parts = {1, parts},
                                               .chance = 0.5};
    f->m = (struct matrix){.title = title,
                           .lead = none,
                           .config = none,
                           .reference = base,
                           .n_variants = 2,
                           .variants = f->variants,
                           .n_evaluations = 1,
                           .evaluations = &f->evaluation};
    const struct matrix_cell cells[CELLS] = {{0, 0, 0, "base.select", 2.0},
                                             {1, MATRIX_TRAIN, 0, "pft-seed0.train", 3.0},
                                             {1, 0, 0, "pft-seed0.select", 2.0},
                                             {1, MATRIX_TRAIN, 1, "pft-seed1.train", 3.0},
                                             {1, 0, 1, "pft-seed1.select", 2.0}};
    memcpy(f->cells, cells, sizeof cells);
    f->results[0] = make_result((const unsigned[]){0x0F, 0x0F}, 3); /* 1/2 */
    f->results[1] = json_pack("{s:s,s:f,s:i,s:{s:s,s:[[i,f],[i,f]]}}", "key", "k", "seconds", 3.0,
                              "attempts", 1, "result", "adapter", "abc", "curve", 1, 2.0, 2, 1.5);
    f->results[2] = make_result((const unsigned[]){0xFF, 0x7F}, 3); /* 15/16 */
    f->results[4] = make_result((const unsigned[]){0xFF, 0x0F}, 3); /* 12/16 */
    assert_int_equal(matrix_table_new(&f->m, f->cells, CELLS, f->results, &f->t, &e), OK);
}

static void clear(struct fixture *f)
{
    for (int i = 0; i < CELLS; i++) {
        json_decref(f->results[i]);
    }
    mem_free(f->t);
}

static void test_columns_are_found_in_the_results(void **state)
{
    (void)state;
    struct fixture f;
    make(&f);
    assert_int_equal(f.t->n_columns, 2);
    assert_string_equal(f.t->columns[0].label, "select likelihood 3");
    assert_string_equal(f.t->columns[1].label, "select likelihood 3 select_all");
    assert_int_equal(matrix_table_column(f.t, "select"), -1);
    clear(&f);
}

static void test_seeds_are_averaged_question_by_question(void **state)
{
    (void)state;
    struct fixture f;
    struct matrix_figure one;
    make(&f);
    assert_int_equal(matrix_table_figure(f.t, 1, 0, "", &one), OK);
    assert_true(one.there && one.seeds == 2 && one.n == 2 * SCENARIOS);
    assert_true(fabs(one.share - 27.0 / 32.0) < 1e-9);
    assert_true(fabs(one.least - 0.75) < 1e-9 && fabs(one.most - 15.0 / 16.0) < 1e-9);
    assert_true(one.lo < one.share && one.share < one.hi);
    assert_int_equal(matrix_table_figure(f.t, 1, 0, "b", &one), OK);
    assert_true(fabs(one.share - 11.0 / 16.0) < 1e-9);
    assert_int_equal(matrix_table_value(f.t, 1, 0, "Shy", &one), OK);
    assert_true(fabs(one.share - 11.0 / 16.0) < 1e-9 && one.lo < one.share);
    assert_int_equal(matrix_table_figure(f.t, 0, 0, "", &one), OK); /* one seed: its own interval */
    assert_true(fabs(one.lo - 0.1) < 1e-9 && fabs(one.hi - 0.9) < 1e-9);
    matrix_table_words(f.t, 0, &one);
    assert_true(one.there && fabs(one.share - 0.6) < 1e-9);
    clear(&f);
}

static void test_a_difference_is_paired_over_the_same_questions(void **state)
{
    (void)state;
    struct fixture f;
    struct matrix_figure d;
    make(&f);
    assert_int_equal(matrix_table_difference(f.t, 1, 0, 0, "", &d), OK);
    assert_true(d.there && fabs(d.share - 11.0 / 32.0) < 1e-9 && d.lo > 0.0);
    assert_int_equal(matrix_table_difference(f.t, 0, 0, 0, "", &d), OK);
    assert_true(fabs(d.share) < 1e-12 && fabs(d.lo) < 1e-12 && fabs(d.hi) < 1e-12);
    assert_int_equal(matrix_table_difference(f.t, 1, 0, 1, "", &d), OK); /* no questions there */
    assert_false(d.there);
    clear(&f);
}

static enum matrix_verdict judge(const struct fixture *f, struct matrix_claim c)
{
    static char column[] = "select likelihood 3";
    enum matrix_verdict verdict;
    struct str evidence = {0};
    c.text = c.column ? c.column : column;
    c.column = c.column ? c.column : column;
    c.better = pft;
    c.than = c.than ? c.than : none;
    c.side = c.side ? c.side : none;
    assert_int_equal(matrix_claim_judge(f->t, &c, &verdict, &evidence), OK);
    assert_true(evidence.len > 0);
    str_free(&evidence);
    return verdict;
}

static void test_a_difference_without_questions_says_what_it_lacks(void **state)
{
    (void)state;
    static char part[] = "select likelihood 3 select_all";
    struct fixture f;
    struct str evidence = {0};
    enum matrix_verdict verdict;
    make(&f);
    struct matrix_claim c = {.text = part, .column = part, .better = pft, .than = base};
    c.side = none;
    assert_int_equal(matrix_claim_judge(f.t, &c, &verdict, &evidence), OK);
    assert_int_equal(verdict, VERDICT_UNMEASURED);
    assert_non_null(strstr(evidence.data, "pft 0.300, base 0.300: no paired difference"));
    str_free(&evidence);
    clear(&f);
}

#define UNSET                                                                                      \
    .margin = (double)NAN, .at_least = (double)NAN, .at_most = (double)NAN,                        \
    .each_value_at_least = (double)NAN, .above_words = (double)NAN

static void test_verdicts_follow_the_numbers(void **state)
{
    (void)state;
    struct fixture f;
    static char other[] = "select letter";
    make(&f);
    struct matrix_claim c = {UNSET};
    c.than = base;
    assert_int_equal(judge(&f, c), VERDICT_HOLDS);
    c.margin = 0.9;
    assert_int_equal(judge(&f, c), VERDICT_FAILS);
    c.margin = 11.0 / 32.0;
    assert_int_equal(judge(&f, c), VERDICT_UNDECIDED);
    c.column = other;
    assert_int_equal(judge(&f, c), VERDICT_UNMEASURED);
    c = (struct matrix_claim){UNSET};
    c.at_least = 0.8;
    assert_int_equal(judge(&f, c), VERDICT_HOLDS);
    c.at_least = 0.9;
    assert_int_equal(judge(&f, c), VERDICT_FAILS);
    c = (struct matrix_claim){UNSET};
    c.each_value_at_least = 0.7;
    assert_int_equal(judge(&f, c), VERDICT_FAILS);
    c.each_value_at_least = 0.6;
    assert_int_equal(judge(&f, c), VERDICT_HOLDS);
    c = (struct matrix_claim){UNSET};
    c.above_words = 0.24;
    assert_int_equal(judge(&f, c), VERDICT_HOLDS);
    c.above_words = 0.25;
    assert_int_equal(judge(&f, c), VERDICT_FAILS);
    clear(&f);
}

static void test_the_report_has_every_part_and_is_the_same_every_time(void **state)
{
    (void)state;
    struct fixture f;
    make(&f);
    json_t *machine = json_pack("{s:s,s:i}", "model", "tiny", "cores", 2);
    const struct matrix_report_input in = {.m = &f.m,
                                           .cells = f.cells,
                                           .n = CELLS,
                                           .results = f.results,
                                           .machine = machine,
                                           .files = "base: x\n"};
    struct str html[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        json_t *doc = NULL;
        struct str table = {0};
        struct errbuf e = {0};
        assert_int_equal(matrix_report(&in, &doc, &table, &e), OK);
        report_html(doc, &html[i]);
        assert_non_null(strstr(table.data, "bag-of-words"));
        str_free(&table);
        json_decref(doc);
    }
    assert_string_equal(html[0].data, html[1].data);
    static const char *const wanted[] = {"T &lt;b&gt;",
                                         "2 seeds 0.750-0.938",
                                         "Paired difference",
                                         "bag-of-words",
                                         "accuracy against shots",
                                         "Training loss",
                                         "abc",
                                         "failed"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (!strstr(html[0].data, wanted[i])) {
            fail_msg("the report lacks '%s'", wanted[i]);
        }
    }
    str_free(&html[0]);
    str_free(&html[1]);
    json_decref(machine);
    clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_found_in_the_results),
        cmocka_unit_test(test_seeds_are_averaged_question_by_question),
        cmocka_unit_test(test_a_difference_is_paired_over_the_same_questions),
        cmocka_unit_test(test_a_difference_without_questions_says_what_it_lacks),
        cmocka_unit_test(test_verdicts_follow_the_numbers),
        cmocka_unit_test(test_the_report_has_every_part_and_is_the_same_every_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
