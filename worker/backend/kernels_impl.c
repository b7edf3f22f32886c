/* kernels_impl.c - the kernels, compiled once per level (cmake/kernels.cmake) with
 * -DKERNELS_TABLE=kernels_<level> -DKERNELS_LEVEL=... and that level's -march; FMA contraction is
 * allowed in these objects only. What each does is said in kernels.h. */
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "worker/backend/kernels.h"
#include "worker/backend/kernels_gemm.h"
#include "worker/backend/kernels_lanes.h"

static inline float reciprocal_sqrt(float x)
{
    return 1.0f / __builtin_sqrtf(x);
}

LANES_INLINE void dot_block(struct lanes *sum, const float *a, const float *b)
{
    FOR_PARTS(k)
    {
        sum->part[k] += vec_load(a + k * VEC) * vec_load(b + k * VEC);
    }
}

static float dot(size_t n, const float *a, const float *b)
{
    struct lanes sum = lanes_of(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        dot_block(&sum, a + i, b + i);
    }
    if (i < n) {
        float rest[2][LANES];
        lanes_pad(rest[0], a + i, n - i, 0.0f);
        lanes_pad(rest[1], b + i, n - i, 0.0f);
        dot_block(&sum, rest[0], rest[1]);
    }
    return lanes_sum(&sum);
}

LANES_INLINE void dot3_block(struct lanes *sum, const float *a, const float *b, const float *c)
{
    FOR_PARTS(k)
    {
        sum->part[k] += vec_load(a + k * VEC) * vec_load(b + k * VEC) * vec_load(c + k * VEC);
    }
}

static float dot3(size_t n, const float *a, const float *b, const float *c)
{
    struct lanes sum = lanes_of(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        dot3_block(&sum, a + i, b + i, c + i);
    }
    if (i < n) {
        float rest[3][LANES];
        lanes_pad(rest[0], a + i, n - i, 0.0f);
        lanes_pad(rest[1], b + i, n - i, 0.0f);
        lanes_pad(rest[2], c + i, n - i, 0.0f);
        dot3_block(&sum, rest[0], rest[1], rest[2]);
    }
    return lanes_sum(&sum);
}

static void transpose(size_t rows, size_t cols, size_t ld, const float *src, float *dst)
{
    for (size_t row = 0; row < rows; row += LANES) {
        size_t n = rows - row < LANES ? rows - row : LANES;
        for (size_t col = 0; col < cols; col++) {
            for (size_t i = 0; i < n; i++) {
                dst[col * ld + row + i] = src[(row + i) * cols + col];
            }
        }
    }
}

static void rmsnorm(size_t rows, size_t cols, float eps, const float *x, const float *w, float *y,
                    float *rstd)
{
    for (size_t row = 0; row < rows; row++, x += cols, y += cols) {
        float scale = reciprocal_sqrt(dot(cols, x, x) / (float)cols + eps);
        rstd[row] = scale;
        for (size_t i = 0; i < cols; i++) {
            y[i] = x[i] * scale * w[i];
        }
    }
}

static void rmsnorm_backward(size_t rows, size_t cols, const float *x, const float *w,
                             const float *rstd, const float *dy, float *dx, int accumulate)
{
    for (size_t row = 0; row < rows; row++, x += cols, dy += cols, dx += cols) {
        float scale = rstd[row];
        float pull = dot3(cols, dy, w, x) / (float)cols * scale * scale * scale;
        if (accumulate) {
            for (size_t i = 0; i < cols; i++) {
                dx[i] += scale * (dy[i] * w[i]) - pull * x[i];
            }
        } else {
            for (size_t i = 0; i < cols; i++) {
                dx[i] = scale * (dy[i] * w[i]) - pull * x[i];
            }
        }
    }
}

