/* unit_rows.c - rows, labels and attention blocks of a unit. */
#include "worker/model/unit_rows.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

enum { UNIT_ITEMS = 1 << 26, KEY_DROPOUT = 0x44726F70 };

/* Makes room for need items in *array, whatever its type. */
#define ROOM(array, capacity, need) room((void *)&(array), &(capacity), (need), sizeof *(array))

static enum err room(void *array, size_t *capacity, size_t need, size_t size)
{
    void **items = array;
    return mem_grow(items, capacity, need, size, UNIT_ITEMS);
}

/* The runs of rows from the root down to `count` tokens of a node, neighbours joined. */
static enum err add_runs(struct query_set *s, const struct tree *t, uint32_t base, uint32_t node,
                         uint32_t count)
{
    uint32_t first = s->n_runs;
    for (uint32_t at = node; at != TREE_ROOT; at = t->nodes[at].parent) {
        const struct tree_node *n = &t->nodes[at];
        uint32_t tokens = at == node ? count : n->count;
        struct attention_run *below = s->n_runs > first ? &s->runs[s->n_runs - 1] : NULL;
        if (below && base + n->first + tokens == below->row) {
            below->row -= tokens;
            below->col -= tokens;
            below->count += tokens;
            continue;
        }
        enum err error = ROOM(s->runs, s->runs_capacity, (size_t)s->n_runs + 1);
        if (error != OK) {
            return error;
        }
        s->runs[s->n_runs++] = (struct attention_run){base + n->first, tokens, n->depth};
    }
    for (uint32_t i = first, j = s->n_runs - 1; i < j; i++, j--) { /* root first */
        struct attention_run swap = s->runs[i];
        s->runs[i] = s->runs[j];
        s->runs[j] = swap;
    }
    return OK;
}

static enum err add_block(struct query_set *s, const struct tree *t, uint32_t base, uint32_t node,
                          uint32_t query, uint32_t queries)
{
    uint32_t last = s->rows[query + queries - 1] - base;
    uint32_t seen = last - t->nodes[node].first + 1;
    enum err error = ROOM(s->blocks, s->blocks_capacity, (size_t)s->n_blocks + 1);
    uint32_t run = s->n_runs;
    if (error == OK) {
        error = add_runs(s, t, base, node, seen);
    }
    if (error != OK) {
        return error;
    }
    struct attention_block *b = &s->blocks[s->n_blocks++];
    *b =
        (struct attention_block){query, queries, run, s->n_runs - run, t->nodes[node].depth + seen};
    size_t words = queries * score_ld(b->cols);
    s->score_words = words > s->score_words ? words : s->score_words;
    return OK;
}

/* Cuts the queries of one tree (from *query on, rows known) into blocks. */
static enum err add_blocks(struct query_set *s, const struct tree *t, uint32_t base, uint32_t query)
{
    for (uint32_t node = 0; node < t->n_nodes; node++) {
        uint32_t end = base + t->nodes[node].first + t->nodes[node].count;
        while (query < s->count && s->rows[query] < end) {
            uint32_t n = 0;
            while (n < ATTENTION_QUERIES && query + n < s->count && s->rows[query + n] < end) {
                n++;
            }
            enum err error = add_block(s, t, base, node, query, n);
            if (error != OK) {
                return error;
            }
            query += n;
        }
    }
    return OK;
}

static void add_query(struct query_set *s, uint32_t row, uint32_t position)
{
    s->rows[s->count] = row;
    s->positions[s->count] = position;
    s->limits[s->count] = position + 1;
    s->pairs += position + 1;
    s->count++;
}

static enum err set_start(struct query_set *s, size_t most)
{
    s->count = s->n_blocks = s->n_runs = 0;
    s->score_words = 0;
    s->pairs = 0;
    enum err error = ROOM(s->rows, s->rows_capacity, most);
    if (error == OK) {
        error = ROOM(s->positions, s->positions_capacity, most);
    }
    return error == OK ? ROOM(s->limits, s->limits_capacity, most) : error;
}

