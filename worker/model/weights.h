/* weights.h - the frozen weights of a model in the order the layers want them: fp32, row-major
 * [out, in], q k v stacked and gate up stacked, so that each is one product.
 * Owns: struct weights and its one block of memory. Never: LoRA parameters, arithmetic.
 * Read-only once filled; then shared by all slots. Letters as in common/tensor/shape.h. */
#ifndef PFT_WEIGHTS_H
#define PFT_WEIGHTS_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/tensor/shape.h"

struct model_file; /* common/format/model_file.h */

struct weights_layer {
    float *attn_norm; /* [D] input_layernorm */
    float *qkv;       /* [(H + 2K) E, D] q rows, then k rows, then v rows */
    float *o;         /* [D, H E] */
    float *mlp_norm;  /* [D] post_attention_layernorm */
    float *gate_up;   /* [2F, D] gate rows, then up rows */
    float *down;      /* [D, F] */
};

struct weights {
    struct model_shape shape;
    float *embed;                 /* [V, D] */
    float *head;                  /* [V, D]; the same pointer as embed when tied */
    float *final_norm;            /* [D] */
    struct weights_layer *layers; /* [L] */
    float *block;                 /* what all of the above point into; NULL = nothing held */
    size_t floats;                /* of the block */
};

/* Makes room for a model of this shape (not filled), each matrix aligned to MEM_ALIGNMENT.
 * ERR_NOMEM names the bytes. The caller frees it with weights_free, which is fine on a zeroed
 * struct. */
MUST_USE enum err weights_alloc(struct weights *w, const struct model_shape *shape,
                                struct errbuf *e);
void weights_free(struct weights *w);

/* weights_alloc, then reads every tensor of an open model with n_threads threads (0 = one per
 * core). A NaN or Inf is refused with its tensor and row. Nothing is held after an error. Blocks
 * until all is read; the model may be closed afterwards. */
MUST_USE enum err weights_load(struct weights *w, const struct model_file *mf, unsigned n_threads,
                               struct errbuf *e);

#endif
