/* eval_result.c - answers to shares, shares to JSON. */
#include "coordinator/eval_result.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/bootstrap.h"
#include "coordinator/values.h"

enum { RESULTS_MAX = 64, NAMES_MAX = 1 << 16 };

enum err eval_results_name(struct eval_results *r, uint32_t axis, uint32_t side, const char *name,
                           struct errbuf *e)
{
    uint32_t at = 2 * axis + side;
    void *names = (void *)r->names;
    enum err error =
        mem_grow(&names, &r->name_capacity, (size_t)at + 1, sizeof *r->names, NAMES_MAX);
    r->names = names;
    if (error != OK) {
        return err_set(e, error, "evaluation: no memory for %u names", at + 1);
    }
    while (r->n_names <= at) {
        r->names[r->n_names++] = NULL;
    }
    r->names[at] = name;
    return OK;
}

enum err eval_results_values(struct eval_results *r, const struct values *values, struct errbuf *e)
{
    uint32_t n_axes = values ? values->n_axes : 0;
    enum err error = OK;
    r->per = "per_value";
    for (uint32_t i = 0; i < 2 * n_axes && error == OK; i++) {
        error = eval_results_name(r, i / 2, i % 2, values->axes[i / 2].poles[i % 2].name, e);
    }
    if (error == OK) {
        error = eval_results_name(r, n_axes, 0, "side a", e);
    }
    return error == OK ? eval_results_name(r, n_axes, 1, "side b", e) : error;
}

enum err eval_results_add(struct eval_results *r, const char *readout, int shots,
                          struct eval_result **out, struct errbuf *e)
{
    void *items = r->items;
    enum err error =
        mem_grow(&items, &r->capacity, (size_t)r->n + 1, sizeof *r->items, RESULTS_MAX);
    r->items = items;
    if (error != OK) {
        return err_set(e, error, "evaluation: no memory for the results");
    }
    *out = &r->items[r->n++];
    **out = (struct eval_result){.readout = readout, .shots = shots, .lambda = (double)NAN};
    return OK;
}

enum err eval_shares_add(struct eval_shares *s, const char *measure,
                         const struct eval_answer *answer, struct errbuf *e)
{
    uint32_t i = 0;
    while (i < s->n && strcmp(s->series[i].measure, measure) != 0) {
        i++;
    }
    CHECK(i < EVAL_MEASURES);
    struct eval_series *series = &s->series[i];
    if (i == s->n) {
        series->measure = measure;
        s->n++;
    }
    void *items = series->items;
    enum err error = mem_grow(&items, &series->capacity, (size_t)series->n + 1,
                              sizeof *series->items, UINT32_MAX);
    series->items = items;
    if (error != OK) {
        return err_set(e, error, "evaluation: no memory for %u answers", series->n);
    }
    series->items[series->n++] = *answer;
    return OK;
}

enum err eval_shares_tally(struct eval_shares *s, const char *measure,
                           const struct eval_answer *answer, struct errbuf *e)
{
    enum err error = eval_shares_add(s, measure, answer, e);
    for (uint32_t i = 0; i < s->n; i++) {
        s->series[i].tally = s->series[i].tally || strcmp(s->series[i].measure, measure) == 0;
    }
    return error;
}

void eval_results_free(struct eval_results *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        for (int part = 0; part < EVAL_PARTS; part++) {
            for (uint32_t k = 0; k < r->items[i].parts[part].n; k++) {
                mem_free(r->items[i].parts[part].series[k].items);
            }
        }
    }
    mem_free(r->items);
    mem_free((void *)r->names);
    *r = (struct eval_results){0};
}

/* The rows of a series that ask for name number `which`, or all (-1), in rows [series->n]. */
static uint32_t pick_rows(const struct eval_series *series, int which, struct bootstrap_row *rows)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < series->n; i++) {
        const struct eval_answer *a = &series->items[i];
        if (which < 0 || 2 * a->axis + a->side == (uint32_t)which) {
            rows[n++] = (struct bootstrap_row){
                .cluster = a->scenario, .gain = a->gain, .weight = a->weight};
        }
    }
    return n;
}

