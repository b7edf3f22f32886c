/* assign.c - which waiting slot gets which job: copies of audited jobs first, for a step waits for
 * them, then queued jobs, then new ones of the next units, then backup copies. The part of dispatch
 * that makes ASSIGN. */
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "coordinator/dispatch_state.h"
#include "coordinator/plan.h"

#define BACKUP_FLOOR_NS 1000000000ull

enum { BACKUP_SLOTS = 16 }; /* waiting slots tried for a backup copy in one go */

uint64_t dispatch_host(const struct dispatch *d, uint64_t worker)
{
    const struct worker *w = roster_get(d->roster, worker);
    uint8_t digest[HASH_XXH128_BYTES];
    uint64_t host;
    if (!w || w->host[0] == '\0') {
        return 0;
    }
    hash_xxh128(w->host, strlen(w->host), digest);
    memcpy(&host, digest, sizeof host);
    return host;
}

bool dispatch_other_host(const struct dispatch *d, const struct job *job, uint64_t host,
                         uint64_t now_ns)
{
    for (uint32_t i = 0; i < roster_count(d->roster); i++) {
        const struct worker *w = roster_at(d->roster, i);
        bool fit =
            roster_asks(d->roster, w, now_ns) && !w->marked && dispatch_host(d, w->id) != host;
        for (uint32_t j = 0; job && fit && j < job->n_avoid; j++) {
            fit = job->avoid[j] != w->id;
        }
        if (fit) {
            return true;
        }
    }
    return false;
}

/* A job of gradients that nobody has computed yet is audited when that can be done. */
static void audit_job(struct dispatch *d, uint64_t id, uint64_t worker, uint64_t now_ns)
{
    const struct job *job = queue_job(d->queue, id);
    if (d->kind == JOB_GRADIENT && !job->audit && job->opinions == 0 &&
        !screen_has_case(d->screen, id) &&
        dispatch_other_host(d, NULL, dispatch_host(d, worker), now_ns)) {
        queue_audit(d->queue, id, true);
    }
}

/* Before there is a band a wrong norm would pass, so every unit is repeated. */
static bool audits_all(const struct dispatch *d)
{
    return audit_on(d->audit) && isinf(screen_band(d->screen));
}

static bool is_chosen(const struct dispatch *d, const struct job *job)
{
    bool chosen = audits_all(d);
    for (uint32_t i = 0; !chosen && i < job->n_units; i++) {
        chosen = audit_samples(d->audit, d->unit_ids[job->units[i]]);
    }
    return chosen;
}

static void assign(struct dispatch *d, uint64_t worker, uint32_t slot, uint64_t job,
                   uint64_t now_ns)
{
    const struct worker *w = roster_get(d->roster, worker);
    struct lease lease = {.job = job,
                          .worker = worker,
                          .slot = slot,
                          .tokens = queue_job(d->queue, job)->rows,
                          .kind = d->kind};
    uint32_t handle;
    if (w->marked) { /* its bits are its own: nobody can confirm them */
        queue_audit(d->queue, job, false);
    } else if (audit_distrusts(d->audit, worker)) {
        audit_job(d, job, worker, now_ns);
    }
    if (queue_take(d->queue, job, worker, slot, &lease.attempt) != OK) {
        CHECK(!"a job that was offered can be taken");
    }
    if (lease_grant(d->leases, &lease, now_ns, &handle) != OK) {
        d->out_of_memory = true;
        return;
    }
    roster_hold(d->roster, worker, slot, job, lease.attempt, handle);
    d->stats.assigned++;
    dispatch_act(d,
                 (struct dispatch_action){.act = DISPATCH_ASSIGN,
                                          .worker = worker,
                                          .slot = slot,
                                          .request = w->slots[slot].request,
                                          .job = job,
                                          .attempt = lease.attempt},
                 NULL);
}

/* Whether every worker that might take it is on the job's avoid list: then anybody may have it. A
 * worker that lives but asks for nothing is not waited for. */
static bool avoided_by_all(const struct dispatch *d, uint64_t id, uint64_t now_ns)
{
    const struct job *job = queue_job(d->queue, id);
    for (uint32_t i = 0; i < roster_count(d->roster); i++) {
        const struct worker *w = roster_at(d->roster, i);
        bool avoided = !roster_asks(d->roster, w, now_ns);
        for (uint32_t j = 0; j < job->n_avoid; j++) {
            avoided = avoided || job->avoid[j] == w->id;
        }
        if (!avoided) {
            return false;
        }
    }
    return true;
}

/* Requests are decoded a token of each at a time, so a job takes as many as are decoded together,
 * but no more than an even share of what waits. */
static uint64_t requests_job(struct dispatch *d, const struct queue_counts *c)
{
    uint64_t job;
    uint32_t slots = roster_ready_slots(d->roster);
    uint32_t share = slots > 0 ? (c->waiting + slots - 1) / slots : 1;
    if (queue_make(d->queue, share < LIMIT_BRANCHES ? share : LIMIT_BRANCHES, UINT64_MAX, &job) !=
        OK) {
        d->out_of_memory = true;
        return 0;
    }
    return job;
}

/* May worker compute an audited job that wants another host? One on the same host only once no
 * other host is left that could: then the job is done again by whoever is there, at last by the
 * same. */
