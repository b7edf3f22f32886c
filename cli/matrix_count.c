/* matrix_count.c - the words that are counted, the sums. */
#include "cli/matrix_count.h"

#include <jansson.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/matrix_child.h"
#include "cli/matrix_store.h"

enum err matrix_count_words(const struct matrix_counter *c, struct matrix_words *words,
                            struct matrix_count *sum, bool *known, struct errbuf *e)
{
    struct matrix_child child = {.log = c->log, .capture = c->answer, .quiet = true};
    json_t *counted = NULL;
    enum err error = matrix_words_add(words, "--count", e);
    if (error == OK) {
        error = matrix_child_run(&child, words, e);
    }
    bool told =
        error == OK && child.code == 0 && matrix_store_read(c->answer, &counted, NULL) == OK;
    if (error == OK && child.code == CLI_INTERRUPTED) {
        error = err_set(e, ERR_GONE, "interrupted; the same command goes on");
    }
    double rows = json_number_value(json_object_get(counted, "rows"));
    sum->read.rows += rows;
    sum->read.context += json_number_value(json_object_get(counted, "context"));
    sum->read.label_rows += json_number_value(json_object_get(counted, "label_rows"));
    sum->decoded += json_number_value(json_object_get(counted, "decoded"));
    json_decref(counted);
    *known = told && rows > 0.0;
    return error;
}

static bool is_eval(const struct matrix_evaluation *ev)
{
    return strcmp(ev->command, "eval") == 0;
}

uint32_t matrix_count_entries(const struct matrix *m, uint32_t evaluation)
{
    const struct matrix_evaluation *ev = &m->evaluations[evaluation];
    return ev->counts.n > 0 ? ev->counts.n : is_eval(ev) ? 1 : 0;
}

enum err matrix_count_entry(const struct matrix_counter *c, const struct matrix_cell *cell,
                            uint32_t entry, struct matrix_words *out, struct errbuf *e)
{
    const struct matrix_commands *counts = &c->m->evaluations[cell->evaluation].counts;
    struct matrix_place p;
    enum err error = matrix_place(c->m, cell, c->folder, &p, e);
    if (error != OK) {
        return error;
    }
    return counts->n == 0 ? matrix_bare_evaluation(c->m, cell, &p, NULL, out, e)
                          : matrix_bare_command(c->m, cell, &p, &counts->items[entry], out, e);
}

/* An adapter is scored with and without itself. */
static bool is_paired(const struct matrix *m, const struct matrix_cell *cell)
{
    return m->variants[cell->variant].trained &&
           matrix_words_have(&m->evaluations[cell->evaluation].args, "--paired");
}

static void twice(struct matrix_count *c)
{
    c->read.rows *= 2.0;
    c->read.context *= 2.0;
    c->read.label_rows *= 2.0;
    c->decoded *= 2.0;
}

enum err matrix_count_evaluation(const struct matrix_counter *c, const struct matrix_cell *cell,
                                 struct matrix_count *out, struct errbuf *e)
{
    const uint32_t n = matrix_count_entries(c->m, cell->evaluation);
    enum err error = OK;
    const struct matrix_evaluation *ev = &c->m->evaluations[cell->evaluation];
    *out = (struct matrix_count){.starts = 1,
                                 .known = n > 0 && (ev->before.n == 0 || ev->counts.n > 0)};
    for (uint32_t i = 0; i < n && error == OK; i++) {
        struct matrix_words words = {0};
        bool known = false;
        error = matrix_count_entry(c, cell, i, &words, e);
        if (error == OK) {
            error = matrix_count_words(c, &words, out, &known, e);
        }
        out->known = out->known && known;
        matrix_words_free(&words);
    }
    if (is_paired(c->m, cell)) {
        twice(out);
    }
    return error;
}

enum err matrix_count_before(const struct matrix_counter *c, const struct matrix_cell *cell,
                             struct matrix_count *sum, struct errbuf *e)
{
    const struct matrix_variant *v = &c->m->variants[cell->variant];
    struct matrix_place p;
    enum err error = matrix_place(c->m, cell, c->folder, &p, e);
    for (uint32_t i = 0; i < v->counts.n && error == OK; i++) {
        struct matrix_words words = {0};
        bool known = false;
        error = matrix_bare_command(c->m, cell, &p, &v->counts.items[i], &words, e);
        if (error == OK) {
            error = matrix_count_words(c, &words, sum, &known, e);
        }
        sum->starts++;
        sum->known = sum->known && known;
        matrix_words_free(&words);
    }
    sum->known = sum->known && (v->counts.n > 0 || v->before.n == 0);
    return error;
}

bool matrix_count_same(const struct matrix_counter *c, const struct matrix_cell *one,
                       const struct matrix_cell *two)
{
    const uint32_t n = matrix_count_entries(c->m, one->evaluation);
    bool same =
        one->evaluation == two->evaluation && n > 0 && is_paired(c->m, one) == is_paired(c->m, two);
    for (uint32_t k = 0; k < n && same; k++) {
        struct matrix_words a = {0};
        struct matrix_words b = {0};
        same = matrix_count_entry(c, one, k, &a, NULL) == OK &&
               matrix_count_entry(c, two, k, &b, NULL) == OK && a.n == b.n;
        for (uint32_t i = 0; same && i < a.n; i++) {
            same = strcmp(a.items[i], b.items[i]) == 0;
        }
        matrix_words_free(&a);
        matrix_words_free(&b);
    }
    return same;
}
