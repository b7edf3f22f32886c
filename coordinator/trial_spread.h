/* trial_spread.h - how sure a mean over simulated users is. Thousands of users draw on the same few
 * scenarios, so what scatters is the scenarios: another test file would have had other ones.
 *
 *   d_i = sum over the users whose figure rests on scenario i of (x - mean of their axis) / users
 *   standard error = sqrt(sum over axes of n / (n - 1) * sum over the axis's n scenarios of d_i^2)
 *
 * the infinitesimal jackknife (Jaeckel 1972), the first-order term of a statistic of many scenarios
 * at once (Hoeffding 1948); each axis is a stratum. Users that are few add their own scatter, so it
 * errs on the wide side. Private to trial.c. Pure. */
#ifndef PFT_TRIAL_SPREAD_H
#define PFT_TRIAL_SPREAD_H

#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/bootstrap.h"

struct trial_spread;

MUST_USE enum err trial_spread_new(uint32_t n_scenarios, struct trial_spread **out);
void trial_spread_free(struct trial_spread **s);

/* A user of the axis with figure x, which rests on these n scenarios, all of the axis. */
void trial_spread_take(struct trial_spread *s, uint32_t axis, double x, const uint32_t *scenarios,
                       uint32_t n);

/* The mean with its 95 % interval, in [least, 1]. */
void trial_spread_share(const struct trial_spread *s, double least, struct bootstrap_share *out);

#endif