/* Share of one name (or all) in a series, or with base the paired difference. */
static enum err measure(const struct eval_series *series, const struct eval_series *base, int which,
                        struct bootstrap_share *out)
{
    struct bootstrap_row *rows = mem_calloc(series->n, sizeof *rows);
    struct bootstrap_row *before = mem_calloc(series->n, sizeof *before);
    enum err error = rows && before ? OK : ERR_NOMEM;
    if (error == OK) {
        uint32_t n = pick_rows(series, which, rows);
        if (base) {
            CHECK(base->n == series->n && pick_rows(base, which, before) == n);
            error = bootstrap_paired(before, rows, n, out);
        } else {
            error = bootstrap_share(rows, n, out);
        }
    }
    mem_free(rows);
    mem_free(before);
    return error;
}

/* "n", the measures and the interval of one name, without braces; *n = questions. */
static enum err add_figures(const struct eval_shares *shares, int which, uint32_t *n,
                            struct str *json)
{
    struct bootstrap_share share = {0};
    enum err error = measure(&shares->series[0], NULL, which, &share);
    *n = share.n;
    str_addf(json, "\"n\":%u,\"%s\":%.6f,\"ci95\":[%.6f,%.6f]", share.n, shares->series[0].measure,
             share.share, share.lo, share.hi);
    for (uint32_t i = 1; i < shares->n && error == OK; i++) {
        error = measure(&shares->series[i], NULL, which, &share);
        str_addf(json, ",\"%s\":%.6f,\"%s_ci95\":[%.6f,%.6f]", shares->series[i].measure,
                 share.share, shares->series[i].measure, share.lo, share.hi);
        if (shares->series[i].tally) {
            str_addf(json, ",\"%s_n\":%.0f", shares->series[i].measure,
                     round(share.share * share.n));
        }
    }
    return error;
}

/* NULL where a result has none. */
static const struct eval_series *margins(const struct eval_shares *shares)
{
    for (uint32_t i = 0; i < shares->n; i++) {
        if (strcmp(shares->series[i].measure, EVAL_MARGIN) == 0) {
            return &shares->series[i];
        }
    }
    return NULL;
}

static enum err add_difference(const struct eval_shares *shares, const struct eval_shares *base,
                               int which, uint32_t *n, struct str *json)
{
    struct bootstrap_share share = {0};
    enum err error = measure(&shares->series[0], &base->series[0], which, &share);
    *n = share.n;
    str_addf(json, "\"n\":%u,\"difference\":%.6f,\"ci95\":[%.6f,%.6f]", share.n, share.share,
             share.lo, share.hi);
    const struct eval_series *after = margins(shares);
    const struct eval_series *before = margins(base);
    if (error == OK && after && before) {
        error = measure(after, before, which, &share);
        str_addf(json,
                 ",\"" EVAL_MARGIN "_difference\":%.6f,\"" EVAL_MARGIN
                 "_difference_ci95\":[%.6f,%.6f]",
                 share.share, share.lo, share.hi);
    }
    return error;
}

/* Figures of all and of every name; with base those of the paired difference. */
static enum err add_shares(const struct eval_results *r, const struct eval_shares *shares,
                           const struct eval_shares *base, struct str *json)
{
    uint32_t n;
    enum err error =
        base ? add_difference(shares, base, -1, &n, json) : add_figures(shares, -1, &n, json);
    if (!r->per) {
        return error;
    }
    str_addf(json, ",\"%s\":{", r->per);
    const char *comma = "";
    for (uint32_t i = 0; i < r->n_names && error == OK; i++) {
        size_t begin = json->len;
        if (!r->names[i]) {
            continue;
        }
        str_add(json, comma);
        str_add_json(json, r->names[i], strlen(r->names[i]));
        str_add(json, ":{");
        error = base ? add_difference(shares, base, (int)i, &n, json)
                     : add_figures(shares, (int)i, &n, json);
        str_add(json, "}");
        if (n == 0 && str_ok(json) == OK) { /* nobody asked for it */
            json->len = begin;
            json->data[begin] = '\0';
        } else {
            comma = ",";
        }
    }
    str_add(json, "}");
    return error;
}

