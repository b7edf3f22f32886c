/* network.h - a Llama over the rows of a unit: the weights as the backend sees them, the plan of a
 * slot's memory, one pass forward and back.
 *
 * Owns: struct model (read-only, shared), struct pass (everything one unit needs), where each
 * tensor lies in the slot's arena. Never: jobs, rounding, losses' weights. Layers are in layer.c,
 * attention.c, linear.c, head.c, each forward beside its backward.
 * Letters as in common/tensor/shape.h; N rows of the unit, M labelled rows, P = H / K. The last
 * layer computes only what labelled rows need: there Q, the rows of queries, is M, elsewhere N. */
#ifndef PFT_NETWORK_H
#define PFT_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "worker/backend/backend.h"
#include "worker/model/adapter.h"
#include "worker/model/unit_rows.h"
#include "worker/model/weights.h"

enum { HEAD_COLS = 4096 }; /* vocabulary entries computed at a time; part of the arithmetic */

struct model_layer { /* as struct weights_layer; q and kv are the parts of qkv */
    struct span attn_norm, mlp_norm;
    struct frozen qkv, q, kv, o, gate_up, down;
};

struct model {
    struct model_shape shape;
    struct adapter adapter;
    const struct backend_ops *ops;
    enum precision precision;
    uint32_t tile_cols; /* of products */
    struct buffer *weights;
    struct span embed, head, final_norm;
    struct model_layer *layers; /* [L] */
    struct frozen *head_blocks; /* head, HEAD_COLS rows each, the last one fewer */
    uint32_t n_head_blocks;
};

/* What the backward pass needs of a layer. */
struct layer_tensors {
    struct span x;             /* [N, D] its input */
    struct span rstd_attn;     /* [N] */
    struct span q;             /* packed [K][Q][P][E], rotated */
    struct span k, v;          /* packed [K][N][E], k rotated */
    struct span most, inverse; /* [K][Q][P] of the softmax */
    struct span attn;          /* [Q, H E] input of o */
    struct span residual;      /* [Q, D] x + o(attn) */
    struct span rstd_mlp;      /* [Q] */
    struct span gate_up;       /* [Q, 2F] */
    struct span u[4];          /* x A^T of the groups qkv, o, gate_up, down: [rows, rank] */
    struct span u_q;           /* [M, R] of the last layer, whose q has other rows than k and v */
};

/* Lists of the unit on the backend. */
struct unit_spans {
    struct span tokens, positions, limits, keys;                           /* [N] */
    struct span label_rows, label_positions, label_limits, label_keys;     /* [M] */
    struct span first_targets;                                             /* [M] */
    struct span label_query, label_target, label_coefficient, label_logit; /* [labels] */
    struct span row_factor;                                                /* [M] */
    struct span rope;                                                      /* [depth, E] */
};

/* Memory used within a layer and then again by the next. */
struct scratch {
    struct span norm;          /* [N, D] output of a norm */
    struct span norm_labelled; /* [M, D] */
    struct span qkv;           /* [N, (H + 2K) E] products before rotation, and their gradient */
    struct span heads;         /* packed [K][N][P][E]: attention's output, its gradient */
    struct span dq, dk, dv;    /* packed */
    struct span k_flipped, v_flipped; /* [K][E][score_ld(N)] */
    struct span scores, dscores;      /* [lanes][P][score_words] */
    struct span delta;                /* [K][N][P] */
    struct span h;                    /* [N, F] */
    struct span dh;                   /* [N, F] */
    struct span dattn;                /* [N, H E] */
    struct span dx;                   /* [N, D] gradient that runs down the layers */
    struct span dlabelled;            /* [M, D] the same in the last layer */
    struct span dnorm;                /* [N, D] */
    struct span dnorm_labelled;       /* [M, D] */
    struct span du;                   /* [N, 3R] */
    struct span db;                   /* [R, widest output of a module] */
    struct span dropped;              /* [N, widest input]; dropout only */
    struct span logits;               /* [M, cols of a block of the head] */
    struct span most, sum;            /* [M] */
    struct span mix;                  /* [M, D] */
    struct span base_logits;          /* as logits; anchor only */
    struct span anchor_rows, kl;      /* struct kernel_anchor_row [M], [M]; anchor only */
};

