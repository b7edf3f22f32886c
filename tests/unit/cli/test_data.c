/* test_data.c - pft data and pft config as a user calls them: exit codes and what they write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "tests/support/starter_part.h"

#define VALUES "--values", "configs/values/vcd.yaml"
#define TINY "--model", "tests/golden/tiny"

static char folder[] = "/tmp/pft-test-data-XXXXXX";
static char out_path[64];
static char starter[64]; /* 24 of its dilemmas */

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(out_path, sizeof out_path, "%s/out", folder);
    (void)snprintf(starter, sizeof starter, "%s/starter.json", folder);
    return starter_part("data/starter_test.json", 24, starter) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(out_path);
    (void)unlink(starter);
    return rmdir(folder);
}

/* Runs the words behind "data" and gives what went to --out (mem_free), NULL when it failed. */
static char *run(int expected, const char *const *words)
{
    char *argv[24] = {"data"};
    int n = 1;
    for (; words[n - 1]; n++) {
        argv[n] = (char *)(uintptr_t)words[n - 1];
    }
    argv[n++] = "--out";
    argv[n++] = out_path;
    (void)unlink(out_path);
    assert_int_equal(cli_data(n, argv), expected);
    char *text = NULL;
    size_t bytes = 0;
    struct errbuf e = {0};
    assert_int_equal(file_read(out_path, 1 << 28, &text, &bytes, &e) == OK, expected == CLI_OK);
    return text;
}
#define RUN(expected, ...) run(expected, (const char *const[]){__VA_ARGS__, NULL})

static json_t *parse(char *text)
{
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    mem_free(text);
    return root;
}

static json_int_t at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void test_check_says_fine_for_the_starter_data(void **state)
{
    (void)state;
    char *text = RUN(CLI_OK, "check", starter, VALUES, TINY);
    assert_memory_equal(text, starter, strlen(starter));
    assert_string_equal(text + strlen(starter),
                        ": 24 items, vcd (scenarios with options): fine\n"
                        "  24 groups are longer than the model's context of 256 positions (the "
                        "longest has 513 tokens): lower data.max_length\n");
    mem_free(text);
    text = RUN(CLI_OK, "check", starter);
    assert_non_null(strstr(text, "axes and values were not checked: give --values FILE\n"));
    mem_free(text);
    json_t *root = parse(RUN(CLI_OK, "check", starter, VALUES, "--json"));
    assert_int_equal(at(root, "items"), 24);
    assert_true(json_is_true(json_object_get(root, "ok")));
    assert_true(json_is_true(json_object_get(root, "values_checked")));
    json_decref(root);
}

static void test_stats_count_values_pairs_and_tokens(void **state)
{
    (void)state;
    json_t *root = parse(RUN(CLI_OK, "stats", starter, VALUES, TINY, "--json"));
    assert_int_equal(at(root, "groups"), 24);
    assert_int_equal(at(root, "pairs"), 96);
    assert_int_equal(at(json_object_get(root, "values"), "Risk-taking"), 8);
    assert_int_equal(at(json_object_get(root, "tokens"), "groups"), 24);
    json_decref(root);
    char *text = RUN(CLI_OK, "stats", starter);
    assert_non_null(strstr(text, "items      24\n"));
    mem_free(text);
}

static void test_check_refuses_or_names_what_a_run_refuses(void **state)
{
    (void)state;
    char path[64];
    struct errbuf e = {0};
    struct str many = {0};
    (void)snprintf(path, sizeof path, "%s/checked.jsonl", folder);
    static const char *const refused[] = {
        "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\"}",
        "{\"input\": \"i\", \"output\": \"o\"}",
        /* Alpaca's instruction and Dolly's context would be left out. */
        "{\"instruction\": \"Sort.\", \"input\": \"b a\", \"output\": \"a b\"}",
        "{\"instruction\": \"Sum it up.\", \"context\": \"Long.\", \"response\": \"Short.\"}"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_int_equal(file_write_atomic(path, refused[i], strlen(refused[i]), &e), OK);
        (void)RUN(i < 2 ? CLI_FAILED : CLI_REFUSED, "check", path);
    }
    static const char plain[] =
        "{\"instruction\": \"Sum it up.\", \"context\": \"\", \"response\": \"Short.\"}";
    assert_int_equal(file_write_atomic(path, plain, strlen(plain), &e), OK);
    char *text = RUN(CLI_OK, "check", path);
    assert_non_null(strstr(text, "cannot be trained on: pft eval"));
    mem_free(text);
    str_add(&many, "{\"scenario\": \"Which?\", \"preference domain\": \"Risk Orientation\", "
                   "\"options\": [");
    for (int i = 0; i < 28; i++) {
        str_addf(&many, "%s{\"text\": \"Way %d.\", \"bias\": \"%s\"}", i > 0 ? "," : "", i,
                 i % 2 ? "Risk-taking" : "Risk-averse");
    }
    str_add(&many, "]}");
    assert_int_equal(file_write_atomic(path, many.data, many.len, &e), OK);
    text = RUN(CLI_OK, "check", path, VALUES);
    assert_non_null(strstr(text, "line 1 has 28 options and there are letters for 26"));
    mem_free(text);
    text = RUN(CLI_OK, "check", path, VALUES, "--set", "eval.readouts=likelihood");
    assert_null(strstr(text, "letters"));
    mem_free(text);
    str_free(&many);
    (void)unlink(path);
}

