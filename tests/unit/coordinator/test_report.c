/* test_report.c - the closing table and report.md from the JSON of two evaluations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/report.h"

static const char before[] =
    "{\"n_scenarios\":2,\"results\":[{\"readout\":\"contrast\",\"n\":4,\"accuracy\":0.5,"
    "\"ci95\":[0.25,0.75],\"per_value\":{\"Bold\":{\"n\":2,\"accuracy\":0.5,\"ci95\":[0,1]},"
    "\"Shy\":{\"n\":2,\"accuracy\":0.5,\"ci95\":[0,1]}},\"bag_of_words\":{\"n\":4,\"accuracy\":0."
    "75,"
    "\"ci95\":[0.5,1],\"per_value\":{\"Bold\":{\"n\":2,\"accuracy\":1,\"ci95\":[1,1]}}},"
    "\"questions\":[[0,0,0,1,0],[0,0,1,1,1],[1,0,0,0,1],[1,0,1,0,0]]}]}";
static const char after[] =
    "{\"n_scenarios\":2,\"results\":[{\"readout\":\"contrast\",\"n\":4,\"accuracy\":1.0,"
    "\"ci95\":[1,1],\"per_value\":{\"Bold\":{\"n\":2,\"accuracy\":1,\"ci95\":[1,1]},"
    "\"Shy\":{\"n\":2,\"accuracy\":1,\"ci95\":[1,1]}},\"bag_of_words\":null,"
    "\"questions\":[[0,0,0,0,1],[0,0,1,1,1],[1,0,0,0,1],[1,0,1,1,1]]}]}";

static struct report_input input(void)
{
    return (struct report_input){.run = "runs/x",
                                 .eval_before = before,
                                 .eval_after = after,
                                 .config = "lora:\n  r: 4\n",
                                 .model_name = "Tiny",
                                 .model_quantisation = "F32",
                                 .model_hash = "abc",
                                 .adapter_hash = "def",
                                 .kernels = "portable",
                                 .precision = "fp32",
                                 .steps = 3,
                                 .pairs = 6,
                                 .tokens = 600,
                                 .first_loss = 3.0,
                                 .last_loss = 2.0,
                                 .train_seconds = 2.0};
}

static void test_table_shows_before_after_paired_change_and_the_words_row(void **state)
{
    (void)state;
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    assert_int_equal(report_table(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "contrast"));
    assert_non_null(strstr(out.data, "0.500 [0.25, 0.75]"));
    assert_non_null(strstr(out.data, "1.000 [1.00, 1.00]"));
    assert_non_null(strstr(out.data, "+0.500 ["));
    assert_non_null(strstr(out.data, "bag-of-words"));
    assert_non_null(strstr(out.data, "0.750 [0.50, 1.00]"));
    assert_non_null(strstr(out.data, "3.00 pairs/s, 300 tokens/s"));
    assert_non_null(strstr(out.data, "SHA-256  def"));
    assert_null(strstr(out.data, "contrast, all"));
    str_free(&out);
}

/* select-all: recall of each question before, exact after. */
static void test_select_all_has_rows_of_its_own_with_the_paired_change(void **state)
{
    (void)state;
    static const char text[] =
        "{\"n_scenarios\":2,\"results\":[{\"readout\":\"lift\",\"n\":2,\"accuracy\":0.5,\"ci95\":"
        "[0,1],\"per_value\":{},\"bag_of_words\":null,\"select_all\":{\"n\":2,\"score\":%s,"
        "\"ci95\":[0.1,0.9],\"bag_of_words\":{\"n\":2,\"score\":0.25,\"ci95\":[0,1]},\"scores\":"
        "[%s]},\"questions\":[[0,0,0,0,1],[1,0,0,0,0]]}]}";
    struct str was = {0};
    struct str is = {0};
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    str_addf(&was, text, "0.5", "0.25,0.75");
    str_addf(&is, text, "1", "1,1");
    in.eval_before = was.data;
    in.eval_after = is.data;
    assert_int_equal(report_markdown(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "| lift, all | 0.500 [0.10, 0.90] | 1.000 [0.10, 0.90] | "
                                     "+0.500 [+0.25, +0.75] |"));
    assert_non_null(strstr(out.data, "| bag-of-words, all | 0.250 [0.00, 1.00] |"));
    str_free(&was);
    str_free(&is);
    str_free(&out);
}

