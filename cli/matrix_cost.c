/* matrix_cost.c - counting and measuring before a matrix starts. */
#include "cli/matrix_cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/matrix_child.h"
#include "cli/matrix_store.h"
#include "cli/matrix_work.h"
#include "cli/plan_costs.h"
#include "cli/scratch.h"
#include "common/base/mem.h"
#include "coordinator/journal.h"

enum {
    MEASURE_STEPS = 5,
    FEW = 4,   /* scenarios of the shorter measured evaluation */
    MORE = 24, /* and of the longer one */
};

struct costing {
    const struct matrix *m;
    struct matrix_cell *cells;
    uint32_t n;
    const char *folder, *workers;
    struct matrix_cost *out;
    char log[FILE_PATH_BYTES], answer[FILE_PATH_BYTES], run[FILE_PATH_BYTES];
    uint32_t variant;        /* that is measured */
    struct matrix_work work; /* its training */
};

/* Runs a child for a measurement; the words are freed. */
static enum err run_child(struct costing *c, struct matrix_words *words, double *seconds,
                          struct errbuf *e)
{
    struct matrix_child child = {.log = c->log, .capture = c->answer};
    enum err error = matrix_child_run(&child, words, e);
    matrix_words_free(words);
    *seconds = child.seconds;
    if (error == OK && child.code != 0) {
        error = err_set(e, child.code == CLI_INTERRUPTED ? ERR_GONE : ERR_REFUSED,
                        "the measurement ended with exit code %d (%s)", child.code, c->log);
    }
    return error;
}

/* The words of an evaluation of a variant's bare model; instead: see matrix_cell.h. */
static enum err bare_evaluation(const struct costing *c, uint32_t variant, uint32_t evaluation,
                                const struct matrix_words *instead, struct matrix_words *out,
                                struct errbuf *e)
{
    const struct matrix_cell cell = {.variant = variant, .evaluation = evaluation};
    struct matrix_place p;
    enum err error = matrix_place(c->m, &cell, c->folder, &p, e);
    return error == OK ? matrix_bare_evaluation(c->m, &cell, &p, instead, out, e) : error;
}

/* An adapter is scored with and without itself. */
static double passes(const struct costing *c, uint32_t variant, uint32_t evaluation)
{
    const struct matrix_words *args = &c->m->evaluations[evaluation].args;
    for (uint32_t i = 0; i < args->n && c->m->variants[variant].trained; i++) {
        if (strcmp(args->items[i], "--paired") == 0) {
            return 2.0;
        }
    }
    return 1.0;
}

static bool is_eval(const struct matrix *m, const struct matrix_cell *cell)
{
    return cell->evaluation != MATRIX_TRAIN &&
           strcmp(m->evaluations[cell->evaluation].command, "eval") == 0;
}

/* Adds what pft eval --count tells; false in *known when it cannot tell. */
static enum err count_words(struct costing *c, struct matrix_words *words, struct tree_work *work,
                            bool *known, struct errbuf *e)
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
    work->rows += rows;
    work->context += json_number_value(json_object_get(counted, "context"));
    work->label_rows += json_number_value(json_object_get(counted, "label_rows"));
    json_decref(counted);
    *known = *known && told && rows > 0.0;
    return error;
}

/* Counts an evaluation, or what the matrix says that it scores. */
static enum err count_evaluation(struct costing *c, uint32_t variant, uint32_t evaluation,
                                 struct tree_work *work, bool *known, struct errbuf *e)
{
    const struct matrix_commands *counts = &c->m->evaluations[evaluation].counts;
    enum err error = OK;
    *work = (struct tree_work){0};
    *known = true;
    for (uint32_t i = 0; i < (counts->n > 0 ? counts->n : 1) && error == OK; i++) {
        struct matrix_words words = {0};
        error = bare_evaluation(c, variant, evaluation, counts->n > 0 ? &counts->items[i] : NULL,
                                &words, e);
        if (error == OK) {
            error = count_words(c, &words, work, known, e);
        }
        matrix_words_free(&words);
    }
    return error;
}

static double score_flops(const struct costing *c, const struct tree_work *w)
{
    return w->rows * plan_score_flops(&c->work.shape, &c->work.lora, w->context / w->rows,
                                      w->label_rows / w->rows);
}

static void keep_count(struct costing *c, uint32_t cell, const struct tree_work *w)
{
    c->out->rows[cell] = w->rows;
    c->out->flops[cell] = score_flops(c, w);
}

