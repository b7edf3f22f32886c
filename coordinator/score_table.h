/* score_table.h - the scores of a data file's options under the values of a run, as JSON between
 * the coordinator, which has them from the workers, and whoever computes posteriors on them:
 *
 *   "scores": [[scenario, axis, [tokens], [log p under pole a], [log p under pole b]], ...]
 *
 * one number per option in each of the three lists. Owns: this shape. Never: jobs. Pure. */
#ifndef PFT_SCORE_TABLE_H
#define PFT_SCORE_TABLE_H

#include <jansson.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_scores.h"
#include "coordinator/readout.h"
#include "coordinator/value_scores.h"

/* Appends the member "scores"; slot = scenario * n_axes + axis, empty slots are left out. */
void score_table_json(const struct eval_scores *scores, uint32_t n_axes, struct str *json);

/* The scores under contrast or likelihood (readout.h) of an object that holds such a member; those
 * of data's scenarios that it does not hold stay NaN. ERR_CORRUPT when it is not made so, or not of
 * this data. */
MUST_USE enum err score_table_read(const json_t *root, const struct dataset *data, uint32_t n_axes,
                                   enum readout readout, struct value_scores **out,
                                   struct errbuf *e);

#endif
