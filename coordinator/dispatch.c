/* dispatch.c - workers, batches, time. Results are in settle.c, assignments in
 * assign.c. */
#include "coordinator/dispatch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/dispatch_state.h"

#define STALL_NS 500000000ull
#define JOB_TARGET_NS 6000000000ull
#define BACKUP_POLL_NS 200000000ull

/* Few large payloads under way bound the memory; many small ones keep the way busy. */
static uint32_t credits_of(uint64_t payload_bytes)
{
    uint64_t n = payload_bytes ? LIMIT_RESULTS_BYTES_IN_FLIGHT / payload_bytes : 0;
    n = n > LIMIT_RESULTS_LARGE_IN_FLIGHT ? n : LIMIT_RESULTS_LARGE_IN_FLIGHT;
    return n < LIMIT_RESULTS_IN_FLIGHT ? (uint32_t)n : LIMIT_RESULTS_IN_FLIGHT;
}

enum err dispatch_new(const struct dispatch_config *cfg, struct dispatch **out)
{
    struct dispatch *d = mem_calloc(1, sizeof *d);
    if (!d) {
        return ERR_NOMEM;
    }
    d->cfg = *cfg;
    d->credits = credits_of(cfg->payload_bytes);
    if (d->cfg.job_target_ns == 0) {
        d->cfg.job_target_ns = JOB_TARGET_NS;
    }
    enum err error = queue_new(cfg->epoch << 20, &d->queue);
    error = error == OK ? roster_new(&d->roster) : error;
    error = error == OK ? leases_new(&d->leases) : error;
    error = error == OK ? screen_new(&d->screen) : error;
    error = error == OK ? audit_new(cfg->audit_rate, cfg->audit_secret, &d->audit) : error;
    if (error != OK) {
        dispatch_free(&d);
        return error;
    }
    if (cfg->audit_book && audit_load(d->audit, cfg->audit_book) != OK) {
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_NOTE},
                     "what run.db holds about earlier audits cannot be read");
    }
    *out = d;
    return OK;
}

void dispatch_free(struct dispatch **d)
{
    if (*d) {
        queue_free(&(*d)->queue);
        roster_free(&(*d)->roster);
        leases_free(&(*d)->leases);
        screen_free(&(*d)->screen);
        audit_free(&(*d)->audit);
        mem_free((*d)->actions);
        mem_free((*d)->line);
        mem_free((*d)->unit_ids);
        mem_free(*d);
        *d = NULL;
    }
}

static bool grow_actions(struct dispatch *d)
{
    size_t old = d->actions_capacity;
    if (mem_grow((void **)&d->actions, &d->actions_capacity, old + 1, sizeof *d->actions,
                 ACTIONS_MAX) != OK) {
        d->out_of_memory = true;
        return false;
    }
    /* What had wrapped round goes behind the rest again. */
    size_t wrapped =
        d->actions_first + d->actions_count > old ? d->actions_first + d->actions_count - old : 0;
    CHECK(old + wrapped <= d->actions_capacity);
    memcpy(d->actions + old, d->actions, wrapped * sizeof *d->actions);
    return true;
}

static struct dispatch_action *append(struct dispatch *d, struct dispatch_action action)
{
    if (d->actions_count == d->actions_capacity && !grow_actions(d)) {
        return NULL;
    }
    size_t at = (d->actions_first + d->actions_count++) % d->actions_capacity;
    d->actions[at] = action;
    return &d->actions[at];
}

void dispatch_act(struct dispatch *d, struct dispatch_action action, const char *fmt, ...)
{
    struct dispatch_action *to = append(d, action);
    if (to && fmt) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(to->text, sizeof to->text, fmt, args);
        va_end(args);
    }
}

void dispatch_stop(struct dispatch *d, const char *fmt, ...)
{
    struct dispatch_action *to = append(d, (struct dispatch_action){.act = DISPATCH_STOP});
    d->stats.stopped = true;
    if (to) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(to->text, sizeof to->text, fmt, args);
        va_end(args);
    }
}

