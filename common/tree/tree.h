/* tree.h - the one primitive: a weighted token tree (DESIGN §3), and units, lists of whole trees.
 * Owns: the plain structs, their checks and their byte form. Never: text, jobs, arithmetic.
 *
 * Rows. The rows of a tree are its tokens in node order: node 0 first, then node 1, ...; a parent
 * always comes before its children; there may be several roots. A token attends to the tokens of
 * its node's ancestors and to the earlier ones and itself of its own node. The position of a row
 * (for RoPE) is its distance from the root: node.depth + index within the node.
 * Labels. label = (row, target, weight, leaf): the row predicts target. Loss = sum of
 * weight * CE(logits[row], target). The row that ends a node carries the first label of each child;
 * a token shared by several leaves is one label per leaf. Sorted by (row, leaf).
 * Leaves. Numbered 0..n_leaves-1; a leaf's log-probability is the sum of log p(target) of its
 * labels, whatever their weights.
 * Terms. A loss that compares leaves (DPO and its kin): with L_k the log-probabilities of its
 * leaves x = offset + sum of coef_k * L_k the tree's loss += weight * (-(1 - smoothing) * log
 * sigma(x) - smoothing * log sigma(-x)) so what a label of such a leaf weighs is known only between
 * forward and backward. Leaves that terms tie together are a loss group; it lies whole within one
 * tree. Byte form (little-endian), used on the wire and in hashes: u32 n_nodes, n_rows, n_labels,
 * n_leaves, n_terms, u64 id per node u32 parent, u32 count; per row u32 token; per label u32 row,
 * target, leaf, f32 weight per term u32 n, u32 leaf [4], f32 coef [4], f64 offset, f32 weight, f32
 * smoothing
 */
#ifndef PFT_TREE_H
#define PFT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define TREE_ROOT UINT32_MAX /* the parent of a root */

struct tree_node {
    uint32_t parent; /* index of the parent node, smaller than its own, or TREE_ROOT */
    uint32_t first;  /* row of its first token */
    uint32_t count;  /* tokens, >= 1 */
    uint32_t depth;  /* position of its first token */
};

struct tree_label {
    uint32_t row;
    uint32_t target; /* token id */
    uint32_t leaf;
    float weight;
};

enum { TREE_TERM_LEAVES = 4 };

struct tree_term {
    uint32_t n;                      /* leaves, 1 to TREE_TERM_LEAVES; what follows them is 0 */
    uint32_t leaf[TREE_TERM_LEAVES]; /* each once */
    float coef[TREE_TERM_LEAVES];
    double offset;
    float weight;
    float smoothing; /* 0 to 1 */
};

struct tree {
    uint64_t id; /* meaning given by who made it; kept through the wire */
    uint32_t n_nodes, n_rows, n_labels, n_leaves, n_terms;
    struct tree_node *nodes;   /* [n_nodes] */
    uint32_t *tokens;          /* [n_rows] */
    struct tree_label *labels; /* [n_labels] */
    struct tree_term *terms;   /* [n_terms]; NULL without terms */
};

struct unit {
    uint64_t id; /* (step, index) of the plan */
    uint32_t n_trees;
    uint32_t n_rows; /* of all its trees */
    struct tree *trees;
    bool anchor; /* its loss is not CE: sum over labels of weight * KL(base || model) at their rows,
                    in nats, base being the model without adapter; no terms, targets mean nothing */
};

/* Makes an empty tree of these sizes, without terms; the caller fills it. tree_free frees it. */
MUST_USE enum err tree_alloc(struct tree *t, uint32_t n_nodes, uint32_t n_rows, uint32_t n_labels,
                             uint32_t n_leaves);
/* Room for n terms, all zero, in place of those the tree has. ERR_NOMEM leaves none. */
MUST_USE enum err tree_alloc_terms(struct tree *t, uint32_t n);
void tree_free(struct tree *t);

/* Fills first and depth of every node from parent and count, then checks every rule above and the
 * limits; vocab bounds token ids. The message names node, row, label or term. Pure. */
MUST_USE enum err tree_finish(struct tree *t, uint32_t vocab, struct errbuf *e);

/* Bytes of the byte form; writing (out has room for tree_bytes); reading a tree that was written
 * anywhere: checks sizes against limits and the bytes left before it allocates, then tree_finish.
 * *used is the bytes read. The tree is the caller's (tree_free). */
size_t tree_bytes(const struct tree *t);
void tree_write(const struct tree *t, uint8_t *out);
MUST_USE enum err tree_read(struct tree *t, const uint8_t *data, size_t bytes, uint32_t vocab,
                            size_t *used, struct errbuf *e);

#endif
