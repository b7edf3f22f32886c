/* eval_all.c - the answers of select-all. */
#include "coordinator/eval_all.h"

#include "common/base/limits.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_named.h"

enum err eval_all_add(const struct eval_input *in, uint32_t scenario, uint32_t side,
                      const struct select_all_counts *c, struct eval_shares *all, struct errbuf *e)
{
    const struct {
        const char *name;
        double gain, weight;
    } measures[] = {{"score", c->score, 1.0},
                    {"precision", c->hits, c->picked},
                    {"recall", c->hits, c->right},
                    {"f1", 2.0 * c->hits, (double)c->picked + (double)c->right}};
    enum err error = OK;
    for (size_t m = 0; m < sizeof measures / sizeof measures[0] && error == OK; m++) {
        const struct eval_answer answer = {.scenario = scenario,
                                           .axis = eval_axis(in, &in->test->scenarios[scenario]),
                                           .side = side,
                                           .gain = measures[m].gain,
                                           .weight = measures[m].weight};
        error = eval_shares_add(all, measures[m].name, &answer, e);
    }
    return error;
}

static enum err bag_question(const struct eval_input *in, const struct bag_of_words *bag,
                             uint32_t scenario, struct eval_shares *all, struct errbuf *e)
{
    double score[LIMIT_OPTIONS];
    bool right[LIMIT_OPTIONS];
    const struct data_scenario *s = &in->test->scenarios[scenario];
    enum err error = eval_bag_scores(in, bag, s, score, e);
    for (uint32_t side = 0; side < 2 && error == OK; side++) {
        for (uint32_t k = 0; k < s->n_options; k++) {
            score[k] = side == 0 ? score[k] : -score[k];
            right[k] = s->options[k].side == side;
        }
        const struct select_all_question q = {.n = s->n_options, .score = score, .right = right};
        const struct select_all_counts c = select_all_count(&q, 0.0);
        error = eval_all_add(in, scenario, side, &c, all, e);
    }
    return error;
}

enum err eval_all_bag(const struct eval_input *in, const struct bag_of_words *bag,
                      struct eval_shares *all, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; bag && i < eval_limit(in) && error == OK; i++) {
        error = eval_named_asks(in, i) ? bag_question(in, bag, i, all, e) : OK;
    }
    return error;
}
