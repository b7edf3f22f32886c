/* matrix_cost.h - what a matrix will cost: operations counted from the real plans, forests and
 * evaluations, seconds from a short measurement with the real programs on this machine.
 * Owns: the counts, the measured rates (kept in DIR/measure.json). Never: runs a cell.
 * Blocks: opens model and data, starts children. Later commands in the same folder measure anew
 * only when something that counts has changed. */
#ifndef PFT_MATRIX_COST_H
#define PFT_MATRIX_COST_H

#include <jansson.h>

#include "cli/matrix_cell.h"

struct matrix_rates {
    double train_flops_s, score_flops_s; /* useful operations a second */
    double run_s, eval_s;                /* of a run and an evaluation without their work */
};

struct matrix_cost {
    struct matrix_rates rates;
    double *rows;     /* [n cells] tokens computed */
    double *flops;    /* [n cells] */
    double *scored;   /* [n cells] operations of a training's reference */
    uint32_t unknown; /* cells whose work cannot be counted beforehand */
    json_t *machine;  /* {"model", "model_hash", "train_sha256", "cores", ...}: all that counts */
};

/* Counts everything, measures what has to be measured, and sets estimate_s of every cell. What a
 * cell takes that is done already is counted too: the caller leaves it out of what is to come. */
MUST_USE enum err matrix_cost(const struct matrix *m, struct matrix_cell *cells, uint32_t n,
                              const char *folder, const char *workers, struct matrix_cost *out,
                              struct errbuf *e);
void matrix_cost_free(struct matrix_cost *c); /* fine on a zeroed struct */

#endif
