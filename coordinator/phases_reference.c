/* phases_reference.c - the phase that scores the reference before the first step: its batch, its
 * numbers into run.db. */
#include "common/base/log.h"
#include "coordinator/phases_state.h"

void phases_reference_begin(struct phases *p)
{
    const struct setup *s = &p->start->setup;
    const struct tree *trees = NULL;
    struct errbuf e;
    uint32_t n = 0;
    p->phase = PHASE_REFERENCE;
    enum err error = reference_trees(s->reference, s->forest, &trees, &n, &e);
    if (error == OK) {
        batch_free(&p->coming);
        error = batch_score(trees, n, s->cfg->unit_tokens, p->evals++, &p->coming, &e);
    }
    if (error != OK) {
        phases_fail(p, e.text);
        return;
    }
    log_event(LOG_INFO, "reference", "trees=%u tokens=%llu", n,
              (unsigned long long)p->coming.tokens);
    phases_open_batch(p, false, p->published);
}

void phases_reference_take(struct phases *p, uint32_t tree, const double *leaf_log_p)
{
    struct errbuf e;
    if (reference_take(p->start->setup.reference, tree, leaf_log_p, &e) != OK) {
        phases_fail(p, e.text);
    }
}

/* Training does not wait for the disk: a run that is killed before the numbers are written scores
 * them again, to the same bits. */
void phases_reference_done(struct phases *p)
{
    struct reference *reference = p->start->setup.reference;
    struct str json = {0};
    reference_dump(reference, &json);
    enum err error = str_ok(&json);
    if (error == OK) {
        error = scribe_eval(p->scribe, REFERENCE_NAME, json.data);
        p->writes += error == OK;
    }
    str_free(&json);
    if (error != OK) {
        phases_fail(p, "no memory to keep the log-probabilities of the reference");
        return;
    }
    phases_train(p);
    if (p->open.kind == JOB_GRADIENT) { /* the batch that borrowed the trees is gone */
        reference_release(reference);
    }
}
