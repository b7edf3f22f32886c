/* eval_history.c - a user's earlier choices instead of a named value: the model sees k of them as
 * turns of a chat and is to pick what this user would. Every question is asked for two simulated
 * users, one of each pole (history.h); without training this is the in-context baseline.
 *
 *   likelihood  mean log p(o | history) per token
 *   lift        log p(o | history) - log p(o | no history): what the history changes
 *   letter      log p(letter(o) | history, options listed throughout) */
#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_named.h"
#include "coordinator/forest_layout.h"
#include "coordinator/history.h"

static bool reads(const struct dataset *d)
{
    return d->format == DATA_VCD;
}

/* The sequences of one question, as they are rendered. */
struct sheet {
    const struct eval_input *in;
    struct render *render;
    uint32_t question;
    uint32_t n;
    struct laid_leaf *leaves;
};

static enum err add_leaves(struct sheet *to, const struct history_choice *choices, uint32_t n,
                           enum readout_side side, uint32_t shots, bool letter, struct errbuf *e)
{
    const struct dataset *d = to->in->test;
    enum err error = OK;
    for (uint32_t o = 0; o < d->scenarios[to->question].n_options && error == OK; o++) {
        struct laid_leaf *leaf = &to->leaves[to->n];
        leaf->want = (struct wanted_leaf){
            .side = side, .option = o, .loss_group = to->n, .letter = letter, .shots = shots};
        error =
            history_render(to->render, d, choices, n, to->question, o, letter, &leaf->sequence, e);
        to->n += error == OK;
    }
    return error;
}

/* Leaves of both users at every length; those of length 0 know no user. */
static enum err render_question(struct sheet *to, bool letter, bool without, struct errbuf *e)
{
    const struct eval_request *ask = &to->in->ask;
    struct history_choice choices[HISTORY_MAX];
    enum err error = without ? add_leaves(to, NULL, 0, READOUT_NONE, 0, letter, e) : OK;
    for (uint32_t side = 0; side < 2 && error == OK; side++) {
        error = history_draw(to->in->test, to->question, side, ask->seed,
                             ask->shots[ask->n_shots - 1], choices, e);
        for (uint32_t h = 0; h < ask->n_shots && error == OK; h++) {
            if (ask->shots[h] > 0) {
                error =
                    add_leaves(to, choices, ask->shots[h], (enum readout_side)side, h, letter, e);
            }
        }
    }
    return error;
}

static enum err add_question(const struct eval_input *in, struct render *render, uint32_t question,
                             struct eval_trees *trees, struct errbuf *e)
{
    const uint32_t readouts = eval_readouts(in);
    const struct data_scenario *s = &in->test->scenarios[question];
    const bool zero = in->ask.shots[0] == 0;
    const bool lift = (readouts & 1u << READOUT_LIFT) != 0;
    const bool words = lift || (readouts & 1u << READOUT_LIKELIHOOD);
    size_t most = (size_t)2 * s->n_options * (2 * in->ask.n_shots + 1);
    struct sheet sheet = {.in = in,
                          .render = render,
                          .question = question,
                          .leaves = mem_calloc(most, sizeof *sheet.leaves)};
    struct forest_trees made = {0};
    enum err error = sheet.leaves ? OK : err_set(e, ERR_NOMEM, "history: no memory for a question");
    if (error == OK && words) {
        error = render_question(&sheet, false, zero || lift, e);
    }
    if (error == OK && (readouts & 1u << READOUT_LETTER)) {
        error = render_question(&sheet, true, zero, e);
    }
    if (error == OK) {
        error = layout_trees(render, s, in->test->path, sheet.leaves, sheet.n, 0, &made, e);
    }
    if (error == OK) {
        error = eval_trees_add(trees, 0, question, &made, e);
    }
    forest_trees_free(&made);
    layout_leaves_free(sheet.leaves, sheet.n);
    mem_free(sheet.leaves);
    return error;
}

