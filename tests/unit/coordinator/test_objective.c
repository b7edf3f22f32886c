/* test_objective.c - which leaves, loss groups and terms each train.objective asks for, and that a
 * cut of an oversized tree keeps loss groups whole. */
#include "tests/unit/coordinator/forest_fixture.h"

#include <math.h>

#include "common/base/mem.h"
#include "coordinator/objective.h"

#define OPTION(text, bias) "{\"text\": \"" text "\", \"bias\": \"" bias "\"}"
#define ITEM(scenario, options)                                                                    \
    "{\"scenario\": \"" scenario "\", \"preference domain\": \"Risk\", \"options\": [" options "]" \
    "}"

static const char three[] =
    "[" ITEM("The old bridge creaks in the wind.",
             OPTION("Cross it", "Bold") "," OPTION("Turn back home",
                                                   "Careful") "," OPTION("Wait", "Careful")) "]";

enum { LEAVES = 6 };

struct made {
    struct fixture f;
    struct forest *forest;
    struct forest_trees trees;
};

/* The trees of a group, with -1, -2, ... as the reference where one is needed. */
static void make(struct made *m, const char *config, uint32_t group, float w)
{
    struct errbuf e = {0};
    double reference[LEAVES];
    for (int i = 0; i < LEAVES; i++) {
        reference[i] = -1.0 - i;
    }
    fixture_new(&m->f, config, three);
    int error = forest_new(m->f.cfg, m->f.values, m->f.data, m->f.tok, &m->forest, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    bool needed = objective_needs_reference(m->f.cfg);
    error = forest_build(m->forest, group, w, w, needed ? reference : NULL, &m->trees, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
}

static void unmake(struct made *m)
{
    forest_trees_free(&m->trees);
    forest_free(&m->forest);
    fixture_free(&m->f);
}

/* "A0 A1* A2* B1 B2 B0*": side and option of each leaf, * = there to be compared; parts by |. */
static const char *leaves(const struct made *m)
{
    static char text[128];
    text[0] = '\0';
    for (uint32_t t = 0; t < m->trees.n; t++) {
        for (uint32_t i = 0; i < m->trees.items[t].tree.n_leaves; i++) {
            const struct forest_leaf *leaf = &m->trees.items[t].leaves[i];
            size_t n = strlen(text);
            (void)snprintf(text + n, sizeof text - n, "%s%c%u%s",
                           n == 0   ? ""
                           : i == 0 ? "|"
                                    : " ",
                           'A' + (int)leaf->side, leaf->option, leaf->rejected ? "*" : "");
        }
    }
    return text;
}

static void expect_leaves(const char *config, const char *expected)
{
    struct made m;
    make(&m, config, 0, 1);
    assert_string_equal(leaves(&m), expected);
    unmake(&m);
}

static void test_a_tree_holds_the_answers_that_the_objective_reads(void **state)
{
    (void)state;
    expect_leaves("", "A0 B1 B2");
    expect_leaves("train.w_b: 0", "A0");
    expect_leaves("train.objective: sft\nsft.side: a", "A0");
    expect_leaves("train.objective: sft\nsft.side: b", "B1 B2");
    static const char *const comparing[] = {"dpo", "simpo", "pft-contrast", "ranking",
                                            "pft-contrast-ranking"};
    for (size_t i = 0; i < sizeof comparing / sizeof comparing[0]; i++) {
        char config[64];
        (void)snprintf(config, sizeof config, "train.objective: %s", comparing[i]);
        expect_leaves(config, "A0 A1* A2* B0* B1 B2");
    }
    expect_leaves("train: {objective: dpo, w_a: 0}", "B0* B1 B2");
    expect_leaves("train: {objective: pft-contrast, w_a: 0}", "A0 A1* A2* B0* B1 B2");
}

static void test_sft_on_the_mix_makes_a_group_of_each_side(void **state)
{
    (void)state;
    struct made m;
    uint32_t n = 0;
    make(&m, "train.objective: sft", 1, 1);
    const struct forest_group *g = forest_groups(m.forest, &n);
    assert_int_equal(n, 2);
    assert_string_equal(leaves(&m), "B1 B2");
    assert_int_equal(m.trees.items[0].tree.id, 1);
    assert_true(g[0].labels_b == 0 && g[0].labels_a > 0 && g[1].labels_a == 0);
    assert_int_equal(g[0].data_group, g[1].data_group);
    double sum = 0;
    for (uint32_t l = 0; l < m.trees.items[0].tree.n_labels; l++) {
        sum += (double)m.trees.items[0].tree.labels[l].weight;
    }
    assert_true(fabs(sum - 1) < 1e-6);
    assert_int_equal(m.trees.items[0].tree.n_terms, 0);
    unmake(&m);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * (1 + fabs(b));
}

static void test_terms_carry_scales_offsets_and_weights_of_the_formula(void **state)
{
    (void)state;
    struct made m;
    make(&m, "train: {objective: dpo, w_b: 0.5}\ndpo: {beta: 0.2, label_smoothing: 0.1}", 0, 0.25f);
    const struct tree *t = &m.trees.items[0].tree;
    assert_int_equal(t->n_terms, 4); /* two pairs under two preferences */
    assert_true(t->terms[0].leaf[0] == 0 && t->terms[0].leaf[1] == 1);
    assert_true(t->terms[1].leaf[0] == 4 && t->terms[1].leaf[1] == 3);
    assert_true(near((double)t->terms[0].coef[0], 0.2) && near((double)t->terms[0].coef[1], -0.2));
    assert_true(near(t->terms[1].offset, -0.2 * (-5 + 4)));
    assert_true(near((double)t->terms[0].smoothing, 0.1));
    assert_true(near((double)t->terms[0].weight, 0.25 / 2));
    assert_true(near((double)t->terms[1].weight, 0.25 / 2 * 0.5));
    for (uint32_t l = 0; l < t->n_labels; l++) {
        assert_true(fabsf(t->labels[l].weight) <= 0.0f);
    }
    unmake(&m);

    make(&m, "train.objective: simpo\nsimpo: {beta: 2, simpo_gamma: 1.5, cpo_alpha: 0.25}", 0, 1);
    t = &m.trees.items[0].tree;
    const struct forest_leaf *leaf = m.trees.items[0].leaves;
    assert_true(near((double)t->terms[0].coef[0], 2.0 / leaf[0].labels));
    assert_true(near((double)t->terms[0].coef[1], -2.0 / leaf[1].labels));
    assert_true(near(t->terms[0].offset, -1.5));
    double sum = 0;
    for (uint32_t l = 0; l < t->n_labels; l++) {
        sum += (double)t->labels[l].weight;
        assert_true(!leaf[t->labels[l].leaf].rejected || fabsf(t->labels[l].weight) <= 0.0f);
    }
    assert_true(near(sum, 2 * 0.25));
    unmake(&m);

    make(&m, "train.objective: pft-contrast\npft_contrast: {beta: 0.5, weight: 2}", 0, 0.5f);
    t = &m.trees.items[0].tree;
    assert_int_equal(t->n_terms, 2);
    static const uint32_t four[] = {0, 3, 2, 5};
    for (int k = 0; k < 4; k++) {
        assert_int_equal(t->terms[1].leaf[k], four[k]);
        assert_true(near((double)t->terms[1].coef[k], k == 0 || k == 3 ? 0.5 : -0.5));
    }
    assert_true(near((double)t->terms[1].weight, 2 * 0.5 / 2));
    unmake(&m);

    make(&m, "train.objective: pft-contrast-ranking\nranking: {beta: 4, weight: 2}", 0, 1);
    t = &m.trees.items[0].tree;
    assert_int_equal(t->n_terms, 6); /* of each pair: the contrast, a's ranking, b's */
    assert_int_equal(t->terms[0].n, 4);
    assert_true(t->terms[1].n == 2 && t->terms[1].leaf[0] == 0 && t->terms[1].leaf[1] == 1);
    assert_true(t->terms[2].n == 2 && t->terms[2].leaf[0] == 4 && t->terms[2].leaf[1] == 3);
    assert_true(near((double)t->terms[0].weight, 3 / 2.0) && near((double)t->terms[1].weight, 1));
    unmake(&m);
}

/* ranking(beta, w) is w times SimPO without margin, whose PFT weight is 1 / w. */
static void test_ranking_is_simpo_without_margin(void **state)
{
    (void)state;
    struct made r;
    struct made s;
    make(&r, "train.objective: ranking\nranking: {beta: 5, weight: 4}", 0, 1);
    make(&s, "train.objective: simpo\nsimpo: {beta: 5, simpo_gamma: 0, cpo_alpha: 0.25}", 0, 4);
    const struct tree *a = &r.trees.items[0].tree;
    const struct tree *b = &s.trees.items[0].tree;
    size_t bytes = tree_bytes(a);
    assert_int_equal(bytes, tree_bytes(b));
    uint8_t *x = mem_calloc(2, bytes);
    assert_non_null(x);
    tree_write(a, x);
    tree_write(b, x + bytes);
    assert_memory_equal(x, x + bytes, bytes);
    mem_free(x);
    unmake(&r);
    unmake(&s);
}

static uint32_t rows_of(const char *config)
{
    struct made m;
    uint32_t n = 0;
    make(&m, config, 0, 1);
    uint32_t rows = forest_groups(m.forest, &n)[0].rows;
    unmake(&m);
    return rows;
}

static void test_a_cut_keeps_loss_groups_whole(void **state)
{
    (void)state;
    struct made m;
    char config[128];
    uint32_t one_side = rows_of("train: {objective: dpo, w_a: 0}");
    uint32_t whole = rows_of("train.objective: dpo");
    assert_true(one_side < whole);
    (void)snprintf(config, sizeof config,
                   "tree_tokens_max: %u\ndata.max_length: 100\ntrain.objective: dpo", whole - 1);
    make(&m, config, 0, 1);
    assert_string_equal(leaves(&m), "A0 A1* A2*|B0* B1 B2");
    for (uint32_t t = 0; t < 2; t++) { /* leaves count within the part */
        const struct tree *tree = &m.trees.items[t].tree;
        assert_int_equal(tree->n_terms, 2);
        assert_true(tree->terms[1].leaf[0] < 3 && tree->terms[1].leaf[1] < 3);
        assert_true(near(tree->terms[0].offset, t == 0 ? -0.1 * (-1 + 2) : -0.1 * (-5 + 4)));
    }
    unmake(&m);
}

static void test_a_loss_group_that_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    struct fixture f;
    struct forest *forest = NULL;
    struct errbuf e = {0};
    char config[128];
    char expected[256];
    uint32_t whole = rows_of("train.objective: pft-contrast");
    (void)snprintf(config, sizeof config,
                   "tree_tokens_max: %u\ndata.max_length: 100\ntrain.objective: pft-contrast",
                   whole - 1);
    (void)snprintf(
        expected, sizeof expected,
        "d.json:1:2: the 6 answers that train.objective compares have %u rows together, "
        "tree_tokens_max is %u: raise it, lower data.max_length or take data.group: pair",
        whole, whole - 1);
    fixture_new(&f, config, three);
    int error = forest_new(f.cfg, f.values, f.data, f.tok, &forest, &e);
    assert_string_equal(e.text, expected);
    assert_int_equal(error, ERR_REFUSED);
    fixture_free(&f);
}

static void test_pairs_whose_answer_was_cut_away_have_no_term(void **state)
{
    (void)state;
    struct made m;
    uint32_t longest;
    make(&m, "data.layout: paper\ntrain.objective: ranking", 0, 1);
    assert_int_equal(m.trees.items[0].tree.n_terms, 4);
    longest = forest_report(m.forest)->longest;
    unmake(&m);
    char config[96];
    uint32_t emptied = 0;
    for (uint32_t less = 1; less < 30 && emptied == 0; less++) {
        (void)snprintf(config, sizeof config,
                       "data: {layout: paper, max_length: %u}\ntrain.objective: ranking",
                       longest - less);
        make(&m, config, 0, 1);
        emptied = forest_report(m.forest)->answers_emptied;
        const struct tree *t = &m.trees.items[0].tree;
        assert_true(emptied > 0 ? t->n_terms < 4 : t->n_terms == 4);
        for (uint32_t i = 0; i < t->n_terms; i++) {
            assert_true(t->terms[i].leaf[0] < t->n_leaves && t->terms[i].leaf[1] < t->n_leaves);
        }
        unmake(&m);
    }
    assert_true(emptied > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tree_holds_the_answers_that_the_objective_reads),
        cmocka_unit_test(test_sft_on_the_mix_makes_a_group_of_each_side),
        cmocka_unit_test(test_terms_carry_scales_offsets_and_weights_of_the_formula),
        cmocka_unit_test(test_ranking_is_simpo_without_margin),
        cmocka_unit_test(test_a_cut_keeps_loss_groups_whole),
        cmocka_unit_test(test_a_loss_group_that_does_not_fit_is_refused_by_name),
        cmocka_unit_test(test_pairs_whose_answer_was_cut_away_have_no_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
