/* drift.h - has the user changed? Bayesian online change-point detection over a list of values
 * (Adams and MacKay 2007, arXiv 0710.3742, with the value as the parameter of a run): before each
 * choice but the first the user turns to another value with probability `hazard`, any other value
 * equally likely. Two sums are carried on: histories without a change, histories with at least one.
 *
 *   statistic = log P(choices, changed at least once) - log P(choices, never changed)
 *
 * Flagged once the statistic passes a threshold that users.h calibrates on simulated users who do
 * not change. Owns: the sums. Never: thresholds, choices. Pure. */
#ifndef PFT_DRIFT_H
#define PFT_DRIFT_H

#include <stdint.h>

#include "coordinator/posterior.h"

struct drift {
    uint32_t n;     /* values */
    uint32_t taken; /* choices so far */
    double log_stay, log_turn;
    double same[POSTERIOR_VALUES];  /* log P(choices, v now, never changed) */
    double moved[POSTERIOR_VALUES]; /* log P(choices, v now, changed) */
};

/* hazard in (0, 1); log_prior as in struct posterior. */
void drift_init(struct drift *d, uint32_t n, const double *log_prior, double hazard);

/* One more choice: log p(choice | v) for each value. Returns the statistic. */
double drift_take(struct drift *d, const double *log_p);

/* -infinity before the second choice, and always where there is one value. */
double drift_statistic(const struct drift *d);

/* shares[n]: the posterior over the value held now, changes allowed for. */
void drift_shares(const struct drift *d, double *shares);

#endif
