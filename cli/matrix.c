/* matrix.c - the file of a matrix: its tables of keys, and what must go together. */
#include "cli/matrix.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/matrix_field.h"
#include "common/base/mem.h"
#include "coordinator/config.h"

#define AT(type, key, kind, member)                                                                \
    {                                                                                              \
        key, kind, offsetof(struct type, member)                                                   \
    }
#define COUNT(table) (sizeof(table) / sizeof(table)[0])

struct top {
    char *base;
    struct matrix_words set;
};

static const struct matrix_field matrix_fields[] = {
    AT(matrix, "title", FIELD_TEXT, title),
    AT(matrix, "lead", FIELD_TEXT, lead),
    AT(matrix, "reference", FIELD_TEXT, reference),
    AT(matrix, "seeds", FIELD_SEEDS, n_seeds),
    {"base", FIELD_OTHER, 0},
    {"set", FIELD_OTHER, 0},
    {"variants", FIELD_OTHER, 0},
    {"evaluations", FIELD_OTHER, 0},
    {"paper", FIELD_OTHER, 0},
    {"claims", FIELD_OTHER, 0},
};
static const struct matrix_field top_fields[] = {
    AT(top, "base", FIELD_PATH, base), AT(top, "set", FIELD_SETTINGS, set),
    {"title", FIELD_OTHER, 0},         {"lead", FIELD_OTHER, 0},
    {"reference", FIELD_OTHER, 0},     {"seeds", FIELD_OTHER, 0},
    {"variants", FIELD_OTHER, 0},      {"evaluations", FIELD_OTHER, 0},
    {"paper", FIELD_OTHER, 0},         {"claims", FIELD_OTHER, 0},
};
static const struct matrix_field variant_fields[] = {
    AT(matrix_variant, "name", FIELD_NAME, name),
    AT(matrix_variant, "what", FIELD_TEXT, what),
    AT(matrix_variant, "config", FIELD_PATH, config),
    AT(matrix_variant, "train", FIELD_FLAG, trained),
    AT(matrix_variant, "plot", FIELD_FLAG, plotted),
    AT(matrix_variant, "set", FIELD_SETTINGS, set),
    AT(matrix_variant, "args", FIELD_WORDS, args),
    AT(matrix_variant, "evaluations", FIELD_NAMES, evaluations),
    AT(matrix_variant, "before", FIELD_COMMANDS, before),
    AT(matrix_variant, "counts", FIELD_COMMANDS, counts),
    AT(matrix_variant, "seeds", FIELD_SEEDS, n_seeds),
};
static const struct matrix_field evaluation_fields[] = {
    AT(matrix_evaluation, "name", FIELD_NAME, name),
    AT(matrix_evaluation, "what", FIELD_TEXT, what),
    AT(matrix_evaluation, "command", FIELD_TEXT, command),
    AT(matrix_evaluation, "args", FIELD_WORDS, args),
    AT(matrix_evaluation, "variants", FIELD_NAMES, variants),
    AT(matrix_evaluation, "needs", FIELD_NAMES, needs),
    AT(matrix_evaluation, "parts", FIELD_NAMES, parts),
    AT(matrix_evaluation, "figures", FIELD_NAMES, figures),
    AT(matrix_evaluation, "before", FIELD_COMMANDS, before),
    AT(matrix_evaluation, "counts", FIELD_COMMANDS, counts),
    AT(matrix_evaluation, "list", FIELD_TEXT, list),
    AT(matrix_evaluation, "measure", FIELD_TEXT, measure),
    AT(matrix_evaluation, "x", FIELD_TEXT, x),
    AT(matrix_evaluation, "note", FIELD_TEXT, note),
    AT(matrix_evaluation, "chance", FIELD_NUMBER, chance),
};
static const struct matrix_field fact_fields[] = {
    AT(matrix_fact, "what", FIELD_TEXT, what),
    AT(matrix_fact, "reported", FIELD_TEXT, reported),
    AT(matrix_fact, "setting", FIELD_TEXT, setting),
    AT(matrix_fact, "variant", FIELD_TEXT, variant),
    AT(matrix_fact, "column", FIELD_TEXT, column),
    AT(matrix_fact, "note", FIELD_TEXT, note),
};
static const struct matrix_field claim_fields[] = {
    AT(matrix_claim, "text", FIELD_TEXT, text),
    AT(matrix_claim, "better", FIELD_TEXT, better),
    AT(matrix_claim, "than", FIELD_TEXT, than),
    AT(matrix_claim, "column", FIELD_TEXT, column),
    AT(matrix_claim, "side", FIELD_TEXT, side),
    AT(matrix_claim, "margin", FIELD_NUMBER, margin),
    AT(matrix_claim, "at_least", FIELD_NUMBER, at_least),
    AT(matrix_claim, "at_most", FIELD_NUMBER, at_most),
    AT(matrix_claim, "each_value_at_least", FIELD_NUMBER, each_value_at_least),
    AT(matrix_claim, "above_words", FIELD_NUMBER, above_words),
};