bool dispatch_next(struct dispatch *d, struct dispatch_action *out)
{
    if (d->actions_count > 0) {
        *out = d->actions[d->actions_first];
        d->actions_first = (d->actions_first + 1) % d->actions_capacity;
        d->actions_count--;
        return true;
    }
    if (d->out_of_memory) {
        d->out_of_memory = false;
        d->stats.stopped = true;
        *out = (struct dispatch_action){.act = DISPATCH_STOP};
        (void)snprintf(out->text, sizeof out->text, "%s", err_text(ERR_NOMEM));
        return true;
    }
    return false;
}

/* Our own stall is noticed by the first event or tick after it, before anything is judged late. */
void dispatch_wake(struct dispatch *d, uint64_t now_ns)
{
    if (d->last_tick_ns == 0 || now_ns <= d->last_tick_ns + d->promised_ns + STALL_NS) {
        return;
    }
    uint64_t lost = now_ns - d->last_tick_ns - d->promised_ns;
    lease_shift(d->leases, lost);
    roster_shift(d->roster, lost);
    for (uint32_t i = 0; i < d->n_credited; i++) {
        d->credited[i].until_ns += lost;
    }
    d->last_tick_ns = now_ns;
}

bool dispatch_alone(const struct dispatch *d)
{
    return roster_ready_count(d->roster) <= 1;
}

const char *dispatch_name(const struct dispatch *d, uint64_t worker)
{
    const struct worker *w = roster_get(d->roster, worker);
    return w ? w->name : "(gone)";
}

int dispatch_slot(const struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt)
{
    const struct worker *w = roster_get(d->roster, worker);
    for (uint32_t s = 0; w && s < w->n_slots; s++) {
        const struct roster_slot *slot = &w->slots[s];
        if (slot->state == SLOT_BUSY && slot->job == job && slot->attempt == attempt) {
            return (int)s;
        }
    }
    return -1;
}

void dispatch_free_slot(struct dispatch *d, uint64_t worker, uint32_t slot, bool measured,
                        uint64_t now_ns)
{
    struct worker *w = roster_get(d->roster, worker);
    CHECK(w && slot < w->n_slots && w->slots[slot].state == SLOT_BUSY);
    lease_end(d->leases, w->slots[slot].lease, measured, now_ns);
    roster_free_slot(d->roster, worker, slot);
}

/* A job whose attempt is over and that other slots could share is cut into smaller ones. */
static void split_if_useful(struct dispatch *d, uint64_t id)
{
    const struct job *job = queue_job(d->queue, id);
    if (job && job->state == JOB_QUEUED && job->n_units > 1 && job->n_avoid == 0 &&
        !screen_has_case(d->screen, id) && roster_waiting_slots(d->roster) > 1) {
        CHECK(queue_split(d->queue, id) == OK);
    }
}

static void count_end(struct dispatch *d, enum attempt_end why)
{
    d->stats.lost += why == ATTEMPT_LOST;
    d->stats.failed += why == ATTEMPT_FAILED;
    d->stats.released += why == ATTEMPT_RELEASED;
}

void dispatch_end(struct dispatch *d, uint64_t job, uint32_t attempt, enum attempt_end why,
                  const char *text, uint64_t now_ns)
{
    const struct job *j = queue_job(d->queue, job);
    for (uint32_t i = 0; j && i < j->n_live; i++) {
        if (j->live[i].number == attempt) {
            int slot = dispatch_slot(d, j->live[i].worker, job, attempt);
            if (slot >= 0) {
                dispatch_free_slot(d, j->live[i].worker, (uint32_t)slot, false, now_ns);
            }
            count_end(d, why);
            break;
        }
    }
    if (why == ATTEMPT_FAILED && text) {
        (void)snprintf(d->failure, sizeof d->failure, "%s", text);
    }
    bool buried = false;
    queue_end(d->queue, job, attempt, why, dispatch_alone(d), &buried);
    if (buried) {
        j = queue_job(d->queue, job);
        text = j->failures > 0 ? d->failure : text;
        dispatch_stop(d, "unit %llu of tag %u (first of %u): %u attempts failed, %u were lost: %s",
                      (unsigned long long)(d->unit_ids[j->units[0]] & UINT32_MAX), d->stats.tag,
                      j->n_units, j->failures, j->losses, text ? text : "no result");
    } else {
        split_if_useful(d, job);
    }
}

