/* select_all.h - "every option of the value": which options a scorer picks, and what that is worth.
 * score = 1 when exact, 0 when any picked option is wrong, else recall (PAPER.md). Owns: the score,
 * the fit of a threshold. Pure. */
#ifndef PFT_SELECT_ALL_H
#define PFT_SELECT_ALL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

/* One question: an option is picked where score > threshold. */
struct select_all_question {
    uint32_t n;
    const double *score; /* [n] */
    const bool *right;   /* [n] the option carries the value asked for */
};

struct select_all_counts {
    uint32_t picked, right, hits; /* hits: picked and right */
    double score;
};

struct select_all_counts select_all_count(const struct select_all_question *q, double threshold);

/* The threshold with the highest mean score over n >= 1 questions: a value half-way between two
 * neighbouring scores, or 1 below the lowest; of several the lowest. ERR_NOMEM only. */
MUST_USE enum err select_all_fit(const struct select_all_question *q, uint32_t n,
                                 double *threshold);

#endif
