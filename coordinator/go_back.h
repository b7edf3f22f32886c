/* go_back.h - a run begins again at an earlier step: parameters, journal, checkpoints, what was
 * made of the steps that are given up. Owns: the order, everything checked before anything is
 * removed. Place: --resume --from-step, before the loop starts. Blocks on the disk. */
#ifndef PFT_GO_BACK_H
#define PFT_GO_BACK_H

#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/start.h"

/* s->params = version 0 on entry (params_new), `step` on return; s->journal has that many steps.
 * ERR_RANGE: the run is not that far. ERR_NOT_FOUND: the records before it are pruned; the text
 * names what is possible. After such a refusal nothing has changed. The same call again, also after
 * a crash in it, comes to the same end. */
MUST_USE enum err go_back(const char *run, struct start *s, uint64_t step, struct errbuf *e);

#endif
