/* test_terms.c - preference terms: values, derivatives by finite differences, extremes, and
 * what the labels of a unit weigh. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker/tiny_model.h"
#include "worker/model/terms.h"

enum { LEAVES = 5 };

static const double log_p[LEAVES] = {-12.25, -9.5, -31.0, -4.125, -17.75};

/* DPO with smoothing, SimPO, a contrast of four leaves, a single leaf. */
static const struct tree_term terms[] = {
    {.n = 2, .leaf = {3, 1}, .coef = {0.1f, -0.1f}, .offset = 0.25, .weight = 1, .smoothing = 0.1f},
    {.n = 2, .leaf = {0, 2}, .coef = {0.5f, -0.25f}, .offset = -0.5, .weight = 0.125f},
    {.n = 4, .leaf = {0, 1, 2, 4}, .coef = {0.3f, -0.3f, -0.3f, 0.3f}, .weight = 3},
    {.n = 1, .leaf = {4}, .coef = {-0.2f}, .weight = 0.5f, .smoothing = 1},
};
enum { TERMS = sizeof terms / sizeof terms[0] };

static double margin(const struct tree_term *t, const double *l)
{
    double x = t->offset;
    for (uint32_t k = 0; k < t->n; k++) {
        x += (double)t->coef[k] * l[t->leaf[k]];
    }
    return x;
}

static double expected(const struct tree_term *t, const double *l)
{
    double x = margin(t, l);
    double s = (double)t->smoothing;
    return (double)t->weight * ((1 - s) * log1p(exp(-x)) + s * log1p(exp(x)));
}

static void test_a_term_is_the_formula_of_its_header(void **state)
{
    (void)state;
    for (int i = 0; i < TERMS; i++) {
        double weight[LEAVES] = {0};
        double value = terms_add(&terms[i], log_p, weight);
        assert_true(fabs(value - expected(&terms[i], log_p)) <= 1e-13 * (1 + fabs(value)));
    }
}

static void test_label_weights_are_minus_the_derivative_in_the_log_probability(void **state)
{
    (void)state;
    const double step = 1e-5;
    for (int i = 0; i < TERMS; i++) {
        double weight[LEAVES] = {0};
        double unused[LEAVES] = {0};
        (void)terms_add(&terms[i], log_p, weight);
        for (int leaf = 0; leaf < LEAVES; leaf++) {
            double ends[2];
            for (int side = 0; side < 2; side++) {
                double moved[LEAVES];
                memcpy(moved, log_p, sizeof moved);
                moved[leaf] += side ? step : -step;
                ends[side] = terms_add(&terms[i], moved, unused);
            }
            double slope = (ends[1] - ends[0]) / (2 * step);
            if (!(fabs(weight[leaf] + slope) <= 1e-9 * (1 + fabs(slope)))) {
                fail_msg("term %d, leaf %d: weight %.12g, slope %.12g", i, leaf, weight[leaf],
                         slope);
            }
        }
    }
}

static void test_far_from_zero_a_term_is_a_straight_line_and_never_infinite(void **state)
{
    (void)state;
    struct tree_term term = {.n = 1, .leaf = {0}, .coef = {1}, .weight = 2};
    for (double x = -1e5; x <= 1e5; x += 12345.0) {
        double weight = 0;
        term.offset = x;
        double value = terms_add(&term, &(double){0}, &weight);
        assert_true(fabs(value - 2 * (x < 0 ? -x : 0)) <= 1e-9);
        assert_true(fabs(weight - (x < 0 ? 2.0 : 0.0)) <= 1e-9);
    }
    double weight = 0;
    term.offset = 0;
    assert_true(fabs(terms_add(&term, &(double){0}, &weight) - 2 * log(2)) <= 1e-15);
    assert_true(fabs(weight - 1.0) <= 1e-15);
}

static void test_a_unit_adds_labels_and_terms_and_numbers_leaves_tree_by_tree(void **state)
{
    (void)state;
    struct tree trees[2];
    struct unit_rows u = {0};
    struct errbuf e = {0};
    tiny_tree(&trees[0], &tiny_shape, 6, 4, 3);
    tiny_tree(&trees[1], &tiny_shape, 7, 4, 4);
    for (int t = 0; t < 2; t++) {
        assert_int_equal(tree_alloc_terms(&trees[t], 1), OK);
        trees[t].terms[0] = (struct tree_term){
            .n = 2, .leaf = {0, 1}, .coef = {0.5f, -0.5f}, .offset = t, .weight = 1.5f};
        assert_int_equal(tree_finish(&trees[t], tiny_shape.vocab, &e), OK);
    }
    const struct unit unit = tiny_unit(trees, 2);
    assert_int_equal(unit_rows_fill(&u, &unit, 1, 1, &e), OK);
    double *log_ps = mem_calloc(u.n_labels, sizeof *log_ps);
    double *leaves = mem_calloc(2 * (size_t)u.n_leaves, sizeof *leaves);
    float *weights = mem_calloc(u.n_labels, sizeof *weights);
    double sums[64] = {0};
    double wanted = 0;
    for (uint32_t i = 0; i < u.n_labels; i++) {
        log_ps[i] = -1.0 - (double)(i % 7) * 0.375;
        sums[u.labels[i].leaf] += log_ps[i];
        wanted -= (double)u.labels[i].weight * log_ps[i];
    }
    double extra[64] = {0};
    uint32_t base = 0;
    for (int t = 0; t < 2; t++, base += trees[0].n_leaves) {
        wanted += terms_add(&trees[t].terms[0], sums + base, extra + base);
    }
    assert_true(extra[0] > 0 && extra[1] < 0 && extra[trees[0].n_leaves] > 0);
    double loss = terms_weigh(&unit, &u, log_ps, leaves, weights);
    assert_true(fabs(loss - wanted) <= 1e-12 * fabs(wanted));
    for (uint32_t i = 0; i < u.n_labels; i++) {
        double w = (double)u.labels[i].weight + extra[u.labels[i].leaf];
        assert_true(fabs((double)weights[i] - w) <= 1e-7 * (1 + fabs(w)));
    }
    mem_free(log_ps);
    mem_free(leaves);
    mem_free(weights);
    unit_rows_free(&u);
    tree_free(&trees[0]);
    tree_free(&trees[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_term_is_the_formula_of_its_header),
        cmocka_unit_test(test_label_weights_are_minus_the_derivative_in_the_log_probability),
        cmocka_unit_test(test_far_from_zero_a_term_is_a_straight_line_and_never_infinite),
        cmocka_unit_test(test_a_unit_adds_labels_and_terms_and_numbers_leaves_tree_by_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
