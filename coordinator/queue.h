/* queue.h - the jobs of the open batch: who changes a job's state is this file alone.
 * Owns: units, jobs, attempts. Never: time, deadlines (lease), workers (roster), sums (reduce).
 * Place: plan -> queue -> (dispatch) -> worker. Pure; loop thread; O(1) per operation.
 *
 * One batch is open at a time: the units of a training step, or those of an evaluation. Jobs are
 * made when work is asked for: a job is a list of units fixed when made, and every attempt of it
 * repeats the whole list. A unit belongs to one open job at most. A job's id is
 * serial << 32 | index, the serial new for every batch opened or restarted, so an id from an
 * earlier batch is known to be stale without keeping anything of it.
 *
 *            make             take              accept            settle OK
 *   (units) ------> QUEUED ----------> LEASED ----------> SETTLING ---------> DONE
 *                     ^  | bury        |  ^  |               |
 *                     |  +--> BURIED   |  |  | split         | settle, not OK
 *                     +----------------+  |  +--> CLOSED     | (QUEUED, or LEASED when another
 *                      last attempt ended +------------------+  attempt still runs)
 *
 *   state     | means                                    | a result of an attempt then is
 *   QUEUED    | no attempt runs                          | accepted (an attempt thought lost)
 *   LEASED    | 1..QUEUE_LIVE attempts run               | accepted: the first valid one wins
 *   SETTLING  | a result is on its way into the sum      | STALE, its hash compared
 *   DONE      | its units are counted                    | STALE, its hash compared
 *   CLOSED    | split: its units went to other jobs      | STALE
 *   BURIED    | failed too often: the step cannot finish | STALE
 *
 * An audited job is one that two hosts must agree on (audit.h): it stands in a line of its own
 * while a copy on another host is wanted. That is when its first attempt runs (LEASED) and when the
 * one result that is there is kept as an opinion (QUEUED). A host is a number here, 0 for unknown.
 */
#ifndef PFT_QUEUE_H
#define PFT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

enum {
    QUEUE_LIVE = 4,     /* attempts of a job that run at the same time */
    QUEUE_AVOID = 8,    /* workers remembered that failed or wait for a second opinion */
    QUEUE_SCAN = 32,    /* queued jobs looked at for one that the asking worker may take */
    QUEUE_FAILURES = 3, /* failed attempts (said so by the worker) that bury a job */
    QUEUE_LOSSES = 12,  /* attempts lost (death, deadline) that bury a job */
};

enum job_kind { JOB_GRADIENT, JOB_SCORE, JOB_GENERATE, JOB_CAPTURE, JOB_KINDS };
enum job_state { JOB_QUEUED, JOB_LEASED, JOB_SETTLING, JOB_DONE, JOB_CLOSED, JOB_BURIED };

/* Why an attempt ended without a result. */
enum attempt_end {
    ATTEMPT_RELEASED, /* given back politely: counts for nothing */
    ATTEMPT_LOST,     /* worker gone or deadline passed */
    ATTEMPT_FAILED,   /* the worker says that the job cannot be computed */
};

struct attempt {
    uint64_t worker;
    uint32_t number; /* 1, 2, ... of the job */
    uint32_t slot;   /* of the worker */
    uint64_t grant;  /* 1, 2, ... of the queue: the order in which attempts were given out */
};

struct job {
    uint64_t id;
    enum job_state state;
    uint32_t n_units;
    const uint32_t *units; /* indices of the batch; set by queue_job, valid until the next make */
    uint32_t rows;         /* tokens of its units */
    uint32_t attempts;     /* started so far */
    uint32_t failures, losses;
    uint32_t n_live;
    struct attempt live[QUEUE_LIVE];
    uint32_t n_avoid;
    uint64_t avoid[QUEUE_AVOID];       /* workers that failed it */
    uint64_t failed_by;                /* the first worker that failed it */
    bool many_failed;                  /* failures from two distinct workers */
    bool audit;                        /* a second host must give the same result */
    uint32_t opinions;                 /* results kept to be compared, not counted yet */
    uint64_t opinion_host;             /* of the only one */
    uint64_t winner;                   /* worker of the accepted result */
    uint8_t digest[HASH_XXH128_BYTES]; /* of the accepted result */
    uint32_t first;                    /* place of its units */
    uint32_t line, next, prev;         /* the line it stands in */
};

struct queue;

MUST_USE enum err queue_new(uint32_t first_serial, struct queue **out);
void queue_free(struct queue **q);

