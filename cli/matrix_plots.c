/* matrix_plots.c - figures into plots. */
#include "cli/matrix_plots.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/report_doc.h"

enum { CATEGORIES = 24 };

static bool has_results(const struct matrix_table *t, uint32_t variant, uint32_t column)
{
    const json_t *results[MATRIX_SEEDS];
    return t->m->variants[variant].plotted && matrix_table_results(t, variant, column, results) > 0;
}

static void add_bar(json_t *series, size_t category, const struct matrix_figure *f)
{
    if (f->there) {
        report_doc_point(series, (double)category, f->share, f->lo, f->hi);
    } else {
        report_doc_hole(series);
    }
}

/* Bars of one variant, or of the words (variant < 0). */
static enum err add_series(const struct matrix_table *t, int variant, uint32_t column,
                           const json_t *values, json_t *plot)
{
    json_t *series =
        report_doc_series(plot, variant < 0 ? "bag-of-words" : t->m->variants[variant].name);
    size_t category = 0;
    enum err error = OK;
    void *at = json_object_iter((json_t *)(uintptr_t)values);
    for (; at && error == OK; at = json_object_iter_next((json_t *)(uintptr_t)values, at)) {
        struct matrix_figure f = {0};
        const char *name = json_object_iter_key(at);
        if (variant < 0) {
            matrix_table_words_value(t, column, name, &f);
        } else {
            error = matrix_table_value(t, (uint32_t)variant, column, name, &f);
        }
        add_bar(series, category++, &f);
    }
    return error;
}

static enum err add_bars(const struct matrix_table *t, uint32_t column, json_t *section)
{
    const struct matrix_column *c = &t->columns[column];
    const struct matrix_evaluation *ev = &t->m->evaluations[c->evaluation];
    const json_t *values = matrix_table_values(t, column);
    char title[MATRIX_LABEL_BYTES + 64];
    struct matrix_figure words;
    enum err error = OK;
    if (json_object_size(values) == 0 || json_object_size(values) > CATEGORIES) {
        return OK;
    }
    (void)snprintf(title, sizeof title, "%s: %.40s by value", c->label, c->measure);
    json_t *plot = report_doc_plot(section, "bars", title, "value", c->measure);
    if (isfinite(ev->chance)) {
        (void)json_object_set_new(plot, "line", json_real(ev->chance));
    }
    void *at = json_object_iter((json_t *)(uintptr_t)values);
    for (; at; at = json_object_iter_next((json_t *)(uintptr_t)values, at)) {
        (void)json_array_append_new(json_object_get(plot, "categories"),
                                    report_doc_string(json_object_iter_key(at)));
    }
    matrix_table_words(t, column, &words);
    if (words.there) {
        error = add_series(t, -1, column, values, plot);
    }
    for (uint32_t v = 0; v < t->m->n_variants && error == OK; v++) {
        error = has_results(t, v, column) ? add_series(t, (int)v, column, values, plot) : OK;
    }
    return error;
}

/* Columns that differ in x alone make one line of a variant. */
static bool same_line(const struct matrix_column *a, const struct matrix_column *b)
{
    return a->evaluation == b->evaluation && strcmp(a->readout, b->readout) == 0 &&
           strcmp(a->path, b->path) == 0 && a->has_x && b->has_x;
}

static enum err add_line(const struct matrix_table *t, uint32_t variant, uint32_t first,
                         json_t *plot)
{
    json_t *series = NULL;
    enum err error = OK;
    for (uint32_t i = first; i < t->n_columns && error == OK; i++) {
        struct matrix_figure f;
        if (!same_line(&t->columns[first], &t->columns[i]) || !has_results(t, variant, i)) {
            continue;
        }
        error = matrix_table_figure(t, variant, i, "", &f);
        if (error == OK && f.there) {
            series = series ? series : report_doc_series(plot, t->m->variants[variant].name);
            report_doc_point(series, t->columns[i].x, f.share, f.lo, f.hi);
        }
    }
    return error;
}

static void add_words_line(const struct matrix_table *t, uint32_t first, json_t *plot)
{
    json_t *series = NULL;
    for (uint32_t i = first; i < t->n_columns; i++) {
        struct matrix_figure f;
        matrix_table_words(t, i, &f);
        if (same_line(&t->columns[first], &t->columns[i]) && f.there) {
            series = series ? series : report_doc_series(plot, "bag-of-words");
            report_doc_point(series, t->columns[i].x, f.share, f.lo, f.hi);
        }
    }
}

static enum err add_lines(const struct matrix_table *t, uint32_t first, json_t *section)
{
    const struct matrix_column *c = &t->columns[first];
    const struct matrix_evaluation *ev = &t->m->evaluations[c->evaluation];
    char title[MATRIX_LABEL_BYTES + 64];
    enum err error = OK;
    for (uint32_t i = 0; i < first; i++) {
        if (same_line(&t->columns[i], c)) {
            return OK; /* drawn already */
        }
    }
    (void)snprintf(title, sizeof title, "%s%s%.40s%s%.40s: %.40s against %.40s", ev->name,
                   c->readout[0] ? ", " : "", c->readout, c->path[0] ? ", " : "", c->path,
                   c->measure, ev->x);
    json_t *plot = report_doc_plot(section, "lines", title, ev->x, c->measure);
    for (uint32_t v = 0; v < t->m->n_variants && error == OK; v++) {
        error = add_line(t, v, first, plot);
    }
    add_words_line(t, first, plot);
    return error;
}

enum err matrix_plots_evaluation(const struct matrix_table *t, uint32_t evaluation, json_t *section)
{
    enum err error = OK;
    for (uint32_t i = 0; i < t->n_columns && error == OK; i++) {
        if (t->columns[i].evaluation == evaluation) {
            error = t->columns[i].has_x ? add_lines(t, i, section) : add_bars(t, i, section);
        }
    }
    return error;
}

void matrix_plots_curves(const struct matrix_table *t, json_t *doc)
{
    json_t *plot = NULL;
    for (uint32_t i = 0; i < t->n_cells; i++) {
        const struct matrix_variant *v = &t->m->variants[t->cells[i].variant];
        const json_t *curve = json_object_get(json_object_get(t->results[i], "result"), "curve");
        if (t->cells[i].evaluation != MATRIX_TRAIN || !v->plotted || json_array_size(curve) == 0) {
            continue;
        }
        if (!plot) {
            json_t *section = report_doc_section(doc, "Learning curves");
            report_doc_put(section, "text",
                           "Loss of each objective by step, as it was trained. Objectives measure "
                           "different things: only curves of one objective compare.");
            plot = report_doc_plot(section, "lines", "Training loss", "step", "loss");
        }
        char name[MATRIX_NAME_BYTES + 32];
        (void)snprintf(name, sizeof name, v->n_seeds > 1 ? "%s, seed %llu" : "%s", v->name,
                       (unsigned long long)t->cells[i].seed);
        json_t *series = report_doc_series(plot, name);
        size_t k;
        json_t *point;
        json_array_foreach(curve, k, point)
        {
            report_doc_point(series, json_number_value(json_array_get(point, 0)),
                             json_number_value(json_array_get(point, 1)), 1, 0);
        }
    }
}
