/* matrix_report.c - sections of the report. */
#include "cli/matrix_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/matrix_claim.h"
#include "cli/matrix_plots.h"
#include "cli/matrix_table.h"
#include "cli/report_doc.h"
#include "common/base/mem.h"

enum { CELL_BYTES = 96 };

struct composing {
    const struct matrix_report_input *in;
    struct matrix_table *t;
    json_t *doc;
    struct str *table;
};

static void figure_text(const struct matrix_figure *f, bool sign, char out[CELL_BYTES])
{
    if (!f->there) {
        (void)snprintf(out, CELL_BYTES, "-");
    } else if (f->lo <= f->hi) {
        (void)snprintf(out, CELL_BYTES, sign ? "%+.3f [%+.3f, %+.3f]" : "%.3f [%.3f, %.3f]",
                       f->share, f->lo, f->hi);
    } else {
        (void)snprintf(out, CELL_BYTES, sign ? "%+.3f" : "%.3f", f->share);
    }
    size_t used = strlen(out);
    if (f->there && !sign && f->seeds > 1) {
        (void)snprintf(out + used, CELL_BYTES - used, ", %u seeds %.3f-%.3f", f->seeds, f->least,
                       f->most);
    }
}

/* Columns of one evaluation. */
static uint32_t columns_of(const struct matrix_table *t, uint32_t evaluation, uint32_t *first)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_columns; i++) {
        if (t->columns[i].evaluation == evaluation) {
            *first = n == 0 ? i : *first;
            n++;
        }
    }
    return n;
}

static json_t *begin_table(const struct composing *c, json_t *section, uint32_t first, uint32_t n,
                           const char *caption)
{
    const char *names[MATRIX_COLUMNS + 1] = {"variant"};
    for (uint32_t i = 0; i < n; i++) {
        names[i + 1] = c->t->columns[first + i].label;
    }
    return report_doc_table(section, caption, names, (size_t)n + 1);
}

static enum err add_variant_row(struct composing *c, json_t *table, uint32_t variant,
                                uint32_t first, uint32_t n)
{
    char cell[CELL_BYTES];
    bool any = false;
    enum err error = OK;
    for (uint32_t i = 0; i < n; i++) {
        const json_t *results[MATRIX_SEEDS];
        any = any || matrix_table_results(c->t, variant, first + i, results) > 0;
    }
    if (!any) {
        return OK;
    }
    json_t *row = report_doc_row(table);
    report_doc_cell(row, "%s", c->in->m->variants[variant].name);
    str_addf(c->table, "  %-20s", c->in->m->variants[variant].name);
    for (uint32_t i = 0; i < n && error == OK; i++) {
        struct matrix_figure f;
        error = matrix_table_figure(c->t, variant, first + i, "", &f);
        figure_text(&f, false, cell);
        report_doc_cell(row, "%s", cell);
        str_addf(c->table, " %-24s", cell);
    }
    str_add(c->table, "\n");
    return error;
}

static void add_words_row(struct composing *c, json_t *table, uint32_t first, uint32_t n)
{
    char cell[CELL_BYTES];
    bool any = false;
    struct matrix_figure f;
    for (uint32_t i = 0; i < n; i++) {
        matrix_table_words(c->t, first + i, &f);
        any = any || f.there;
    }
    if (!any) {
        return;
    }
    json_t *row = report_doc_row(table);
    report_doc_cell(row, "bag-of-words");
    str_addf(c->table, "  %-20s", "bag-of-words");
    for (uint32_t i = 0; i < n; i++) {
        matrix_table_words(c->t, first + i, &f);
        figure_text(&f, false, cell);
        report_doc_cell(row, "%s", cell);
        str_addf(c->table, " %-24s", cell);
    }
    str_add(c->table, "\n");
}

/* Paired differences of every variant against the reference. */
static enum err add_differences(struct composing *c, json_t *section, uint32_t first, uint32_t n)
{
    const struct matrix *m = c->in->m;
    int reference = m->reference[0] ? matrix_variant(m, m->reference) : -1;
    char caption[128];
    char cell[CELL_BYTES];
    json_t *table = NULL;
    enum err error = OK;
    (void)snprintf(caption, sizeof caption, "Paired difference to %.60s over the same questions",
                   m->reference);
    for (uint32_t v = 0; v < m->n_variants && reference >= 0 && error == OK; v++) {
        struct matrix_figure figures[MATRIX_COLUMNS];
        bool any = false;
        for (uint32_t i = 0; i < n && error == OK && v != (uint32_t)reference; i++) {
            error =
                matrix_table_difference(c->t, v, (uint32_t)reference, first + i, "", &figures[i]);
            any = any || figures[i].there;
        }
        if (!any || error != OK) {
            continue;
        }
        table = table ? table : begin_table(c, section, first, n, caption);
        json_t *row = report_doc_row(table);
        report_doc_cell(row, "%s", m->variants[v].name);
        for (uint32_t i = 0; i < n; i++) {
            figure_text(&figures[i], true, cell);
            report_doc_cell(row, "%s", cell);
        }
    }
    return error;
}

