/* test_matrix.c - a matrix file with its errors, its cells and their words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/matrix_cell.h"
#include "common/base/mem.h"

static char folder[] = "/tmp/pft-test-matrix-XXXXXX";
static char path[64];

#define BASE                                                                                       \
    "base: run.yaml\n"                                                                             \
    "set: {train.max_steps: 3}\n"                                                                  \
    "seeds: [0, 5]\n"
#define VARIANTS                                                                                   \
    "variants:\n"                                                                                  \
    "  - {name: base, train: false}\n"                                                             \
    "  - {name: sft-a, set: {train.objective: sft, lora.targets: [q, k]}, seeds: [7]}\n"           \
    "  - {name: pft, args: --limit 3}\n"
#define EVALUATIONS                                                                                \
    "evaluations:\n"                                                                               \
    "  - {name: select, args: [--readout, \"likelihood,contrast\", --paired]}\n"                   \
    "  - {name: spoken, command: judge, args: $CELL/answers.json, variants: [pft],\n"              \
    "     before: [generate @model --out $CELL/answers.json]}\n"

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/run.yaml", folder);
    static const char config[] = "data.test: test.json\ndata.system: \"be kind\"\n";
    if (file_write_atomic(path, config, sizeof config - 1, NULL) != OK) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/matrix.yaml", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char config[64];
    (void)snprintf(config, sizeof config, "%s/run.yaml", folder);
    (void)unlink(config);
    (void)unlink(path);
    return rmdir(folder);
}

static enum err load(const char *text, struct matrix **m, struct errbuf *e)
{
    assert_int_equal(file_write_atomic(path, text, strlen(text), e), OK);
    return matrix_load(path, m, e);
}

static void test_variants_evaluations_and_seeds_make_cells(void **state)
{
    (void)state;
    struct matrix *m = NULL;
    struct matrix_cell *cells = NULL;
    uint32_t n = 0;
    struct errbuf e = {0};
    assert_int_equal(load(BASE VARIANTS EVALUATIONS, &m, &e), OK);
    assert_int_equal(matrix_cells(m, &cells, &n, &e), OK);
    static const char *const names[] = {
        "base.select",     "sft-a-seed7.train", "sft-a-seed7.select",
        "pft-seed0.train", "pft-seed0.select",  "pft-seed0.spoken",
        "pft-seed5.train", "pft-seed5.select",  "pft-seed5.spoken"};
    assert_int_equal(n, sizeof names / sizeof names[0]);
    for (uint32_t i = 0; i < n; i++) {
        assert_string_equal(cells[i].name, names[i]);
    }
    mem_free(cells);
    matrix_free(&m);
}

static bool has(const struct matrix_words *w, const char *word)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (strcmp(w->items[i], word) == 0) {
            return true;
        }
    }
    return false;
}

static void test_a_cell_becomes_commands_of_pft(void **state)
{
    (void)state;
    struct matrix *m = NULL;
    struct matrix_cell *cells = NULL;
    uint32_t n = 0;
    struct errbuf e = {0};
    struct matrix_place p;
    assert_int_equal(load(BASE VARIANTS EVALUATIONS, &m, &e), OK);
    assert_int_equal(matrix_cells(m, &cells, &n, &e), OK);
    struct matrix_commands bare = {0};
    assert_int_equal(matrix_place(m, &cells[0], "/d", &p, &e), OK);
    assert_int_equal(matrix_commands(m, &cells[0], &p, false, "2", &bare, &e), OK);
    assert_int_equal(bare.n, 1);
    assert_true(has(&bare.items[0], "--model") && has(&bare.items[0], "default"));
    assert_true(has(&bare.items[0], "data.system=be kind"));
    assert_false(has(&bare.items[0], "--paired")); /* no adapter to switch off */
    assert_true(has(&bare.items[0], "--workers"));
    matrix_commands_free(&bare);
    struct matrix_commands train = {0};
    assert_int_equal(matrix_place(m, &cells[1], "/d", &p, &e), OK);
    assert_int_equal(matrix_commands(m, &cells[1], &p, true, NULL, &train, &e), OK);
    assert_true(has(&train.items[0], "/d/cells/sft-a-seed7"));
    assert_true(has(&train.items[0], "lora.targets=[q, k]"));
    assert_true(has(&train.items[0], "train.max_steps=3"));
    assert_true(has(&train.items[0], "train.seed=7"));
    assert_true(has(&train.items[0], "--resume"));
    matrix_commands_free(&train);
    struct matrix_commands spoken = {0};
    assert_int_equal(matrix_place(m, &cells[5], "/d", &p, &e), OK);
    assert_int_equal(matrix_commands(m, &cells[5], &p, false, NULL, &spoken, &e), OK);
    assert_int_equal(spoken.n, 2);
    assert_string_equal(spoken.items[0].items[0], "generate");
    assert_string_equal(spoken.items[0].items[1], "/d/cells/pft-seed0");
    assert_string_equal(spoken.items[1].items[0], "judge");
    assert_string_equal(spoken.items[1].items[1], "/d/"
                                                  "work/pft-seed0/answers.json");
    matrix_commands_free(&spoken);
    mem_free(cells);
    matrix_free(&m);
}

