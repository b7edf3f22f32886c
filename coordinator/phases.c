/* phases.c - the phases of a run as reactions to what the server, the reducer and the scribe say.
 */
#include "coordinator/phases.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/shape_digest.h"
#include "coordinator/phases_state.h"

enum { REPORTS_MAX = 8192 };

void phases_fail(struct phases *p, const char *why)
{
    if (p->phase == PHASE_DONE) {
        return;
    }
    log_event(LOG_ERROR, "run_failed", "%s", why);
    (void)err_set(&p->why, ERR_STATE, "%s", why);
    p->end = PHASES_FAILED;
    p->phase = PHASE_DONE;
    server_end(p->server, WIRE_PARTING_FAILED, why);
}

void phases_finish(struct phases *p)
{
    p->phase = PHASE_DONE;
    p->end = PHASES_FINISHED;
    log_event(LOG_INFO, "run_finished", "step=%llu", (unsigned long long)p->committed);
    server_end(p->server, WIRE_PARTING_FINISHED, "the run is finished");
}

/* True: the error ended the run. */
static bool failed(struct phases *p, enum err error, const char *what)
{
    if (error != OK) {
        char text[ERRBUF_BYTES];
        (void)snprintf(text, sizeof text, "%s: %s", what, err_text(error));
        phases_fail(p, text);
    }
    return error != OK;
}

void phases_open_batch(struct phases *p, bool adapter, uint64_t version)
{
    struct batch earlier = p->open;
    p->open = p->coming;
    p->coming = (struct batch){0};
    p->open.steer = p->start->steer != NULL || (p->eval && p->eval_vectors > 0);
    p->opened_ms = clock_now_ms();
    board_batch(&p->board, p->open.tokens, p->open.pairs);
    enum err error = server_batch(p->server, &p->open, adapter, version);
    batch_free(&earlier);
    (void)failed(p, error, "opening a batch");
}

static void build_coming(struct phases *p, uint64_t step)
{
    struct errbuf e;
    if (step >= p->start->setup.steps || p->coming.n_units > 0) {
        return;
    }
    if (batch_train(&p->start->setup, step, &p->coming, &e) != OK) {
        phases_fail(p, e.text);
    }
}

static void open_step(struct phases *p)
{
    uint64_t step = p->step;
    build_coming(p, step);
    if (p->phase == PHASE_DONE ||
        failed(p, reducer_begin(p->reducer, step, p->coming.n_units, p->coming.first_anchor),
               "reducer")) {
        return;
    }
    p->step_open = true;
    p->cost = (struct journal_cost){0};
    phases_open_batch(p, true, step);
    build_coming(p, step + 1);
}

static void begin_export(struct phases *p)
{
    const struct setup *s = &p->start->setup;
    p->phase = PHASE_EXPORT;
    p->description = model_describe(s->model);
    p->input = (struct export_input){.cfg = s->cfg,
                                     .values = s->values,
                                     .shape = model_shape(s->model),
                                     .lora = &s->cfg->lora,
                                     .flat = p->last->flat,
                                     .version = p->last->version,
                                     .base_name = p->description.name,
                                     .base_quantisation = p->description.quantisation,
                                     .base_hash = s->model_hash};
    (void)failed(p, scribe_export(p->scribe, &p->input, params_snapshot_hold(p->last)), "scribe");
}

static void after_training(struct phases *p)
{
    if (p->start->setup.test && !p->start->has_after) {
        p->phase = PHASE_EVAL_AFTER;
        phases_eval_begin(p, true);
    } else {
        begin_export(p);
    }
}

void phases_train(struct phases *p)
{
    p->phase = PHASE_TRAIN;
    p->step = p->committed;
    if (p->step >= p->start->setup.steps) {
        p->scribe_idle_then = after_training;
        phases_when_written(p);
        return;
    }
    log_event(LOG_INFO, "training", "from_step=%llu steps=%llu useful_slots=%u",
              (unsigned long long)p->step, (unsigned long long)p->start->setup.steps,
              p->useful_slots);
    open_step(p);
    phases_eval_foresee(p); /* while the workers compute */
}

