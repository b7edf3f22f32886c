/* terms.h - the loss of a unit and what each of its labels weighs, from the log-probabilities
 * of the forward pass. Owns: the maths of terms (common/tree/tree.h). Never: which objective made
 * them (coordinator/objective.h), buffers, products. Place: the engine calls it between forward and
 * backward. Pure, any thread.
 *
 * With L a leaf's log-probability, x a term's offset + sum of coef * L, s its smoothing, w its
 * weight, sigma the logistic function:
 *   loss of the term             w * ((1 - s) * softplus(-x) + s * softplus(x))
 *   its derivative in L          -w * coef * ((1 - s) * sigma(-x) - s * sigma(x))
 * A label's CE is -log p and L is the sum over the leaf's labels, so that a term acts as if each
 * label of the leaf weighed w * coef * ((1 - s) * sigma(-x) - s * sigma(x)) more. */
#ifndef PFT_TERMS_H
#define PFT_TERMS_H

#include "common/tree/tree.h"
#include "worker/model/unit_rows.h"

/* Loss of one term given leaf_log_p [leaves of the tree]; adds to leaf_weight what each label of
 * its leaves weighs more. */
double terms_add(const struct tree_term *term, const double *leaf_log_p, double *leaf_weight);

/* Loss of the unit whose rows are u, in a fixed order: labels, then terms tree by tree. log_p
 * [labels] is that of the forward pass; label_weights [labels] takes the weights for the backward;
 * leaves [2 * u->n_leaves] is room. */
double terms_weigh(const struct unit *unit, const struct unit_rows *u, const double *log_p,
                   double *leaves, float *label_weights);

#endif
