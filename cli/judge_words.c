/* judge_words.c - the fixed scorer: the words alone. */
#include <math.h>
#include <string.h>

#include "cli/judge_score.h"
#include "cli/judge_sum.h"
#include "common/base/mem.h"
#include "coordinator/bag_of_words.h"
#include "coordinator/dataset.h"

struct judge_words {
    struct judge_scorer base; /* first */
    struct bag_of_words *bag;
};

static enum err score(struct judge_scorer *s, const struct judge_question *q, double *out,
                      bool *known, struct errbuf *e)
{
    struct judge_words *w = (struct judge_words *)(void *)s;
    double evidence = 0.0;
    enum err error = bag_score(w->bag, q->axis, q->answer, strlen(q->answer), &evidence);
    double words = judge_words_in(q->answer);
    evidence /= words > 1.0 ? sqrt(words) : 1.0;
    *out = 10.0 / (1.0 + exp(q->side == 0 ? -evidence : evidence));
    *known = error == OK;
    return error == OK ? OK : err_set(e, error, "no memory to score an answer");
}

static void release(struct judge_scorer *s)
{
    struct judge_words *w = (struct judge_words *)(void *)s;
    bag_free(&w->bag);
    mem_free(w);
}

static enum err fit(struct bag_of_words *bag, const struct dataset *data)
{
    enum err error = OK;
    for (uint32_t i = 0; i < data->n_scenarios && error == OK; i++) {
        const struct data_scenario *s = &data->scenarios[i];
        for (uint32_t k = 0; k < s->n_options && error == OK; k++) {
            error = s->axis == DATASET_NO_AXIS
                        ? OK
                        : bag_fit(bag, s->axis, s->options[k].side, s->options[k].text.text,
                                  s->options[k].text.bytes);
        }
    }
    return error;
}

enum err judge_words_new(const char *train, const struct values *values, struct judge_scorer **out,
                         struct errbuf *e)
{
    struct dataset *data = NULL;
    struct judge_words *w = mem_calloc(1, sizeof *w);
    *out = NULL;
    if (!w) {
        return err_set(e, ERR_NOMEM, "no memory for the scorer");
    }
    w->base = (struct judge_scorer){.name = "words", .score = score, .free = release};
    enum err error = dataset_load(train, values, GROUP_SCENARIO, &data, e);
    if (error == OK) {
        error = bag_new(values->n_axes, &w->bag);
        error = error == OK ? fit(w->bag, data) : error;
        error = error == OK ? OK : err_set(e, error, "no memory for the words of %s", train);
    }
    dataset_free(&data);
    if (error != OK) {
        release(&w->base);
        return error;
    }
    *out = &w->base;
    return OK;
}