static void begin_training(struct phases *p)
{
    const struct setup *s = &p->start->setup;
    if (s->reference && p->committed < s->steps && !reference_complete(s->reference)) {
        phases_reference_begin(p);
    } else {
        phases_train(p);
    }
}

void phases_begin(struct phases *p)
{
    const struct setup *s = &p->start->setup;
    p->useful_slots = s->plan ? setup_useful_slots(s) : 0;
    if (p->start->answers) {
        phases_ask_begin(p);
    } else if (p->eval_only) {
        p->phase = PHASE_EVAL_AFTER;
        if (s->test) {
            phases_eval_begin(p, p->start->adapter);
        } else {
            phases_fail(p, "data.test: a file to evaluate on is needed");
        }
    } else if (s->cfg->eval_before && s->test && p->committed == 0 && !p->start->has_before) {
        p->phase = PHASE_EVAL_BEFORE;
        phases_eval_begin(p, false);
    } else {
        begin_training(p);
    }
}

void phases_evaluated(struct phases *p)
{
    struct errbuf e;
    struct str json = {0};
    double seconds = (double)(clock_now_ms() - p->eval_from_ms) * 1e-3;
    p->eval_seconds += seconds;
    p->score_s = p->eval_tokens > 0.0 ? seconds / p->eval_tokens : 0.0;
    enum err error = eval_finish(p->eval, &json, &e);
    if (error != OK) {
        str_free(&json);
        phases_fail(p, e.text);
        return;
    }
    const char *name = p->eval_only ? "eval" : p->phase == PHASE_EVAL_BEFORE ? "before" : "after";
    error = scribe_eval(p->scribe, name, json.data);
    p->writes += error == OK;
    /* The batch borrows the trees of the evaluation, so both live until the next batch is open. */
    eval_free(&p->scored);
    p->scored = p->eval;
    p->eval = NULL;
    if (p->eval_only) {
        p->json = json;
    } else {
        str_free(&json);
    }
    if (failed(p, error, "scribe")) {
        return;
    }
    if (p->eval_only) {
        p->scribe_idle_then = phases_finish;
        phases_when_written(p);
    } else if (p->phase == PHASE_EVAL_BEFORE) {
        begin_training(p);
    } else {
        begin_export(p);
    }
}

static void on_batch_done(void *ctx, uint32_t tag)
{
    struct phases *p = ctx;
    if (p->phase == PHASE_DONE || tag != p->open.tag) {
        return;
    }
    if (p->phase == PHASE_REFERENCE) {
        phases_reference_done(p);
        return;
    }
    if (p->phase == PHASE_ASK) {
        phases_ask_done(p);
        return;
    }
    if (p->open.kind != JOB_GRADIENT) {
        phases_eval_scored(p);
        return;
    }
    uint64_t done = p->step + 1;
    const struct setup *s = &p->start->setup;
    bool checkpoint = done == s->steps || done % s->cfg->checkpoint_steps == 0;
    (void)failed(p, reducer_finish(p->reducer, p->step, setup_rate(s, p->step), checkpoint),
                 "reducer");
}

/* Opens the next step if it may be opened now. */
static void go_on(struct phases *p)
{
    if (p->phase != PHASE_TRAIN || p->step_open || p->stopping) {
        return;
    }
    if (p->step >= p->start->setup.steps) {
        p->scribe_idle_then = after_training;
        phases_when_written(p);
    } else if (p->step - p->committed < PHASES_UNCOMMITTED && p->published == p->step) {
        open_step(p);
    }
}

static bool publish(struct phases *p, struct params_snapshot *snapshot)
{
    params_snapshot_release(p->last);
    p->last = params_snapshot_hold(snapshot);
    p->published = snapshot->version;
    return !failed(p, server_publish(p->server, snapshot), "publishing");
}

