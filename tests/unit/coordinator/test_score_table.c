/* test_score_table.c - tables of scores and calibrations, written and read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/base/file.h"
#include "coordinator/calibration.h"
#include "coordinator/score_table.h"
#include "tests/support/temp_folder.h"

static struct data_option options[3] = {{.side = 0}, {.side = 1}, {.side = 0}};
static struct data_scenario scenarios[2] = {{.axis = 0, .n_options = 3, .options = options},
                                            {.axis = 1, .n_options = 2, .options = options}};
static char path[] = "data.json";
static const struct dataset data = {.path = path, .n_scenarios = 2, .scenarios = scenarios};

static json_t *table_of(const char *rows)
{
    char text[512];
    (void)snprintf(text, sizeof text, "{\"scores\":[%s]}", rows);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    return root;
}

static void test_a_table_is_read_back_as_contrast_and_as_likelihood(void **state)
{
    (void)state;
    struct eval_scores scores = {0};
    struct value_scores *s = NULL;
    struct errbuf e;
    struct str json = {0};
    assert_int_equal(eval_scores_new(4, &scores, &e), OK);
    for (uint32_t o = 0; o < 3; o++) {
        for (uint32_t side = 0; side < 2; side++) {
            const struct forest_leaf leaf = {.option = o, .side = side, .labels = o + 2};
            double logp = -(double)(o + 1) * (side == 0 ? 1.5 : 2.0);
            assert_int_equal(eval_scores_put(&scores, 1, 3, &leaf, side, logp, &e), OK);
        }
    }
    str_add(&json, "{\"task\":\"values\"");
    score_table_json(&scores, 2, &json);
    str_add(&json, "}");
    json_t *root = json_loadb(json.data, json.len, 0, NULL);
    assert_non_null(root);
    assert_int_equal(score_table_read(root, &data, 2, READOUT_CONTRAST, &s, &e), OK);
    assert_true(fabs(value_scores_at(s, 0, 2)[1] - 1.0) < 1e-9);
    assert_true(fabs(value_scores_at(s, 0, 3)[1] + 1.0) < 1e-9);
    assert_true(value_scores_has(s, 0, 2) && !value_scores_has(s, 0, 0));
    assert_false(value_scores_has(s, 1, 2));
    value_scores_free(&s);
    assert_int_equal(score_table_read(root, &data, 2, READOUT_LIKELIHOOD, &s, &e), OK);
    assert_true(fabs(value_scores_at(s, 0, 3)[2] + 6.0 / 4.0) < 1e-9);
    value_scores_free(&s);
    json_decref(root);
    str_free(&json);
    eval_scores_free(&scores);
}

static void test_rows_of_other_data_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "[2,0,[1,1],[-1,-1],[-1,-1]]",      "[1,2,[1,1],[-1,-1],[-1,-1]]",
        "[1,0,[1,1,1],[-1,-1,-1],[-1,-1]]", "[1,0,[0,1],[-1,-1],[-1,-1]]",
        "[1,0,[1,1],[-1,\"x\"],[-1,-1]]",   "[1,0,[1,1],[-1,-1]]",
        "[-1,0,[1,1],[-1,-1],[-1,-1]]",     "7",
    };
    struct value_scores *s = NULL;
    struct errbuf e;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        json_t *root = table_of(wrong[i]);
        assert_int_equal(score_table_read(root, &data, 2, READOUT_CONTRAST, &s, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "data.json: row 0"));
        json_decref(root);
    }
    json_t *root = json_object();
    assert_int_equal(score_table_read(root, &data, 2, READOUT_CONTRAST, &s, &e), ERR_CORRUPT);
    json_decref(root);
}

static void test_a_calibration_is_kept_for_its_adapter(void **state)
{
    (void)state;
    struct temp_folder folder;
    temp_folder_make(&folder);
    const struct calibration both[2] = {{2.5, 1.25, -0.75, -1.0, 20, "train.json"},
                                        {0.125, 3.0, -0.5, -1.0, 20, "train.json"}};
    struct calibration c;
    struct errbuf e;
    assert_int_equal(calibration_load(folder.path, "x", READOUT_CONTRAST, &c, &e), ERR_NOT_FOUND);
    assert_int_equal(calibration_save(folder.path, "x", both, &e), OK);
    assert_int_equal(calibration_load(folder.path, "x", READOUT_LIKELIHOOD, &c, &e), OK);
    assert_true(c.temperature == 0.125 && c.threshold == 3.0 && c.even == -1.0);
    assert_int_equal(calibration_load(folder.path, "x", READOUT_CONTRAST, &c, &e), OK);
    assert_true(c.temperature == 2.5 && c.log_likelihood == -0.75);
    assert_true(c.scenarios == 20 && strcmp(c.data, "train.json") == 0);
    assert_false(calibration_is_of(&c, "test.json"));
    assert_int_equal(calibration_load(folder.path, "y", READOUT_CONTRAST, &c, &e), ERR_NOT_FOUND);
    temp_folder_clear(folder.path);
}

static void test_a_damaged_calibration_is_refused_with_the_mend(void **state)
{
    (void)state;
    struct temp_folder folder;
    temp_folder_make(&folder);
    static const char *const wrong[] = {
        "",
        "[]",
        "{\"adapter\":\"x\"}",
        "{\"adapter\":\"x\",\"data\":\"d\",\"scenarios\":1,\"contrast\":{\"temperature\":0,"
        "\"threshold\":1,\"log_likelihood\":-1,"
        "\"even\":-1}}",
        "{\"adapter\":\"x\",\"data\":\"d\",\"scenarios\":0,\"contrast\":{\"temperature\":1,"
        "\"threshold\":1,"
        "\"log_likelihood\":-1,\"even\":-1}}",
        "{\"adapter\":\"x\",\"data\":\"d\",\"scenarios\":1,\"contrast\":{\"temperature\":1,"
        "\"threshold\":\"1\"}}"};
    char file[FILE_PATH_BYTES];
    struct calibration c;
    struct errbuf e;
    assert_int_equal(file_join(file, folder.path, "inference.json", &e), OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(file_write_atomic(file, wrong[i], strlen(wrong[i]), &e), OK);
        assert_int_equal(calibration_load(folder.path, "x", READOUT_CONTRAST, &c, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "--calibrate"));
    }
    temp_folder_clear(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_is_read_back_as_contrast_and_as_likelihood),
        cmocka_unit_test(test_rows_of_other_data_are_refused),
        cmocka_unit_test(test_a_calibration_is_kept_for_its_adapter),
        cmocka_unit_test(test_a_damaged_calibration_is_refused_with_the_mend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
