/* dispatch.h - the heart of the coordinator: one event in, actions out. It ties roster, queue,
 * lease and screen together, so that the shell (server) only turns messages into these calls and
 * actions into messages, and the simulator drives the same rules. Owns: those four, the credit for
 * payloads, the list of actions. Never: sockets, clocks, logs, payload bytes, sums. Pure; loop
 * thread; nothing blocks.
 *
 * How a job lives (GRADIENT):
 *   worker                      shell -> dispatch               action -> shell -> worker / reducer
 *   HELLO                       dispatch_hello                  (reply WELCOME from the return)
 *   PROBE digest                dispatch_probed                 (reply from the return)
 *   WANT slot, request id       dispatch_want                   ASSIGN job, attempt, units
 *   HEARTBEAT (job, attempt)*   dispatch_heartbeat              -
 *   ANNOUNCE rows, digest       dispatch_announce               CREDIT, or SETTLED stale / noted
 *   PAYLOAD                     dispatch_payload (OK: bytes to the reducer's queue)
 *   (reducer: added or not)     dispatch_summed                 SETTLED done / refused; CANCEL
 * copies
 *   ... last unit               -                               BATCH_DONE
 * A SCORE result carries its values with it: dispatch_result, which is announce and sum in one.
 *
 * Rules
 * - A want is parked until there is work; the same (slot, request id) again is answered again, or
 *   parked again when its job was given back unsent (dispatch_release). Likewise an announcement:
 *   the same (worker, job, attempt) again gets its CREDIT again.
 * - Waiting units become jobs when a slot asks, sized by plan_job_rows; jobs that lost their
 *   attempt go first, cut into smaller ones when other slots stand idle.
 * - A slot without work gets a backup copy of the job that has run longest alone, once that has
 *   run 1.5 times as long as expected (not before 1 s).
 * - An audited job (audit.h) is given to a second host at once, before new units; its first result
 * is kept as an opinion, the second one's payload goes to the sum when both are the same.
 * - First valid result wins; a job that is settled answers STALE. At most
 *   LIMIT_RESULTS_LARGE_IN_FLIGHT payloads are asked for at a time, more when they are small (up
 *   to LIMIT_RESULTS_BYTES_IN_FLIGHT together); CREDIT lasts 60 s.
 * - After any call, drain dispatch_next until it says false.
 * - dispatch_tick at least as often as it asks for; a tick that comes more than 0.5 s late shifts
 * all deadlines: let messages that wait in sockets in first, then tick. */
#ifndef PFT_DISPATCH_H
#define PFT_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "coordinator/audit.h"
#include "coordinator/queue.h"
#include "coordinator/roster.h"
#include "coordinator/screen.h"

struct dispatch_config {
    bool strict;
    uint32_t epoch;         /* new for every start of the coordinator; keeps job ids apart */
    uint64_t job_target_ns; /* most a job should take; 0 = 6 s */
    uint64_t payload_bytes; /* of a gradient; 0 = large */
    bool has_probe;         /* the run's digest is known (run.db) */
    uint8_t probe[HASH_XXH128_BYTES];
    double audit_rate; /* audit.h; 0: off */
    uint8_t audit_secret[AUDIT_SECRET_BYTES];
    const char *audit_book; /* of an earlier start (audit_load); NULL: none */
};

enum dispatch_act {
    DISPATCH_ASSIGN,     /* worker, slot, request, job, attempt: send the job's units */
    DISPATCH_CREDIT,     /* worker, job, attempt: ask for the payload */
    DISPATCH_SETTLED,    /* worker, job, attempt, code: OK counted; ERR_STALE too late; ERR_BUSY
                            noted, a second opinion is wanted; ERR_REFUSED not usable */
    DISPATCH_CANCEL,     /* worker, slot, job, attempt: stop computing it, nobody wants it */
    DISPATCH_PROBE,      /* worker: its arithmetic is in doubt, it must probe again */
    DISPATCH_QUARANTINE, /* worker: gets no jobs for a while; text says why */
    DISPATCH_GONE,       /* worker (and name): forgotten; text says why. Tell it if it can hear */
    DISPATCH_PROBE_SET,  /* the first probe became the run's digest: store dispatch_probe_digest */
    DISPATCH_RESTART,    /* the open batch starts again: the reducer's sum must be zeroed before any
                            later payload */
    DISPATCH_BATCH_DONE, /* tag: every unit is counted */
    DISPATCH_STOP,       /* the run cannot go on; text says why (unit, workers) */
    DISPATCH_SUSPECT, /* steps tag to job hold results of a worker that lost an audit, given since
                         its last good one; text names it */
    DISPATCH_NOTE,    /* nothing to do; text is worth a log line */
};

enum { DISPATCH_TEXT_BYTES = 256 };

struct dispatch_action {
    enum dispatch_act act;
    enum err code;
    uint32_t slot, attempt, tag;
    uint64_t worker, job, request;
    char text[DISPATCH_TEXT_BYTES];
};

struct dispatch_batch {
    enum job_kind kind;
    uint32_t tag; /* step, or PLAN_EVAL_TAG | number */
    uint32_t n_units;
    const uint64_t *unit_ids; /* [n_units]; copied */
    const uint32_t *rows;     /* tokens of each; copied */
};

struct dispatch_result {
    uint64_t worker, job;
    uint32_t attempt;
    uint32_t n_rows;
    const struct result_row *rows; /* must name the job's units in order */
    uint8_t digest[HASH_XXH128_BYTES];
    uint64_t compute_ns; /* what the worker says it computed; 0: it does not say */
};