static void on_stepped(struct phases *p, struct reducer_report *r)
{
    const struct setup *s = &p->start->setup;
    struct journal_step step = {.step = r->step,
                                .loss = r->total.loss,
                                .norm = r->norm,
                                .lr = setup_rate(s, r->step),
                                .seconds = (double)(clock_now_ms() - p->opened_ms) * 1e-3,
                                .tokens = p->open.tokens,
                                .pairs = p->open.pairs,
                                .labels = r->total.labels,
                                .kl = s->anchor ? r->total.anchor / s->cfg->anchor_weight : 0.0,
                                .cost = p->cost};
    step.cost.slots = server_slots(p->server);
    step.cost.finishing_s = r->seconds;
    log_event(LOG_INFO, "step", "step=%llu loss=%.6f kl=%.6f norm=%.4f seconds=%.2f units=%u",
              (unsigned long long)r->step, step.loss, step.kl, step.norm, step.seconds,
              p->open.n_units);
    p->loss = step.loss;
    p->kl = s->anchor ? step.kl : NAN;
    p->trained_tokens += (double)p->open.tokens;
    p->step = r->step + 1;
    p->step_open = false;
    phases_keep_audits(p);
    enum err error = scribe_step(p->scribe, &step, r->gradient, &r->state);
    p->writes += error == OK;
    if (failed(p, error, "scribe")) {
        return;
    }
    struct params_snapshot *snapshot = r->snapshot;
    r->snapshot = NULL;
    if (s->cfg->strict) {
        if (publish(p, snapshot)) {
            go_on(p);
        }
    } else {
        CHECK(p->held == NULL);
        p->held = snapshot;
    }
}

void phases_reduced(void *ctx)
{
    struct phases *p = ctx;
    for (struct letter *l = mailbox_take(p->reduced); l; l = mailbox_take(p->reduced)) {
        struct reducer_report *r = (struct reducer_report *)l;
        if (p->phase == PHASE_DONE) {
            reducer_report_free(r);
            continue;
        }
        if (r->kind == REDUCER_SUMMED) {
            p->cost.jobs += r->code == OK;
            p->cost.adding_s += r->seconds;
            server_summed(p->server, r->job, r->code);
            FAILPOINT("result.settled");
        } else if (!failed(p, r->code, "finishing a step")) {
            on_stepped(p, r);
        }
        reducer_report_free(r);
    }
}

/* Calls scribe_idle_then once everything handed to the scribe is written. */
void phases_when_written(struct phases *p)
{
    if (p->writes == 0 && p->scribe_idle_then && p->phase != PHASE_DONE) {
        void (*then)(struct phases *) = p->scribe_idle_then;
        p->scribe_idle_then = NULL;
        then(p);
    }
}

static void on_committed(struct phases *p, uint64_t step)
{
    p->committed = step + 1;
    server_committed(p->server, (uint32_t)step);
    if (p->held) {
        struct params_snapshot *snapshot = p->held;
        p->held = NULL;
        if (!publish(p, snapshot)) {
            return;
        }
    }
    go_on(p);
}

static void stop_now(struct phases *p)
{
    p->phase = PHASE_DONE;
    p->end = PHASES_STOPPED;
    server_end(p->server, WIRE_PARTING_SHUTDOWN, "the coordinator was told to stop");
}

static void on_written(struct phases *p, const struct scribe_report *r)
{
    if (r->news == SCRIBE_FAILED) {
        p->disk_failed = true;
        phases_fail(p, r->text.text);
        return;
    }
    if (r->news == SCRIBE_WAITING) {
        p->degraded = true;
        (void)snprintf(p->trouble, sizeof p->trouble, "%s", r->text.text);
        log_event(LOG_ERROR, "degraded", "%s", r->text.text);
        if (p->stopping) {
            stop_now(p);
        }
        return;
    }
    if (p->degraded) {
        p->degraded = false;
        log_event(LOG_INFO, "resumed", "the disk takes writes again");
    }
    if (r->task == SCRIBE_EXPORT) {
        phases_finish(p);
        return;
    }
    p->writes--;
    if (r->task == SCRIBE_STEP) {
        on_committed(p, r->step);
    }
    phases_when_written(p);
}

