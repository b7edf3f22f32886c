/* eval_trees.h - the trees of an evaluation and what was scored of them.
 * Owns: both. Never: what a leaf stands for (the kind's). Loop thread. */
#ifndef PFT_EVAL_TREES_H
#define PFT_EVAL_TREES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/tree/tree.h"
#include "coordinator/forest.h"

/* With the adapter (or as asked for), and once more without it. */
enum eval_pass { EVAL_MAIN, EVAL_BASE, EVAL_PASSES };

struct eval_place {
    uint32_t part;     /* the kind's own */
    uint32_t scenario; /* of the data file that the part is about */
    uint32_t vectors;  /* added while it is scored (value_vectors.h); 0: those of every tree */
    struct forest_leaf *leaves;
    double *logp[EVAL_PASSES]; /* [tree.n_leaves] */
    bool taken[EVAL_PASSES];
};

struct eval_trees {
    uint32_t n;
    struct tree *trees;        /* [n]; id = index */
    struct eval_place *places; /* [n] */
    size_t tree_capacity, place_capacity;
};

/* Takes the trees of `from` over, all for one part and scenario; what could not be taken stays. */
MUST_USE enum err eval_trees_add(struct eval_trees *t, uint32_t part, uint32_t scenario,
                                 struct forest_trees *from, struct errbuf *e);

/* Takes the log-probabilities of a tree's leaves; the same tree may come twice. */
void eval_trees_take(struct eval_trees *t, enum eval_pass pass, uint32_t tree,
                     const double *leaf_logp);

/* ERR_STATE: a tree was not scored in this pass, or a log-probability is not finite. */
MUST_USE enum err eval_trees_check(const struct eval_trees *t, enum eval_pass pass,
                                   struct errbuf *e);

void eval_trees_free(struct eval_trees *t);

#endif
