/* settle.c - the way of a result: announced, judged (settle_judge.c), credited, summed, settled.
 * The other half of dispatch.c; decides what a worker hears about its result. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/dispatch_state.h"

enum { WAY_MEMORY = 15, WAY_CAP = 16 };

void settle_answer(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                   enum err code)
{
    d->stats.stale += code == ERR_STALE;
    d->stats.refused += code == ERR_REFUSED;
    d->stats.noted += code == ERR_BUSY;
    dispatch_act(d,
                 (struct dispatch_action){.act = DISPATCH_SETTLED,
                                          .worker = worker,
                                          .job = job,
                                          .attempt = attempt,
                                          .code = code},
                 NULL);
}

static void grant_credit(struct dispatch *d, uint64_t now_ns)
{
    while (d->n_credited < d->credits && d->line_count > 0) {
        struct transfer t = d->line[d->line_first];
        d->line_first = (d->line_first + 1) % d->line_capacity;
        d->line_count--;
        t.state = TRANSFER_CREDITED;
        t.until_ns = now_ns + CREDIT_NS;
        t.since_ns = now_ns;
        d->credited[d->n_credited++] = t;
        dispatch_act(
            d,
            (struct dispatch_action){
                .act = DISPATCH_CREDIT, .worker = t.worker, .job = t.job, .attempt = t.attempt},
            NULL);
    }
}

/* Straightens the ring before it grows: the oldest goes to place 0. */
static enum err grow_line(struct dispatch *d)
{
    struct transfer *bigger;
    size_t capacity = d->line_capacity ? d->line_capacity * 2 : 64;
    if (capacity > TRANSFERS_MAX) {
        return ERR_FULL;
    }
    bigger = mem_calloc(capacity, sizeof *bigger);
    if (!bigger) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < d->line_count; i++) {
        bigger[i] = d->line[(d->line_first + i) % d->line_capacity];
    }
    mem_free(d->line);
    d->line = bigger;
    d->line_capacity = capacity;
    d->line_first = 0;
    return OK;
}

/* The worker said it before and waits for an answer: a lost CREDIT is given again. */
static bool is_known(struct dispatch *d, const struct dispatch_result *r)
{
    const struct job *job = queue_job(d->queue, r->job);
    if (!job || job->state != JOB_SETTLING || job->winner != r->worker) {
        return false;
    }
    for (uint32_t i = 0; i < d->n_credited; i++) {
        const struct transfer *t = &d->credited[i];
        if (t->worker == r->worker && t->job == r->job && t->attempt == r->attempt) {
            if (t->state == TRANSFER_CREDITED) {
                dispatch_act(d,
                             (struct dispatch_action){.act = DISPATCH_CREDIT,
                                                      .worker = t->worker,
                                                      .job = t->job,
                                                      .attempt = t->attempt},
                             NULL);
            }
            return true;
        }
    }
    for (size_t i = 0; i < d->line_count; i++) {
        const struct transfer *t = &d->line[(d->line_first + i) % d->line_capacity];
        if (t->worker == r->worker && t->job == r->job && t->attempt == r->attempt) {
            return true;
        }
    }
    return false;
}

void dispatch_announce(struct dispatch *d, const struct dispatch_result *result, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    if (is_known(d, result)) {
        roster_heard(d->roster, result->worker, now_ns);
        return;
    }
    if (settle_judge(d, result, now_ns) == OK) {
        if (d->line_count == d->line_capacity && grow_line(d) != OK) {
            d->out_of_memory = true;
            return;
        }
        screen_note(d->screen, result->rows, result->n_rows);
        d->line[(d->line_first + d->line_count++) % d->line_capacity] = (struct transfer){
            .worker = result->worker, .job = result->job, .attempt = result->attempt};
        grant_credit(d, now_ns);
    }
    dispatch_pump(d, now_ns);
}