static void test_import_is_canonical_and_stable(void **state)
{
    (void)state;
    char again[64];
    (void)snprintf(again, sizeof again, "%s/again.jsonl", folder);
    char *first = RUN(CLI_OK, "import", starter, VALUES, "--format", "vcd");
    struct errbuf e = {0};
    assert_int_equal(strncmp(first, "{\"scenario\": \"", 14), 0);
    assert_int_equal(file_write_atomic(again, first, strlen(first), &e), OK);
    char *second = RUN(CLI_OK, "import", again, VALUES);
    assert_string_equal(first, second);
    mem_free(first);
    mem_free(second);
    static const char dpo[] = "[{\"note\": 1, \"rejected\": \"r\", \"chosen\": \"c\\u00e9\", "
                              "\"prompt\": \"p\"}]";
    assert_int_equal(file_write_atomic(again, dpo, sizeof dpo - 1, &e), OK);
    second = RUN(CLI_OK, "import", again);
    assert_string_equal(
        second,
        "{\"prompt\": \"p\", \"chosen\": \"c\xC3\xA9\", \"rejected\": \"r\", \"note\": 1}\n");
    mem_free(second);
    (void)RUN(CLI_FAILED, "import", again, "--format", "vcd");
    (void)unlink(again);
}

static void test_forest_prints_trees_whose_pairs_are_their_paths(void **state)
{
    (void)state;
    json_t *root = parse(RUN(CLI_OK, "forest", starter, VALUES, TINY, "--limit", "2", "--json"));
    assert_int_equal(json_array_size(root), 2);
    const json_t *group = json_array_get(root, 0);
    assert_int_equal(json_array_size(json_object_get(group, "leaves")), 4);
    const json_t *pairs = json_object_get(group, "pairs");
    assert_int_equal(json_array_size(pairs), 4);
    json_int_t rows = 0;
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(group, "nodes"), i, node)
    {
        rows += (json_int_t)json_array_size(json_object_get(node, "tokens"));
    }
    assert_int_equal(rows, at(group, "rows"));
    const json_t *tokens =
        json_object_get(json_array_get(json_object_get(group, "nodes"), 0), "tokens");
    const json_t *a = json_object_get(json_array_get(pairs, 0), "a");
    for (i = 0; i < json_array_size(tokens); i++) {
        assert_true(json_equal(json_array_get(tokens, i), json_array_get(a, i)));
    }
    assert_int_equal(json_integer_value(json_array_get(a, json_array_size(a) - 1)), 2);
    json_decref(root);
    root = parse(RUN(CLI_OK, "forest", starter, VALUES, TINY, "--limit", "1", "--layout", "paper",
                     "--set", "data.group=pair", "--set", "data.max_length=2048"));
    assert_int_equal(json_array_size(root), 1);
    assert_int_equal(json_array_size(json_object_get(json_array_get(root, 0), "leaves")), 2);
    json_decref(root);
}

static void test_wrong_words_and_files_have_their_exit_codes(void **state)
{
    (void)state;
    (void)RUN(CLI_USAGE, "check");
    (void)RUN(CLI_USAGE, "chek", starter);
    (void)RUN(CLI_USAGE, "check", starter, "--valuse", "x");
    (void)RUN(CLI_USAGE, "check", starter, "--format", "vdc");
    (void)RUN(CLI_USAGE, "forest", starter, VALUES);
    (void)RUN(CLI_USAGE, "forest", starter, VALUES, TINY, "--limit", "0");
    (void)RUN(CLI_FAILED, "check", "/nonexistent.json");
    (void)RUN(CLI_FAILED, "check", "data");
    (void)RUN(CLI_FAILED, "check", starter, "--values", starter);
    (void)RUN(CLI_FAILED, "check", starter, VALUES, "--model", "/nonexistent");
    (void)RUN(CLI_REFUSED, "check", starter, VALUES, TINY, "--set", "data.max_length=40");
    char *help[] = {"data", "--help"};
    assert_int_equal(cli_data(2, help), CLI_OK);
}

static void test_config_prints_and_refuses(void **state)
{
    (void)state;
    char *keys[] = {"config", "keys"};
    char *sample[] = {"config", "sample"};
    char *docs[] = {"config", "docs"};
    char *show[] = {"config", "show", "configs/starter.yaml", "lora.r=4"};
    char *wrong[] = {"config", "show", "configs/starter.yaml", "lora.rank=4"};
    char *nothing[] = {"config"};
    assert_int_equal(cli_config(2, keys), CLI_OK);
    assert_int_equal(cli_config(2, sample), CLI_OK);
    assert_int_equal(cli_config(2, docs), CLI_OK);
    assert_int_equal(cli_config(4, show), CLI_OK);
    assert_int_equal(cli_config(4, wrong), CLI_FAILED);
    assert_int_equal(cli_config(1, nothing), CLI_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_says_fine_for_the_starter_data),
        cmocka_unit_test(test_stats_count_values_pairs_and_tokens),
        cmocka_unit_test(test_check_refuses_or_names_what_a_run_refuses),
        cmocka_unit_test(test_import_is_canonical_and_stable),
        cmocka_unit_test(test_forest_prints_trees_whose_pairs_are_their_paths),
        cmocka_unit_test(test_wrong_words_and_files_have_their_exit_codes),
        cmocka_unit_test(test_config_prints_and_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
