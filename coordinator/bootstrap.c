/* bootstrap.c - shares of resampled scenarios. */
#include "coordinator/bootstrap.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

/* One scenario's part of both shares. */
struct cluster {
    double gain, weight;
    double gain_before, weight_before;
};

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double ratio(double gain, double weight)
{
    return weight > 0.0 ? gain / weight : 0.0;
}

static void add(struct cluster *sum, const struct cluster *c)
{
    sum->gain += c->gain;
    sum->weight += c->weight;
    sum->gain_before += c->gain_before;
    sum->weight_before += c->weight_before;
}

static double share_of(const struct cluster *sum)
{
    return ratio(sum->gain, sum->weight) - ratio(sum->gain_before, sum->weight_before);
}

static enum err resample(const struct cluster *clusters, uint32_t n, struct bootstrap_share *out)
{
    double *shares = mem_calloc(BOOTSTRAP_RESAMPLES, sizeof *shares);
    if (!shares) {
        return ERR_NOMEM;
    }
    struct cluster all = {0};
    for (uint32_t i = 0; i < n; i++) {
        add(&all, &clusters[i]);
    }
    out->share = share_of(&all);
    for (uint32_t r = 0; r < BOOTSTRAP_RESAMPLES; r++) {
        uint64_t key = rng_key(0, 0x626F6F74, r, n);
        struct cluster sum = {0};
        for (uint32_t i = 0; i < n; i++) {
            add(&sum, &clusters[rng_below(key, i, n)]);
        }
        shares[r] = share_of(&sum);
    }
    qsort(shares, BOOTSTRAP_RESAMPLES, sizeof *shares, by_value);
    out->lo = shares[BOOTSTRAP_RESAMPLES * 25 / 1000];
    out->hi = shares[BOOTSTRAP_RESAMPLES * 975 / 1000 - 1];
    mem_free(shares);
    return OK;
}

/* before may be NULL. */
static enum err estimate(const struct bootstrap_row *before, const struct bootstrap_row *rows,
                         uint32_t n, struct bootstrap_share *out)
{
    *out = (struct bootstrap_share){.n = n};
    struct cluster *clusters = mem_calloc(n, sizeof *clusters);
    if (!clusters) {
        return ERR_NOMEM;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += i == 0 || rows[i].cluster != rows[i - 1].cluster;
        const struct cluster one = {.gain = rows[i].gain,
                                    .weight = rows[i].weight,
                                    .gain_before = before ? before[i].gain : 0.0,
                                    .weight_before = before ? before[i].weight : 0.0};
        add(&clusters[count - 1], &one);
    }
    enum err error = count > 0 ? resample(clusters, count, out) : OK;
    mem_free(clusters);
    return error;
}

enum err bootstrap_share(const struct bootstrap_row *rows, uint32_t n, struct bootstrap_share *out)
{
    return estimate(NULL, rows, n, out);
}

enum err bootstrap_paired(const struct bootstrap_row *before, const struct bootstrap_row *after,
                          uint32_t n, struct bootstrap_share *out)
{
    for (uint32_t i = 0; i < n; i++) {
        CHECK(before[i].cluster == after[i].cluster);
    }
    return estimate(before, after, n, out);
}
