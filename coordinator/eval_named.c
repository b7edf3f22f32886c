/* eval_named.c - questions that name a value. */
#include "coordinator/eval_named.h"

#include "common/base/limits.h"
#include "coordinator/dataset.h"
#include "coordinator/render.h"
#include "coordinator/value_vectors.h"
#include "coordinator/values.h"

uint32_t eval_axis(const struct eval_input *in, const struct data_scenario *s)
{
    return s->axis != DATASET_NO_AXIS ? s->axis : in->values ? in->values->n_axes : 0;
}

bool eval_named_asks(const struct eval_input *in, uint32_t scenario)
{
    return scenario < eval_limit(in) && dataset_offers_both(&in->test->scenarios[scenario]);
}

static uint32_t sides_of(uint32_t readouts)
{
    uint32_t sides = 0;
    for (int r = 0; r < READOUTS; r++) {
        for (int s = 0; s < READOUT_SIDES && (readouts & 1u << r); s++) {
            sides |= (uint32_t)readout_needs((enum readout)r, (enum readout_side)s) << s;
        }
    }
    return sides;
}

/* The trees of a scenario: a value of `sides` is told by its name in the prompt, or by the vectors
 * that are added behind a prompt without one. */
static enum err add_scenario(const struct eval_input *in, struct render *r,
                             const struct dataset *data, uint32_t part, uint32_t at, uint32_t sides,
                             bool letters, struct eval_trees *trees, struct errbuf *e)
{
    const struct data_scenario *s = &data->scenarios[at];
    const bool by_vector = in->ask.by_vector;
    enum err error = OK;
    for (uint32_t side = 0; side < (by_vector ? READOUT_SIDES : 1) && error == OK; side++) {
        struct forest_trees made = {0};
        const uint32_t first = trees->n;
        if (by_vector && !(sides & 1u << side)) {
            continue;
        }
        error = forest_score(r, s, data->path, by_vector ? 1u << READOUT_NONE : sides, letters, 0,
                             &made, NULL, e);
        if (error == OK) {
            error = eval_trees_add(trees, part, at, &made, e);
        }
        forest_trees_free(&made);
        for (uint32_t t = first; by_vector && t < trees->n; t++) {
            struct eval_place *place = &trees->places[t];
            place->vectors = side == READOUT_NONE ? 0 : value_vectors_code(s->axis, side);
            for (uint32_t k = 0; k < trees->trees[t].n_leaves; k++) {
                place->leaves[k].side = side;
            }
        }
    }
    return error;
}

enum err eval_named_build(const struct eval_input *in, const struct dataset *data, uint32_t part,
                          uint32_t n, uint32_t of, uint32_t readouts, struct eval_trees *trees,
                          struct errbuf *e)
{
    struct render render = {0};
    bool letters = (readouts & 1u << READOUT_LETTER) != 0;
    enum err error = render_init(&render, in->cfg, in->values, in->tok, e);
    for (uint32_t i = 0; i < n && error == OK; i++) {
        uint32_t at = (uint32_t)((uint64_t)i * of / n);
        if (dataset_offers_both(&data->scenarios[at])) {
            error =
                add_scenario(in, &render, data, part, at, sides_of(readouts), letters, trees, e);
        }
    }
    render_free(&render);
    return error;
}

enum err eval_named_scores(const struct dataset *data, uint32_t part,
                           const struct eval_trees *trees, enum eval_pass pass,
                           struct eval_scores *out, struct errbuf *e)
{
    enum err error = eval_scores_new(data->n_scenarios, out, e);
    for (uint32_t t = 0; t < trees->n && error == OK; t++) {
        const struct eval_place *place = &trees->places[t];
        for (uint32_t k = 0; place->part == part && k < trees->trees[t].n_leaves && error == OK;
             k++) {
            error =
                eval_scores_put(out, place->scenario, data->scenarios[place->scenario].n_options,
                                &place->leaves[k], place->leaves[k].side, place->logp[pass][k], e);
        }
    }
    return error;
}

