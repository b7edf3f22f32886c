/* kernels_level.c - levels, what the CPU can run, and the re-execution that OpenBLAS asks for. */
#include "worker/backend/kernels_level.h"

#include <cblas.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define GUARD "PFT_KERNELS_PREPARED"

enum { PATH_BYTES = 4096 };

static const struct {
    const char *name, *core;
    uint32_t even_rows;
} levels[KERNELS_LEVELS] = {
    [KERNELS_PORTABLE] = {"portable", "Prescott", 16},
    [KERNELS_V3] = {"x86-64-v3", "Haswell", 8},
    [KERNELS_V4] = {"x86-64-v4", "SkylakeX", 16},
};

const char *kernels_level_name(enum kernels_level level)
{
    return levels[level].name;
}

const char *kernels_level_core_type(enum kernels_level level)
{
    return levels[level].core;
}

uint32_t kernels_level_even_rows(enum kernels_level level)
{
    return levels[level].even_rows;
}

bool kernels_level_runs_here(enum kernels_level level)
{
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    switch (level) {
    case KERNELS_PORTABLE:
        return __builtin_cpu_supports("sse3") != 0;
    case KERNELS_V3:
        return v3;
    case KERNELS_V4:
        return v4;
    case KERNELS_LEVELS:
    default:
        return false;
    }
}

enum kernels_level kernels_level_native(void)
{
    return kernels_level_runs_here(KERNELS_V4)   ? KERNELS_V4
           : kernels_level_runs_here(KERNELS_V3) ? KERNELS_V3
                                                 : KERNELS_PORTABLE;
}

bool kernels_level_from(const char *name, enum kernels_level *level)
{
    if (strcmp(name, "native") == 0) {
        *level = kernels_level_native();
        return true;
    }
    for (int i = 0; i < KERNELS_LEVELS; i++) {
        if (strcmp(name, levels[i].name) == 0) {
            *level = (enum kernels_level)i;
            return true;
        }
    }
    return false;
}

static bool env_is(const char *name, const char *value)
{
    const char *now = getenv(name);
    return now && strcmp(now, value) == 0;
}

enum err kernels_level_prepare(enum kernels_level level, char *const argv[], struct errbuf *e)
{
    if (!kernels_level_runs_here(level)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "kernels: this CPU cannot run %s; 'kernels: %s' in the run's config would "
                       "admit it",
                       levels[level].name, levels[kernels_level_native()].name);
    }
    if (env_is("OPENBLAS_CORETYPE", levels[level].core) && env_is("OPENBLAS_NUM_THREADS", "1")) {
        return OK;
    }
    if (env_is(GUARD, levels[level].name)) {
        return err_set(e, ERR_STATE, "kernels: OPENBLAS_CORETYPE does not stay %s after setting it",
                       levels[level].core);
    }
    if (setenv("OPENBLAS_CORETYPE", levels[level].core, 1) != 0 ||
        setenv("OPENBLAS_NUM_THREADS", "1", 1) != 0 || setenv(GUARD, levels[level].name, 1) != 0) {
        return err_set(e, ERR_NOMEM, "kernels: no memory for the environment");
    }
    /* By its real path, so that ps and top show the program's name. */
    char self[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return err_set(e, ERR_IO, "kernels: /proc/self/exe: %s", strerror(errno));
    }
    self[n] = '\0';
    (void)execv(self, argv);
    return err_set(e, err_from_errno(errno), "kernels: cannot re-execute %s: %s", self,
                   strerror(errno));
}

const char *kernels_level_loaded_core(void)
{
    return openblas_get_corename();
}

enum err kernels_level_verify(enum kernels_level level, struct errbuf *e)
{
    const char *core = openblas_get_corename();
    if (strcasecmp(core, levels[level].core) != 0) {
        return err_set(e, ERR_STATE,
                       "kernels: %s needs OpenBLAS's core type %s, the library runs %s (it is set "
                       "by OPENBLAS_CORETYPE before the program starts)",
                       levels[level].name, levels[level].core, core);
    }
    return OK;
}
