/* forest.c - groups to weighted trees, counted once and kept for the steps. */
#include "coordinator/forest.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/forest_layout.h"
#include "coordinator/objective.h"

/* Trees of the groups are kept up to here; beyond it they are built again when a step needs them.
 */
#define CACHE_BYTES ((size_t)512 << 20)

struct forest {
    const struct dataset *data;
    struct render render;
    struct forest_group *groups; /* [report.groups] */
    struct forest_trees *cached; /* [report.groups]; n 0 = not kept */
    size_t cached_bytes;
    struct forest_report report;
};

/* Leaves of a group: options of its pairs, side a first, in file order, with their pair counts. */
static uint32_t wanted_leaves(const struct forest *f, const struct data_group *group,
                              uint32_t sides, struct wanted_leaf *wanted)
{
    const struct data_scenario *s = &f->data->scenarios[group->scenario];
    uint32_t n = 0;
    for (uint32_t side = 0; side < OBJECTIVE_SIDES; side++) {
        for (uint32_t option = 0; option < s->n_options && (sides & 1u << side); option++) {
            uint32_t pairs = 0;
            bool rejected = s->options[option].side != side;
            for (uint32_t p = 0; p < group->n_pairs; p++) {
                const struct data_pair *pair = &f->data->pairs[group->first_pair + p];
                pairs += pair->a == option || pair->b == option;
            }
            if (pairs > 0 && (!rejected || objective_crosses(f->render.cfg))) {
                wanted[n] = (struct wanted_leaf){.side = (enum readout_side)side,
                                                 .option = option,
                                                 .pairs = pairs,
                                                 .rejected = rejected,
                                                 .loss_group =
                                                     objective_loss_group(f->render.cfg, side, n)};
                n++;
            }
        }
    }
    return n;
}

/* Builds the trees of a data group with weights 1. *out has n = 0 when no answer is left. */
static enum err build_group(struct forest *f, uint32_t data_group, uint32_t sides, uint64_t id,
                            struct forest_trees *out, struct layout_counts *counts,
                            uint64_t *pair_tokens, uint64_t *sequence_tokens, struct errbuf *e)
{
    const struct data_group *group = &f->data->groups[data_group];
    const struct data_scenario *s = &f->data->scenarios[group->scenario];
    struct wanted_leaf wanted[OBJECTIVE_SIDES * LIMIT_OPTIONS];
    struct laid_leaf leaves[OBJECTIVE_SIDES * LIMIT_OPTIONS];
    uint32_t kept = 0;
    uint32_t n = wanted_leaves(f, group, sides, wanted);
    *out = (struct forest_trees){0};
    enum err error =
        layout_leaves(&f->render, s, f->data->path, wanted, n, true, leaves, &kept, counts, e);
    if (error != OK) {
        return error;
    }
    for (uint32_t i = 0; i < kept; i++) {
        *sequence_tokens += leaves[i].sequence.n;
        *pair_tokens += (uint64_t)leaves[i].sequence.n * leaves[i].want.pairs;
    }
    if (kept > 0) {
        error = layout_trees(&f->render, s, f->data->path, leaves, kept, id, out, e);
    }
    layout_leaves_free(leaves, kept);
    return error;
}

static size_t trees_bytes(const struct forest_trees *trees)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < trees->n; i++) {
        const struct tree *t = &trees->items[i].tree;
        bytes += sizeof *trees->items + t->n_nodes * sizeof *t->nodes +
                 t->n_rows * sizeof *t->tokens + t->n_labels * sizeof *t->labels +
                 t->n_leaves * sizeof *trees->items[i].leaves;
    }
    return bytes;
}

static void count_group(struct forest_report *report, const struct forest_group *g,
                        const struct layout_counts *counts)
{
    report->rows += g->rows;
    report->groups_split += g->parts > 1;
    report->groups_cut += counts->words_cut > 0 || counts->tokens_cut > 0;
    report->words_cut += counts->words_cut;
    report->tokens_cut += counts->tokens_cut;
    report->answers_emptied += counts->emptied;
    report->groups_beyond += report->context > 0 && counts->longest > report->context;
    report->longest = counts->longest > report->longest ? counts->longest : report->longest;
}

