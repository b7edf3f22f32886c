/* cpu.c - levels of instructions by name and by cpuid. */
#include "common/base/cpu.h"

#include <stdlib.h>
#include <string.h>

#if !defined(__x86_64__) || !defined(__linux__)
#error "pft needs x86-64 Linux"
#endif

static const char *const names[CPU_LEVELS] = {"portable", "x86-64-v3", "x86-64-v4"};

const char *cpu_level_name(uint32_t level)
{
    return level < CPU_LEVELS ? names[level] : NULL;
}

bool cpu_level_from(const char *name, uint32_t *level)
{
    for (uint32_t i = 0; i < CPU_LEVELS; i++) {
        if (strcmp(name, names[i]) == 0) {
            *level = i;
            return true;
        }
    }
    return false;
}

bool cpu_runs(uint32_t level)
{
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    const bool runs[CPU_LEVELS] = {__builtin_cpu_supports("sse3") != 0, v3, v4};
    return level < CPU_LEVELS && runs[level];
}

uint32_t cpu_best_level(void)
{
    uint32_t level = CPU_LEVELS - 1;
    while (level > 0 && !cpu_runs(level)) {
        level--;
    }
    return level;
}

enum err cpu_native_level(uint32_t *level, struct errbuf *e)
{
    const char *asked = getenv("PFT_KERNELS");
    *level = cpu_best_level();
    if (!asked || asked[0] == '\0') {
        return OK;
    }
    const uint32_t best = *level;
    if (!cpu_level_from(asked, level)) {
        return err_set(
            e, ERR_USAGE,
            "PFT_KERNELS=%s in the environment: portable, x86-64-v3 or x86-64-v4 is needed; "
            "unset it for the best of this machine",
            asked);
    }
    if (!cpu_runs(*level)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "PFT_KERNELS=%s in the environment: this CPU runs up to %s", asked,
                       names[best]);
    }
    return OK;
}

bool cpu_has_bf16(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") != 0;
}