enum err eval_named_answer(const struct eval_input *in, uint32_t scenario, uint32_t side,
                           uint32_t pick, struct eval_shares *one, struct errbuf *e)
{
    const struct data_scenario *s = &in->test->scenarios[scenario];
    bool right = pick != EVAL_NO_PICK && s->options[pick].side == side;
    const struct eval_answer answer = {.scenario = scenario,
                                       .axis = eval_axis(in, s),
                                       .side = side,
                                       .pick = pick,
                                       .gain = right ? 1.0 : 0.0,
                                       .weight = 1.0};
    return eval_shares_add(one, "accuracy", &answer, e);
}

static enum err add_margin(const struct eval_input *in, const struct readout_scores *own,
                           uint32_t scenario, enum readout_side side, uint32_t pick,
                           struct eval_shares *one, struct errbuf *e)
{
    const struct data_scenario *s = &in->test->scenarios[scenario];
    bool right[LIMIT_OPTIONS];
    for (uint32_t k = 0; k < s->n_options; k++) {
        right[k] = s->options[k].side == side;
    }
    const struct eval_answer answer = {.scenario = scenario,
                                       .axis = eval_axis(in, s),
                                       .side = side,
                                       .pick = pick,
                                       .gain = readout_margin(own, side, right),
                                       .weight = 1.0};
    return eval_shares_add(one, EVAL_MARGIN, &answer, e);
}

enum err eval_named_one(const struct eval_input *in, const struct eval_scores *scores,
                        enum readout readout, struct eval_shares *one, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < scores->n && error == OK; i++) {
        const struct readout_scores own = eval_scores_of(scores, i);
        for (uint32_t side = 0; side < 2 && own.n_options > 0 && error == OK; side++) {
            uint32_t pick = readout_pick(readout, &own, (enum readout_side)side);
            error = eval_named_answer(in, i, side, pick, one, e);
            if (error == OK && readout == READOUT_CONTRAST) {
                error = add_margin(in, &own, i, (enum readout_side)side, pick, one, e);
            }
        }
    }
    return error;
}

enum err eval_bag_fit(const struct eval_input *in, struct bag_of_words **out, struct errbuf *e)
{
    *out = NULL;
    if (!in->train) {
        return OK;
    }
    enum err error = bag_new((in->values ? in->values->n_axes : 0) + 1, out);
    for (uint32_t i = 0; error == OK && i < in->train->n_scenarios; i++) {
        const struct data_scenario *s = &in->train->scenarios[i];
        for (uint32_t k = 0; error == OK && k < s->n_options; k++) {
            error = bag_fit(*out, eval_axis(in, s), s->options[k].side, s->options[k].text.text,
                            s->options[k].text.bytes);
        }
    }
    return error == OK ? OK : err_set(e, error, "evaluation: no memory for the bag of words");
}

enum err eval_bag_scores(const struct eval_input *in, const struct bag_of_words *bag,
                         const struct data_scenario *s, double *scores, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t k = 0; k < s->n_options && error == OK; k++) {
        error = bag_score(bag, eval_axis(in, s), s->options[k].text.text, s->options[k].text.bytes,
                          &scores[k]);
    }
    return error == OK ? OK : err_set(e, error, "evaluation: no memory for the bag of words");
}

static uint32_t bag_pick(const struct data_scenario *s, const double *scores, uint32_t side)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->n_options; i++) {
        double gain = scores[i] - scores[best];
        if (side == 0 ? gain > 0.0 : gain < 0.0) {
            best = i;
        }
    }
    return best;
}

enum err eval_bag_one(const struct eval_input *in, const struct bag_of_words *bag,
                      struct eval_shares *one, struct errbuf *e)
{
    double scores[LIMIT_OPTIONS];
    enum err error = OK;
    for (uint32_t i = 0; bag && i < eval_limit(in) && error == OK; i++) {
        const struct data_scenario *s = &in->test->scenarios[i];
        if (!eval_named_asks(in, i)) {
            continue;
        }
        error = eval_bag_scores(in, bag, s, scores, e);
        for (uint32_t side = 0; side < 2 && error == OK; side++) {
            error = eval_named_answer(in, i, side, bag_pick(s, scores, side), one, e);
        }
    }
    return error;
}
