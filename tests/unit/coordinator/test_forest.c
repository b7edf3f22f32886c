/* test_forest.c - trees of groups: weights, cuts, parts, both layouts, scoring, the real data. */
#include "tests/unit/coordinator/forest_fixture.h"

#include <math.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/model_default.h"

#define OPTION(text, bias) "{\"text\": \"" text "\", \"bias\": \"" bias "\"}"
#define ITEM(scenario, options)                                                                    \
    "{\"scenario\": \"" scenario "\", \"preference domain\": \"Risk\", \"options\": [" options "]" \
    "}"

static const char three[] = "[" ITEM(
    "The old bridge creaks in the wind.",
    OPTION("Cross it", "Bold") "," OPTION("Turn back home", "Careful") "," OPTION(
        "Wait", "Careful")) "," ITEM("A coin lies there.",
                                     OPTION("Toss", "Bold") "," OPTION("Leave it", "Careful")) "]";

static struct forest *make(const struct fixture *f)
{
    struct forest *forest = NULL;
    struct errbuf e = {0};
    enum err error = forest_new(f->cfg, f->values, f->data, f->tok, &forest, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    return forest;
}

static void expect_refused(const char *config, const char *data, const char *message)
{
    struct fixture f;
    struct forest *forest = NULL;
    struct errbuf e = {0};
    fixture_new(&f, config, data);
    int error = forest_new(f.cfg, f.values, f.data, f.tok, &forest, &e);
    assert_string_equal(e.text, message);
    assert_int_equal(error, ERR_REFUSED);
    assert_null(forest);
    fixture_free(&f);
}

/* Tokens of a leaf: the path to its node, then the target of its last label. */
static uint32_t leaf_tokens(const struct forest_tree *t, uint32_t leaf, uint32_t *out)
{
    const struct tree *tree = &t->tree;
    uint32_t node = t->leaves[leaf].node;
    uint32_t n = tree->nodes[node].depth + tree->nodes[node].count;
    uint32_t at = n;
    for (uint32_t i = node; i != TREE_ROOT; i = tree->nodes[i].parent) {
        at -= tree->nodes[i].count;
        memcpy(out + at, tree->tokens + tree->nodes[i].first, tree->nodes[i].count * sizeof *out);
    }
    for (uint32_t l = 0; l < tree->n_labels; l++) {
        if (tree->labels[l].leaf == leaf) {
            out[n] = tree->labels[l].target; /* labels are in row order: the last one stays */
        }
    }
    return n + 1;
}

static double weight_of(const struct forest_trees *trees, uint32_t side, uint32_t option)
{
    double sum = 0;
    for (uint32_t i = 0; i < trees->n; i++) {
        const struct forest_tree *t = &trees->items[i];
        for (uint32_t l = 0; l < t->tree.n_labels; l++) {
            const struct forest_leaf *leaf = &t->leaves[t->tree.labels[l].leaf];
            if (leaf->side == side && (option == UINT32_MAX || leaf->option == option)) {
                sum += (double)t->tree.labels[l].weight;
            }
        }
    }
    return sum;
}

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 1e-6 * (1 + fabs(b));
}

