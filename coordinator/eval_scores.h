/* eval_scores.h - leaves back to tables: the scores of one question as readouts want them.
 * Owns: the tables. Never: what is right. Place: a kind's answer makes one from scored trees. */
#ifndef PFT_EVAL_SCORES_H
#define PFT_EVAL_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/forest.h"
#include "coordinator/readout.h"

struct eval_slot {
    uint32_t n_options; /* 0: nothing is known */
    double *logp;       /* [2 * READOUT_SIDES][n_options]: answers, then letters, by side */
    uint32_t *tokens;   /* [n_options] */
};

struct eval_scores {
    uint32_t n;
    struct eval_slot *slots; /* [n] */
};

MUST_USE enum err eval_scores_new(uint32_t n, struct eval_scores *out, struct errbuf *e);
/* Puts a leaf's log-probability into a slot of n_options, as of side `side`. */
MUST_USE enum err eval_scores_put(struct eval_scores *s, uint32_t slot, uint32_t n_options,
                                  const struct forest_leaf *leaf, uint32_t side, double logp,
                                  struct errbuf *e);
/* The slot as the readouts take it; borrowed. */
struct readout_scores eval_scores_of(const struct eval_scores *s, uint32_t slot);
void eval_scores_free(struct eval_scores *s);

#endif
