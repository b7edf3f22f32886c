/* run_info.h - what a run folder says about itself to commands that use its adapter: settings,
 * values, model. Owns: copies; run.db is read and closed. Blocks on the disk. */
#ifndef PFT_RUN_INFO_H
#define PFT_RUN_INFO_H

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/str.h"
#include "coordinator/config.h"
#include "coordinator/journal.h"
#include "coordinator/values.h"

struct run_info {
    struct run_config *cfg;
    struct values *values;
    char model[FILE_PATH_BYTES]; /* resolved */
    struct str adapter;          /* names the adapter: settings and committed steps */
};

/* sets, n_sets of them, override the run's settings. ERR_REFUSED: the run has no values. */
MUST_USE enum err run_info_open(const char *run, const char *const *sets, int n_sets,
                                struct run_info *out, struct errbuf *e);

/* out = where the base model of a run is: what the last "model.path=..." of the sets says, else
 * where the run found it. ERR_NOT_FOUND, with the mend, when it is not there any more. */
MUST_USE enum err run_info_model(struct journal *j, const char *const *sets, int n_sets,
                                 char out[FILE_PATH_BYTES], struct errbuf *e);

void run_info_close(struct run_info *info); /* fine on a zeroed struct */

#endif
