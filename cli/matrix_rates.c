/* matrix_rates.c - short runs, evaluations and answers, timed. */
#include "cli/matrix_rates.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/matrix_child.h"
#include "cli/matrix_store.h"
#include "cli/plan_costs.h"
#include "cli/scratch.h"
#include "coordinator/journal.h"

enum { MEASURE_STEPS = 5 };
/* Scenarios of the shorter measured evaluation, of the longer one, of one that is answered: as many
 * as fill a job of answers for each of two workers. */
static const char FEW[] = "4";
static const char MORE[] = "24";
static const char ANSWERED[] = "8";

double matrix_rates_flops(const struct matrix_work *work, const struct tree_work *read)
{
    return read->rows > 0.0 ? read->rows * plan_score_flops(&work->shape, &work->lora,
                                                            read->context / read->rows,
                                                            read->label_rows / read->rows)
                            : 0.0;
}

/* amount / rate; amounts that are there need a rate. */
static double add_time(double seconds, double amount, double rate, bool *measured)
{
    *measured = *measured && (!(amount > 0.0) || rate > 0.0);
    return amount > 0.0 && rate > 0.0 ? seconds + amount / rate : seconds;
}

double matrix_rates_seconds(const struct matrix_rates *r, const struct matrix_amount *a)
{
    bool measured = a->known;
    double seconds = a->runs * r->run_s + a->starts * r->eval_s;
    seconds = add_time(seconds, a->trained, r->train_flops_s, &measured);
    seconds = add_time(seconds, a->scored, r->score_flops_s, &measured);
    seconds = add_time(seconds, a->decoded, r->decode_tokens_s, &measured);
    return measured ? seconds : 0.0;
}

/* Runs a child for a measurement; the words are freed. */
static enum err run_child(const struct matrix_measuring *r, struct matrix_words *words,
                          double *seconds, struct errbuf *e)
{
    struct matrix_child child = {.log = r->counter->log, .capture = r->counter->answer};
    const char *const workers[] = {"--workers", r->workers};
    enum err error = OK;
    for (int i = 0; i < 2 && r->workers && error == OK; i++) {
        error = matrix_words_add(words, workers[i], e);
    }
    error = error == OK ? matrix_child_run(&child, words, e) : error;
    matrix_words_free(words);
    *seconds = child.seconds;
    if (error == OK && child.code != 0) {
        error =
            err_set(e, child.code == CLI_INTERRUPTED ? ERR_GONE : ERR_REFUSED,
                    "the measurement ended with exit code %d (%s)", child.code, r->counter->log);
    }
    return error;
}

/* Seconds and tokens of the steps of the measured run but its first. */
static enum err read_steps(const struct matrix_measuring *r, const char *run, double wall_s,
                           struct matrix_rates *out, struct errbuf *e)
{
    struct journal *j = NULL;
    double all_s = 0.0;
    double later_s = 0.0;
    double tokens = 0.0;
    enum err error = journal_open_reader(run, &j, e);
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
        error = err_set(e, ERR_REFUSED, "%s: the measured run has no second step", run);
    }
    if (error == OK) {
        out->train_flops_s = r->work->flops / r->work->train.rows * tokens / later_s;
        out->run_s = fmax(0.0, wall_s - all_s);
    }
    return error;
}

static enum err measure_training(const struct matrix_measuring *r, struct matrix_rates *out,
                                 struct errbuf *e)
{
    const struct matrix_variant *v = &r->counter->m->variants[r->variant];
    char run[FILE_PATH_BYTES];
    struct matrix_words words = {0};
    char steps[32];
    (void)snprintf(steps, sizeof steps, "train.max_steps=%d", MEASURE_STEPS);
    const char *const more[] = {
        "--set", "train.objective=pft", "--set", "data.test=", "--set", steps, "--out", run};
    double seconds = 0.0;
    enum err error = file_join(run, r->counter->folder, "measure", e);
    if (error != OK) {
        return error;
    }
    scratch_clear(run);
    error = matrix_words_add(&words, "run", e);
    error = error == OK ? matrix_words_add(&words, v->config, e) : error;
    for (uint32_t i = 0; i < v->set.n && error == OK; i++) {
        error = matrix_words_add(&words, "--set", e);
        error = error == OK ? matrix_words_add(&words, v->set.items[i], e) : error;
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0] && error == OK; i++) {
        error = matrix_words_add(&words, more[i], e);
    }
    error = error == OK ? run_child(r, &words, &seconds, e) : error;
    if (error == OK) {
        error = read_steps(r, run, seconds, out, e);
    }
    scratch_clear(run);
    return error;
}

