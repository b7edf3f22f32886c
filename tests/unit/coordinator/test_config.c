/* test_config.c - the run's settings: defaults, checks across keys, the shipped files, the docs. */
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
#include "coordinator/config.h"
#include "coordinator/readout.h"

static struct run_config *parse(const char *text, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    *e = (struct errbuf){0};
    enum err error = config_parse(text, strlen(text), "x.yaml", "/base", NULL, 0, &cfg, e);
    assert_true((error == OK) == (cfg != NULL));
    return cfg;
}

static void expect_refused(const char *text, const char *message)
{
    struct errbuf e;
    assert_null(parse(text, &e));
    assert_string_equal(e.text, message);
}

static void test_the_defaults_are_the_recipe(void **state)
{
    (void)state;
    struct errbuf e;
    struct run_config *c = parse("", &e);
    assert_non_null(c);
    assert_string_equal(c->model_path, "");
    assert_int_equal(c->data_layout, LAYOUT_PREFERENCE_LAST);
    assert_int_equal(c->data_group, GROUP_SCENARIO);
    assert_int_equal(c->lora.r, 16);
    assert_true(c->lora.alpha > 31.9f && c->lora.alpha < 32.1f);
    assert_int_equal(c->lora.targets, (1u << LORA_MODULES) - 1);
    assert_int_equal(c->eval_readouts, (1u << READOUTS) - 1);
    assert_int_equal(c->train_batch_groups, 8);
    assert_int_equal(c->train_objective, OBJECTIVE_PFT);
    assert_true(c->dpo_beta == 0.1 && c->simpo_beta == 0.1 && c->simpo_gamma == 0.5 &&
                c->simpo_cpo_alpha == 1); /* TRL's */
    assert_int_equal(c->unit_tokens, 512);
    assert_int_equal(c->tree_tokens_max, 4096);
    assert_true(c->strict && c->eval_before);
    assert_true(c->train_max_steps == 0 && c->train_seed == 0);
    config_free(&c);
    assert_null(c);
}

static void test_targets_and_readouts_stand_in_the_order_of_their_enums(void **state)
{
    (void)state;
    struct errbuf e;
    for (int i = 0; i < LORA_MODULES; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "lora.targets: %s", lora_module_name(i));
        struct run_config *c = parse(text, &e);
        assert_int_equal(c->lora.targets, 1u << i);
        config_free(&c);
    }
    for (int i = 0; i < READOUTS; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "eval.readouts: [%s]", readout_name(i));
        struct run_config *c = parse(text, &e);
        assert_int_equal(c->eval_readouts, 1u << i);
        assert_int_equal(c->eval_before_readouts, (1u << READOUTS) - 1);
        config_free(&c);
    }
}

static void test_settings_that_do_not_go_together_are_refused(void **state)
{
    (void)state;
    expect_refused(
        "train:\n  warmup: 1.5\n",
        "x.yaml:2:11: train.warmup: 1.5 is neither a share below 1 nor a whole number of "
        "steps");
    expect_refused("train.normalisation: paper\n",
                   "x.yaml:1:22: train.normalisation: paper needs data.group: pair (now scenario, "
                   "default)");
    expect_refused(
        "data: {layout: paper, system: Be brief.}\n",
        "x.yaml:1:31: data.system: the paper layout is plain text without a system turn; "
        "leave it empty or take data.layout: preference_last");
    expect_refused("train: {w_a: 0, w_b: 0}\n",
                   "x.yaml:1:14: train.w_a and train.w_b are both 0: nothing would be learnt");
    expect_refused(
        "data.max_length: 5000\n",
        "x.yaml:1:18: data.max_length: 5000 is more than tree_tokens_max, 4096 (default)");
    expect_refused("precision: fp16\n",
                   "x.yaml:1:12: precision: 'fp16' is unknown: expected one of auto, fp32, bf16; "
                   "did you mean 'fp32'?");
    expect_refused(
        "train: {objective: dpo, normalisation: paper}\ndata.group: pair\n",
        "x.yaml:1:40: train.normalisation: paper is a mean over answer tokens, which only "
        "train.objective pft and sft have (now dpo, x.yaml:1:20)");
    expect_refused(
        "train: {objective: sft, w_b: 0}\nsft.side: b\n",
        "x.yaml:2:11: train.objective: sft with sft.side: b, but the weight of a side it "
        "trains (train.w_a 1, train.w_b 0) is 0");
    expect_refused(
        "train.objective: orpo\n",
        "x.yaml:1:18: train.objective: 'orpo' is unknown: expected one of pft, sft, dpo, "
        "simpo, pft-contrast, ranking, pft-contrast-ranking; did you mean 'dpo'?");
    expect_refused(
        "dpo.label_smoothing: 0.5\n",
        "x.yaml:1:22: dpo.label_smoothing: '0.5' is out of range: expected a number, 0 to "
        "below 0.5");
    expect_refused("lora:\n  rank: 8\n",
                   "x.yaml:2:3: unknown key 'lora.rank'; did you mean 'lora.r'?");
    expect_refused("lora:\n  r: 9999\n", "x.yaml:2:6: lora.r: '9999' is out of range: expected a "
                                         "whole number, 1 to 512");
    expect_refused("train.learning_rat: 1\n",
                   "x.yaml:1:1: unknown key 'train.learning_rat'; did you mean "
                   "'train.learning_rate'?");
}

