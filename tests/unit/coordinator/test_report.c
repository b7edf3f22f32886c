/* test_report.c - the closing table and report.md from the JSON of two evaluations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/dataset.h"
#include "coordinator/report.h"
#include "coordinator/values.h"

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

static void test_the_margin_row_comes_first_and_ends_in_its_paired_change(void **state)
{
    (void)state;
    static const char text[] =
        "{\"n_scenarios\":2,\"results\":[{\"readout\":\"contrast\",\"n\":2,\"accuracy\":0.5,"
        "\"ci95\":[0,1],\"margin\":%s,\"margin_ci95\":[%s],\"margins\":[%s],\"per_value\":{},"
        "\"bag_of_words\":null,\"questions\":[[0,0,0,0,1],[1,0,0,0,0]]}]}";
    struct str was = {0};
    struct str is = {0};
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    str_addf(&was, text, "-0.01", "-0.02,0.03", "-0.02,0");
    str_addf(&is, text, "0.14", "0.1,0.2", "0.13,0.15");
    in.eval_before = was.data;
    in.eval_after = is.data;
    assert_int_equal(report_table(&in, &out, &e), OK);
    const char *margin = strstr(out.data, "\n  contrast margin    -0.010 [-0.020, 0.030]");
    assert_non_null(margin);
    assert_non_null(strstr(margin, " 0.140 [0.100, 0.200]"));
    assert_non_null(strstr(margin, "+0.150 [+0.150, +0.150]\n  contrast  "));
    str_free(&was);
    str_free(&is);
    str_free(&out);
}

static const char dilemmas[] =
    "[{\"scenario\":\"First? It is a long story whose words do not all fit on one line of eighty "
    "columns.\",\"preference domain\":\"Nerve\",\"scene\":\"s\",\"options\":["
    "{\"text\":\"Leap.\",\"bias\":\"Bold\"},{\"text\":\"Hide.\",\"bias\":\"Shy\"}]},"
    "{\"scenario\":\"Second?\",\"preference domain\":\"Nerve\",\"scene\":\"s\",\"options\":["
    "{\"text\":\"Roar.\",\"bias\":\"Bold\"},{\"text\":\"Hush.\",\"bias\":\"Shy\"}]}]";
static const char nerve[] = "axes:\n  - name: \"Nerve\"\n    poles:\n"
                            "      - name: \"Bold\"\n        sentence: \"Is bold.\"\n"
                            "      - name: \"Shy\"\n        sentence: \"Is shy.\"\n";

static void test_two_dilemmas_show_the_picks_under_both_values_before_and_after(void **state)
{
    (void)state;
    struct str out = {0};
    struct errbuf e = {0};
    struct report_input in = input();
    struct values *values = NULL;
    struct dataset *test = NULL;
    assert_int_equal(values_parse(nerve, strlen(nerve), "nerve.yaml", &values, &e), OK);
    assert_int_equal(dataset_parse(dilemmas, strlen(dilemmas), "d.json", values,
                                   GROUP_SCENARIO, &test, &e),
                     OK);
    in.values = values;
    in.test = test;
    in.objective = "pft: both";
    assert_int_equal(report_table(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "  objective pft: both\n"));
    assert_non_null(strstr(out.data, "    told Bold, it picks\n"
                                     "      before  the opposite  Hide.\n"
                                     "      after   its value     Leap.\n"
                                     "    told Shy, it picks\n"
                                     "      before  its value     Hide.\n"));
    assert_non_null(strstr(out.data, "      after   its value     Hush.\n"));
    for (const char *line = strstr(out.data, "First?"); line; line = strchr(line + 1, '\n')) {
        assert_in_range(strcspn(line + 1, "\n"), 0, 80);
    }
    out.len = 0;
    assert_int_equal(report_markdown(&in, &out, &e), OK);
    assert_non_null(strstr(out.data, "- told *Shy*, it picks\n  - before (its value): Hide.\n"));
    dataset_free(&test);
    values_free(&values);
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
        cmocka_unit_test(test_the_margin_row_comes_first_and_ends_in_its_paired_change),
        cmocka_unit_test(test_two_dilemmas_show_the_picks_under_both_values_before_and_after),
        cmocka_unit_test(test_select_all_has_rows_of_its_own_with_the_paired_change),
        cmocka_unit_test(test_markdown_carries_settings_and_hashes),
        cmocka_unit_test(test_a_run_without_an_evaluation_still_reports_its_training),
        cmocka_unit_test(test_steps_that_are_suspect_are_named),
        cmocka_unit_test(test_a_broken_result_is_refused_with_its_line),
        cmocka_unit_test(test_a_bar_in_a_name_begins_no_cell_and_lines_fit_eighty_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