static void test_a_group_is_one_tree_whose_weights_sum_to_the_sides(void **state)
{
    (void)state;
    struct fixture f;
    struct forest_trees trees;
    struct errbuf e = {0};
    uint32_t n = 0;
    fixture_new(&f, "", three);
    struct forest *forest = make(&f);
    const struct forest_group *g = forest_groups(forest, &n);
    assert_int_equal(n, 2);
    assert_int_equal(g[0].pairs, 2);
    assert_int_equal(g[0].parts, 1);
    assert_int_equal(forest_build(forest, 0, 0.25f, 0.25f, NULL, &trees, &e), OK);
    assert_int_equal(trees.n, 1);
    const struct tree *t = &trees.items[0].tree;
    assert_int_equal(t->id, 0);
    assert_int_equal(t->n_leaves, 3);
    assert_int_equal(t->n_rows, g[0].rows);
    assert_true(close_to(weight_of(&trees, 0, 0), 0.25)); /* in both pairs: twice the weight */
    assert_true(close_to(weight_of(&trees, 1, 1), 0.125));
    assert_true(close_to(weight_of(&trees, 1, 2), 0.125));
    uint32_t labels[2] = {0, 0};
    for (uint32_t i = 0; i < 3; i++) {
        labels[trees.items[0].leaves[i].side] += trees.items[0].leaves[i].labels;
    }
    assert_int_equal(labels[0], g[0].labels_a);
    assert_int_equal(labels[1], g[0].labels_b);
    struct str text = {0};
    uint32_t tokens[512];
    fixture_decode(&f, tokens, leaf_tokens(&trees.items[0], 2, tokens), &text);
    assert_string_equal(text.data,
                        "<|im_start|>user\nThe old bridge creaks in the wind.\n\nAnswer as someone "
                        "who values 'Careful'. Likes safety.<|im_end|>\n<|im_start|>assistant\n"
                        "Wait<|im_end|>");
    str_free(&text);
    forest_trees_free(&trees);
    forest_free(&forest);
    fixture_free(&f);
}

static void test_grouping_by_pair_makes_a_tree_of_two_leaves_each(void **state)
{
    (void)state;
    struct fixture f;
    struct forest_trees trees;
    struct errbuf e = {0};
    uint32_t n = 0;
    fixture_new(&f, "data.group: pair", three);
    struct forest *forest = make(&f);
    const struct forest_group *g = forest_groups(forest, &n);
    assert_int_equal(n, 3);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(g[i].pairs, 1);
        assert_int_equal(forest_build(forest, i, 1, 1, NULL, &trees, &e), OK);
        assert_int_equal(trees.items[0].tree.n_leaves, 2);
        assert_int_equal(trees.items[0].tree.id, i);
        assert_true(close_to(weight_of(&trees, 0, UINT32_MAX), 1));
        assert_true(close_to(weight_of(&trees, 1, UINT32_MAX), 1));
        forest_trees_free(&trees);
    }
    forest_free(&forest);
    fixture_free(&f);
}

static void test_the_same_call_gives_the_same_bytes(void **state)
{
    (void)state;
    struct fixture f;
    struct forest_trees a;
    struct forest_trees b;
    struct errbuf e = {0};
    fixture_new(&f, "", three);
    struct forest *one = make(&f);
    struct forest *two = make(&f);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(forest_build(one, i, 0.3f, 0.7f, NULL, &a, &e), OK);
        assert_int_equal(forest_build(two, i, 0.3f, 0.7f, NULL, &b, &e), OK);
        size_t bytes = tree_bytes(&a.items[0].tree);
        assert_int_equal(bytes, tree_bytes(&b.items[0].tree));
        uint8_t *x = mem_calloc(2, bytes);
        tree_write(&a.items[0].tree, x);
        tree_write(&b.items[0].tree, x + bytes);
        assert_memory_equal(x, x + bytes, bytes);
        mem_free(x);
        forest_trees_free(&a);
        forest_trees_free(&b);
    }
    forest_free(&one);
    forest_free(&two);
    fixture_free(&f);
}

