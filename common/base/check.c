/* check.c - what happens when a CHECK fails. */
#include "common/base/check.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BACKTRACE_FRAMES = 32 };

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    void *frames[BACKTRACE_FRAMES];
    (void)fprintf(stderr, "bug: CHECK(%s) failed at %s:%d\n", condition, file, line);
    int n = backtrace(frames, BACKTRACE_FRAMES);
    backtrace_symbols_fd(frames, n, STDERR_FILENO);
    abort();
}
