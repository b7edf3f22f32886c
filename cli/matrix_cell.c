/* matrix_cell.c - names, words and keys of cells. */
#include "cli/matrix_cell.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/str.h"
#include "coordinator/config.h"

static enum err add_cell(struct matrix_cell **cells, size_t *capacity, uint32_t *n,
                         const struct matrix *m, const struct matrix_cell *c, struct errbuf *e)
{
    void *items = *cells;
    enum err error = mem_grow(&items, capacity, (size_t)*n + 1, sizeof **cells, MATRIX_CELLS_MAX);
    *cells = items;
    if (error != OK) {
        return err_set(e, error, "the matrix has more than %d cells", MATRIX_CELLS_MAX);
    }
    struct matrix_cell *to = &(*cells)[(*n)++];
    const char *variant = m->variants[c->variant].name;
    const char *what = c->evaluation == MATRIX_TRAIN ? "train" : m->evaluations[c->evaluation].name;
    *to = *c;
    if (m->variants[c->variant].trained) {
        (void)snprintf(to->name, sizeof to->name, "%s-seed%llu.%s", variant,
                       (unsigned long long)c->seed, what);
    } else {
        (void)snprintf(to->name, sizeof to->name, "%s.%s", variant, what);
    }
    return OK;
}

enum err matrix_cells(const struct matrix *m, struct matrix_cell **out, uint32_t *n,
                      struct errbuf *e)
{
    size_t capacity = 0;
    enum err error = OK;
    *out = NULL;
    *n = 0;
    for (uint32_t v = 0; v < m->n_variants && error == OK; v++) {
        for (uint32_t s = 0; s < m->variants[v].n_seeds && error == OK; s++) {
            struct matrix_cell c = {
                .variant = v, .evaluation = MATRIX_TRAIN, .seed = m->variants[v].seeds[s]};
            if (m->variants[v].trained) {
                error = add_cell(out, &capacity, n, m, &c, e);
            }
            for (uint32_t k = 0; k < m->n_evaluations && error == OK; k++) {
                c.evaluation = k;
                error = matrix_pairs(m, v, k) ? add_cell(out, &capacity, n, m, &c, e) : OK;
            }
        }
    }
    return error;
}

enum err matrix_place(const struct matrix *m, const struct matrix_cell *c, const char *folder,
                      struct matrix_place *out, struct errbuf *e)
{
    char owner[2 * MATRIX_NAME_BYTES + 32];
    const struct matrix_variant *v = &m->variants[c->variant];
    if (v->trained) {
        (void)snprintf(owner, sizeof owner, "%s-seed%llu", v->name, (unsigned long long)c->seed);
    } else {
        (void)snprintf(owner, sizeof owner, "%s", v->name);
    }
    const struct {
        char *to;
        const char *where, *name, *suffix;
    } list[] = {{out->run, "cells", owner, ""},
                {out->work, "work", owner, ""},
                {out->result, "results", c->name, ".json"},
                {out->log, "logs", c->name, ".log"},
                {out->answer, "logs", c->name, ".answer.json"},
                {out->eval, "work", c->name, ".eval"},
                {out->eval_key, "work", c->name, ".eval.key"}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        int n = snprintf(list[i].to, FILE_PATH_BYTES, "%s/%s/%s%s", folder, list[i].where,
                         list[i].name, list[i].suffix);
        if (n >= FILE_PATH_BYTES) {
            return err_set(e, ERR_RANGE, "%s: the path is too long", folder);
        }
    }
    return OK;
}

static enum err add_set(struct matrix_words *out, const char *set, struct errbuf *e)
{
    enum err error = matrix_words_add(out, "--set", e);
    return error == OK ? matrix_words_add(out, set, e) : error;
}

static enum err add_pair(struct matrix_words *out, const char *option, const char *value,
                         struct errbuf *e)
{
    enum err error = matrix_words_add(out, option, e);
    return error == OK ? matrix_words_add(out, value, e) : error;
}

static enum err add_key(const struct run_config *cfg, const char *key, struct matrix_words *out,
                        struct errbuf *e)
{
    struct str text = {0};
    str_addf(&text, "%s=", key);
    (void)config_value(cfg, key, &text);
    enum err error = str_ok(&text);
    /* the only text comes quoted; --set takes it as it is */
    size_t at = strlen(key) + 1;
    if (error == OK && text.data[at] == '"') {
        str_clear(&text);
        str_addf(&text, "%s=%s", key, cfg->data_system);
        error = str_ok(&text);
    }
    error = error == OK ? add_set(out, text.data, e) : err_set(e, error, "no memory for a word");
    str_free(&text);
    return error;
}