static enum err measure_group(struct forest *f, uint32_t data_group, uint32_t sides,
                              struct errbuf *e)
{
    struct forest_report *report = &f->report;
    struct forest_trees trees;
    struct layout_counts counts;
    struct forest_group g = {
        .data_group = data_group, .sides = sides, .pairs = f->data->groups[data_group].n_pairs};
    enum err error = build_group(f, data_group, sides, report->groups, &trees, &counts,
                                 &report->pair_tokens, &report->sequence_tokens, e);
    if (error != OK) {
        return error;
    }
    g.parts = trees.n;
    for (uint32_t i = 0; i < trees.n; i++) {
        const struct forest_tree *part = &trees.items[i];
        g.rows += part->tree.n_rows;
        for (uint32_t k = 0; k < part->tree.n_leaves; k++) {
            const struct forest_leaf *leaf = &part->leaves[k];
            *(leaf->side == 0 ? &g.labels_a : &g.labels_b) += leaf->rejected ? 0 : leaf->labels;
        }
        g.leaves += part->tree.n_leaves;
    }
    count_group(report, &g, &counts);
    if (trees.n == 0) {
        report->groups_skipped++;
        return OK;
    }
    f->groups[report->groups] = g;
    size_t bytes = trees_bytes(&trees);
    if (bytes <= CACHE_BYTES - f->cached_bytes) {
        f->cached_bytes += bytes;
        f->cached[report->groups] = trees;
    } else {
        forest_trees_free(&trees);
    }
    report->groups++;
    return OK;
}

enum err forest_new(const struct run_config *cfg, const struct values *values,
                    const struct dataset *data, const struct tokenizer *tok, struct forest **out,
                    struct errbuf *e)
{
    if (data->format == DATA_RETENTION || data->format == DATA_SFT ||
        data->format == DATA_QUESTIONS) {
        return err_set(e, ERR_REFUSED,
                       "%s: %s have no two preferences, there is nothing to train "
                       "on; data.train takes 'vcd', 'pairs' and 'bqd' files",
                       data->path, data_format_info(data->format)->what);
    }
    struct forest *f = mem_calloc(1, sizeof *f);
    if (!f) {
        return err_set(e, ERR_NOMEM, "no memory for the forest");
    }
    uint32_t sides[OBJECTIVE_GROUPS_MAX];
    uint32_t n = objective_groups(cfg, sides);
    const struct tokenizer_notes notes = tokenizer_notes(tok);
    f->data = data;
    f->report.context = notes.context;
    f->report.bos_left_out = notes.wants_bos;
    f->groups = mem_calloc((size_t)n * data->n_groups, sizeof *f->groups);
    f->cached = mem_calloc((size_t)n * data->n_groups, sizeof *f->cached);
    enum err error = f->groups && f->cached
                         ? render_init(&f->render, cfg, values, tok, e)
                         : err_set(e, ERR_NOMEM, "no memory for %u groups", data->n_groups);
    for (uint32_t i = 0; i < n * data->n_groups && error == OK; i++) {
        error = measure_group(f, i / n, sides[i % n], e);
    }
    if (error == OK && f->report.groups == 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: no group to train on: %u scenarios have options of one side only, %u "
                        "groups lost every answer to data.max_length",
                        data->path, data->one_sided, f->report.groups_skipped);
    }
    if (error != OK) {
        forest_free(&f);
        return error;
    }
    *out = f;
    return OK;
}

void forest_free(struct forest **f)
{
    if (!*f) {
        return;
    }
    for (uint32_t i = 0; (*f)->cached && i < (*f)->report.groups; i++) {
        forest_trees_free(&(*f)->cached[i]);
    }
    render_free(&(*f)->render);
    mem_free((*f)->groups);
    mem_free((*f)->cached);
    mem_free(*f);
    *f = NULL;
}

const struct forest_group *forest_groups(const struct forest *f, uint32_t *n)
{
    *n = f->report.groups;
    return f->groups;
}

const struct forest_report *forest_report(const struct forest *f)
{
    return &f->report;
}

