/* reproduce_command.c - pft reproduce: a matrix of variants, evaluations and seeds as one batch
 * that goes on after any kill, and the report at its end. Owns: the words of the command,
 * DIR/results.json, DIR/report.md, DIR/report.html. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/matrix_cost.h"
#include "cli/matrix_report.h"
#include "cli/matrix_run.h"
#include "cli/matrix_store.h"
#include "cli/report_html.h"
#include "cli/report_md.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

struct reproduce_options {
    const char *config, *out, *workers;
    bool dry_run, json;
};

struct reproduction {
    struct matrix *m;
    struct matrix_batch batch;
    struct matrix_cost cost;
    char folder[FILE_PATH_BYTES];
    int lock;
    json_t **results; /* [n cells] */
};

static enum err read_options(struct reproduce_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--out", "DIR", "folder of the batch (default: runs/<name of the config>)", &o->out, NULL,
         NULL},
        {"--workers", "N", "workers of each run and evaluation (default: one per core)",
         &o->workers, NULL, NULL},
        {"--dry-run", NULL, "print cells and estimate, run nothing but the measurement", NULL, NULL,
         &o->dry_run},
        {"--json", NULL, "print the results (with --dry-run the estimate) as JSON", NULL, NULL,
         &o->json},
    };
    struct args a = {.usage = "pft reproduce CONFIG [--out DIR] [--workers N] [--dry-run] [--json]",
                     .what = "Trains and evaluates a matrix of variants, goes on where an earlier "
                             "start stopped, and writes report.md and report.html.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    long workers;
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one CONFIG is needed, %d words were given; usage: %s",
                        a.n_positional, a.usage);
    }
    if (error == OK && o->workers) {
        error = args_number("--workers", o->workers, 1, LIMIT_WORKERS, &workers, e);
    }
    o->config = a.positional[0];
    return error;
}

static enum err choose_folder(const struct reproduce_options *o, struct reproduction *r,
                              struct errbuf *e)
{
    const char *slash = strrchr(o->config, '/');
    const char *name = slash ? slash + 1 : o->config;
    const char *dot = strrchr(name, '.');
    int length = (int)(dot && dot != name ? (size_t)(dot - name) : strlen(name));
    char given[FILE_PATH_BYTES];
    char here[FILE_PATH_BYTES];
    int n = o->out ? snprintf(given, sizeof given, "%s", o->out)
                   : snprintf(given, sizeof given, "runs/%.*s", length, name);
    if (n >= FILE_PATH_BYTES || !getcwd(here, sizeof here)) {
        return err_set(e, ERR_RANGE, "--out: the path is too long");
    }
    return file_join(r->folder, here, given, e);
}

/* The estimate as a table on stderr, or as JSON. */
static enum err show_estimate(const struct reproduce_options *o, const struct reproduction *r,
                              struct errbuf *e)
{
    const struct matrix_batch *b = &r->batch;
    double rows = 0.0;
    double all = 0.0;
    double left = 0.0;
    uint32_t n_left = 0;
    json_t *list = json_array();
    for (uint32_t i = 0; i < b->n; i++) {
        bool done = false;
        enum err error = matrix_is_done(b, &b->cells[i], &done, e);
        if (error != OK) {
            json_decref(list);
            return error;
        }
        rows += r->cost.amounts[i].rows;
        all += b->cells[i].estimate_s;
        left += done ? 0.0 : b->cells[i].estimate_s;
        n_left += !done;
        (void)json_array_append_new(list, json_pack("{s:s,s:f,s:f,s:b}", "cell", b->cells[i].name,
                                                    "tokens", r->cost.amounts[i].rows, "seconds",
                                                    b->cells[i].estimate_s, "done", (int)done));
    }
    (void)fprintf(stderr,
                  "pft: %u cells, %u of them to be done; %.2f million tokens; about %.0f s in all, "
                  "%.0f s (%.1f min) to go\n",
                  b->n, n_left, rows * 1e-6, all, left, left / 60.0);
    if (r->cost.unknown > 0) {
        (void)fprintf(stderr,
                      "pft: %u of the cells cannot be counted beforehand and are not in "
                      "the estimate\n",
                      r->cost.unknown);
    }
    json_t *shown = json_pack("{s:o,s:f,s:f,s:f,s:i}", "cells", list, "tokens", rows, "seconds",
                              all, "seconds_to_go", left, "uncounted", (int)r->cost.unknown);
    if (o->dry_run && o->json && shown) {
        (void)json_dumpf(shown, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        (void)puts("");
    } else if (o->dry_run) {
        for (uint32_t i = 0; i < b->n; i++) {
            (void)printf("  %-44s %12.0f tokens %9.1f s\n", b->cells[i].name,
                         r->cost.amounts[i].rows, b->cells[i].estimate_s);
        }
    }
    json_decref(shown);
    return shown ? OK : err_set(e, ERR_NOMEM, "no memory for the estimate");
}

/* The matrix file and every run config that it names, once each. */
static enum err gather_files(const struct matrix *m, struct str *out, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i <= m->n_variants && error == OK; i++) {
        const char *path = i == 0 ? m->config : m->variants[i - 1].config;
        const char *slash = strrchr(path, '/');
        bool seen = false;
        char *text = NULL;
        size_t bytes = 0;
        for (uint32_t k = 1; k < i; k++) {
            seen = seen || strcmp(m->variants[k - 1].config, path) == 0;
        }
        if (seen) {
            continue;
        }
        error = file_read(path, LIMIT_YAML_BYTES, &text, &bytes, e);
        if (error == OK) {
            str_addf(out, "# ---- %s\n%s\n", slash ? slash + 1 : path, text);
        }
        mem_free(text);
    }
    return error == OK ? str_ok(out) : error;
}