/* One head forth (sign 1) or back (sign -1): pairs (i, i + E/2) turn by the position's angle. */
static inline void rotate(uint32_t half, const float *table, float sign, float scale,
                          const float *from, float *to)
{
    const float *cosine = table;
    const float *sine = table + half;
    for (uint32_t i = 0; i < half; i++) {
        float a = from[i] * scale;
        float b = from[i + half] * scale;
        float s = sign * sine[i];
        to[i] = a * cosine[i] - b * s;
        to[i + half] = b * cosine[i] + a * s;
    }
}

static void heads_split(const struct kernel_heads *h, const float *flat, float *packed)
{
    const uint32_t size = h->head_dim;
    for (uint32_t g = 0; g < h->groups; g++) {
        for (uint32_t row = 0; row < h->rows; row++) {
            const float *from = flat + row * h->ld + h->col + (size_t)g * h->per * size;
            for (uint32_t i = 0; i < h->per; i++, from += size, packed += size) {
                if (h->table) {
                    rotate(size / 2, h->table + (size_t)h->positions[row] * size, 1.0f, h->scale,
                           from, packed);
                    continue;
                }
                for (uint32_t c = 0; c < size; c++) {
                    packed[c] = from[c] * h->scale;
                }
            }
        }
    }
}

static void heads_merge(const struct kernel_heads *h, const float *packed, float *flat)
{
    const uint32_t size = h->head_dim;
    const float *row_scale = h->row_scale;
    for (uint32_t g = 0; g < h->groups; g++) {
        for (uint32_t row = 0; row < h->rows; row++) {
            float *to = flat + row * h->ld + h->col + (size_t)g * h->per * size;
            for (uint32_t i = 0; i < h->per; i++, to += size, packed += size) {
                float scale = row_scale ? h->scale * *row_scale++ : h->scale;
                if (h->table) {
                    rotate(size / 2, h->table + (size_t)h->positions[row] * size, -1.0f, scale,
                           packed, to);
                    continue;
                }
                for (uint32_t c = 0; c < size; c++) {
                    to[c] = packed[c] * scale;
                }
            }
        }
    }
}

static void heads_dot(const struct kernel_heads *h, const float *a, const float *b, float *dots)
{
    for (uint32_t g = 0; g < h->groups; g++) {
        for (uint32_t row = 0; row < h->rows; row++) {
            size_t at = row * h->ld + h->col + (size_t)g * h->per * h->head_dim;
            for (uint32_t i = 0; i < h->per; i++, at += h->head_dim) {
                *dots++ = dot(h->head_dim, a + at, b + at);
            }
        }
    }
}

static float row_most(size_t n, const float *x)
{
    struct lanes most = lanes_of(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        FOR_PARTS(k)
        {
            most.part[k] = vec_max(vec_load(x + i + k * VEC), most.part[k]);
        }
    }
    if (i < n) {
        float rest[LANES];
        lanes_pad(rest, x + i, n - i, -INFINITY);
        FOR_PARTS(k)
        {
            most.part[k] = vec_max(vec_load(rest + k * VEC), most.part[k]);
        }
    }
    return lanes_most(&most);
}

LANES_INLINE void exp_block(struct lanes *sum, float *x, float most)
{
    FOR_PARTS(k)
    {
        vec v = vec_exp(vec_load(x + k * VEC) - vec_of(most));
        vec_store(x + k * VEC, v);
        sum->part[k] += v;
    }
}

/* x -> exp(x - most); returns the sum. */
static float row_exp(size_t n, float *x, float most)
{
    struct lanes sum = lanes_of(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        exp_block(&sum, x + i, most);
    }
    if (i < n) {
        float rest[LANES];
        lanes_pad(rest, x + i, n - i, -INFINITY);
        exp_block(&sum, rest, most);
        memcpy(x + i, rest, (n - i) * sizeof *x);
    }
    return lanes_sum(&sum);
}

static void softmax(const struct kernel_softmax *b, float *s, float *most, float *inverse)
{
    for (uint32_t query = 0; query < b->queries; query++) {
        uint32_t seen = b->limits[query];
        for (uint32_t i = 0; i < b->per; i++, s += b->ld, most++, inverse++) {
            *most = row_most(seen, s);
            *inverse = 1.0f / row_exp(seen, s, *most);
            memset(s + seen, 0, (b->cols - seen) * sizeof *s);
        }
    }
}

