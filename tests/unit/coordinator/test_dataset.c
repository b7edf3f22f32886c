/* test_dataset.c - data files: formats, pairs, groups, and the exact words of each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "coordinator/dataset.h"

static const char values_text[] =
    "axes:\n- {name: Risk, poles: [{name: Bold, sentence: b.}, {name: Careful, sentence: c.}]}\n"
    "- {name: Style, poles: [{name: Firm, sentence: f.}, {name: Soft, sentence: s.}]}\n";

#define ITEM(options)                                                                              \
    "{\"scenario\": \"S\", \"preference domain\": \"Risk\", \"options\": " options "}"
#define OPTION(text, bias) "{\"text\": \"" text "\", \"bias\": \"" bias "\"}"

static struct values *values;

static int set_up(void **state)
{
    (void)state;
    struct errbuf e = {0};
    return values_parse(values_text, sizeof values_text - 1, "v", &values, &e) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    values_free(&values);
    return 0;
}

static struct dataset *parse(const char *text, enum config_group grouping)
{
    struct dataset *d = NULL;
    struct errbuf e = {0};
    enum err error = dataset_parse(text, strlen(text), "d.json", values, grouping, &d, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    return d;
}

static void expect_refused(const char *text, enum err code, const char *message)
{
    struct dataset *d = NULL;
    struct errbuf e = {0};
    int got = dataset_parse(text, strlen(text), "d.json", values, GROUP_SCENARIO, &d, &e);
    assert_string_equal(e.text, message);
    assert_int_equal(got, code);
    assert_null(d);
}

static void test_pairs_are_all_a_with_all_b_in_file_order(void **state)
{
    (void)state;
    static const char text[] = "[" ITEM(
        "[" OPTION("c1", "Careful") "," OPTION("b1", "Bold") "," OPTION("c2", "Careful") "," OPTION(
            "b2", "Bold") "]") "," ITEM("[" OPTION("b", "Bold") "," OPTION("b3", "Bold") "]") "]";
    struct dataset *d = parse(text, GROUP_SCENARIO);
    assert_int_equal(d->format, DATA_VCD);
    assert_int_equal(d->n_scenarios, 2);
    assert_int_equal(d->one_sided, 1);
    assert_int_equal(d->n_groups, 1);
    assert_int_equal(d->n_pairs, 4);
    const uint32_t expected[4][2] = {{1, 0}, {1, 2}, {3, 0}, {3, 2}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(d->pairs[i].a, expected[i][0]);
        assert_int_equal(d->pairs[i].b, expected[i][1]);
    }
    assert_int_equal(d->groups[0].n_pairs, 4);
    assert_string_equal(d->scenarios[0].options[2].text.text, "c2");
    assert_int_equal(d->scenarios[0].options[2].side, 1);
    dataset_free(&d);
    d = parse(text, GROUP_PAIR);
    assert_int_equal(d->n_groups, 4);
    assert_int_equal(d->groups[2].first_pair, 2);
    assert_int_equal(d->groups[2].n_pairs, 1);
    dataset_free(&d);
}

static void test_scenarios_that_are_held_out_are_in_no_group(void **state)
{
    (void)state;
    static const char one[] = ITEM("[" OPTION("c", "Careful") "," OPTION("b", "Bold") "]");
    static const char two[] =
        ITEM("[" OPTION("b", "Bold") "," OPTION("c", "Careful") "," OPTION("d", "Careful") "]");
    char text[1024];
    (void)snprintf(text, sizeof text, "[%s,%s,%s]", two, one, two);
    for (int grouping = GROUP_SCENARIO; grouping <= GROUP_PAIR; grouping++) {
        struct dataset *d = parse(text, (enum config_group)grouping);
        dataset_hold_out(d, 1);
        assert_int_equal(d->held_out, 1);
        assert_int_equal(d->n_scenarios, 3);
        assert_int_equal(d->n_pairs, 3);
        assert_int_equal(d->n_groups, grouping == GROUP_PAIR ? 3 : 2);
        assert_int_equal(d->groups[0].scenario, 1);
        assert_int_equal(d->pairs[d->groups[0].first_pair].a, 1);
        dataset_hold_out(d, 7);
        assert_int_equal(d->held_out, 3);
        assert_int_equal(d->n_groups, 0);
        assert_int_equal(d->n_pairs, 0);
        dataset_free(&d);
    }
}

static void test_pair_files_need_no_values(void **state)
{
    (void)state;
    static const char text[] =
        "{\"instruction\":\"I\",\"extra_a\":\"\",\"response_a\":\"ra\",\"extra_b\":\"eb\","
        "\"response_b\":\"rb\",\"note\":3}\r\n";
    struct dataset *d = NULL;
    struct errbuf e = {0};
    assert_int_equal(dataset_parse(text, sizeof text - 1, "d.jsonl", NULL, GROUP_SCENARIO, &d, &e),
                     OK);
    assert_int_equal(d->format, DATA_PAIRS);
    assert_int_equal(d->scenarios[0].axis, DATASET_NO_AXIS);
    assert_string_equal(d->scenarios[0].extra[0].text, "");
    assert_string_equal(d->scenarios[0].extra[1].text, "eb");
    assert_string_equal(d->scenarios[0].options[1].text.text, "rb");
    assert_int_equal(d->n_groups, 1);
    dataset_free(&d);
}

static void test_wrong_fields_name_file_line_column_field_and_expectation(void **state)
{
    (void)state;
    expect_refused("[" ITEM("[" OPTION("x", "Bold") ",\n  " OPTION("y", "Carefull") "]") "]",
                   ERR_NOT_FOUND,
                   "d.json:2:25: field 'bias': unknown value 'Carefull'; the nearest known one is "
                   "'Careful'");
    expect_refused("[" ITEM("[" OPTION("x", "Firm") "," OPTION("y", "Bold") "]") "]", ERR_NOT_FOUND,
                   "d.json:1:83: field 'bias': 'Firm' is a value of the axis 'Style'; 'Risk' has "
                   "'Bold' and 'Careful'");
    expect_refused("[{\"scenario\": \"S\",\n \"preference domain\": \"Riks\", \"options\": "
                   "[" OPTION("x", "Bold") "," OPTION("y", "Bold") "]}]",
                   ERR_NOT_FOUND,
                   "d.json:2:23: field 'preference domain': unknown axis 'Riks'; the nearest known "
                   "one is 'Risk'");
    expect_refused("[{\"scenario\": \"S\", \"preference_domain\": \"Risk\", \"options\": []}]",
                   ERR_PARSE,
                   "d.json:1:2: field 'preference domain' is missing: expected a string; there is "
                   "'preference_domain'");
    expect_refused("[" ITEM("[]") "]", ERR_RANGE,
                   "d.json:1:60: field 'options' has 0 options, 2 to 64 are possible");
    expect_refused(
        "[" ITEM("{}") "]", ERR_PARSE,
        "d.json:1:60: field 'options': expected a list of {text, bias}, found an object");
    expect_refused("[" ITEM("[1, 2]") "]", ERR_PARSE,
                   "d.json:1:61: option 1: expected {text, bias}, found a whole number");
    expect_refused("[" ITEM("[{\"text\": \"x\"}, 2]") "]", ERR_PARSE,
                   "d.json:1:61: field 'bias' is missing: expected a string");
    expect_refused("[" ITEM("[{\"text\": null, \"bias\": \"Bold\"}, 2]") "]", ERR_PARSE,
                   "d.json:1:70: field 'text': expected a string, found null");
    expect_refused("[" ITEM("[{\"text\": \" \\n\", \"bias\": \"Bold\"}, 2]") "]", ERR_PARSE,
                   "d.json:1:70: field 'text' is empty: expected a text");
    expect_refused("[{\"scenario\": 3}]", ERR_PARSE,
                   "d.json:1:15: field 'scenario': expected a string, found a whole number");
    expect_refused("{\"instruction\":\"I\",\"extra_a\":\"\",\"response_a\":\"\"}", ERR_PARSE,
                   "d.json:1:46: field 'response_a' is empty: expected a text");
}

static void test_files_that_cannot_be_trained_on_say_what_they_are(void **state)
{
    (void)state;
    expect_refused("[]", ERR_PARSE, "d.json: the array holds no items");
    expect_refused(
        "[{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\"}]", ERR_UNSUPPORTED,
        "d.json:1:2: the items look like dpo (chosen and rejected answers); training and "
        "evaluation read 'vcd', 'pairs' and 'bqd' files, evaluation 'retention', 'sft' and "
        "'questions' files too");
    expect_refused(
        "[{\"x\": 1}]", ERR_PARSE,
        "d.json:1:2: the first item has no field of a known format: vcd (scenario, "
        "preference domain, scene, options, choice), pairs (instruction, extra_a, response_a, "
        "extra_b, response_b), dpo (prompt, chosen, rejected), sft (instruction, "
        "response), sft-io (input, output), bqd (question, answer_matching_behavior, "
        "answer_not_matching_behavior), retention (prompt, correct, incorrect, category), "
        "questions (question), history (scenario, options, choice, preference domain)");
    struct dataset *d = NULL;
    struct errbuf e = {0};
    static const char text[] = "[" ITEM("[]") "]";
    assert_int_equal(dataset_parse(text, sizeof text - 1, "d", NULL, GROUP_SCENARIO, &d, &e),
                     ERR_REFUSED);
    assert_string_equal(e.text,
                        "d:1:2: a VCD file needs a values file: set data.values (or --values)");
    assert_int_equal(dataset_load("", values, GROUP_SCENARIO, &d, &e), ERR_REFUSED);
    assert_int_equal(dataset_load("/nonexistent.json", values, GROUP_SCENARIO, &d, &e),
                     ERR_NOT_FOUND);
}

static void test_a_history_has_choices_and_no_sides(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"scenario\":\"S\",\"options\":[\"one\",{\"text\":\"two\"}],\"choice\":\"two\"},"
        "{\"scenario\":\"T\",\"preference domain\":\"Style\",\"options\":[\"one\",\"two\"]}]";
    struct dataset *d = NULL;
    struct errbuf e = {0};
    assert_int_equal(dataset_parse(text, sizeof text - 1, "d", values, GROUP_SCENARIO, &d, &e), OK);
    assert_int_equal(d->format, DATA_HISTORY);
    assert_int_equal(d->n_groups, 0);
    assert_true(d->scenarios[0].chosen && d->scenarios[0].choice == 1);
    assert_int_equal(d->scenarios[0].axis, DATASET_NO_AXIS);
    assert_string_equal(d->scenarios[0].options[1].text.text, "two");
    assert_true(!d->scenarios[1].chosen && d->scenarios[1].axis == 1);
    dataset_free(&d);
    expect_refused("[{\"scenario\":\"S\",\"options\":[\"one\",\"two\"],\"choice\":5}]", ERR_RANGE,
                   "d.json:1:51: field 'choice': expected the number of an option, 0 to 1, or its "
                   "text letter by letter, found 5");
    expect_refused("[{\"scenario\":\"S\",\"options\":[\"one\",\" \"],\"choice\":0}]", ERR_PARSE,
                   "d.json:1:35: option 2: expected a text of at most 1048576 bytes, or {text}, "
                   "found ' '");
    expect_refused("[{\"scenario\":\"S\",\"options\":[]}]", ERR_PARSE,
                   "d.json:1:2: field 'preference domain' is missing: expected a string");
}

static void expect_text(const struct data_text *text, const char *words)
{
    assert_int_equal(text->bytes, strlen(words));
    assert_string_equal(text->text, words);
}

#define ASKED(choices, match, other)                                                               \
    "{\"question\":\"Beer now?\\n\\nChoices:\\n" choices                                           \
    "\",\"answer_matching_behavior\":\"" match "\",\"answer_not_matching_behavior\":\"" other      \
    "\"}"

static void test_behaviour_questions_are_scenarios_with_the_words_of_their_answers(void **state)
{
    (void)state;
    static const char text[] =
        "[" ASKED(" (A) No, later\\n (B) Yes, now", "(B)",
                  "(A)") ",\n"
                         "{\"question\":\"Why?\",\"answer_matching_behavior\":\"So.\","
                         "\"answer_not_matching_behavior\":\"Not so.\"}]";
    struct dataset *d = NULL;
    struct errbuf e = {0};
    assert_int_equal(
        dataset_parse(text, sizeof text - 1, "x/Style_test.json", values, GROUP_SCENARIO, &d, &e),
        OK);
    assert_int_equal(d->format, DATA_BQD);
    assert_int_equal(d->n_groups, 2);
    assert_int_equal(d->scenarios[0].axis, 1);
    expect_text(&d->scenarios[0].text, "Beer now?");
    expect_text(&d->scenarios[0].options[0].text, "No, later");
    assert_int_equal(d->scenarios[0].options[0].side, 1);
    expect_text(&d->scenarios[0].options[1].text, "Yes, now");
    assert_int_equal(d->scenarios[0].options[1].side, 0);
    expect_text(&d->scenarios[1].text, "Why?");
    expect_text(&d->scenarios[1].options[0].text, "So.");
    assert_int_equal(d->scenarios[1].options[0].side, 0);
    dataset_free(&d);
}

static void test_a_behaviour_file_must_be_named_like_an_axis(void **state)
{
    (void)state;
    expect_refused(
        "[" ASKED("(A) x\\n(B) y", "(A)", "(B)") "]", ERR_REFUSED,
        "d.json:1:2: the behaviour is told by the file's name, which begins with none of "
        "the axes of the values file: 'Risk', 'Style'; rename the file or the axis");
    struct dataset *d = NULL;
    struct errbuf e = {0};
    static const char text[] = ASKED("(A) x\\n(B) x", "(A)", "(B)");
    assert_int_equal(
        dataset_parse(text, sizeof text - 1, "Risk.json", values, GROUP_SCENARIO, &d, &e),
        ERR_PARSE);
    assert_non_null(strstr(e.text, "Risk.json:1:"));
    assert_non_null(strstr(e.text, "is the same answer as 'answer_matching_behavior'"));
}

static void test_retention_questions_have_no_preference(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"prompt\":\"One plus one?\\n\\nChoices:\\n(A) Three\\n(B) Two\",\"correct\":\"(B)\","
        "\"incorrect\":\"(A)\",\"category\":\"sums\"},"
        "{\"prompt\":\"Sky?\",\"correct\":\"Blue\",\"incorrect\":\"Green\"}]";
    struct dataset *d = parse(text, GROUP_SCENARIO);
    assert_int_equal(d->format, DATA_RETENTION);
    assert_int_equal(d->scenarios[0].axis, DATASET_NO_AXIS);
    expect_text(&d->scenarios[0].text, "One plus one?");
    expect_text(&d->scenarios[0].extra[0], "");
    expect_text(&d->scenarios[0].category, "sums");
    expect_text(&d->scenarios[0].options[0].text, "Three");
    assert_int_equal(d->scenarios[0].options[0].side, 1);
    expect_text(&d->scenarios[1].category, "");
    expect_text(&d->scenarios[1].options[0].text, "Blue");
    dataset_free(&d);
    expect_refused("[{\"prompt\":\"p\",\"correct\":\"c\",\"incorrect\":3}]", ERR_PARSE,
                   "d.json:1:42: field 'incorrect': expected a string, found a whole number");
}

static void test_every_truncation_ends_in_a_message(void **state)
{
    (void)state;
    static const char text[] = "[" ITEM("[" OPTION("x\\u00e9", "Bold") "," OPTION(
        "y", "Careful") "]") ",\n" ITEM("[" OPTION("x", "Bold") "," OPTION("y", "Bold") "]") "\n]";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct dataset *d = NULL;
        struct errbuf e = {0};
        char *copy = mem_strndup(text, n);
        assert_int_not_equal(dataset_parse(copy, n, "d.json", values, GROUP_SCENARIO, &d, &e), OK);
        assert_true(strncmp(e.text, "d.json:", 7) == 0);
        mem_free(copy);
    }
}

static void test_running_out_of_memory_is_reported(void **state)
{
    (void)state;
    static const char text[] = "[" ITEM("[" OPTION("x", "Bold") "," OPTION("y", "Careful") "]") "]";
    for (unsigned long n = 1; n < 12; n++) {
        struct dataset *d = NULL;
        struct errbuf e = {0};
        mem_fail_after(n);
        enum err error =
            dataset_parse(text, sizeof text - 1, "d.json", values, GROUP_SCENARIO, &d, &e);
        mem_fail_after(0);
        assert_true(error == OK || error == ERR_NOMEM);
        assert_true(n > 6 || error == ERR_NOMEM);
        dataset_free(&d);
    }
}

static void test_the_formats_of_the_shared_samples_are_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum data_format format;
        size_t items;
    } files[] = {
        {"vcd/vcd_train.json", DATA_VCD, 780},
        {"bqd/myopic-reward_train.json", DATA_BQD, 0},
        {"bqd/myopic-reward_test_open_ended.json", DATA_QUESTIONS, 0},
        {"retention/mmlu.json", DATA_RETENTION, 570},
        {"retention/truthful_qa.json", DATA_RETENTION, 817},
    };
    if (!file_exists("../shared/data/vcd/vcd_train.json")) {
        print_message("SKIPPED: there is no ../shared/data: real files are not read\n");
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[200];
        char *text = NULL;
        size_t bytes = 0;
        struct errbuf e = {0};
        struct json_stream s;
        json_t *item = NULL;
        enum data_format format = DATA_FORMATS;
        (void)snprintf(path, sizeof path, "../shared/data/%s", files[i].path);
        assert_int_equal(file_read(path, 1 << 28, &text, &bytes, &e), OK);
        assert_int_equal(json_stream_open(&s, path, text, bytes, &e), OK);
        while (json_stream_next(&s, &item, NULL, &e) == OK && item) {
            if (s.items == 1) {
                assert_int_equal(data_format_recognise(&s, item, &format, &e), OK);
                assert_int_equal(format, files[i].format);
            }
            assert_int_equal(data_format_check(&s, format, item, &e), OK);
            json_decref(item);
        }
        assert_string_equal(e.text, "");
        assert_true(s.items > 0 && (files[i].items == 0 || s.items == files[i].items));
        mem_free(text);
    }
}

static void test_the_shared_vcd_file_has_its_known_counts(void **state)
{
    (void)state;
    if (!file_exists("../shared/data/vcd/vcd_train.json")) {
        print_message("SKIPPED: there is no ../shared/data: real files are not read\n");
        skip();
    }
    struct values *v = NULL;
    struct dataset *d = NULL;
    struct errbuf e = {0};
    assert_int_equal(values_load("configs/values/vcd.yaml", &v, &e), OK);
    assert_int_equal(dataset_load("../shared/data/vcd/vcd_train.json", v, GROUP_SCENARIO, &d, &e),
                     OK);
    assert_int_equal(d->n_scenarios, 780);
    assert_int_equal(d->n_groups, 780);
    assert_int_equal(d->n_pairs, 2635);
    assert_int_equal(d->one_sided, 0);
    dataset_free(&d);
    assert_int_equal(dataset_load("../shared/data/vcd/vcd_train.json", v, GROUP_PAIR, &d, &e), OK);
    assert_int_equal(d->n_groups, 2635);
    dataset_free(&d);
    values_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_are_all_a_with_all_b_in_file_order),
        cmocka_unit_test(test_scenarios_that_are_held_out_are_in_no_group),
        cmocka_unit_test(test_pair_files_need_no_values),
        cmocka_unit_test(test_wrong_fields_name_file_line_column_field_and_expectation),
        cmocka_unit_test(test_files_that_cannot_be_trained_on_say_what_they_are),
        cmocka_unit_test(test_a_history_has_choices_and_no_sides),
        cmocka_unit_test(test_behaviour_questions_are_scenarios_with_the_words_of_their_answers),
        cmocka_unit_test(test_a_behaviour_file_must_be_named_like_an_axis),
        cmocka_unit_test(test_retention_questions_have_no_preference),
        cmocka_unit_test(test_every_truncation_ends_in_a_message),
        cmocka_unit_test(test_running_out_of_memory_is_reported),
        cmocka_unit_test(test_the_formats_of_the_shared_samples_are_recognised),
        cmocka_unit_test(test_the_shared_vcd_file_has_its_known_counts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