void dispatch_end_slot(struct dispatch *d, uint64_t worker, uint32_t slot, enum attempt_end why,
                       const char *text, uint64_t now_ns)
{
    const struct worker *w = roster_get(d->roster, worker);
    CHECK(w && slot < w->n_slots && w->slots[slot].state == SLOT_BUSY);
    uint64_t job = w->slots[slot].job;
    uint32_t attempt = w->slots[slot].attempt;
    dispatch_end(d, job, attempt, why, text, now_ns);
    if (w->slots[slot].state == SLOT_BUSY && w->slots[slot].job == job &&
        w->slots[slot].attempt == attempt) {
        dispatch_free_slot(d, worker, slot, false, now_ns);
    }
}

/* Ends everything a worker computes, then forgets it. */
static void forget(struct dispatch *d, uint64_t worker, enum attempt_end why, const char *text,
                   uint64_t now_ns)
{
    struct worker *w = roster_get(d->roster, worker);
    if (!w) {
        return;
    }
    for (uint32_t s = 0; s < w->n_slots; s++) {
        if (w->slots[s].state == SLOT_BUSY) {
            dispatch_end_slot(d, worker, s, why, text, now_ns);
        }
    }
    settle_gone(d, worker, now_ns);
    dispatch_act(d, (struct dispatch_action){.act = DISPATCH_GONE, .worker = worker}, "%s: %s",
                 w->name, text);
    roster_remove(d->roster, worker);
}

void dispatch_gone(struct dispatch *d, uint64_t worker, const char *why, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    const struct worker *w = roster_get(d->roster, worker);
    bool polite = w && w->leaving;
    forget(d, worker, polite ? ATTEMPT_RELEASED : ATTEMPT_LOST, why, now_ns);
    dispatch_pump(d, now_ns);
}

enum err dispatch_hello(struct dispatch *d, const struct roster_hello *hello, uint64_t now_ns,
                        uint64_t *worker, struct errbuf *e)
{
    dispatch_wake(d, now_ns);
    uint64_t replaced = 0;
    enum err error = roster_hello(d->roster, hello, now_ns, worker, &replaced, e);
    if (error == OK) {
        screen_rename(d->screen, audit_joined(d->audit, *worker, hello->name), *worker);
    }
    if (error == OK && replaced) {
        forget(d, replaced, ATTEMPT_LOST, "a newer session of it said hello", now_ns);
        dispatch_pump(d, now_ns);
    }
    return error;
}

void dispatch_expect_probe(struct dispatch *d, const uint8_t digest[HASH_XXH128_BYTES])
{
    if (!d->cfg.has_probe) {
        d->cfg.has_probe = true;
        memcpy(d->cfg.probe, digest, sizeof d->cfg.probe);
    }
}

enum err dispatch_probed(struct dispatch *d, uint64_t worker,
                         const uint8_t digest[HASH_XXH128_BYTES], uint64_t now_ns, struct errbuf *e)
{
    dispatch_wake(d, now_ns);
    const struct worker *w = roster_get(d->roster, worker);
    if (!w) {
        return err_set(e, ERR_GONE, "the worker is not known (any more): say hello again");
    }
    roster_heard(d->roster, worker, now_ns);
    if (w->state != WORKER_PROBING) {
        return OK;
    }
    if (!d->cfg.has_probe) {
        d->cfg.has_probe = true;
        memcpy(d->cfg.probe, digest, sizeof d->cfg.probe);
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_PROBE_SET, .worker = worker},
                     NULL);
    }
    bool same = memcmp(digest, d->cfg.probe, sizeof d->cfg.probe) == 0;
    if (!same && d->cfg.strict) {
        enum err error = err_set(e, ERR_REFUSED,
                                 "worker %s (core type %s) computes other bits than this run; set "
                                 "strict: false to admit it, or kernels: to what all can run",
                                 w->name, w->core_type);
        forget(d, worker, ATTEMPT_LOST, "its probe differs from the run's", now_ns);
        dispatch_pump(d, now_ns);
        return error;
    }
    roster_ready(d->roster, worker, !same);
    dispatch_pump(d, now_ns);
    return OK;
}

