/* clock.c - the monotonic clock. */
#include "common/base/clock.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t paused_ns; /* that this process was stopped for, so far */

static uint64_t since_start_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + 1;
}

uint64_t clock_now_ns(void)
{
    return since_start_ns() - paused_ns;
}

void clock_pause(void)
{
    const uint64_t begin = since_start_ns();
    (void)kill(getpid(), SIGSTOP);
    paused_ns += since_start_ns() - begin;
}

uint64_t clock_now_ms(void)
{
    return clock_now_ns() / 1000000u + 1;
}
