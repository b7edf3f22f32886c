/* anchor_base.h - the head of an anchor unit: KL(base || model) of its labelled rows over the whole
 * vocabulary, and its gradient.
 *
 * With q the distribution of the model without adapter at a row, p with it, w the sum of the row's
 * label weights: loss = sum of w KL(q || p), whose gradient in the logits is w (p - q). Both
 * largest logits and sums are known before the sweep that takes differences, a block of HEAD_COLS
 * vocabulary entries at a time, so no digits are lost where p is near q, and none at all are left
 * where they are the same.
 * Owns: the sweep, what is kept of the pass without adapter. Never: which passes made them. */
#ifndef PFT_ANCHOR_BASE_H
#define PFT_ANCHOR_BASE_H

#include "worker/model/head.h"
#include "worker/model/network.h"

struct kernel_anchor_row;

struct anchor_base {
    float *x;                        /* [M, D] normed labelled rows, on the host */
    struct head_total *total;        /* [M] */
    struct kernel_anchor_row *norms; /* [M] room */
};

/* Bytes of it for M rows. */
size_t anchor_base_bytes(const struct model_shape *shape, uint32_t rows);

/* Keeps what head_forward of the pass at hand found. The caller frees it. ERR_NOMEM. */
MUST_USE enum err anchor_base_take(struct pass *p, struct anchor_base *out);
void anchor_base_free(struct anchor_base *base); /* fine on a zeroed struct */

/* *loss of the unit; the gradient of final_x in scratch.dlabelled. Needs a pass made for anchors
 * and its head_forward without keep. ERR_NOMEM. */
MUST_USE enum err anchor_base_gradient(struct pass *p, const struct anchor_base *base,
                                       double *loss);

#endif
