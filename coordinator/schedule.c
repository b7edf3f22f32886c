/* schedule.c - warm-up, then linear to zero. */
#include "coordinator/schedule.h"

uint64_t schedule_warmup(uint64_t steps)
{
    return (steps * 6 + 99) / 100;
}

double schedule_factor(const struct schedule *s, uint64_t step)
{
    uint64_t warmup = s->warmup < s->steps ? s->warmup : s->steps;
    if (step < warmup) {
        return (double)(step + 1) / (double)warmup;
    }
    if (step >= s->steps) {
        return 0.0;
    }
    return (double)(s->steps - step) / (double)(s->steps - warmup);
}