void forest_report_text(const struct forest_report *r, struct str *out)
{
    const char *comma = "";
    if (r->groups_cut > 0 && r->words_cut > 0) {
        str_addf(out, "%u groups lost %llu words from their start to data.max_length",
                 r->groups_cut, (unsigned long long)r->words_cut);
        comma = ", ";
    }
    if (r->tokens_cut > 0) {
        str_addf(out, "%s%u groups lost %llu tokens on the right to data.max_length", comma,
                 r->groups_cut, (unsigned long long)r->tokens_cut);
        comma = ", ";
    }
    if (r->answers_emptied > 0) {
        str_addf(out, "%s%u answers were cut away whole and are skipped", comma,
                 r->answers_emptied);
        comma = ", ";
    }
    if (r->groups_skipped > 0) {
        str_addf(out, "%s%u groups have no answer left and are skipped", comma, r->groups_skipped);
        comma = ", ";
    }
    if (r->groups_split > 0) {
        str_addf(out, "%s%u trees were cut into parts of tree_tokens_max", comma, r->groups_split);
        comma = ", ";
    }
    if (r->groups_beyond > 0) {
        str_addf(out,
                 "%s%u groups are longer than the model's context of %u positions (the longest has "
                 "%u tokens): lower data.max_length",
                 comma, r->groups_beyond, r->context, r->longest);
        comma = ", ";
    }
    if (r->bos_left_out) {
        str_addf(out, "%sthe model's add_bos_token is not followed: no text begins with it", comma);
    }
}

static void weigh_labels(const struct forest *f, const struct forest_group *g, float w_a, float w_b,
                         struct forest_tree *part)
{
    const struct run_config *cfg = f->render.cfg;
    const double ce = objective_ce_weight(cfg);
    const double w[OBJECTIVE_SIDES] = {ce * (double)(w_a * (float)cfg->train_w_a),
                                       ce * (double)(w_b * (float)cfg->train_w_b)};
    for (uint32_t l = 0; l < part->tree.n_labels; l++) {
        struct tree_label *label = &part->tree.labels[l];
        const struct forest_leaf *leaf = &part->leaves[label->leaf];
        label->weight = leaf->rejected ? 0.0f
                                       : (float)(w[leaf->side] * (double)leaf->pairs /
                                                 (double)g->pairs / (double)leaf->labels);
    }
}

enum err forest_build(struct forest *f, uint32_t i, float w_a, float w_b, const double *reference,
                      struct forest_trees *out, struct errbuf *e)
{
    CHECK(i < f->report.groups);
    struct layout_counts counts;
    uint64_t unused = 0;
    const struct forest_group *g = &f->groups[i];
    enum err error = f->cached[i].n > 0 ? forest_trees_copy(&f->cached[i], out, e)
                                        : build_group(f, g->data_group, g->sides, i, out, &counts,
                                                      &unused, &unused, e);
    if (error != OK) {
        return error;
    }
    const double w[OBJECTIVE_SIDES] = {(double)w_a, (double)w_b};
    bool terms = reference || !objective_needs_reference(f->render.cfg);
    uint32_t leaf = 0;
    for (uint32_t t = 0; t < out->n && error == OK; t++) {
        struct forest_tree *part = &out->items[t];
        weigh_labels(f, g, w_a, w_b, part);
        if (terms) {
            error = objective_terms(f->render.cfg, &f->data->groups[g->data_group], f->data->pairs,
                                    w, reference ? reference + leaf : NULL, part, e);
        }
        leaf += part->tree.n_leaves;
    }
    if (error != OK) {
        forest_trees_free(out);
    }
    return error;
}

enum err forest_score(struct render *r, const struct data_scenario *s, const char *file,
                      uint32_t sides, bool letters, uint64_t id, struct forest_trees *out,
                      uint32_t *words_cut, struct errbuf *e)
{
    struct wanted_leaf wanted[LIMIT_OPTIONS * 5];
    struct laid_leaf leaves[LIMIT_OPTIONS * 5];
    struct layout_counts counts;
    uint32_t n = 0;
    uint32_t kept = 0;
    for (uint32_t side = READOUT_A; side < READOUT_SIDES; side++) {
        for (uint32_t option = 0; option < s->n_options && (sides & 1u << side); option++) {
            wanted[n] = (struct wanted_leaf){
                .side = (enum readout_side)side, .option = option, .loss_group = n};
            n++;
        }
    }
    for (uint32_t side = READOUT_A; side < READOUT_NONE && letters; side++) {
        for (uint32_t option = 0; option < s->n_options; option++) {
            wanted[n] = (struct wanted_leaf){
                .side = (enum readout_side)side, .option = option, .letter = true, .loss_group = n};
            n++;
        }
    }
    CHECK(n > 0);
    *out = (struct forest_trees){0};
    enum err error = layout_leaves(r, s, file, wanted, n, false, leaves, &kept, &counts, e);
    if (error != OK) {
        return error;
    }
    error = layout_trees(r, s, file, leaves, kept, id, out, e);
    layout_leaves_free(leaves, kept);
    if (error == OK && words_cut) {
        *words_cut = counts.words_cut;
    }
    return error;
}
