/* scoring.h - a data file's options scored under the values of a run, by a coordinator and workers
 * of its own (pft-coordinator --task values). Owns: the processes and their folder, gone at the
 * end. Never: what is made of the scores. Blocks until all are there. */
#ifndef PFT_SCORING_H
#define PFT_SCORING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/run_info.h"
#include "common/base/err.h"

struct scoring {
    const char *run;
    const struct run_info *info;
    const char *workers;     /* text of --workers, or NULL */
    const char *const *sets; /* n_sets of them */
    int n_sets;
    const char *keep; /* a folder that keeps what is scored, so that the same words go on after a
                         kill; NULL: nothing is kept */
};

/* *table: what score_table_read takes, the caller's (json_decref). part: names the scores within
 * the folder that keeps them. limit: the first scenarios of
 * data, 0 for all. own_axis: each under the values of its own axis alone. *code: exit code of pft;
 * without a table when it is not CLI_OK. */
MUST_USE enum err scoring_run(const struct scoring *s, const char *part, const char *data,
                              uint32_t limit, bool own_axis, json_t **table, int *code,
                              struct errbuf *e);

#endif
