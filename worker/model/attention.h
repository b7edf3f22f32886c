/* attention.h - attention of a query set over the tree, in blocks (unit_rows.h): scores exist only
 * between a block and the tokens on its way to the root. Forward keeps maximum and inverse sum of
 * each score row; backward makes the scores again. Gradients of shared keys and values collect from
 * every block in a fixed order. */
#ifndef PFT_ATTENTION_H
#define PFT_ATTENTION_H

#include "worker/model/network.h"

/* q, k, v of the layer -> attn [Q, H E], most, inverse. */
void attention_forward(struct pass *p, uint32_t layer);

/* The flat side of attention's output [queries, H E]: all heads of each query. */
struct heads attention_heads(const struct pass *p, uint32_t queries);

/* scratch.dattn [Q, H E] -> scratch.dq [K][Q][P][E], dk, dv [K][N][E], of rotated q and k. */
void attention_backward(struct pass *p, uint32_t layer);

#endif