struct softmax_row {
    float most, inverse, delta;
};

LANES_INLINE void softmax_block_backward(float *s, float *ds, const struct softmax_row *row)
{
    FOR_PARTS(k)
    {
        vec p = vec_exp(vec_load(s + k * VEC) - vec_of(row->most)) * vec_of(row->inverse);
        vec_store(s + k * VEC, p);
        vec_store(ds + k * VEC, p * (vec_load(ds + k * VEC) - vec_of(row->delta)));
    }
}

static void softmax_row_backward(size_t n, float *s, float *ds, const struct softmax_row *row)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        softmax_block_backward(s + i, ds + i, row);
    }
    if (i < n) {
        float rest[2][LANES];
        lanes_pad(rest[0], s + i, n - i, 0.0f);
        lanes_pad(rest[1], ds + i, n - i, 0.0f);
        softmax_block_backward(rest[0], rest[1], row);
        memcpy(s + i, rest[0], (n - i) * sizeof *s);
        memcpy(ds + i, rest[1], (n - i) * sizeof *ds);
    }
}

static void softmax_backward(const struct kernel_softmax *b, float *s, float *ds, const float *most,
                             const float *inverse, const float *delta)
{
    for (uint32_t query = 0; query < b->queries; query++) {
        uint32_t seen = b->limits[query];
        for (uint32_t i = 0; i < b->per; i++, s += b->ld, ds += b->ld) {
            const struct softmax_row row = {*most++, *inverse++, *delta++};
            softmax_row_backward(seen, s, ds, &row);
            memset(s + seen, 0, (b->cols - seen) * sizeof *s);
            memset(ds + seen, 0, (b->cols - seen) * sizeof *ds);
        }
    }
}

/* 1 / (1 + e^-x) */
LANES_INLINE vec sigmoid(vec x)
{
    return vec_of(1.0f) / (vec_of(1.0f) + vec_exp(-x));
}

LANES_INLINE void swiglu_block(const float *gate, const float *up, float *h)
{
    FOR_PARTS(k)
    {
        vec g = vec_load(gate + k * VEC);
        vec_store(h + k * VEC, g * sigmoid(g) * vec_load(up + k * VEC));
    }
}

static void swiglu(size_t rows, size_t cols, const float *gate_up, float *h)
{
    for (size_t row = 0; row < rows; row++, gate_up += 2 * cols, h += cols) {
        size_t i = 0;
        for (; i + LANES <= cols; i += LANES) {
            swiglu_block(gate_up + i, gate_up + cols + i, h + i);
        }
        if (i < cols) {
            float rest[3][LANES];
            lanes_pad(rest[0], gate_up + i, cols - i, 0.0f);
            lanes_pad(rest[1], gate_up + cols + i, cols - i, 0.0f);
            swiglu_block(rest[0], rest[1], rest[2]);
            memcpy(h + i, rest[2], (cols - i) * sizeof *h);
        }
    }
}

/* d silu(g) = sigma (1 + g (1 - sigma)) */
LANES_INLINE void swiglu_block_backward(float *gate, float *up, const float *dh)
{
    FOR_PARTS(k)
    {
        vec g = vec_load(gate + k * VEC);
        vec d = vec_load(dh + k * VEC);
        vec sigma = sigmoid(g);
        vec slope = sigma * (vec_of(1.0f) + g * (vec_of(1.0f) - sigma));
        vec_store(gate + k * VEC, d * vec_load(up + k * VEC) * slope);
        vec_store(up + k * VEC, d * (g * sigma));
    }
}

