/* test_level.h - the kernels that a test runs on: this machine's best, or those that
 * PFT_TEST_KERNELS names, so that ctest asks the same of every level. */
#ifndef PFT_TEST_LEVEL_H
#define PFT_TEST_LEVEL_H

#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "worker/backend/kernels_level.h"

enum { TEST_SKIPPED = 77 };

static inline enum kernels_level test_level(void)
{
    const char *name = getenv("PFT_TEST_KERNELS");
    enum kernels_level level = KERNELS_PORTABLE;
    CHECK(kernels_level_from(name ? name : "native", &level));
    return level;
}

/* First thing in main, which returns the result unless it is 0; may run the program anew. */
static inline int test_level_prepare(char **argv)
{
    struct errbuf e = {0};
    if (!kernels_level_runs_here(test_level())) {
        (void)fprintf(stderr, "skipped: this CPU does not run %s\n",
                      kernels_level_name(test_level()));
        return TEST_SKIPPED;
    }
    if (kernels_level_prepare(test_level(), argv, &e) != OK) {
        (void)fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    (void)fprintf(stderr, "kernels %s, OpenBLAS %s\n", kernels_level_name(test_level()),
                  kernels_level_loaded_core());
    return 0;
}

#endif
