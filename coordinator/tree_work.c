/* tree_work.c - sums over a tree's nodes and labels. */
#include "coordinator/tree_work.h"

void tree_work_add(struct tree_work *w, const struct tree *t)
{
    uint32_t last = UINT32_MAX;
    w->rows += t->n_rows;
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        double count = t->nodes[i].count;
        w->context += count * t->nodes[i].depth + count * (count + 1.0) / 2.0;
    }
    for (uint32_t i = 0; i < t->n_labels; i++) { /* sorted by row */
        w->label_rows += t->labels[i].row != last;
        last = t->labels[i].row;
    }
}