static const struct matrix_evaluation *evaluation_of(const struct matrix_measuring *r, uint32_t i)
{
    return &r->counter->m->evaluations[r->cells[i].evaluation];
}

static enum err add_limit(struct matrix_words *out, const char *limit, struct errbuf *e)
{
    enum err error = matrix_words_add(out, "--limit", e);
    return error == OK ? matrix_words_add(out, limit, e) : error;
}

/* The words of a measured evaluation: of `limit` questions and nothing else, thresholds for
 * instance. */
static enum err scored_words(const struct matrix_measuring *r, uint32_t cell, const char *limit,
                             struct matrix_words *out, struct errbuf *e)
{
    static char readout[] = "--readout";
    static char contrast[] = "contrast";
    static char *plain[] = {readout, contrast};
    const struct matrix_words select = {2, plain};
    const bool other = matrix_words_have(&evaluation_of(r, cell)->args, "--task");
    struct matrix_place p;
    enum err error = matrix_place(r->counter->m, &r->cells[cell], r->counter->folder, &p, e);
    if (error == OK) {
        error = matrix_bare_evaluation(r->counter->m, &r->cells[cell], &p, other ? NULL : &select,
                                       out, e);
    }
    return error == OK ? add_limit(out, limit, e) : error;
}

/* One of the two: what it computes and how long it takes. */
static enum err time_scoring(const struct matrix_measuring *r, uint32_t cell, const char *limit,
                             double *flops, double *seconds, struct errbuf *e)
{
    struct matrix_count count = {0};
    struct matrix_words words = {0};
    bool known = false;
    enum err error = scored_words(r, cell, limit, &words, e);
    error = error == OK ? matrix_count_words(r->counter, &words, &count, &known, e) : error;
    matrix_words_free(&words);
    *flops = known ? matrix_rates_flops(r->work, &count.read) : 0.0;
    error = error == OK ? scored_words(r, cell, limit, &words, e) : error;
    error = error == OK ? matrix_words_add(&words, "--json", e) : error;
    return error == OK ? run_child(r, &words, seconds, e) : error;
}

/* Two evaluations of a few and of more scenarios: the slope is the rate, the rest is overhead. */
static enum err measure_scoring(const struct matrix_measuring *r, uint32_t cell,
                                struct matrix_rates *out, struct errbuf *e)
{
    double seconds[2] = {0.0, 0.0};
    double flops[2] = {0.0, 0.0};
    enum err error = time_scoring(r, cell, FEW, &flops[0], &seconds[0], e);
    if (error == OK) {
        error = time_scoring(r, cell, MORE, &flops[1], &seconds[1], e);
    }
    double per_flop = (seconds[1] - seconds[0]) / (flops[1] - flops[0]);
    if (error == OK && per_flop > 0.0 && isfinite(per_flop)) {
        out->score_flops_s = 1.0 / per_flop;
        out->eval_s = fmax(0.0, seconds[0] - flops[0] * per_flop);
    } else if (error == OK) { /* the few are all there is */
        out->score_flops_s = flops[1] / seconds[1];
    }
    return error;
}

/* The evaluation that is measured: one of select when there is one, else any that counts itself; of
 * a variant that is no more than its model. */
static uint32_t find_scored(const struct matrix_measuring *r)
{
    const struct matrix *m = r->counter->m;
    uint32_t found = r->n;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->cells[i].evaluation == MATRIX_TRAIN || !r->amounts[i].known ||
            evaluation_of(r, i)->counts.n > 0 || m->variants[r->cells[i].variant].args.n > 0) {
            continue;
        }
        if (!matrix_words_have(&evaluation_of(r, i)->args, "--task")) {
            return i;
        }
        found = found == r->n ? i : found;
    }
    return found;
}

/* limited: the words of ANSWERED scenarios instead of as many as they say. */
static enum err answered_words(const struct matrix_measuring *r, uint32_t cell, uint32_t entry,
                               bool limited, struct matrix_words *out, struct errbuf *e)
{
    enum err error = matrix_count_entry(r->counter, &r->cells[cell], entry, out, e);
    return error == OK && limited ? add_limit(out, ANSWERED, e) : error;
}

static enum err count_answers(const struct matrix_measuring *r, uint32_t cell, uint32_t entry,
                              bool limited, struct matrix_count *out, struct errbuf *e)
{
    struct matrix_words words = {0};
    *out = (struct matrix_count){0};
    enum err error = answered_words(r, cell, entry, limited, &words, e);
    if (error == OK) {
        error = matrix_count_words(r->counter, &words, out, &out->known, e);
    }
    matrix_words_free(&words);
    return error;
}