static bool may_repeat(const struct dispatch *d, const struct job *job, uint64_t worker,
                       uint64_t now_ns)
{
    bool avoided = false;
    for (uint32_t i = 0; i < job->n_avoid; i++) {
        avoided = avoided || job->avoid[i] == worker;
    }
    uint64_t host = job->opinions > 0 ? job->opinion_host : dispatch_host(d, job->live[0].worker);
    if (dispatch_host(d, worker) != host && !roster_get(d->roster, worker)->marked) {
        return !avoided;
    }
    if (job->state != JOB_QUEUED || dispatch_other_host(d, job, host, now_ns)) {
        return false;
    }
    return !avoided || avoided_by_all(d, job->id, now_ns);
}

/* The copy of an audited job that worker is to compute; 0 when there is none for it. */
static uint64_t audit_copy(struct dispatch *d, uint64_t worker, uint64_t now_ns)
{
    uint64_t id = queue_audited(d->queue, 0);
    for (int i = 0; i < QUEUE_SCAN && id != 0; i++, id = queue_audited(d->queue, id)) {
        if (may_repeat(d, queue_job(d->queue, id), worker, now_ns)) {
            return id;
        }
    }
    return 0;
}

/* A new job of the next units, audited if one of them is chosen; 0 when there is none. */
static uint64_t new_job(struct dispatch *d, uint64_t worker, uint64_t rows, uint64_t now_ns)
{
    uint64_t job;
    uint32_t units[LIMIT_JOB_UNITS];
    uint64_t ids[LIMIT_JOB_UNITS];
    uint32_t n = LIMIT_JOB_UNITS;
    bool audits = d->kind == JOB_GRADIENT && audit_on(d->audit);
    if (audits && !audits_all(d)) {
        uint32_t found = queue_peek(d->queue, n, rows, units);
        for (uint32_t i = 0; i < found; i++) {
            ids[i] = d->unit_ids[units[i]];
        }
        uint32_t alone = audit_alone(d->audit, ids, found);
        if (alone < found && dispatch_other_host(d, NULL, dispatch_host(d, worker), now_ns)) {
            queue_bring(d->queue, units[alone]);
            n = 1;
        }
    }
    if (queue_make(d->queue, n, rows, &job) != OK) {
        d->out_of_memory = true;
        return 0;
    }
    if (audits && job != 0 && is_chosen(d, queue_job(d->queue, job))) {
        audit_job(d, job, worker, now_ns);
    }
    return job;
}

/* A queued job, or a new one of the next units; 0 when there is neither for this worker. */
static uint64_t next_job(struct dispatch *d, uint64_t worker, uint64_t now_ns)
{
    struct queue_counts c = queue_counts(d->queue);
    uint64_t job = queue_first(d->queue, worker, dispatch_alone(d));
    if (job == 0 && c.jobs_queued > 0) {
        job = queue_first(d->queue, worker, true);
        job = job != 0 && avoided_by_all(d, job, now_ns) ? job : 0;
    }
    if (job != 0 || c.waiting == 0) {
        return job;
    }
    if (d->kind == JOB_GENERATE) {
        return requests_job(d, &c);
    }
    const struct plan_load load = {
        .units_left = c.waiting,
        .rows_left = c.rows_waiting,
        .left_ns = lease_cost_ns(d->leases, d->kind, c.rows_waiting),
        .rows_open = c.rows - c.rows_done,
        .slots = roster_ready_slots(d->roster),
        .target_ns = d->cfg.job_target_ns,
        .way_ns = d->kind == JOB_GRADIENT ? d->way_ns : 0, /* scores come with the message */
    };
    return new_job(d, worker, plan_job_rows(&load), now_ns);
}

/* The job that deserves a second copy by worker now; 0 when none does. */
static uint64_t backup_job(struct dispatch *d, uint64_t worker, uint64_t now_ns)
{
    uint64_t id = queue_slowest(d->queue, worker);
    const struct job *job = id ? queue_job(d->queue, id) : NULL;
    if (!job) {
        return 0;
    }
    const struct worker *w = roster_get(d->roster, job->live[0].worker);
    uint64_t expected = lease_expected_ns(d->leases, d->kind, job->rows);
    uint64_t least = expected + expected / 2;
    least = least > BACKUP_FLOOR_NS ? least : BACKUP_FLOOR_NS;
    if (!w || expected == 0) {
        return 0;
    }
    uint32_t lease = w->slots[job->live[0].slot].lease;
    return lease_elapsed_ns(d->leases, lease, now_ns) >= least ? id : 0;
}

void dispatch_pump(struct dispatch *d, uint64_t now_ns)
{
    uint64_t worker;
    uint32_t slot;
    if (!d->stats.open || d->stats.done || d->stats.paused || d->stats.stopped) {
        return;
    }
    bool more = roster_first(d->roster, &worker, &slot);
    for (int backups = 0; more && !d->out_of_memory;) {
        struct queue_counts c = queue_counts(d->queue);
        uint64_t job = audit_copy(d, worker, now_ns);
        d->stats.audits += job != 0;
        if (job == 0 && c.waiting + c.jobs_queued > 0) {
            job = next_job(d, worker, now_ns);
        }
        if (job == 0) {
            if (++backups > BACKUP_SLOTS) {
                break;
            }
            job = backup_job(d, worker, now_ns);
            d->stats.backups += job != 0;
        }
        uint64_t next_worker = worker;
        uint32_t next_slot = slot;
        more = roster_after(d->roster, &next_worker, &next_slot);
        if (job) {
            assign(d, worker, slot, job, now_ns);
        }
        worker = next_worker;
        slot = next_slot;
    }
}
