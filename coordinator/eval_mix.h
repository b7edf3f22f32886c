/* eval_mix.h - a preference between the two poles of an axis as a readout: which options a mix with
 * a share lambda of the first pole picks, and whether more of it picks more of that pole's options.
 * Owns: the results of mixes and their summary. Never: scores. Loop thread. */
#ifndef PFT_EVAL_MIX_H
#define PFT_EVAL_MIX_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_scores.h"

/* The result of one lambda: a question is a scenario, its answer counts as right when the pick
 * carries the first pole. */
MUST_USE enum err eval_mix_add(const struct eval_input *in, const struct eval_scores *scores,
                               double lambda, struct eval_results *out, struct errbuf *e);

/* Appends ,"mix":{"monotone", "values": {NAME: true, ...}} where there are results of mixes:
 * no share is below that of the lambda before. */
void eval_mix_json(const struct eval_results *r, struct str *json);

#endif
