/* kernels_level.h - which instructions the arithmetic of a run uses: portable, x86-64-v3 (AVX2,
 * FMA) or x86-64-v4 (AVX-512). Owns: the names, what this CPU can run, the OpenBLAS core type that
 * goes with each level, and making sure that the library really uses it. Never: chooses by itself
 * at run time. A run's level is resolved once, when the run is made, and sent to every worker.
 *
 * OpenBLAS reads OPENBLAS_CORETYPE when it is loaded, before main. So a program calls
 * kernels_level_prepare first thing: where the environment says otherwise it is set and the program
 * re-executes itself; kernels_level_verify then asks the library what it took. */
#ifndef PFT_KERNELS_LEVEL_H
#define PFT_KERNELS_LEVEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum kernels_level {
    KERNELS_PORTABLE, /* any x86-64; OpenBLAS core Prescott */
    KERNELS_V3,       /* AVX2 and FMA; OpenBLAS core Haswell */
    KERNELS_V4,       /* AVX-512 F, BW, CD, DQ, VL; OpenBLAS core SkylakeX */
    KERNELS_LEVELS,
};

/* "portable", "x86-64-v3", "x86-64-v4"; never NULL. */
const char *kernels_level_name(enum kernels_level level);

/* The level of that name ("native" = the best this CPU can run); false when unknown. Pure but for
 * cpuid; never blocks. */
bool kernels_level_from(const char *name, enum kernels_level *level);

/* The best level this CPU and its operating system can run. */
enum kernels_level kernels_level_native(void);

/* Whether this CPU can run it. */
bool kernels_level_runs_here(enum kernels_level level);

/* "Prescott", "Haswell", "SkylakeX". */
const char *kernels_level_core_type(enum kernels_level level);

/* So many rows of one OpenBLAS product get the same bits wherever among them they stand (Haswell
 * sums the last ten of 16 rows in another order, those of 8 all alike): 8 or 16. */
uint32_t kernels_level_even_rows(enum kernels_level level);

/* Makes sure OpenBLAS was loaded with this level's core type and with no threads of its own.
 * Returns OK when the environment already says so; otherwise sets it and re-executes /proc/self/exe
 * with argv, once (a guard variable prevents loops). Call it first in main, before any thread or
 * socket exists. ERR_UNSUPPORTED: this CPU cannot run the level; the message names the setting that
 * would. */
MUST_USE enum err kernels_level_prepare(enum kernels_level level, char *const argv[],
                                        struct errbuf *e);

/* Asks OpenBLAS which core type it runs; ERR_STATE with both names when it is another one. */
MUST_USE enum err kernels_level_verify(enum kernels_level level, struct errbuf *e);

/* What OpenBLAS says it runs ("SkylakeX"), for the status and for messages. */
const char *kernels_level_loaded_core(void);

#endif
