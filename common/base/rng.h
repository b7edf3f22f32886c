/* rng.h - counter-based random numbers: a draw is a pure function of (key, counter), so it never
 * depends on who draws or when. The mix is SplitMix64's finaliser applied to both words; it is not
 * for secrets. Keys are made with rng_key from up to four numbers. Safe from any thread. */
#ifndef PFT_RNG_H
#define PFT_RNG_H

#include <stdint.h>

static inline uint64_t rng_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* 64 random bits for (key, counter). */
static inline uint64_t rng_at(uint64_t key, uint64_t counter)
{
    return rng_mix(rng_mix(key + 0x9E3779B97F4A7C15u) + counter * 0x9E3779B97F4A7C15u);
}

/* A key from a seed and three more numbers (purpose, step, item, ...). */
static inline uint64_t rng_key(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    return rng_at(rng_at(rng_at(seed, a), b), c);
}

/* Uniform in [0, 1) with 24 random bits: exact in fp32. */
static inline float rng_unit(uint64_t key, uint64_t counter)
{
    return (float)(rng_at(key, counter) >> 40) * 0x1p-24f;
}

/* Uniform in [0, bound), bound > 0; the bias of the multiply-shift is below bound / 2^64. */
static inline uint64_t rng_below(uint64_t key, uint64_t counter, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_at(key, counter) * bound) >> 64);
}

/* Fisher-Yates shuffle of n indices, a pure function of (key, n). */
void rng_shuffle(uint64_t key, uint32_t *items, uint32_t n);

#endif