/* Longest sequence of the first group of `three` under a max_length, and the words cut. */
static uint32_t longest_under(uint32_t max_length, uint64_t *words, char first_text[64])
{
    struct fixture f;
    struct forest_trees trees;
    struct errbuf e = {0};
    char config[64];
    uint32_t tokens[512];
    struct str text = {0};
    (void)snprintf(config, sizeof config, "data.max_length: %u", max_length);
    fixture_new(&f, config, three);
    struct forest *forest = make(&f);
    const struct forest_report *report = forest_report(forest);
    *words = report->words_cut;
    assert_int_equal(forest_build(forest, 0, 1, 1, NULL, &trees, &e), OK);
    uint32_t most = 0;
    for (uint32_t i = 0; i < trees.items[0].tree.n_leaves; i++) {
        uint32_t n = leaf_tokens(&trees.items[0], i, tokens);
        most = n > most ? n : most;
        fixture_decode(&f, tokens, n, &text);
        char begin[64];
        (void)snprintf(begin, sizeof begin, "%.40s", text.data);
        if (i == 0) {
            memcpy(first_text, begin, sizeof begin);
        }
        size_t same = strcspn(first_text + strlen("<|im_start|>user\n"), "\n");
        assert_int_equal(strncmp(begin, first_text, strlen("<|im_start|>user\n") + same), 0);
    }
    str_free(&text);
    forest_trees_free(&trees);
    forest_free(&forest);
    fixture_free(&f);
    return most;
}

static void test_the_longest_leaf_sets_one_cut_of_whole_words_for_all(void **state)
{
    (void)state;
    uint64_t words = 0;
    uint64_t before = 0;
    char text[64];
    uint32_t full = longest_under(1024, &words, text);
    assert_int_equal(words, 0);
    for (uint32_t limit = full; limit > full - 20; limit--) {
        assert_true(longest_under(limit, &words, text) <= limit);
        assert_true(words >= before);
        before = words;
    }
    assert_true(words > 0);
    assert_int_equal(strncmp(text, "<|im_start|>user\nThe", 20) == 0, false);
    assert_true(longest_under(full - 1, &words, text) <= full - 1);
    assert_int_equal(strncmp(text, "<|im_start|>user\nold bridge creaks", 34), 0);
}

static void test_what_cannot_fit_is_refused_by_name(void **state)
{
    (void)state;
    struct fixture f;
    fixture_new(&f, "", three);
    fixture_free(&f);
    expect_refused("data.max_length: 20", three,
                   "d.json:1:2: option 2 'Turn back home': answer and prompt take 67 tokens even "
                   "without the scenario, data.max_length is 20: raise it or shorten the answer");
    static const char one_sided[] = "[" ITEM("S", OPTION("x", "Bold") "," OPTION("y", "Bold")) "]";
    expect_refused("", one_sided,
                   "d.json: no group to train on: 1 scenarios have options of one side only, 0 "
                   "groups lost every answer to data.max_length");
}

static void test_an_oversized_tree_is_cut_by_leaves_into_parts_that_repeat_the_prefix(void **state)
{
    (void)state;
    struct fixture f;
    struct forest_trees whole;
    struct forest_trees parts;
    struct errbuf e = {0};
    uint32_t n = 0;
    fixture_new(&f, "", three);
    struct forest *forest = make(&f);
    uint32_t rows = forest_groups(forest, &n)[0].rows;
    uint32_t longest = forest_report(forest)->longest;
    assert_int_equal(forest_build(forest, 0, 1, 1, NULL, &whole, &e), OK);
    char config[96];
    (void)snprintf(config, sizeof config, "tree_tokens_max: %u\ndata.max_length: %u\n", rows - 1,
                   longest);
    struct fixture small;
    fixture_new(&small, config, three);
    struct forest *cut = make(&small);
    assert_int_equal(forest_groups(cut, &n)[0].parts, 2);
    assert_int_equal(forest_report(cut)->groups_split, 1);
    assert_int_equal(forest_build(cut, 0, 1, 1, NULL, &parts, &e), OK);
    uint32_t leaf = 0;
    for (uint32_t p = 0; p < parts.n; p++) {
        const struct forest_tree *part = &parts.items[p];
        assert_true(part->tree.n_rows <= rows - 1);
        assert_int_equal(part->tree.id, 0);
        for (uint32_t i = 0; i < part->tree.n_leaves; i++, leaf++) {
            uint32_t a[512];
            uint32_t b[512];
            uint32_t n_a = leaf_tokens(part, i, a);
            assert_int_equal(n_a, leaf_tokens(&whole.items[0], leaf, b));
            assert_memory_equal(a, b, n_a * sizeof *a);
            assert_int_equal(part->leaves[i].option, whole.items[0].leaves[leaf].option);
        }
    }
    assert_int_equal(leaf, whole.items[0].tree.n_leaves);
    for (uint32_t option = 0; option < 3; option++) {
        assert_true(
            close_to(weight_of(&parts, option > 0, option), weight_of(&whole, option > 0, option)));
    }
    forest_trees_free(&whole);
    forest_trees_free(&parts);
    forest_free(&forest);
    forest_free(&cut);
    fixture_free(&f);
    fixture_free(&small);
}

