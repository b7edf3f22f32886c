/* objective.h - what train.objective asks of a prompt group (docs/objectives.md): which answers
 * under which preference, which of them hang together, and the terms that compare them. Owns: the
 * formulas of the objectives, as terms (common/tree/tree.h). Never: tokens, trees' rows,
 * log-probabilities but those of the reference. Place: forest asks it while it makes trees; the
 * worker knows none of the names. Pure. */
#ifndef PFT_OBJECTIVE_H
#define PFT_OBJECTIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"

enum { OBJECTIVE_SIDES = 2, OBJECTIVE_GROUPS_MAX = 2 };

struct forest_tree;

/* "pft: ..." in one line, for the closing table; never NULL. */
const char *objective_meaning(const struct run_config *cfg);

/* The sides (bits 1 << side) of the forest groups made of one data group: 1, or 2 of one side each
 * under sft.side: mix. Returns how many. */
uint32_t objective_groups(const struct run_config *cfg, uint32_t sides[OBJECTIVE_GROUPS_MAX]);

/* Are the other side's answers needed under a side's preference too? */
bool objective_crosses(const struct run_config *cfg);

/* Number of the loss group of the `index`-th leaf of a group, which stands under `side`: leaves of
 * one number must stay in one tree. */
uint32_t objective_loss_group(const struct run_config *cfg, uint32_t side, uint32_t index);

/* Weight of the mean CE of a side's own answers. */
double objective_ce_weight(const struct run_config *cfg);

/* Does it need the log-probabilities of the model without adapter? */
bool objective_needs_reference(const struct run_config *cfg);

/* Gives the tree its terms: those of the group's pairs whose leaves are all there. w: the plan's
 * weights of sides a and b, train.w_a and train.w_b not multiplied in; reference: log-probability
 * of every leaf of the tree without adapter, where needed. ERR_NOMEM only. */
MUST_USE enum err objective_terms(const struct run_config *cfg, const struct data_group *group,
                                  const struct data_pair *pairs, const double w[OBJECTIVE_SIDES],
                                  const double *reference, struct forest_tree *tree,
                                  struct errbuf *e);

#endif
