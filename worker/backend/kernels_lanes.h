/* kernels_lanes.h - vectors for kernels_impl.c alone. vec is one register of what -march offers (4,
 * 8 or 16 floats) as a GNU vector. What is done element by element does not care how wide it is;
 * sums and maxima run in struct lanes, 16 of them at every level, so that their order stays the
 * same. Work goes in blocks of 16 floats; the rest of a row goes through a padded block. */
#ifndef PFT_KERNELS_LANES_H
#define PFT_KERNELS_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VEC_BYTES 64
#elif defined(__AVX2__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif

enum { LANES = 16, VEC = VEC_BYTES / 4, PARTS = LANES / VEC };
typedef float vec __attribute__((vector_size(VEC_BYTES)));
typedef int32_t int_vec __attribute__((vector_size(VEC_BYTES)));

struct lanes {
    vec part[PARTS];
};

#define LANES_INLINE static inline __attribute__((always_inline))

/* The registers of a block of 16 floats, unrolled. */
#define FOR_PARTS(i) _Pragma("GCC unroll 4") for (size_t i = 0; i < PARTS; i++)

LANES_INLINE vec vec_of(float v)
{
    return v - (vec){0};
}

LANES_INLINE vec vec_load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE void vec_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n <= VEC floats of p and zeros behind them; nothing beyond is touched. */
LANES_INLINE vec vec_load_first(const float *p, size_t n)
{
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
    const int_vec lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    return (vec)_mm256_maskload_ps(p, (__m256i)(lanes < (int)n - (int_vec){0}));
#else
    vec v = {0};
    for (size_t i = 0; i < n; i++) {
        v[i] = p[i];
    }
    return v;
#endif
}

/* mask (all ones or zeros a lane) ? a : b */
LANES_INLINE vec vec_select(int_vec mask, vec a, vec b)
{
    return (vec)((mask & (int_vec)a) | (~mask & (int_vec)b));
}

/* b where a is NaN. */
LANES_INLINE vec vec_max(vec a, vec b)
{
    return vec_select(a > b, a, b);
}

LANES_INLINE struct lanes lanes_of(float v)
{
    struct lanes l;
    FOR_PARTS(i)
    {
        l.part[i] = vec_of(v);
    }
    return l;
}

/* A block of 16 with the first n < 16 floats of p, the rest fill. */
LANES_INLINE void lanes_pad(float block[LANES], const float *p, size_t n, float fill)
{
    for (size_t i = 0; i < LANES; i++) {
        block[i] = fill;
    }
    memcpy(block, p, n * sizeof *p);
}

/* Sum and maximum over the lanes, halving: (0+8, 1+9, ...), then by 4, 2, 1. */
LANES_INLINE float lanes_sum(const struct lanes *v)
{
    float a[LANES];
    memcpy(a, v, sizeof a);
    for (int step = LANES / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            a[i] += a[i + step];
        }
    }
    return a[0];
}

LANES_INLINE float lanes_most(const struct lanes *v)
{
    float a[LANES];
    memcpy(a, v, sizeof a);
    for (int step = LANES / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            a[i] = a[i] > a[i + step] ? a[i] : a[i + step];
        }
    }
    return a[0];
}

/* e^x, relative error below 2e-7 for x in [-87, 88]; 0 below, e^88 above, NaN stays NaN. x = n ln 2
 * + r with |r| <= ln 2 / 2; e^r = 1 + r + r^2 P(r), P of degree 4 (error 1.1e-8); then times 2^n.
 * Adding and taking away 1.5 * 2^23 rounds to the nearest integer, which stays in the low bits. */
LANES_INLINE vec vec_exp(vec x)
{
    const vec magic = vec_of(0x1.8p23f);
    const int_vec dead = x < vec_of(-87.0f);
    vec v = vec_select(x > vec_of(88.0f), vec_of(88.0f), x);
    v = vec_select(dead, vec_of(-87.0f), v);
    vec shifted = v * vec_of(0x1.715476p0f) + magic;
    vec n = shifted - magic;
    vec r = v - n * vec_of(0x1.62e4p-1f) - n * vec_of(0x1.7f7d1cp-20f);
    vec p = vec_of(0x1.6d117cp-10f) * r + vec_of(0x1.120be2p-7f);
    p = p * r + vec_of(0x1.555518p-5f);
    p = p * r + vec_of(0x1.5554dcp-3f);
    p = p * r + vec_of(0.5f);
    p = p * (r * r) + r + vec_of(1.0f);
    int_vec scale = ((int_vec)shifted - (int_vec)magic + 127) << 23;
    return (vec)((int_vec)(p * (vec)scale) & ~dead);
}

/* e^x of one number through the same path, so that it has the same bits. */
LANES_INLINE float vec_exp_one(float x)
{
    vec v = vec_exp(vec_of(x));
    return v[0];
}

#endif
