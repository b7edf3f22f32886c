/* params.h - the adapter, by version: version n is what n committed or published steps made.
 * Owns: parameters, AdamW moments, the published snapshots. Never: disk, sums.
 * Place: reduce -> params_step -> params_snapshot -> publish, journal, checkpoint. A params belongs
 * to one thread (the reducer after start-up); a snapshot is read-only and counted, may be held and
 * released by any thread (a socket's free callback, the journal). */
#ifndef PFT_PARAMS_H
#define PFT_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/tensor/shape.h"
#include "coordinator/adamw.h"

struct params {
    uint64_t version;
    struct adamw_state adam; /* adam.p is the current flat vector [adam.count] */
    struct adamw_config cfg;
};

/* A published version; fields are read-only. */
struct params_snapshot {
    uint64_t version;
    size_t count;
    uint8_t digest[HASH_XXH128_BYTES]; /* of the count floats, little-endian */
    float *flat;
};

/* Version 0: A and B by lora_init(seed), moments zero. */
MUST_USE enum err params_new(const struct model_shape *shape, const struct lora_config *lora,
                             uint64_t seed, const struct adamw_config *cfg, struct params **out);
/* count floats of zeros, for a checkpoint to fill. */
MUST_USE enum err params_new_empty(size_t count, const struct adamw_config *cfg,
                                   struct params **out);
void params_free(struct params **p);

/* Version n -> n + 1 with the step's gradient; *norm (may be NULL) is its norm before clipping. */
void params_step(struct params *p, const float *gradient, double lr, double *norm);

/* A copy of the current version with one reference, the caller's. */
MUST_USE enum err params_snapshot(const struct params *p, struct params_snapshot **out);
/* One more, published as `version`, whose floats are followed by n others. */
MUST_USE enum err params_snapshot_with(const struct params_snapshot *s, uint64_t version,
                                       const float *others, size_t n, struct params_snapshot **out);
struct params_snapshot *params_snapshot_hold(struct params_snapshot *s);
void params_snapshot_release(struct params_snapshot *s); /* the last one frees it */

#endif
