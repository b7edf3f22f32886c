/* phases_eval.c - an evaluation's batch: opened, or made beforehand so that it is known how much is
 * still to come. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "coordinator/phases_state.h"

static enum err make(const struct phases *p, struct eval **eval, struct errbuf *e)
{
    const struct setup *s = &p->start->setup;
    return eval_new(s->cfg, s->values, s->test, s->train, s->tok, s->cfg->eval_readouts, eval, e);
}

void phases_eval_foresee(struct phases *p)
{
    struct errbuf e;
    uint32_t n = 0;
    if (p->phase != PHASE_TRAIN || !p->start->setup.test || p->start->has_after ||
        p->eval_tokens > 0.0) {
        return;
    }
    enum err error = make(p, &p->foreseen, &e);
    if (error != OK) {
        phases_fail(p, e.text);
        return;
    }
    const struct tree *trees = eval_trees(p->foreseen, &n);
    for (uint32_t i = 0; i < n; i++) {
        p->eval_tokens += trees[i].n_rows;
    }
}

void phases_eval_begin(struct phases *p, bool adapter)
{
    const struct setup *s = &p->start->setup;
    struct errbuf e;
    uint32_t n = 0;
    enum err error = OK;
    p->eval = p->foreseen;
    p->foreseen = NULL;
    if (!p->eval) {
        error = make(p, &p->eval, &e);
    }
    const struct tree *trees = error == OK ? eval_trees(p->eval, &n) : NULL;
    batch_free(&p->coming);
    if (error == OK) {
        error = batch_score(trees, n, s->cfg->unit_tokens, p->evals++, &p->coming, &e);
    }
    if (error != OK) {
        phases_fail(p, e.text);
        return;
    }
    p->eval_tokens = (double)p->coming.tokens;
    p->eval_from_ms = clock_now_ms();
    log_event(LOG_INFO, "evaluation", "trees=%u tokens=%llu adapter=%d", n,
              (unsigned long long)p->coming.tokens, adapter);
    phases_open_batch(p, adapter, p->published);
}
