/* test_conf.c - settings from one table: what is accepted, and the exact words of each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/mem.h"

struct block {
    bool flag;
    uint32_t rank, colour, parts;
    uint64_t seed;
    float alpha;
    double rate;
    char *text, *path;
};

static const char *const colours[] = {"red", "green", "blue", NULL};
static const char *const parts[] = {"q", "k", "gate", NULL};
#define AT(field) offsetof(struct block, field)
static const struct conf_key keys[] = {
    {.name = "net.rank",
     .type = CONF_U32,
     .offset = AT(rank),
     .fallback = "8",
     .min = 1,
     .max = 64,
     .meaning = "Rank."},
    {.name = "net.alpha",
     .type = CONF_F32,
     .offset = AT(alpha),
     .fallback = "0.1",
     .max = 1,
     .open_max = true,
     .meaning = "Alpha."},
    {.name = "net.parts",
     .type = CONF_SET,
     .offset = AT(parts),
     .fallback = "q,k",
     .choices = parts,
     .meaning = "Parts."},
    {.name = "run.rate",
     .type = CONF_F64,
     .offset = AT(rate),
     .fallback = "5e-4",
     .max = 1,
     .open_min = true,
     .meaning = "Rate."},
    {.name = "run.seed",
     .type = CONF_U64,
     .offset = AT(seed),
     .fallback = "0",
     .max = 9007199254740992.0,
     .meaning = "Seed."},
    {.name = "run.text",
     .type = CONF_TEXT,
     .offset = AT(text),
     .fallback = "",
     .max = 20,
     .meaning = "Text."},
    {.name = "run.path",
     .type = CONF_PATH,
     .offset = AT(path),
     .fallback = "",
     .max = 4000,
     .meaning = "Path."},
    {.name = "strict",
     .type = CONF_BOOL,
     .offset = AT(flag),
     .fallback = "true",
     .meaning = "Strict."},
    {.name = "colour",
     .type = CONF_CHOICE,
     .offset = AT(colour),
     .fallback = "green",
     .choices = colours,
     .meaning = "Colour.",
     .hint = "paint is short"},
};
static const struct conf_section sections[] = {{"net", "The net."}, {"run", "The run."}};
static const struct conf_schema schema = {keys, sizeof keys / sizeof keys[0], sections, 2};

static enum err read_text(const char *text, size_t bytes, const char *set, struct block *b,
                          struct errbuf *e)
{
    static struct conf_origins origins;
    *b = (struct block){0};
    *e = (struct errbuf){0};
    return conf_read(&schema, b, text, bytes, "dir/x.yaml", "/base", set ? &set : NULL, set ? 1 : 0,
                     &origins, e);
}

static void expect_refused(const char *text, enum err code, const char *message)
{
    struct block b;
    struct errbuf e;
    int got = read_text(text, strlen(text), NULL, &b, &e);
    assert_string_equal(e.text, message);
    assert_int_equal(got, code);
    conf_free(&schema, &b);
}

static void expect_set_refused(const char *set, enum err code, const char *message)
{
    struct block b;
    struct errbuf e;
    int got = read_text("", 0, set, &b, &e);
    assert_string_equal(e.text, message);
    assert_int_equal(got, code);
    conf_free(&schema, &b);
}

static void test_an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    struct block b;
    struct errbuf e;
    assert_int_equal(read_text("# nothing\n", 10, NULL, &b, &e), OK);
    assert_int_equal(b.rank, 8);
    assert_true(b.alpha > 0.0999f && b.alpha < 0.1001f);
    assert_int_equal(b.parts, 3);
    assert_true(b.rate > 4.9e-4 && b.rate < 5.1e-4);
    assert_true(b.flag);
    assert_int_equal(b.colour, 1);
    assert_string_equal(b.text, "");
    assert_string_equal(b.path, "");
    conf_free(&schema, &b);
}

static void test_sections_dotted_names_and_lists_are_read(void **state)
{
    (void)state;
    static const char text[] = "net:\r\n  rank: 3\r\n  parts: [gate, q]\r\nrun.rate: 1e-2\r\n"
                               "run:\r\n  text: \"a\\nb\"\r\n  path: ../d/f.json\r\n"
                               "  seed: 9007199254740992\r\nstrict: false\r\ncolour: blue\r\n";
    struct block b;
    struct errbuf e;
    assert_int_equal(read_text(text, sizeof text - 1, "net.parts=[k, gate]", &b, &e), OK);
    assert_int_equal(b.rank, 3);
    assert_int_equal(b.parts, 6);
    assert_string_equal(b.text, "a\nb");
    assert_string_equal(b.path, "/base/../d/f.json");
    assert_true(b.seed == 9007199254740992u);
    assert_false(b.flag);
    assert_int_equal(b.colour, 2);
    conf_free(&schema, &b);
}

static void test_unknown_keys_name_place_and_nearest_key(void **state)
{
    (void)state;
    expect_refused("net:\n  rnk: 3\n", ERR_PARSE,
                   "dir/x.yaml:2:3: unknown key 'net.rnk'; did you mean 'net.rank'?");
    expect_refused("rate: 3\n", ERR_PARSE,
                   "dir/x.yaml:1:1: unknown key 'rate'; did you mean 'run.rate'?");
    expect_refused("nett:\n  rank: 3\n", ERR_PARSE,
                   "dir/x.yaml:1:1: unknown key 'nett'; did you mean 'net'?");
    expect_refused("something_else: 3\n", ERR_PARSE,
                   "dir/x.yaml:1:1: unknown key 'something_else'; docs/config.md lists the keys");
    expect_set_refused("net.Rank=3", ERR_NOT_FOUND,
                       "--set: unknown key 'net.Rank'; did you mean 'net.rank'?");
    expect_set_refused("net.rank", ERR_USAGE, "--set 'net.rank': expected KEY=VALUE");
}

static void test_values_out_of_range_name_the_bounds(void **state)
{
    (void)state;
    expect_refused(
        "net:\n  rank: 99\n", ERR_RANGE,
        "dir/x.yaml:2:9: net.rank: '99' is out of range: expected a whole number, 1 to 64");
    expect_refused("net: {alpha: 1.0}\n", ERR_RANGE,
                   "dir/x.yaml:1:14: net.alpha: '1.0' is out of range: expected a number, 0 to "
                   "below 1");
    expect_refused(
        "run.rate: 0\n", ERR_RANGE,
        "dir/x.yaml:1:11: run.rate: '0' is out of range: expected a number, above 0 to 1");
    expect_refused("run.seed: 99999999999999999999999\n", ERR_RANGE,
                   "dir/x.yaml:1:11: run.seed: '99999999999999999999999' is out of range: expected "
                   "a whole number, 0 to 9007199254740992");
    expect_set_refused(
        "net.rank=-1", ERR_PARSE,
        "--set: net.rank: '-1' is no whole number: expected a whole number, 1 to 64");
    expect_set_refused(
        "run.text=123456789012345678901", ERR_RANGE,
        "--set: run.text: '123456789012345678901' is too long: expected a text of at "
        "most 20 bytes");
}

static void test_texts_that_are_no_value_of_the_type_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"nan", "inf", "0x1p-3", "1e400", "1,5", "", " 1", "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char set[64] = "run.rate=";
        (void)strncat(set, bad[i], 20);
        struct block b;
        struct errbuf e;
        assert_int_not_equal(read_text("", 0, set, &b, &e), OK);
        assert_non_null(strstr(e.text, "--set: run.rate: "));
        conf_free(&schema, &b);
    }
    expect_refused("strict: yes\n", ERR_PARSE,
                   "dir/x.yaml:1:9: strict: 'yes' is neither: expected true or false");
    expect_refused("colour: grean\n", ERR_NOT_FOUND,
                   "dir/x.yaml:1:9: colour: 'grean' is unknown: expected one of red, green, blue; "
                   "did you mean 'green'?; paint is short");
    expect_refused(
        "net:\n  parts: [q, kk]\n", ERR_NOT_FOUND,
        "dir/x.yaml:2:14: net.parts: 'kk' is unknown: expected a list out of q, k, gate, "
        "or all; did you mean 'k'?");
    expect_refused(
        "net:\n  parts: []\n", ERR_RANGE,
        "dir/x.yaml:2:11: net.parts: '[]' is empty: expected a list out of q, k, gate, or "
        "all");
    expect_refused("net:\n  rank: [1]\n", ERR_PARSE,
                   "dir/x.yaml:2:9: net.rank: expected a whole number, 1 to 64, found a list");
    expect_refused("net:\n  rank:\n", ERR_PARSE,
                   "dir/x.yaml:2:8: net.rank: expected a whole number, 1 to 64, found nothing");
    expect_set_refused("run.text=a\xff", ERR_PARSE,
                       "--set: run.text: 'a\xff' is no UTF-8: expected a text of at most 20 bytes");
}

static void test_what_settings_have_no_use_for_in_yaml_is_refused(void **state)
{
    (void)state;
    expect_refused("net:\n  rank: 3\n  rank: 4\n", ERR_PARSE,
                   "dir/x.yaml:3:3: net.rank is given twice, first in line 2");
    expect_refused("net: {rank: 3}\nnet.rank: 4\n", ERR_PARSE,
                   "dir/x.yaml:2:1: net.rank is given twice, first in line 1");
    expect_refused("net: {rank: 3}\nnet: {alpha: 0}\n", ERR_PARSE,
                   "dir/x.yaml:2:1: the section 'net' is given twice");
    expect_refused("net: &a {rank: 3}\n", ERR_PARSE,
                   "dir/x.yaml:1:6: the anchor '&a' is refused: write the value out");
    expect_refused("colour: *a\n", ERR_PARSE,
                   "dir/x.yaml:1:9: the alias '*a' is refused: write the value out");
    expect_refused("colour: !!str red\n", ERR_PARSE,
                   "dir/x.yaml:1:9: the tag 'tag:yaml.org,2002:str' is refused: leave it out");
    expect_refused("strict: true\n---\nstrict: true\n", ERR_PARSE,
                   "dir/x.yaml:2:1: a second document begins; one is expected");
    expect_refused("[net]\n", ERR_PARSE,
                   "dir/x.yaml:1:1: expected a mapping of settings (\"lora:\" ...), found a list");
    expect_refused("net: 3\n", ERR_PARSE,
                   "dir/x.yaml:1:6: net: expected a mapping of its keys, found the text '3'");
    expect_refused("run:\n  text: \"a\\0b\"\n", ERR_PARSE,
                   "dir/x.yaml:2:9: the text holds a NUL character");
    expect_refused("run: {text: \"a\n", ERR_PARSE,
                   "dir/x.yaml:2:1: is no YAML: found unexpected end of stream, while scanning a "
                   "quoted scalar");
    expect_refused("strict: true\ncolour: \xff\n", ERR_PARSE,
                   "dir/x.yaml:2:9: is no YAML: invalid leading UTF-8 octet");
}

static void test_deep_nesting_and_large_files_are_refused(void **state)
{
    (void)state;
    size_t bytes = 100000;
    char *deep = mem_calloc(bytes + 1, 1);
    struct block b;
    struct errbuf e;
    memset(deep, '[', bytes);
    assert_int_equal(read_text(deep, bytes, NULL, &b, &e), ERR_PARSE);
    conf_free(&schema, &b);
    mem_free(deep);
    char *large = mem_calloc(2 << 20, 1);
    memset(large, '\n', 2 << 20);
    assert_int_equal(read_text(large, 2 << 20, NULL, &b, &e), ERR_RANGE);
    assert_string_equal(e.text, "dir/x.yaml: has 2097152 bytes, at most 1048576 are read");
    conf_free(&schema, &b);
    mem_free(large);
}

static void test_paths_take_a_whole_variable_at_their_start_alone(void **state)
{
    (void)state;
    struct block b;
    struct errbuf e;
    assert_int_equal(setenv("CONF_TEST_DIR", "/data dir", 1), 0);
    assert_int_equal(unsetenv("CONF_TEST_UNSET"), 0);
    assert_int_equal(read_text("run.path: $CONF_TEST_DIR/a.json", 31, NULL, &b, &e), OK);
    assert_string_equal(b.path, "/data dir/a.json");
    conf_free(&schema, &b);
    expect_refused("run.path: $CONF_TEST_UNSET/a", ERR_NOT_FOUND,
                   "dir/x.yaml:1:11: run.path: '$CONF_TEST_UNSET/a' needs the environment variable "
                   "CONF_TEST_UNSET, which is not set; say e.g. export "
                   "CONF_TEST_UNSET=/path/to/folder");
    expect_refused("run.path: ${CONF_TEST_DIR}/a", ERR_PARSE,
                   "dir/x.yaml:1:11: run.path: '${CONF_TEST_DIR}/a': only a whole $NAME before the "
                   "first '/' is replaced (letters, digits, _)");
    assert_int_equal(read_text("", 0, "run.path=/a/$CONF_TEST_DIR", &b, &e), OK);
    assert_string_equal(b.path, "/a/$CONF_TEST_DIR");
    conf_free(&schema, &b);
}

static void test_a_path_that_is_replaced_may_name_a_variable_that_is_not_set(void **state)
{
    (void)state;
    static const char text[] = "run.path: $PFT_TEST_UNSET/a\n";
    struct block b;
    struct errbuf e;
    static struct conf_origins origins;
    assert_int_equal(unsetenv("PFT_TEST_UNSET"), 0);
    assert_int_equal(read_text(text, sizeof text - 1, NULL, &b, &e), ERR_NOT_FOUND);
    conf_free(&schema, &b);
    assert_int_equal(read_text(text, sizeof text - 1, "run.path=/there", &b, &e), OK);
    assert_string_equal(b.path, "/there");
    conf_free(&schema, &b);
    assert_int_equal(read_text(text, sizeof text - 1, "run.pat=/there", &b, &e), ERR_NOT_FOUND);
    conf_free(&schema, &b);
    const char *const sets[] = {"run.path=$PFT_TEST_UNSET/b", "run.path=/last"};
    b = (struct block){0};
    assert_int_equal(
        conf_read(&schema, &b, text, sizeof text - 1, "x.yaml", "/base", sets, 2, &origins, &e),
        OK);
    assert_string_equal(b.path, "/last");
    conf_free(&schema, &b);
}

static void test_words_of_yaml_for_truth_and_nothing_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool flag;
    } fine[] = {{"strict: True\n", true},
                {"strict: FALSE\n", false},
                {"strict: False\nrun: {text: ~, path: null}\n", false},
                {"strict: true\nrun: Null\n", true}};
    struct block b;
    struct errbuf e;
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        assert_int_equal(read_text(fine[i].text, strlen(fine[i].text), NULL, &b, &e), OK);
        assert_int_equal(b.flag, fine[i].flag);
        assert_string_equal(b.text, "");
        assert_string_equal(b.path, "");
        conf_free(&schema, &b);
    }
    static const char quoted[] = "run: {text: 'null'}\n";
    assert_int_equal(read_text(quoted, sizeof quoted - 1, NULL, &b, &e), OK);
    assert_string_equal(b.text, "null");
    conf_free(&schema, &b);
    expect_refused("net.rank: ~\n", ERR_PARSE,
                   "dir/x.yaml:1:11: net.rank: expected a whole number, 1 to 64, found nothing");
}

static void test_a_dump_reads_back_as_the_same_settings(void **state)
{
    (void)state;
    static const char text[] = "net: {rank: 3, parts: all, alpha: 0.3333333}\nrun: {rate: "
                               "0.00012345678901234567, text: \"q\\\"\\\\\\t: #\", path: /p}\n";
    struct block b;
    struct block again;
    struct errbuf e;
    struct str first = {0};
    struct str second = {0};
    assert_int_equal(read_text(text, sizeof text - 1, NULL, &b, &e), OK);
    conf_dump(&schema, &b, &first);
    assert_int_equal(read_text(first.data, first.len, NULL, &again, &e), OK);
    conf_dump(&schema, &again, &second);
    assert_string_equal(first.data, second.data);
    assert_true(memcmp(&b.rate, &again.rate, sizeof b.rate) == 0);
    assert_true(memcmp(&b.alpha, &again.alpha, sizeof b.alpha) == 0);
    assert_string_equal(b.text, again.text);
    conf_free(&schema, &b);
    conf_free(&schema, &again);
    str_free(&first);
    str_free(&second);
}

static void test_the_sample_file_holds_the_defaults_and_reads_back(void **state)
{
    (void)state;
    struct str sample = {0};
    struct str a = {0};
    struct str z = {0};
    struct block b;
    struct errbuf e;
    conf_sample(&schema, &sample);
    assert_int_equal(read_text(sample.data, sample.len, NULL, &b, &e), OK);
    conf_dump(&schema, &b, &a);
    conf_free(&schema, &b);
    assert_int_equal(read_text("", 0, NULL, &b, &e), OK);
    conf_dump(&schema, &b, &z);
    conf_free(&schema, &b);
    assert_string_equal(a.data, z.data);
    str_free(&sample);
    str_free(&a);
    str_free(&z);
}

static void test_every_truncation_of_a_file_ends_in_settings_or_a_message(void **state)
{
    (void)state;
    static const char text[] =
        "# c\nnet:\n  rank: 3\n  parts:\n    - gate\n    - q\nrun: {rate: "
        "1e-3, text: \"x \\u00e9\\n\", seed: 7}\nstrict: false\ncolour: 'red'\n";
    int refused = 0;
    for (size_t n = 0; n < sizeof text; n++) {
        struct block b;
        struct errbuf e;
        enum err error = read_text(text, n, NULL, &b, &e);
        assert_true(error == OK || strncmp(e.text, "dir/x.yaml:", 11) == 0);
        refused += error != OK;
        conf_free(&schema, &b);
    }
    assert_true(refused > 40);
}

static void test_running_out_of_memory_at_any_allocation_is_reported(void **state)
{
    (void)state;
    static const char text[] = "run: {text: abc, path: p}\nnet.parts: [q]\n";
    int failures = 0;
    for (unsigned long n = 1; n < 60; n++) {
        struct block b;
        struct errbuf e;
        mem_fail_after(n);
        enum err error = read_text(text, sizeof text - 1, NULL, &b, &e);
        mem_fail_after(0);
        failures += error == ERR_NOMEM;
        assert_true(error == OK || error == ERR_NOMEM);
        conf_free(&schema, &b);
    }
    assert_true(failures >= 4);
}

static void test_the_nearest_name_is_near_or_none(void **state)
{
    (void)state;
    static const char *const names[] = {"Risk-taking", "Risk-averse", NULL, "Assertive"};
    assert_string_equal(conf_nearest("risk-taking", names, 4), "Risk-taking");
    assert_string_equal(conf_nearest("Risk-avers", names, 4), "Risk-averse");
    assert_null(conf_nearest("zzz", names, 4));
    assert_null(conf_nearest("", names, 4));
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_null(conf_nearest(long_name, names, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_file_gives_the_defaults),
        cmocka_unit_test(test_sections_dotted_names_and_lists_are_read),
        cmocka_unit_test(test_unknown_keys_name_place_and_nearest_key),
        cmocka_unit_test(test_values_out_of_range_name_the_bounds),
        cmocka_unit_test(test_texts_that_are_no_value_of_the_type_are_refused),
        cmocka_unit_test(test_what_settings_have_no_use_for_in_yaml_is_refused),
        cmocka_unit_test(test_deep_nesting_and_large_files_are_refused),
        cmocka_unit_test(test_paths_take_a_whole_variable_at_their_start_alone),
        cmocka_unit_test(test_a_path_that_is_replaced_may_name_a_variable_that_is_not_set),
        cmocka_unit_test(test_words_of_yaml_for_truth_and_nothing_are_known),
        cmocka_unit_test(test_a_dump_reads_back_as_the_same_settings),
        cmocka_unit_test(test_the_sample_file_holds_the_defaults_and_reads_back),
        cmocka_unit_test(test_every_truncation_of_a_file_ends_in_settings_or_a_message),
        cmocka_unit_test(test_running_out_of_memory_at_any_allocation_is_reported),
        cmocka_unit_test(test_the_nearest_name_is_near_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
