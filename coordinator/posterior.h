/* posterior.h - what a user's choices say about the values they hold: Bayes' rule over a list of
 * values, entropy, and how much a question would tell (docs/preference-vector.md has the formulas).
 *
 *   P(v | choices)  ~  P(v) * product over choices i of  p(choice_i | v) ^ (forget ^ age_i)
 *   p(o | v)        =  softmax over the question's options of  score(o | v) / temperature
 *
 * Owns: the arithmetic. Never: files, models, where scores come from. Everything is pure; logs are
 * natural, so entropy and information come in nats. */
#ifndef PFT_POSTERIOR_H
#define PFT_POSTERIOR_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"

enum { POSTERIOR_VALUES = 2 * LIMIT_AXES };

#define POSTERIOR_NATS_PER_BIT 0.69314718055994530942

struct posterior {
    uint32_t n;    /* values */
    double forget; /* in (0, 1]: what is left of a choice's weight after each later one; 1 = all */
    double log_prior[POSTERIOR_VALUES]; /* -infinity: ruled out */
    double evidence[POSTERIOR_VALUES];  /* weighted sum of log p(choice | v) */
};

/* prior: n weights, >= 0 and finite, not all 0 (they need not sum to 1); NULL: even. ERR_RANGE
 * names the number that is out of bounds. */
MUST_USE enum err posterior_init(struct posterior *p, uint32_t n, const double *prior,
                                 double forget, struct errbuf *e);

/* One more choice: log p(choice | v) for each of the n values. */
void posterior_take(struct posterior *p, const double *log_p);

/* shares[n], sums to 1. */
void posterior_shares(const struct posterior *p, double *shares);

/* log_p[o] = log softmax(scores / temperature)[o]; in place is fine. temperature > 0. */
void posterior_choice(const double *scores, uint32_t n_options, double temperature, double *log_p);

/* -sum p log p in nats; 0 for shares of 0. */
double posterior_entropy(const double *shares, uint32_t n);

/* Mutual information of value and choice in nats: what one question is expected to tell.
 * log_p: [n][n_options], row v from posterior_choice under value v. In [0, log n]. */
double posterior_information(const double *shares, uint32_t n, const double *log_p,
                             uint32_t n_options);

/* log sum exp of n numbers; -infinity for none, or when all are. */
double posterior_log_sum(const double *x, uint32_t n);

/* A user who answers as value a in a share of the questions and as value b in the others:
 * p(choice) = share p(choice | a) + (1 - share) p(choice | b), even prior over the share. */
enum { POSTERIOR_MIX_POINTS = 101 }; /* share 0, 0.01, ... 1 */
struct posterior_mix {
    double forget;
    double log_p[POSTERIOR_MIX_POINTS];
};
void posterior_mix_init(struct posterior_mix *m, double forget);
void posterior_mix_take(struct posterior_mix *m, double log_p_a, double log_p_b);
/* Posterior mean of the share. */
double posterior_mix_share(const struct posterior_mix *m);

#endif
