/* matrix_table.c - columns, figures, differences. */
#include "cli/matrix_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/format/json_doc.h"
#include "coordinator/bootstrap.h"

/* What of a result's questions is asked for. */
struct pick {
    int axis, side; /* -1: any */
};

/* The column that result `r` of an evaluation belongs to. */
static void describe(const struct matrix *m, uint32_t evaluation, const json_t *r, const char *part,
                     struct matrix_column *out)
{
    const struct matrix_evaluation *ev = &m->evaluations[evaluation];
    const json_t *x = ev->x[0] ? json_object_get(r, ev->x) : NULL;
    char number[32] = "";
    *out = (struct matrix_column){.evaluation = evaluation, .has_x = json_is_number(x)};
    (void)snprintf(out->readout, sizeof out->readout, "%s", json_doc_text(r, "readout"));
    const char *dot =
        strrchr(part, '.'); /* "select_all.score": its own measure; ".x": of the result */
    (void)snprintf(out->path, sizeof out->path, "%s", part);
    (void)snprintf(out->part, sizeof out->part, "%.*s",
                   (int)(dot ? (size_t)(dot - part) : strlen(part)), part);
    (void)snprintf(out->measure, sizeof out->measure, "%s", dot ? dot + 1 : ev->measure);
    if (out->has_x) {
        out->x = json_number_value(x);
        (void)snprintf(number, sizeof number, " %g", out->x);
    }
    bool named = out->readout[0] != '\0' && strcmp(out->readout, ev->name) != 0;
    (void)snprintf(out->label, sizeof out->label, "%s%s%s%s%s%s", ev->name, named ? " " : "",
                   named ? out->readout : "", number, part[0] ? " " : "", part + (part[0] == '.'));
}

/* A figure "change.within_3" is the measure within_3 of the part change of the whole answer. */
static void describe_figure(const struct matrix *m, uint32_t evaluation, const char *path,
                            struct matrix_column *out)
{
    const char *dot = strrchr(path, '.');
    *out = (struct matrix_column){.evaluation = evaluation, .figure = true};
    (void)snprintf(out->part, sizeof out->part, "%.*s", dot ? (int)(dot - path) : 0, path);
    (void)snprintf(out->measure, sizeof out->measure, "%s", dot ? dot + 1 : path);
    (void)snprintf(out->label, sizeof out->label, "%s %s", m->evaluations[evaluation].name, path);
}

/* The results of a cell: those of a list, or the object itself when it is one result. */
static const json_t *result_at(const struct matrix *m, uint32_t evaluation, const json_t *stored,
                               size_t i)
{
    const json_t *result = json_object_get(stored, "result");
    const json_t *list = json_object_get(result, m->evaluations[evaluation].list);
    if (json_is_array(list)) {
        return json_array_get(list, i);
    }
    return i == 0 ? result : NULL;
}

static const json_t *part_of(const json_t *r, const char *part)
{
    char name[48];
    while (*part != '\0') { /* "questions.chosen": step by step */
        size_t n = strcspn(part, ".");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, part);
        r = json_object_get(r, name);
        part += n + (part[n] == '.');
    }
    return r;
}

/* A yes or no counts as 1 or 0. */
static bool is_figure(const json_t *value)
{
    return json_is_number(value) || json_is_boolean(value);
}

static bool has_measure(const json_t *r, const struct matrix_column *c)
{
    return is_figure(json_object_get(part_of(r, c->part), c->measure));
}

