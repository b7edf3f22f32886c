/* phases_status.c - the run's part of the status. */
#include <stdio.h>

#include "coordinator/phases_state.h"

static const char *task_name(const struct phases *p)
{
    switch (p->phase) {
    case PHASE_STARTING:
        return "start";
    case PHASE_EVAL_BEFORE:
        return "evaluate before";
    case PHASE_REFERENCE:
        return "score reference";
    case PHASE_TRAIN:
        return "train";
    case PHASE_EVAL_AFTER:
        return p->eval_only ? "evaluate" : "evaluate after";
    case PHASE_EXPORT:
        return "export";
    case PHASE_ASK:
        return "answer";
    case PHASE_DONE:
        break;
    }
    return "done";
}

static const char *state_name(const struct phases *p)
{
    if (p->phase == PHASE_DONE) {
        return p->end == PHASES_FINISHED ? "finished"
               : p->end == PHASES_FAILED ? "failed"
                                         : "draining";
    }
    return p->stopping                      ? "draining"
           : p->degraded                    ? "degraded"
           : server_workers(p->server) == 0 ? "starting"
                                            : "running";
}

/* Seconds until the open task is done, in training also the evaluation that closes the run; NaN
 * while the speed is unknown. */
static double eta(const struct phases *p)
{
    uint64_t steps = p->start->setup.steps;
    double later = 0.0;
    if (p->phase == PHASE_TRAIN && p->step + 1 < steps) {
        later = (double)(steps - p->step - 1) * p->board.batch_tokens;
    }
    bool scores = p->phase == PHASE_TRAIN && p->start->setup.test && !p->start->has_after;
    return board_eta(&p->board, later, scores ? p->eval_tokens : 0.0, p->score_s);
}

void phases_status(void *ctx, struct status *status)
{
    const struct phases *p = ctx;
    struct queue_counts counts = server_counts(p->server);
    const struct setup *s = &p->start->setup;
    (void)snprintf(status->run, sizeof status->run, "%s", p->run);
    (void)snprintf(status->task, sizeof status->task, "%s", task_name(p));
    (void)snprintf(status->state, sizeof status->state, "%s", state_name(p));
    (void)snprintf(status->text, sizeof status->text, "%s",
                   p->end == PHASES_FAILED ? p->why.text
                   : p->degraded           ? p->trouble
                                           : "");
    (void)snprintf(status->suspects, sizeof status->suspects, "%s", p->suspects);
    status->step_open = p->step;
    status->step_committed = p->committed;
    status->step_total = s->steps;
    status->loss = p->loss;
    status->kl = p->kl;
    board_rates(&p->board, &status->tokens_per_s, &status->pairs_per_s);
    status->eta_s = eta(p);
    status->units_queued = counts.units - counts.done - counts.leased;
    status->units_leased = counts.leased;
    status->units_done = counts.done;
    status->useful_slots = p->phase == PHASE_TRAIN ? p->useful_slots : p->open.n_units;
}