static void test_an_evaluation_that_needs_a_variable_is_there_only_with_it(void **state)
{
    (void)state;
    struct matrix *m = NULL;
    struct errbuf e = {0};
    static const char text[] = BASE VARIANTS EVALUATIONS
        "  - {name: judged, command: judge, needs: [PFT_TEST_URL, PFT_TEST_NAME],\n"
        "     args: --base-url $PFT_TEST_URL}\n";
    assert_int_equal(setenv("PFT_TEST_URL", "http://h/v1", 1), 0);
    assert_int_equal(load(text, &m, &e), OK);
    assert_int_equal(m->n_evaluations, 2);
    assert_int_equal(matrix_evaluation(m, "judged"), -1);
    matrix_free(&m);
    static const char asked[] = "claims:\n  - {text: t, better: pft, than: base, column: judged}\n"
                                "  - {text: u, better: pft, than: base, column: judged b}\n";
    char both[sizeof text + sizeof asked];
    (void)snprintf(both, sizeof both, "%s%s", text, asked);
    assert_int_equal(load(both, &m, &e), OK); /* a claim on it is not measured, not wrong */
    assert_int_equal(m->n_claims, 2);
    matrix_free(&m);
    assert_int_equal(setenv("PFT_TEST_NAME", "j", 1), 0);
    assert_int_equal(load(text, &m, &e), OK);
    assert_int_equal(m->n_evaluations, 3);
    assert_string_equal(m->evaluations[2].args.items[1], "http://h/v1");
    matrix_free(&m);
    assert_int_equal(unsetenv("PFT_TEST_URL"), 0);
    assert_int_equal(unsetenv("PFT_TEST_NAME"), 0);
}

static void test_the_model_of_a_word_is_named_without_a_training_file(void **state)
{
    (void)state;
    struct matrix *m = NULL;
    struct errbuf e = {0};
    struct matrix_place p;
    struct matrix_commands list = {0};
    const struct matrix_cell cell = {.variant = 0, .evaluation = 1};
    static const char text[] = "base: run.yaml\nset: {data.train: t.json, data.values: v.yaml}\n"
                               "variants:\n  - {name: base, train: false}\n"
                               "evaluations:\n  - {name: select}\n"
                               "  - {name: open, command: judge, before: [generate @model]}\n";
    assert_int_equal(load(text, &m, &e), OK);
    assert_int_equal(matrix_place(m, &cell, "/d", &p, &e), OK);
    assert_int_equal(matrix_commands(m, &cell, &p, false, NULL, &list, &e), OK);
    assert_true(has(&list.items[0], "--model") && has(&list.items[0], "--data"));
    assert_true(has(&list.items[0], "--values") && !has(&list.items[0], "--train"));
    matrix_commands_free(&list);
    matrix_free(&m);
}

static void test_what_is_counted_names_a_command_or_is_asked_of_eval(void **state)
{
    (void)state;
    struct matrix *m = NULL;
    struct errbuf e = {0};
    struct matrix_place p;
    const struct matrix_cell cell = {.variant = 0, .evaluation = 1};
    static const char text[] =
        "base: run.yaml\nset: {data.values: v.yaml}\n"
        "variants:\n  - {name: pft, args: --fit 0, before: [capture @model],\n"
        "     counts: [--limit 9 --paired]}\n"
        "evaluations:\n  - {name: select}\n"
        "  - {name: open, command: judge, counts: [generate @model]}\n";
    assert_int_equal(load(text, &m, &e), OK);
    assert_int_equal(m->variants[0].counts.n, 1);
    assert_int_equal(matrix_place(m, &cell, "/d", &p, &e), OK);
    struct matrix_words open = {0};
    assert_int_equal(
        matrix_bare_command(m, &cell, &p, &m->evaluations[1].counts.items[0], &open, &e), OK);
    assert_string_equal(open.items[0], "generate");
    assert_true(has(&open, "--model") && has(&open, "--data") && !has(&open, p.run));
    matrix_words_free(&open);
    struct matrix_words sweep = {0};
    assert_int_equal(matrix_bare_command(m, &cell, &p, &m->variants[0].counts.items[0], &sweep, &e),
                     OK);
    assert_string_equal(sweep.items[0], "eval");
    assert_true(has(&sweep, "--limit") && has(&sweep, "--model"));
    assert_false(has(&sweep, "--paired") || has(&sweep, "--fit")); /* no adapter; no variant's */
    matrix_words_free(&sweep);
    matrix_free(&m);
}

