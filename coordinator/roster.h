/* roster.h - the workers of a run, by session.
 * Owns: state, slots, strikes, last sign of life of each worker. Never: sends, knows sockets, jobs'
 * states. Place: dispatch asks it who may work and what a silent worker held. Pure; loop thread.
 *
 * A worker has a name (stable, chosen by it) and a session epoch (higher after every reconnect).
 * HELLO with a known name and a higher epoch replaces the old session; the same epoch again is
 * answered again. Strikes belong to the name and survive a reconnect.
 *
 *            hello            probe fits          drain
 *   (none) --------> PROBING -----------> READY --------> DRAINING
 *                      ^  | probe differs   |                |
 *       back-off over  |  v (strict)        | strikes = 3    | bye, silence, unreachable
 *                      | refused: GONE      v                v
 *                      +------------- QUARANTINED -------> GONE (slot freed; any state leads here)
 *
 *   state       | gets jobs | note
 *   PROBING     | no        | its arithmetic is not proven (again) yet
 *   READY       | yes, unless slow (its socket is full)
 *   DRAINING    | no        | results of running jobs are still taken, if it was READY before
 *   QUARANTINED | no        | 30 s, doubling to 1 h with every further one; then PROBING; a drain
 *               |           | does not end it
 *
 * Silent for ROSTER_SILENCE_NS = gone. Anything heard counts as life. */
#ifndef PFT_ROSTER_H
#define PFT_ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"
#include "coordinator/utilisation.h"

enum {
    ROSTER_NAME_BYTES = 64, /* with the NUL */
    ROSTER_HOST_BYTES = 64,
    ROSTER_CORE_BYTES = 32,
    ROSTER_STRIKES = 3,
    ROSTER_RECORDS = 4096, /* names whose strikes are remembered */
};
#define ROSTER_SILENCE_NS 2500000000ull
#define ROSTER_ASKS_NS 10000000000ull
#define ROSTER_QUARANTINE_NS 30000000000ull
#define ROSTER_QUARANTINE_MAX_NS 3600000000000ull

enum worker_state { WORKER_PROBING, WORKER_READY, WORKER_DRAINING, WORKER_QUARANTINED };
enum { WORKER_STATES = WORKER_QUARANTINED + 1 };

enum slot_state { SLOT_IDLE, SLOT_WAITING, SLOT_BUSY };

struct roster_slot {
    enum slot_state state;
    uint64_t request; /* id of the last lease request; ids grow per slot */
    uint64_t job;     /* when BUSY */
    uint32_t attempt;
    uint32_t lease;                                          /* handle */
    uint32_t next_worker, next_slot, prev_worker, prev_slot; /* the line of waiting slots */
};

struct roster_hello {
    const char *name, *host, *core_type; /* cut to the sizes above */
    uint64_t epoch;
    uint32_t slots;
};

struct worker {
    uint64_t id; /* never used twice in the life of a coordinator */
    char name[ROSTER_NAME_BYTES], host[ROSTER_HOST_BYTES], core_type[ROSTER_CORE_BYTES];
    uint64_t epoch;
    enum worker_state state;
    bool proven;  /* its arithmetic fits: its results may be counted */
    bool leaving; /* it said that it drains */
    bool slow;    /* its socket is full: no new jobs */
    bool marked;  /* relaxed run: other arithmetic than the run's */
    uint32_t strikes;
    uint32_t n_slots, busy;
    struct roster_slot *slots;
    uint64_t joined_ns, heard_ns, quarantine_until_ns;
    uint64_t asked_ns; /* when a slot of it wanted a job last */
    uint64_t units_done, tokens_done;
    double tokens_per_s;        /* mean over about the last 30 s */
    uint32_t index, next, prev; /* place; the line by heard_ns */
    uint64_t rate_from_ns, rate_tokens;
    struct utilisation utilisation; /* since it is READY */
};

struct roster;

MUST_USE enum err roster_new(struct roster **out);
void roster_free(struct roster **r);

