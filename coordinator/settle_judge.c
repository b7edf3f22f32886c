/* settle_judge.c - is a result taken? Screened by norm, compared with what others said of the same
 * job, kept until another host has said the same where it is audited; and what a worker that was
 * found wrong costs. The part of settle that calls screen and audit. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "coordinator/dispatch_state.h"

static void doubt(struct dispatch *d, uint64_t worker)
{
    const struct worker *w = roster_get(d->roster, worker);
    if (w && w->state == WORKER_READY) {
        roster_reprobe(d->roster, worker);
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_PROBE, .worker = worker},
                     "%s: its result differs from another worker's", w->name);
    }
}

/* The open batch, whose sum may hold something wrong, starts again; a job of the units of job
 * `again` (0: of none) is made at once. False: no memory. */
static bool start_again(struct dispatch *d, uint64_t again, uint64_t *id, uint64_t now_ns)
{
    if (queue_restart(d->queue, again, id) != OK) {
        d->out_of_memory = true;
        return false;
    }
    d->stats.restarts++;
    screen_close_all(d->screen);
    screen_drop(d->screen);
    settle_restart(d);
    dispatch_cancel_stale(d, now_ns);
    dispatch_act(d, (struct dispatch_action){.act = DISPATCH_RESTART, .tag = d->stats.tag}, NULL);
    return true;
}

/* A duplicate of a settled job has other bits: somebody computes wrongly. The job's third attempt
 * decides. */
static void dispute(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
{
    const struct job *job = queue_job(d->queue, r->job);
    uint64_t winner = job->winner;
    uint8_t digest[HASH_XXH128_BYTES];
    memcpy(digest, job->digest, sizeof digest);
    dispatch_act(d, (struct dispatch_action){.act = DISPATCH_NOTE, .job = r->job},
                 "corruption alarm: workers %s and %s disagree on a job", dispatch_name(d, winner),
                 dispatch_name(d, r->worker));
    settle_answer(d, r->worker, r->job, r->attempt, ERR_BUSY);
    doubt(d, winner);
    doubt(d, r->worker);
    uint64_t again;
    if (d->stats.done || !start_again(d, r->job, &again, now_ns)) {
        return; /* done: too late to take it back; the probes tell */
    }
    screen_dispute(d->screen, again, winner, digest, r->worker, r->digest);
    queue_avoid(d->queue, again, winner);
    queue_avoid(d->queue, again, r->worker);
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

static bool beyond_band(const struct dispatch *d, const struct dispatch_result *r)
{
    double most = 0.0;
    for (uint32_t i = 0; i < r->n_rows; i++) {
        most = r->rows[i].sumsq > most ? r->rows[i].sumsq : most;
    }
    return sqrt(most) > screen_band(d->screen);
}

/* The result is kept as an opinion, its payload is not wanted; somebody else does the job again. */
static void keep_opinion(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
{
    queue_opinions(d->queue, r->job, screen_opinions(d->screen, r->job),
                   dispatch_host(d, r->worker));
    queue_avoid(d->queue, r->job, r->worker);
    dispatch_end(d, r->job, r->attempt, ATTEMPT_RELEASED, NULL, now_ns);
    settle_answer(d, r->worker, r->job, r->attempt, ERR_BUSY);
}

static enum err reject(struct dispatch *d, const struct dispatch_result *r, enum attempt_end why,
                       const char *text, uint64_t now_ns)
{
    dispatch_end(d, r->job, r->attempt, why, text, now_ns);
    settle_answer(d, r->worker, r->job, r->attempt, ERR_REFUSED);
    return ERR_REFUSED;
}

/* Which steps hold results of a worker that was found wrong, and nobody has repeated. */
static void name_suspects(struct dispatch *d, uint64_t worker)
{
    struct audit_suspects s;
    if (!audit_suspects(d->audit, worker, d->stats.tag, &s)) {
        return;
    }
    char good[64] = "it never passed one";
    if (s.good != AUDIT_NEVER) {
        (void)snprintf(good, sizeof good, "its last good one was in step %llu",
                       (unsigned long long)s.good);
    }
    dispatch_act(
        d, (struct dispatch_action){.act = DISPATCH_SUSPECT, .tag = (uint32_t)s.from, .job = s.to},
        "results of %s in steps %llu to %llu were summed on its word alone, and it lost an "
        "audit (%s); --resume --from-step %llu goes back before them",
        dispatch_name(d, worker), (unsigned long long)s.from, (unsigned long long)s.to, good,
        (unsigned long long)s.from);
}

/* A worker computes wrongly. What of its results the open batch holds is not believed either: true
 * when the batch started again because of that. */
static bool condemn(struct dispatch *d, uint64_t worker, const char *why, uint64_t now_ns)
{
    uint64_t none;
    name_suspects(d, worker);
    audit_lost(d->audit, worker);
    bool holds = queue_holds(d->queue, worker);
    uint64_t left;
    for (uint64_t job; (job = screen_forget(d->screen, worker, &left)) != 0;) {
        queue_opinions(d->queue, job, left != 0, dispatch_host(d, left));
    }
    dispatch_quarantine(d, worker, true, why, now_ns);
    return holds && start_again(d, 0, &none, now_ns);
}

/* A worker contradicts what it said of the same job; the opinion of another may be left. */
static enum err perjured(struct dispatch *d, const struct dispatch_result *r, uint64_t left,
                         uint64_t now_ns)
{
    queue_opinions(d->queue, r->job, left != 0, dispatch_host(d, left));
    enum err error = reject(d, r, ATTEMPT_RELEASED, NULL, now_ns);
    if (roster_count(d->roster) > 1) {
        (void)condemn(d, r->worker, "it gave two different results of one job", now_ns);
    } else { /* without it nothing would go on; SCREEN_REPEATS ends what never agrees */
        doubt(d, r->worker);
    }
    return error;
}

/* The first result of an audited job is kept until another host has given the same. False: no other
 * host is left, it must do. */
static bool keep_for_audit(struct dispatch *d, const struct dispatch_result *r,
                           const struct job *job, uint64_t now_ns)
{
    uint64_t host = dispatch_host(d, r->worker);
    if (!dispatch_other_host(d, NULL, host, now_ns) ||
        !screen_keep(d->screen, r->job, r->worker, r->digest)) {
        d->stats.unconfirmed += job->n_units;
        queue_audit(d->queue, r->job, false);
        return false;
    }
    keep_opinion(d, r, now_ns);
    return true;
}

/* The second result of a job is that of the first: a good audit when it came from another host. */
static void confirm(struct dispatch *d, const struct dispatch_result *r, const struct job *job,
                    uint64_t other)
{
    if (job->audit && dispatch_host(d, r->worker) != job->opinion_host) {
        d->stats.confirmed += job->n_units;
        audit_passed(d->audit, other, d->stats.tag);
        audit_passed(d->audit, r->worker, d->stats.tag);
    } else if (job->audit) {
        d->stats.unconfirmed += job->n_units;
        queue_audit(d->queue, r->job, false);
    }
    if (beyond_band(d, r)) {
        dispatch_act(
            d, (struct dispatch_action){.act = DISPATCH_NOTE, .worker = r->worker, .job = r->job},
            "unit %llu: large gradient confirmed by %s", (unsigned long long)r->rows[0].unit,
            dispatch_name(d, r->worker));
    }
}

/* Screens a result of an open job: OK = take it. */
static enum err screen_result(struct dispatch *d, const struct dispatch_result *r,
                              const struct job *job, uint64_t now_ns)
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
            confirm(d, r, job, others[0]);
        } else if (job->audit && keep_for_audit(d, r, job, now_ns)) {
            return ERR_BUSY;
        }
        return OK;
    case SCREEN_AGAIN:
        dispatch_act(d, note, "unit %llu: gradient of %s beyond the band, done again", unit, name);
        keep_opinion(d, r, now_ns);
        return ERR_BUSY;
    case SCREEN_CONFLICT:
        dispatch_act(d, note, "corruption alarm: %s and %s disagree on unit %llu",
                     dispatch_name(d, others[0]), name, unit);
        d->stats.mismatches++;
        doubt(d, others[0]);
        doubt(d, r->worker);
        keep_opinion(d, r, now_ns);
        return ERR_BUSY;
    case SCREEN_REPEATED:
        keep_opinion(d, r, now_ns);
        return ERR_BUSY;
    case SCREEN_DECIDED:
        if (condemn(d, others[0], "two others agree against its result", now_ns)) {
            settle_answer(d, r->worker, r->job, r->attempt, ERR_STALE);
            return ERR_STALE;
        }
        return OK;
    case SCREEN_PERJURED:
        return perjured(d, r, others[0], now_ns);
    case SCREEN_NO_MAJORITY:
        name_suspects(d, others[0]);
        name_suspects(d, others[1]);
        dispatch_stop(d, "unit %llu: no two of %s, %s and %s agree on its result", unit,
                      dispatch_name(d, others[0]), dispatch_name(d, others[1]), name);
        return reject(d, r, ATTEMPT_RELEASED, NULL, now_ns);
    case SCREEN_NOT_FINITE:
        return reject(d, r, ATTEMPT_FAILED, "its gradient is not finite", now_ns);
    }
    return ERR_STATE;
}

