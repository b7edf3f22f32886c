/* readout.h - how options are scored: what each readout picks.
 * Owns: the formulas of PAPER.md's readouts. Never: models, files, text. A question = (scenario, a
 * value that one of its options carries). All functions are pure.
 *
 *   likelihood  argmax over o of  sum log p(o|v) / tokens(o)
 *   lift        argmax over o of  sum log p(o|v) - sum log p(o|no value named)
 *   contrast    argmax over o of  sum log p(o|v) - sum log p(o|opposite value)
 *   letter      argmax over o of  log p(letter(o)|v, options listed)
 *   mix         argmax over o of  [l log p(o|a) + (1 - l) log p(o|b)] / tokens(o), for a share l of
 *               the first pole a: the product of both experts over the options, whose normaliser is
 *               the same for all of them. It has a share in place of a value (readout_mix_pick).
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

/* The score of an option for value side (READOUT_A or READOUT_B): the right-hand sides above. The
 * log-probabilities it needs must be there. */
double readout_score(enum readout r, const struct readout_scores *s, enum readout_side side,
                     uint32_t option);

/* The picked option for value side (READOUT_A or READOUT_B). The scores it needs must be there. */
uint32_t readout_pick(enum readout r, const struct readout_scores *s, enum readout_side side);

/* How far naming value `side` in place of its opposite moves the options that right [n_options]
 * marks, in nats a token: their mean of (log p(o|side) - log p(o|opposite)) / tokens(o). At least
 * one is marked; the rows of both sides must be there. */
double readout_margin(const struct readout_scores *s, enum readout_side side, const bool *right);

/* The option that a mix with `lambda` of side a picks; the rows of both sides must be there. */
uint32_t readout_mix_pick(const struct readout_scores *s, double lambda);

#endif