/* A part with what base makes of it. */
static enum err add_part(const struct eval_results *r, const struct eval_result *result,
                         const struct eval_result *base, enum eval_part part, struct str *json)
{
    const struct eval_shares *shares = &result->parts[part];
    enum err error = add_shares(r, shares, NULL, json);
    if (error == OK && base && base->parts[part].n > 0) {
        str_add(json, ",\"base\":{");
        error = add_shares(r, &base->parts[part], NULL, json);
        str_add(json, "},\"paired\":{");
        if (error == OK) {
            error = add_shares(r, shares, &base->parts[part], json);
        }
        str_add(json, "}");
    }
    return error;
}

static enum err add_bag(const struct eval_results *r, const struct eval_result *result,
                        enum eval_part part, struct str *json)
{
    if (result->parts[part].n == 0) {
        str_add(json, ",\"bag_of_words\":null");
        return OK;
    }
    str_add(json, ",\"bag_of_words\":{");
    enum err error = add_shares(r, &result->parts[part], NULL, json);
    str_add(json, "}");
    return error;
}

static enum err add_all(const struct eval_results *r, const struct eval_result *result,
                        const struct eval_result *base, struct str *json)
{
    if (result->parts[EVAL_ALL].n == 0) {
        str_add(json, ",\"select_all\":null");
        return OK;
    }
    str_add(json, ",\"select_all\":{");
    enum err error = add_part(r, result, base, EVAL_ALL, json);
    if (isfinite(result->threshold)) {
        str_addf(json, ",\"threshold\":%.6f", result->threshold);
    } else {
        str_add(json, ",\"threshold\":null");
    }
    if (error == OK) {
        error = add_bag(r, result, EVAL_ALL_BAG, json);
    }
    const struct eval_series *scores = &result->parts[EVAL_ALL].series[0];
    str_add(json, ",\"scores\":[");
    for (uint32_t i = 0; i < scores->n; i++) {
        str_addf(json, "%s%.6g", i > 0 ? "," : "", scores->items[i].gain);
    }
    str_add(json, "]}");
    return error;
}

static void add_questions(const struct eval_series *series, struct str *json)
{
    str_add(json, ",\"questions\":[");
    for (uint32_t i = 0; i < series->n; i++) {
        const struct eval_answer *a = &series->items[i];
        str_addf(json, "%s[%u,%u,%u,%lld,%.6g]", i > 0 ? "," : "", a->scenario, a->axis, a->side,
                 a->pick == EVAL_NO_PICK ? -1LL : (long long)a->pick, a->gain / a->weight);
    }
    str_add(json, "]");
}

static enum err add_result(const struct eval_results *r, const struct eval_result *result,
                           const struct eval_result *base, struct str *json)
{
    str_addf(json, "{\"readout\":\"%s\",", result->readout);
    if (result->shots >= 0) {
        str_addf(json, "\"shots\":%d,", result->shots);
    }
    if (!isnan(result->lambda)) {
        str_addf(json, "\"lambda\":%g,", result->lambda);
    }
    enum err error = add_part(r, result, base, EVAL_ONE, json);
    if (error == OK && r->has_bag) {
        error = add_bag(r, result, EVAL_ONE_BAG, json);
    }
    if (error == OK && r->has_all) {
        error = add_all(r, result, base, json);
    }
    add_questions(&result->parts[EVAL_ONE].series[0], json);
    const struct eval_series *margin = margins(&result->parts[EVAL_ONE]);
    if (margin) {
        str_add(json, ",\"margins\":[");
        for (uint32_t i = 0; i < margin->n; i++) {
            str_addf(json, "%s%.6g", i > 0 ? "," : "", margin->items[i].gain);
        }
        str_add(json, "]");
    }
    str_add(json, "}");
    return error;
}

enum err eval_results_json(const struct eval_results *r, const struct eval_results *base,
                           struct str *json)
{
    enum err error = OK;
    CHECK(!base || base->n == r->n);
    str_add(json, "[");
    for (uint32_t i = 0; i < r->n && error == OK; i++) {
        str_add(json, i > 0 ? "," : "");
        error = add_result(r, &r->items[i], base ? &base->items[i] : NULL, json);
    }
    str_add(json, "]");
    return error == OK ? str_ok(json) : error;
}
