/* adamw.c - the norm and the update, in reading order. Needs -ffp-contract=off (set for the whole
 * build): a fused multiply-add would round once where two roundings are written. */
#include "coordinator/adamw.h"

#include <math.h>

enum {
    NORM_BLOCK = 4096, /* elements summed in lanes before the tree starts */
    NORM_LANES = 8,
    NORM_LEVELS = 48, /* log2 of the largest number of blocks */
};

static double block_sum(const float *x, size_t n)
{
    double lane[NORM_LANES] = {0};
    size_t whole = n / NORM_LANES * NORM_LANES;
    for (size_t i = 0; i < whole; i += NORM_LANES) {
        for (size_t j = 0; j < NORM_LANES; j++) {
            double value = (double)x[i + j];
            lane[j] += value * value;
        }
    }
    for (size_t i = whole; i < n; i++) {
        double value = (double)x[i];
        lane[i - whole] += value * value;
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* Pairwise tree over the blocks, as a binary counter: level k holds the sum of 2^k blocks. */
double adamw_norm(const float *x, size_t count)
{
    double level[NORM_LEVELS];
    size_t blocks = 0;
    for (size_t at = 0; at < count; at += NORM_BLOCK) {
        size_t n = count - at < NORM_BLOCK ? count - at : NORM_BLOCK;
        double sum = block_sum(x + at, n);
        int k = 0;
        for (size_t bits = blocks; bits & 1; bits >>= 1) {
            sum = level[k++] + sum;
        }
        level[k] = sum;
        blocks++;
    }
    double total = 0.0;
    for (int k = 0; k < NORM_LEVELS && blocks >> k; k++) {
        if (blocks >> k & 1) {
            total = level[k] + total;
        }
    }
    return sqrt(total);
}

double adamw_step(const struct adamw_config *cfg, struct adamw_state *state, const float *g,
                  double lr)
{
    double norm = adamw_norm(g, state->count);
    double clip = 1.0;
    if (cfg->clip > 0.0) {
        double ratio = cfg->clip / (norm + 1e-6);
        clip = ratio < 1.0 ? ratio : 1.0;
    }
    state->beta1_t *= cfg->beta1;
    state->beta2_t *= cfg->beta2;
    const float scale = (float)clip;
    const float decay = (float)(1.0 - lr * cfg->weight_decay);
    const float take1 = (float)(1.0 - cfg->beta1);
    const float keep2 = (float)cfg->beta2;
    const float take2 = (float)(1.0 - cfg->beta2);
    const float size = (float)(lr / (1.0 - state->beta1_t));
    const float root = (float)sqrt(1.0 - state->beta2_t);
    const float eps = (float)cfg->eps;
    float *restrict p = state->p;
    float *restrict m = state->m;
    float *restrict v = state->v;
    for (size_t i = 0; i < state->count; i++) {
        float gi = g[i] * scale;
        float pi = p[i] * decay;
        m[i] = m[i] + take1 * (gi - m[i]);
        v[i] = v[i] * keep2 + take2 * (gi * gi);
        float denominator = sqrtf(v[i]) / root + eps;
        p[i] = pi - size * (m[i] / denominator);
    }
    return norm;
}