/* The model of a variant without training. asked: words that follow, whose data files count
 * instead; NULL for @model, which leaves the training file out. */
static enum err add_bare(const struct matrix_variant *v, const struct matrix_words *asked,
                         struct matrix_words *out, struct errbuf *e)
{
    static const char *const keys[] = {
        "data.system", "data.layout", "data.group", "data.max_length", "data.hold_out",
        "unit_tokens", "tile_rows",   "tile_cols",  "kernels",         "precision"};
    struct run_config *cfg = NULL;
    enum err error =
        config_load(v->config, (const char *const *)v->set.items, (int)v->set.n, &cfg, e);
    if (error != OK) {
        return error;
    }
    bool own_values = matrix_words_have(asked, "--values");
    const struct {
        const char *option, *value;
        bool wanted;
    } list[] = {
        {"--model", cfg->model_path[0] ? cfg->model_path : "default", true},
        {"--data", cfg->data_test, !matrix_words_have(asked, "--data")},
        {"--values", cfg->data_values, !own_values},
        {"--train", cfg->data_train, asked && !own_values && !matrix_words_have(asked, "--train")}};
    for (size_t i = 0; i < sizeof list / sizeof list[0] && error == OK; i++) {
        error = list[i].wanted && list[i].value[0] != '\0'
                    ? add_pair(out, list[i].option, list[i].value, e)
                    : OK;
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && error == OK; i++) {
        error = add_key(cfg, keys[i], out, e);
    }
    config_free(&cfg);
    return error;
}

/* RUN --data FILE, or what stands for the bare model. */
static enum err add_model(const struct matrix_variant *v, const struct matrix_place *p,
                          const struct matrix_words *asked, struct matrix_words *out,
                          struct errbuf *e)
{
    struct run_config *cfg = NULL;
    if (!v->trained) {
        return add_bare(v, asked, out, e);
    }
    enum err error = matrix_words_add(out, p->run, e);
    if (error == OK) {
        error = config_load(v->config, (const char *const *)v->set.items, (int)v->set.n, &cfg, e);
    }
    if (error == OK && cfg->data_test[0] && !matrix_words_have(asked, "--data")) {
        error = add_pair(out, "--data", cfg->data_test, e);
    }
    config_free(&cfg);
    return error;
}

/* A word with $RUN and $CELL replaced; @model is many words. */
static enum err add_word(const char *word, const struct matrix_variant *v,
                         const struct matrix_place *p, struct matrix_words *out, struct errbuf *e)
{
    char text[FILE_PATH_BYTES * 2];
    if (strcmp(word, "@model") == 0) {
        return add_model(v, p, NULL, out, e);
    }
    if (strcmp(word, "--paired") == 0 && !v->trained) {
        return OK; /* there is no adapter to switch off */
    }
    const struct {
        const char *name, *value;
    } list[] = {{"$RUN", p->run}, {"$CELL", p->work}};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(list[i].name);
        if (strncmp(word, list[i].name, n) == 0 && (word[n] == '\0' || word[n] == '/')) {
            (void)snprintf(text, sizeof text, "%s%s", list[i].value, word + n);
            return matrix_words_add(out, text, e);
        }
    }
    return matrix_words_add(out, word, e);
}

static enum err add_words(const struct matrix_words *words, const struct matrix_variant *v,
                          const struct matrix_place *p, struct matrix_words *out, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < words->n && error == OK; i++) {
        error = add_word(words->items[i], v, p, out, e);
    }
    return error;
}

static enum err begin_command(struct matrix_commands *list, struct matrix_words **out,
                              struct errbuf *e)
{
    void *items = mem_realloc(list->items, (size_t)list->n + 1, sizeof *list->items);
    if (!items) {
        return err_set(e, ERR_NOMEM, "no memory for a command");
    }
    list->items = items;
    *out = &list->items[list->n++];
    **out = (struct matrix_words){0};
    return OK;
}

