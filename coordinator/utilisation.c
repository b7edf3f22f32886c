/* utilisation.c - a ring of samples, the newest replaced while it is too close to the one before.
 */
#include "coordinator/utilisation.h"

#include <math.h>

static struct utilisation_sample *at(struct utilisation *u, uint32_t i)
{
    return &u->samples[(u->first + i) % UTILISATION_SAMPLES];
}

void utilisation_note(struct utilisation *u, uint64_t computed_ms, uint64_t now_ns)
{
    const struct utilisation_sample sample = {now_ns, computed_ms};
    if (u->count > 0 && computed_ms < at(u, u->count - 1)->computed_ms) {
        u->count = 0;
    }
    if (u->count > 1 &&
        at(u, u->count - 1)->at_ns - at(u, u->count - 2)->at_ns < UTILISATION_SAMPLE_NS) {
        *at(u, u->count - 1) = sample;
        return;
    }
    while (u->count == UTILISATION_SAMPLES ||
           (u->count > 1 && now_ns - at(u, 1)->at_ns >= UTILISATION_WINDOW_NS)) {
        u->first = (u->first + 1) % UTILISATION_SAMPLES;
        u->count--;
    }
    *at(u, u->count++) = sample;
}

void utilisation_add(const struct utilisation *u, uint32_t slots, double *computed_s,
                     double *wall_s)
{
    if (u->count > 1) {
        const struct utilisation_sample *from = &u->samples[u->first];
        const struct utilisation_sample *to =
            &u->samples[(u->first + u->count - 1) % UTILISATION_SAMPLES];
        *computed_s += (double)(to->computed_ms - from->computed_ms) * 1e-3;
        *wall_s += (double)slots * (double)(to->at_ns - from->at_ns) * 1e-9;
    }
}

double utilisation_share(double computed_s, double wall_s)
{
    double share = wall_s > 0.0 ? computed_s / wall_s : (double)NAN;
    return share > 1.0 ? 1.0 : share;
}
