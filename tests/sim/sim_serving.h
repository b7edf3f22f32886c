/* sim_serving.h - the coordinator that runs, for the oracle: it looks and touches nothing. */
#ifndef PFT_SIM_SERVING_H
#define PFT_SIM_SERVING_H

#include "coordinator/serving.h"
#include "coordinator/start.h"

/* Zeroed while none runs. */
struct serving *sim_serving(void);

MUST_USE enum err sim_setup(struct setup *s, struct errbuf *e);
void sim_oracle_started(const struct start *start); /* it recovered */
void sim_oracle_stopped(const char *why);           /* it ended with an error */

#endif
