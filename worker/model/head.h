/* head.h - the last norm and the output matrix, at labelled rows only, HEAD_COLS vocabulary entries
 * at a time; log-probabilities forward, and in the same sweep what the backward needs.
 *
 * For a row with logits l, first target t and weights w_i to targets t_i, W = sum w_i, the gradient
 * of sum w_i CE_i with respect to the row x is
 *     W (mix - rest W_t) / (rest + e_t) + sum_i w_i (W_t - W_ti)
 * where e_j = exp(l_j - max), mix = sum_{j != t} e_j W_j and rest = sum_{j != t} e_j. mix and rest
 * do not depend on the weights, so these may be decided after the forward pass, and a confident
 * row (e_t near 1) loses no digits. */
#ifndef PFT_HEAD_H
#define PFT_HEAD_H

#include "worker/model/network.h"

/* final_x -> log_p[label] for all labels of the unit, in order. keep = collect mix as well. */
void head_forward(struct pass *p, bool keep, double *log_p);

/* weights[label] of the loss -> gradient of final_x in scratch.dlabelled. Needs head_forward with
 * keep. */
void head_backward(struct pass *p, const float *weights);

/* final_x -> scratch.norm_labelled [M, D], what products with the output matrix read. */
void head_norm(struct pass *p);

/* x [M, D] -> y [M, cols]: logits of a block of the vocabulary. */
void head_block_logits(struct pass *p, const struct frozen *block, struct span x, struct span y);

/* scratch.mix [M, D] (+)= scratch.logits W of the block. */
void head_block_mix(struct pass *p, const struct frozen *block, bool onto);

/* scratch.mix, the gradient behind the norm -> that of final_x in scratch.dlabelled. */
void head_norm_backward(struct pass *p);

/* Of a row after head_forward: its largest logit, sum over the vocabulary of exp(l - most). */
struct head_total {
    float most;
    double sum;
};
void head_totals(struct pass *p, struct head_total *out); /* [M] */

/* final_x -> logits [M, V] on the host. */
void head_logits(struct pass *p, float *logits);

#endif
