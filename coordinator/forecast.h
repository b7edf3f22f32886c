/* forecast.h - what a fleet of any size would make of a run's steps: the real dispatch (queue,
 * lease, roster, screen and the sizes of jobs) in virtual time, against workers that follow the
 * rules of the real agent. Owns: the virtual clock, workers, links and reducer of one forecast.
 * Never: computes, sends, reads a clock. Place: `pft plan` asks it once per number of workers.
 * Pure, any thread; the same question has the same answer.
 *
 * What costs time, and what it is taken to be
 *   computing   seconds_per_token * tokens, the same on every slot
 *   messages    latency_s one way; each costs the coordinator's loop message_s, one at a time
 *   the link    the coordinator's own, link_bytes_per_s each way, shared evenly by what is under
 *               way: job frames and parameters out (once per worker and step, on its first job of
 *               the step), gradients in (one per job, as many at a time as dispatch allows)
 *   the reducer one thread: adding a gradient, and at the end of a step its conversion, the
 *               optimizer and the next version; both by the bytes of a gradient
 * Not in it: building the trees of a step, the disk (a step is committed while the next one runs),
 * evaluations, workers that differ, come or go.
 * A worker fetches, asks again, announces and beats as worker/agent.h says; what it repeats because
 * the link is slow is sent twice here too, and a lease that runs out is lost here too.
 *
 * Steps are opened one after the other, the next when the last one is finished. The first one is
 * the warm-up: no cost is measured yet, so its jobs are single units. It is left out of all figures
 * but seconds[0]. */
#ifndef PFT_FORECAST_H
#define PFT_FORECAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/dispatch.h"

enum { FORECAST_STEPS = 64 };

struct forecast_step {
    uint32_t n_units;
    const uint32_t *rows;        /* [n_units] tokens */
    const uint32_t *frame_bytes; /* [n_units] of a job frame */
};

struct forecast_config {
    uint32_t workers, slots; /* of each worker */
    uint32_t n_steps;        /* 2 .. FORECAST_STEPS */
    const struct forecast_step *steps;
    size_t floats; /* of the adapter: 4 bytes of each go out, 8 come in */
    double seconds_per_token;
    double link_bytes_per_s;
    double latency_s, message_s;
    double adding_bytes_per_s, finishing_bytes_per_s; /* of gradients, 8 bytes a float */
};

struct forecast {
    double seconds[FORECAST_STEPS]; /* of each step; [0] is the warm-up */
    double total_s;                 /* all others */
    uint64_t jobs, params_sent, gradients;
    uint64_t bytes_out, bytes_in; /* over the coordinator's link */
    double out_busy_s, in_busy_s; /* that it carried something that way */
    double link_busy_s;           /* either way */
    double compute_s;             /* of all slots */
    uint32_t slots_used;          /* that had work in a step; the most */
    uint64_t backups, lost;       /* copies of jobs; attempts whose lease ran out */
    bool stopped;                 /* dispatch gave the run up; the figures mean nothing then */
    char text[DISPATCH_TEXT_BYTES];
};

/* ERR_RANGE names what is out of bounds, ERR_NOMEM. A run that dispatch gives up is OK: stopped. */
MUST_USE enum err forecast_make(const struct forecast_config *cfg, struct forecast *out,
                                struct errbuf *e);

#endif
