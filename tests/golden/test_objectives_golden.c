/* test_objectives_golden.c - every train.objective from text to gradient on the tiny model against
 * PyTorch + PEFT and, where TRL has the loss, TRL's trainers (README.md beside this file). */
#include <stdlib.h>

#include "tests/golden/golden_gradient.h"
#include "tests/support/test_level.h"

#include "common/format/model_file.h"
#include "common/text/tokenizer.h"
#include "coordinator/anchor.h"
#include "coordinator/forest.h"
#include "coordinator/objective.h"
#include "worker/engine.h"
#include "worker/model/terms.h"
#include "worker/model/weights.h"

#define FOLDER "tests/golden/objectives/"

enum { LEAVES = 8 };

struct golden {
    json_t *json, *trl;
    struct weights weights;
    struct lora_config lora;
    struct engine *engine;
    struct engine_slot *slot;
    struct tokenizer *tok;
    struct values *values;
    struct dataset *data;
    struct run_config *cfg; /* of the case */
    float *flat;
    int64_t *sum;
    double loss;
    double leaf_weight[2][LIMIT_OPTIONS];
};

static void open_golden(struct golden *g)
{
    struct errbuf e = {0};
    struct model_file *mf = NULL;
    memset(g, 0, sizeof *g);
    must(golden_json(FOLDER "objectives.json", &g->json, &e), &e);
    must(golden_json(FOLDER "trl.json", &g->trl, &e), &e);
    golden_lora(json_object_get(g->json, "lora"), &g->lora);
    must(model_open("tests/golden/tiny", &mf, &e), &e);
    must(weights_load(&g->weights, mf, 1, &e), &e);
    must(tokenizer_open(mf, &g->tok, &e), &e);
    model_close(&mf);
    must(values_load(FOLDER "values.yaml", &g->values, &e), &e);
    must(dataset_load(FOLDER "data.json", g->values, GROUP_SCENARIO, &g->data, &e), &e);
    const struct engine_config config = {
        .shape = g->weights.shape, .lora = g->lora, .kernels = test_level()};
    must(engine_new(&config, &g->weights, &g->engine, &e), &e);
    must(engine_slot_new(g->engine, 0, &g->slot, &e), &e);
    g->flat = mem_calloc(engine_lora_count(g->engine), sizeof *g->flat);
    g->sum = mem_calloc(engine_lora_count(g->engine), sizeof *g->sum);
    assert_true(g->flat && g->sum);
    must(golden_adapter(FOLDER "lora.safetensors", &g->weights.shape, &g->lora, g->flat, &e), &e);
}

static void close_golden(struct golden *g)
{
    mem_free(g->flat);
    mem_free(g->sum);
    engine_slot_free(&g->slot);
    engine_free(&g->engine);
    dataset_free(&g->data);
    values_free(&g->values);
    tokenizer_close(&g->tok);
    weights_free(&g->weights);
    json_decref(g->json);
    json_decref(g->trl);
}

static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "name")), name) == 0) {
            return item;
        }
    }
    return NULL;
}

/* Number of a leaf of the fixture ("log_p", "reference") by side and option. */
static double leaf_number(const struct golden *g, const struct forest_leaf *leaf, const char *key)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(g->json, "leaves"), i, item)
    {
        if (golden_number(item, "side") == leaf->side &&
            golden_number(item, "option") == leaf->option) {
            return json_number_value(json_object_get(item, key));
        }
    }
    fail_msg("the fixture has no leaf of side %u, option %u", leaf->side, leaf->option);
    return NAN;
}

/* Scores a tree and compares with a number of the fixture's leaves. */
static void score(struct golden *g, struct forest_tree *t, const float *lora, const char *key,
                  double *leaves)
{
    struct errbuf e = {0};
    const struct unit unit = {.n_trees = 1, .n_rows = t->tree.n_rows, .trees = &t->tree};
    assert_true(t->tree.n_leaves <= LEAVES);
    must(engine_score(g->slot, &unit, lora, leaves, &e), &e);
    for (uint32_t i = 0; i < t->tree.n_leaves; i++) {
        double wanted = leaf_number(g, &t->leaves[i], key);
        if (!(fabs(leaves[i] - wanted) <= 1e-5 * fabs(wanted))) {
            fail_msg("%s of leaf %u: %.9f, PyTorch %.9f", key, i, leaves[i], wanted);
        }
    }
}

/* What each label of a leaf weighs, from the fixture's log-probabilities. */
static void add_weights(struct golden *g, const struct forest_tree *t)
{
    double log_p[LEAVES];
    double weight[LEAVES] = {0};
    for (uint32_t i = 0; i < t->tree.n_leaves; i++) {
        log_p[i] = leaf_number(g, &t->leaves[i], "log_p");
        for (uint32_t l = 0; l < t->tree.n_labels; l++) {
            weight[i] = t->tree.labels[l].leaf == i ? (double)t->tree.labels[l].weight : weight[i];
        }
    }
    for (uint32_t i = 0; i < t->tree.n_terms; i++) {
        (void)terms_add(&t->tree.terms[i], log_p, weight);
    }
    for (uint32_t i = 0; i < t->tree.n_leaves; i++) {
        g->leaf_weight[t->leaves[i].side][t->leaves[i].option] += weight[i];
    }
}

