/* eval_retention.c - what the model knew before must still be there: two-choice questions, answered
 * by the log-likelihood of the full answers, summed or a mean over their tokens. No preference is
 * named and the choices are not listed. */
#include <string.h>

#include "coordinator/dataset.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_scores.h"
#include "coordinator/render.h"

static bool reads(const struct dataset *d)
{
    return d->format == DATA_RETENTION;
}

static enum err build(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e)
{
    struct render render = {0};
    enum err error = render_init(&render, in->cfg, in->values, in->tok, e);
    for (uint32_t i = 0; i < eval_limit(in) && error == OK; i++) {
        struct forest_trees made = {0};
        error = forest_score(&render, &in->test->scenarios[i], in->test->path, 1u << READOUT_A,
                             false, 0, &made, NULL, e);
        if (error == OK) {
            error = eval_trees_add(trees, 0, i, &made, e);
        }
        forest_trees_free(&made);
    }
    render_free(&render);
    return error;
}

/* Number of a category, which is new when no earlier question has it. */
static enum err category_of(const struct dataset *d, struct eval_results *out, uint32_t scenario,
                            uint32_t *category, struct errbuf *e)
{
    const char *name = d->scenarios[scenario].category.text;
    name = name[0] != '\0' ? name : "no category";
    for (*category = 0; 2 * *category < out->n_names; (*category)++) {
        if (strcmp(out->names[(size_t)2 * *category], name) == 0) {
            return OK;
        }
    }
    return eval_results_name(out, *category, 0, name, e);
}

static enum err add_readout(const struct eval_input *in, const struct eval_scores *scores,
                            bool mean, struct eval_results *out, struct errbuf *e)
{
    struct eval_result *result = NULL;
    enum err error = eval_results_add(out, mean ? "per-token" : "sum", -1, &result, e);
    for (uint32_t i = 0; i < scores->n && error == OK; i++) {
        const struct eval_slot *slot = &scores->slots[i];
        struct eval_answer answer = {.scenario = i, .weight = 1.0};
        if (slot->n_options == 0) {
            continue;
        }
        double score[2];
        for (uint32_t k = 0; k < 2; k++) {
            score[k] = slot->logp[k] / (mean ? (double)slot->tokens[k] : 1.0);
        }
        answer.pick = score[1] > score[0];
        answer.gain = in->test->scenarios[i].options[answer.pick].side == 0 ? 1.0 : 0.0;
        error = category_of(in->test, out, i, &answer.axis, e);
        if (error == OK) {
            error = eval_shares_add(&result->parts[EVAL_ONE], "accuracy", &answer, e);
        }
    }
    return error;
}

static enum err answer(const struct eval_input *in, const struct eval_trees *trees,
                       enum eval_pass pass, struct eval_results *out, struct errbuf *e)
{
    struct eval_scores scores = {0};
    out->per = "per_category";
    enum err error = eval_scores_new(in->test->n_scenarios, &scores, e);
    for (uint32_t t = 0; t < trees->n && error == OK; t++) {
        const struct eval_place *place = &trees->places[t];
        for (uint32_t k = 0; k < trees->trees[t].n_leaves && error == OK; k++) {
            error = eval_scores_put(&scores, place->scenario, 2, &place->leaves[k], READOUT_A,
                                    place->logp[pass][k], e);
        }
    }
    if (error == OK) {
        error = add_readout(in, &scores, false, out, e);
    }
    if (error == OK) {
        error = add_readout(in, &scores, true, out, e);
    }
    eval_scores_free(&scores);
    return error;
}

const struct eval_kind eval_retention = {
    .name = "retention",
    .formats = "'retention' files",
    .reads = reads,
    .build = build,
    .answer = answer,
};