void phases_written(void *ctx)
{
    struct phases *p = ctx;
    for (struct letter *l = mailbox_take(p->written); l; l = mailbox_take(p->written)) {
        struct scribe_report *r = (struct scribe_report *)l;
        if (p->phase != PHASE_DONE) {
            on_written(p, r);
        }
        scribe_report_free(r);
    }
}

static void on_payload(void *ctx, const struct job *job, const struct wire_result_ready *announced,
                       struct blob *payload)
{
    struct phases *p = ctx;
    int64_t loss[LIMIT_JOB_UNITS];
    uint32_t labels[LIMIT_JOB_UNITS];
    for (uint32_t i = 0; i < announced->n_rows; i++) {
        loss[i] = announced->rows[i].loss;
        labels[i] = announced->rows[i].labels;
    }
    struct reduce_job r = {
        .n_units = job->n_units, .units = job->units, .loss = loss, .labels = labels};
    memcpy(r.digest, announced->payload_hash, sizeof r.digest);
    p->cost.compute_s += (double)announced->seconds;
    (void)failed(p, reducer_add(p->reducer, p->step, job->id, &r, payload), "reducer");
}

static void on_scores(void *ctx, const struct job *job, const double *leaf)
{
    struct phases *p = ctx;
    for (uint32_t i = 0; p->open.kind == JOB_SCORE && i < job->n_units; i++) {
        const struct unit *unit = &p->open.units[job->units[i]];
        for (uint32_t t = 0; t < unit->n_trees; t++) {
            uint32_t tree = (uint32_t)(&unit->trees[t] - p->open.trees);
            if (p->phase == PHASE_REFERENCE) {
                phases_reference_take(p, tree, leaf);
            } else if (p->phase == PHASE_ASK) {
                phases_ask_leaves(p, tree, leaf);
            } else if (p->eval) {
                phases_eval_take(p, &unit->trees[t], leaf);
            }
            leaf += unit->trees[t].n_leaves;
        }
    }
}

static void on_values(void *ctx, const struct job *job, const struct blob *payload)
{
    struct phases *p = ctx;
    if (p->phase == PHASE_ASK) {
        phases_ask_take(p, job, payload);
    } else if (p->open.kind == JOB_GENERATE && p->eval) {
        phases_eval_answers(p, job, payload);
    }
}

static void on_counted(void *ctx, uint32_t tokens)
{
    struct phases *p = ctx;
    board_count(&p->board, tokens);
}

static void on_restart(void *ctx)
{
    struct phases *p = ctx;
    board_restart(&p->board);
    phases_ask_restart(p);
    p->cost = (struct journal_cost){0};
    if (p->open.kind == JOB_GRADIENT) {
        (void)failed(p, reducer_begin(p->reducer, p->step, p->open.n_units, p->open.first_anchor),
                     "reducer");
    }
}

static void on_stop(void *ctx, const char *why)
{
    phases_fail(ctx, why);
}

static void on_probe(void *ctx, const uint8_t digest[WIRE_DIGEST_BYTES])
{
    struct phases *p = ctx;
    char hex[WIRE_DIGEST_HEX];
    digest_hex(digest, hex);
    enum err error = scribe_meta(p->scribe, "probe", hex);
    p->writes += error == OK;
    (void)failed(p, error, "scribe");
}

/* The first signal waits for what is handed to the disk, unless that is full; the second does not.
 */
