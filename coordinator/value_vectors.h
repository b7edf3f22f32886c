/* value_vectors.h - control vectors that stand for the values of a run: for the first value of an
 * axis its vectors are added behind the layers, for the second subtracted.
 * Owns: the numbers. Never: jobs. Blocks on the disk while it loads.
 *
 * The file is JSON: {"axes": {NAME: SPEC, ...}}, SPEC as --steer takes it (control_vector.h), its
 * path counted from the file's folder; other members are left alone.
 * A value is told by its code: 0 is none, value_vectors_code(axis, side) else. */
#ifndef PFT_VALUE_VECTORS_H
#define PFT_VALUE_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/tensor/shape.h"

struct values;
struct dataset;

struct value_vectors {
    size_t floats;                         /* layers * hidden */
    float *flat;                           /* by code from 1: [codes][floats] */
    uint8_t (*digests)[HASH_XXH128_BYTES]; /* [codes + 1], by code; that of 0 is not used */
};

static inline uint32_t value_vectors_code(uint32_t axis, uint32_t side)
{
    return 1 + 2 * axis + side;
}

/* The vectors of every axis that a scenario of `data` or of `more` (may be NULL) is about.
 * ERR_NOT_FOUND names an axis without one. */
MUST_USE enum err value_vectors_load(const char *path, const struct values *values,
                                     const struct dataset *data, const struct dataset *more,
                                     const struct model_shape *shape, struct value_vectors **out,
                                     struct errbuf *e);
/* [floats]; NULL for code 0. */
const float *value_vectors_of(const struct value_vectors *v, uint32_t code);
void value_vectors_free(struct value_vectors **v); /* NULL inside is fine */

#endif
