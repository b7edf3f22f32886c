/* kernels_lanes.h - 16 floats at a time, for kernels_impl.c alone. GNU vectors of 64 bytes: the
 * compiler lowers them to what -march offers, the order of every sum stays the same. */
#ifndef PFT_KERNELS_LANES_H
#define PFT_KERNELS_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(64)));
typedef int32_t int_lanes __attribute__((vector_size(64)));
typedef double half_lanes __attribute__((vector_size(64))); /* 8 doubles */
typedef int64_t half_int_lanes __attribute__((vector_size(64)));

#define LANES_INLINE static inline __attribute__((always_inline))

LANES_INLINE lanes lanes_of(float v)
{
    return (lanes){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v};
}

LANES_INLINE lanes lanes_load(const float *p)
{
    lanes v;
    memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE void lanes_store(float *p, lanes v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n < 16 floats; the rest is fill. */
LANES_INLINE lanes lanes_load_part(const float *p, size_t n, float fill)
{
    lanes v = lanes_of(fill);
    memcpy(&v, p, n * sizeof *p);
    return v;
}

LANES_INLINE void lanes_store_part(float *p, lanes v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}

/* mask (all ones or zeros a lane) ? a : b */
LANES_INLINE lanes lanes_select(int_lanes mask, lanes a, lanes b)
{
    return (lanes)((mask & (int_lanes)a) | (~mask & (int_lanes)b));
}

LANES_INLINE lanes lanes_max(lanes a, lanes b)
{
    return lanes_select(a > b, a, b);
}

/* Sum and maximum over the lanes, halving: (0+8, 1+9, ...), then by 4, 2, 1. */
LANES_INLINE float lanes_sum(lanes v)
{
    float a[LANES];
    memcpy(a, &v, sizeof a);
    for (int step = LANES / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            a[i] += a[i + step];
        }
    }
    return a[0];
}

LANES_INLINE float lanes_most(lanes v)
{
    float a[LANES];
    memcpy(a, &v, sizeof a);
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
LANES_INLINE lanes lanes_exp(lanes x)
{
    const lanes magic = lanes_of(0x1.8p23f);
    const int_lanes dead = x < lanes_of(-87.0f);
    lanes v = lanes_select(x > lanes_of(88.0f), lanes_of(88.0f), x);
    v = lanes_select(dead, lanes_of(-87.0f), v);
    lanes shifted = v * lanes_of(0x1.715476p0f) + magic;
    lanes n = shifted - magic;
    lanes r = v - n * lanes_of(0x1.62e4p-1f) - n * lanes_of(0x1.7f7d1cp-20f);
    lanes p = lanes_of(0x1.6d117cp-10f) * r + lanes_of(0x1.120be2p-7f);
    p = p * r + lanes_of(0x1.555518p-5f);
    p = p * r + lanes_of(0x1.5554dcp-3f);
    p = p * r + lanes_of(0.5f);
    p = p * (r * r) + r + lanes_of(1.0f);
    int_lanes scale = ((int_lanes)shifted - (int_lanes)magic + 127) << 23;
    return (lanes)((int_lanes)(p * (lanes)scale) & ~dead);
}

/* e^x of one number through the same path, so that it has the same bits. */
LANES_INLINE float lanes_exp_one(float x)
{
    lanes v = lanes_exp(lanes_of(x));
    return v[0];
}

#endif
