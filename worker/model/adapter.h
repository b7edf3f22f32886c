/* adapter.h - LoRA parameters in the order the products want them.
 * The flat vector of a run (common/tensor/shape.h) has A and B of each module in turn. Modules that
 * share an input are computed together, so here a layer holds, for each group (q k v; o; gate up;
 * down), the As of its targets one below the other, then their Bs. Gradients come in this order too
 * and go back to the flat order when they are rounded.
 * Owns: the layout. Never: the numbers. Pure. */
#ifndef PFT_ADAPTER_H
#define PFT_ADAPTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/tensor/shape.h"
#include "worker/backend/backend.h"

struct adapter {
    struct lora_config config;
    float scale;                             /* alpha / r */
    size_t layer_words;                      /* floats of one layer */
    size_t words;                            /* of all layers = lora_count */
    size_t a[LORA_MODULES], b[LORA_MODULES]; /* within a layer; only of targets */
};

void adapter_init(struct adapter *a, const struct model_shape *shape,
                  const struct lora_config *config);

static inline bool adapter_targets(const struct adapter *a, enum lora_module module)
{
    return a->config.r > 0 && (a->config.targets & 1u << module) != 0;
}

/* The flipped As of a module's group [in, rank]: where they begin within a layer, the module's
 * first column, all columns. The module must be a target. */
struct adapter_columns {
    size_t at;
    uint32_t first, rank;
};
struct adapter_columns adapter_columns(const struct adapter *a, enum lora_module module);

/* flat order on the host -> packed order on the backend; words floats each. */
void adapter_upload(const struct adapter *a, const struct model_shape *shape,
                    const struct backend_ops *ops, const float *flat, struct span packed);

/* packed -> flipped, where every product finds its right side row-major: the As of a group one
 * below the other [rank, in] become [in, rank], each B [out, r] becomes [r, out], in the same
 * place. */
void adapter_flip(const struct adapter *a, const struct model_shape *shape, struct team *team,
                  struct span packed, struct span flipped);

struct adapter_refusal {
    uint32_t layer;
    enum lora_module module;
    char matrix; /* 'A' or 'B' */
    float value;
};

/* False, and what was found, when an element is NaN or 2^12 or more in magnitude. */
bool adapter_fits(const struct adapter *a, const struct model_shape *shape,
                  const struct kernels *kernels, const float *packed,
                  struct adapter_refusal *refusal);

/* Rounds a packed gradient and adds it to the flat sum; returns the sum of squares of the rounded
 * values, module by module in flat order. */
double adapter_add_fixed(const struct adapter *a, const struct model_shape *shape,
                         const struct kernels *kernels, const float *packed, int64_t *sum);

#endif