static void test_the_paper_layout_cuts_on_the_right_and_skips_emptied_answers(void **state)
{
    (void)state;
    struct fixture f;
    struct forest_trees trees;
    struct errbuf e = {0};
    uint32_t n = 0;
    fixture_new(&f, "data: {layout: paper, group: pair}", three);
    struct forest *forest = make(&f);
    uint32_t longest = forest_report(forest)->longest;
    assert_int_equal(forest_groups(forest, &n)[0].pairs, 1);
    forest_free(&forest);
    fixture_free(&f);
    char config[96];
    /* "Turn back home" keeps some of its tokens, "Cross it" has a shorter prompt: it fits */
    (void)snprintf(config, sizeof config, "data: {layout: paper, group: pair, max_length: %u}",
                   longest - 2);
    fixture_new(&f, config, three);
    forest = make(&f);
    assert_int_equal(forest_report(forest)->tokens_cut, 2);
    assert_int_equal(forest_report(forest)->groups_cut, 1);
    assert_int_equal(forest_report(forest)->answers_emptied, 0);
    struct str text = {0};
    forest_report_text(forest_report(forest), &text);
    assert_string_equal(text.data, "1 groups lost 2 tokens on the right to data.max_length");
    assert_int_equal(forest_build(forest, 0, 1, 1, NULL, &trees, &e), OK);
    assert_true(close_to(weight_of(&trees, 1, UINT32_MAX), 1)); /* the mean of what is left */
    forest_trees_free(&trees);
    forest_free(&forest);
    fixture_free(&f);
    /* far shorter: every answer of the bridge is gone, the coin's shorter prompts lose theirs too
     */
    fixture_new(&f, "data: {layout: paper, group: pair, max_length: 60}", three);
    int error = forest_new(f.cfg, f.values, f.data, f.tok, &forest, &e);
    assert_int_equal(error, ERR_REFUSED);
    assert_string_equal(e.text,
                        "d.json: no group to train on: 0 scenarios have options of one side "
                        "only, 3 groups lost every answer to data.max_length");
    str_free(&text);
    fixture_free(&f);
}

static void test_scoring_trees_keep_the_order_and_have_weight_one(void **state)
{
    (void)state;
    struct fixture f;
    struct render r;
    struct forest_trees trees;
    struct errbuf e = {0};
    uint32_t cut = 9;
    fixture_new(&f, "", three);
    assert_int_equal(render_init(&r, f.cfg, f.values, f.tok, &e), OK);
    assert_int_equal(
        forest_score(&r, &f.data->scenarios[0], "d.json", 7, true, 5, &trees, &cut, &e), OK);
    assert_int_equal(cut, 0);
    assert_int_equal(trees.n, 1);
    const struct forest_tree *t = &trees.items[0];
    assert_int_equal(t->tree.id, 5);
    assert_int_equal(t->tree.n_leaves, 3 * 3 + 2 * 3);
    for (uint32_t i = 0; i < t->tree.n_leaves; i++) {
        assert_int_equal(t->leaves[i].option, i % 3);
        assert_int_equal(t->leaves[i].side, i < 9 ? i / 3 : (i - 9) / 3);
        assert_int_equal(t->leaves[i].letter, i >= 9);
        assert_int_equal(t->leaves[i].labels == 1, i >= 9);
    }
    for (uint32_t l = 0; l < t->tree.n_labels; l++) {
        assert_true(t->tree.labels[l].weight > 0.999f && t->tree.labels[l].weight < 1.001f);
    }
    forest_trees_free(&trees);
    assert_int_equal(forest_score(&r, &f.data->scenarios[0], "d", 1u << READOUT_NONE, false, 0,
                                  &trees, NULL, &e),
                     OK);
    assert_int_equal(trees.items[0].tree.n_leaves, 3);
    assert_int_equal(trees.items[0].leaves[0].side, READOUT_NONE);
    forest_trees_free(&trees);
    render_free(&r);
    fixture_free(&f);
}

