/* weights.h - the frozen weights of a model in the order the layers want them: fp32, row-major
 * [out, in], q k v stacked and gate up stacked, so that each is one product.
 * Owns: struct weights and its one block of memory. Never: LoRA parameters, arithmetic.
 * Read-only once filled; then shared by all slots, and by all processes of a machine where the
 * block is a file that they map (weights_open). Letters as in common/tensor/shape.h.
 *
 * The file, <cache folder>/weights-<first 32 digits of the model's hash>.f32, mode 0600:
 *   1. 4096 bytes: "PFTW", version, floats, digest of the block, hash of the model, the rest zero
 *   2. the block, in the order of struct weights, each matrix at a multiple of MEM_ALIGNMENT
 * It is made once, under a lock, and appears by rename; every process checks its digest. It may be
 * deleted at any time: who maps it keeps it. */
#ifndef PFT_WEIGHTS_H
#define PFT_WEIGHTS_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/tensor/shape.h"

struct model_file; /* common/format/model_file.h */

/* Smaller models are simply read. */
enum { WEIGHTS_SHARE_FLOATS = 16 << 20 };

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
    void *map;                    /* of map_bytes; NULL: the block is memory of this process */
    size_t map_bytes;
};

/* Makes room for a model of this shape (not filled), each matrix aligned to MEM_ALIGNMENT.
 * ERR_NOMEM names the bytes. The caller frees it with weights_free, which is fine on a zeroed
 * struct. */
MUST_USE enum err weights_alloc(struct weights *w, const struct model_shape *shape,
                                struct errbuf *e);
void weights_free(struct weights *w);

/* Points w into a block that holds weights_floats(shape) floats. ERR_NOMEM. */
MUST_USE enum err weights_place(struct weights *w, const struct model_shape *shape, float *block,
                                struct errbuf *e);
size_t weights_floats(const struct model_shape *shape);

/* Reads every tensor of an open model into the block, as weights_load; nothing is freed. */
MUST_USE enum err weights_read(const struct weights *w, const struct model_file *mf,
                               unsigned n_threads, struct errbuf *e);

/* The weights as a file that all processes of this user map, made by whoever comes first; where
 * that cannot be (no folder, no space, a file that is not ours, a model below min_floats) they are
 * read into memory of this process and note says why, else note is empty. folder NULL: the cache
 * folder. Errors as weights_load. Blocks while another process makes the file. */
MUST_USE enum err weights_open(struct weights *w, const struct model_file *mf,
                               const char *model_hash, const char *folder, size_t min_floats,
                               struct errbuf *note, struct errbuf *e);

/* Gives back the pages of a mapped block that nothing has touched lately; they come again when they
 * are read. */
void weights_cool(const struct weights *w);

/* weights_alloc, then reads every tensor of an open model with n_threads threads (0 = one per
 * core). A NaN or Inf is refused with its tensor and row. Nothing is held after an error. Blocks
 * until all is read; the model may be closed afterwards. */
MUST_USE enum err weights_load(struct weights *w, const struct model_file *mf, unsigned n_threads,
                               struct errbuf *e);

#endif
