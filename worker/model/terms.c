/* terms.c - preference terms: value and derivative, label weights. */
#include "worker/model/terms.h"

#include "worker/model/exact_math.h"

/* log(1 + e^x) */
static double softplus(double x)
{
    return x > 0.0 ? x + exact_log(1.0 + exact_exp(-x)) : exact_log(1.0 + exact_exp(x));
}

/* 1 / (1 + e^-x) */
static double sigmoid(double x)
{
    double small = exact_exp(x > 0.0 ? -x : x);
    return (x > 0.0 ? 1.0 : small) / (1.0 + small);
}

double terms_add(const struct tree_term *term, const double *leaf_log_p, double *leaf_weight)
{
    double x = term->offset;
    for (uint32_t k = 0; k < term->n; k++) {
        x += (double)term->coef[k] * leaf_log_p[term->leaf[k]];
    }
    double w = (double)term->weight;
    double s = (double)term->smoothing;
    double pull = w * ((1.0 - s) * sigmoid(-x) - s * sigmoid(x));
    for (uint32_t k = 0; k < term->n; k++) {
        leaf_weight[term->leaf[k]] += (double)term->coef[k] * pull;
    }
    return w * ((1.0 - s) * softplus(-x) + s * softplus(x));
}

double terms_weigh(const struct unit *unit, const struct unit_rows *u, const double *log_p,
                   double *leaves, float *label_weights)
{
    double *leaf_log_p = leaves;
    double *leaf_weight = leaves + u->n_leaves;
    double loss = 0.0;
    for (uint32_t i = 0; i < 2 * u->n_leaves; i++) {
        leaves[i] = 0.0;
    }
    for (uint32_t i = 0; i < u->n_labels; i++) {
        leaf_log_p[u->labels[i].leaf] += log_p[i];
        loss -= (double)u->labels[i].weight * log_p[i];
    }
    uint32_t first = 0;
    for (uint32_t t = 0; t < unit->n_trees; first += unit->trees[t++].n_leaves) {
        const struct tree *tree = &unit->trees[t];
        for (uint32_t i = 0; i < tree->n_terms; i++) {
            loss += terms_add(&tree->terms[i], leaf_log_p + first, leaf_weight + first);
        }
    }
    for (uint32_t i = 0; i < u->n_labels; i++) {
        label_weights[i] = (float)((double)u->labels[i].weight + leaf_weight[u->labels[i].leaf]);
    }
    return loss;
}
