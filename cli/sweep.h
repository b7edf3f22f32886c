/* sweep.h - pft capture --sweep: the vectors of every axis, and where to add them and how much,
 * chosen by how well they stand for the values' names: on the first --limit scenarios of a training
 * file, the vectors from as many behind them. Owns: the folder with vectors, tries and steer.json.
 * Never: scores; pft eval has them. */
#ifndef PFT_SWEEP_H
#define PFT_SWEEP_H

#include "cli/asking.h"

struct sweep_request {
    struct asking *asking;   /* what is served, with data and values */
    const char *layers;      /* "8,12,16" */
    const char *multipliers; /* "1,2,4" */
    const char *limit;       /* N: chosen on the first N scenarios */
    const char *folder;
    bool json;
};

/* Blocks until steer.json is there, for as long as every layer and multiplier takes; what an
 * earlier start did is passed by. Prints what was chosen. */
MUST_USE enum err sweep_run(const struct sweep_request *r, int *code, struct errbuf *e);

#endif
