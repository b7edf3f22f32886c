/* calibrate.h - the calibration of a run, made when it is not there yet
 * (coordinator/calibration.h). Owns: nothing; RUN/inference.json is the run's. Blocks while
 * scenarios are scored. */
#ifndef PFT_CALIBRATE_H
#define PFT_CALIBRATE_H

#include <stdbool.h>

#include "cli/scoring.h"
#include "coordinator/calibration.h"

struct calibrate_options {
    const char *data; /* scenarios with known values; NULL: the run's data.train */
    bool anew;        /* whatever the run folder holds */
};

/* *code: exit code of pft; out is filled only when it is CLI_OK. */
MUST_USE enum err calibrate_run(const struct scoring *s, const struct calibrate_options *o,
                                enum readout readout, struct calibration *out, int *code,
                                struct errbuf *e);

#endif
