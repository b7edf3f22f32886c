/* control_vector.h - a vector per layer as a GGUF file that llama.cpp loads (--control-vector), and
 * back. Owns: the file's form. Never: where vectors come from, what they are multiplied with.
 *
 * The file: general.architecture "controlvector", controlvector.model_hint (string),
 * controlvector.layer_count (i32), tensors direction.K, F32 [hidden], K from 1: what is added to
 * the residual stream behind layer K, layers counted from 0. Layer 0 has none. Blocks on the disk.
 */
#ifndef PFT_CONTROL_VECTOR_H
#define PFT_CONTROL_VECTOR_H

#include "common/base/err.h"
#include "common/tensor/shape.h"

/* vectors [L][D]; those of layer 0 are left out. Replaces the file atomically. */
MUST_USE enum err control_vector_write(const char *path, const struct model_shape *shape,
                                       const float *vectors, struct errbuf *e);

/* Adds the sum of `specs` [n], each FILE=MULTIPLIER or FILE=MULTIPLIER@LAYER or
 * FILE=MULTIPLIER@FIRST-LAST, to vectors [L][D]. ERR_USAGE for a spec of another form, ERR_RANGE
 * for a file of another model's size or a layer without a direction. */
MUST_USE enum err control_vector_load(const char *const *specs, int n,
                                      const struct model_shape *shape, float *vectors,
                                      struct errbuf *e);

#endif