static enum err add_evaluation(struct composing *c, uint32_t evaluation)
{
    const struct matrix *m = c->in->m;
    const struct matrix_evaluation *ev = &m->evaluations[evaluation];
    uint32_t first = 0;
    uint32_t n = columns_of(c->t, evaluation, &first);
    char title[128];
    enum err error = OK;
    (void)snprintf(title, sizeof title, "Evaluation: %s", ev->name);
    json_t *section = report_doc_section(c->doc, title);
    if (ev->what[0]) {
        report_doc_put(section, "text", ev->what);
    }
    if (ev->note[0]) {
        report_doc_put(section, "note", ev->note);
    }
    if (n == 0) {
        report_doc_put(section, "text", "Nothing was measured.");
        return OK;
    }
    str_addf(c->table, "\n%s (%s)\n  %-20s", ev->name, ev->measure, "");
    for (uint32_t i = 0; i < n; i++) {
        str_addf(c->table, " %-24s", c->t->columns[first + i].label);
    }
    str_add(c->table, "\n");
    json_t *table = begin_table(c, section, first, n, ev->measure);
    for (uint32_t v = 0; v < m->n_variants && error == OK; v++) {
        error = add_variant_row(c, table, v, first, n);
    }
    add_words_row(c, table, first, n);
    if (error == OK) {
        error = add_differences(c, section, first, n);
    }
    return error == OK ? matrix_plots_evaluation(c->t, evaluation, section) : error;
}

static void add_setting(json_t *table, const char *name, const json_t *value)
{
    json_t *row = report_doc_row(table);
    report_doc_cell(row, "%s", name);
    if (json_is_string(value)) {
        report_doc_cell(row, "%s", json_string_value(value));
    } else {
        report_doc_cell(row, "%lld", (long long)json_integer_value(value));
    }
}

static void add_overview(struct composing *c)
{
    static const char *const columns[] = {"what", "value"};
    static const char *const names[][2] = {
        {"base model", "model"},
        {"its weights", "quantisation"},
        {"its SHA-256", "model_hash"},
        {"training file, SHA-256", "train_sha256"},
        {"test file, SHA-256", "test_sha256"},
        {"kernels", "kernels"},
        {"precision", "precision"},
        {"cores", "cores"},
    };
    const struct matrix *m = c->in->m;
    json_t *section = report_doc_section(c->doc, "What was run");
    json_t *table = report_doc_table(section, "", columns, 2);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        add_setting(table, names[i][0], json_object_get(c->in->machine, names[i][1]));
    }
    static const char *const head[] = {"variant", "trained", "seeds", "settings", "what it is"};
    table = report_doc_table(section, "Variants", head, 5);
    for (uint32_t v = 0; v < m->n_variants; v++) {
        const struct matrix_variant *variant = &m->variants[v];
        struct str settings = {0};
        for (uint32_t i = 0; i < variant->set.n; i++) {
            str_addf(&settings, "%s%s", i > 0 ? ", " : "", variant->set.items[i]);
        }
        json_t *row = report_doc_row(table);
        report_doc_cell(row, "%s", variant->name);
        report_doc_cell(row, "%s", variant->trained ? "yes" : "no");
        report_doc_cell(row, "%u", variant->trained ? variant->n_seeds : 0);
        report_doc_cell(row, "%.2000s", settings.data ? settings.data : "");
        report_doc_cell(row, "%.1000s", variant->what);
        str_free(&settings);
    }
    report_doc_put(section, "note",
                   "Intervals are 95 % bootstrap intervals over scenarios. The bag-of-words row of "
                   "a table is a naive Bayes over the words of the options alone, fitted on the "
                   "training file: what counts is what a model does beyond it. Readouts that "
                   "compare the two poles of an axis (contrast) are another task than being told "
                   "one value and picking by oneself (likelihood, letter): figures of one are not "
                   "to be put beside figures of the other.");
}

static enum err add_claims(struct composing *c)
{
    static const char *const columns[] = {"claim", "verdict", "evidence"};
    const struct matrix *m = c->in->m;
    enum err error = OK;
    if (m->n_claims == 0) {
        return OK;
    }
    json_t *section = report_doc_section(c->doc, "Claims, checked");
    report_doc_put(section, "text",
                   "Verdicts are computed. A comparison holds when the whole interval of the "
                   "paired difference lies above its margin, does not hold when it lies at or "
                   "below it, and is undecided otherwise. A target is compared with the figure; "
                   "its interval stands beside it.");
    json_t *table = report_doc_table(section, "", columns, 3);
    str_add(c->table, "\nclaims\n");
    for (uint32_t i = 0; i < m->n_claims && error == OK; i++) {
        struct str evidence = {0};
        enum matrix_verdict verdict;
        error = matrix_claim_judge(c->t, &m->claims[i], &verdict, &evidence);
        if (error == OK) {
            json_t *row = report_doc_row(table);
            report_doc_cell(row, "%.2000s", m->claims[i].text);
            report_doc_cell(row, "%s", matrix_verdict_name(verdict));
            report_doc_cell(row, "%.2000s", evidence.data);
            str_addf(c->table, "  %-13s  %s\n                 %s\n", matrix_verdict_name(verdict),
                     m->claims[i].text, evidence.data);
        }
        str_free(&evidence);
    }
    return error;
}

