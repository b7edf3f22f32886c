/* forest_layout.h - inside forest: the sequences of one scenario, cut to fit, and their trees.
 * Owns: the cut to data.max_length, the parts of an oversized tree. Evaluations that render their
 * own sequences use layout_trees; everything else uses forest.h. */
#ifndef PFT_FOREST_LAYOUT_H
#define PFT_FOREST_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/forest.h"

/* A sequence that is wanted. */
struct wanted_leaf {
    enum readout_side side;
    uint32_t option;
    uint32_t pairs;      /* training */
    bool rejected;       /* training */
    uint32_t loss_group; /* neighbours of one number stay in one tree */
    bool letter;
    uint32_t shots; /* earlier choices that the prompt shows */
};

struct laid_leaf {
    struct wanted_leaf want;
    struct render_sequence sequence;
};

struct layout_counts {
    uint32_t words_cut;  /* of the scenario */
    uint64_t tokens_cut; /* paper: on the right */
    uint32_t emptied;    /* paper: leaves left without labels; they are taken out of the list */
    uint32_t longest;    /* tokens */
};

/* Renders n wanted leaves of a scenario into leaves [n]; train: training sequences (the paper
 * layout is cut on the right), else scoring ones. *kept <= n leaves are left, in order. ERR_REFUSED
 * names the option that cannot fit. On an error nothing is left to free. */
MUST_USE enum err layout_leaves(struct render *r, const struct data_scenario *s, const char *file,
                                const struct wanted_leaf *wanted, uint32_t n, bool train,
                                struct laid_leaf *leaves, uint32_t *kept,
                                struct layout_counts *counts, struct errbuf *e);
void layout_leaves_free(struct laid_leaf *leaves, uint32_t n);

/* Builds the tree(s) of n >= 1 leaves, label weights 1. ERR_REFUSED names a loss group that does
 * not fit tree_tokens_max. */
MUST_USE enum err layout_trees(const struct render *r, const struct data_scenario *s,
                               const char *file, const struct laid_leaf *leaves, uint32_t n,
                               uint64_t id, struct forest_trees *out, struct errbuf *e);

#endif