/* Two variants whose evaluations have the same words cost the same. */
static bool same_words(const struct costing *c, uint32_t one, uint32_t two, uint32_t evaluation)
{
    struct matrix_words a = {0};
    struct matrix_words b = {0};
    bool same = !(passes(c, one, evaluation) < passes(c, two, evaluation)) &&
                !(passes(c, one, evaluation) > passes(c, two, evaluation)) &&
                bare_evaluation(c, one, evaluation, NULL, &a, NULL) == OK &&
                bare_evaluation(c, two, evaluation, NULL, &b, NULL) == OK && a.n == b.n;
    for (uint32_t i = 0; same && i < a.n; i++) {
        same = strcmp(a.items[i], b.items[i]) == 0;
    }
    matrix_words_free(&a);
    matrix_words_free(&b);
    return same;
}

/* An earlier cell of the same evaluation and the same words, or -1. */
static int counted_before(const struct costing *c, uint32_t cell)
{
    for (uint32_t i = 0; i < cell; i++) {
        const struct matrix_cell *a = &c->cells[i];
        const struct matrix_cell *b = &c->cells[cell];
        if (a->evaluation == b->evaluation &&
            (a->variant == b->variant || same_words(c, a->variant, b->variant, a->evaluation))) {
            return (int)i;
        }
    }
    return -1;
}

static enum err count_cell(struct costing *c, uint32_t i, struct errbuf *e)
{
    const struct matrix_cell *cell = &c->cells[i];
    const struct matrix_variant *v = &c->m->variants[cell->variant];
    struct matrix_cost *out = c->out;
    enum err error = OK;
    if (cell->evaluation == MATRIX_TRAIN) {
        struct matrix_work work;
        error = matrix_work_count(v, &work, e);
        out->rows[i] = error == OK ? work.train.rows : 0.0;
        out->flops[i] = error == OK ? work.flops : 0.0;
        out->scored[i] = error == OK ? work.reference_flops : 0.0;
        return error;
    }
    int before = counted_before(c, i);
    bool known = false;
    if (before >= 0) {
        out->rows[i] = out->rows[before];
        out->flops[i] = out->flops[before];
        known = out->rows[i] > 0.0;
    } else if (is_eval(c->m, cell)) {
        struct tree_work work;
        error = count_evaluation(c, cell->variant, cell->evaluation, &work, &known, e);
        if (known) {
            keep_count(c, i, &work);
            out->rows[i] *= passes(c, cell->variant, cell->evaluation);
            out->flops[i] *= passes(c, cell->variant, cell->evaluation);
        }
    }
    out->unknown += !known;
    return error;
}

/* Seconds and tokens of the steps of the measured run but its first. */
static enum err read_steps(struct costing *c, double wall_s, struct errbuf *e)
{
    struct journal *j = NULL;
    double all_s = 0.0;
    double later_s = 0.0;
    double tokens = 0.0;
    enum err error = journal_open_reader(c->run, &j, e);
    uint64_t steps = error == OK ? journal_steps(j) : 0;
    for (uint64_t i = 0; i < steps && error == OK; i++) {
        struct journal_step step;
        error = journal_step_get(j, i, &step, e);
        all_s += step.seconds;
        later_s += i > 0 ? step.seconds : 0.0;
        tokens += i > 0 ? (double)step.tokens : 0.0;
    }
    journal_close(&j);
    if (error == OK && !(later_s > 0.0)) {
        error = err_set(e, ERR_REFUSED, "%s: the measured run has no second step", c->run);
    }
    if (error == OK) {
        c->out->rates.train_flops_s = c->work.flops / c->work.train.rows * tokens / later_s;
        c->out->rates.run_s = fmax(0.0, wall_s - all_s);
    }
    return error;
}

static enum err measure_training(struct costing *c, struct errbuf *e)
{
    const struct matrix_variant *v = &c->m->variants[c->variant];
    struct matrix_words words = {0};
    char steps[32];
    (void)snprintf(steps, sizeof steps, "train.max_steps=%d", MEASURE_STEPS);
    const char *const more[] = {
        "--set", "train.objective=pft", "--set", "data.test=", "--set", steps, "--out", c->run};
    double seconds = 0.0;
    scratch_remove(c->run);
    enum err error = matrix_words_add(&words, "run", e);
    error = error == OK ? matrix_words_add(&words, v->config, e) : error;
    for (uint32_t i = 0; i < v->set.n && error == OK; i++) {
        error = matrix_words_add(&words, "--set", e);
        error = error == OK ? matrix_words_add(&words, v->set.items[i], e) : error;
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0] && error == OK; i++) {
        error = matrix_words_add(&words, more[i], e);
    }
    if (error == OK && c->workers) {
        error = matrix_words_add(&words, "--workers", e);
        error = error == OK ? matrix_words_add(&words, c->workers, e) : error;
    }
    error = error == OK ? run_child(c, &words, &seconds, e) : error;
    if (error == OK) {
        error = read_steps(c, seconds, e);
    }
    scratch_remove(c->run);
    return error;
}