int matrix_table_column(const struct matrix_table *t, const char *label)
{
    for (uint32_t i = 0; i < t->n_columns; i++) {
        if (strcmp(t->columns[i].label, label) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Adds the column when the result has its measure and it is new. */
static enum err add_column(struct matrix_table *t, const json_t *r, const struct matrix_column *c,
                           struct errbuf *e)
{
    if (!has_measure(r, c) || matrix_table_column(t, c->label) >= 0) {
        return OK;
    }
    if (t->n_columns == MATRIX_COLUMNS) {
        return err_set(e, ERR_FULL, "the results have more than %d columns", MATRIX_COLUMNS);
    }
    t->columns[t->n_columns++] = *c;
    return OK;
}

/* Columns of the k-th result of a cell: the result itself, then its parts. */
static enum err add_result(struct matrix_table *t, uint32_t evaluation, const json_t *r,
                           struct errbuf *e)
{
    const struct matrix_words *parts = &t->m->evaluations[evaluation].parts;
    struct matrix_column c;
    describe(t->m, evaluation, r, "", &c);
    enum err error = add_column(t, r, &c, e);
    for (uint32_t i = 0; i < parts->n && error == OK; i++) {
        describe(t->m, evaluation, r, parts->items[i], &c);
        error = add_column(t, r, &c, e);
    }
    return error;
}

static enum err add_cell(struct matrix_table *t, uint32_t cell, struct errbuf *e)
{
    uint32_t evaluation = t->cells[cell].evaluation;
    const struct matrix_words *figures = &t->m->evaluations[evaluation].figures;
    const json_t *r = NULL;
    enum err error = OK;
    for (size_t k = 0;
         error == OK && (r = result_at(t->m, evaluation, t->results[cell], k)) != NULL; k++) {
        error = add_result(t, evaluation, r, e);
    }
    for (uint32_t i = 0; i < figures->n && error == OK; i++) {
        struct matrix_column c;
        describe_figure(t->m, evaluation, figures->items[i], &c);
        error = add_column(t, json_object_get(t->results[cell], "result"), &c, e);
    }
    return error;
}

enum err matrix_table_new(const struct matrix *m, const struct matrix_cell *cells, uint32_t n,
                          json_t *const *results, struct matrix_table **out, struct errbuf *e)
{
    struct matrix_table *t = mem_calloc(1, sizeof *t);
    if (!t) {
        return err_set(e, ERR_NOMEM, "no memory for the table");
    }
    *t = (struct matrix_table){.m = m, .cells = cells, .n_cells = n, .results = results};
    enum err error = OK;
    for (uint32_t ev = 0; ev < m->n_evaluations; ev++) {
        for (uint32_t i = 0; i < n && error == OK; i++) {
            error = cells[i].evaluation == ev && results[i] ? add_cell(t, i, e) : OK;
        }
    }
    if (error != OK) {
        mem_free(t);
        t = NULL;
    }
    *out = t;
    return error;
}

/* The result of a stored cell that a column shows, NULL when it has none. */
static const json_t *find_result(const struct matrix_table *t, const json_t *stored,
                                 const struct matrix_column *want)
{
    const json_t *r = json_object_get(stored, "result");
    if (want->figure) {
        return has_measure(r, want) ? r : NULL;
    }
    for (size_t k = 0; (r = result_at(t->m, want->evaluation, stored, k)) != NULL; k++) {
        struct matrix_column c;
        describe(t->m, want->evaluation, r, want->path, &c);
        if (strcmp(c.label, want->label) == 0 && has_measure(r, want)) {
            return r;
        }
    }
    return NULL;
}

uint32_t matrix_table_results(const struct matrix_table *t, uint32_t variant, uint32_t column,
                              const json_t *out[MATRIX_SEEDS])
{
    const struct matrix_column *want = &t->columns[column];
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_cells && n < MATRIX_SEEDS; i++) {
        bool mine = t->cells[i].variant == variant && t->cells[i].evaluation == want->evaluation;
        const json_t *r = mine && t->results[i] ? find_result(t, t->results[i], want) : NULL;
        if (r) {
            out[n++] = r;
        }
    }
    return n;
}

/* The interval of a measure: its own by name, or "ci95" where that follows it. */
static const json_t *interval_of(const json_t *object, const char *measure)
{
    char key[96];
    const char *name;
    const char *before = "";
    json_t *value;
    (void)snprintf(key, sizeof key, "%s_ci95", measure);
    const json_t *own = json_object_get(object, key);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!own && strcmp(name, "ci95") == 0 && strcmp(before, measure) == 0) {
            return value;
        }
        before = name;
    }
    return own;
}

