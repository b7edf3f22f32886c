/* matrix_cost.c - amounts of all cells, then their seconds. */
#include "cli/matrix_cost.h"

#include "common/base/cpus.h"
#include "common/base/mem.h"

struct costing {
    struct matrix_counter counter;
    struct matrix_cell *cells;
    uint32_t n;
    struct matrix_cost *out;
    char log[FILE_PATH_BYTES], answer[FILE_PATH_BYTES];
    uint32_t variant;        /* that is measured */
    struct matrix_work work; /* its training */
};

static enum err count_training(const struct costing *c, uint32_t i, struct errbuf *e)
{
    struct matrix_work work;
    enum err error = matrix_work_count(&c->counter.m->variants[c->cells[i].variant], &work, e);
    if (error == OK) {
        c->out->amounts[i] = (struct matrix_amount){.rows = work.train.rows,
                                                    .trained = work.flops,
                                                    .scored = work.reference_flops,
                                                    .runs = 1,
                                                    .known = true};
    }
    return error;
}

/* Is it the first evaluation of its variant and seed? */
static bool is_first(const struct costing *c, uint32_t cell)
{
    const struct matrix_cell *of = &c->cells[cell];
    for (uint32_t i = 0; i < cell; i++) {
        if (c->cells[i].variant == of->variant && c->cells[i].seed == of->seed &&
            c->cells[i].evaluation != MATRIX_TRAIN) {
            return false;
        }
    }
    return true;
}

/* Counts a cell's evaluation into *counts[i]; one that an earlier cell has too is not counted
 * again. */
static enum err count_evaluation(const struct costing *c, struct matrix_count *counts, uint32_t i,
                                 struct errbuf *e)
{
    for (uint32_t k = 0; k < i; k++) {
        if (c->cells[k].evaluation != MATRIX_TRAIN &&
            matrix_count_same(&c->counter, &c->cells[k], &c->cells[i])) {
            counts[i] = counts[k];
            return OK;
        }
    }
    return matrix_count_evaluation(&c->counter, &c->cells[i], &counts[i], e);
}

static enum err count_cell(const struct costing *c, struct matrix_count *counts, uint32_t i,
                           struct errbuf *e)
{
    if (c->cells[i].evaluation == MATRIX_TRAIN) {
        return count_training(c, i, e);
    }
    enum err error = count_evaluation(c, counts, i, e);
    struct matrix_count sum = counts[i];
    if (error == OK && is_first(c, i)) {
        error = matrix_count_before(&c->counter, &c->cells[i], &sum, e);
    }
    c->out->amounts[i] = (struct matrix_amount){.rows = sum.read.rows + sum.decoded,
                                                .scored = matrix_rates_flops(&c->work, &sum.read),
                                                .decoded = sum.decoded,
                                                .starts = sum.starts,
                                                .known = sum.known};
    return error;
}

static enum err count_all(const struct costing *c, struct errbuf *e)
{
    struct matrix_count *counts = mem_calloc(c->n, sizeof *counts);
    enum err error = counts ? OK : err_set(e, ERR_NOMEM, "no memory for %u cells", c->n);
    for (uint32_t i = 0; i < c->n && error == OK; i++) {
        error = count_cell(c, counts, i, e);
    }
    mem_free(counts);
    return error;
}

static void estimate(const struct costing *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        c->cells[i].estimate_s = matrix_rates_seconds(&c->out->rates, &c->out->amounts[i]);
        c->out->unknown += !(c->cells[i].estimate_s > 0.0);
    }
}

static enum err prepare(struct costing *c, const char *workers, struct errbuf *e)
{
    const struct matrix *m = c->counter.m;
    enum err error = file_join(c->log, c->counter.folder, "logs/measure.log", e);
    if (error == OK) {
        error = file_join(c->answer, c->counter.folder, "logs/measure.json", e);
    }
    c->counter.log = c->log;
    c->counter.answer = c->answer;
    while (c->variant < m->n_variants && !m->variants[c->variant].trained) {
        c->variant++;
    }
    c->variant = c->variant < m->n_variants ? c->variant : 0;
    c->out->amounts = mem_calloc(c->n, sizeof *c->out->amounts);
    if (error == OK && !c->out->amounts) {
        error = err_set(e, ERR_NOMEM, "no memory for %u cells", c->n);
    }
    if (error == OK) {
        error = matrix_work_count(&m->variants[c->variant], &c->work, e);
    }
    if (error == OK) {
        c->out->machine = json_pack(
            "{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:s}", "model", c->work.model, "model_hash",
            c->work.model_hash, "train_sha256", c->work.train_hash, "test_sha256",
            c->work.test_hash, "quantisation", c->work.quantisation, "kernels", c->work.kernels,
            "precision", c->work.precision, "cores", (int)cpus_usable(""), "workers",
            workers ? workers : "one a core");
        error = c->out->machine ? OK : err_set(e, ERR_NOMEM, "no memory");
    }
    return error;
}

enum err matrix_cost(const struct matrix *m, struct matrix_cell *cells, uint32_t n,
                     const char *folder, const char *workers, struct matrix_cost *out,
                     struct errbuf *e)
{
    struct costing c = {.counter = {.m = m, .folder = folder}, .cells = cells, .n = n, .out = out};
    *out = (struct matrix_cost){0};
    enum err error = prepare(&c, workers, e);
    if (error == OK) {
        error = count_all(&c, e);
    }
    if (error == OK) {
        const struct matrix_measuring measuring = {.counter = &c.counter,
                                                   .cells = cells,
                                                   .amounts = out->amounts,
                                                   .n = n,
                                                   .workers = workers,
                                                   .variant = c.variant,
                                                   .work = &c.work,
                                                   .machine = out->machine};
        error = matrix_rates_measure(&measuring, &out->rates, e);
    }
    if (error == OK) {
        estimate(&c);
    }
    return error;
}

void matrix_cost_free(struct matrix_cost *c)
{
    mem_free(c->amounts);
    json_decref(c->machine);
    *c = (struct matrix_cost){0};
}
