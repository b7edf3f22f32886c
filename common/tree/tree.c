/* tree.c - checks and byte form of token trees. */
#include "common/tree/tree.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

enum { HEAD_BYTES = 28, NODE_BYTES = 8, LABEL_BYTES = 16, TERM_BYTES = 52 };

static enum err check_sizes(const struct tree *t, struct errbuf *e)
{
    if (t->n_nodes == 0 || t->n_nodes > LIMIT_TREE_NODES || t->n_rows < t->n_nodes ||
        t->n_rows > LIMIT_TREE_TOKENS || t->n_labels > LIMIT_TREE_LABELS ||
        t->n_leaves > LIMIT_TREE_LEAVES || t->n_terms > LIMIT_TREE_TERMS) {
        return err_set(e, ERR_RANGE,
                       "tree of %u nodes, %u rows, %u labels, %u leaves, %u terms; at most %d, %d, "
                       "%d, %d, %d and at least one node, one row a node",
                       t->n_nodes, t->n_rows, t->n_labels, t->n_leaves, t->n_terms,
                       LIMIT_TREE_NODES, LIMIT_TREE_TOKENS, LIMIT_TREE_LABELS, LIMIT_TREE_LEAVES,
                       LIMIT_TREE_TERMS);
    }
    return OK;
}

enum err tree_alloc(struct tree *t, uint32_t n_nodes, uint32_t n_rows, uint32_t n_labels,
                    uint32_t n_leaves)
{
    *t = (struct tree){0};
    size_t nodes = n_nodes * sizeof(struct tree_node);
    size_t labels = n_labels * sizeof(struct tree_label);
    unsigned char *block = mem_calloc(1, nodes + labels + n_rows * sizeof(uint32_t));
    if (!block) {
        return ERR_NOMEM;
    }
    t->n_nodes = n_nodes;
    t->n_rows = n_rows;
    t->n_labels = n_labels;
    t->n_leaves = n_leaves;
    t->nodes = (struct tree_node *)(void *)block;
    t->labels = (struct tree_label *)(void *)(block + nodes);
    t->tokens = (uint32_t *)(void *)(block + nodes + labels);
    return OK;
}

enum err tree_alloc_terms(struct tree *t, uint32_t n)
{
    mem_free(t->terms);
    t->terms = n > 0 ? mem_calloc(n, sizeof *t->terms) : NULL;
    t->n_terms = t->terms ? n : 0;
    return t->n_terms == n ? OK : ERR_NOMEM;
}

void tree_free(struct tree *t)
{
    mem_free(t->terms);
    mem_free(t->nodes);
    *t = (struct tree){0};
}

static enum err finish_nodes(struct tree *t, struct errbuf *e)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        struct tree_node *node = &t->nodes[i];
        if (node->parent != TREE_ROOT && node->parent >= i) {
            return err_set(e, ERR_RANGE, "node %u: parent %u does not come before it", i,
                           node->parent);
        }
        if (node->count == 0 || node->count > t->n_rows - row) {
            return err_set(e, ERR_RANGE, "node %u: %u tokens, 1 to %u are possible", i, node->count,
                           t->n_rows - row);
        }
        const struct tree_node *up = node->parent == TREE_ROOT ? NULL : &t->nodes[node->parent];
        node->first = row;
        node->depth = up ? up->depth + up->count : 0;
        row += node->count;
    }
    if (row != t->n_rows) {
        return err_set(e, ERR_RANGE, "nodes hold %u tokens, the tree says %u", row, t->n_rows);
    }
    return OK;
}

