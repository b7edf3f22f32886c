/* matrix_rates.h - how fast this machine trains, scores and decodes: measured with the real
 * programs, in a minute or so, and kept in DIR/measure.json as long as machine, model and data are
 * the same. Owns: that file, which cells are measured. Never: counts.
 *
 * measure.json: {"train_flops_s", "score_flops_s", "decode_tokens_s", "run_s", "eval_s",
 * "machine"}; 0: not measured */
#ifndef PFT_MATRIX_RATES_H
#define PFT_MATRIX_RATES_H

#include <jansson.h>

#include "cli/matrix_count.h"
#include "cli/matrix_work.h"

struct matrix_rates {
    double train_flops_s, score_flops_s; /* useful operations a second */
    double decode_tokens_s; /* of answers at their longest: ends that come earlier are in it */
    double run_s, eval_s;   /* of a run and of another command without their work */
};

/* What a cell computes. */
struct matrix_amount {
    double rows;           /* tokens in all */
    double trained;        /* operations, forward and backward */
    double scored;         /* operations, forward alone */
    double decoded;        /* tokens, at their longest */
    uint32_t runs, starts; /* of pft run, of other commands that load the model */
    bool known;            /* else it is left out of the estimate */
};

struct matrix_measuring {
    const struct matrix_counter *counter;
    const struct matrix_cell *cells;
    const struct matrix_amount *amounts; /* [n] */
    uint32_t n;
    const char *workers;            /* NULL: as many as pft takes by itself */
    uint32_t variant;               /* that is trained, when it is one that is trained at all */
    const struct matrix_work *work; /* its training */
    json_t *machine;                /* what must be the same */
};

/* Takes what measure.json has, or measures: blocks for a minute or so. */
MUST_USE enum err matrix_rates_measure(const struct matrix_measuring *r, struct matrix_rates *out,
                                       struct errbuf *e);

/* Seconds of a cell; 0 when it is not known, or not all that it does was measured. Pure. */
double matrix_rates_seconds(const struct matrix_rates *r, const struct matrix_amount *a);

/* Operations of what is read. Pure. */
double matrix_rates_flops(const struct matrix_work *work, const struct tree_work *read);

#endif
