/* kernels_level.c - levels, what the CPU can run, and the re-execution that OpenBLAS asks for. */
#include "worker/backend/kernels_level.h"

#include <cblas.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/cpu.h"

#define GUARD "PFT_KERNELS_PREPARED"

enum { PATH_BYTES = 4096 };

static const struct {
    const char *core;
    uint32_t even_rows;
} levels[KERNELS_LEVELS] = {
    [KERNELS_PORTABLE] = {"Prescott", 16},
    [KERNELS_V3] = {"Haswell", 8},
    [KERNELS_V4] = {"SkylakeX", 16},
};

_Static_assert(KERNELS_LEVELS == (int)CPU_LEVELS, "a level here is a level of cpu.h");

const char *kernels_level_name(enum kernels_level level)
{
    return cpu_level_name(level);
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
    return cpu_runs(level);
}

enum kernels_level kernels_level_native(void)
{
    return (enum kernels_level)cpu_best_level();
}

bool kernels_level_from(const char *name, enum kernels_level *level)
{
    uint32_t found = cpu_best_level();
    if (strcmp(name, "native") != 0 && !cpu_level_from(name, &found)) {
        return false;
    }
    *level = (enum kernels_level)found;
    return true;
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
                       kernels_level_name(level), kernels_level_name(kernels_level_native()));
    }
    if (env_is("OPENBLAS_CORETYPE", levels[level].core) && env_is("OPENBLAS_NUM_THREADS", "1")) {
        return OK;
    }
    if (env_is(GUARD, kernels_level_name(level))) {
        return err_set(e, ERR_STATE, "kernels: OPENBLAS_CORETYPE does not stay %s after setting it",
                       levels[level].core);
    }
    if (setenv("OPENBLAS_CORETYPE", levels[level].core, 1) != 0 ||
        setenv("OPENBLAS_NUM_THREADS", "1", 1) != 0 ||
        setenv(GUARD, kernels_level_name(level), 1) != 0) {
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
                       kernels_level_name(level), levels[level].core, core);
    }
    return OK;
}
