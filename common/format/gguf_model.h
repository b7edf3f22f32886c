/* gguf_model.h - a Llama inside a GGUF: its metadata as a shape.
 * Owns: the llama.* keys. Never: tensor data, files. Pure. */
#ifndef PFT_GGUF_MODEL_H
#define PFT_GGUF_MODEL_H

#include "common/base/err.h"
#include "common/tensor/shape.h"

struct gguf;

/* Fills and checks a shape from the metadata; refuses by name what would be computed differently
 * (another architecture, scaled RoPE, experts, rope_freqs.weight). The head is tied when there is
 * no output.weight. */
MUST_USE enum err gguf_model_shape(const struct gguf *g, struct model_shape *shape,
                                   struct errbuf *e);

#endif
