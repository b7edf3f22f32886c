/* dispatch_state.h - what dispatch.c (workers, batches, time), assign.c (who gets which job),
 * settle.c and settle_judge.c (results) share. Private to those four. */
#ifndef PFT_DISPATCH_STATE_H
#define PFT_DISPATCH_STATE_H

#include "coordinator/audit.h"
#include "coordinator/dispatch.h"
#include "coordinator/lease.h"

#define CREDIT_NS 60000000000ull

enum { ACTIONS_MAX = 1 << 20, TRANSFERS_MAX = 1 << 20 };

/* A payload under way: accepted, asked for, handed to the reducer. */
enum transfer_state { TRANSFER_CREDITED, TRANSFER_SUMMING };

struct transfer {
    uint64_t worker, job;
    uint32_t attempt;
    enum transfer_state state;
    uint64_t until_ns; /* CREDITED: the payload must be here; moved by a stall */
    uint64_t since_ns; /* of its credit */
    bool dropped;      /* its batch started again or is over: only the credit counts */
};

struct dispatch {
    struct dispatch_config cfg;
    struct queue *queue;
    struct roster *roster;
    struct leases *leases;
    struct screen *screen;
    struct audit *audit;
    struct dispatch_action *actions; /* a ring */
    size_t actions_capacity, actions_first, actions_count;
    struct transfer credited[LIMIT_RESULTS_IN_FLIGHT];
    uint32_t n_credited, credits; /* at most */
    struct transfer *line;        /* accepted, waiting for credit: oldest at line_first */
    size_t line_capacity, line_first, line_count;
    enum job_kind kind;
    uint64_t *unit_ids;
    uint64_t last_tick_ns, promised_ns, next_backup_ns;
    uint64_t summed_ns; /* when a payload was last added */
    uint64_t way_ns;    /* measured: what one payload takes of the way from worker to sum */
    struct dispatch_stats stats;
    char failure[DISPATCH_TEXT_BYTES]; /* what the last failed attempt said */
    bool out_of_memory;                /* an action was lost: the run stops */
};

/* Appends an action; text may be NULL. */
void dispatch_act(struct dispatch *d, struct dispatch_action action, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Called first by every event: shifts all deadlines when the coordinator itself was away. */
void dispatch_wake(struct dispatch *d, uint64_t now_ns);
/* Frees every slot that computes a job of an earlier serial and tells its worker. */
void dispatch_cancel_stale(struct dispatch *d, uint64_t now_ns);

/* Ends a live attempt: lease, slot and queue; a job that cannot go on stops the run. */
void dispatch_end(struct dispatch *d, uint64_t job, uint32_t attempt, enum attempt_end why,
                  const char *text, uint64_t now_ns);
/* The same for what a BUSY slot computes; the slot is free afterwards in any case. */
void dispatch_end_slot(struct dispatch *d, uint64_t worker, uint32_t slot, enum attempt_end why,
                       const char *text, uint64_t now_ns);
/* The slot that computes (job, attempt) for the worker; -1 when none does. */
int dispatch_slot(const struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt);
/* Frees the slot of a live attempt; measured = its duration counts. */
void dispatch_free_slot(struct dispatch *d, uint64_t worker, uint32_t slot, bool measured,
                        uint64_t now_ns);
/* Gives waiting slots work while there is any. */
void dispatch_pump(struct dispatch *d, uint64_t now_ns);
bool dispatch_alone(const struct dispatch *d);
/* The machine of a worker as a number; 0 when it is not known. */
uint64_t dispatch_host(const struct dispatch *d, uint64_t worker);
/* Whether a worker of another host than that asks for jobs, one that the job (NULL: any) does not
 * avoid. */
bool dispatch_other_host(const struct dispatch *d, const struct job *job, uint64_t host,
                         uint64_t now_ns);
const char *dispatch_name(const struct dispatch *d, uint64_t worker);
void dispatch_quarantine(struct dispatch *d, uint64_t worker, bool certain, const char *why,
                         uint64_t now_ns);
/* What a worker hears about its result. */
void settle_answer(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                   enum err code);
/* OK: the job is SETTLING and the result wanted. Anything else has been answered. */
MUST_USE enum err settle_judge(struct dispatch *d, const struct dispatch_result *r,
                               uint64_t now_ns);
/* Credits of a worker that is gone, and of payloads that did not come in time. */
void settle_gone(struct dispatch *d, uint64_t worker, uint64_t now_ns);
void settle_tick(struct dispatch *d, uint64_t now_ns);
uint64_t settle_sleep_ns(const struct dispatch *d, uint64_t now_ns);
/* The batch starts again: what waits for credit is stale, what is under way will be. */
void settle_restart(struct dispatch *d);

#endif
