/* reference.c - log-probabilities of the reference, group by group. */
#include "coordinator/reference.h"

#include <math.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"

/* A tree under way: where its leaves' numbers go. */
struct place {
    uint32_t group;
    size_t first; /* of log_p */
};

struct reference {
    uint32_t n_groups;
    size_t *first;              /* [n_groups + 1] of log_p */
    bool *wanted;               /* [n_groups] a step trains on it */
    double *log_p;              /* NAN: not known */
    struct forest_trees *owned; /* [n_groups], NULL but while scoring */
    struct tree *trees;         /* heads; the memory behind is of `owned` */
    struct place *places;
    uint32_t n_trees;
};

void reference_free(struct reference **r)
{
    if (*r) {
        reference_release(*r);
        mem_free((*r)->first);
        mem_free((*r)->wanted);
        mem_free((*r)->log_p);
        mem_free(*r);
        *r = NULL;
    }
}

static void mark_wanted(struct reference *r, struct plan *plan, struct plan_item *items)
{
    uint64_t steps = plan_steps(plan);
    uint64_t epoch = plan_epoch_steps(plan);
    for (uint64_t s = 0; s < steps && s < epoch; s++) {
        uint32_t n = 0;
        plan_step(plan, s, items, &n);
        for (uint32_t i = 0; i < n; i++) {
            r->wanted[items[i].group] = true;
        }
    }
}

enum err reference_new(const struct forest *forest, struct plan *plan, struct reference **out,
                       struct errbuf *e)
{
    uint32_t n = 0;
    size_t leaves = 0;
    const struct forest_group *groups = forest_groups(forest, &n);
    struct reference *r = mem_calloc(1, sizeof *r);
    struct plan_item *items = mem_calloc(n, sizeof *items); /* a step takes a group once */
    if (r) {
        r->n_groups = n;
        r->first = mem_calloc((size_t)n + 1, sizeof *r->first);
        r->wanted = mem_calloc(n, sizeof *r->wanted);
    }
    for (uint32_t i = 0; r && r->first && i <= n; i++) {
        r->first[i] = leaves;
        leaves += i < n ? groups[i].leaves : 0;
    }
    if (r) {
        r->log_p = mem_calloc(leaves, sizeof *r->log_p);
    }
    if (!r || !r->first || !r->wanted || !r->log_p || !items) {
        reference_free(&r);
        mem_free(items);
        return err_set(e, ERR_NOMEM, "reference: no memory for %zu numbers", leaves);
    }
    for (size_t i = 0; i < leaves; i++) {
        r->log_p[i] = (double)NAN;
    }
    mark_wanted(r, plan, items);
    mem_free(items);
    *out = r;
    return OK;
}

static bool known(const struct reference *r, uint32_t group)
{
    bool all = true;
    for (size_t i = r->first[group]; i < r->first[group + 1]; i++) {
        all = all && isfinite(r->log_p[i]);
    }
    return all;
}

bool reference_complete(const struct reference *r)
{
    bool all = true;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        all = all && (!r->wanted[i] || known(r, i));
    }
    return all;
}

const double *reference_of(const struct reference *r, uint32_t group)
{
    CHECK(group < r->n_groups);
    return known(r, group) ? r->log_p + r->first[group] : NULL;
}

void reference_release(struct reference *r)
{
    for (uint32_t i = 0; r->owned && i < r->n_groups; i++) {
        forest_trees_free(&r->owned[i]);
    }
    mem_free(r->owned);
    mem_free(r->trees);
    mem_free(r->places);
    r->owned = NULL;
    r->trees = NULL;
    r->places = NULL;
    r->n_trees = 0;
}

static enum err build(struct reference *r, struct forest *forest, uint32_t *n, struct errbuf *e)
{
    enum err error = OK;
    *n = 0;
    for (uint32_t i = 0; i < r->n_groups && error == OK; i++) {
        if (r->wanted[i]) {
            error = forest_build(forest, i, 1, 1, NULL, &r->owned[i], e);
            *n += error == OK ? r->owned[i].n : 0;
        }
    }
    return error;
}