/* The job is counted: its copies are stopped, and the batch may be over. */
static void finish_job(struct dispatch *d, uint64_t worker, uint64_t id, uint32_t attempt,
                       uint64_t now_ns)
{
    if (queue_settle(d->queue, id, true) != OK) {
        CHECK(!"a job that is summed was SETTLING");
    }
    const struct job *job = queue_job(d->queue, id);
    roster_done(d->roster, worker, job->n_units, job->rows, now_ns);
    if (d->kind == JOB_GRADIENT && !job->audit) {
        audit_counted(d->audit, worker, d->stats.tag);
    }
    settle_answer(d, worker, id, attempt, OK);
    screen_close(d->screen, id);
    while (job->n_live > 0) {
        struct attempt copy = job->live[0];
        dispatch_act(d,
                     (struct dispatch_action){.act = DISPATCH_CANCEL,
                                              .worker = copy.worker,
                                              .slot = copy.slot,
                                              .job = id,
                                              .attempt = copy.number},
                     NULL);
        dispatch_end(d, id, copy.number, ATTEMPT_RELEASED, NULL, now_ns);
    }
    struct queue_counts c = queue_counts(d->queue);
    if (c.done == c.units) {
        d->stats.done = true;
        if (d->kind == JOB_GRADIENT) {
            screen_seal(d->screen, d->stats.tag);
        }
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_BATCH_DONE, .tag = d->stats.tag},
                     NULL);
    }
}

enum err dispatch_result(struct dispatch *d, const struct dispatch_result *result, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    enum err error = settle_judge(d, result, now_ns);
    if (error == OK) {
        finish_job(d, result->worker, result->job, result->attempt, now_ns);
    }
    dispatch_pump(d, now_ns);
    return error == OK ? OK : ERR_STALE;
}

static void drop_credit(struct dispatch *d, uint32_t i)
{
    for (d->n_credited--; i < d->n_credited; i++) {
        d->credited[i] = d->credited[i + 1];
    }
}

enum err dispatch_payload(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                          uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_heard(d->roster, worker, now_ns);
    for (uint32_t i = 0; i < d->n_credited; i++) {
        struct transfer *t = &d->credited[i];
        if (t->worker != worker || t->job != job || t->attempt != attempt ||
            t->state != TRANSFER_CREDITED) {
            continue;
        }
        if (!t->dropped) {
            t->state = TRANSFER_SUMMING;
            return OK;
        }
        drop_credit(d, i);
        settle_answer(d, worker, job, attempt, ERR_STALE);
        grant_credit(d, now_ns);
        return ERR_STALE;
    }
    d->stats.unknown++;
    return ERR_STALE;
}

/* Payloads share one link and one reducer: with several under way each costs the time since the one
 * before it, a lone one the time since its credit. A moving mean; one that hung counts little. */
static void learn_way(struct dispatch *d, const struct transfer *t, uint64_t now_ns)
{
    uint64_t from = t->since_ns > d->summed_ns ? t->since_ns : d->summed_ns;
    uint64_t spent = now_ns > from ? now_ns - from : 0;
    if (d->way_ns > 0) {
        spent = spent < WAY_CAP * d->way_ns ? spent : WAY_CAP * d->way_ns;
        spent = (WAY_MEMORY * d->way_ns + spent) / (WAY_MEMORY + 1);
    }
    d->way_ns = spent > 0 ? spent : 1;
    d->summed_ns = now_ns;
}

void dispatch_summed(struct dispatch *d, uint64_t job, enum err code, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    uint32_t i = 0;
    while (i < d->n_credited &&
           (d->credited[i].job != job || d->credited[i].state != TRANSFER_SUMMING)) {
        i++;
    }
    if (i == d->n_credited) {
        d->stats.unknown++;
        return;
    }
    struct transfer t = d->credited[i];
    drop_credit(d, i);
    learn_way(d, &t, now_ns);
    if (t.dropped) {
        settle_answer(d, t.worker, job, t.attempt, ERR_STALE);
    } else if (code == OK) {
        finish_job(d, t.worker, job, t.attempt, now_ns);
    } else {
        queue_avoid(d->queue, job, t.worker);
        if (queue_settle(d->queue, job, false) != OK) {
            CHECK(!"a job whose payload is summed was SETTLING");
        }
        settle_answer(d, t.worker, job, t.attempt, ERR_REFUSED);
        dispatch_quarantine(d, t.worker, false, err_text(code), now_ns);
    }
    grant_credit(d, now_ns);
    dispatch_pump(d, now_ns);
}

