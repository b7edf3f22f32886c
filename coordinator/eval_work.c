/* eval_work.c - the trees of an evaluation, counted. */
#include "coordinator/eval_work.h"

#include "coordinator/eval.h"
#include "coordinator/tree_work.h"

struct eval_input eval_work_input(const struct setup *s, struct eval_request ask)
{
    return (struct eval_input){.ask = ask,
                               .cfg = s->cfg,
                               .values = s->values,
                               .test = s->test,
                               .train = s->train,
                               .tok = s->tok};
}

enum err eval_work_count(const struct start *start, struct str *json, struct errbuf *e)
{
    const struct eval_input in = eval_work_input(&start->setup, start->ask);
    struct tree_work work = {0};
    struct eval *eval = NULL;
    uint32_t n = 0;
    enum err error = eval_new(&in, &eval, e);
    if (error == OK) {
        const struct tree *trees = eval_trees(eval, &n);
        /* a divergence is computed with and without the adapter */
        double passes = start->ask.paired || eval_score(eval) == WIRE_KL ? 2.0 : 1.0;
        for (uint32_t i = 0; i < n; i++) {
            tree_work_add(&work, &trees[i]);
        }
        str_addf(json, "{\"trees\":%.0f,\"rows\":%.0f,\"context\":%.0f,\"label_rows\":%.0f}",
                 passes * n, passes * work.rows, passes * work.context, passes * work.label_rows);
        error = str_ok(json);
    }
    eval_free(&eval);
    return error;
}
