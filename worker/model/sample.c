/* sample.c - mixing, cutting off and drawing. */
#include "worker/model/sample.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/rng.h"
#include "worker/model/exact_math.h"

enum { KEY_SAMPLE = 0x53616D70 };
#define IMPOSSIBLE 40.0 /* temperatures below the best */

static enum err mix(const float *const *logits, const float *weights, uint32_t branches,
                    uint32_t vocab, struct sample_candidate *out, uint32_t *best)
{
    *best = 0;
    for (uint32_t t = 0; t < vocab; t++) {
        double z = 0.0;
        for (uint32_t b = 0; b < branches; b++) {
            z += (double)weights[b] * (double)logits[b][t];
        }
        if (!isfinite(z)) {
            return ERR_RANGE;
        }
        out[t] = (struct sample_candidate){z, t};
        *best = z > out[*best].z ? t : *best;
    }
    return OK;
}

static int compare(const void *a, const void *b)
{
    const struct sample_candidate *x = a;
    const struct sample_candidate *y = b;
    if (x->z != y->z) {
        return x->z < y->z ? 1 : -1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

/* Keeps the possible ones, z becoming what they weigh; *sum of it. */
static uint32_t weigh(struct sample_candidate *c, uint32_t n, double most, double temperature,
                      double *sum)
{
    uint32_t kept = 0;
    *sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double below = (c[i].z - most) / temperature;
        if (below >= -IMPOSSIBLE) {
            c[kept] = (struct sample_candidate){exact_exp(below), c[i].id};
            *sum += c[kept++].z;
        }
    }
    return kept;
}

/* The likeliest that together have the share top_p of the sum. */
static uint32_t cut(struct sample_candidate *c, uint32_t n, double top_p, double *sum)
{
    double wanted = top_p * *sum;
    uint32_t kept = 0;
    qsort(c, n, sizeof *c, compare);
    *sum = 0.0;
    while (kept < n && (kept == 0 || *sum < wanted)) {
        *sum += c[kept++].z;
    }
    return kept;
}

enum err sample_next(const float *const *logits, const float *weights, uint32_t branches,
                     uint32_t vocab, const struct answer_request *request, uint32_t index,
                     struct sample_candidate *room, uint32_t *token)
{
    uint32_t best;
    double sum;
    enum err error = mix(logits, weights, branches, vocab, room, &best);
    if (error != OK) {
        return error;
    }
    *token = best;
    if (!(request->temperature > 0.0f)) {
        return OK;
    }
    uint32_t n = weigh(room, vocab, room[best].z, (double)request->temperature, &sum);
    if (request->top_p < 1.0f) {
        n = cut(room, n, (double)request->top_p, &sum);
    }
    const uint64_t key = rng_key(request->seed, KEY_SAMPLE, 0, 0);
    const double draw = (double)(rng_at(key, index) >> 11) * 0x1p-53 * sum;
    double upto = 0.0;
    for (uint32_t i = 0; i < n; i++) { /* the last one takes what rounding leaves */
        upto += room[i].z;
        *token = room[i].id;
        if (draw < upto) {
            break;
        }
    }
    return OK;
}
