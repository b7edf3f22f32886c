/* settle.c - the way of a result: announced, judged, credited, summed, settled. The other half of
 * dispatch.c; decides what a worker hears about its result, and what a doubtful one costs. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/dispatch_state.h"

enum { WAY_MEMORY = 15, WAY_CAP = 16 };

static void answer(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
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

static void doubt(struct dispatch *d, uint64_t worker)
{
    const struct worker *w = roster_get(d->roster, worker);
    if (w && w->state == WORKER_READY) {
        roster_reprobe(d->roster, worker);
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_PROBE, .worker = worker},
                     "%s: its result differs from another worker's", w->name);
    }
}

/* A duplicate of a settled job has other bits: somebody computes wrongly. The open batch, whose sum
 * may hold the wrong ones, starts again; the job's third attempt decides. */
static void dispute(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
{
    const struct job *job = queue_job(d->queue, r->job);
    uint64_t winner = job->winner;
    uint8_t digest[HASH_XXH128_BYTES];
    memcpy(digest, job->digest, sizeof digest);
    dispatch_act(d, (struct dispatch_action){.act = DISPATCH_NOTE, .job = r->job},
                 "corruption alarm: workers %s and %s disagree on a job", dispatch_name(d, winner),
                 dispatch_name(d, r->worker));
    answer(d, r->worker, r->job, r->attempt, ERR_BUSY);
    doubt(d, winner);
    doubt(d, r->worker);
    if (d->stats.done) {
        return; /* too late to take it back; the probes tell */
    }
    uint64_t again;
    if (queue_restart(d->queue, r->job, &again) != OK) {
        d->out_of_memory = true;
        return;
    }
    d->stats.restarts++;
    screen_close_all(d->screen);
    screen_drop(d->screen);
    screen_dispute(d->screen, again, winner, digest, r->worker, r->digest);
    queue_avoid(d->queue, again, winner);
    queue_avoid(d->queue, again, r->worker);
    settle_restart(d);
    dispatch_cancel_stale(d, now_ns);
    dispatch_act(d, (struct dispatch_action){.act = DISPATCH_RESTART, .tag = d->stats.tag}, NULL);
}

static bool rows_fit(const struct dispatch *d, const struct job *job,
                     const struct dispatch_result *r)
{
    bool fit = r->n_rows == job->n_units;
    for (uint32_t i = 0; fit && i < r->n_rows; i++) {
        fit = r->rows[i].unit == d->unit_ids[job->units[i]];
    }
    return fit;
}

/* The result is kept as an opinion, its payload is not wanted; somebody else does the job again. */
static void keep_opinion(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
{
    queue_avoid(d->queue, r->job, r->worker);
    dispatch_end(d, r->job, r->attempt, ATTEMPT_RELEASED, NULL, now_ns);
    answer(d, r->worker, r->job, r->attempt, ERR_BUSY);
}

static enum err reject(struct dispatch *d, const struct dispatch_result *r, enum attempt_end why,
                       const char *text, uint64_t now_ns)
{
    dispatch_end(d, r->job, r->attempt, why, text, now_ns);
    answer(d, r->worker, r->job, r->attempt, ERR_REFUSED);
    return ERR_REFUSED;
}

/* Screens a result of an open job: OK = take it. */
static enum err screen_result(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
{
    uint64_t others[2];
    uint32_t opinions;
    enum screen_verdict verdict = screen_judge(d->screen, r->job, r->worker, r->digest, r->rows,
                                               r->n_rows, others, &opinions);
    const char *name = dispatch_name(d, r->worker);
    unsigned long long unit = (unsigned long long)r->rows[0].unit;
    struct dispatch_action note = {.act = DISPATCH_NOTE, .worker = r->worker, .job = r->job};
    switch (verdict) {
    case SCREEN_ACCEPT:
        if (opinions > 0) {
            dispatch_act(d, note, "unit %llu: large gradient confirmed by %s", unit, name);
        }
        return OK;
    case SCREEN_AGAIN:
        dispatch_act(d, note, "unit %llu: gradient of %s beyond the band, done again", unit, name);
        keep_opinion(d, r, now_ns);
        return ERR_BUSY;
    case SCREEN_CONFLICT:
        dispatch_act(d, note, "corruption alarm: %s and %s disagree on unit %llu",
                     dispatch_name(d, others[0]), name, unit);
        doubt(d, others[0]);
        doubt(d, r->worker);
        keep_opinion(d, r, now_ns);
        return ERR_BUSY;
    case SCREEN_DECIDED:
        dispatch_quarantine(d, others[0], true, "two others agree against its result", now_ns);
        return OK;
    case SCREEN_NO_MAJORITY:
        dispatch_stop(d, "unit %llu: three different results, from %s, %s and %s", unit,
                      dispatch_name(d, others[0]), dispatch_name(d, others[1]), name);
        return reject(d, r, ATTEMPT_RELEASED, NULL, now_ns);
    case SCREEN_NOT_FINITE:
        return reject(d, r, ATTEMPT_FAILED, "its gradient is not finite", now_ns);
    }
    return ERR_STATE;
}

/* An attempt that runs elsewhere is not this worker's to answer. */
static bool is_anothers(const struct job *job, const struct dispatch_result *r)
{
    for (uint32_t i = 0; i < job->n_live; i++) {
        if (job->live[i].number == r->attempt && job->live[i].worker != r->worker) {
            return true;
        }
    }
    return false;
}

/* OK: the job is SETTLING and the result wanted. Anything else has been answered. */
static enum err judge(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
{
    const struct worker *w = roster_get(d->roster, r->worker);
    if (!w) {
        d->stats.unknown++;
        return ERR_GONE;
    }
    roster_heard(d->roster, r->worker, now_ns);
    int slot = dispatch_slot(d, r->worker, r->job, r->attempt);
    if (slot >= 0) {
        lease_computed(d->leases, w->slots[slot].lease, r->compute_ns, now_ns);
        dispatch_free_slot(d, r->worker, (uint32_t)slot, true, now_ns);
    }
    const struct job *job = queue_job(d->queue, r->job);
    if (!job || r->attempt == 0 || r->attempt > job->attempts || is_anothers(job, r)) {
        answer(d, r->worker, r->job, r->attempt, ERR_STALE);
        return ERR_STALE;
    }
    if (!rows_fit(d, job, r)) {
        enum err error = reject(d, r, ATTEMPT_LOST, "its result names other units", now_ns);
        dispatch_quarantine(d, r->worker, false, "a result that names other units", now_ns);
        return error;
    }
    if (w->state != WORKER_READY && w->state != WORKER_DRAINING) {
        return reject(d, r, ATTEMPT_RELEASED, NULL, now_ns);
    }
    if (job->state == JOB_QUEUED || job->state == JOB_LEASED) {
        enum err error = screen_result(d, r, now_ns);
        if (error != OK) {
            return error;
        }
    }
    enum err error = queue_accept(d->queue, r->job, r->attempt, r->worker, r->digest);
    if (error == ERR_CORRUPT) {
        dispatch_end(d, r->job, r->attempt, ATTEMPT_RELEASED, NULL, now_ns);
        dispute(d, r, now_ns);
    } else if (error != OK) {
        dispatch_end(d, r->job, r->attempt, ATTEMPT_RELEASED, NULL, now_ns);
        answer(d, r->worker, r->job, r->attempt, error);
    }
    return error;
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
    if (judge(d, result, now_ns) == OK) {
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
    answer(d, worker, id, attempt, OK);
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
    enum err error = judge(d, result, now_ns);
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
        answer(d, worker, job, attempt, ERR_STALE);
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
        answer(d, t.worker, job, t.attempt, ERR_STALE);
    } else if (code == OK) {
        finish_job(d, t.worker, job, t.attempt, now_ns);
    } else {
        queue_avoid(d->queue, job, t.worker);
        if (queue_settle(d->queue, job, false) != OK) {
            CHECK(!"a job whose payload is summed was SETTLING");
        }
        answer(d, t.worker, job, t.attempt, ERR_REFUSED);
        dispatch_quarantine(d, t.worker, false, err_text(code), now_ns);
    }
    grant_credit(d, now_ns);
    dispatch_pump(d, now_ns);
}

/* Whether (job, attempt) runs on that worker: only then its word about it counts. */
static bool runs_there(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                       uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_heard(d->roster, worker, now_ns);
    bool there = dispatch_slot(d, worker, job, attempt) >= 0;
    d->stats.unknown += !there;
    return there;
}

void dispatch_failed(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                     const char *text, uint64_t now_ns)
{
    if (runs_there(d, worker, job, attempt, now_ns)) {
        dispatch_end(d, job, attempt, ATTEMPT_FAILED, text, now_ns);
        dispatch_pump(d, now_ns);
    }
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
        answer(d, worker, job, attempt, ERR_STALE);
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
        answer(d, t.worker, t.job, t.attempt, ERR_STALE);
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
        answer(d, t->worker, t->job, t->attempt, ERR_STALE);
        d->line_first = (d->line_first + 1) % d->line_capacity;
    }
    for (uint32_t i = 0; i < d->n_credited; i++) {
        d->credited[i].dropped = true;
    }
}
