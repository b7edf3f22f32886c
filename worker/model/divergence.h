/* divergence.h - how far two distributions of a labelled row lie apart, over the whole vocabulary.
 * Owns: the sweep over the output matrix with two inputs. Never: which passes made them. */
#ifndef PFT_DIVERGENCE_H
#define PFT_DIVERGENCE_H

#include "worker/model/network.h"

/* base: normed labelled rows [M, D] of an earlier pass over the same unit, on the host. kl[M] =
 * KL(p
 * || q) of each labelled row in nats, where the pass at hand (final_x) gives p and base q.
 * Overwrites final_x. ERR_NOMEM. */
MUST_USE enum err divergence_rows(struct pass *p, const float *base, double *kl);

#endif
