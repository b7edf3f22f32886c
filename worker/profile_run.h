/* profile_run.h - pft-worker --profile: units from a file through slots as in a run, and where the
 * time went. Owns: nothing beyond the call. Never: a coordinator. */
#ifndef PFT_PROFILE_RUN_H
#define PFT_PROFILE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/engine.h"

struct model_file;

struct profile_options {
    const struct model_file *model;
    const char *units; /* a file of units in the byte form of common/wire/units_frame.h */
    struct engine_config config;
    uint32_t slots, repeat;
    bool json, layers;
};

/* Every slot computes the gradients of all units `repeat` times, after one pass that is not
 * counted; prints a table or JSON to stdout. Blocks. */
MUST_USE enum err profile_run(const struct profile_options *o, struct errbuf *e);

#endif
