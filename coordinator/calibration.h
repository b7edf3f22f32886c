/* calibration.h - what is fitted once for an adapter before users are inferred with it: the
 * temperature of its scores and the threshold of the change flag; and its form in a run folder,
 * RUN/inference.json:
 *
 *   {"adapter": name, "data": path, "scenarios": n, "contrast": {"temperature", "threshold",
 *    "log_likelihood", "even"}, "likelihood": the same}
 *
 * Owns: that file's shape. Never: scores. Reading and writing block on the disk. */
#ifndef PFT_CALIBRATION_H
#define PFT_CALIBRATION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/str.h"
#include "coordinator/dataset.h"
#include "coordinator/readout.h"
#include "coordinator/value_scores.h"

/* The usual settings of inference, in one place. */
#define CALIBRATION_HAZARD 0.02 /* drift.h */
#define CALIBRATION_FALSE_RATE                                                                     \
    0.04 /* of users who never change, flagged within trial.h's horizon */
enum { CALIBRATION_SCENARIOS = 200, CALIBRATION_USERS = 200 };

struct calibration {
    double temperature;
    double threshold;
    double log_likelihood, even; /* temperature.h; no more than even: the scores say nothing */
    uint32_t scenarios;          /* it was fitted on so many; 0: on none, it was given */
    char data[FILE_PATH_BYTES];  /* of this file, absolute where it could be found */
};

/* Fits both on scored scenarios with known values. ERR_RANGE or ERR_REFUSED when the scores or the
 * data do not serve. */
MUST_USE enum err calibration_fit(const struct dataset *data, const struct value_scores *scores,
                                  uint64_t seed, struct calibration *out, struct errbuf *e);

/* ERR_NOT_FOUND: the run has none, or it was made for another adapter. ERR_CORRUPT: the file is no
 * such; the text says how to make it anew. */
MUST_USE enum err calibration_load(const char *run, const char *adapter, enum readout readout,
                                   struct calibration *out, struct errbuf *e);

/* both: [0] of contrast, [1] of likelihood, of the same scenarios. */
MUST_USE enum err calibration_save(const char *run, const char *adapter,
                                   const struct calibration both[2], struct errbuf *e);

/* Appends "calibrated_on": {"data", "scenarios"}, or null where it was given. */
void calibration_add_source(const struct calibration *c, struct str *json);

/* Is this the file that it was fitted on? */
bool calibration_is_of(const struct calibration *c, const char *path);

#endif
