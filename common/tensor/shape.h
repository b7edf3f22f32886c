/* shape.h - the sizes of a Llama-family model and the layout of its LoRA parameters.
 * Owns: struct model_shape, struct lora_config, where each A and B lies in the flat vector. Pure.
 *
 * Glossary of tensor letters: N rows (tokens of a unit), D hidden, F feed-forward, H heads, K kv
 * heads, E head_dim, V vocabulary, R LoRA rank, L layers. Matrices are row-major [out, in], as in
 * Hugging Face files. Flat LoRA order: per layer, per target in the order q k v o gate up down:
 * A [R, in] then B [out, R]. */
#ifndef PFT_SHAPE_H
#define PFT_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct model_shape {
    uint32_t layers;   /* L */
    uint32_t hidden;   /* D */
    uint32_t ff;       /* F */
    uint32_t heads;    /* H */
    uint32_t kv_heads; /* K, divides H */
    uint32_t head_dim; /* E, even */
    uint32_t vocab;    /* V */
    float rope_theta;
    float rms_eps;
    bool tied_head; /* the output matrix is the embedding */
};

enum lora_module {
    LORA_Q,
    LORA_K,
    LORA_V,
    LORA_O,
    LORA_GATE,
    LORA_UP,
    LORA_DOWN,
    LORA_MODULES,
};

struct lora_config {
    uint32_t r;       /* rank; 0 = no adapter at all */
    float alpha;      /* the delta is alpha / r * B A */
    float dropout;    /* in [0, 1) */
    uint32_t targets; /* bit 1 << enum lora_module */
};

struct lora_place {
    uint32_t in, out;
    size_t a; /* offset of A [R, in] in the flat vector, in floats */
    size_t b; /* offset of B [out, R] */
};

/* Every size against its limit and against the others; the message names the field. */
MUST_USE enum err shape_check(const struct model_shape *m, struct errbuf *e);

/* in and out of a module's matrix. */
void shape_module(const struct model_shape *m, enum lora_module module, uint32_t *in,
                  uint32_t *out);

/* Floats of the flat LoRA vector; 0 when r is 0. */
size_t lora_count(const struct model_shape *m, const struct lora_config *c);

/* Where (layer, module) lies; false when the module is no target. */
bool lora_place(const struct model_shape *m, const struct lora_config *c, uint32_t layer,
                enum lora_module module, struct lora_place *place);

/* "q", "k", ... "down" and "q_proj", ...; lora_module_from takes either, -1 when unknown. */
const char *lora_module_name(enum lora_module module);
const char *lora_module_proj(enum lora_module module);
int lora_module_from(const char *name, size_t length);

/* Fills the flat vector for a new run: A uniform in +-1/sqrt(in) (Kaiming, a = sqrt 5) from the
 * counter generator keyed by seed, B zero. Needs lora_count floats. */
void lora_init(const struct model_shape *m, const struct lora_config *c, uint64_t seed,
               float *flat);

#endif
