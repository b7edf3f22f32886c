/* eval_select.c - select one and select all, in one scoring: the target value is named, an option
 * is right when it carries it. Select-all picks the options whose contrast (lift) is above 0;
 * likelihood and letter need a threshold, fitted on scenarios of the training file that are scored
 * along. The bag of words answers the same questions, at 0. */
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_all.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_mix.h"
#include "coordinator/eval_named.h"
#include "coordinator/select_all.h"

enum { PART_TEST, PART_FIT };

#define BY_THRESHOLD (1u << READOUT_LIKELIHOOD | 1u << READOUT_LETTER)

static bool reads(const struct dataset *d)
{
    return d->format == DATA_VCD || d->format == DATA_PAIRS;
}

/* Scenarios of the training file that thresholds are fitted on. */
static uint32_t fit_count(const struct eval_input *in)
{
    const bool fits =
        in->train && reads(in->train) && (!in->ask.by_vector || in->train->format == DATA_VCD);
    uint32_t n = fits ? dataset_fitting(in->train) : 0;
    return n < in->ask.fit ? n : in->ask.fit;
}

static enum err build(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e)
{
    uint32_t readouts = eval_readouts(in);
    if (in->ask.by_vector && in->test->format != DATA_VCD) {
        return err_set(e, ERR_REFUSED, "%s: vectors stand for named values, which 'vcd' files have",
                       in->test->path);
    }
    if (in->ask.by_vector && (readouts & 1u << READOUT_LETTER)) {
        return err_set(e, ERR_REFUSED,
                       "readout letter: with vectors in place of the values' names likelihood, "
                       "lift, contrast and mix are possible");
    }
    uint32_t n = eval_limit(in);
    /* a mix reads the trees of likelihood */
    uint32_t asked = readouts | (in->ask.n_lambdas > 0 ? 1u << READOUT_LIKELIHOOD : 0);
    enum err error = eval_named_build(in, in->test, PART_TEST, n, n, asked, trees, e);
    if (error == OK && (readouts & BY_THRESHOLD) && fit_count(in) > 0) {
        error = eval_named_build(in, in->train, PART_FIT, fit_count(in), dataset_fitting(in->train),
                                 readouts & BY_THRESHOLD, trees, e);
    }
    return error;
}

/* A question's scores and right options, kept apart from where they came from. */
struct sheet {
    double score[LIMIT_OPTIONS];
    bool right[LIMIT_OPTIONS];
};

static struct select_all_question fill_sheet(const struct data_scenario *s,
                                             const struct eval_scores *scores, uint32_t slot,
                                             enum readout readout, uint32_t side, struct sheet *to)
{
    const struct readout_scores own = eval_scores_of(scores, slot);
    for (uint32_t k = 0; k < s->n_options; k++) {
        to->score[k] = readout_score(readout, &own, (enum readout_side)side, k);
        to->right[k] = s->options[k].side == side;
    }
    return (struct select_all_question){.n = s->n_options, .score = to->score, .right = to->right};
}

/* *found false: no training scenario was scored. */
static enum err fit(const struct eval_input *in, const struct eval_trees *trees,
                    enum eval_pass pass, enum readout readout, double *threshold, bool *found,
                    struct errbuf *e)
{
    uint32_t n = 0;
    uint32_t most = 2 * fit_count(in);
    struct eval_scores scores = {0};
    struct sheet *sheets = mem_calloc(most, sizeof *sheets);
    struct select_all_question *q = mem_calloc(most, sizeof *q);
    enum err error = sheets && q ? OK : err_set(e, ERR_NOMEM, "evaluation: no memory to fit");
    if (error == OK && most > 0) {
        error = eval_named_scores(in->train, PART_FIT, trees, pass, &scores, e);
    }
    for (uint32_t i = 0; i < scores.n && error == OK; i++) {
        for (uint32_t side = 0; side < 2 && scores.slots[i].n_options > 0; side++, n++) {
            q[n] = fill_sheet(&in->train->scenarios[i], &scores, i, readout, side, &sheets[n]);
        }
    }
    *found = error == OK && n > 0;
    if (*found && select_all_fit(q, n, threshold) != OK) {
        error = err_set(e, ERR_NOMEM, "evaluation: no memory to fit");
    }
    eval_scores_free(&scores);
    mem_free(sheets);
    mem_free(q);
    return error;
}

static enum err answer_all(const struct eval_input *in, const struct eval_scores *scores,
                           enum readout readout, double threshold, struct eval_shares *all,
                           struct errbuf *e)
{
    struct sheet sheet;
    enum err error = OK;
    for (uint32_t i = 0; i < scores->n; i++) {
        for (uint32_t side = 0; side < 2 && scores->slots[i].n_options > 0 && error == OK; side++) {
            const struct select_all_question q =
                fill_sheet(&in->test->scenarios[i], scores, i, readout, side, &sheet);
            const struct select_all_counts c = select_all_count(&q, threshold);
            error = eval_all_add(in, i, side, &c, all, e);
        }
    }
    return error;
}

static enum err add_readout(const struct eval_input *in, const struct eval_trees *trees,
                            enum eval_pass pass, enum readout readout,
                            const struct eval_scores *scores, const struct bag_of_words *bag,
                            struct eval_results *out, struct errbuf *e)
{
    struct eval_result *result = NULL;
    bool decides = true;
    enum err error = eval_results_add(out, readout_name(readout), -1, &result, e);
    if (error == OK) {
        error = eval_named_one(in, scores, readout, &result->parts[EVAL_ONE], e);
    }
    if (error == OK) {
        error = eval_bag_one(in, bag, &result->parts[EVAL_ONE_BAG], e);
    }
    if (error == OK && (BY_THRESHOLD & 1u << readout)) {
        error = fit(in, trees, pass, readout, &result->threshold, &decides, e);
    }
    if (error == OK && decides) {
        error = answer_all(in, scores, readout, result->threshold, &result->parts[EVAL_ALL], e);
    }
    if (error == OK && decides) {
        error = eval_all_bag(in, bag, &result->parts[EVAL_ALL_BAG], e);
    }
    return error;
}

static enum err answer(const struct eval_input *in, const struct eval_trees *trees,
                       enum eval_pass pass, struct eval_results *out, struct errbuf *e)
{
    struct eval_scores scores = {0};
    struct bag_of_words *bag = NULL;
    out->has_bag = true;
    out->has_all = true;
    enum err error = eval_results_values(out, in->values, e);
    if (error == OK) {
        error = eval_named_scores(in->test, PART_TEST, trees, pass, &scores, e);
    }
    if (error == OK) {
        error = eval_bag_fit(in, &bag, e);
    }
    for (int r = 0; r < READOUTS && error == OK; r++) {
        if (eval_readouts(in) & 1u << r) {
            error = add_readout(in, trees, pass, (enum readout)r, &scores, bag, out, e);
        }
    }
    for (uint32_t i = 0; i < in->ask.n_lambdas && error == OK; i++) {
        error = eval_mix_add(in, &scores, in->ask.lambdas[i], out, e);
    }
    bag_free(&bag);
    eval_scores_free(&scores);
    return error;
}

const struct eval_kind eval_select = {
    .name = "select",
    .formats = "'vcd' and 'pairs' files",
    .readouts = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LIFT | 1u << READOUT_CONTRAST |
                1u << READOUT_LETTER,
    .usual = 1u << READOUT_CONTRAST,
    .reads = reads,
    .build = build,
    .answer = answer,
};
