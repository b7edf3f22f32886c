/* matrix_run.h - the cells of a matrix, one after the other, each a child of pft: what is done is
 * passed by, what was begun goes on.
 * Owns: the order, the progress line. Never: what a cell computes. Blocks until all cells are done
 * or a signal came. May be killed at any moment: the same call goes on. */
#ifndef PFT_MATRIX_RUN_H
#define PFT_MATRIX_RUN_H

#include "cli/matrix_cell.h"

struct matrix_batch {
    const struct matrix *m;
    struct matrix_cell *cells; /* with estimates */
    uint32_t n;
    const char *folder;
    const char *workers; /* NULL: as many as pft run takes by itself */
    /* out */
    uint32_t done, failed;
    double truth_s, estimate_s; /* over the cells that ran here in one go and had an estimate */
    uint32_t compared;
};

/* Makes the folders; refuses with ERR_BUSY while another pft reproduce works in the folder. *lock:
 * to be closed at the end. */
MUST_USE enum err matrix_open(const char *folder, int *lock, struct errbuf *e);

/* Is the cell's result there? */
MUST_USE enum err matrix_is_done(const struct matrix_batch *b, const struct matrix_cell *c,
                                 bool *done, struct errbuf *e);

/* ERR_GONE after a signal. A cell that fails does not stop the others: b->failed counts them. */
MUST_USE enum err matrix_run(struct matrix_batch *b, struct errbuf *e);

#endif
