/* eval_work.c - the trees of an evaluation, counted. */
#include "coordinator/eval_work.h"

#include "coordinator/eval.h"
#include "coordinator/work_count.h"

struct eval_input eval_work_input(const struct setup *s, struct eval_request ask)
{
    return (struct eval_input){.ask = ask,
                               .cfg = s->cfg,
                               .values = s->values,
                               .test = s->test,
                               .train = s->train,
                               .tok = s->tok,
                               .vocab = s->model ? model_shape(s->model)->vocab : 0};
}

enum err eval_work_count(const struct start *start, struct str *json, struct errbuf *e)
{
    const struct eval_input in = eval_work_input(&start->setup, start->ask);
    struct work_count work = {0};
    struct eval *eval = NULL;
    uint32_t n = 0;
    enum err error = eval_new(&in, &eval, e);
    if (error == OK) {
        const struct tree *trees = eval_trees(eval, &n);
        /* a divergence is computed with and without the adapter */
        double passes = start->ask.paired || eval_score(eval) == WIRE_KL ? 2.0 : 1.0;
        const struct generate *answers = eval_generate(eval, EVAL_MAIN);
        for (uint32_t i = 0; !answers && i < n; i++) {
            work_count_tree(&work, &trees[i]);
        }
        if (answers) {
            work_count_answers(&work, answers);
        }
        work_count_json(&work, passes, json);
        error = str_ok(json);
    }
    eval_free(&eval);
    return error;
}
