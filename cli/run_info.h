/* run_info.h - what a run folder says about itself to commands that use its adapter: settings,
 * values, model. Owns: copies; run.db is read and closed. Blocks on the disk. */
#ifndef PFT_RUN_INFO_H
#define PFT_RUN_INFO_H

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/str.h"
#include "coordinator/config.h"
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
void run_info_close(struct run_info *info); /* fine on a zeroed struct */

#endif