static void test_running_out_of_memory_is_reported(void **state)
{
    (void)state;
    struct fixture f;
    int failures = 0;
    fixture_new(&f, "data.max_length: 80", three);
    for (unsigned long n = 1; n < 120; n++) {
        struct forest *forest = NULL;
        struct errbuf e = {0};
        mem_fail_after(n);
        enum err error = forest_new(f.cfg, f.values, f.data, f.tok, &forest, &e);
        mem_fail_after(0);
        failures += error == ERR_NOMEM;
        assert_true(error == OK || error == ERR_NOMEM);
        forest_free(&forest);
    }
    assert_true(failures > 20);
    fixture_free(&f);
}

/* The figures of the design: tokens of a scenario as one tree, as distinct sequences, by pairs. */
static void test_the_vcd_training_file_has_the_measured_sizes(void **state)
{
    (void)state;
    static const char vcd[] = "../shared/data/vcd/vcd_train.json";
    char model[FILE_PATH_BYTES];
    struct errbuf e = {0};
    if (!file_exists(vcd) || model_resolve("", model, &e) != OK) {
        print_message("SKIPPED: needs %s and the default model (scripts/fetch-model)\n", vcd);
        skip();
    }
    struct fixture f = {0};
    fixture_model(&f, model);
    assert_int_equal(config_parse("", 0, "c", "/", NULL, 0, &f.cfg, &e), OK);
    assert_int_equal(values_load("configs/values/vcd.yaml", &f.values, &e), OK);
    assert_int_equal(dataset_load(vcd, f.values, GROUP_SCENARIO, &f.data, &e), OK);
    struct forest *forest = make(&f);
    const struct forest_report *r = forest_report(forest);
    double n = (double)r->groups;
    print_message(
        "per scenario: %.1f rows as a tree, %.1f as sequences, %.1f by pairs, %.2f pairs; "
        "longest %u, %u cut\n",
        (double)r->rows / n, (double)r->sequence_tokens / n, (double)r->pair_tokens / n,
        (double)f.data->n_pairs / n, r->longest, r->groups_cut);
    assert_int_equal(r->groups, 780);
    assert_int_equal(r->groups_cut, 0);
    assert_true(fabs((double)r->rows / n - 402) <= 25);
    assert_true(fabs((double)r->sequence_tokens / n - 929) <= 40);
    assert_true(fabs((double)r->pair_tokens / n - 1706) <= 80);
    forest_free(&forest);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_group_is_one_tree_whose_weights_sum_to_the_sides),
        cmocka_unit_test(test_grouping_by_pair_makes_a_tree_of_two_leaves_each),
        cmocka_unit_test(test_the_same_call_gives_the_same_bytes),
        cmocka_unit_test(test_the_longest_leaf_sets_one_cut_of_whole_words_for_all),
        cmocka_unit_test(test_what_cannot_fit_is_refused_by_name),
        cmocka_unit_test(test_an_oversized_tree_is_cut_by_leaves_into_parts_that_repeat_the_prefix),
        cmocka_unit_test(test_the_paper_layout_cuts_on_the_right_and_skips_emptied_answers),
        cmocka_unit_test(test_scoring_trees_keep_the_order_and_have_weight_one),
        cmocka_unit_test(test_running_out_of_memory_is_reported),
        cmocka_unit_test(test_the_vcd_training_file_has_the_measured_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