/* Every tree of a group: its reference from the model without adapter, then its gradient. */
static void run_group(struct golden *g, struct forest *forest, uint32_t group)
{
    struct errbuf e = {0};
    struct forest_trees trees;
    struct unit_result result;
    double reference[LEAVES];
    double log_p[LEAVES];
    must(forest_build(forest, group, 1, 1, NULL, &trees, &e), &e);
    assert_int_equal(trees.n, 1);
    score(g, &trees.items[0], NULL, "reference", reference);
    score(g, &trees.items[0], g->flat, "log_p", log_p);
    forest_trees_free(&trees);
    must(forest_build(forest, group, 1, 1, reference, &trees, &e), &e);
    struct tree *tree = &trees.items[0].tree;
    const struct unit unit = {.n_trees = 1, .n_rows = tree->n_rows, .trees = tree};
    must(engine_gradient(g->slot, &unit, g->flat, 0, g->sum, &result, &e), &e);
    g->loss += (double)result.loss * 0x1p-40;
    add_weights(g, &trees.items[0]);
    forest_trees_free(&trees);
}

/* The anchors of a step as one unit. */
static void run_anchors(struct golden *g, const json_t *item)
{
    struct errbuf e = {0};
    struct forest_trees trees[LEAVES] = {{0}};
    struct tree list[LEAVES];
    struct unit unit = {.trees = list, .anchor = true};
    struct unit_result result;
    struct anchor *anchor = NULL;
    must(anchor_new(g->cfg, g->values, g->tok, &anchor, &e), &e);
    assert_true(anchor_texts(anchor) <= LEAVES);
    must(anchor_build(anchor, 0, trees, &e), &e);
    for (; unit.n_trees < anchor_texts(anchor); unit.n_trees++) {
        list[unit.n_trees] = trees[unit.n_trees].items->tree;
        unit.n_rows += list[unit.n_trees].n_rows;
    }
    must(engine_gradient(g->slot, &unit, g->flat, 0, g->sum, &result, &e), &e);
    double kl = (double)result.loss * 0x1p-40 / g->cfg->anchor_weight;
    double wanted = json_number_value(json_object_get(item, "kl"));
    if (!(fabs(kl - wanted) <= 1e-5 * wanted)) {
        fail_msg("KL of the anchor %.9f, PyTorch %.9f", kl, wanted);
    }
    g->loss += (double)result.loss * 0x1p-40;
    for (uint32_t i = 0; i < unit.n_trees; i++) {
        forest_trees_free(&trees[i]);
    }
    anchor_free(&anchor);
}

static void check_weights(const struct golden *g, const json_t *item)
{
    size_t i;
    json_t *leaf;
    json_array_foreach(json_object_get(g->json, "leaves"), i, leaf)
    {
        double wanted = json_number_value(json_array_get(json_object_get(item, "weights"), i));
        double mine = g->leaf_weight[golden_number(leaf, "side")][golden_number(leaf, "option")];
        if (!(fabs(mine - wanted) <= 1e-5 * (1e-2 + fabs(wanted)))) {
            fail_msg("leaf %zu: a label weighs %.9g, PyTorch says %.9g", i, mine, wanted);
        }
    }
}

static void check_case(struct golden *g, const json_t *item)
{
    struct errbuf e = {0};
    struct forest *forest = NULL;
    struct safetensors *expected = NULL;
    char path[256];
    uint32_t n = 0;
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *config = json_string_value(json_object_get(item, "config"));
    memset(g->sum, 0, engine_lora_count(g->engine) * sizeof *g->sum);
    memset(g->leaf_weight, 0, sizeof g->leaf_weight);
    g->loss = 0;
    const char *const sets[] = {"anchor.data=" FOLDER "anchor-texts.json"};
    const bool anchored = json_object_get(item, "kl") != NULL;
    must(config_parse(config, strlen(config), name, "/", sets, anchored ? 1 : 0, &g->cfg, &e), &e);
    must(forest_new(g->cfg, g->values, g->data, g->tok, &forest, &e), &e);
    (void)forest_groups(forest, &n);
    for (uint32_t i = 0; i < n; i++) {
        run_group(g, forest, i);
    }
    if (anchored) {
        run_anchors(g, item);
    }
    double wanted = json_number_value(json_object_get(item, "loss"));
    if (!(fabs(g->loss - wanted) <= 1e-5 * fabs(wanted))) {
        fail_msg("%s: loss %.9f, PyTorch %.9f", name, g->loss, wanted);
    }
    check_weights(g, item);
    (void)snprintf(path, sizeof path, FOLDER "%s.safetensors", name);
    must(safetensors_open(path, &expected, &e), &e);
    struct golden_worst worst = golden_gradients(expected, &g->weights.shape, &g->lora, g->sum);
    print_message("  %-12s loss %.9f (%.9f), gradients: worst cosine %.9f, relative error %.2e\n",
                  name, g->loss, wanted, worst.cosine, worst.error);
    const json_t *trl = named(json_object_get(g->trl, "cases"), name);
    if (trl) {
        double theirs = json_number_value(json_object_get(trl, "loss"));
        print_message("  %-12s TRL  %.9f\n", "", theirs);
        assert_true(fabs(g->loss - theirs) <= 1e-5 * fabs(theirs));
    }
    safetensors_close(&expected);
    forest_free(&forest);
    config_free(&g->cfg);
}

static void test_every_objective_has_pytorchs_loss_weights_and_gradients(void **state)
{
    (void)state;
    struct golden g;
    size_t i;
    json_t *item;
    open_golden(&g);
    assert_int_equal(json_array_size(json_object_get(g.json, "cases")), 12);
    assert_int_equal(json_array_size(json_object_get(g.trl, "cases")), 4);
    json_array_foreach(json_object_get(g.json, "cases"), i, item)
    {
        check_case(&g, item);
    }
    close_golden(&g);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_objective_has_pytorchs_loss_weights_and_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