/* One object's own figure: the measure with its interval. */
static void read_share(const json_t *object, const char *measure, struct matrix_figure *out)
{
    const json_t *value = json_object_get(object, measure);
    const json_t *ci = interval_of(object, measure);
    *out = (struct matrix_figure){.lo = 1.0, .hi = 0.0};
    if (!is_figure(value)) {
        return;
    }
    out->there = true;
    out->seeds = 1;
    out->n = (uint32_t)json_integer_value(json_object_get(object, "n"));
    out->share = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
    out->least = out->most = out->share;
    if (json_array_size(ci) == 2) {
        out->lo = json_number_value(json_array_get(ci, 0));
        out->hi = json_number_value(json_array_get(ci, 1));
    }
}

static json_int_t at(const json_t *question, size_t i)
{
    return json_integer_value(json_array_get(question, i));
}

/* Rows of the questions picked; gains are added to those that are there when first is false, which
 * must be the same questions. */
static bool take_rows(const json_t *r, struct pick pick, bool first, struct bootstrap_row *rows,
                      uint32_t *n)
{
    const json_t *questions = json_object_get(r, "questions");
    uint32_t k = 0;
    size_t i;
    json_t *q;
    json_array_foreach(questions, i, q)
    {
        if ((pick.axis >= 0 && at(q, 1) != pick.axis) ||
            (pick.side >= 0 && at(q, 2) != pick.side)) {
            continue;
        }
        if (first) {
            rows[k] = (struct bootstrap_row){.cluster = (uint32_t)at(q, 0), .weight = 1.0};
        } else if (k >= *n || rows[k].cluster != (uint32_t)at(q, 0)) {
            return false;
        }
        rows[k++].gain += at(q, 4) != 0 ? 1.0 : 0.0;
    }
    bool same = first || k == *n;
    *n = k;
    return same && k > 0;
}

/* Rows of all seeds, the gains their means; NULL with *n 0 when the results do not go together. */
static enum err rows_of(const json_t *const *results, uint32_t seeds, struct pick pick,
                        struct bootstrap_row **out, uint32_t *n)
{
    size_t most = seeds > 0 ? json_array_size(json_object_get(results[0], "questions")) : 0;
    *n = 0;
    *out = mem_calloc(most, sizeof **out);
    if (!*out) {
        return ERR_NOMEM;
    }
    bool fine = most > 0;
    for (uint32_t s = 0; s < seeds && fine; s++) {
        fine = json_array_size(json_object_get(results[s], "questions")) == most &&
               take_rows(results[s], pick, s == 0, *out, n);
    }
    for (uint32_t i = 0; fine && i < *n; i++) {
        (*out)[i].gain /= seeds;
    }
    *n = fine ? *n : 0;
    return OK;
}

static struct pick pick_side(const char *side)
{
    return (struct pick){.axis = -1, .side = side[0] == 'a' ? 0 : side[0] == 'b' ? 1 : -1};
}

/* Share and interval of rows; the spread over seeds is set by the caller. */
static enum err share_rows(const json_t *const *results, uint32_t seeds, struct pick pick,
                           struct matrix_figure *out)
{
    struct bootstrap_row *rows = NULL;
    struct bootstrap_share share;
    uint32_t n = 0;
    enum err error = rows_of(results, seeds, pick, &rows, &n);
    if (error == OK && n > 0) {
        error = bootstrap_share(rows, n, &share);
        *out = (struct matrix_figure){.there = true,
                                      .n = share.n,
                                      .seeds = seeds,
                                      .share = share.share,
                                      .lo = share.lo,
                                      .hi = share.hi,
                                      .least = share.share,
                                      .most = share.share};
    }
    mem_free(rows);
    return error;
}