const uint8_t *dispatch_probe_digest(const struct dispatch *d)
{
    return d->cfg.has_probe ? d->cfg.probe : NULL;
}

void dispatch_heartbeat(struct dispatch *d, uint64_t worker, const struct dispatch_running *running,
                        uint32_t n, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    const struct worker *w = roster_get(d->roster, worker);
    roster_heard(d->roster, worker, now_ns);
    for (uint32_t i = 0; w && i < n; i++) {
        int slot = dispatch_slot(d, worker, running[i].job, running[i].attempt);
        if (slot >= 0) {
            lease_renew(d->leases, w->slots[slot].lease, now_ns);
        }
    }
}

void dispatch_computed(struct dispatch *d, uint64_t worker, uint64_t computed_ms, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_computed(d->roster, worker, computed_ms, now_ns);
}

void dispatch_drain(struct dispatch *d, uint64_t worker, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_heard(d->roster, worker, now_ns);
    roster_drain(d->roster, worker);
}

void dispatch_slow(struct dispatch *d, uint64_t worker, bool slow, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    roster_slow(d->roster, worker, slow);
    if (!slow) {
        dispatch_pump(d, now_ns);
    }
}

void dispatch_quarantine(struct dispatch *d, uint64_t worker, bool certain, const char *why,
                         uint64_t now_ns)
{
    struct worker *w = roster_get(d->roster, worker);
    if (!w || !roster_strike(d->roster, worker, certain, now_ns)) {
        return;
    }
    for (uint32_t s = 0; s < w->n_slots; s++) {
        if (w->slots[s].state == SLOT_BUSY) {
            dispatch_end_slot(d, worker, s, ATTEMPT_RELEASED, why, now_ns);
        }
    }
    dispatch_act(d, (struct dispatch_action){.act = DISPATCH_QUARANTINE, .worker = worker},
                 "%s: %s", w->name, why);
}

void dispatch_blame(struct dispatch *d, uint64_t worker, const char *why, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    dispatch_quarantine(d, worker, false, why, now_ns);
    dispatch_pump(d, now_ns);
}

void dispatch_want(struct dispatch *d, uint64_t worker, uint32_t slot, uint64_t request,
                   uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    struct worker *w = roster_get(d->roster, worker);
    if (!w || slot >= w->n_slots) {
        d->stats.unknown++;
        return;
    }
    roster_heard(d->roster, worker, now_ns);
    roster_asked(d->roster, worker, now_ns);
    struct roster_slot *s = &w->slots[slot];
    if (request == s->request && s->state == SLOT_WAITING && w->state == WORKER_PROBING) {
        /* It asks on, so it was not told, or has not heard, that it must probe again. */
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_PROBE, .worker = worker},
                     "%s: asked again", w->name);
        return;
    }
    if (request < s->request || (request == s->request && s->state == SLOT_WAITING)) {
        return; /* an old request, or one that waits already */
    }
    if (request == s->request && s->state == SLOT_BUSY) {
        dispatch_act(d,
                     (struct dispatch_action){.act = DISPATCH_ASSIGN,
                                              .worker = worker,
                                              .slot = slot,
                                              .request = request,
                                              .job = s->job,
                                              .attempt = s->attempt},
                     NULL);
        return;
    }
    if (s->state == SLOT_BUSY) { /* it dropped that job without a word */
        dispatch_end_slot(d, worker, slot, ATTEMPT_RELEASED, NULL, now_ns);
    }
    roster_wait(d->roster, worker, slot, request);
    dispatch_pump(d, now_ns);
}

void dispatch_cancel_stale(struct dispatch *d, uint64_t now_ns)
{
    for (uint32_t i = 0; i < roster_count(d->roster); i++) {
        const struct worker *w = roster_at(d->roster, i);
        for (uint32_t s = 0; w->busy > 0 && s < w->n_slots; s++) {
            const struct roster_slot *slot = &w->slots[s];
            if (slot->state != SLOT_BUSY || queue_job(d->queue, slot->job)) {
                continue;
            }
            dispatch_act(d,
                         (struct dispatch_action){.act = DISPATCH_CANCEL,
                                                  .worker = w->id,
                                                  .slot = s,
                                                  .job = slot->job,
                                                  .attempt = slot->attempt},
                         NULL);
            dispatch_free_slot(d, w->id, s, false, now_ns);
        }
    }
}

