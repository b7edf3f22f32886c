/* readout.c - picks and bootstrap intervals. */
#include "coordinator/readout.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

static const char *const names[READOUTS] = {"likelihood", "lift", "contrast", "letter"};

const char *readout_name(enum readout r)
{
    return names[r];
}

int readout_from(const char *name)
{
    for (int i = 0; i < READOUTS; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

bool readout_needs(enum readout r, enum readout_side side)
{
    return r != READOUT_LETTER && (side != READOUT_NONE || r == READOUT_LIFT);
}

static double score(enum readout r, const struct readout_scores *s, enum readout_side side,
                    uint32_t option)
{
    enum readout_side opposite = side == READOUT_A ? READOUT_B : READOUT_A;
    if (r == READOUT_LETTER) {
        return s->letter[side][option];
    }
    double own = s->logp[side][option];
    if (r == READOUT_LIKELIHOOD) {
        return own / (double)s->tokens[option];
    }
    return own - s->logp[r == READOUT_LIFT ? READOUT_NONE : opposite][option];
}

uint32_t readout_pick(enum readout r, const struct readout_scores *s, enum readout_side side)
{
    CHECK(s->n_options > 0 && (side == READOUT_A || side == READOUT_B));
    uint32_t best = 0;
    double best_score = score(r, s, side, 0);
    for (uint32_t option = 1; option < s->n_options; option++) {
        double value = score(r, s, side, option);
        if (value > best_score) {
            best = option;
            best_score = value;
        }
    }
    return best;
}

/* One scenario's part of a share: gain is the sum of outcomes, count the questions. */
struct cluster {
    int32_t gain;
    uint32_t count;
};

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double ratio(int64_t gain, uint64_t count)
{
    return count > 0 ? (double)gain / (double)count : 0.0;
}

static enum err bootstrap(const struct cluster *clusters, uint32_t n_clusters,
                          struct readout_share *out)
{
    double *shares = mem_calloc(READOUT_RESAMPLES, sizeof *shares);
    if (!shares) {
        return ERR_NOMEM;
    }
    int64_t gain = 0;
    uint64_t count = 0;
    for (uint32_t i = 0; i < n_clusters; i++) {
        gain += clusters[i].gain;
        count += clusters[i].count;
    }
    out->n = (uint32_t)count;
    out->share = ratio(gain, count);
    for (uint32_t resample = 0; resample < READOUT_RESAMPLES; resample++) {
        uint64_t key = rng_key(0, 0x626F6F74, resample, n_clusters);
        gain = 0;
        count = 0;
        for (uint32_t i = 0; i < n_clusters; i++) {
            const struct cluster *c = &clusters[rng_below(key, i, n_clusters)];
            gain += c->gain;
            count += c->count;
        }
        shares[resample] = ratio(gain, count);
    }
    qsort(shares, READOUT_RESAMPLES, sizeof *shares, by_value);
    out->lo = shares[READOUT_RESAMPLES * 25 / 1000];
    out->hi = shares[READOUT_RESAMPLES * 975 / 1000 - 1];
    mem_free(shares);
    return OK;
}

/* outcome of question i: 0/1 alone, -1/0/1 as a difference. */
static int32_t outcome(const struct readout_question *before, const struct readout_question *q,
                       uint32_t i)
{
    return (int32_t)q[i].correct - (before ? (int32_t)before[i].correct : 0);
}

static enum err share_of(const struct readout_question *before, const struct readout_question *q,
                         uint32_t n, int axis, int side, struct readout_share *out)
{
    *out = (struct readout_share){0};
    struct cluster *clusters = mem_calloc(n, sizeof *clusters);
    if (!clusters) {
        return ERR_NOMEM;
    }
    uint32_t n_clusters = 0;
    uint32_t current = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (axis >= 0 && (q[i].axis != (uint32_t)axis || q[i].side != (uint32_t)side)) {
            continue;
        }
        if (n_clusters == 0 || q[i].scenario != current) {
            current = q[i].scenario;
            n_clusters++;
        }
        clusters[n_clusters - 1].gain += outcome(before, q, i);
        clusters[n_clusters - 1].count++;
    }
    enum err error = n_clusters > 0 ? bootstrap(clusters, n_clusters, out) : OK;
    mem_free(clusters);
    return error;
}

enum err readout_share(const struct readout_question *q, uint32_t n, int axis, int side,
                       struct readout_share *out)
{
    return share_of(NULL, q, n, axis, side, out);
}

enum err readout_paired(const struct readout_question *before, const struct readout_question *after,
                        uint32_t n, struct readout_share *out)
{
    for (uint32_t i = 0; i < n; i++) {
        CHECK(before[i].scenario == after[i].scenario && before[i].side == after[i].side);
    }
    return share_of(before, after, n, -1, 0, out);
}