static enum err start(struct unit_rows *u, const struct unit *unit)
{
    size_t rows = 0;
    size_t labels = 0;
    for (uint32_t i = 0; i < unit->n_trees; i++) {
        rows += unit->trees[i].n_rows;
        labels += unit->trees[i].n_labels;
    }
    u->n_rows = u->n_labels = u->n_leaves = u->depth = 0;
    enum err error = rows < UNIT_ITEMS && labels < UNIT_ITEMS ? OK : ERR_FULL;
    if (error == OK) {
        error = ROOM(u->tokens, u->tokens_capacity, rows);
    }
    if (error == OK) {
        error = ROOM(u->keys, u->keys_capacity, rows);
    }
    if (error == OK) {
        error = ROOM(u->labels, u->labels_capacity, labels);
    }
    if (error == OK) {
        error = set_start(&u->all, rows);
    }
    return error == OK ? set_start(&u->labelled, labels < rows ? labels : rows) : error;
}

static void add_rows(struct unit_rows *u, const struct tree *t, uint64_t seed, uint64_t step)
{
    for (uint32_t node = 0; node < t->n_nodes; node++) {
        const struct tree_node *n = &t->nodes[node];
        CHECK(n->first + n->count <= t->n_rows);
        for (uint32_t i = 0; i < n->count; i++) {
            uint32_t row = n->first + i;
            u->tokens[u->n_rows] = t->tokens[row];
            u->keys[u->n_rows] = rng_key(rng_key(seed, KEY_DROPOUT, step, t->id), row, 0, 0);
            add_query(&u->all, u->n_rows, n->depth + i);
            u->n_rows++;
        }
        u->depth = n->depth + n->count > u->depth ? n->depth + n->count : u->depth;
    }
}

static void add_labels(struct unit_rows *u, const struct tree *t, uint32_t tree, uint32_t base)
{
    for (uint32_t i = 0; i < t->n_labels; i++) {
        const struct tree_label *label = &t->labels[i];
        uint32_t row = base + label->row;
        if (i == 0 || label->row != t->labels[i - 1].row) {
            add_query(&u->labelled, row, u->all.positions[row]);
        }
        u->labels[u->n_labels++] = (struct unit_label){.query = u->labelled.count - 1,
                                                       .target = label->target,
                                                       .tree = tree,
                                                       .leaf = u->n_leaves + label->leaf,
                                                       .weight = label->weight};
    }
    u->n_leaves += t->n_leaves;
}

enum err unit_rows_fill(struct unit_rows *u, const struct unit *unit, uint64_t seed, uint64_t step,
                        struct errbuf *e)
{
    enum err error = start(u, unit);
    for (uint32_t i = 0; error == OK && i < unit->n_trees; i++) {
        const struct tree *t = &unit->trees[i];
        uint32_t base = u->n_rows;
        uint32_t query = u->labelled.count;
        add_rows(u, t, seed, step);
        add_labels(u, t, i, base);
        error = add_blocks(&u->all, t, base, base);
        if (error == OK) {
            error = add_blocks(&u->labelled, t, base, query);
        }
    }
    if (error != OK) {
        return err_set(e, error, "unit %llu of %u trees: %s", (unsigned long long)unit->id,
                       unit->n_trees, err_text(error));
    }
    return OK;
}

static void set_free(struct query_set *s)
{
    mem_free(s->rows);
    mem_free(s->positions);
    mem_free(s->limits);
    mem_free(s->blocks);
    mem_free(s->runs);
}

void unit_rows_free(struct unit_rows *u)
{
    mem_free(u->tokens);
    mem_free(u->keys);
    mem_free(u->labels);
    set_free(&u->all);
    set_free(&u->labelled);
    *u = (struct unit_rows){0};
}
