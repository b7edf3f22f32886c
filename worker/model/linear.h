/* linear.h - a frozen matrix, or several with one input, plus their adapters:
 * y = x W^T + s (drop(x) A^T) B^T. Forward and backward. */
#ifndef PFT_LINEAR_H
#define PFT_LINEAR_H

#include "worker/model/network.h"

enum linear_kind {
    LINEAR_QKV,
    LINEAR_O,
    LINEAR_GATE_UP,
    LINEAR_DOWN,
    LINEAR_Q,  /* the last layer: q for labelled rows */
    LINEAR_KV, /* and k, v for all */
};

struct linear_input {
    uint32_t rows;
    struct span x;    /* [rows, in] */
    struct span keys; /* of the dropout masks, [rows] */
};

/* y [rows, out] = x W^T + adapter; onto = add to what y holds. u keeps x A^T for the backward. */
void linear_forward(struct pass *p, uint32_t layer, enum linear_kind kind,
                    const struct linear_input *input, struct span y, bool onto);

/* Gradients of A and B; dx [rows, in] = dy W + adapter's part when dx is not NULL. */
void linear_backward(struct pass *p, uint32_t layer, enum linear_kind kind,
                     const struct linear_input *input, struct span dy, const struct span *dx);

/* Whether an adapter of this layer hangs on one of the kind's matrices. */
bool linear_has_adapter(const struct pass *p, enum linear_kind kind);

#endif