/* n leaves of the tree, each once, finite numbers; what lies behind them is 0. */
static bool term_holds(const struct tree_term *term, uint32_t n_leaves)
{
    bool ok = term->n >= 1 && term->n <= TREE_TERM_LEAVES && isfinite(term->offset) &&
              isfinite(term->weight) && term->smoothing >= 0.0f && term->smoothing <= 1.0f;
    for (uint32_t k = 0; ok && k < TREE_TERM_LEAVES; k++) {
        ok = k < term->n ? term->leaf[k] < n_leaves && isfinite(term->coef[k])
                         : term->leaf[k] == 0 && fabsf(term->coef[k]) <= 0.0f;
        for (uint32_t i = 0; i < k && k < term->n; i++) {
            ok = ok && term->leaf[i] != term->leaf[k];
        }
    }
    return ok;
}

static enum err check_terms(const struct tree *t, struct errbuf *e)
{
    for (uint32_t i = 0; i < t->n_terms; i++) {
        const struct tree_term *term = &t->terms[i];
        if (!term_holds(term, t->n_leaves)) {
            return err_set(e, ERR_RANGE,
                           "term %u: %u leaves (%u %u %u %u of %u), offset %g, weight %g, "
                           "smoothing %g; 1 to %d different leaves, finite numbers, a smoothing "
                           "of 0 to 1 are possible",
                           i, term->n, term->leaf[0], term->leaf[1], term->leaf[2], term->leaf[3],
                           t->n_leaves, term->offset, (double)term->weight, (double)term->smoothing,
                           TREE_TERM_LEAVES);
        }
    }
    return OK;
}

static enum err check_labels(const struct tree *t, uint32_t vocab, struct errbuf *e)
{
    for (uint32_t i = 0; i < t->n_labels; i++) {
        const struct tree_label *label = &t->labels[i];
        const struct tree_label *before = i > 0 ? label - 1 : label;
        if (label->row >= t->n_rows || label->target >= vocab || label->leaf >= t->n_leaves ||
            !isfinite(label->weight)) {
            return err_set(e, ERR_RANGE,
                           "label %u: row %u of %u, target %u of %u, leaf %u of %u, weight %g", i,
                           label->row, t->n_rows, label->target, vocab, label->leaf, t->n_leaves,
                           (double)label->weight);
        }
        if (before->row > label->row || (before->row == label->row && before->leaf > label->leaf)) {
            return err_set(e, ERR_RANGE, "label %u: not in order of row and leaf", i);
        }
    }
    return OK;
}

enum err tree_finish(struct tree *t, uint32_t vocab, struct errbuf *e)
{
    enum err error = check_sizes(t, e);
    if (error == OK) {
        error = finish_nodes(t, e);
    }
    if (error != OK) {
        return error;
    }
    for (uint32_t i = 0; i < t->n_rows; i++) {
        if (t->tokens[i] >= vocab) {
            return err_set(e, ERR_RANGE, "row %u: token %u, the vocabulary has %u", i, t->tokens[i],
                           vocab);
        }
    }
    error = check_labels(t, vocab, e);
    return error == OK ? check_terms(t, e) : error;
}

size_t tree_bytes(const struct tree *t)
{
    return HEAD_BYTES + (size_t)t->n_nodes * NODE_BYTES + (size_t)t->n_rows * 4 +
           (size_t)t->n_labels * LABEL_BYTES + (size_t)t->n_terms * TERM_BYTES;
}

static uint8_t *put(uint8_t *out, uint32_t v)
{
    bytes_put_u32(out, v);
    return out + 4;
}

static uint8_t *put_float(uint8_t *out, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return put(out, bits);
}

static uint8_t *put_term(uint8_t *out, const struct tree_term *term)
{
    uint64_t offset;
    memcpy(&offset, &term->offset, sizeof offset);
    out = put(out, term->n);
    for (int k = 0; k < TREE_TERM_LEAVES; k++) {
        out = put(out, term->leaf[k]);
    }
    for (int k = 0; k < TREE_TERM_LEAVES; k++) {
        out = put_float(out, term->coef[k]);
    }
    bytes_put_u64(out, offset);
    out = put_float(out + 8, term->weight);
    return put_float(out, term->smoothing);
}