void dispatch_failed(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                     const char *text, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_heard(d->roster, worker, now_ns);
    if (dispatch_slot(d, worker, job, attempt) < 0) {
        d->stats.unknown++; /* only of what runs there its word counts */
        return;
    }
    dispatch_end(d, job, attempt, ATTEMPT_FAILED, text, now_ns);
    dispatch_pump(d, now_ns);
}

/* The payload will not come: the job goes back in line. */
static void reopen(struct dispatch *d, const struct transfer *t)
{
    if (!t->dropped && queue_settle(d->queue, t->job, false) != OK) {
        CHECK(!"a job that waits for its payload was SETTLING");
    }
}

/* A result that was accepted is not there any more: what waits for it goes back in line. */
static bool take_back(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt)
{
    for (uint32_t i = 0; i < d->n_credited; i++) {
        struct transfer t = d->credited[i];
        if (t.worker == worker && t.job == job && t.attempt == attempt &&
            t.state == TRANSFER_CREDITED) {
            reopen(d, &t);
            drop_credit(d, i);
            return true;
        }
    }
    bool found = false;
    size_t kept = 0;
    for (size_t i = 0; i < d->line_count; i++) {
        struct transfer t = d->line[(d->line_first + i) % d->line_capacity];
        if (t.worker == worker && t.job == job && t.attempt == attempt) {
            reopen(d, &t);
            found = true;
        } else {
            d->line[(d->line_first + kept++) % d->line_capacity] = t;
        }
    }
    d->line_count = kept;
    return found;
}

void dispatch_release(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                      uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_heard(d->roster, worker, now_ns);
    if (dispatch_slot(d, worker, job, attempt) >= 0) {
        dispatch_end(d, job, attempt, ATTEMPT_RELEASED, NULL, now_ns);
    } else if (take_back(d, worker, job, attempt)) {
        settle_answer(d, worker, job, attempt, ERR_STALE);
        grant_credit(d, now_ns);
    } else {
        d->stats.unknown++;
        return;
    }
    dispatch_pump(d, now_ns);
}

void settle_gone(struct dispatch *d, uint64_t worker, uint64_t now_ns)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->line_count; i++) {
        struct transfer t = d->line[(d->line_first + i) % d->line_capacity];
        if (t.worker == worker) {
            reopen(d, &t);
        } else {
            d->line[(d->line_first + kept++) % d->line_capacity] = t;
        }
    }
    d->line_count = kept;
    for (uint32_t i = d->n_credited; i-- > 0;) {
        if (d->credited[i].worker == worker && d->credited[i].state == TRANSFER_CREDITED) {
            reopen(d, &d->credited[i]);
            drop_credit(d, i);
        }
    }
    grant_credit(d, now_ns);
}

void settle_tick(struct dispatch *d, uint64_t now_ns)
{
    for (uint32_t i = d->n_credited; i-- > 0;) {
        struct transfer t = d->credited[i];
        if (t.state != TRANSFER_CREDITED || t.until_ns > now_ns) {
            continue;
        }
        reopen(d, &t);
        drop_credit(d, i);
        settle_answer(d, t.worker, t.job, t.attempt, ERR_STALE);
        if (!t.dropped) {
            dispatch_quarantine(d, t.worker, false, "a payload that was asked for did not come",
                                now_ns);
        }
    }
    grant_credit(d, now_ns);
}

uint64_t settle_sleep_ns(const struct dispatch *d, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < d->n_credited; i++) {
        const struct transfer *t = &d->credited[i];
        if (t->state == TRANSFER_CREDITED) {
            uint64_t left = t->until_ns > now_ns ? t->until_ns - now_ns : 0;
            next = left < next ? left : next;
        }
    }
    return next;
}

void settle_restart(struct dispatch *d)
{
    for (; d->line_count > 0; d->line_count--) {
        const struct transfer *t = &d->line[d->line_first];
        settle_answer(d, t->worker, t->job, t->attempt, ERR_STALE);
        d->line_first = (d->line_first + 1) % d->line_capacity;
    }
    for (uint32_t i = 0; i < d->n_credited; i++) {
        d->credited[i].dropped = true;
    }
}
