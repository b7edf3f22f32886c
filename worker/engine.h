/* engine.h - the arithmetic of a worker: gradients and scores of a unit (worker/model), in bits
 * that depend on nothing but the unit, the parameters, the step and the engine's settings.
 *
 * Owns: struct engine (read-only after engine_new, shared by slots), struct engine_slot (the
 * working memory of one compute thread). Never: sockets, jobs, leases, the clock as an input. Place
 * in the flow: the worker's agent hands a unit down, int64 sums come back.
 *
 * Threads: an engine may be used by any number of slots at once; a slot by one thread at a time
 * (engine_slot_progress excepted). Every call blocks for as long as it computes.
 *
 * Exactness. engine_gradient rounds each element g of the unit's fp32 gradient to the int64 nearest
 * to g * 2^40 (|g| < 2^12 makes that exact up to half a unit of 2^-40) and adds it to the caller's
 * sum, so sums over units do not depend on their order. NaN, Inf and |g| >= 2^12 are refused; the
 * message names module, layer and, where it can be told, the tree, and the sum is left as it was.
 */
#ifndef PFT_ENGINE_H
#define PFT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/tensor/shape.h"
#include "common/tree/tree.h"
#include "worker/backend/kernels_level.h"

struct profile; /* worker/backend/profile.h */
struct weights; /* worker/model/weights.h */
struct engine;
struct engine_slot;

/* Output tiles of a matrix product, part of the arithmetic of a run (DESIGN §4). */
enum { ENGINE_TILE_ROWS = 512, ENGINE_TILE_COLS = 320, ENGINE_TILE_COLS_BF16 = 1024 };

/* How frozen weights are multiplied; attention and adapters are fp32 in any case. */
enum engine_precision {
    ENGINE_FP32,
    ENGINE_BF16, /* inputs and weights rounded to bfloat16, sums in fp32; needs AVX512_BF16 */
};

struct engine_config {
    struct model_shape shape;
    struct lora_config lora;    /* r = 0: no adapter, gradients have no elements */
    enum kernels_level kernels; /* must be what kernels_level_verify accepts */
    uint32_t tile_rows;         /* 0 = ENGINE_TILE_ROWS */
    uint32_t tile_cols;         /* 0 = ENGINE_TILE_COLS, in bf16 ENGINE_TILE_COLS_BF16 */
    uint64_t seed;              /* of the dropout masks */
    enum engine_precision precision;
    uint32_t threads;   /* of a slot; 0 = 1. No part of the arithmetic */
    bool checkpointing; /* gradient checkpointing: layers run forward twice, in a fraction of the
                           memory. No part of the arithmetic */
};

struct unit_result {
    int64_t loss;    /* sum of weight * CE over the unit's labels and of its terms, or of weight *
                        KL(base || model) of an anchor, at scale 2^40 */
    double sumsq;    /* sum of squares of the rounded gradient, in a fixed order; 0 for scores */
    uint32_t labels; /* labels of the unit */
};

/* Makes an engine over weights, which it borrows until engine_free. Refuses settings that this
 * process cannot run (kernels, OpenBLAS core type). */
MUST_USE enum err engine_new(const struct engine_config *config, const struct weights *weights,
                             struct engine **out, struct errbuf *e);
void engine_free(struct engine **engine); /* NULL inside is fine; its slots are gone before */

/* Floats of the flat adapter vector (common/tensor/shape.h): what lora_flat and sum hold. */
size_t engine_lora_count(const struct engine *engine);

/* Bytes that an engine of these settings and each of its slots will take. */
struct engine_need {
    size_t weights;  /* the fp32 block; one for all processes where it is mapped */
    size_t resident; /* of it, what passes read again and again */
    size_t packed;   /* copies in bf16 */
    size_t slot;     /* for units of the rows given */
};

/* Tokens of the largest unit of each kind; 0: none. */
struct engine_rows {
    uint32_t train; /* gradients */
    uint32_t anchor;
    uint32_t score;
};

/* Pure, nothing is taken. ERR_NOMEM. */
MUST_USE enum err engine_need(const struct engine_config *config, const struct engine_rows *rows,
                              struct engine_need *need, struct errbuf *e);

