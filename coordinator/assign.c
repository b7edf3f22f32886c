/* assign.c - which waiting slot gets which job: queued jobs first, then new ones of the next units,
 * then backup copies. The part of dispatch that makes ASSIGN. */
#include "common/base/check.h"
#include "coordinator/dispatch_state.h"
#include "coordinator/plan.h"

#define BACKUP_FLOOR_NS 1000000000ull

enum { BACKUP_SLOTS = 16 }; /* waiting slots tried for a backup copy in one go */

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

/* A queued job, or a new one of the next units; 0 when there is neither for this worker. */
static uint64_t next_job(struct dispatch *d, uint64_t worker, uint64_t now_ns)
{
    struct queue_counts c = queue_counts(d->queue);
    uint64_t job = queue_first(d->queue, worker, dispatch_alone(d));
    if (job == 0 && c.jobs_queued > 0) {
        job = queue_first(d->queue, worker, true);
        job = avoided_by_all(d, job, now_ns) ? job : 0;
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
    if (queue_make(d->queue, LIMIT_JOB_UNITS, plan_job_rows(&load), &job) != OK) {
        d->out_of_memory = true;
        return 0;
    }
    return job;
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
        uint64_t job = c.waiting + c.jobs_queued > 0 ? next_job(d, worker, now_ns) : 0;
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
