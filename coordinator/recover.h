/* recover.h - the parameters of a run as of its last committed step: checkpoint + replay.
 * Owns: nothing. Place: start of the coordinator; pft eval and export. Blocks on the disk; start-up
 * or after the run. Recovery twice, or killed half-way, gives the same: it writes nothing. */
#ifndef PFT_RECOVER_H
#define PFT_RECOVER_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "coordinator/checkpoint.h"
#include "coordinator/journal.h"
#include "coordinator/params.h"

/* p = version 0 on entry (params_new); on return version journal_steps(j), bit for bit what it was.
 * Learning rates come from the records. config may be NULL (readers). Warnings as in
 * checkpoint_load. */
MUST_USE enum err recover_params(const char *run, struct journal *j,
                                 const uint8_t config[CHECKPOINT_CONFIG_BYTES], struct params *p,
                                 struct str *warnings, struct errbuf *e);

/* The same as of step `step`, at most journal_steps(j): neither its gradient nor later ones are in
 * it. ERR_NOT_FOUND when the records between it and the checkpoint before it are pruned. */
MUST_USE enum err recover_params_at(const char *run, struct journal *j,
                                    const uint8_t config[CHECKPOINT_CONFIG_BYTES], uint64_t step,
                                    struct params *p, struct str *warnings, struct errbuf *e);

#endif