/* Makes a slot whose memory is planned for units of unit_rows rows (the run's unit_tokens; 0: wait
 * for the first unit). A larger unit makes it grow, between units only. */
MUST_USE enum err engine_slot_new(const struct engine *engine, uint32_t unit_rows,
                                  struct engine_slot **out, struct errbuf *e);
void engine_slot_free(struct engine_slot **slot); /* NULL inside is fine */

/* Loss and gradient of a unit. lora_flat [engine_lora_count] may be NULL = adapter off (then sum
 * is untouched, and the loss of an anchor 0). The base of an anchor is computed here as well. step
 * keys the dropout masks. Adds to sum [engine_lora_count]. The trees must have passed tree_finish.
 * Errors: ERR_RANGE (an element was refused), ERR_NOMEM. */
MUST_USE enum err engine_gradient(struct engine_slot *slot, const struct unit *unit,
                                  const float *lora_flat, uint64_t step, int64_t *sum,
                                  struct unit_result *result, struct errbuf *e);

/* Log-probability of every leaf of the unit's trees, in order (tree 0's leaves, then tree 1's):
 * sum of log p(target) over the leaf's labels, whatever their weights; no dropout, no activation
 * kept. leaf_logp holds the sum of n_leaves. */
MUST_USE enum err engine_score(struct engine_slot *slot, const struct unit *unit,
                               const float *lora_flat, double *leaf_logp, struct errbuf *e);

/* Mean over the labelled rows of each leaf of KL(p || q) in nats, over the whole vocabulary: p with
 * lora_flat and the vectors of engine_slot_steer, q with neither. 0 for a leaf without labels. */
MUST_USE enum err engine_divergence(struct engine_slot *slot, const struct unit *unit,
                                    const float *lora_flat, double *leaf_kl, struct errbuf *e);

/* Adds |weight| * x of every label to sum [2][L][D], x being the residual stream behind the layer
 * at the label's row: labels of a weight above 0 to the first half, below 0 to the second. Each
 * product is rounded to the int64 nearest at scale 2^32, so sums do not depend on their order.
 * Refused (ERR_RANGE, sum as it was): what is not finite, and a unit's sum beyond 2^20; with at
 * most LIMIT_STEP_UNITS units no sum can overflow. */
size_t engine_capture_count(const struct engine *engine);
MUST_USE enum err engine_capture(struct engine_slot *slot, const struct unit *unit,
                                 const float *lora_flat, int64_t *sum, struct errbuf *e);

/* From now on vectors [L][D] are added to the residual stream behind each layer, at every row, in
 * all but gradients; NULL: no longer. ERR_NOMEM. */
MUST_USE enum err engine_slot_steer(struct engine_slot *slot, const float *vectors,
                                    struct errbuf *e);

/* Logits of the unit's labelled rows, ascending, each once: logits [count, V]. rows (of the unit:
 * the trees one after another) and logits may be NULL to ask for the count alone. */
MUST_USE enum err engine_logits(struct engine_slot *slot, const struct unit *unit,
                                const float *lora_flat, uint32_t *rows, float *logits,
                                uint32_t *count, struct errbuf *e);

/* Shows every tensor of the slot's passes to watch as it is made (worker/model/network.h); NULL
 * switches it off. For tests, tools and captures of activations. */
typedef void engine_watch_fn(void *context, const char *name, uint32_t layer, const float *data,
                             size_t rows, size_t cols);
void engine_slot_watch(struct engine_slot *slot, engine_watch_fn *watch, void *context);

/* Where the slot's time went since it was made or reset (worker/backend/profile.h), in all and in
 * one layer (NULL before the first unit). */
const struct profile *engine_slot_profile(const struct engine_slot *slot);
const struct profile *engine_slot_layer_profile(const struct engine_slot *slot, uint32_t layer);
void engine_slot_profile_reset(struct engine_slot *slot);

/* Counts up a little after every layer of a pass: a heartbeat that stands still means a hung
 * compute thread. Any thread, any time. */
uint64_t engine_slot_progress(const struct engine_slot *slot);

/* Bytes of working memory the slot holds now. */
size_t engine_slot_bytes(const struct engine_slot *slot);

#endif