/* Enters a session in PROBING (QUARANTINED while its name is). *replaced = id of the older session
 * of that name, which is still entered: the caller ends its work and calls roster_remove; 0 when
 * none. The same (name, epoch) again gives the same id. ERR_FULL, ERR_RANGE (slots), ERR_STALE (an
 * older epoch). */
MUST_USE enum err roster_hello(struct roster *r, const struct roster_hello *hello, uint64_t now_ns,
                               uint64_t *id, uint64_t *replaced, struct errbuf *e);
/* Forgets a session (its strikes stay with the name). Its slots must be ended before. */
void roster_remove(struct roster *r, uint64_t id);

void roster_heard(struct roster *r, uint64_t id, uint64_t now_ns);
/* The arithmetic fits (or the run is relaxed and it is marked): PROBING -> READY. */
void roster_ready(struct roster *r, uint64_t id, bool marked);
/* Back to PROBING: the probe must be repeated before it gets another job. */
void roster_reprobe(struct roster *r, uint64_t id);
/* PROBING, READY -> DRAINING; nothing is proven by it, and a quarantine stays one. */
void roster_drain(struct roster *r, uint64_t id);
void roster_slow(struct roster *r, uint64_t id, bool slow);
/* One strike; true when that quarantines it (at once when certain). */
bool roster_strike(struct roster *r, uint64_t id, bool certain, uint64_t now_ns);

/* The next worker silent for too long / whose quarantine is over; 0 when none. */
uint64_t roster_silent(const struct roster *r, uint64_t now_ns);
uint64_t roster_released(struct roster *r, uint64_t now_ns);
uint64_t roster_sleep_ns(const struct roster *r, uint64_t now_ns);
/* Since anything was heard of it (times in struct worker are less all shifts). */
uint64_t roster_silence_ns(const struct roster *r, const struct worker *w, uint64_t now_ns);
/* A slot of it wants a job; requests that are not served are repeated within seconds. */
void roster_asked(struct roster *r, uint64_t id, uint64_t now_ns);
/* Whether a job may wait for it: it is READY and works, or has asked in the last ROSTER_ASKS_NS. */
bool roster_asks(const struct roster *r, const struct worker *w, uint64_t now_ns);
/* Our own stall: every sign of life moves by lost_ns. */
void roster_shift(struct roster *r, uint64_t lost_ns);

/* Slots. wait: IDLE or BUSY -> WAITING at the end of the line; first: the first waiting slot of a
 * worker that may work, false when none; hold: -> BUSY; free: -> IDLE. */
void roster_wait(struct roster *r, uint64_t id, uint32_t slot, uint64_t request);
bool roster_first(const struct roster *r, uint64_t *id, uint32_t *slot);
/* The waiting slot after (id, slot) in the line, so that one that cannot be served is passed by. */
bool roster_after(const struct roster *r, uint64_t *id, uint32_t *slot);
void roster_hold(struct roster *r, uint64_t id, uint32_t slot, uint64_t job, uint32_t attempt,
                 uint32_t lease);
void roster_free_slot(struct roster *r, uint64_t id, uint32_t slot);
/* Work done by it, for the status. */
void roster_done(struct roster *r, uint64_t id, uint32_t units, uint64_t tokens, uint64_t now_ns);

/* What its heartbeat says it has computed in all; counts while it may work. */
void roster_computed(struct roster *r, uint64_t id, uint64_t computed_ms, uint64_t now_ns);

/* NULL when gone. */
struct worker *roster_get(const struct roster *r, uint64_t id);
/* i-th worker entered, i < roster_count; for the status and for sweeps. */
const struct worker *roster_at(const struct roster *r, uint32_t i);
uint32_t roster_count(const struct roster *r);
uint32_t roster_ready_count(const struct roster *r);   /* READY workers */
uint32_t roster_ready_slots(const struct roster *r);   /* their slots */
uint32_t roster_waiting_slots(const struct roster *r); /* slots in line */

const char *worker_state_name(enum worker_state state);

#endif