/* Times an entry if it decodes anything: what is longer than start and prompts is the decoding. One
 * of few scenarios is measured as it is: a job decodes many answers in the time of one. */
static enum err time_answers(const struct matrix_measuring *r, uint32_t cell, uint32_t entry,
                             struct matrix_rates *out, struct errbuf *e)
{
    struct matrix_count whole;
    struct matrix_count few;
    struct matrix_words words = {0};
    double seconds = 0.0;
    enum err error = count_answers(r, cell, entry, false, &whole, e);
    if (error != OK || !whole.known || !(whole.decoded > 0.0)) {
        return error;
    }
    error = count_answers(r, cell, entry, true, &few, e);
    const bool limited = few.known && few.decoded < whole.decoded;
    const struct matrix_count *timed = limited ? &few : &whole;
    error = error == OK ? answered_words(r, cell, entry, limited, &words, e) : error;
    error = error == OK ? matrix_words_add(&words, "--json", e) : error;
    error = error == OK ? run_child(r, &words, &seconds, e) : error;
    if (error == OK) {
        const struct matrix_amount rest = {
            .scored = matrix_rates_flops(r->work, &timed->read), .starts = 1, .known = true};
        const double own_s = seconds - matrix_rates_seconds(out, &rest);
        out->decode_tokens_s = timed->decoded / (own_s > 0.0 ? own_s : seconds);
    }
    return error;
}

static bool is_answered(const struct matrix_measuring *r, uint32_t i)
{
    return r->cells[i].evaluation != MATRIX_TRAIN && r->amounts[i].decoded > 0.0 &&
           r->counter->m->variants[r->cells[i].variant].args.n == 0;
}

static enum err measure_answers(const struct matrix_measuring *r, struct matrix_rates *out,
                                struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < r->n && error == OK; i++) {
        const uint32_t n =
            is_answered(r, i) ? matrix_count_entries(r->counter->m, r->cells[i].evaluation) : 0;
        for (uint32_t k = 0; k < n && error == OK && !(out->decode_tokens_s > 0.0); k++) {
            error = time_answers(r, i, k, out, e);
        }
    }
    return error;
}

static bool decodes(const struct matrix_measuring *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->amounts[i].decoded > 0.0) {
            return true;
        }
    }
    return false;
}

/* What was measured here before, as long as machine and model are the same. */
static bool read_kept(const struct matrix_measuring *r, const char *path, struct matrix_rates *out)
{
    json_t *kept = NULL;
    if (!file_exists(path) || matrix_store_read(path, &kept, NULL) != OK) {
        return false;
    }
    bool same = json_equal(json_object_get(kept, "machine"), r->machine) != 0;
    const struct matrix_rates found = {
        .train_flops_s = json_number_value(json_object_get(kept, "train_flops_s")),
        .score_flops_s = json_number_value(json_object_get(kept, "score_flops_s")),
        .decode_tokens_s = json_number_value(json_object_get(kept, "decode_tokens_s")),
        .run_s = json_number_value(json_object_get(kept, "run_s")),
        .eval_s = json_number_value(json_object_get(kept, "eval_s"))};
    json_decref(kept);
    same = same && found.score_flops_s > 0.0 && (found.decode_tokens_s > 0.0 || !decodes(r));
    *out = same ? found : *out;
    return same;
}

static enum err keep(const struct matrix_measuring *r, const char *path,
                     const struct matrix_rates *rates, struct errbuf *e)
{
    json_t *kept =
        json_pack("{s:f,s:f,s:f,s:f,s:f,s:O}", "train_flops_s", rates->train_flops_s,
                  "score_flops_s", rates->score_flops_s, "decode_tokens_s", rates->decode_tokens_s,
                  "run_s", rates->run_s, "eval_s", rates->eval_s, "machine", r->machine);
    enum err error =
        kept ? matrix_store_write(path, kept, e) : err_set(e, ERR_NOMEM, "no memory for rates");
    json_decref(kept);
    return error;
}

enum err matrix_rates_measure(const struct matrix_measuring *r, struct matrix_rates *out,
                              struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    const uint32_t cell = find_scored(r);
    *out = (struct matrix_rates){0};
    enum err error = file_join(path, r->counter->folder, "measure.json", e);
    if (error != OK || read_kept(r, path, out)) {
        return error;
    }
    (void)fprintf(stderr, "pft: a short measurement on this machine ...\n");
    if (r->counter->m->variants[r->variant].trained) {
        error = measure_training(r, out, e);
    }
    if (error == OK && cell < r->n) {
        error = measure_scoring(r, cell, out, e);
    }
    if (error == OK) {
        error = measure_answers(r, out, e);
    }
    return error == OK ? keep(r, path, out, e) : error;
}