static bool has_word(const struct matrix_words *list, const char *word)
{
    for (uint32_t i = 0; i < list->n; i++) {
        if (strcmp(list->items[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* The words of a measured evaluation: of `limit` questions and nothing else, thresholds for
 * instance. */
static enum err measured_words(const struct costing *c, const struct matrix_cell *cell,
                               const char *limit, struct matrix_words *out, struct errbuf *e)
{
    static char readout[] = "--readout";
    static char contrast[] = "contrast";
    static char *plain[] = {readout, contrast};
    const struct matrix_words select = {2, plain};
    bool other = has_word(&c->m->evaluations[cell->evaluation].args, "--task");
    enum err error =
        bare_evaluation(c, cell->variant, cell->evaluation, other ? NULL : &select, out, e);
    error = error == OK ? matrix_words_add(out, "--limit", e) : error;
    return error == OK ? matrix_words_add(out, limit, e) : error;
}

/* One of the two: what it computes and how long it takes. */
static enum err measure_evaluation(struct costing *c, const struct matrix_cell *cell, int limit,
                                   double *flops, double *seconds, struct errbuf *e)
{
    char text[16];
    struct tree_work work = {0};
    struct matrix_words words = {0};
    bool known = true;
    (void)snprintf(text, sizeof text, "%d", limit);
    enum err error = measured_words(c, cell, text, &words, e);
    error = error == OK ? count_words(c, &words, &work, &known, e) : error;
    matrix_words_free(&words);
    *flops = known && error == OK ? score_flops(c, &work) : 0.0;
    error = error == OK ? measured_words(c, cell, text, &words, e) : error;
    const char *const more[] = {"--json", "--workers", c->workers};
    for (int k = 0; k < (c->workers ? 3 : 1) && error == OK; k++) {
        error = matrix_words_add(&words, more[k], e);
    }
    return error == OK ? run_child(c, &words, seconds, e) : error;
}

/* Two evaluations of a few and of more scenarios: the slope is the rate, the rest is overhead. */
static enum err measure_scoring(struct costing *c, uint32_t cell, struct errbuf *e)
{
    double seconds[2] = {0.0, 0.0};
    double flops[2] = {0.0, 0.0};
    enum err error = measure_evaluation(c, &c->cells[cell], FEW, &flops[0], &seconds[0], e);
    if (error == OK) {
        error = measure_evaluation(c, &c->cells[cell], MORE, &flops[1], &seconds[1], e);
    }
    double per_flop = (seconds[1] - seconds[0]) / (flops[1] - flops[0]);
    if (error == OK && per_flop > 0.0 && isfinite(per_flop)) {
        c->out->rates.score_flops_s = 1.0 / per_flop;
        c->out->rates.eval_s = fmax(0.0, seconds[0] - flops[0] * per_flop);
    } else if (error == OK) { /* the few are all there is */
        c->out->rates.score_flops_s = flops[1] / seconds[1];
    }
    return error;
}

/* The evaluation that is measured: one of select when there is one, else any that counts itself. */
static uint32_t find_measured(const struct costing *c)
{
    uint32_t found = c->n;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct matrix_cell *cell = &c->cells[i];
        if (!is_eval(c->m, cell) || !(c->out->rows[i] > 0.0) ||
            c->m->evaluations[cell->evaluation].counts.n > 0) {
            continue;
        }
        if (!has_word(&c->m->evaluations[cell->evaluation].args, "--task")) {
            return i;
        }
        found = found == c->n ? i : found;
    }
    return found;
}

/* What was measured here before, as long as machine and model are the same. */
static bool read_measured(struct costing *c, const char *path)
{
    json_t *kept = NULL;
    struct matrix_rates *r = &c->out->rates;
    if (!file_exists(path) || matrix_store_read(path, &kept, NULL) != OK) {
        return false;
    }
    bool same = json_equal(json_object_get(kept, "machine"), c->out->machine) != 0;
    r->train_flops_s = json_number_value(json_object_get(kept, "train_flops_s"));
    r->score_flops_s = json_number_value(json_object_get(kept, "score_flops_s"));
    r->run_s = json_number_value(json_object_get(kept, "run_s"));
    r->eval_s = json_number_value(json_object_get(kept, "eval_s"));
    json_decref(kept);
    return same && r->score_flops_s > 0.0;
}

static enum err measure(struct costing *c, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    struct matrix_rates *r = &c->out->rates;
    enum err error = file_join(path, c->folder, "measure.json", e);
    if (error != OK || read_measured(c, path)) {
        return error;
    }
    (void)fprintf(stderr, "pft: a short measurement on this machine ...\n");
    if (c->m->variants[c->variant].trained) {
        error = measure_training(c, e);
    }
    uint32_t cell = find_measured(c);
    if (error == OK && cell < c->n) {
        error = measure_scoring(c, cell, e);
    }
    json_t *kept = json_pack("{s:f,s:f,s:f,s:f,s:O}", "train_flops_s", r->train_flops_s,
                             "score_flops_s", r->score_flops_s, "run_s", r->run_s, "eval_s",
                             r->eval_s, "machine", c->out->machine);
    if (error == OK) {
        error = kept ? matrix_store_write(path, kept, e) : err_set(e, ERR_NOMEM, "no memory");
    }
    json_decref(kept);
    return error;
}

static void estimate(struct costing *c)
{
    const struct matrix_rates *r = &c->out->rates;
    for (uint32_t i = 0; i < c->n; i++) {
        bool training = c->cells[i].evaluation == MATRIX_TRAIN;
        double score = r->score_flops_s > 0.0 ? c->out->scored[i] / r->score_flops_s : 0.0;
        if (!(c->out->flops[i] > 0.0)) {
            c->cells[i].estimate_s = 0.0;
        } else if (training) {
            c->cells[i].estimate_s = r->run_s + c->out->flops[i] / r->train_flops_s + score;
        } else {
            c->cells[i].estimate_s = r->eval_s + c->out->flops[i] / r->score_flops_s;
        }
    }
}

static enum err prepare(struct costing *c, struct errbuf *e)
{
    enum err error = file_join(c->log, c->folder, "logs/measure.log", e);
    if (error == OK) {
        error = file_join(c->answer, c->folder, "logs/measure.json", e);
    }
    if (error == OK) {
        error = file_join(c->run, c->folder, "measure", e);
    }
    while (c->variant < c->m->n_variants && !c->m->variants[c->variant].trained) {
        c->variant++;
    }
    c->variant = c->variant < c->m->n_variants ? c->variant : 0;
    c->out->rows = mem_calloc(c->n, sizeof *c->out->rows);
    c->out->flops = mem_calloc(c->n, sizeof *c->out->flops);
    c->out->scored = mem_calloc(c->n, sizeof *c->out->scored);
    if (error == OK && (!c->out->rows || !c->out->flops || !c->out->scored)) {
        error = err_set(e, ERR_NOMEM, "no memory for %u cells", c->n);
    }
    if (error == OK) {
        error = matrix_work_count(&c->m->variants[c->variant], &c->work, e);
    }
    if (error == OK) {
        c->out->machine = json_pack(
            "{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i}", "model", c->work.model, "model_hash",
            c->work.model_hash, "train_sha256", c->work.train_hash, "test_sha256",
            c->work.test_hash, "quantisation", c->work.quantisation, "kernels", c->work.kernels,
            "precision", c->work.precision, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN));
        error = c->out->machine ? OK : err_set(e, ERR_NOMEM, "no memory");
    }
    return error;
}

enum err matrix_cost(const struct matrix *m, struct matrix_cell *cells, uint32_t n,
                     const char *folder, const char *workers, struct matrix_cost *out,
                     struct errbuf *e)
{
    struct costing c = {
        .m = m, .cells = cells, .n = n, .folder = folder, .workers = workers, .out = out};
    *out = (struct matrix_cost){0};
    enum err error = prepare(&c, e);
    for (uint32_t i = 0; i < n && error == OK; i++) {
        error = count_cell(&c, i, e);
    }
    if (error == OK) {
        error = measure(&c, e);
    }
    if (error == OK) {
        estimate(&c);
    }
    return error;
}

void matrix_cost_free(struct matrix_cost *c)
{
    mem_free(c->rows);
    mem_free(c->flops);
    mem_free(c->scored);
    json_decref(c->machine);
    *c = (struct matrix_cost){0};
}
