/* trie.c - a radix trie over token sequences, written out as a tree. */
#include "coordinator/trie.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

#define NONE UINT32_MAX

/* A node while the trie grows: its tokens lie in the sequence that brought them. */
struct twig {
    const uint32_t *tokens;
    uint32_t count;
    uint32_t child;   /* first one */
    uint32_t sibling; /* next one under the same parent */
    uint32_t number;  /* in the finished tree */
};

struct trie {
    struct twig *twigs;
    size_t capacity;
    uint32_t n;
    uint32_t root; /* first of the roots */
};

static enum err new_twig(struct trie *t, const uint32_t *tokens, uint32_t count, uint32_t *index)
{
    void *twigs = t->twigs;
    enum err error = mem_grow(&twigs, &t->capacity, t->n + 1, sizeof *t->twigs, LIMIT_TREE_NODES);
    if (error == OK) {
        t->twigs = twigs;
        *index = t->n++;
        t->twigs[*index] = (struct twig){
            .tokens = tokens, .count = count, .child = NONE, .sibling = NONE, .number = NONE};
    }
    return error;
}

static uint32_t find(const struct trie *t, uint32_t first, uint32_t token)
{
    uint32_t i = first;
    while (i != NONE && t->twigs[i].tokens[0] != token) {
        i = t->twigs[i].sibling;
    }
    return i;
}

static uint32_t common(const uint32_t *a, uint32_t n_a, const uint32_t *b, uint32_t n_b)
{
    uint32_t n = n_a < n_b ? n_a : n_b;
    uint32_t i = 0;
    while (i < n && a[i] == b[i]) {
        i++;
    }
    return i;
}

/* Cuts a twig behind its first `keep` tokens; the rest becomes its only child. */
static enum err split(struct trie *t, uint32_t index, uint32_t keep)
{
    uint32_t rest = NONE;
    const struct twig whole = t->twigs[index];
    enum err error = new_twig(t, whole.tokens + keep, whole.count - keep, &rest);
    if (error == OK) {
        t->twigs[rest].child = whole.child;
        t->twigs[index].count = keep;
        t->twigs[index].child = rest;
    }
    return error;
}

static enum err insert(struct trie *t, const uint32_t *tokens, uint32_t n)
{
    uint32_t parent = NONE;
    for (uint32_t at = 0; at < n;) {
        uint32_t first = parent == NONE ? t->root : t->twigs[parent].child;
        uint32_t i = find(t, first, tokens[at]);
        if (i == NONE) {
            enum err error = new_twig(t, tokens + at, n - at, &i);
            if (error == OK) {
                t->twigs[i].sibling = first;
                *(parent == NONE ? &t->root : &t->twigs[parent].child) = i;
            }
            return error;
        }
        uint32_t same = common(tokens + at, n - at, t->twigs[i].tokens, t->twigs[i].count);
        if (same < t->twigs[i].count) {
            enum err error = split(t, i, same);
            if (error != OK) {
                return error;
            }
        }
        at += same;
        parent = i;
    }
    return OK;
}

/* Numbers the nodes in the order in which the sequences meet them; fills nodes and tokens. */
static void write_nodes(struct trie *t, const struct trie_sequence *s, uint32_t n, struct tree *out,
                        uint32_t *leaf_nodes)
{
    uint32_t number = 0;
    uint32_t row = 0;
    for (uint32_t leaf = 0; leaf < n; leaf++) {
        uint32_t parent = TREE_ROOT;
        uint32_t next = t->root;
        for (uint32_t at = 0; at < s[leaf].n - 1;) {
            struct twig *twig = &t->twigs[find(t, next, s[leaf].tokens[at])];
            if (twig->number == NONE) {
                twig->number = number++;
                out->nodes[twig->number] =
                    (struct tree_node){.parent = parent, .first = row, .count = twig->count};
                memcpy(out->tokens + row, twig->tokens, twig->count * sizeof *out->tokens);
                row += twig->count;
            }
            at += twig->count;
            parent = twig->number;
            next = twig->child;
        }
        if (leaf_nodes) {
            leaf_nodes[leaf] = parent;
        }
    }
    CHECK(number == out->n_nodes && row == out->n_rows);
}

