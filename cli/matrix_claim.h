/* matrix_claim.h - the verdict on a claim, computed from the figures.
 * Owns: the rule. Never: wording of the claim, files.
 *
 *   better - than > margin   holds when the whole 95 % interval of the paired difference lies above
 *                            the margin, fails when it lies at or below it, else undecided
 *   at_least, at_most, each_value_at_least, above_words
 *                            of the figure itself; evidence gives its interval */
#ifndef PFT_MATRIX_CLAIM_H
#define PFT_MATRIX_CLAIM_H

#include "cli/matrix_table.h"
#include "common/base/str.h"

enum matrix_verdict { VERDICT_HOLDS, VERDICT_FAILS, VERDICT_UNDECIDED, VERDICT_UNMEASURED };

const char *matrix_verdict_name(enum matrix_verdict v);

/* evidence: the figures in words. ERR_NOMEM only. */
MUST_USE enum err matrix_claim_judge(const struct matrix_table *t, const struct matrix_claim *c,
                                     enum matrix_verdict *verdict, struct str *evidence);

#endif