static void test_wrong_files_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {BASE EVALUATIONS, ":1:1: there is no 'variants'"},
        {BASE "variants: []\n" EVALUATIONS, ":4:11: variants: expected a list of 1 to 64"},
        {BASE "variants:\n  - {nme: x}\n" EVALUATIONS,
         ":5:11: variants: unknown key 'nme'; did you"},
        {BASE "variants:\n  - {what: x}\n" EVALUATIONS, "has no 'name'"},
        {BASE "variants:\n  - {name: a/b}\n" EVALUATIONS, "'a/b' must be 1 to 47 letters"},
        {BASE "variants:\n  - {name: pft}\n  - {name: pft}\n" EVALUATIONS, "'pft' comes twice"},
        {BASE "variants:\n  - {name: pft, set: {lora.q: 3}}\n" EVALUATIONS,
         ":5: variant 'pft': --set: unknown key 'lora.q'"},
        {BASE "variants:\n  - {name: pft, set: {lora.r: 0}}\n" EVALUATIONS, "lora.r"},
        {BASE "variants:\n  - {name: pft, set: {lora: {r: 8}}}\n" EVALUATIONS, "with dots"},
        {BASE "variants:\n  - {name: pft, train: maybe}\n" EVALUATIONS, "neither true nor false"},
        {BASE "variants:\n  - {name: pft, args: $PFT_NO_SUCH/x}\n" EVALUATIONS,
         "the variable PFT_NO_SUCH is not set"},
        {"base: none.yaml\n" VARIANTS EVALUATIONS, ":1:7: base: there is no file"},
        {"base: run.yaml\nseeds: [1, 1]\n" VARIANTS EVALUATIONS, "1 comes twice"},
        {"base: run.yaml\nseeds: [-1]\n" VARIANTS EVALUATIONS, "no whole number"},
        {BASE VARIANTS EVALUATIONS
         "claims:\n  - {text: t, better: pft, column: other, than: base}\n",
         "begins with the name of an evaluation"},
        {BASE VARIANTS EVALUATIONS "claims:\n  - {text: t, better: pft, column: select}\n",
         "one of 'than'"},
        {BASE VARIANTS EVALUATIONS "claims:\n  - {text: t, better: pft, column: select, side: a, "
                                   "each_value_at_least: 0.8}\n",
         "'side' does not go with 'each_value_at_least'"},
        {BASE VARIANTS EVALUATIONS "claims:\n  - {text: t, better: pft, column: select, side: b, "
                                   "above_words: 0.05}\n",
         "nor with 'above_words'"},
        {BASE VARIANTS EVALUATIONS "claims:\n  - {text: t, better: pft, column: select, "
                                   "at_least: 0.8, margin: 0.1}\n",
         "'margin' goes with 'than' alone"},
        {BASE VARIANTS EVALUATIONS
         "claims:\n  - {text: t, better: x, than: base, column: select}\n",
         "name variants"},
        {BASE VARIANTS EVALUATIONS "reference: nobody\n", "there is no variant 'nobody'"},
        {"- 1\n", "expected a mapping"},
        {"base: run.yaml\nbase: run.yaml\n", "is given twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct matrix *m = NULL;
        struct errbuf e = {0};
        assert_int_not_equal(load(cases[i].text, &m, &e), OK);
        assert_null(m);
        if (!strstr(e.text, cases[i].says)) {
            fail_msg("case %zu: '%s' does not say '%s'", i, e.text, cases[i].says);
        }
    }
}

static void test_every_truncation_is_refused_or_read_without_harm(void **state)
{
    (void)state;
    static const char text[] = BASE VARIANTS EVALUATIONS;
    char cut[sizeof text];
    for (size_t n = 0; n < sizeof text; n += 3) {
        struct matrix *m = NULL;
        struct errbuf e = {0};
        memcpy(cut, text, n);
        cut[n] = '\0';
        (void)load(cut, &m, &e);
        matrix_free(&m);
    }
}

static void test_the_committed_matrices_are_read(void **state)
{
    (void)state;
    struct matrix *m = NULL;
    struct errbuf e = {0};
    (void)setenv("PFT_VCD_DIR", folder, 1);
    assert_int_equal(matrix_load("configs/reproduce-starter.yaml", &m, &e), OK);
    matrix_free(&m);
    assert_int_equal(matrix_load("configs/reproduce-vcd.yaml", &m, &e), OK);
    assert_true(m->n_claims > 5);
    matrix_free(&m);
    assert_int_equal(matrix_load("configs/reproduce-vcd-seeds.yaml", &m, &e), OK);
    assert_int_equal(m->n_seeds, 2);
    matrix_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants_evaluations_and_seeds_make_cells),
        cmocka_unit_test(test_a_cell_becomes_commands_of_pft),
        cmocka_unit_test(test_an_evaluation_that_needs_a_variable_is_there_only_with_it),
        cmocka_unit_test(test_the_model_of_a_word_is_named_without_a_training_file),
        cmocka_unit_test(test_what_is_counted_names_a_command_or_is_asked_of_eval),
        cmocka_unit_test(test_wrong_files_are_refused_with_their_place),
        cmocka_unit_test(test_every_truncation_is_refused_or_read_without_harm),
        cmocka_unit_test(test_the_committed_matrices_are_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
