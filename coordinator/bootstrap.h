/* bootstrap.h - how sure a share is: percentile intervals from a bootstrap over scenarios.
 * Owns: the resampling, seeded, so that the same rows always give the same interval. Never: what a
 * row means. Pure. */
#ifndef PFT_BOOTSTRAP_H
#define PFT_BOOTSTRAP_H

#include <stdint.h>

#include "common/base/err.h"

/* One question. The share of a set of rows is sum gain / sum weight: gain 1 or 0 and weight 1 for
 * right and wrong answers; hits and picks for a precision. */
struct bootstrap_row {
    uint32_t cluster; /* scenario: rows of one stand together and are drawn together */
    double gain, weight;
};

struct bootstrap_share {
    uint32_t n;    /* rows; 0 leaves the rest 0 */
    double share;  /* 0 when the weights sum to 0 */
    double lo, hi; /* 95 % interval over scenarios */
};

enum { BOOTSTRAP_RESAMPLES = 2000 };

/* The share of n rows with its interval. ERR_NOMEM only. */
MUST_USE enum err bootstrap_share(const struct bootstrap_row *rows, uint32_t n,
                                  struct bootstrap_share *out);

/* Share of after minus share of before over the same questions, with the interval of the paired
 * difference (the same scenarios are drawn for both). The clusters must agree row by row. */
MUST_USE enum err bootstrap_paired(const struct bootstrap_row *before,
                                   const struct bootstrap_row *after, uint32_t n,
                                   struct bootstrap_share *out);

#endif
