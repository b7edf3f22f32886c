/* summary.h - what a finished run leaves for people: the table on stdout and RUN/report.md.
 * Owns: gathering the figures from run.db. Never: wording (report.h). Blocks on the disk; after the
 * run. */
#ifndef PFT_SUMMARY_H
#define PFT_SUMMARY_H

#include "common/base/err.h"
#include "coordinator/phases.h"
#include "coordinator/start.h"

MUST_USE enum err summary_write(struct start *start, const char *run,
                                const struct phases_outcome *outcome, struct errbuf *e);

#endif
