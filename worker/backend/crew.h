/* crew.h - the threads of a team, and one thing: the same function on all of them at once.
 * Owns: the threads beside the caller. Never: what they compute, who gets which part (backend_cpu).
 * Used from one thread at a time, the one that is lane 0. A crew that is idle spins for a moment (a
 * layer's operations follow each other in microseconds) and then sleeps. */
#ifndef PFT_CREW_H
#define PFT_CREW_H

#include <stdint.h>

#include "common/base/err.h"

struct crew;

typedef void crew_fn(void *ctx, uint32_t lane);

/* threads >= 2, the caller of crew_run included. ERR_NOMEM when they cannot be started. */
MUST_USE enum err crew_new(uint32_t threads, struct crew **out);
void crew_free(struct crew **crew); /* NULL inside is fine */

/* fn(ctx, lane) once for each lane 0..threads-1, lane 0 on the caller; returns when all are done,
 * with the nanoseconds that lane 0 waited for the others. */
uint64_t crew_run(struct crew *crew, crew_fn *fn, void *ctx);

#endif