static void test_markdown_carries_settings_and_hashes(void **state)
{
    (void)state;
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    assert_int_equal(report_markdown(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "| Bold | 2 | 0.50 | 1.00 | 1.00 |"));
    assert_non_null(strstr(out.data, "lora:\n  r: 4\n"));
    assert_non_null(strstr(out.data, "| base hash | `abc` |"));
    str_free(&out);
}

static void test_a_run_without_an_evaluation_still_reports_its_training(void **state)
{
    (void)state;
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    in.eval_before = NULL;
    in.eval_after = NULL;
    assert_int_equal(report_table(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "trained 3 steps"));
    assert_null(strstr(out.data, "readout"));
    str_free(&out);
}

static void test_steps_that_are_suspect_are_named(void **state)
{
    (void)state;
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    assert_int_equal(report_markdown(&in, &out, &e), OK);
    assert_null(strstr(out.data, "SUSPECT"));
    str_clear(&out);
    in.suspects = "results of w7 in steps 3 to 9";
    assert_int_equal(report_markdown(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "SUSPECT: results of w7 in steps 3 to 9\n"));
    str_clear(&out);
    assert_int_equal(report_table(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "SUSPECT: results of w7 in steps 3 to 9\n"));
    str_free(&out);
}

static void test_a_broken_result_is_refused_with_its_line(void **state)
{
    (void)state;
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    in.eval_before = "{\n]";
    assert_int_equal(report_table(&in, &out, &e), ERR_PARSE);
    assert_non_null(strstr(e.text, "line 2"));
    str_free(&out);
}

static void test_a_bar_in_a_name_begins_no_cell_and_lines_fit_eighty_columns(void **state)
{
    (void)state;
    static const char one[] =
        "{\"n_scenarios\":2,\"results\":[{\"readout\":\"contrast\",\"n\":4,\"accuracy\":1.0,"
        "\"ci95\":[1,1],\"per_value\":{\"Bold|Shy\":{\"n\":2,\"accuracy\":1,\"ci95\":[1,1]}},"
        "\"bag_of_words\":null,\"questions\":[[0,0,0,0,1],[0,0,1,1,1]]}]}";
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    in.run = "runs/a|b";
    in.eval_before = NULL;
    in.eval_after = one;
    assert_int_equal(report_markdown(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "| Bold\\|Shy | 2 | - | 1.00 | - |\n"));
    assert_non_null(strstr(out.data, "| run | `runs/a\\|b` |\n"));
    str_clear(&out);
    in.tokens = 987654321;
    assert_int_equal(report_table(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "Bold|Shy"));
    const char *line = strstr(out.data, "trained 3 steps");
    assert_non_null(line);
    for (int i = 0; i < 3; i++) {
        assert_true(strcspn(line, "\n") <= 78);
        line += strcspn(line, "\n") + 1;
    }
    str_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_shows_before_after_paired_change_and_the_words_row),
        cmocka_unit_test(test_select_all_has_rows_of_its_own_with_the_paired_change),
        cmocka_unit_test(test_markdown_carries_settings_and_hashes),
        cmocka_unit_test(test_a_run_without_an_evaluation_still_reports_its_training),
        cmocka_unit_test(test_steps_that_are_suspect_are_named),
        cmocka_unit_test(test_a_broken_result_is_refused_with_its_line),
        cmocka_unit_test(test_a_bar_in_a_name_begins_no_cell_and_lines_fit_eighty_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
