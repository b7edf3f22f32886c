/* forest.h - prompt groups to weighted token trees: the training trees of a data set and the
 * scoring trees of an evaluation.
 * Owns: cuts to data.max_length, the weights of leaves, the parts of an oversized tree, the counts.
 * Never: which groups a step takes (plan), jobs, arithmetic on gradients. Place: dataset -> forest
 * -> plan (counts) and queue (trees). Loop thread; forest_new tokenises the whole data set.
 *
 * Loss of a group under train.objective: pft = mean over its pairs of [w_a CE_a + w_b CE_b], CE =
 * mean over the answer's labels: a leaf whose option is in k of n pairs has label weight w_side * k
 * / n / labels. What another objective asks for beside or instead: objective.h. */
#ifndef PFT_FOREST_H
#define PFT_FOREST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/tree/tree.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/readout.h"
#include "coordinator/render.h"
#include "coordinator/values.h"

struct forest_leaf {
    uint32_t node;   /* of its tree, the last of the sequence */
    uint32_t side;   /* enum readout_side of the prompt; training: 0 or 1 */
    uint32_t option; /* of the scenario */
    uint32_t labels; /* tokens of the answer */
    uint32_t pairs;  /* training: pairs of the group that hold the option */
    bool rejected;   /* training: an answer of the other side, there to be compared */
    bool letter;     /* scoring: the letter's log-probability, not the answer's */
    uint32_t shots;  /* scoring: earlier choices that the prompt shows */
};

struct forest_tree {
    struct tree tree;
    struct forest_leaf *leaves; /* [tree.n_leaves] */
};

/* One tree, or the parts of an oversized one in order of leaves. */
struct forest_trees {
    uint32_t n;
    struct forest_tree *items;
};
void forest_trees_free(struct forest_trees *trees);
/* Copies trees that have no terms yet. */
MUST_USE enum err forest_trees_copy(const struct forest_trees *from, struct forest_trees *to,
                                    struct errbuf *e);

/* What the plan needs of a group; groups are numbered as in the array, tree.id is that number. */
struct forest_group {
    uint32_t data_group; /* index into dataset.groups */
    uint32_t sides;      /* bit 1 << enum readout_side: preferences it trains */
    uint32_t rows;       /* of all its trees */
    uint32_t parts;      /* trees */
    uint32_t leaves;     /* of all its trees */
    uint32_t pairs;
    uint32_t labels_a, labels_b; /* of the answers that carry each side's own value */
};

struct forest_report {
    uint32_t groups;          /* usable ones */
    uint32_t groups_cut;      /* whose scenario lost words to data.max_length (paper: tokens) */
    uint64_t words_cut;       /* preference_last */
    uint64_t tokens_cut;      /* paper layout: on the right */
    uint32_t answers_emptied; /* paper layout: no label left, skipped */
    uint32_t groups_skipped;  /* paper layout: no answer left at all */
    uint32_t groups_split;    /* trees cut into parts */
    uint64_t rows;            /* of all trees */
    uint64_t sequence_tokens; /* of the distinct sequences, one by one */
    uint64_t pair_tokens;     /* of both sequences of every pair */
    uint32_t longest;         /* tokens of the longest sequence */
    uint32_t groups_beyond;   /* with a sequence longer than the model's context */
    uint32_t context;         /* of the model, in tokens; 0: unknown */
    bool bos_left_out;        /* the model's files ask for a token in front that is not put there */
};

struct forest;

/* Tokenises every group of data and counts. An answer that does not fit data.max_length, or a leaf
 * that does not fit tree_tokens_max, is ERR_REFUSED with file, line, option, both numbers and the
 * mend. All arguments are borrowed for as long as the forest lives. */
MUST_USE enum err forest_new(const struct run_config *cfg, const struct values *values,
                             const struct dataset *data, const struct tokenizer *tok,
                             struct forest **out, struct errbuf *e);
void forest_free(struct forest **f); /* NULL inside is fine */

const struct forest_group *forest_groups(const struct forest *f, uint32_t *n);
const struct forest_report *forest_report(const struct forest *f);

/* Appends what was cut, emptied, skipped, split and left out, and what is longer than the model's
 * context, as one line of words; nothing when nothing was. */
void forest_report_text(const struct forest_report *report, struct str *out);

/* The trees of group i (of forest_groups): the caller's (forest_trees_free). w_a and w_b are the
 * plan's, train.w_a and train.w_b are multiplied in here. reference: log-probabilities without
 * adapter of the group's leaves, in order; NULL where the objective needs none, or to have the
 * trees without terms so that they can be scored. The same arguments give the same bytes. */
MUST_USE enum err forest_build(struct forest *f, uint32_t i, float w_a, float w_b,
                               const double *reference, struct forest_trees *out, struct errbuf *e);

/* Scoring trees of one scenario, weights 1, tree.id = id. Leaves: for each side of `sides` (bit 1
 * << enum readout_side) in order A, B, none: every option in file order; then, with letters, every
 * option's letter under A, then under B. More than one tree only beyond tree_tokens_max. Scenarios
 * are cut to data.max_length by whole words in both layouts; *words_cut (may be NULL) counts. */
MUST_USE enum err forest_score(struct render *r, const struct data_scenario *s, const char *file,
                               uint32_t sides, bool letters, uint64_t id, struct forest_trees *out,
                               uint32_t *words_cut, struct errbuf *e);

#endif
