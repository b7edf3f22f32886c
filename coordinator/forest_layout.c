/* forest_layout.c - sequences of one scenario, cut to fit, and their trees. */
#include "coordinator/forest_layout.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "coordinator/trie.h"

void layout_leaves_free(struct laid_leaf *leaves, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        mem_free(leaves[i].sequence.tokens);
        leaves[i].sequence = (struct render_sequence){0};
    }
}

/* "vcd.json:12:3: option 2 'text...': " in front of a message. */
static enum err name_option(const struct data_scenario *s, const char *file, uint32_t option,
                            enum err error, struct errbuf *e)
{
    char quoted[QUOTE_BYTES];
    const struct data_text *text = &s->options[option].text;
    return err_prefix(e, error, "%s:%u:%u: option %u %s", file, s->line, s->column, option + 1,
                      quote(text->text, text->bytes, quoted));
}

/* Renders every wanted leaf with the scenario from byte `cut` on. */
static enum err render_all(struct render *r, const struct data_scenario *s, const char *file,
                           const struct wanted_leaf *wanted, uint32_t n, bool train, size_t cut,
                           struct laid_leaf *leaves, struct errbuf *e)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct render_request q = {
            .scenario = s, .cut = cut, .side = wanted[i].side, .option = wanted[i].option};
        leaves[i] = (struct laid_leaf){.want = wanted[i]};
        struct render_sequence *out = &leaves[i].sequence;
        enum err error = wanted[i].letter ? render_letter(r, &q, out, e)
                         : train          ? render_train(r, &q, out, e)
                                          : render_score(r, &q, out, e);
        if (error != OK) {
            layout_leaves_free(leaves, i);
            return name_option(s, file, wanted[i].option, error, e);
        }
    }
    return OK;
}

static uint32_t longest(const struct laid_leaf *leaves, uint32_t n, uint32_t *which)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (leaves[i].sequence.n > most) {
            most = leaves[i].sequence.n;
            *which = i;
        }
    }
    return most;
}

/* Finds the fewest whole words to take from the scenario's start so that every leaf fits, and
 * leaves the sequences rendered so. The count that is taken was tried, whatever the tokens of the
 * counts between do. */
static enum err cut_words(struct render *r, const struct data_scenario *s, const char *file,
                          const struct wanted_leaf *wanted, uint32_t n, bool train,
                          struct laid_leaf *leaves, struct layout_counts *counts, struct errbuf *e)
{
    uint32_t limit = r->cfg->data_max_length;
    uint32_t bad = 0;
    uint32_t good = render_words(s);
    uint32_t tried = good;
    uint32_t which = 0;
    enum err error = OK;
    while (error == OK) {
        layout_leaves_free(leaves, n);
        error = render_all(r, s, file, wanted, n, train, render_cut(s, tried), leaves, e);
        if (error != OK) {
            return error;
        }
        uint32_t most = longest(leaves, n, &which);
        bool fits = most <= limit;
        if (!fits && tried == good && bad == 0) {
            error = err_set(e, ERR_REFUSED,
                            "answer and prompt take %u tokens even without the scenario, "
                            "data.max_length is %u: raise it or shorten the answer",
                            most, limit);
            error = name_option(s, file, leaves[which].want.option, error, e);
            layout_leaves_free(leaves, n);
            return error;
        }
        *(fits ? &good : &bad) = tried;
        if (fits && good <= bad + 1) {
            break;
        }
        tried = good <= bad + 1 ? good : bad + (good - bad) / 2;
    }
    counts->words_cut = good;
    return OK;
}

/* The paper's cut: whatever lies behind max_length goes, the answer first. */
static void cut_right(const struct render *r, struct laid_leaf *leaves, uint32_t *n,
                      struct layout_counts *counts)
{
    uint32_t limit = r->cfg->data_max_length;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *n; i++) {
        struct render_sequence *s = &leaves[i].sequence;
        if (s->n > limit) {
            counts->tokens_cut += s->n - limit;
            s->n = limit;
            s->first_label = s->first_label < limit ? s->first_label : limit;
        }
        if (s->first_label >= s->n) {
            counts->emptied++;
            mem_free(s->tokens);
            continue;
        }
        leaves[kept++] = leaves[i];
    }
    *n = kept;
}

enum err layout_leaves(struct render *r, const struct data_scenario *s, const char *file,
                       const struct wanted_leaf *wanted, uint32_t n, bool train,
                       struct laid_leaf *leaves, uint32_t *kept, struct layout_counts *counts,
                       struct errbuf *e)
{
    uint32_t which = 0;
    *counts = (struct layout_counts){0};
    enum err error = render_all(r, s, file, wanted, n, train, 0, leaves, e);
    if (error != OK) {
        return error;
    }
    *kept = n;
    if (train && r->cfg->data_layout == LAYOUT_PAPER) {
        cut_right(r, leaves, kept, counts);
    } else if (longest(leaves, n, &which) > r->cfg->data_max_length) {
        error = cut_words(r, s, file, wanted, n, train, leaves, counts, e);
    }
    if (error == OK) {
        counts->longest = longest(leaves, *kept, &which);
    }
    return error;
}

void forest_trees_free(struct forest_trees *trees)
{
    for (uint32_t i = 0; i < trees->n; i++) {
        tree_free(&trees->items[i].tree);
        mem_free(trees->items[i].leaves);
    }
    mem_free(trees->items);
    *trees = (struct forest_trees){0};
}

