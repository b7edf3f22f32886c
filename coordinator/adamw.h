/* adamw.h - one AdamW step as torch.optim.AdamW does it: decoupled decay first, eps after sqrt of
 * the corrected second moment. Owns: nothing; the state is the caller's. Pure. Arithmetic: only + -
 * x / sqrt, no contraction, no libm function, fixed order: the same bits at every optimisation
 * level and with every compiler (a test compares them). Scalars are computed in double and rounded
 * to float once; elements are float. norm  = sqrt(sum g^2)     double; blocks of 4096 in 8 lanes,
 * then a fixed binary tree clip  = min(1, c / (norm + 1e-6)), g = g clip p     = p (1 - lr wd) m =
 * m + (1 - b1) (g - m),  v = b2 v + (1 - b2) g g p     = p - (lr / (1 - b1^t)) m / (sqrt(v) /
 * sqrt(1 - b2^t) + eps) */
#ifndef PFT_ADAMW_H
#define PFT_ADAMW_H

#include <stddef.h>

struct adamw_config {
    double beta1, beta2, eps, weight_decay;
    double clip; /* largest gradient norm; 0 = no clipping */
};

/* State after t steps; all vectors [count]. */
struct adamw_state {
    size_t count;
    float *p, *m, *v;
    double beta1_t, beta2_t; /* beta^t as running products; 1 before the first step */
};

/* Norm of x[count] by the fixed tree. */
double adamw_norm(const float *x, size_t count);

/* One step with learning rate lr. g is not changed; the norm before clipping is returned. */
double adamw_step(const struct adamw_config *cfg, struct adamw_state *state, const float *g,
                  double lr);

#endif