struct pass_sizes {
    uint32_t rows, labelled, labels, depth;
    size_t score_words; /* of a block and one head of a group */
    uint32_t lanes;     /* blocks at work at once */
    bool keep;          /* activations for a backward pass */
    bool again;         /* of them only the layers' inputs: each layer runs forward once more */
    bool dropout;
    bool anchor; /* what a unit of anchors needs besides */
};

struct host_room {
    float *most, *sum, *factor; /* [M] */
    float *logit, *coefficient; /* [labels] */
    float *logits;              /* [HEAD_COLS] */
    float *block;               /* what they point into */
};

/* Sees tensors as they are made, for tests and captures: name as in tests/golden/README.md, data
 * [rows, cols] on the host. Heads come packed ("q", "k", "v": rows = groups * rows * per). */
typedef void watch_fn(void *context, const char *name, uint32_t layer, const float *data,
                      size_t rows, size_t cols);

struct pass {
    struct team team;
    const struct model *model;
    struct pass_sizes sizes;
    struct unit_rows rows; /* of the unit at hand */
    struct buffer *arena;
    size_t arena_words;
    struct host_room host; /* what the head reads and writes on the host */
    size_t host_words;
    bool adapter;                /* adapter on */
    bool again;                  /* sizes.again of the passes to come */
    struct buffer *adapter_room; /* params and flipped; kept as long as their digest fits */
    uint8_t params_digest[HASH_XXH128_BYTES];
    struct span params, flipped; /* [adapter.words]; adapter.h */
    struct span grads;           /* [adapter.words] */
    struct unit_spans unit;
    struct scratch scratch;
    struct layer_tensors *layers; /* [L] */
    struct profile *profiles;     /* [L] */
    struct span final_x;          /* [M, D] output of the last layer */
    struct span final_rstd;       /* [M] */
    void (*layer_done)(void *owner);
    void *owner;
    watch_fn *watch;
    void *context; /* of watch */
    /* What stands in for attention_forward, and what sees each layer's output [Q, D]; NULL: nothing
     * does. */
    void (*attend)(struct pass *p, uint32_t layer);
    void (*layer_out)(struct pass *p, uint32_t layer, struct span y);
    void *guest; /* of these two */
    bool steer;  /* add the vectors */
    struct buffer *steer_room;
    struct span steer_one, steer_vectors; /* 1.0, [L, D] */
};

/* Binds weights (borrowed until model_deinit) to a backend. */
MUST_USE enum err model_init(struct model *m, const struct backend_ops *ops,
                             const struct weights *weights, const struct lora_config *lora,
                             enum precision precision, uint32_t tile_cols, struct errbuf *e);
void model_deinit(struct model *m); /* fine on a zeroed struct */

/* Bytes that pass_reserve would take for these sizes, the parameters included. ERR_NOMEM. */
MUST_USE enum err pass_measure(const struct model *m, const struct pass_sizes *sizes, size_t *bytes,
                               struct errbuf *e);

/* Plans the arena for these sizes and grows it where it is too small. */
MUST_USE enum err pass_reserve(struct pass *p, const struct pass_sizes *sizes, struct errbuf *e);
/* Frees what a pass owns; fine on a zeroed struct. */
void pass_deinit(struct pass *p);

/* Reads the unit and puts its lists on the backend; keep asks for memory of a backward pass
 * (p->again: as little as may be), step keys dropout (training passes only). lora_flat NULL =
 * adapter off. */
MUST_USE enum err pass_start(struct pass *p, const struct unit *unit, const float *lora_flat,
                             bool keep, uint64_t seed, uint64_t step, struct errbuf *e);

/* Vectors [L, D] on the host for passes to come with p->steer; kept until the next ones. */
MUST_USE enum err pass_load_vectors(struct pass *p, const float *vectors, struct errbuf *e);

/* Embedding and layers: fills final_x. */
void network_forward(struct pass *p);
/* From the gradient of final_x in scratch.dlabelled down to the lowest adapter: fills grads. */
void network_backward(struct pass *p);

/* Shows a tensor to the watcher, if there is one. */
void pass_show(struct pass *p, const char *name, uint32_t layer, struct span data, size_t rows,
               size_t cols);

static inline bool layer_is_last(const struct pass *p, uint32_t layer)
{
    return layer + 1 == p->model->shape.layers;
}

/* Rows of queries of a layer. */
static inline uint32_t layer_queries(const struct pass *p, uint32_t layer)
{
    return layer_is_last(p, layer) ? p->sizes.labelled : p->sizes.rows;
}

#endif
