/* reduce.c - add, convert. Sums wrap only if a caller breaks the limits, which static asserts in
 * limits.h exclude; unsigned arithmetic keeps even that defined. */
#include "coordinator/reduce.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "payloads are added as they lie");

enum { BOUND_SHIFT = LIMIT_FIXED_POINT_SHIFT + LIMIT_GRADIENT_BITS };

struct reduce {
    size_t count;
    int64_t *sum; /* [count] */
    uint64_t step;
    uint32_t n_units, n_counted;
    uint64_t counted[(LIMIT_STEP_UNITS + 63) / 64]; /* a bit per unit */
    uint32_t first_anchor;
    int64_t loss, anchor;
    uint64_t labels;
};

enum err reduce_new(size_t count, struct reduce **out)
{
    struct reduce *r = mem_calloc(1, sizeof *r);
    int64_t *sum = r ? mem_aligned(count, sizeof *sum) : NULL;
    if (!sum) {
        mem_free(r);
        return ERR_NOMEM;
    }
    r->count = count;
    r->sum = sum;
    *out = r;
    return OK;
}

void reduce_free(struct reduce **r)
{
    if (*r) {
        mem_free((*r)->sum);
        mem_free(*r);
        *r = NULL;
    }
}

enum err reduce_begin(struct reduce *r, uint64_t step, uint32_t n_units, uint32_t first_anchor)
{
    if (n_units == 0 || n_units > LIMIT_STEP_UNITS) {
        return ERR_RANGE;
    }
    memset(r->sum, 0, r->count * sizeof *r->sum);
    memset(r->counted, 0, sizeof r->counted);
    r->step = step;
    r->n_units = n_units;
    r->n_counted = 0;
    r->first_anchor = first_anchor;
    r->loss = r->anchor = 0;
    r->labels = 0;
    return OK;
}

static int is_counted(const struct reduce *r, uint32_t unit)
{
    return r->counted[unit / 64] >> (unit % 64) & 1;
}

static enum err check_units(const struct reduce *r, const struct reduce_job *job)
{
    if (job->n_units == 0 || job->bytes != r->count * sizeof(int64_t)) {
        return ERR_RANGE;
    }
    for (uint32_t i = 0; i < job->n_units; i++) {
        uint32_t unit = job->units[i];
        if (unit >= r->n_units) {
            return ERR_RANGE;
        }
        if (is_counted(r, unit)) {
            return ERR_STATE;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (job->units[j] == unit) {
                return ERR_STATE;
            }
        }
    }
    return OK;
}

/* Whether every element lies in +-n_units * 2^52; one pass without branches. */
static int within_bound(const unsigned char *payload, size_t count, uint32_t n_units)
{
    const uint64_t bound = (uint64_t)n_units << BOUND_SHIFT;
    uint64_t beyond = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t v;
        memcpy(&v, payload + i * sizeof v, sizeof v);
        beyond |= (uint64_t)(v + bound > 2 * bound);
    }
    return beyond == 0;
}

static void add_all(uint64_t *restrict sum, const unsigned char *restrict payload, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t v;
        memcpy(&v, payload + i * sizeof v, sizeof v);
        sum[i] += v;
    }
}

enum err reduce_add(struct reduce *r, uint64_t step, const struct reduce_job *job)
{
    if (step != r->step || r->n_units == 0) {
        return ERR_STALE;
    }
    enum err error = check_units(r, job);
    if (error != OK) {
        return error;
    }
    uint8_t digest[HASH_XXH128_BYTES];
    hash_xxh128(job->payload, job->bytes, digest);
    if (memcmp(digest, job->digest, sizeof digest) != 0) {
        return ERR_CORRUPT;
    }
    if (!within_bound(job->payload, r->count, job->n_units)) {
        return ERR_RANGE;
    }
    add_all((uint64_t *)r->sum, job->payload, r->count);
    for (uint32_t i = 0; i < job->n_units; i++) {
        uint32_t unit = job->units[i];
        r->counted[unit / 64] |= (uint64_t)1 << (unit % 64);
        int64_t *loss = unit < r->first_anchor ? &r->loss : &r->anchor;
        *loss = (int64_t)((uint64_t)*loss + (uint64_t)job->loss[i]);
        r->labels += job->labels[i];
    }
    r->n_counted += job->n_units;
    return OK;
}

enum err reduce_finish(struct reduce *r, float *gradient, struct reduce_total *total)
{
    if (r->n_units == 0 || r->n_counted != r->n_units) {
        return ERR_STATE;
    }
    for (size_t i = 0; i < r->count; i++) {
        gradient[i] = (float)r->sum[i] * 0x1p-40f;
    }
    *total = (struct reduce_total){.loss = (double)r->loss * 0x1p-40,
                                   .anchor = (double)r->anchor * 0x1p-40,
                                   .labels = r->labels,
                                   .units = r->n_units};
    return OK;
}