static int compare_labels(const void *a, const void *b)
{
    const struct tree_label *x = a;
    const struct tree_label *y = b;
    if (x->row != y->row) {
        return x->row < y->row ? -1 : 1;
    }
    return (x->leaf > y->leaf) - (x->leaf < y->leaf);
}

static void write_labels(const struct trie *t, const struct trie_sequence *s, uint32_t n,
                         struct tree *out)
{
    uint32_t label = 0;
    for (uint32_t leaf = 0; leaf < n; leaf++) {
        uint32_t next = t->root;
        for (uint32_t at = 0; at < s[leaf].n - 1;) {
            const struct twig *twig = &t->twigs[find(t, next, s[leaf].tokens[at])];
            uint32_t first = out->nodes[twig->number].first;
            for (uint32_t i = 0; i < twig->count; i++, at++) {
                if (at + 1 >= s[leaf].first_label) {
                    out->labels[label++] = (struct tree_label){.row = first + i,
                                                               .target = s[leaf].tokens[at + 1],
                                                               .leaf = leaf,
                                                               .weight = s[leaf].weight};
                }
            }
            next = twig->child;
        }
    }
    CHECK(label == out->n_labels);
    qsort(out->labels, label, sizeof *out->labels, compare_labels);
}

enum err trie_build(const struct trie_sequence *sequences, uint32_t n, uint64_t id, uint32_t vocab,
                    struct tree *out, uint32_t *leaf_nodes, struct errbuf *e)
{
    struct trie t = {.root = NONE};
    uint64_t labels = 0;
    uint64_t rows = 0;
    enum err error = OK;
    *out = (struct tree){0};
    for (uint32_t i = 0; i < n && error == OK; i++) {
        const struct trie_sequence *s = &sequences[i];
        CHECK(s->n >= 2 && s->first_label >= 1 && s->first_label <= s->n);
        labels += s->n - s->first_label;
        error = insert(&t, s->tokens, s->n - 1);
    }
    for (uint32_t i = 0; i < t.n; i++) {
        rows += t.twigs[i].count;
    }
    if (error == OK && (rows > LIMIT_TREE_TOKENS || labels > LIMIT_TREE_LABELS)) {
        error = ERR_FULL;
    }
    if (error == ERR_FULL) {
        error = err_set(e, ERR_RANGE,
                        "a tree of %u sequences would have %llu rows, %llu labels; at most %d, %d "
                        "and %d nodes are possible",
                        n, (unsigned long long)rows, (unsigned long long)labels, LIMIT_TREE_TOKENS,
                        LIMIT_TREE_LABELS, LIMIT_TREE_NODES);
    } else if (error == OK) {
        error = tree_alloc(out, t.n, (uint32_t)rows, (uint32_t)labels, n);
    }
    if (error == ERR_NOMEM) {
        error = err_set(e, error, "no memory for a tree of %u sequences", n);
    }
    if (error == OK) {
        out->id = id;
        write_nodes(&t, sequences, n, out, leaf_nodes);
        write_labels(&t, sequences, n, out);
        error = tree_finish(out, vocab, e);
    }
    if (error != OK) {
        tree_free(out);
    }
    mem_free(t.twigs);
    return error;
}

uint32_t trie_added_rows(const struct trie_sequence *sequences, uint32_t first, uint32_t i)
{
    const struct trie_sequence *s = &sequences[i];
    uint32_t shared = 0;
    for (uint32_t k = first; k < i; k++) {
        uint32_t same = common(s->tokens, s->n - 1, sequences[k].tokens, sequences[k].n - 1);
        shared = same > shared ? same : shared;
    }
    return s->n - 1 - shared;
}