static enum err gather_results(struct reproduction *r, struct errbuf *e)
{
    const struct matrix_batch *b = &r->batch;
    enum err error = OK;
    r->results = mem_calloc(b->n, sizeof(json_t *));
    if (!r->results) {
        return err_set(e, ERR_NOMEM, "no memory for %u results", b->n);
    }
    for (uint32_t i = 0; i < b->n && error == OK; i++) {
        struct matrix_place p;
        bool done = false;
        error = matrix_is_done(b, &b->cells[i], &done, e);
        if (error == OK && done) {
            error = matrix_place(b->m, &b->cells[i], b->folder, &p, e);
        }
        if (error == OK && done) {
            error = matrix_store_get(p.result, NULL, &r->results[i], e);
        }
    }
    return error;
}

static enum err write_text(const struct reproduction *r, const char *name, const struct str *text,
                           struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = str_ok(text);
    if (error != OK) {
        return err_set(e, error, "no memory for %s", name);
    }
    error = file_join(path, r->folder, name, e);
    return error == OK ? file_write_atomic(path, text->data, text->len, e) : error;
}

/* All that was measured in one file: {"machine", "cells": [{"cell", "estimate_s", ...}]}. */
static enum err write_results(const struct reproduction *r, bool print, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    json_t *cells = json_array();
    for (uint32_t i = 0; i < r->batch.n; i++) {
        const struct matrix_cell *c = &r->batch.cells[i];
        json_t *stored = r->results[i] ? json_incref(r->results[i]) : json_null();
        (void)json_array_append_new(cells,
                                    json_pack("{s:s,s:s,s:f,s:o}", "cell", c->name, "variant",
                                              r->m->variants[c->variant].name, "estimate_s",
                                              c->estimate_s, "stored", stored));
    }
    json_t *all = json_pack("{s:s,s:O,s:o}", "version", PFT_VERSION, "machine", r->cost.machine,
                            "cells", cells);
    enum err error = file_join(path, r->folder, "results.json", e);
    if (error == OK) {
        error = all ? matrix_store_write(path, all, e) : err_set(e, ERR_NOMEM, "no memory");
    }
    if (error == OK && print) {
        (void)json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        (void)puts("");
    }
    json_decref(all);
    return error;
}

static enum err write_report(const struct reproduce_options *o, struct reproduction *r,
                             struct errbuf *e)
{
    struct str files = {0};
    struct str html = {0};
    struct str md = {0};
    struct str table = {0};
    json_t *doc = NULL;
    enum err error = gather_results(r, e);
    if (error == OK) {
        error = gather_files(r->m, &files, e);
    }
    if (error == OK) {
        const struct matrix_report_input in = {.m = r->m,
                                               .cells = r->batch.cells,
                                               .n = r->batch.n,
                                               .results = r->results,
                                               .machine = r->cost.machine,
                                               .files = files.data};
        error = matrix_report(&in, &doc, &table, e);
    }
    if (error == OK) {
        report_html(doc, &html);
        report_md(doc, &md);
        error = write_text(r, "report.html", &html, e);
    }
    if (error == OK) {
        error = write_text(r, "report.md", &md, e);
    }
    if (error == OK) {
        error = write_results(r, o->json, e);
    }
    if (error == OK && !o->json) {
        (void)fputs(table.data, stdout);
        (void)printf("\nreport  %s/report.html and report.md\n", r->folder);
    }
    json_decref(doc);
    str_free(&files);
    str_free(&html);
    str_free(&md);
    str_free(&table);
    return error;
}

static enum err reproduce(const struct reproduce_options *o, struct reproduction *r,
                          struct errbuf *e)
{
    struct matrix_batch *b = &r->batch;
    enum err error = matrix_load(o->config, &r->m, e);
    if (error == OK) {
        error = matrix_cells(r->m, &b->cells, &b->n, e);
    }
    if (error == OK) {
        error = choose_folder(o, r, e);
    }
    if (error == OK) {
        error = matrix_open(r->folder, &r->lock, e);
    }
    b->m = r->m;
    b->folder = r->folder;
    b->workers = o->workers;
    if (error == OK) {
        error = matrix_cost(r->m, b->cells, b->n, r->folder, o->workers, &r->cost, e);
    }
    if (error == OK) {
        error = show_estimate(o, r, e);
    }
    if (error == OK && !o->dry_run) {
        error = matrix_run(b, e);
    }
    if (error == OK && !o->dry_run) {
        error = write_report(o, r, e);
    }
    if (error == OK && b->failed > 0) {
        error = err_set(e, ERR_STATE,
                        "%u of %u cells failed; the report says which, and the same "
                        "command tries them again",
                        b->failed, b->n);
    }
    return error;
}

int cli_reproduce(int argc, char **argv)
{
    struct reproduce_options o = {0};
    struct reproduction r = {.lock = -1};
    struct errbuf e = {0};
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = reproduce(&o, &r, &e);
    }
    for (uint32_t i = 0; r.results && i < r.batch.n; i++) {
        json_decref(r.results[i]);
    }
    mem_free(r.results);
    mem_free(r.batch.cells);
    matrix_cost_free(&r.cost);
    matrix_free(&r.m);
    if (r.lock >= 0) {
        (void)close(r.lock);
    }
    if (error == ERR_GONE) {
        (void)fprintf(stderr, "pft reproduce: %s\n", e.text);
        return CLI_INTERRUPTED;
    }
    return error == OK ? CLI_OK : cli_explain("pft reproduce", error, &e);
}
