/* cpu.h - what this processor can run: the levels portable (0), x86-64-v3 (1: AVX2, FMA) and
 * x86-64-v4 (2: AVX-512 F, BW, CD, DQ, VL), and bf16 products. Owns: the names and the look at
 * cpuid. Never: chooses for a run (coordinator/setup.c does, once, when it is made). Pure but for
 * cpuid and the environment; never blocks; any thread. */
#ifndef PFT_CPU_H
#define PFT_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum { CPU_LEVELS = 3 };

/* "portable", "x86-64-v3", "x86-64-v4"; NULL from CPU_LEVELS on. */
const char *cpu_level_name(uint32_t level);

/* The level of that name; false when there is none. */
bool cpu_level_from(const char *name, uint32_t *level);

/* Whether this processor runs the level. */
bool cpu_runs(uint32_t level);

/* The best level that this processor runs. */
uint32_t cpu_best_level(void);

/* What `kernels: native` stands for: the best level, or the one that the environment variable
 * PFT_KERNELS names. ERR_USAGE where that is no level, ERR_UNSUPPORTED where it does not run here.
 */
MUST_USE enum err cpu_native_level(uint32_t *level, struct errbuf *e);

/* Whether this processor has AVX512_BF16. */
bool cpu_has_bf16(void);

#endif
