/* schedule.h - the learning-rate factor of a step: warm-up, then linear to zero (PAPER.md recipe).
 *     factor(s) = (s + 1) / W            for s < W
 *                 (T - s) / (T - W)      after
 * T steps in all, W warm-up steps. Only integers and one division: the same bits everywhere. Pure.
 * The paper's own schedule is the same with W = 100; W is clamped to T. */
#ifndef PFT_SCHEDULE_H
#define PFT_SCHEDULE_H

#include <stdint.h>

struct schedule {
    uint64_t steps;  /* T */
    uint64_t warmup; /* W */
};

/* W = ceil(0.06 T), by integers. */
uint64_t schedule_warmup(uint64_t steps);
double schedule_factor(const struct schedule *s, uint64_t step);

#endif
