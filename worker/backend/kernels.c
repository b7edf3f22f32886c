/* kernels.c - picks the table of a level: the run's setting decides, never the CPU at hand. */
#include "worker/backend/kernels.h"

#include "common/base/check.h"

const struct kernels *kernels_of(enum kernels_level level)
{
    CHECK(kernels_level_runs_here(level));
    switch (level) {
    case KERNELS_V4:
        return &kernels_v4;
    case KERNELS_V3:
        return &kernels_v3;
    case KERNELS_PORTABLE:
    case KERNELS_LEVELS:
    default:
        return &kernels_portable;
    }
}
