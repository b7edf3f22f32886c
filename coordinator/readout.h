/* readout.h - select-one questions: what each readout picks, and how sure a share of right picks
 * is. Owns: the formulas of PAPER.md's readouts, the bootstrap over scenarios. Never: models,
 * files, text. A question = (scenario, a value that one of its options carries). All functions are
 * pure.
 *
 *   likelihood  argmax over o of  sum log p(o|v) / tokens(o)
 *   lift        argmax over o of  sum log p(o|v) - sum log p(o|no value named)
 *   contrast    argmax over o of  sum log p(o|v) - sum log p(o|opposite value)
 *   letter      argmax over o of  log p(letter(o)|v, options listed)
 * Sums run over the answer's tokens with the end-of-turn token; ties go to the first option. */
#ifndef PFT_READOUT_H
#define PFT_READOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum readout { READOUT_LIKELIHOOD, READOUT_LIFT, READOUT_CONTRAST, READOUT_LETTER, READOUTS };

/* Under which preference a log-probability was taken. */
enum readout_side { READOUT_A, READOUT_B, READOUT_NONE, READOUT_SIDES };

const char *readout_name(enum readout r);
/* -1 when the name is unknown. */
int readout_from(const char *name);
/* Does the readout need option log-probabilities under that side? letter needs none of them. */
bool readout_needs(enum readout r, enum readout_side side);

/* The scores of one scenario: row s of logp is side s, column o is option o. */
struct readout_scores {
    uint32_t n_options;
    const double *logp[READOUT_SIDES]; /* [n_options] sums in nats; NULL where not scored */
    const uint32_t *tokens;            /* [n_options] labels of each answer */
    const double *letter[2];           /* [n_options] under side a and b; NULL where not scored */
};

/* The picked option for value side (READOUT_A or READOUT_B). The scores it needs must be there. */
uint32_t readout_pick(enum readout r, const struct readout_scores *s, enum readout_side side);

struct readout_question {
    uint32_t scenario; /* index into the data file */
    uint32_t axis;
    uint32_t side; /* 0 or 1: the pole asked for */
    uint32_t pick; /* option */
    bool correct;  /* the picked option carries the value asked for */
};

struct readout_share {
    uint32_t n;    /* questions; 0 leaves the rest 0 */
    double share;  /* of correct ones */
    double lo, hi; /* 95 % bootstrap interval over scenarios */
};

enum { READOUT_RESAMPLES = 2000 };

/* Share of correct questions among those of (axis, side), or all when axis < 0, with its interval.
 * Questions of one scenario stand together. ERR_NOMEM only. */
MUST_USE enum err readout_share(const struct readout_question *q, uint32_t n, int axis, int side,
                                struct readout_share *out);

/* Share after minus share before over the same questions, with the interval of the paired
 * difference (the same scenarios are drawn for both). n and the scenarios must agree. */
MUST_USE enum err readout_paired(const struct readout_question *before,
                                 const struct readout_question *after, uint32_t n,
                                 struct readout_share *out);

#endif