/* Mean of the seeds' own figures, without an interval when there are several. */
static void mean_of(const json_t *const *objects, uint32_t seeds, const char *measure,
                    struct matrix_figure *out)
{
    *out = (struct matrix_figure){.lo = 1.0, .hi = 0.0};
    for (uint32_t s = 0; s < seeds; s++) {
        struct matrix_figure one;
        read_share(objects[s], measure, &one);
        if (!one.there) {
            *out = (struct matrix_figure){.lo = 1.0, .hi = 0.0};
            return;
        }
        out->least = s == 0 || one.share < out->least ? one.share : out->least;
        out->most = s == 0 || one.share > out->most ? one.share : out->most;
        out->share += one.share / seeds;
        out->n = one.n;
        out->there = true;
        out->seeds = seeds;
        if (seeds == 1) {
            out->lo = one.lo;
            out->hi = one.hi;
        }
    }
}

enum err matrix_table_figure(const struct matrix_table *t, uint32_t variant, uint32_t column,
                             const char *side, struct matrix_figure *out)
{
    const json_t *results[MATRIX_SEEDS];
    const json_t *objects[MATRIX_SEEDS];
    const struct matrix_column *c = &t->columns[column];
    const char *measure = c->measure;
    uint32_t seeds = matrix_table_results(t, variant, column, results);
    for (uint32_t s = 0; s < seeds; s++) {
        objects[s] = part_of(results[s], c->part);
    }
    mean_of(objects, seeds, measure, out);
    bool counted = c->part[0] == '\0' && strcmp(measure, "accuracy") == 0;
    if (!out->there || (side[0] == '\0' && seeds == 1) || !counted) {
        out->there = out->there && side[0] == '\0';
        return OK;
    }
    double least = out->least;
    double most = out->most;
    struct matrix_figure whole = *out;
    whole.there = side[0] == '\0';
    *out = whole;
    enum err error = share_rows(results, seeds, pick_side(side), out);
    if (side[0] == '\0') {
        out->least = least;
        out->most = most;
    }
    return error;
}

/* The same questions in the same order? */
static bool agree(const struct bootstrap_row *a, const struct bootstrap_row *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (a[i].cluster != b[i].cluster) {
            return false;
        }
    }
    return true;
}

enum err matrix_table_difference(const struct matrix_table *t, uint32_t better, uint32_t than,
                                 uint32_t column, const char *side, struct matrix_figure *out)
{
    const json_t *after[MATRIX_SEEDS];
    const json_t *before[MATRIX_SEEDS];
    const struct matrix_column *c = &t->columns[column];
    uint32_t n_after = matrix_table_results(t, better, column, after);
    uint32_t n_before = matrix_table_results(t, than, column, before);
    struct bootstrap_row *rows[2] = {NULL, NULL};
    struct bootstrap_share share;
    uint32_t n[2] = {0, 0};
    *out = (struct matrix_figure){.lo = 1.0, .hi = 0.0};
    if (n_after == 0 || n_before == 0 || c->part[0] != '\0' ||
        strcmp(c->measure, "accuracy") != 0) {
        return OK;
    }
    enum err error = rows_of(before, n_before, pick_side(side), &rows[0], &n[0]);
    if (error == OK) {
        error = rows_of(after, n_after, pick_side(side), &rows[1], &n[1]);
    }
    if (error == OK && n[0] > 0 && n[0] == n[1] && agree(rows[0], rows[1], n[0])) {
        error = bootstrap_paired(rows[0], rows[1], n[0], &share);
        *out = (struct matrix_figure){.there = true,
                                      .n = share.n,
                                      .seeds = n_after,
                                      .share = share.share,
                                      .lo = share.lo,
                                      .hi = share.hi};
    }
    mem_free(rows[0]);
    mem_free(rows[1]);
    return error;
}

/* What stands under "bag_of_words" in a stored cell for the column: beside its result, or the same
 * shape as the whole answer. */