struct loading {
    struct yaml_tree tree;
    struct matrix *m;
    struct top top;
    struct matrix_words unmet; /* names of evaluations whose variables are not set */
};

int matrix_variant(const struct matrix *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_variants; i++) {
        if (m->variants[i].name && strcmp(m->variants[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int matrix_evaluation(const struct matrix *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_evaluations; i++) {
        if (m->evaluations[i].name && strcmp(m->evaluations[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool matrix_pairs(const struct matrix *m, uint32_t variant, uint32_t evaluation)
{
    const struct matrix_variant *v = &m->variants[variant];
    const struct matrix_evaluation *ev = &m->evaluations[evaluation];
    bool asks = v->evaluations.n > 0 ? matrix_words_have(&v->evaluations, ev->name) : true;
    bool asked = ev->variants.n > 0 ? matrix_words_have(&ev->variants, v->name) : true;
    return asks && asked;
}

/* The list under key, of 0 (or 1) to most mappings; NULL when it is absent and may be. */
static enum err find_list(struct loading *l, const char *key, bool needed, uint32_t most,
                          const struct yaml_node **out, struct errbuf *e)
{
    *out = yaml_tree_get(&l->tree.root, key);
    if (!*out && needed) {
        return yaml_tree_fail(&l->tree, &l->tree.root, e, "there is no '%s'", key);
    }
    if (*out && ((*out)->kind != YAML_NODE_LIST || (*out)->n > most || (needed && !(*out)->n))) {
        return yaml_tree_fail(&l->tree, *out, e, "%s: expected a list of %d to %u mappings", key,
                              needed ? 1 : 0, most);
    }
    return OK;
}

/* Reads a list of mappings into a fresh array. */
static enum err read_list(struct loading *l, const char *key, bool needed, uint32_t most,
                          const struct matrix_field *fields, size_t n_fields, size_t size,
                          void **items, uint32_t *n, struct errbuf *e)
{
    const struct yaml_node *list = NULL;
    enum err error = find_list(l, key, needed, most, &list, e);
    if (error != OK || !list) {
        return error;
    }
    *items = mem_calloc(list->n, size);
    if (!*items) {
        return err_set(e, ERR_NOMEM, "no memory for %s", key);
    }
    for (uint32_t i = 0; i < list->n && error == OK; i++) {
        char *at = (char *)*items + (size_t)i * size;
        *n = i + 1;
        if (strcmp(key, "variants") == 0) {
            ((struct matrix_variant *)(void *)at)->trained = true;
            ((struct matrix_variant *)(void *)at)->plotted = true;
        }
        error = matrix_field_read(&l->tree, &list->items[i], key, fields, n_fields, at, e);
    }
    return error;
}

static enum err read_lists(struct loading *l, struct errbuf *e)
{
    struct matrix *m = l->m;
    void *items = NULL;
    enum err error =
        read_list(l, "variants", true, MATRIX_VARIANTS, variant_fields, COUNT(variant_fields),
                  sizeof *m->variants, &items, &m->n_variants, e);
    m->variants = items;
    items = NULL;
    if (error == OK) {
        error = read_list(l, "evaluations", true, MATRIX_EVALUATIONS, evaluation_fields,
                          COUNT(evaluation_fields), sizeof *m->evaluations, &items,
                          &m->n_evaluations, e);
        m->evaluations = items;
        items = NULL;
    }
    if (error == OK) {
        error = read_list(l, "paper", false, MATRIX_FACTS, fact_fields, COUNT(fact_fields),
                          sizeof *m->facts, &items, &m->n_facts, e);
        m->facts = items;
        items = NULL;
    }
    if (error == OK) {
        error = read_list(l, "claims", false, MATRIX_CLAIMS, claim_fields, COUNT(claim_fields),
                          sizeof *m->claims, &items, &m->n_claims, e);
        m->claims = items;
    }
    return error;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] != '\0';
}

/* Is the variable set that a text names, or all of a list? */
static bool all_set(const struct yaml_node *names)
{
    bool set = !names || names->kind != YAML_NODE_TEXT || is_set(names->text);
    for (uint32_t i = 0; names && i < names->n && set; i++) {
        set = names->items[i].kind == YAML_NODE_TEXT && is_set(names->items[i].text);
    }
    return set;
}

/* Evaluations whose variables are not set are as if they were not there; only their names stay, so
 * that a claim on one is not measured rather than wrong. */
static enum err drop_unmet(struct loading *l, struct errbuf *e)
{
    struct yaml_node *list = yaml_tree_change(&l->tree, "evaluations");
    enum err error = OK;
    for (uint32_t i = 0; list && list->kind == YAML_NODE_LIST && i < list->n && error == OK;) {
        const struct yaml_node *name = yaml_tree_get(&list->items[i], "name");
        if (all_set(yaml_tree_get(&list->items[i], "needs"))) {
            i++;
            continue;
        }
        if (name && name->kind == YAML_NODE_TEXT) {
            error = matrix_words_add(&l->unmet, name->text, e);
        }
        yaml_tree_drop(list, i);
    }
    return error;
}

/* Replaces "" by a default. */
static enum err fill(char **text, const char *fallback, struct errbuf *e)
{
    if ((*text)[0] != '\0') {
        return OK;
    }
    mem_free(*text);
    *text = mem_strdup(fallback);
    return *text ? OK : err_set(e, ERR_NOMEM, "no memory for a text");
}

/* The settings of all variants come before a variant's own. */
static enum err prepend(struct matrix_words *own, const struct matrix_words *common,
                        struct errbuf *e)
{
    struct matrix_words all = {0};
    enum err error = OK;
    for (uint32_t i = 0; i < common->n && error == OK; i++) {
        error = matrix_words_add(&all, common->items[i], e);
    }
    for (uint32_t i = 0; i < own->n && error == OK; i++) {
        error = matrix_words_add(&all, own->items[i], e);
    }
    matrix_words_free(error == OK ? own : &all);
    if (error == OK) {
        *own = all;
    }
    return error;
}

static enum err check_names(const struct loading *l, const struct yaml_node *at,
                            const struct matrix_words *list, bool variants, struct errbuf *e)
{
    for (uint32_t i = 0; i < list->n; i++) {
        const char *name = list->items[i];
        bool unmet = !variants && matrix_words_have(&l->unmet, name);
        if (!unmet && (variants ? matrix_variant(l->m, name) : matrix_evaluation(l->m, name)) < 0) {
            return yaml_tree_fail(&l->tree, at, e, "there is no %s '%.40s'",
                                  variants ? "variant" : "evaluation", name);
        }
    }
    return OK;
}

/* Tries the settings on the run config and completes the variant. */
static enum err settle_variant(struct loading *l, uint32_t i, const struct yaml_node *at,
                               struct errbuf *e)
{
    struct matrix_variant *v = &l->m->variants[i];
    struct run_config *cfg = NULL;
    enum err error = check_names(l, at, &v->evaluations, false, e);
    if (error == OK && matrix_variant(l->m, v->name) != (int)i) {
        error = yaml_tree_fail(&l->tree, at, e, "the variant '%s' comes twice", v->name);
    }
    if (error == OK && v->config[0] == '\0' && l->top.base[0] == '\0') {
        error = yaml_tree_fail(&l->tree, at, e,
                               "variant '%s': neither it has a 'config' nor the "
                               "file a 'base'",
                               v->name);
    }
    if (error == OK) {
        error = fill(&v->config, l->top.base, e);
    }
    if (error == OK) {
        error = prepend(&v->set, &l->top.set, e);
    }
    if (error == OK && v->n_seeds == 0) {
        v->n_seeds = l->m->n_seeds;
        memcpy(v->seeds, l->m->seeds, sizeof v->seeds);
    }
    if (error == OK && !v->trained) {
        v->n_seeds = 1;
    }
    if (error == OK) {
        error = config_load(v->config, (const char *const *)v->set.items, (int)v->set.n, &cfg, e);
        error = error == OK
                    ? OK
                    : err_prefix(e, error, "%s:%u: variant '%s'", l->tree.name, at->line, v->name);
    }
    config_free(&cfg);
    return error;
}

static bool is_column_of(const char *column, const char *evaluation)
{
    size_t n = strlen(evaluation);
    return strncmp(column, evaluation, n) == 0 && (column[n] == '\0' || column[n] == ' ');
}

/* A column belongs to the evaluation that its name begins with. */
static bool has_column(const struct loading *l, const char *column)
{
    bool has = false;
    for (uint32_t i = 0; i < l->m->n_evaluations && !has; i++) {
        has = is_column_of(column, l->m->evaluations[i].name);
    }
    for (uint32_t i = 0; i < l->unmet.n && !has; i++) {
        has = is_column_of(column, l->unmet.items[i]);
    }
    return has;
}

static enum err settle_claims(struct loading *l, struct errbuf *e)
{
    const struct yaml_node *list = yaml_tree_get(&l->tree.root, "claims");
    for (uint32_t i = 0; i < l->m->n_claims; i++) {
        const struct matrix_claim *c = &l->m->claims[i];
        const struct yaml_node *at = &list->items[i];
        bool difference = c->than[0] != '\0';
        int asks = (difference ? 1 : 0) + isfinite(c->at_least) + isfinite(c->at_most) +
                   isfinite(c->each_value_at_least) + isfinite(c->above_words);
        if (c->text[0] == '\0' || !has_column(l, c->column)) {
            return yaml_tree_fail(&l->tree, at, e,
                                  "claims: a claim needs 'text' and a 'column' that begins with "
                                  "the name of an evaluation");
        }
        if (matrix_variant(l->m, c->better) < 0 ||
            (difference && matrix_variant(l->m, c->than) < 0)) {
            return yaml_tree_fail(&l->tree, at, e, "claims: 'better' and 'than' name variants");
        }
        if (asks != 1) {
            return yaml_tree_fail(&l->tree, at, e,
                                  "claims: one of 'than', 'at_least', 'at_most', "
                                  "'each_value_at_least' and 'above_words' is needed");
        }
        if (c->side[0] != '\0' && strcmp(c->side, "a") != 0 && strcmp(c->side, "b") != 0) {
            return yaml_tree_fail(&l->tree, at, e, "claims: side is a or b");
        }
        if (c->side[0] != '\0' && (isfinite(c->each_value_at_least) || isfinite(c->above_words))) {
            return yaml_tree_fail(&l->tree, at, e,
                                  "claims: 'side' does not go with 'each_value_at_least', whose "
                                  "values are of one side, nor with 'above_words', which are "
                                  "counted over both");
        }
        if (isfinite(c->margin) && !difference) {
            return yaml_tree_fail(&l->tree, at, e, "claims: 'margin' goes with 'than' alone");
        }
    }
    return OK;
}

static enum err settle(struct loading *l, struct errbuf *e)
{
    struct matrix *m = l->m;
    const struct yaml_node *variants = yaml_tree_get(&l->tree.root, "variants");
    const struct yaml_node *evaluations = yaml_tree_get(&l->tree.root, "evaluations");
    enum err error = fill(&m->title, "Reproduction", e);
    m->n_seeds = m->n_seeds > 0 ? m->n_seeds : 1; /* seed 0 */
    for (uint32_t i = 0; i < m->n_evaluations && error == OK; i++) {
        struct matrix_evaluation *ev = &m->evaluations[i];
        if (matrix_evaluation(m, ev->name) != (int)i) {
            error = yaml_tree_fail(&l->tree, &evaluations->items[i], e,
                                   "the evaluation '%s' comes twice", ev->name);
        }
        error = error == OK ? fill(&ev->command, "eval", e) : error;
        error = error == OK ? fill(&ev->measure, "accuracy", e) : error;
        error = error == OK ? fill(&ev->list, "results", e) : error;
        if (error == OK) {
            error = check_names(l, &evaluations->items[i], &ev->variants, true, e);
        }
    }
    for (uint32_t i = 0; i < m->n_variants && error == OK; i++) {
        error = settle_variant(l, i, &variants->items[i], e);
    }
    if (error == OK && m->reference[0] != '\0' && matrix_variant(m, m->reference) < 0) {
        error = yaml_tree_fail(&l->tree, yaml_tree_get(&l->tree.root, "reference"), e,
                               "reference: there is no variant '%.40s'", m->reference);
    }
    return error == OK ? settle_claims(l, e) : error;
}

enum err matrix_load(const char *path, struct matrix **out, struct errbuf *e)
{
    struct loading l = {0};
    *out = NULL;
    char *real = realpath(path, NULL);
    if (!real) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", path);
    }
    l.m = mem_calloc(1, sizeof *l.m);
    enum err error = l.m ? OK : err_set(e, ERR_NOMEM, "no memory for %s", path);
    if (error == OK) {
        l.m->config = mem_strdup(real);
        error = l.m->config ? yaml_tree_read(path, &l.tree, e)
                            : err_set(e, ERR_NOMEM, "no memory for %s", path);
    }
    if (error == OK) {
        error = drop_unmet(&l, e);
    }
    if (error == OK) {
        error = matrix_field_read(&l.tree, &l.tree.root, "a matrix", matrix_fields,
                                  COUNT(matrix_fields), l.m, e);
    }
    if (error == OK) {
        error = matrix_field_read(&l.tree, &l.tree.root, "a matrix", top_fields, COUNT(top_fields),
                                  &l.top, e);
    }
    if (error == OK) {
        error = read_lists(&l, e);
    }
    if (error == OK) {
        error = settle(&l, e);
    }
    matrix_field_free(top_fields, COUNT(top_fields), &l.top);
    matrix_words_free(&l.unmet);
    yaml_tree_free(&l.tree);
    mem_free(real);
    if (error != OK) {
        matrix_free(&l.m);
    }
    *out = l.m;
    return error;
}

static void free_list(const struct matrix_field *fields, size_t n_fields, void *items, uint32_t n,
                      size_t size)
{
    for (uint32_t i = 0; i < n; i++) {
        matrix_field_free(fields, n_fields, (char *)items + (size_t)i * size);
    }
    mem_free(items);
}

void matrix_free(struct matrix **m)
{
    struct matrix *old = *m;
    if (!old) {
        return;
    }
    matrix_field_free(matrix_fields, COUNT(matrix_fields), old);
    free_list(variant_fields, COUNT(variant_fields), old->variants, old->n_variants,
              sizeof *old->variants);
    free_list(evaluation_fields, COUNT(evaluation_fields), old->evaluations, old->n_evaluations,
              sizeof *old->evaluations);
    free_list(fact_fields, COUNT(fact_fields), old->facts, old->n_facts, sizeof *old->facts);
    free_list(claim_fields, COUNT(claim_fields), old->claims, old->n_claims, sizeof *old->claims);
    mem_free(old->config);
    mem_free(old);
    *m = NULL;
}
