/* trie.h - token sequences to the tree of their longest common prefixes (DESIGN §3).
 * Owns: the order of nodes, the labels. Never: text, weights of a loss. Pure.
 * Rows are the tokens of every sequence but its last (which is only predicted). Nodes are numbered
 * in the order in which a walk over the sequences, one after another, first meets them; each
 * sequence ends with a whole node. Leaf i is sequence i; equal sequences share every row. */
#ifndef PFT_TRIE_H
#define PFT_TRIE_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/tree/tree.h"

struct trie_sequence {
    const uint32_t *tokens;
    uint32_t n;           /* >= 2 */
    uint32_t first_label; /* 1 .. n; tokens[first_label ..] are targets */
    float weight;         /* of each of its labels */
};

/* Builds a finished tree (tree_free) of n >= 1 sequences; vocab bounds token ids; leaf_nodes [n]
 * (may be NULL) takes the node that each sequence ends with. ERR_RANGE beyond the limits of trees.
 */
MUST_USE enum err trie_build(const struct trie_sequence *sequences, uint32_t n, uint64_t id,
                             uint32_t vocab, struct tree *out, uint32_t *leaf_nodes,
                             struct errbuf *e);

/* Rows that sequence i adds to the tree of the sequences [first, i). */
uint32_t trie_added_rows(const struct trie_sequence *sequences, uint32_t first, uint32_t i);

#endif