static enum err build(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e)
{
    const struct eval_request *ask = &in->ask;
    struct render render = {0};
    CHECK(ask->n_shots > 0 && ask->shots[ask->n_shots - 1] <= HISTORY_MAX);
    if (eval_readouts(in) == 1u << READOUT_LIFT && ask->shots[ask->n_shots - 1] == 0) {
        return err_set(e, ERR_REFUSED,
                       "history: lift compares with no history, so a length above 0 is needed");
    }
    enum err error = render_init(&render, in->cfg, in->values, in->tok, e);
    for (uint32_t i = 0; i < eval_limit(in) && error == OK; i++) {
        if (dataset_offers_both(&in->test->scenarios[i])) {
            error = add_question(in, &render, i, trees, e);
        }
    }
    render_free(&render);
    return error;
}

/* A leaf goes to the slot of its length; one without history to every slot. */
static enum err put_leaf(const struct eval_input *in, struct eval_scores *scores, uint32_t question,
                         const struct forest_leaf *leaf, double logp, struct errbuf *e)
{
    uint32_t n_options = in->test->scenarios[question].n_options;
    enum err error = OK;
    for (uint32_t h = 0; h < in->ask.n_shots && error == OK; h++) {
        uint32_t slot = question * in->ask.n_shots + h;
        if (leaf->side == READOUT_NONE || leaf->shots == h) {
            error = eval_scores_put(scores, slot, n_options, leaf, leaf->side, logp, e);
        }
        for (uint32_t side = 0; side < 2 && error == OK; side++) {
            if (leaf->side == READOUT_NONE && in->ask.shots[h] == 0) {
                error = eval_scores_put(scores, slot, n_options, leaf, side, logp, e);
            }
        }
    }
    return error;
}

static enum err add_result(const struct eval_input *in, const struct eval_scores *scores,
                           enum readout readout, uint32_t h, struct eval_results *out,
                           struct errbuf *e)
{
    struct eval_result *result = NULL;
    enum err error =
        eval_results_add(out, readout_name(readout), (int)in->ask.shots[h], &result, e);
    for (uint32_t i = 0; i < in->test->n_scenarios && error == OK; i++) {
        const struct readout_scores own = eval_scores_of(scores, i * in->ask.n_shots + h);
        for (uint32_t side = 0; side < 2 && own.n_options > 0 && error == OK; side++) {
            uint32_t pick = readout_pick(readout, &own, (enum readout_side)side);
            error = eval_named_answer(in, i, side, pick, &result->parts[EVAL_ONE], e);
        }
    }
    return error;
}

static enum err answer(const struct eval_input *in, const struct eval_trees *trees,
                       enum eval_pass pass, struct eval_results *out, struct errbuf *e)
{
    struct eval_scores scores = {0};
    enum err error = eval_results_values(out, in->values, e);
    if (error == OK) {
        error = eval_scores_new(in->test->n_scenarios * in->ask.n_shots, &scores, e);
    }
    for (uint32_t t = 0; t < trees->n && error == OK; t++) {
        const struct eval_place *place = &trees->places[t];
        for (uint32_t k = 0; k < trees->trees[t].n_leaves && error == OK; k++) {
            error =
                put_leaf(in, &scores, place->scenario, &place->leaves[k], place->logp[pass][k], e);
        }
    }
    for (int r = 0; r < READOUTS && error == OK; r++) {
        for (uint32_t h = 0; h < in->ask.n_shots && error == OK; h++) {
            bool asked = (eval_readouts(in) & 1u << r) != 0;
            if (asked && (r != READOUT_LIFT || in->ask.shots[h] > 0)) {
                error = add_result(in, &scores, (enum readout)r, h, out, e);
            }
        }
    }
    eval_scores_free(&scores);
    return error;
}

const struct eval_kind eval_history = {
    .name = "history",
    .formats = "'vcd' files",
    .readouts = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LIFT | 1u << READOUT_LETTER,
    .usual = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LIFT | 1u << READOUT_LETTER,
    .reads = reads,
    .build = build,
    .answer = answer,
};