/* Said before, and kept as an opinion: the message came twice, or is one more of the same. On the
 * host of the only opinion nobody can confirm it while there is another host. */
static bool is_no_news(const struct dispatch *d, const struct job *job,
                       const struct dispatch_result *r, uint64_t now_ns)
{
    bool live = false;
    for (uint32_t i = 0; i < job->n_live; i++) {
        live = live || (job->live[i].number == r->attempt && job->live[i].worker == r->worker);
    }
    return !live &&
           (screen_heard(d->screen, r->job, r->worker) ||
            (job->audit && job->opinions == 1 && dispatch_host(d, r->worker) == job->opinion_host &&
             dispatch_other_host(d, job, job->opinion_host, now_ns)));
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
enum err settle_judge(struct dispatch *d, const struct dispatch_result *r, uint64_t now_ns)
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
        settle_answer(d, r->worker, r->job, r->attempt, ERR_STALE);
        return ERR_STALE;
    }
    if (!rows_fit(d, job, r)) {
        enum err error = reject(d, r, ATTEMPT_LOST, "its result names other units", now_ns);
        dispatch_quarantine(d, r->worker, false, "a result that names other units", now_ns);
        return error;
    }
    if (!w->proven) {
        return reject(d, r, ATTEMPT_RELEASED, NULL, now_ns);
    }
    if (job->state == JOB_QUEUED || job->state == JOB_LEASED) {
        if (is_no_news(d, job, r, now_ns)) {
            settle_answer(d, r->worker, r->job, r->attempt, ERR_BUSY);
            return ERR_BUSY;
        }
        enum err error = screen_result(d, r, job, now_ns);
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
        settle_answer(d, r->worker, r->job, r->attempt, error);
    }
    return error;
}
