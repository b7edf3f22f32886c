/* utilisation.h - which share of the wall time a worker's slots compute, over the last 30 s.
 * Owns: a window of what the worker says it has computed in all. Never: a clock, a worker's state.
 * Place: roster notes every heartbeat, the status asks. Pure; loop thread. */
#ifndef PFT_UTILISATION_H
#define PFT_UTILISATION_H

#include <stdint.h>

enum { UTILISATION_SAMPLES = 32 };
#define UTILISATION_WINDOW_NS 30000000000ull
#define UTILISATION_SAMPLE_NS 1000000000ull /* the least between two samples */

struct utilisation {
    struct utilisation_sample {
        uint64_t at_ns, computed_ms;
    } samples[UTILISATION_SAMPLES]; /* a ring */
    uint32_t first, count;
};

/* Computing of all slots together, in ms since the worker started. A smaller number than before is
 * a worker that began again: so does the window. */
void utilisation_note(struct utilisation *u, uint64_t computed_ms, uint64_t now_ns);

/* Adds the window's computing and slots * wall, in seconds; nothing before the second sample. */
void utilisation_add(const struct utilisation *u, uint32_t slots, double *computed_s,
                     double *wall_s);

/* computed / wall, 0 to 1; NaN while wall is 0. */
double utilisation_share(double computed_s, double wall_s);

#endif
