/* clock.h - the one reader of the monotonic clock. Shells read it once per loop turn and hand `now`
 * down; pure modules never call it. */
#ifndef PFT_CLOCK_H
#define PFT_CLOCK_H

#include <stdint.h>

/* Monotonic time in ns / ms since an arbitrary start; never 0, never goes back. Any thread. */
uint64_t clock_now_ns(void);
uint64_t clock_now_ms(void);

/* Stops this process until SIGCONT; the clock stands still meanwhile, so that nobody seems to have
 * been silent. Safe in a signal handler. */
void clock_pause(void);

#endif