static const json_t *words_in(const struct matrix_table *t, const json_t *stored, uint32_t column)
{
    const struct matrix_column *c = &t->columns[column];
    const json_t *r = find_result(t, stored, c);
    const json_t *beside = c->figure ? NULL : json_object_get(part_of(r, c->part), "bag_of_words");
    if (json_is_object(beside)) {
        return beside;
    }
    json_t *whole = json_object_get(json_object_get(stored, "result"), "bag_of_words");
    json_t *like = r && json_is_object(whole) ? json_pack("{s:O}", "result", whole) : NULL;
    const json_t *found = like ? find_result(t, like, c) : NULL;
    found = found ? part_of(found, c->part) : NULL;
    json_decref(like); /* what was found belongs to the stored answer */
    return found;
}

static const json_t *words_of(const struct matrix_table *t, uint32_t column)
{
    for (uint32_t i = 0; i < t->n_cells; i++) {
        bool mine = t->cells[i].evaluation == t->columns[column].evaluation && t->results[i];
        const json_t *bag = mine ? words_in(t, t->results[i], column) : NULL;
        if (bag) {
            return bag;
        }
    }
    return NULL;
}

void matrix_table_words(const struct matrix_table *t, uint32_t column, struct matrix_figure *out)
{
    read_share(words_of(t, column), t->columns[column].measure, out);
}

void matrix_table_words_value(const struct matrix_table *t, uint32_t column, const char *name,
                              struct matrix_figure *out)
{
    read_share(json_object_get(json_object_get(words_of(t, column), "per_value"), name),
               t->columns[column].measure, out);
}

const json_t *matrix_table_values(const struct matrix_table *t, uint32_t column)
{
    const json_t *results[MATRIX_SEEDS];
    for (uint32_t v = 0; v < t->m->n_variants; v++) {
        if (matrix_table_results(t, v, column, results) > 0) {
            const json_t *values =
                json_object_get(part_of(results[0], t->columns[column].part), "per_value");
            if (json_object_size(values) > 0) {
                return values;
            }
        }
    }
    return NULL;
}

/* Axis and side of the value in place `index` of per_value: values come in the order of (axis,
 * side), and only those that are asked about. */
static bool find_value(const json_t *r, size_t index, struct pick *out)
{
    struct pick last = {-1, -1};
    for (size_t k = 0; k <= index; k++) {
        struct pick best = {-1, -1};
        size_t i;
        json_t *q;
        json_array_foreach(json_object_get(r, "questions"), i, q)
        {
            struct pick p = {(int)at(q, 1), (int)at(q, 2)};
            bool later = p.axis > last.axis || (p.axis == last.axis && p.side > last.side);
            bool sooner =
                best.axis < 0 || p.axis < best.axis || (p.axis == best.axis && p.side < best.side);
            best = later && sooner ? p : best;
        }
        if (best.axis < 0) {
            return false;
        }
        last = best;
    }
    *out = last;
    return true;
}

enum err matrix_table_value(const struct matrix_table *t, uint32_t variant, uint32_t column,
                            const char *name, struct matrix_figure *out)
{
    const json_t *results[MATRIX_SEEDS] = {NULL};
    const json_t *objects[MATRIX_SEEDS];
    const struct matrix_column *c = &t->columns[column];
    uint32_t seeds = matrix_table_results(t, variant, column, results);
    for (uint32_t s = 0; s < seeds; s++) {
        objects[s] =
            json_object_get(json_object_get(part_of(results[s], c->part), "per_value"), name);
    }
    mean_of(objects, seeds, c->measure, out);
    bool counted = c->part[0] == '\0' && strcmp(c->measure, "accuracy") == 0;
    if (!out->there || seeds == 1 || !counted) {
        return OK;
    }
    size_t index = 0;
    const char *key;
    json_t *value;
    struct pick pick;
    json_object_foreach(json_object_get(results[0], "per_value"), key, value)
    {
        if (strcmp(key, name) == 0) {
            break;
        }
        index++;
    }
    double least = out->least;
    double most = out->most;
    enum err error =
        find_value(results[0], index, &pick) ? share_rows(results, seeds, pick, out) : OK;
    out->least = least;
    out->most = most;
    return error;
}
