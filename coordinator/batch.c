/* batch.c - groups of a step to trees, trees to units. */
#include "coordinator/batch.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/objective.h"
#include "coordinator/plan.h"

void batch_free(struct batch *b)
{
    for (uint32_t i = 0; b->owned && i < b->n_owned; i++) {
        forest_trees_free(&b->owned[i]);
    }
    mem_free(b->owned);
    mem_free(b->trees);
    mem_free(b->units);
    mem_free(b->ids);
    mem_free(b->rows);
    *b = (struct batch){0};
}

static enum err alloc_units(struct batch *b, struct errbuf *e)
{
    b->units = mem_calloc(b->n_units, sizeof *b->units);
    b->ids = mem_calloc(b->n_units, sizeof *b->ids);
    b->rows = mem_calloc(b->n_units, sizeof *b->rows);
    return b->units && b->ids && b->rows
               ? OK
               : err_set(e, ERR_NOMEM, "no memory for %u units", b->n_units);
}

/* Packs b->trees[n], anchors from `anchors` on, into units and fills the lists of the queue. */
static enum err pack(struct batch *b, uint32_t n, uint32_t anchors, uint32_t unit_tokens,
                     struct errbuf *e)
{
    struct plan_unit *units = NULL;
    uint32_t *rows = mem_calloc(n, sizeof *rows);
    if (!rows) {
        return err_set(e, ERR_NOMEM, "no memory for %u trees", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = b->trees[i].n_rows;
        b->tokens += rows[i];
        b->labels += b->trees[i].n_labels;
    }
    enum err error = plan_pack(rows, n, anchors, unit_tokens, b->tag, &units, &b->n_units, e);
    mem_free(rows);
    if (error == OK) {
        error = alloc_units(b, e);
    }
    for (uint32_t i = 0; error == OK && i < b->n_units; i++) {
        b->units[i] = (struct unit){.id = units[i].id,
                                    .n_trees = units[i].count,
                                    .n_rows = units[i].rows,
                                    .trees = b->trees + units[i].first,
                                    .anchor = units[i].first >= anchors};
        b->first_anchor += units[i].first < anchors;
        b->ids[i] = units[i].id;
        b->rows[i] = units[i].rows;
    }
    mem_free(units);
    return error;
}

/* The trees of the step's groups, then those of its anchors, into b->owned. */
static enum err build_all(const struct setup *s, const struct plan_item *items, uint32_t n,
                          uint64_t step, struct batch *b, struct errbuf *e)
{
    uint32_t n_groups;
    const struct forest_group *groups = forest_groups(s->forest, &n_groups);
    const uint32_t texts = s->anchor ? anchor_texts(s->anchor) : 0;
    b->owned = mem_calloc(n + texts, sizeof *b->owned);
    if (!b->owned) {
        return err_set(e, ERR_NOMEM, "no memory for %u groups", n + texts);
    }
    b->n_owned = n + texts;
    for (uint32_t i = 0; i < n; i++) {
        const struct plan_item *item = &items[i];
        const double *known = s->reference ? reference_of(s->reference, item->group) : NULL;
        CHECK(known || !objective_needs_reference(s->cfg));
        enum err error =
            forest_build(s->forest, item->group, item->w_a, item->w_b, known, &b->owned[i], e);
        if (error != OK) {
            return error;
        }
        b->pairs += groups[item->group].pairs;
    }
    return s->anchor ? anchor_build(s->anchor, step, b->owned + n, e) : OK;
}

static enum err build_step(const struct setup *s, const struct plan_item *items, uint32_t n,
                           uint64_t step, struct batch *b, struct errbuf *e)
{
    enum err error = build_all(s, items, n, step, b, e);
    uint32_t trees = 0;
    uint32_t anchors = 0;
    for (uint32_t i = 0; i < b->n_owned && error == OK; i++) {
        trees += b->owned[i].n;
        anchors += i < n ? b->owned[i].n : 0;
    }
    b->trees = mem_calloc(trees, sizeof *b->trees);
    if (error == OK && !b->trees) {
        error = err_set(e, ERR_NOMEM, "no memory for %u trees", trees);
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->n_owned && error == OK; i++) {
        for (uint32_t t = 0; t < b->owned[i].n; t++) {
            b->trees[at++] = b->owned[i].items[t].tree;
        }
    }
    return error == OK ? pack(b, trees, anchors, s->cfg->unit_tokens, e) : error;
}

enum err batch_train(const struct setup *s, uint64_t step, struct batch *b, struct errbuf *e)
{
    *b = (struct batch){.kind = JOB_GRADIENT, .tag = (uint32_t)step};
    struct plan_item *items = mem_calloc(s->cfg->train_batch_groups, sizeof *items);
    if (!items) {
        return err_set(e, ERR_NOMEM, "no memory for %u groups", s->cfg->train_batch_groups);
    }
    uint32_t n;
    plan_step(s->plan, step, items, &n);
    enum err error = build_step(s, items, n, step, b, e);
    mem_free(items);
    if (error != OK) {
        batch_free(b);
        return err_prefix(e, error, "step %llu", (unsigned long long)step);
    }
    return OK;
}

static enum err copy_trees(struct batch *b, const struct tree *trees, uint32_t n, struct errbuf *e)
{
    b->trees = mem_calloc(n, sizeof *b->trees);
    if (!b->trees) {
        return err_set(e, ERR_NOMEM, "no memory for %u trees", n);
    }
    memcpy(b->trees, trees, n * sizeof *trees);
    return OK;
}

/* A batch beside training: kind, tag and what else *b holds are set. */
static enum err pack_trees(struct batch *b, const struct tree *trees, uint32_t n,
                           uint32_t unit_tokens, struct errbuf *e)
{
    enum err error = copy_trees(b, trees, n, e);
    if (error == OK) {
        error = pack(b, n, n, unit_tokens, e);
    }
    if (error != OK) {
        batch_free(b);
    }
    return error;
}

enum err batch_score(const struct tree *trees, uint32_t n, uint32_t unit_tokens, uint32_t number,
                     struct batch *b, struct errbuf *e)
{
    *b = (struct batch){.kind = JOB_SCORE, .tag = PLAN_EVAL_TAG | number};
    return pack_trees(b, trees, n, unit_tokens, e);
}

enum err batch_capture(const struct tree *trees, uint32_t n, uint32_t unit_tokens, uint32_t number,
                       size_t sums, struct batch *b, struct errbuf *e)
{
    *b = (struct batch){.kind = JOB_CAPTURE, .tag = PLAN_EVAL_TAG | number, .sums = sums};
    enum err error = pack_trees(b, trees, n, unit_tokens, e);
    if (error == OK && b->n_units > LIMIT_STEP_UNITS) {
        error = err_set(e, ERR_RANGE,
                        "%u units to capture, at most %d fit an exact sum: take fewer scenarios or "
                        "raise unit_tokens",
                        b->n_units, LIMIT_STEP_UNITS);
        batch_free(b);
    }
    return error;
}

enum err batch_generate(const struct tree *trees, const struct answer_request *requests, uint32_t n,
                        uint32_t vocab, uint32_t number, struct batch *b, struct errbuf *e)
{
    *b = (struct batch){.kind = JOB_GENERATE,
                        .tag = PLAN_EVAL_TAG | number,
                        .n_units = n,
                        .first_anchor = n,
                        .requests = requests,
                        .vocab = vocab};
    enum err error = copy_trees(b, trees, n, e);
    if (error == OK) {
        error = alloc_units(b, e);
    }
    for (uint32_t i = 0; error == OK && i < n; i++) {
        const struct tree *t = &b->trees[i];
        b->ids[i] = (uint64_t)b->tag << 32 | i;
        b->units[i] = (struct unit){
            .id = b->ids[i], .n_trees = 1, .n_rows = t->n_rows, .trees = b->trees + i};
        b->rows[i] = t->n_rows + t->n_leaves * requests[i].max_new_tokens;
        b->tokens += b->rows[i];
        b->labels += t->n_labels;
    }
    if (error != OK) {
        batch_free(b);
    }
    return error;
}
