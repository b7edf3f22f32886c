/* plan_work.h - the units of a config's first steps as a forecast takes them, and what they say
 * about the cost of a token. Owns: the lists of rows and frame bytes. Never: time, workers. Made
 * from the real plan and forest of the config. Whole steps only: the smaller one that ends an epoch
 * is passed by. */
#ifndef PFT_PLAN_WORK_H
#define PFT_PLAN_WORK_H

#include "coordinator/forecast.h"
#include "coordinator/setup.h"

enum { PLAN_WORK_STEPS = 9 }; /* the warm-up and eight more, or all there are */

struct plan_work {
    uint32_t n_steps; /* at least 2: an only step is its own warm-up */
    uint64_t numbers[PLAN_WORK_STEPS];
    struct forecast_step steps[PLAN_WORK_STEPS];
    uint32_t *lists[PLAN_WORK_STEPS]; /* rows, then frame bytes */
    uint64_t tokens, pairs, units;    /* of all but the warm-up */
    double context;                   /* tokens that a token sees, itself included; mean */
    double label_rows;                /* rows of the head for each token; mean */
};

MUST_USE enum err plan_work_make(const struct setup *s, struct plan_work *w, struct errbuf *e);
void plan_work_free(struct plan_work *w); /* fine on a zeroed struct */

#endif