static void on_signal(void *ctx)
{
    struct phases *p = ctx;
    if (p->stopping || p->degraded || p->phase == PHASE_EXPORT) {
        stop_now(p);
        return;
    }
    p->stopping = true;
    server_drain(p->server);
    phases_eval_keep(p);
    p->scribe_idle_then = stop_now;
    phases_when_written(p);
}

static void on_tick(void *ctx, uint64_t now_ms)
{
    struct phases *p = ctx;
    uint32_t slots = server_slots(p->server);
    board_tick(&p->board, now_ms);
    if (p->phase == PHASE_TRAIN && slots > p->useful_slots && slots > p->warned_slots) {
        log_event(LOG_WARN, "slots_idle", "slots=%u useful=%u a step has no more units than that",
                  slots, p->useful_slots);
        p->warned_slots = slots;
    }
}

struct server_events phases_events(struct phases *p)
{
    return (struct server_events){.ctx = p,
                                  .payload = on_payload,
                                  .scores = on_scores,
                                  .values = on_values,
                                  .counted = on_counted,
                                  .restart = on_restart,
                                  .batch_done = on_batch_done,
                                  .suspect = phases_suspect,
                                  .stop = on_stop,
                                  .probe = on_probe,
                                  .status = phases_status,
                                  .signal = on_signal,
                                  .tick = on_tick};
}

enum err phases_open(struct start *start, const char *run, bool eval_only, struct phases **out,
                     struct errbuf *e)
{
    struct phases *p = mem_calloc(1, sizeof *p);
    if (!p) {
        return err_set(e, ERR_NOMEM, "no memory for the phases");
    }
    p->start = start;
    p->run = run;
    p->eval_only = eval_only;
    p->loss = p->kl = NAN;
    phases_audit_open(p);
    p->from_ms = clock_now_ms();
    p->committed = p->published = start->params->version;
    enum err error = params_snapshot(start->params, &p->last);
    if (error == OK) {
        error = mailbox_open(REPORTS_MAX, &p->reduced);
    }
    if (error == OK) {
        error = mailbox_open(REPORTS_MAX, &p->written);
    }
    *out = p;
    return error == OK ? OK : err_set(e, error, "no memory for the phases");
}

enum err phases_attach(struct phases *p, struct server *server, struct errbuf *e)
{
    p->server = server;
    enum err error = server_attach(server, p->reduced, phases_reduced, p);
    if (error == OK) {
        error = server_attach(server, p->written, phases_written, p);
    }
    if (error != OK) {
        return err_set(e, error, "cannot attach the mailboxes");
    }
    error =
        scribe_open(p->start->journal, p->run, p->start->setup.fixed, p->written, &p->scribe, e);
    if (error == OK) {
        error = reducer_open(&p->start->params, p->reduced, &p->reducer, e);
    }
    if (error == OK && phases_publish_steered(p) != OK) {
        error = err_set(e, ERR_NOMEM, "no memory to publish the parameters");
    }
    return error;
}

void phases_close(struct phases **phases, struct phases_outcome *outcome)
{
    struct phases *p = *phases;
    *phases = NULL;
    *outcome = (struct phases_outcome){.end = PHASES_FAILED};
    if (!p) {
        return;
    }
    phases_ask_close(p);
    reducer_close(&p->reducer);
    scribe_close(&p->scribe);
    mailbox_close(&p->reduced);
    mailbox_close(&p->written);
    *outcome =
        (struct phases_outcome){.end = p->end,
                                .why = p->why,
                                .disk_failed = p->disk_failed,
                                .eval_seconds = p->eval_seconds,
                                .total_seconds = (double)(clock_now_ms() - p->from_ms) * 1e-3,
                                .eval = p->json};
    if (p->last) {
        params_snapshot_release(p->last);
    }
    if (p->held) {
        params_snapshot_release(p->held);
    }
    str_free(&p->audits);
    batch_free(&p->open);
    batch_free(&p->coming);
    eval_free(&p->eval);
    eval_free(&p->scored);
    eval_free(&p->foreseen);
    mem_free(p);
}