/* Opens a batch; what was open is forgotten. rows[i] = tokens of unit i. ERR_RANGE for a GRADIENT
 * or CAPTURE batch above LIMIT_STEP_UNITS units. */
MUST_USE enum err queue_open(struct queue *q, enum job_kind kind, const uint32_t *rows,
                             uint32_t n_units);
/* All units wait again under a new serial; every earlier job is stale. A job of exactly the units
 * of job `again` (0 = none) is made at once and put first in line: *id. */
MUST_USE enum err queue_restart(struct queue *q, uint64_t again, uint64_t *id);
void queue_close(struct queue *q); /* no batch is open any more */

/* Makes a job of the next waiting units, those with the most tokens first: one, and more while they
 * are at most n and have at most rows tokens together. QUEUED, at the end of the line. *id = 0 when
 * no unit waits. */
MUST_USE enum err queue_make(struct queue *q, uint32_t n, uint64_t rows, uint64_t *id);

/* The first queued job that worker may take, 0 when none; alone = it is the only worker there is,
 * then it may also repeat what it failed before. */
uint64_t queue_first(const struct queue *q, uint64_t worker, bool alone);

/* Units of the job that queue_make would make now, n at most; how many. */
uint32_t queue_peek(const struct queue *q, uint32_t n, uint64_t rows,
                    uint32_t units[LIMIT_JOB_UNITS]);

/* Puts a waiting unit, one that queue_peek gave, in front of all that wait. */
void queue_bring(struct queue *q, uint32_t unit);

/* Audits a job, or does so no more. */
void queue_audit(struct queue *q, uint64_t id, bool audit);
/* How many results of the job are kept as opinions now, and the host of the first. Call it before
 * the attempt that gave the last one is ended. */
void queue_opinions(struct queue *q, uint64_t id, uint32_t n, uint64_t host);
/* The audited jobs that want a copy on another host, longest in line first: the one after id
 * (0: the first); 0 when there is none. */
uint64_t queue_audited(const struct queue *q, uint64_t id);
/* Whether a result of worker is in the sum, or on its way there. */
bool queue_holds(const struct queue *q, uint64_t worker);

/* The leased job that has run longest with a single attempt, which is not worker's; 0 when none. */
uint64_t queue_slowest(const struct queue *q, uint64_t worker);

/* Starts an attempt (first or backup copy): LEASED; *number is its number. ERR_FULL at QUEUE_LIVE,
 * ERR_STATE when the job is not QUEUED or LEASED. */
MUST_USE enum err queue_take(struct queue *q, uint64_t id, uint64_t worker, uint32_t slot,
                             uint32_t *number);

/* An attempt ended without a result; unknown ones are ignored. *buried says that the job failed too
 * often: k failures from two distinct workers, or from one when alone. */
void queue_end(struct queue *q, uint64_t id, uint32_t number, enum attempt_end why, bool alone,
               bool *buried);

/* A valid result was announced: OK -> SETTLING (the attempt leaves the live ones), ERR_STALE when
 * the job is settled or unknown, ERR_CORRUPT when it is settled by a result with another digest. */
MUST_USE enum err queue_accept(struct queue *q, uint64_t id, uint32_t number, uint64_t worker,
                               const uint8_t digest[HASH_XXH128_BYTES]);
/* The accepted result is in the sum (ok) or could not be taken: DONE, or back in line. The attempts
 * still running stay in job->live for the caller to end. ERR_STALE when unknown or not SETTLING. */
MUST_USE enum err queue_settle(struct queue *q, uint64_t id, bool ok);

/* Puts worker on the job's avoid list (a second opinion is wanted from somebody else). */
void queue_avoid(struct queue *q, uint64_t id, uint64_t worker);

/* Closes a QUEUED or LEASED job and gives its units back, to be made into other jobs. */
MUST_USE enum err queue_split(struct queue *q, uint64_t id);

/* NULL when unknown (wrong batch, or no such index). Valid until the next call that makes a job. */
const struct job *queue_job(const struct queue *q, uint64_t id);

struct queue_counts {
    uint32_t units, waiting, leased, done; /* leased: units in QUEUED, LEASED or SETTLING jobs */
    uint32_t jobs, jobs_queued, jobs_leased;
    uint64_t rows, rows_waiting, rows_done; /* tokens */
    uint32_t serial;
};
struct queue_counts queue_counts(const struct queue *q);

#endif
