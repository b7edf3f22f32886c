/* layer.h - one transformer layer: norm, attention, residual, norm, gated MLP, residual; forward
 * and backward. The last layer works on the labelled rows alone but for its keys and values. */
#ifndef PFT_LAYER_H
#define PFT_LAYER_H

#include "worker/model/network.h"

/* layers[layer].x -> y [Q, D]. */
void layer_forward(struct pass *p, uint32_t layer, struct span y);

/* Turns the gradient of the layer's output (scratch.dlabelled [M, D] for the last layer, else
 * scratch.dx [N, D]) into that of its input in scratch.dx, and fills its adapters' gradients.
 * through = false: nothing below has an adapter, stop at this layer's lowest one. */
void layer_backward(struct pass *p, uint32_t layer, bool through);

#endif