static void swiglu_backward(size_t rows, size_t cols, float *gate_up, const float *dh)
{
    for (size_t row = 0; row < rows; row++, gate_up += 2 * cols, dh += cols) {
        size_t i = 0;
        for (; i + LANES <= cols; i += LANES) {
            swiglu_block_backward(gate_up + i, gate_up + cols + i, dh + i);
        }
        if (i < cols) {
            size_t n = cols - i;
            float rest[3][LANES];
            lanes_pad(rest[0], gate_up + i, n, 0.0f);
            lanes_pad(rest[1], gate_up + cols + i, n, 0.0f);
            lanes_pad(rest[2], dh + i, n, 0.0f);
            swiglu_block_backward(rest[0], rest[1], rest[2]);
            memcpy(gate_up + i, rest[0], n * sizeof *gate_up);
            memcpy(gate_up + cols + i, rest[1], n * sizeof *gate_up);
        }
    }
}

static void scale_row(size_t n, float factor, float *x)
{
    for (size_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

static void head_block(const struct kernel_head_block *b, float *logits)
{
    for (uint32_t row = 0; row < b->rows; row++, logits += b->ld) {
        float most = row_most(b->cols, logits);
        if (most > b->most[row]) {
            float shrink = vec_exp_one(b->most[row] - most);
            b->most[row] = most;
            b->sum[row] *= shrink;
            if (b->mix && b->first > 0) {
                scale_row(b->hidden, shrink, b->mix + (size_t)row * b->hidden);
            }
        }
        /* exp(-inf) is exactly 0: the target takes no part. NaN stays visible through most. */
        uint32_t target = b->targets[row] - b->first;
        if (target < b->cols) {
            logits[target] = -INFINITY;
        }
        b->sum[row] += row_exp(b->cols, logits, b->most[row]);
    }
}

/* p - q = (ratio exp(l) - exp(b)) * inverse: exactly 0 where both are the same, fused or not. */
LANES_INLINE void anchor_lanes(struct lanes *kl, const struct kernel_anchor_row *row,
                               const float *base, float *logits)
{
    const vec scale = vec_of(row->weight) * vec_of(row->inverse);
    FOR_PARTS(k)
    {
        vec l = vec_load(logits + k * VEC) - vec_of(row->most);
        vec b = vec_load(base + k * VEC) - vec_of(row->base_most);
        vec e = vec_exp(b);
        kl->part[k] += e * vec_of(row->inverse) * (b - l + vec_of(row->between));
        vec_store(logits + k * VEC, (vec_exp(l) * vec_of(row->ratio) - e) * scale);
    }
}

static void anchor_block(uint32_t rows, uint32_t cols, const struct kernel_anchor_row *row,
                         const float *base, float *logits, float *kl)
{
    const float far = -1e30f; /* of no weight, and finite beside its like */
    for (uint32_t r = 0; r < rows; r++, row++, base += cols, logits += cols) {
        struct lanes sum = lanes_of(0.0f);
        size_t i = 0;
        for (; i + LANES <= cols; i += LANES) {
            anchor_lanes(&sum, row, base + i, logits + i);
        }
        if (i < cols) {
            float rest[2][LANES];
            lanes_pad(rest[0], base + i, cols - i, far);
            lanes_pad(rest[1], logits + i, cols - i, far);
            anchor_lanes(&sum, row, rest[0], rest[1]);
            memcpy(logits + i, rest[1], (cols - i) * sizeof *logits);
        }
        kl[r] += lanes_sum(&sum);
    }
}

static void pick(const struct kernel_head_block *b, const float *logits, size_t count,
                 const uint32_t *row, const uint32_t *target, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t at = target[i] - b->first;
        if (at < b->cols) {
            out[i] = logits[row[i] * b->ld + at];
        }
    }
}

static void gather_rows(size_t rows, size_t cols, const uint32_t *index, const float *src,
                        float *dst)
{
    for (size_t i = 0; i < rows; i++) {
        memcpy(dst + i * cols, src + (size_t)index[i] * cols, cols * sizeof *dst);
    }
}

static void add_row(size_t n, float factor, const float *src, float *dst)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] += factor * src[i];
    }
}

static void scatter_add_rows(size_t rows, size_t cols, const uint32_t *index, const float *src,
                             float *dst)
{
    for (size_t i = 0; i < rows; i++) {
        add_row(cols, 1.0f, src + i * cols, dst + (size_t)index[i] * cols);
    }
}

