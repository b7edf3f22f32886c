/* reduce.h - the exact sum of a step: int64 sums of jobs in, one fp32 gradient out.
 * Owns: the accumulator and which units are in it. Never: decides whether a result is wanted
 * (queue) or believable (screen). Place: payload -> reduce -> params. One thread (the reducer) at a
 * time.
 *
 * Payload: count int64, little-endian, scale 2^40, A then B of each module in layer order (the
 * order of shape.h), the sum over the job's units; any alignment. Integer addition is associative:
 * order and grouping of results cannot change a bit. Bound, per element, of the result g' against
 * the exact sum g of the units' exact gradients: |g' - g| <= units * 2^-41 + 2^-24 |g'| the first
 * term from rounding each unit to fixed point (a half step each), the second from the one
 * conversion int64 -> fp32 (times 2^-40, which is exact). */
#ifndef PFT_REDUCE_H
#define PFT_REDUCE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"

struct reduce_job {
    uint32_t n_units;
    const uint32_t *units;  /* indices of the step's list */
    const int64_t *loss;    /* [n_units] at scale 2^40 */
    const uint32_t *labels; /* [n_units] */
    const void *payload;
    size_t bytes;
    uint8_t digest[HASH_XXH128_BYTES]; /* of the payload, as announced */
};

struct reduce_total {
    double loss;   /* sum of the units' losses, anchors left out: the step's loss */
    double anchor; /* sum of the anchors' losses */
    uint64_t labels;
    uint32_t units;
};

struct reduce;

/* count = floats of the LoRA vector. */
MUST_USE enum err reduce_new(size_t count, struct reduce **out);
void reduce_free(struct reduce **r);

/* Starts a step (or starts it again): everything zero, none of n_units counted; those from
 * first_anchor on are anchors. */
MUST_USE enum err reduce_begin(struct reduce *r, uint64_t step, uint32_t n_units,
                               uint32_t first_anchor);

/* Adds a job's sum, all or nothing. ERR_STALE another step; ERR_RANGE wrong size, unknown unit or
 * an element beyond n_units * 2^52; ERR_STATE a unit is counted already; ERR_CORRUPT other digest.
 */
MUST_USE enum err reduce_add(struct reduce *r, uint64_t step, const struct reduce_job *job);

/* The finished step: gradient[count] by the one conversion. ERR_STATE while a unit is missing. */
MUST_USE enum err reduce_finish(struct reduce *r, float *gradient, struct reduce_total *total);

#endif
