/* clock.c - the monotonic clock. */
#include "common/base/clock.h"

#include <time.h>

uint64_t clock_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + 1;
}

uint64_t clock_now_ms(void)
{
    return clock_now_ns() / 1000000u + 1;
}
