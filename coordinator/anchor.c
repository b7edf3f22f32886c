/* anchor.c - neutral texts, shuffled and weighed. */
#include "coordinator/anchor.h"

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/neutral_text.h"

/* ANCHOR_ID sets the ids of these trees apart from those of groups: they key dropout. */
enum { ANCHOR_SHUFFLE = 0xA4C402 };
#define ANCHOR_ID (1ull << 32)

struct anchor {
    const struct run_config *cfg;
    char hash[HASH_SHA256_HEX];
    uint32_t n;                 /* texts of the file */
    uint32_t longest;           /* rows of a tree */
    struct forest_trees *trees; /* [n] */
    uint32_t *order;            /* [n] of `epoch` */
    uint64_t epoch;             /* UINT64_MAX = nothing yet */
};

static enum err plant_all(struct anchor *a, const struct dataset *data, const struct values *values,
                          const struct tokenizer *tok, struct errbuf *e)
{
    struct render render = {0};
    a->trees = mem_calloc(data->n_scenarios, sizeof *a->trees);
    a->order = mem_calloc(data->n_scenarios, sizeof *a->order);
    enum err error = a->trees && a->order
                         ? render_init(&render, a->cfg, values, tok, e)
                         : err_set(e, ERR_NOMEM, "no memory for %u texts", data->n_scenarios);
    for (uint32_t i = 0; i < data->n_scenarios && error == OK; i++) {
        error = neutral_tree(&render, data, i, &a->trees[i], e);
        if (error == OK) {
            struct tree *t = &a->trees[i].items->tree;
            t->id = ANCHOR_ID | i;
            a->longest = t->n_rows > a->longest ? t->n_rows : a->longest;
            a->n++;
        }
    }
    render_free(&render);
    return error;
}

static enum err check(const struct run_config *cfg, const struct dataset *data, struct errbuf *e)
{
    if (!neutral_reads(data)) {
        return err_set(e, ERR_REFUSED,
                       "anchor.data: %s holds %s; 'sft' and 'questions' files are "
                       "what it takes",
                       data->path, data_format_info(data->format)->what);
    }
    if (cfg->anchor_texts > data->n_scenarios) {
        return err_set(e, ERR_REFUSED,
                       "anchor.texts is %u, but %s has %u texts: lower it or add texts",
                       cfg->anchor_texts, data->path, data->n_scenarios);
    }
    return OK;
}

enum err anchor_new(const struct run_config *cfg, const struct values *values,
                    const struct tokenizer *tok, struct anchor **out, struct errbuf *e)
{
    struct dataset *data = NULL;
    struct anchor *a = mem_calloc(1, sizeof *a);
    if (!a) {
        return err_set(e, ERR_NOMEM, "no memory for an anchor");
    }
    a->cfg = cfg;
    a->epoch = UINT64_MAX;
    enum err error = dataset_load(cfg->anchor_data, values, GROUP_SCENARIO, &data, e);
    if (error == OK) {
        error = check(cfg, data, e);
    }
    if (error == OK) {
        error = hash_file_sha256_hex(cfg->anchor_data, a->hash, e);
    }
    if (error == OK) {
        error = plant_all(a, data, values, tok, e);
    }
    dataset_free(&data);
    if (error != OK) {
        anchor_free(&a);
        return error;
    }
    *out = a;
    return OK;
}

void anchor_free(struct anchor **anchor)
{
    struct anchor *a = *anchor;
    *anchor = NULL;
    for (uint32_t i = 0; a && i < a->n; i++) {
        forest_trees_free(&a->trees[i]);
    }
    if (a) {
        mem_free(a->trees);
        mem_free(a->order);
        mem_free(a);
    }
}

const char *anchor_hash(const struct anchor *a)
{
    return a->hash;
}

uint32_t anchor_texts(const struct anchor *a)
{
    return a->cfg->anchor_texts;
}

uint32_t anchor_unit_rows(const struct anchor *a)
{
    const uint64_t all = (uint64_t)a->longest * a->cfg->anchor_texts;
    const uint32_t most = a->longest > a->cfg->unit_tokens ? a->longest : a->cfg->unit_tokens;
    return all < most ? (uint32_t)all : most;
}

uint32_t anchor_step_units(const struct anchor *a)
{
    const uint32_t together = a->cfg->unit_tokens / a->longest;
    const uint32_t each = together > 0 ? together : 1;
    return (a->cfg->anchor_texts + each - 1) / each;
}

/* The index of text number k of the endless list. */
static uint32_t text_of(struct anchor *a, uint64_t k)
{
    const uint64_t epoch = k / a->n;
    if (epoch != a->epoch) {
        for (uint32_t i = 0; i < a->n; i++) {
            a->order[i] = i;
        }
        rng_shuffle(rng_key(a->cfg->train_seed, ANCHOR_SHUFFLE, epoch, 0), a->order, a->n);
        a->epoch = epoch;
    }
    return a->order[k % a->n];
}

enum err anchor_build(struct anchor *a, uint64_t step, struct forest_trees *out, struct errbuf *e)
{
    const uint32_t texts = a->cfg->anchor_texts;
    uint64_t labels = 0;
    for (uint32_t i = 0; i < texts; i++) {
        const struct forest_trees *from = &a->trees[text_of(a, step * texts + i)];
        enum err error = forest_trees_copy(from, &out[i], e);
        if (error != OK) {
            return error;
        }
        labels += from->items->tree.n_labels;
    }
    for (uint32_t i = 0; i < texts; i++) {
        struct tree *t = &out[i].items->tree;
        for (uint32_t l = 0; l < t->n_labels; l++) {
            t->labels[l].weight = (float)(a->cfg->anchor_weight / (double)labels);
        }
    }
    return OK;
}