static enum err add_training(const struct matrix_variant *v, const struct matrix_cell *c,
                             const struct matrix_place *p, bool resume, struct matrix_words *out,
                             struct errbuf *e)
{
    char seed[48];
    enum err error = add_pair(out, "run", v->config, e);
    for (uint32_t i = 0; i < v->set.n && error == OK; i++) {
        error = add_set(out, v->set.items[i], e);
    }
    (void)snprintf(seed, sizeof seed, "train.seed=%llu", (unsigned long long)c->seed);
    if (error == OK) {
        error = add_set(out, seed, e);
    }
    if (error == OK) {
        error = add_set(out, "data.test=", e); /* evaluations are cells of their own */
    }
    if (error == OK) {
        error = add_pair(out, "--out", p->run, e);
    }
    return error == OK && resume ? matrix_words_add(out, "--resume", e) : error;
}

static enum err add_evaluation(const struct matrix *m, const struct matrix_cell *c,
                               const struct matrix_place *p, struct matrix_words *out,
                               struct errbuf *e)
{
    const struct matrix_variant *v = &m->variants[c->variant];
    const struct matrix_evaluation *ev = &m->evaluations[c->evaluation];
    bool scored = strcmp(ev->command, "eval") == 0;
    enum err error = matrix_words_add(out, ev->command, e);
    if (error == OK && scored) {
        error = add_model(v, p, &ev->args, out, e);
    }
    if (error == OK) {
        error = add_words(&ev->args, v, p, out, e);
    }
    if (error == OK) {
        error = add_words(&v->args, v, p, out, e);
    }
    if (error == OK && scored) {
        error = add_pair(out, "--out", p->eval, e);
    }
    return error == OK ? matrix_words_add(out, "--json", e) : error;
}

enum err matrix_bare_evaluation(const struct matrix *m, const struct matrix_cell *c,
                                const struct matrix_place *p, const struct matrix_words *instead,
                                struct matrix_words *out, struct errbuf *e)
{
    const struct matrix_words *args = instead ? instead : &m->evaluations[c->evaluation].args;
    struct matrix_variant bare = m->variants[c->variant];
    bare.trained = false;
    enum err error = matrix_words_add(out, "eval", e);
    if (error == OK) {
        error = add_bare(&bare, args, out, e);
    }
    if (error == OK) {
        error = add_words(args, &bare, p, out, e);
    }
    return error == OK ? add_words(&bare.args, &bare, p, out, e) : error;
}

enum err matrix_bare_command(const struct matrix *m, const struct matrix_cell *c,
                             const struct matrix_place *p, const struct matrix_words *entry,
                             struct matrix_words *out, struct errbuf *e)
{
    struct matrix_variant bare = m->variants[c->variant];
    enum err error = OK;
    bare.trained = false;
    if (entry->n == 0 || entry->items[0][0] == '-') {
        error = matrix_words_add(out, "eval", e);
        error = error == OK ? add_bare(&bare, entry, out, e) : error;
    }
    return error == OK ? add_words(entry, &bare, p, out, e) : error;
}

static enum err add_before(const struct matrix_commands *before, const struct matrix_variant *v,
                           const struct matrix_place *p, struct matrix_commands *out,
                           struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < before->n && error == OK; i++) {
        struct matrix_words *words = NULL;
        error = begin_command(out, &words, e);
        if (error == OK) {
            error = add_words(&before->items[i], v, p, words, e);
        }
    }
    return error;
}

enum err matrix_commands(const struct matrix *m, const struct matrix_cell *c,
                         const struct matrix_place *p, bool resume, const char *workers,
                         struct matrix_commands *out, struct errbuf *e)
{
    const struct matrix_variant *v = &m->variants[c->variant];
    struct matrix_words *words = NULL;
    bool training = c->evaluation == MATRIX_TRAIN;
    enum err error = OK;
    if (!training) {
        error = add_before(&v->before, v, p, out, e);
    }
    if (error == OK && !training) {
        error = add_before(&m->evaluations[c->evaluation].before, v, p, out, e);
    }
    if (error == OK) {
        error = begin_command(out, &words, e);
    }
    if (error == OK) {
        error =
            training ? add_training(v, c, p, resume, words, e) : add_evaluation(m, c, p, words, e);
    }
    bool takes = training || strcmp(m->evaluations[c->evaluation].command, "eval") == 0;
    if (error == OK && workers && takes) {
        error = add_pair(words, "--workers", workers, e);
    }
    return error;
}

void matrix_commands_free(struct matrix_commands *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        matrix_words_free(&c->items[i]);
    }
    mem_free(c->items);
    *c = (struct matrix_commands){0};
}
