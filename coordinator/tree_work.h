/* tree_work.h - how much there is to compute in trees: rows, what they attend to, rows with labels.
 * Pure. */
#ifndef PFT_TREE_WORK_H
#define PFT_TREE_WORK_H

#include "common/tree/tree.h"

struct tree_work {
    double rows;
    double context;    /* keys seen, summed over rows */
    double label_rows; /* rows that go through the head */
};

void tree_work_add(struct tree_work *w, const struct tree *t);

#endif