static struct tree_term get_term(const uint8_t *p)
{
    struct tree_term term = {.n = bytes_get_u32(p)};
    for (int k = 0; k < TREE_TERM_LEAVES; k++) {
        term.leaf[k] = bytes_get_u32(p + 4 + 4 * k);
        term.coef[k] = bytes_get_f32(p + 20 + 4 * k);
    }
    uint64_t offset = bytes_get_u64(p + 36);
    memcpy(&term.offset, &offset, sizeof offset);
    term.weight = bytes_get_f32(p + 44);
    term.smoothing = bytes_get_f32(p + 48);
    return term;
}

void tree_write(const struct tree *t, uint8_t *out)
{
    out = put(out, t->n_nodes);
    out = put(out, t->n_rows);
    out = put(out, t->n_labels);
    out = put(out, t->n_leaves);
    out = put(out, t->n_terms);
    bytes_put_u64(out, t->id);
    out += 8;
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        out = put(out, t->nodes[i].parent);
        out = put(out, t->nodes[i].count);
    }
    for (uint32_t i = 0; i < t->n_rows; i++) {
        out = put(out, t->tokens[i]);
    }
    for (uint32_t i = 0; i < t->n_labels; i++) {
        out = put(out, t->labels[i].row);
        out = put(out, t->labels[i].target);
        out = put(out, t->labels[i].leaf);
        out = put_float(out, t->labels[i].weight);
    }
    for (uint32_t i = 0; i < t->n_terms; i++) {
        out = put_term(out, &t->terms[i]);
    }
}

enum err tree_read(struct tree *t, const uint8_t *data, size_t bytes, uint32_t vocab, size_t *used,
                   struct errbuf *e)
{
    if (bytes < HEAD_BYTES) {
        return err_set(e, ERR_PARSE, "tree: %zu bytes left, its head needs %d", bytes, HEAD_BYTES);
    }
    struct tree sizes = {.n_nodes = bytes_get_u32(data),
                         .n_rows = bytes_get_u32(data + 4),
                         .n_labels = bytes_get_u32(data + 8),
                         .n_leaves = bytes_get_u32(data + 12),
                         .n_terms = bytes_get_u32(data + 16)};
    enum err error = check_sizes(&sizes, e);
    if (error != OK) {
        return error;
    }
    if (tree_bytes(&sizes) > bytes) {
        return err_set(e, ERR_PARSE, "tree: needs %zu bytes, %zu are left", tree_bytes(&sizes),
                       bytes);
    }
    error = tree_alloc(t, sizes.n_nodes, sizes.n_rows, sizes.n_labels, sizes.n_leaves);
    if (error == OK) {
        error = tree_alloc_terms(t, sizes.n_terms);
    }
    if (error != OK) {
        tree_free(t);
        return err_set(e, error, "tree: no memory for %zu bytes", tree_bytes(&sizes));
    }
    t->id = bytes_get_u64(data + 20);
    const uint8_t *p = data + HEAD_BYTES;
    for (uint32_t i = 0; i < t->n_nodes; i++, p += NODE_BYTES) {
        t->nodes[i].parent = bytes_get_u32(p);
        t->nodes[i].count = bytes_get_u32(p + 4);
    }
    for (uint32_t i = 0; i < t->n_rows; i++, p += 4) {
        t->tokens[i] = bytes_get_u32(p);
    }
    for (uint32_t i = 0; i < t->n_labels; i++, p += LABEL_BYTES) {
        t->labels[i] = (struct tree_label){.row = bytes_get_u32(p),
                                           .target = bytes_get_u32(p + 4),
                                           .leaf = bytes_get_u32(p + 8),
                                           .weight = bytes_get_f32(p + 12)};
    }
    for (uint32_t i = 0; i < t->n_terms; i++, p += TERM_BYTES) {
        t->terms[i] = get_term(p);
    }
    *used = (size_t)(p - data);
    error = tree_finish(t, vocab, e);
    if (error != OK) {
        tree_free(t);
    }
    return error;
}
