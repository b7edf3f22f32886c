/* model_tensors.h - the tensors a Llama of a given shape has: names in Hugging Face and GGUF,
 * sizes, and how GGUF orders their rows. Owns: that one table. Pure. */
#ifndef PFT_MODEL_TENSORS_H
#define PFT_MODEL_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/tensor/shape.h"

enum { MODEL_TENSOR_NAME_BYTES = 64 };

struct model_tensor {
    char hf[MODEL_TENSOR_NAME_BYTES];   /* "model.layers.0.self_attn.q_proj.weight" */
    char gguf[MODEL_TENSOR_NAME_BYTES]; /* "blk.0.attn_q.weight" */
    uint32_t rows, cols;                /* a vector has one row */
    bool vector;
    uint32_t head_dim; /* of q and k, whose rows GGUF permutes within each head; else 0 */
};

/* Makes the list, sorted by hf name; a tied head is not in it. *list is the caller's (mem_free). */
MUST_USE enum err model_tensors_list(const struct model_shape *shape, struct model_tensor **list,
                                     size_t *count, struct errbuf *e);

/* The row of a GGUF q or k matrix that holds Hugging Face row `row`. RoPE turns the pair (i, i +
 * E/2) of a head in Hugging Face, the pair (2i, 2i + 1) in GGUF. */
uint32_t model_tensors_gguf_row(uint32_t row, uint32_t head_dim);

#endif
