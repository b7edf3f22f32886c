/* eval_values.c - the score of every option under every value, or under the two of the scenario's
 * own axis: a table that posteriors are computed on (score_table.h), nothing is right or wrong. */
#include <math.h>

#include "common/base/check.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_scores.h"
#include "coordinator/render.h"
#include "coordinator/score_table.h"
#include "coordinator/values.h"

static bool reads(const struct dataset *d)
{
    return d->format == DATA_VCD || d->format == DATA_HISTORY;
}

static bool wanted(const struct eval_input *in, const struct data_scenario *s, uint32_t axis)
{
    return !in->ask.own_axis || s->axis == DATASET_NO_AXIS || s->axis == axis;
}

/* part = axis */
static enum err build(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e)
{
    struct render render = {0};
    enum err error = render_init(&render, in->cfg, in->values, in->tok, e);
    for (uint32_t i = 0; i < eval_limit(in) && error == OK; i++) {
        struct data_scenario s = in->test->scenarios[i];
        for (uint32_t axis = 0; axis < in->values->n_axes && error == OK; axis++) {
            struct forest_trees made = {0};
            if (!wanted(in, &in->test->scenarios[i], axis)) {
                continue;
            }
            s.axis = axis;
            error = forest_score(&render, &s, in->test->path, 1u << READOUT_A | 1u << READOUT_B,
                                 false, 0, &made, NULL, e);
            if (error == OK) {
                error = eval_trees_add(trees, axis, i, &made, e);
            }
            forest_trees_free(&made);
        }
    }
    render_free(&render);
    return error;
}

static enum err report(const struct eval_input *in, const struct eval_trees *trees,
                       struct str *json, struct errbuf *e)
{
    uint32_t n_axes = in->values->n_axes;
    struct eval_scores scores = {0};
    enum err error = eval_scores_new(eval_limit(in) * n_axes, &scores, e);
    for (uint32_t i = 0; i < trees->n && error == OK; i++) {
        const struct eval_place *place = &trees->places[i];
        uint32_t n_options = in->test->scenarios[place->scenario].n_options;
        for (uint32_t k = 0; k < trees->trees[i].n_leaves && error == OK; k++) {
            error = eval_scores_put(&scores, place->scenario * n_axes + place->part, n_options,
                                    &place->leaves[k], place->leaves[k].side,
                                    place->logp[EVAL_MAIN][k], e);
        }
    }
    if (error == OK) {
        score_table_json(&scores, n_axes, json);
    }
    eval_scores_free(&scores);
    return error;
}

const struct eval_kind eval_values = {
    .name = "values",
    .formats = "'vcd' and 'history' files",
    .reads = reads,
    .build = build,
    .report = report,
};
