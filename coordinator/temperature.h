/* temperature.h - how far scores may be trusted: the temperature under which users who hold a value
 * and pick evenly among its options are likeliest, by maximum likelihood.
 *
 *   L(T) = mean over users of  sum over options of  target(o) * log softmax(score / T)[o]
 *
 * is concave in 1/T, so a golden-section search on log T finds its maximum. It has none where every
 * user picks what scores highest: L rises as T falls, to 0. Then one made-up user who picks evenly
 * among all options is added, so that scores of n questions give no odds far beyond n. Owns: the
 * search. Never: where the scores come from. Pure. */
#ifndef PFT_TEMPERATURE_H
#define PFT_TEMPERATURE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

/* One user on one question. */
struct temperature_choice {
    uint32_t n_options;
    const double *scores;  /* [n_options] under the value the user holds */
    const uint32_t *sides; /* [n_options] the pole each option carries */
    uint32_t side;         /* the pole held: an even target over its options */
};

struct temperature_fit {
    double temperature;
    double log_likelihood; /* mean, nats a choice */
    double even;           /* the same for scores that say nothing */
    bool at_bound;         /* the likelihood still rises at the end of the range searched */
    bool separated;        /* no maximum without the made-up user */
};

/* The range is 1e-4 to 1e4 times the mean distance of a question's scores from their mean.
 * ERR_RANGE: no choices, a score that is not finite, or scores that never differ. */
MUST_USE enum err temperature_fit(const struct temperature_choice *choices, uint32_t n,
                                  struct temperature_fit *out, struct errbuf *e);

#endif