struct dispatch_running {
    uint64_t job;
    uint32_t attempt;
};

struct dispatch;

MUST_USE enum err dispatch_new(const struct dispatch_config *cfg, struct dispatch **out);
void dispatch_free(struct dispatch **d);

/* The run cannot go on: DISPATCH_STOP with this text is the next action but for those under way. */
void dispatch_stop(struct dispatch *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The next action, oldest first; false when there is none. */
bool dispatch_next(struct dispatch *d, struct dispatch_action *out);

/* Workers. hello: OK = send the welcome (again) to *worker, which must then probe; ERR_REFUSED and
 * others = send e->text and forget the peer. probed: OK = ready (or marked, in a relaxed run);
 * ERR_REFUSED = other arithmetic in a strict run: the worker is gone. */
MUST_USE enum err dispatch_hello(struct dispatch *d, const struct roster_hello *hello,
                                 uint64_t now_ns, uint64_t *worker, struct errbuf *e);
MUST_USE enum err dispatch_probed(struct dispatch *d, uint64_t worker,
                                  const uint8_t digest[HASH_XXH128_BYTES], uint64_t now_ns,
                                  struct errbuf *e);
const uint8_t *dispatch_probe_digest(const struct dispatch *d); /* NULL while unknown */
/* The run's digest, computed on the coordinator's machine; nothing changes once one is known. */
void dispatch_expect_probe(struct dispatch *d, const uint8_t digest[HASH_XXH128_BYTES]);
void dispatch_heartbeat(struct dispatch *d, uint64_t worker, const struct dispatch_running *running,
                        uint32_t n, uint64_t now_ns);
/* What a heartbeat says the worker has computed in all: for the status only. */
void dispatch_computed(struct dispatch *d, uint64_t worker, uint64_t computed_ms, uint64_t now_ns);
void dispatch_drain(struct dispatch *d, uint64_t worker, uint64_t now_ns);
/* BYE, unreachable socket, or refused: its jobs go back at once. */
void dispatch_gone(struct dispatch *d, uint64_t worker, const char *why, uint64_t now_ns);
/* Its socket is full (true) or writable again (false). */
void dispatch_slow(struct dispatch *d, uint64_t worker, bool slow, uint64_t now_ns);
/* A malformed or impossible message of its: one strike. */
void dispatch_blame(struct dispatch *d, uint64_t worker, const char *why, uint64_t now_ns);

/* Work. Unknown workers, slots and jobs are counted and ignored. */
void dispatch_want(struct dispatch *d, uint64_t worker, uint32_t slot, uint64_t request,
                   uint64_t now_ns);
/* The worker gives back a job it has, or a result that it announced and does not have any more. */
void dispatch_release(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                      uint64_t now_ns);
/* The worker cannot compute it (not finite, out of memory, ...): text for the message. */
void dispatch_failed(struct dispatch *d, uint64_t worker, uint64_t job, uint32_t attempt,
                     const char *text, uint64_t now_ns);
void dispatch_announce(struct dispatch *d, const struct dispatch_result *result, uint64_t now_ns);
/* OK: the payload was asked for, hand it to the reducer, who must answer with dispatch_summed.
 * ERR_STALE: drop it. */
MUST_USE enum err dispatch_payload(struct dispatch *d, uint64_t worker, uint64_t job,
                                   uint32_t attempt, uint64_t now_ns);
/* code: OK added; ERR_CORRUPT digest differs, ERR_RANGE shape or bound: the worker gets a strike.
 */
void dispatch_summed(struct dispatch *d, uint64_t job, enum err code, uint64_t now_ns);
/* SCORE: OK = take the values now, each unit once; ERR_STALE = drop them. SETTLED follows. */
MUST_USE enum err dispatch_result(struct dispatch *d, const struct dispatch_result *result,
                                  uint64_t now_ns);

/* Batches. open: the earlier one must be done (or is given up). committed: norms of that step may
 * widen the bands. pause: no new assignments (degraded, draining). */
MUST_USE enum err dispatch_open(struct dispatch *d, const struct dispatch_batch *batch,
                                uint64_t now_ns);
void dispatch_committed(struct dispatch *d, uint32_t tag);
void dispatch_pause(struct dispatch *d, bool paused, uint64_t now_ns);

/* Deadlines, silence, quarantine, backup copies. Returns the ns until it must be called again. */
uint64_t dispatch_tick(struct dispatch *d, uint64_t now_ns);

/* Reading: the job of an ASSIGN (units are indices of the batch), counts, workers. */
const struct job *dispatch_job(const struct dispatch *d, uint64_t job);
struct queue_counts dispatch_counts(const struct dispatch *d);
/* What is known of the workers, for a later start (audit_dump). */
void dispatch_audit_book(const struct dispatch *d, struct str *out);
const struct roster *dispatch_roster(const struct dispatch *d);

struct dispatch_stats {
    uint64_t assigned, backups, stale, lost, failed, released, refused, noted, restarts, unknown;
    uint64_t audits;      /* copies given out because of an audit */
    uint64_t confirmed;   /* units that two hosts agreed on */
    uint64_t unconfirmed; /* units that were to be audited, and no second host was left */
    uint64_t mismatches;  /* audits that ended with two different results */
    uint32_t in_flight, credit_waiting;
    bool open, done, paused, stopped;
    uint32_t tag;
};
struct dispatch_stats dispatch_stats(const struct dispatch *d);

#endif