static void add_scaled_rows(size_t count, size_t cols, const uint32_t *row, const uint32_t *index,
                            const float *coefficient, const float *src, float *dst)
{
    for (size_t i = 0; i < count; i++) {
        add_row(cols, coefficient[i], src + (size_t)index[i] * cols, dst + (size_t)row[i] * cols);
    }
}

static void scale_rows(size_t rows, size_t cols, const float *factor, float *x)
{
    for (size_t row = 0; row < rows; row++) {
        scale_row(cols, factor[row], x + row * cols);
    }
}

static void dropout(size_t rows, size_t cols, const uint64_t *keys, uint64_t salt, float keep,
                    const float *src, float *dst, int accumulate)
{
    const float up = 1.0f / keep;
    for (size_t row = 0; row < rows; row++, src += cols, dst += cols) {
        uint64_t key = rng_at(keys[row], salt);
        for (size_t i = 0; i < cols; i++) {
            float kept = rng_unit(key, i) < keep ? src[i] * up : 0.0f;
            dst[i] = accumulate ? dst[i] + kept : kept;
        }
    }
}

static size_t first_refused(size_t n, const float *g)
{
    enum { CHUNK = 4096 };
    for (size_t start = 0; start < n; start += CHUNK) {
        size_t end = start + CHUNK < n ? start + CHUNK : n;
        int bad = 0;
        for (size_t i = start; i < end; i++) {
            bad |= !(__builtin_fabsf(g[i]) < 4096.0f);
        }
        for (size_t i = start; bad && i < end; i++) {
            if (!(__builtin_fabsf(g[i]) < 4096.0f)) {
                return i;
            }
        }
    }
    return n;
}

/* Adding and taking away 1.5 * 2^52 rounds |g * 2^40| < 2^51 to the nearest integer, ties to even;
 * what is larger is a multiple of 2^28 already and comes through unchanged. */
static double add_fixed(size_t n, const float *g, int64_t *sum)
{
    double squares[LANES] = {0};
    const double magic = 0x1.8p52;
    for (size_t start = 0; start < n; start += LANES) {
        size_t m = n - start < LANES ? n - start : LANES;
        double rounded[LANES] = {0};
        for (size_t i = 0; i < m; i++) {
            rounded[i] = (double)g[start + i] * 0x1p40 + magic - magic;
        }
        for (size_t i = 0; i < m; i++) {
            sum[start + i] += (int64_t)rounded[i];
        }
        for (size_t i = 0; i < LANES; i++) {
            squares[i] += rounded[i] * 0x1p-40 * (rounded[i] * 0x1p-40);
        }
    }
    for (size_t step = LANES / 2; step > 0; step /= 2) {
        for (size_t i = 0; i < step; i++) {
            squares[i] += squares[i + step];
        }
    }
    return squares[0];
}

static void to_bf16(size_t n, const float *x, uint16_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        uint32_t nan = (bits & 0x7fffffffu) > 0x7f800000u;
        out[i] = (uint16_t)(nan ? (bits >> 16 | 0x40u) : rounded);
    }
}

extern const struct kernels KERNELS_TABLE;
const struct kernels KERNELS_TABLE = {
    .level = KERNELS_LEVEL,
    .gemm = gemm,
    .transpose = transpose,
    .rmsnorm = rmsnorm,
    .rmsnorm_backward = rmsnorm_backward,
    .heads_split = heads_split,
    .heads_merge = heads_merge,
    .heads_dot = heads_dot,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .head_block = head_block,
    .anchor_block = anchor_block,
    .pick = pick,
    .gather_rows = gather_rows,
    .scatter_add_rows = scatter_add_rows,
    .add_scaled_rows = add_scaled_rows,
    .scale_rows = scale_rows,
    .dropout = dropout,
    .to_bf16 = to_bf16,
    .first_refused = first_refused,
    .add_fixed = add_fixed,
};
