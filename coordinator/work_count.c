/* work_count.c - sums over trees and requests. */
#include "coordinator/work_count.h"

void work_count_tree(struct work_count *w, const struct tree *t)
{
    w->trees += 1.0;
    tree_work_add(&w->read, t);
}

void work_count_answers(struct work_count *w, const struct generate *g)
{
    for (uint32_t i = 0; i < generate_count(g); i++) {
        const struct tree *t = generate_tree(g, i);
        work_count_tree(w, t);
        /* a mix decodes a row of every branch for one token */
        w->decoded += (double)generate_request(g, i)->max_new_tokens * t->n_leaves;
    }
}

void work_count_json(const struct work_count *w, double passes, struct str *out)
{
    str_addf(out,
             "{\"trees\":%.0f,\"rows\":%.0f,\"context\":%.0f,\"label_rows\":%.0f,"
             "\"decoded\":%.0f}",
             passes * w->trees, passes * w->read.rows, passes * w->read.context,
             passes * w->read.label_rows, passes * w->decoded);
}
