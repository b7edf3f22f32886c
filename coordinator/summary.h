/* summary.h - what a finished run leaves for people: RUN/report.md and, with table, the table on
 * stdout. Owns: gathering the figures from run.db. Never: wording (report.h). Blocks on the disk;
 * after the run. */
#ifndef PFT_SUMMARY_H
#define PFT_SUMMARY_H

#include <stdbool.h>

#include "common/base/err.h"
#include "coordinator/phases.h"
#include "coordinator/start.h"

MUST_USE enum err summary_write(struct start *start, const char *run,
                                const struct phases_outcome *outcome, bool table, struct errbuf *e);

#endif
