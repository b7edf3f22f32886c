/* matrix_cost.h - what a matrix will cost: what its trainings compute, counted from the real plans
 * and forests, and its evaluations, counted by themselves, at the rates of this machine.
 * Owns: the amounts, the estimates. Never: runs a cell.
 * Blocks: opens model and data, starts children. Later commands in the same folder measure anew
 * only when something that counts has changed. */
#ifndef PFT_MATRIX_COST_H
#define PFT_MATRIX_COST_H

#include "cli/matrix_rates.h"

struct matrix_cost {
    struct matrix_rates rates;
    struct matrix_amount *amounts; /* [n cells] */
    uint32_t unknown;              /* cells without an estimate */
    json_t *machine; /* {"model", "model_hash", "train_sha256", "cores", ...}: all that counts */
};

/* Counts everything, measures what has to be measured, and sets estimate_s of every cell. What a
 * cell takes that is done already is counted too: the caller leaves it out of what is to come. */
MUST_USE enum err matrix_cost(const struct matrix *m, struct matrix_cell *cells, uint32_t n,
                              const char *folder, const char *workers, struct matrix_cost *out,
                              struct errbuf *e);
void matrix_cost_free(struct matrix_cost *c); /* fine on a zeroed struct */

#endif
