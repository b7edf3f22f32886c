/* unit_rows.h - what the layers need to know of a unit, worked out once from its trees on the host:
 * tokens, positions, who attends to whom in blocks, which rows carry labels.
 * Owns: struct unit_rows and its growing arrays. Never: buffers, arithmetic on activations.
 * Rows of a unit are the rows of its trees one after another.
 *
 * Attention in blocks. A query set is the rows whose output a layer computes: all of them, or in
 * the last layer the labelled ones. Its queries fall into blocks of at most ATTENTION_QUERIES
 * queries of one node. What a block sees are the tokens on the way from the root to the block's
 * last query: column c of its score matrix is the token at position c, so a query sees exactly its
 * columns 0..position, and the columns come from few runs of rows (one per stretch of neighbouring
 * nodes). */
#ifndef PFT_UNIT_ROWS_H
#define PFT_UNIT_ROWS_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/tree/tree.h"

enum { ATTENTION_QUERIES = 32 };

struct attention_run {
    uint32_t row, count, col; /* rows row.. are columns col.. */
};

struct attention_block {
    uint32_t query, queries; /* of the query set */
    uint32_t run, runs;
    uint32_t cols; /* position of its last query + 1 */
};

struct query_set {
    uint32_t count;
    uint32_t *rows;      /* [count] ascending rows of the unit */
    uint32_t *positions; /* [count] */
    uint32_t *limits;    /* [count] positions + 1 */
    struct attention_block *blocks;
    struct attention_run *runs;
    uint32_t n_blocks, n_runs;
    size_t score_words; /* of the largest block and one head of a group: queries * score_ld */
    uint64_t pairs;     /* sum of limits: scores that count */
    size_t rows_capacity, positions_capacity, limits_capacity, blocks_capacity, runs_capacity;
};

struct unit_label {
    uint32_t query; /* of the labelled set */
    uint32_t target;
    uint32_t tree, leaf; /* leaf of the unit: tree by tree */
    float weight;
};

struct unit_rows {
    uint32_t n_rows, n_labels, n_leaves, depth; /* depth = largest position + 1 */
    uint32_t *tokens;                           /* [n_rows] */
    uint64_t *keys;                             /* [n_rows] of the dropout masks */
    struct unit_label *labels;                  /* [n_labels] by row, then leaf */
    struct query_set all, labelled;
    size_t tokens_capacity, keys_capacity, labels_capacity;
};

/* Columns of a score matrix in memory: a multiple of 16. */
static inline size_t score_ld(uint32_t cols)
{
    return ((size_t)cols + 15) / 16 * 16;
}

/* Fills u from a unit whose trees passed tree_finish. Reuses its arrays; ERR_NOMEM, ERR_FULL (more
 * than 2^26 rows, labels or runs). */
MUST_USE enum err unit_rows_fill(struct unit_rows *u, const struct unit *unit, uint64_t seed,
                                 uint64_t step, struct errbuf *e);

/* Fine on a zeroed struct. */
void unit_rows_free(struct unit_rows *u);

#endif
