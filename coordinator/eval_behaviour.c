/* eval_behaviour.c - behaviour questions: an answer that shows the behaviour and one that does not,
 * under either preference. A behaviour is an axis of the values file; its poles' sentences stand in
 * the prompt where a system prompt would ask for the behaviour or against it. Likelihood takes the
 * answers' words, letter the letters of the listed choices. */
#include "coordinator/dataset.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_named.h"

static bool reads(const struct dataset *d)
{
    return d->format == DATA_BQD;
}

static enum err build(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e)
{
    uint32_t n = eval_limit(in);
    return eval_named_build(in, in->test, 0, n, n, eval_readouts(in), trees, e);
}

static enum err answer(const struct eval_input *in, const struct eval_trees *trees,
                       enum eval_pass pass, struct eval_results *out, struct errbuf *e)
{
    struct eval_scores scores = {0};
    struct bag_of_words *bag = NULL;
    out->has_bag = true;
    enum err error = eval_results_values(out, in->values, e);
    if (error == OK) {
        error = eval_named_scores(in->test, 0, trees, pass, &scores, e);
    }
    if (error == OK) {
        error = eval_bag_fit(in, &bag, e);
    }
    for (int r = 0; r < READOUTS && error == OK; r++) {
        struct eval_result *result = NULL;
        if (!(eval_readouts(in) & 1u << r)) {
            continue;
        }
        error = eval_results_add(out, readout_name((enum readout)r), -1, &result, e);
        if (error == OK) {
            error = eval_named_one(in, &scores, (enum readout)r, &result->parts[EVAL_ONE], e);
        }
        if (error == OK) {
            error = eval_bag_one(in, bag, &result->parts[EVAL_ONE_BAG], e);
        }
    }
    bag_free(&bag);
    eval_scores_free(&scores);
    return error;
}

const struct eval_kind eval_behaviour = {
    .name = "behaviour",
    .formats = "'bqd' files",
    .readouts = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LIFT | 1u << READOUT_CONTRAST |
                1u << READOUT_LETTER,
    .usual = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LETTER,
    .reads = reads,
    .build = build,
    .answer = answer,
};