enum err dispatch_open(struct dispatch *d, const struct dispatch_batch *batch, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    uint64_t *ids = mem_calloc(batch->n_units, sizeof *ids);
    if (!ids) {
        return ERR_NOMEM;
    }
    enum err error = queue_open(d->queue, batch->kind, batch->rows, batch->n_units);
    if (error != OK) {
        mem_free(ids);
        return error;
    }
    memcpy(ids, batch->unit_ids, batch->n_units * sizeof *ids);
    mem_free(d->unit_ids);
    d->unit_ids = ids;
    d->kind = batch->kind;
    d->stats.open = true;
    d->stats.done = false;
    d->stats.tag = batch->tag;
    screen_close_all(d->screen);
    screen_drop(d->screen);
    settle_restart(d);
    dispatch_cancel_stale(d, now_ns);
    dispatch_pump(d, now_ns);
    return OK;
}

void dispatch_committed(struct dispatch *d, uint32_t tag)
{
    screen_committed(d->screen, tag);
}

void dispatch_pause(struct dispatch *d, bool paused, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    d->stats.paused = paused;
    dispatch_pump(d, now_ns);
}

static void tick_leases(struct dispatch *d, uint64_t now_ns)
{
    uint32_t due;
    while ((due = lease_due(d->leases, now_ns)) != UINT32_MAX) {
        const struct lease lease = *lease_get(d->leases, due);
        dispatch_act(d,
                     (struct dispatch_action){.act = DISPATCH_CANCEL,
                                              .worker = lease.worker,
                                              .slot = lease.slot,
                                              .job = lease.job,
                                              .attempt = lease.attempt},
                     NULL);
        dispatch_end_slot(d, lease.worker, lease.slot, ATTEMPT_LOST, "its deadline passed", now_ns);
    }
}

uint64_t dispatch_tick(struct dispatch *d, uint64_t now_ns)
{
    dispatch_wake(d, now_ns);
    uint64_t worker;
    while ((worker = roster_silent(d->roster, now_ns)) != 0) {
        forget(d, worker, ATTEMPT_LOST, "nothing was heard of it", now_ns);
    }
    while ((worker = roster_released(d->roster, now_ns)) != 0) {
        dispatch_act(d, (struct dispatch_action){.act = DISPATCH_PROBE, .worker = worker},
                     "quarantine is over");
    }
    tick_leases(d, now_ns);
    settle_tick(d, now_ns);
    dispatch_pump(d, now_ns);
    uint64_t sleep = lease_sleep_ns(d->leases, now_ns);
    uint64_t other = roster_sleep_ns(d->roster, now_ns);
    sleep = other < sleep ? other : sleep;
    other = settle_sleep_ns(d, now_ns);
    sleep = other < sleep ? other : sleep;
    if (roster_waiting_slots(d->roster) > 0 && queue_counts(d->queue).jobs_leased > 0 &&
        sleep > BACKUP_POLL_NS) {
        sleep = BACKUP_POLL_NS; /* a backup copy may become due */
    }
    sleep = sleep < 1000000000ull ? sleep : 1000000000ull;
    d->last_tick_ns = now_ns;
    d->promised_ns = sleep;
    return sleep;
}

const struct job *dispatch_job(const struct dispatch *d, uint64_t job)
{
    return queue_job(d->queue, job);
}

struct queue_counts dispatch_counts(const struct dispatch *d)
{
    return queue_counts(d->queue);
}

void dispatch_audit_book(const struct dispatch *d, struct str *out)
{
    if (audit_on(d->audit)) {
        audit_dump(d->audit, out);
    }
}

const struct roster *dispatch_roster(const struct dispatch *d)
{
    return d->roster;
}

struct dispatch_stats dispatch_stats(const struct dispatch *d)
{
    struct dispatch_stats stats = d->stats;
    stats.in_flight = d->n_credited;
    stats.credit_waiting = (uint32_t)d->line_count;
    return stats;
}