static enum err add_facts(struct composing *c)
{
    static const char *const columns[] = {"what", "the paper reports", "in which setting",
                                          "measured here", "mind"};
    const struct matrix *m = c->in->m;
    enum err error = OK;
    if (m->n_facts == 0) {
        return OK;
    }
    json_t *section = report_doc_section(c->doc, "Beside the paper");
    json_t *table = report_doc_table(section, "", columns, 5);
    for (uint32_t i = 0; i < m->n_facts && error == OK; i++) {
        const struct matrix_fact *f = &m->facts[i];
        struct matrix_figure figure = {0};
        char cell[CELL_BYTES];
        int variant = matrix_variant(m, f->variant);
        int column = matrix_table_column(c->t, f->column);
        if (variant >= 0 && column >= 0) {
            error = matrix_table_figure(c->t, (uint32_t)variant, (uint32_t)column, "", &figure);
        }
        figure_text(&figure, false, cell);
        json_t *row = report_doc_row(table);
        report_doc_cell(row, "%.1000s", f->what);
        report_doc_cell(row, "%.1000s", f->reported);
        report_doc_cell(row, "%.1000s", f->setting);
        if (figure.there) {
            report_doc_cell(row, "%s (%s, %s)", cell, f->variant, f->column);
        } else {
            report_doc_cell(row, "not measured");
        }
        report_doc_cell(row, "%.1000s", f->note);
    }
    return error;
}

static void add_cost_row(json_t *table, const struct matrix_cell *cell, const json_t *stored,
                         double *estimate, double *truth)
{
    double seconds = json_number_value(json_object_get(stored, "seconds"));
    bool whole = json_integer_value(json_object_get(stored, "attempts")) == 1;
    const char *hash =
        json_string_value(json_object_get(json_object_get(stored, "result"), "adapter"));
    json_t *row = report_doc_row(table);
    report_doc_cell(row, "%s", cell->name);
    report_doc_cell(row, cell->estimate_s > 0.0 ? "%.0f" : "-", cell->estimate_s);
    if (!stored) {
        report_doc_cell(row, "failed");
    } else {
        report_doc_cell(row, whole ? "%.0f" : "%.0f (of the last start; it was interrupted)",
                        seconds);
    }
    report_doc_cell(row, "%s", hash ? hash : "");
    if (stored && whole && cell->estimate_s > 0.0) {
        *estimate += cell->estimate_s;
        *truth += seconds;
    }
}

static void add_costs(struct composing *c)
{
    static const char *const columns[] = {"cell", "estimated s", "measured s", "adapter SHA-256"};
    double estimate = 0.0;
    double truth = 0.0;
    json_t *section = report_doc_section(c->doc, "Cells, cost, hashes");
    json_t *table = report_doc_table(section, "", columns, 4);
    for (uint32_t i = 0; i < c->in->n; i++) {
        add_cost_row(table, &c->in->cells[i], c->in->results[i], &estimate, &truth);
    }
    if (truth > 0.0) {
        report_doc_say(section, "text",
                       "Over the cells that ran in one go: estimated %.0f s, measured %.0f s, "
                       "%+.0f %%.",
                       estimate, truth, 100.0 * (estimate - truth) / truth);
        str_addf(c->table, "\nestimated %.0f s, measured %.0f s: %+.0f %%\n", estimate, truth,
                 100.0 * (estimate - truth) / truth);
    }
}

enum err matrix_report(const struct matrix_report_input *in, json_t **doc, struct str *table,
                       struct errbuf *e)
{
    struct composing c = {.in = in, .table = table};
    *doc = NULL;
    enum err error = matrix_table_new(in->m, in->cells, in->n, in->results, &c.t, e);
    if (error != OK) {
        return error;
    }
    c.doc = report_doc_new(in->m->title, in->m->lead);
    add_overview(&c);
    error = add_claims(&c);
    if (error == OK) {
        error = add_facts(&c);
    }
    for (uint32_t i = 0; i < in->m->n_evaluations && error == OK; i++) {
        error = add_evaluation(&c, i);
    }
    matrix_plots_curves(c.t, c.doc);
    add_costs(&c);
    report_doc_put(report_doc_section(c.doc, "Configuration"), "code", in->files);
    mem_free(c.t);
    if (error == OK && (!report_doc_ok(c.doc) || str_ok(table) != OK)) {
        error = ERR_NOMEM;
    }
    if (error != OK) {
        json_decref(c.doc);
        return err_set(e, error, "no memory for the report");
    }
    *doc = c.doc;
    return OK;
}
