/* eval_work.h - what an evaluation of a setup is made from, and how much it would score, without
 * scoring it: for estimates of its time. Owns: the count as JSON. Never: jobs. Blocks: tokenises
 * the data. */
#ifndef PFT_EVAL_WORK_H
#define PFT_EVAL_WORK_H

#include "common/base/str.h"
#include "coordinator/eval_kind.h"
#include "coordinator/start.h"

/* Borrows the setup. */
struct eval_input eval_work_input(const struct setup *s, struct eval_request ask);

/* Appends the sums over all passes (work_count.h). */
MUST_USE enum err eval_work_count(const struct start *start, struct str *json, struct errbuf *e);

#endif
