/* kernels.h - everything that is no matrix product, on plain host memory: one table per level, the
 * same source (kernels_impl.c) compiled with other -march settings.
 * Never: allocates, reads cpuid, calls libm. Reductions run in 16 lanes combined in one fixed tree
 * at every level, so that levels differ by FMA contraction alone. Safe from any thread.
 * Letters: rows x cols, row-major, dense unless a leading dimension ld is given.
 *
 * Packed heads: [groups][rows][per][E], the query heads of a kv head side by side, so that a block
 * of rows of one group is one dense matrix [rows * per, E]. Flat heads: [rows, ld] with head
 * (g * per + h) at column col + (g * per + h) * E. */
#ifndef PFT_KERNELS_H
#define PFT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/backend/kernels_level.h"

struct kernel_heads {
    uint32_t rows, groups, per, head_dim;
    size_t ld, col;            /* of the flat side */
    const float *table;        /* RoPE: [positions][E/2 cos, E/2 sin]; NULL = no rotation */
    const uint32_t *positions; /* [rows] */
    float scale;               /* of every element */
    const float *row_scale;    /* [groups][rows][per], merge only; NULL = 1 */
};

struct kernel_softmax {
    uint32_t queries, per, cols;
    size_t ld;
    const uint32_t *limits; /* [queries]: a query sees columns 0..limit-1 */
};

struct kernel_head_block {
    uint32_t rows, cols, first; /* vocabulary entries first .. first + cols - 1 */
    uint32_t hidden;
    size_t ld;
    const uint32_t *targets; /* [rows] the entry that is left out of sum and weights */
    float *most, *sum;       /* [rows] running maximum; sum of exp(l - most) without the target */
    float *mix;              /* [rows, hidden] running sum of exp(l - most) W, rescaled; or NULL */
};

/* A row whose distribution p is held near a base q; l, b: logits of p, of q. Sums are of exp(l -
 * most) over the vocabulary. */
struct kernel_anchor_row {
    float most, base_most;
    float inverse; /* 1 / the base's sum */
    float ratio;   /* the base's sum / the other */
    float between; /* log(q / p) = (b - base_most) - (l - most) + between */
    float weight;
};
enum { KERNEL_ANCHOR_WORDS = sizeof(struct kernel_anchor_row) / sizeof(float) };

/* A(i, k) = a[i * a_row + k * a_col]; b and c row-major. */
struct kernel_gemm {
    uint32_t m, n, k;
    size_t a_row, a_col, ldb, ldc;
    float alpha;
    bool onto; /* add to c */
};

struct kernels {
    enum kernels_level level;
    /* c [m, n] (+)= alpha A b, A [m, k], b [k, n]: each element a sum over k in order, so its bits
     * depend on nothing else. For thin and small products. */
    void (*gemm)(const struct kernel_gemm *g, const float *a, const float *b, float *c);
    /* src [rows, cols] -> dst [cols, ld], ld >= rows. */
    void (*transpose)(size_t rows, size_t cols, size_t ld, const float *src, float *dst);
    /* y = x * rstd * w, rstd[row] = 1 / sqrt(mean x^2 + eps). */
    void (*rmsnorm)(size_t rows, size_t cols, float eps, const float *x, const float *w, float *y,
                    float *rstd);
    /* dx (+)= gradient of rmsnorm. */
    void (*rmsnorm_backward)(size_t rows, size_t cols, const float *x, const float *w,
                             const float *rstd, const float *dy, float *dx, int accumulate);
    /* flat -> packed with rotation by position; packed -> flat with the rotation undone. */
    void (*heads_split)(const struct kernel_heads *h, const float *flat, float *packed);
    void (*heads_merge)(const struct kernel_heads *h, const float *packed, float *flat);
    /* dots[g][row][h] = sum over E of a * b, both flat. */
    void (*heads_dot)(const struct kernel_heads *h, const float *a, const float *b, float *dots);
    /* s -> exp(s - max) over the visible columns, 0 beyond; most[query*per], inverse = 1 / sum. */
    void (*softmax)(const struct kernel_softmax *b, float *s, float *most, float *inverse);
    /* s -> p = exp(s - most) * inverse, 0 beyond; ds -> p * (ds - delta). */
    void (*softmax_backward)(const struct kernel_softmax *b, float *s, float *ds, const float *most,
                             const float *inverse, const float *delta);
    /* gate_up [rows, 2 cols] -> h = silu(gate) * up. */
    void (*swiglu)(size_t rows, size_t cols, const float *gate_up, float *h);
    /* gate_up -> its gradient, in place. */
    void (*swiglu_backward)(size_t rows, size_t cols, float *gate_up, const float *dh);
    /* One block of the vocabulary: logits -> exp(l - most) with the target's entry 0; updates most,
     * sum and mix for the new maximum. */
    void (*head_block)(const struct kernel_head_block *b, float *logits);
    /* One block of the vocabulary, both [rows, cols]: logits -> weight * (p - q); kl[row] += sum of
     * q log(q / p). */
    void (*anchor_block)(uint32_t rows, uint32_t cols, const struct kernel_anchor_row *row,
                         const float *base, float *logits, float *kl);
    /* out[i] = logits[row[i]][target[i] - first] for the targets within this block. */
    void (*pick)(const struct kernel_head_block *b, const float *logits, size_t count,
                 const uint32_t *row, const uint32_t *target, float *out);
    /* dst[i] = src[index[i]]; dst[index[i]] += src[i]. */
    void (*gather_rows)(size_t rows, size_t cols, const uint32_t *index, const float *src,
                        float *dst);
    void (*scatter_add_rows)(size_t rows, size_t cols, const uint32_t *index, const float *src,
                             float *dst);
    /* dst[row[i]] += coefficient[i] * src[index[i]], i in order. */
    void (*add_scaled_rows)(size_t count, size_t cols, const uint32_t *row, const uint32_t *index,
                            const float *coefficient, const float *src, float *dst);
    /* Each row times its factor. */
    void (*scale_rows)(size_t rows, size_t cols, const float *factor, float *x);
    /* dst (+)= src where kept / keep, 0 where dropped. The draw of (row, col) depends on keys[row],
     * salt and col alone. */
    void (*dropout)(size_t rows, size_t cols, const uint64_t *keys, uint64_t salt, float keep,
                    const float *src, float *dst, int accumulate);
    /* bfloat16 nearest to x, ties to even; NaN stays NaN. */
    void (*to_bf16)(size_t n, const float *x, uint16_t *out);
    /* Index of the first element that is NaN or not below 2^12 in magnitude; n when all are fine.
     */
    size_t (*first_refused)(size_t n, const float *g);
    /* sum[i] += round(g[i] * 2^40); returns the sum of squares of the rounded values. */
    double (*add_fixed)(size_t n, const float *g, int64_t *sum);
};

/* The table of a level; the CPU must be able to run it (kernels_level_runs_here). */
const struct kernels *kernels_of(enum kernels_level level);

extern const struct kernels kernels_portable, kernels_v3, kernels_v4;

#endif