static void test_a_dump_gives_the_same_settings_and_the_same_dump(void **state)
{
    (void)state;
    struct errbuf e;
    struct run_config *c = parse("data: {train: a.json, values: /v.yaml, system: \"x: 'y'\"}\n"
                                 "train: {learning_rate: 3.3e-5, max_steps: 50, warmup: 100}\n"
                                 "lora: {targets: [v, q], dropout: 0.05}\nkernels: x86-64-v3\n",
                                 &e);
    assert_non_null(c);
    struct str first = {0};
    struct str second = {0};
    config_dump(c, &first);
    assert_non_null(strstr(first.data, "  train: \"/base/a.json\"\n"));
    assert_non_null(strstr(first.data, "  targets: [q, v]\n"));
    struct run_config *again = parse(first.data, &e);
    assert_non_null(again);
    config_dump(again, &second);
    assert_string_equal(first.data, second.data);
    struct str value = {0};
    assert_true(config_value(again, "kernels", &value));
    assert_string_equal(value.data, "x86-64-v3");
    assert_false(config_value(again, "kernel", &value));
    config_free(&c);
    config_free(&again);
    str_free(&first);
    str_free(&second);
    str_free(&value);
}

static void test_the_shipped_configs_load_and_say_what_the_recipe_says(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct run_config *c = NULL;
    assert_int_equal(unsetenv("PFT_VCD_DIR"), 0);
    assert_int_equal(config_load("configs/vcd.yaml", NULL, 0, &c, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "PFT_VCD_DIR, which is not set"));
    assert_int_equal(setenv("PFT_VCD_DIR", "/vcd", 1), 0);
    assert_int_equal(config_load("configs/vcd.yaml", NULL, 0, &c, &e), OK);
    assert_string_equal(c->data_train, "/vcd/vcd_train.json");
    assert_string_equal(c->data_test, "/vcd/vcd_test.json");
    assert_int_equal(c->train_epochs, 1);
    assert_true(file_exists(c->data_values));
    config_free(&c);
    assert_int_equal(config_load("configs/starter.yaml", NULL, 0, &c, &e), OK);
    assert_int_equal(c->train_max_steps, 30);
    assert_true(c->eval_before);
    assert_true(file_exists(c->data_values));
    config_free(&c);
    assert_int_equal(config_load("configs/vcd-best.yaml", NULL, 0, &c, &e), OK);
    assert_int_equal(c->train_objective, OBJECTIVE_PFT_CONTRAST_RANKING);
    assert_int_equal(c->train_epochs, 3);
    assert_true(file_exists(c->data_values));
    config_free(&c);
    const char *sets[] = {"train.max_steps=50", "data.test="};
    assert_int_equal(config_load("configs/paper-vcd.yaml", sets, 2, &c, &e), OK);
    assert_int_equal(c->data_layout, LAYOUT_PAPER);
    assert_int_equal(c->data_group, GROUP_PAIR);
    assert_int_equal(c->train_normalisation, NORMALISATION_PAPER);
    assert_int_equal(c->train_batch_groups, 16);
    assert_int_equal(c->train_micro_groups, 4);
    assert_int_equal(c->lora.r, 8);
    assert_int_equal(c->lora.targets, 15);
    assert_int_equal(c->data_max_length, 512);
    assert_true(c->train_warmup > 99.9 && c->train_warmup < 100.1);
    assert_true(c->train_max_steps == 50);
    assert_string_equal(c->data_test, "");
    config_free(&c);
}

static void test_a_missing_file_is_named(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct run_config *c = NULL;
    assert_int_equal(config_load("configs/none.yaml", NULL, 0, &c, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "configs/none.yaml: cannot be opened"));
    assert_int_equal(config_load("configs", NULL, 0, &c, &e), ERR_UNSUPPORTED);
}

static void test_the_docs_are_what_the_table_says(void **state)
{
    (void)state;
    struct str docs = {0};
    char *file = NULL;
    size_t bytes = 0;
    struct errbuf e = {0};
    config_docs(&docs);
    assert_int_equal(str_ok(&docs), OK);
    assert_int_equal(file_read("docs/config.md", 1 << 20, &file, &bytes, &e), OK);
    if (strcmp(file, docs.data) != 0) {
        print_error("docs/config.md is stale: pft config docs > docs/config.md\n");
    }
    assert_string_equal(file, docs.data);
    mem_free(file);
    str_free(&docs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_defaults_are_the_recipe),
        cmocka_unit_test(test_targets_and_readouts_stand_in_the_order_of_their_enums),
        cmocka_unit_test(test_settings_that_do_not_go_together_are_refused),
        cmocka_unit_test(test_a_dump_gives_the_same_settings_and_the_same_dump),
        cmocka_unit_test(test_the_shipped_configs_load_and_say_what_the_recipe_says),
        cmocka_unit_test(test_a_missing_file_is_named),
        cmocka_unit_test(test_the_docs_are_what_the_table_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
