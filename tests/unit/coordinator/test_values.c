/* test_values.c - values files: what is read, and the exact words of each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/values.h"

static const char good[] = "axes:\n"
                           "  - name: Risk\n"
                           "    poles:\n"
                           "      - {name: Risk-taking, sentence: \"Likes: odds.\"}\n"
                           "      - {name: Risk-averse, sentence: Avoids odds.}\n"
                           "  - poles:\n"
                           "      - {sentence: Says it., name: Assertive}\n"
                           "      - name: Accommodating\n"
                           "        sentence: Gives way.\n"
                           "    name: Style\n";

static struct values *load(void)
{
    struct values *v = NULL;
    struct errbuf e = {0};
    assert_int_equal(values_parse(good, sizeof good - 1, "v.yaml", &v, &e), OK);
    return v;
}

static void expect_refused(const char *text, const char *message)
{
    struct values *v = NULL;
    struct errbuf e = {0};
    assert_int_not_equal(values_parse(text, strlen(text), "v.yaml", &v, &e), OK);
    assert_string_equal(e.text, message);
    assert_null(v);
}

static void test_axes_poles_and_the_text_are_kept(void **state)
{
    (void)state;
    struct values *v = load();
    assert_int_equal(v->n_axes, 2);
    assert_string_equal(v->axes[0].poles[0].name, "Risk-taking");
    assert_string_equal(v->axes[0].poles[0].sentence, "Likes: odds.");
    assert_string_equal(v->axes[1].name, "Style");
    assert_string_equal(v->axes[1].poles[1].sentence, "Gives way.");
    assert_string_equal(v->text, good);
    values_free(&v);
    assert_null(v);
}

static void test_the_shipped_values_hold_six_axes(void **state)
{
    (void)state;
    struct values *v = NULL;
    struct errbuf e = {0};
    assert_int_equal(values_load("configs/values/vcd.yaml", &v, &e), OK);
    assert_int_equal(v->n_axes, 6);
    values_free(&v);
    assert_int_equal(values_load("configs/values/none.yaml", &v, &e), ERR_NOT_FOUND);
}

static void test_lookups_name_the_nearest_or_the_right_axis(void **state)
{
    (void)state;
    struct values *v = load();
    struct errbuf e = {0};
    uint32_t i = 9;
    assert_int_equal(values_find_axis(v, "Style", &i, &e), OK);
    assert_int_equal(i, 1);
    assert_int_equal(values_find_pole(v, 0, "Risk-averse", &i, &e), OK);
    assert_int_equal(i, 1);
    assert_int_equal(values_find_axis(v, "style", &i, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "unknown axis 'style'; the nearest known one is 'Style'");
    assert_int_equal(values_find_axis(v, "Zzzzzzzz", &i, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text,
                        "unknown axis 'Zzzzzzzz'; the values file has 2, the first is 'Risk'");
    assert_int_equal(values_find_pole(v, 0, "Risk-taker", &i, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text,
                        "unknown value 'Risk-taker'; the nearest known one is 'Risk-taking'");
    assert_int_equal(values_find_pole(v, 0, "Assertive", &i, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "'Assertive' is a value of the axis 'Style'; 'Risk' has "
                                "'Risk-taking' and 'Risk-averse'");
    uint32_t side = 9;
    assert_int_equal(values_find(v, "Assertive", &i, &side, &e), OK);
    assert_int_equal(i, 1);
    assert_int_equal(side, 0);
    assert_int_equal(values_find(v, "Risk-averse", &i, &side, &e), OK);
    assert_int_equal(i, 0);
    assert_int_equal(side, 1);
    assert_int_equal(values_find(v, "Risk-taker", &i, &side, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text,
                        "unknown value 'Risk-taker'; the nearest known one is 'Risk-taking'");
    assert_int_equal(values_find(v, "Zzzzzzzz", &i, &side, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "unknown value 'Zzzzzzzz'; the first of 4 is 'Risk-taking'");
    values_free(&v);
}

static void test_wrong_files_are_refused_with_their_place(void **state)
{
    (void)state;
    expect_refused("", "v.yaml:1:1: expected a mapping with 'axes', found the end of the file");
    expect_refused("axis: []\n", "v.yaml:1:1: expected the key 'axes', found 'axis'");
    expect_refused("axes: []\n", "v.yaml:1:8: there is no axis");
    expect_refused("axes: [3]\n", "v.yaml:1:8: expected an axis: {name, poles}");
    expect_refused("axes: [{name: A}]\n", "v.yaml:1:8: the axis has no 'poles'");
    expect_refused("axes: [{nam: A}]\n", "v.yaml:1:9: unknown key 'nam'; did you mean 'name'?");
    expect_refused("axes: [{name: A, name: B}]\n", "v.yaml:1:18: the axis's name is given twice");
    expect_refused("axes: [{name: ''}]\n",
                   "v.yaml:1:15: the axis's name has 0 bytes, 1 to 200 are possible");
    expect_refused("axes: [{name: \"a\\nb\"}]\n",
                   "v.yaml:1:15: the axis's name holds a line end or another control character");
    expect_refused(
        "axes: [{name: A, poles: [{name: x, sentence: y}]}]\n",
        "v.yaml:1:48: 'poles' of an axis are two values ({name, sentence} each); after 1 comes the "
        "end of a list");
    expect_refused("axes: [{name: A, poles: [{name: x, sentence: y}, {name: x}]}]\n",
                   "v.yaml:1:50: the value has no 'sentence'");
    expect_refused("axes: [{name: A, poles: [{name: x, sentence: y}, {name: x, sentence: y}]}]\n",
                   "v.yaml:1: the value 'x' is given twice, first in line 1");
    expect_refused("axes:\n- {name: A, poles: [{name: a, sentence: y}, {name: b, sentence: y}]}\n"
                   "- {name: A, poles: [{name: c, sentence: y}, {name: d, sentence: y}]}\n",
                   "v.yaml:3: the axis 'A' is given twice, first in line 2");
    expect_refused("axes:\n- {name: A, poles: [{name: a, sentence: y}, {name: b, sentence: y}]}\n"
                   "more: 1\n",
                   "v.yaml:3:1: expected nothing but 'axes', found the text 'more'");
}

static void test_every_truncation_ends_in_values_or_a_message(void **state)
{
    (void)state;
    int refused = 0;
    for (size_t n = 0; n < sizeof good; n++) {
        struct values *v = NULL;
        struct errbuf e = {0};
        enum err error = values_parse(good, n, "v.yaml", &v, &e);
        assert_true(error == OK || strncmp(e.text, "v.yaml:", 7) == 0);
        refused += error != OK;
        values_free(&v);
    }
    assert_true(refused > 200);
}

static void test_running_out_of_memory_is_reported(void **state)
{
    (void)state;
    for (unsigned long n = 1; n < 16; n++) {
        struct values *v = NULL;
        struct errbuf e = {0};
        mem_fail_after(n);
        enum err error = values_parse(good, sizeof good - 1, "v.yaml", &v, &e);
        mem_fail_after(0);
        assert_true(error == OK || error == ERR_NOMEM);
        assert_true(n > 10 || error == ERR_NOMEM);
        values_free(&v);
    }
}

static void test_names_that_look_the_same_are_told_apart_by_their_characters(void **state)
{
    (void)state;
    static const char text[] = "axes: [{name: Zo\u00eb, poles: [{name: na\u00efve, sentence: a.}, "
                               "{name: Wary, sentence: b.}]}]\n";
    struct values *v = NULL;
    struct errbuf e = {0};
    uint32_t axis;
    uint32_t side;
    assert_int_equal(values_parse(text, sizeof text - 1, "v.yaml", &v, &e), OK);
    assert_int_equal(values_find_axis(v, "Zoe\u0308", &axis, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "(character 3 is U+00EB, not U+0065: an accent may be"));
    assert_int_equal(values_find_pole(v, 0, "nai\u0308ve", &side, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "(character 3 is U+00EF, not U+0069"));
    assert_int_equal(values_find(v, "naive", &axis, &side, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "(character 3 is U+00EF, not U+0069"));
    assert_int_equal(values_find(v, "Warey", &axis, &side, &e), ERR_NOT_FOUND);
    assert_null(strstr(e.text, "U+"));
    values_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axes_poles_and_the_text_are_kept),
        cmocka_unit_test(test_the_shipped_values_hold_six_axes),
        cmocka_unit_test(test_lookups_name_the_nearest_or_the_right_axis),
        cmocka_unit_test(test_wrong_files_are_refused_with_their_place),
        cmocka_unit_test(test_every_truncation_ends_in_values_or_a_message),
        cmocka_unit_test(test_names_that_look_the_same_are_told_apart_by_their_characters),
        cmocka_unit_test(test_running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