enum err reference_trees(struct reference *r, struct forest *forest, const struct tree **trees,
                         uint32_t *n, struct errbuf *e)
{
    uint32_t count = 0;
    reference_release(r);
    r->owned = mem_calloc(r->n_groups, sizeof *r->owned);
    enum err error = r->owned ? build(r, forest, &count, e)
                              : err_set(e, ERR_NOMEM, "reference: no memory for the trees");
    if (error == OK) {
        r->trees = mem_calloc(count, sizeof *r->trees);
        r->places = mem_calloc(count, sizeof *r->places);
        if (!r->trees || !r->places) {
            error = err_set(e, ERR_NOMEM, "reference: no memory for %u trees", count);
        }
    }
    if (error != OK) {
        reference_release(r);
        return error;
    }
    for (uint32_t i = 0; i < r->n_groups; i++) {
        size_t first = r->first[i];
        for (uint32_t t = 0; t < r->owned[i].n; t++) {
            r->trees[r->n_trees] = r->owned[i].items[t].tree;
            r->places[r->n_trees] = (struct place){.group = i, .first = first};
            first += r->trees[r->n_trees].n_leaves;
            r->n_trees++;
        }
    }
    *trees = r->trees;
    *n = r->n_trees;
    return OK;
}

enum err reference_take(struct reference *r, uint32_t tree, const double *leaf_log_p,
                        struct errbuf *e)
{
    CHECK(tree < r->n_trees);
    const struct place *place = &r->places[tree];
    for (uint32_t i = 0; i < r->trees[tree].n_leaves; i++) {
        if (!isfinite(leaf_log_p[i])) {
            return err_set(e, ERR_RANGE,
                           "reference: group %u, leaf %u has log-probability %g without adapter",
                           place->group, i, leaf_log_p[i]);
        }
        r->log_p[place->first + i] = leaf_log_p[i];
    }
    return OK;
}

void reference_dump(const struct reference *r, struct str *out)
{
    str_add(out, "{\"version\":1,\"log_p\":[");
    for (uint32_t i = 0; i < r->n_groups; i++) {
        str_add(out, i > 0 ? ",\n" : "\n");
        if (!r->wanted[i] || !known(r, i)) {
            str_add(out, "null");
            continue;
        }
        for (size_t k = r->first[i]; k < r->first[i + 1]; k++) {
            str_addf(out, "%s%.17g", k > r->first[i] ? "," : "[", r->log_p[k]);
        }
        str_add(out, "]");
    }
    str_add(out, "]}\n");
}

static bool load_group(struct reference *r, uint32_t group, const json_t *numbers)
{
    size_t n = r->first[group + 1] - r->first[group];
    if (json_is_null(numbers)) {
        return true;
    }
    bool ok = json_is_array(numbers) && json_array_size(numbers) == n;
    for (size_t i = 0; ok && i < n; i++) {
        const json_t *number = json_array_get(numbers, i);
        ok = json_is_number(number);
        r->log_p[r->first[group] + i] = json_number_value(number);
    }
    return ok;
}

enum err reference_load(struct reference *r, const char *text, size_t bytes, struct errbuf *e)
{
    json_t *doc = NULL;
    enum err error = json_doc_parse(text, bytes, &doc, e);
    if (error != OK) {
        return err_prefix(e, error, "run.db, log-probabilities of the reference");
    }
    const json_t *groups = json_object_get(doc, "log_p");
    bool ok = json_integer_value(json_object_get(doc, "version")) == 1 &&
              json_array_size(groups) == r->n_groups;
    for (uint32_t i = 0; ok && i < r->n_groups; i++) {
        ok = load_group(r, i, json_array_get(groups, i));
    }
    json_decref(doc);
    return ok ? OK
              : err_set(e, ERR_CORRUPT,
                        "run.db: the log-probabilities of the reference are not those of these "
                        "%u groups",
                        r->n_groups);
}
