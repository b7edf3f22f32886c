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
                               .tok = s->tok,
                               .vocab = s->model ? model_shape(s->model)->vocab : 0};
}

/* An answer counts at its longest: what is decoded cannot be known. */
static void add_request(struct tree_work *work, const struct generate *g, uint32_t i)
{
    const struct tree *tree = generate_tree(g, i);
    const double more = generate_request(g, i)->max_new_tokens;
    tree_work_add(work, tree);
    work->rows += more;
    work->context += more * (tree->n_rows + more / 2.0);
    work->label_rows += more;
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
        const struct generate *answers = eval_generate(eval, EVAL_MAIN);
        for (uint32_t i = 0; !answers && i < n; i++) {
            tree_work_add(&work, &trees[i]);
        }
        n = answers ? generate_count(answers) : n;
        for (uint32_t i = 0; answers && i < n; i++) {
            add_request(&work, answers, i);
        }
        str_addf(json, "{\"trees\":%.0f,\"rows\":%.0f,\"context\":%.0f,\"label_rows\":%.0f}",
                 passes * n, passes * work.rows, passes * work.context, passes * work.label_rows);
        error = str_ok(json);
    }
    eval_free(&eval);
    return error;
}