enum err forest_trees_copy(const struct forest_trees *from, struct forest_trees *to,
                           struct errbuf *e)
{
    *to = (struct forest_trees){.items = mem_calloc(from->n, sizeof *to->items)};
    bool ok = to->items != NULL;
    for (uint32_t i = 0; i < from->n && ok; i++) {
        const struct tree *a = &from->items[i].tree;
        struct forest_tree *part = &to->items[to->n];
        part->leaves = mem_calloc(a->n_leaves, sizeof *part->leaves);
        ok = part->leaves &&
             tree_alloc(&part->tree, a->n_nodes, a->n_rows, a->n_labels, a->n_leaves) == OK;
        to->n++;
        if (ok) {
            struct tree *b = &part->tree;
            b->id = a->id;
            memcpy(b->nodes, a->nodes, a->n_nodes * sizeof *a->nodes);
            memcpy(b->tokens, a->tokens, a->n_rows * sizeof *a->tokens);
            memcpy(b->labels, a->labels, a->n_labels * sizeof *a->labels);
            memcpy(part->leaves, from->items[i].leaves, a->n_leaves * sizeof *part->leaves);
        }
    }
    if (!ok) {
        forest_trees_free(to);
        return err_set(e, ERR_NOMEM, "no memory for the trees of a group");
    }
    return OK;
}

/* Appends the tree of leaves [first, end) to out. */
static enum err add_part(const struct render *r, const struct laid_leaf *leaves,
                         const struct trie_sequence *sequences, uint32_t first, uint32_t end,
                         uint64_t id, struct forest_trees *out, struct errbuf *e)
{
    uint32_t n = end - first;
    struct forest_tree *part = &out->items[out->n];
    uint32_t *nodes = mem_calloc(n, sizeof *nodes);
    part->leaves = mem_calloc(n, sizeof *part->leaves);
    out->n++;
    enum err error =
        nodes && part->leaves
            ? trie_build(sequences + first, n, id, tokenizer_count(r->tok), &part->tree, nodes, e)
            : err_set(e, ERR_NOMEM, "no memory for a tree of %u leaves", n);
    for (uint32_t i = 0; i < n && error == OK; i++) {
        const struct laid_leaf *leaf = &leaves[first + i];
        part->leaves[i] =
            (struct forest_leaf){.node = nodes[i],
                                 .side = leaf->want.side,
                                 .option = leaf->want.option,
                                 .labels = leaf->sequence.n - leaf->sequence.first_label,
                                 .pairs = leaf->want.pairs,
                                 .rejected = leaf->want.rejected,
                                 .letter = leaf->want.letter,
                                 .shots = leaf->want.shots};
    }
    mem_free(nodes);
    return error;
}

/* The leaves [first, end) that a cut keeps together. */
static uint32_t loss_group_end(const struct laid_leaf *leaves, uint32_t n, uint32_t first)
{
    uint32_t end = first + 1;
    while (end < n && leaves[end].want.loss_group == leaves[first].want.loss_group) {
        end++;
    }
    return end;
}

/* Rows that the sequences [at, end) add to the tree of [first, at). */
static uint64_t added_rows(const struct trie_sequence *sequences, uint32_t first, uint32_t at,
                           uint32_t end)
{
    uint64_t rows = 0;
    for (uint32_t i = at; i < end; i++) {
        rows += trie_added_rows(sequences, first, i);
    }
    return rows;
}

static enum err too_large(const struct data_scenario *s, const char *file,
                          const struct laid_leaf *leaves, uint32_t n, uint64_t rows, uint32_t limit,
                          struct errbuf *e)
{
    if (n == 1) {
        (void)err_set(e, ERR_REFUSED,
                      "its sequence has %llu rows, tree_tokens_max is %u: raise it or lower "
                      "data.max_length",
                      (unsigned long long)rows, limit);
        return name_option(s, file, leaves->want.option, ERR_REFUSED, e);
    }
    return err_set(
        e, ERR_REFUSED,
        "%s:%u:%u: the %u answers that train.objective compares have %llu rows together, "
        "tree_tokens_max is %u: raise it, lower data.max_length or take data.group: pair",
        file, s->line, s->column, n, (unsigned long long)rows, limit);
}

enum err layout_trees(const struct render *r, const struct data_scenario *s, const char *file,
                      const struct laid_leaf *leaves, uint32_t n, uint64_t id,
                      struct forest_trees *out, struct errbuf *e)
{
    uint32_t limit = r->cfg->tree_tokens_max;
    uint64_t rows = 0;
    uint32_t first = 0;
    struct trie_sequence *sequences = mem_calloc(n, sizeof *sequences);
    *out = (struct forest_trees){.items = mem_calloc(n, sizeof *out->items)};
    enum err error =
        sequences && out->items ? OK : err_set(e, ERR_NOMEM, "no memory for %u sequences", n);
    for (uint32_t i = 0; i < n && error == OK; i++) {
        const struct render_sequence *seq = &leaves[i].sequence;
        sequences[i] = (struct trie_sequence){
            .tokens = seq->tokens, .n = seq->n, .first_label = seq->first_label, .weight = 1};
    }
    for (uint32_t i = 0, end = 0; i < n && error == OK; i = end) {
        end = loss_group_end(leaves, n, i);
        uint64_t added = added_rows(sequences, first, i, end);
        if (rows + added > limit && i > first) {
            error = add_part(r, leaves, sequences, first, i, id, out, e);
            first = i;
            rows = 0;
            added = added_rows(sequences, first, i, end);
        }
        if (error == OK && added > limit) {
            error = too_large(s, file, leaves + i, end - i, added, limit, e);
        }
        rows += added;
    }
    if (error == OK) {
        error = add_part(r, leaves, sequences, first, n, id, out, e);
    }
    mem_free(sequences);
    if (error != OK) {
        forest_trees_free(out);
    }
    return error;
}
