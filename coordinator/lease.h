/* lease.h - deadlines of the attempts that run, and what a token of work costs.
 * Owns: a heap of deadlines, the window of measured costs. Never: reads a clock, changes jobs.
 * Place: dispatch grants on assignment, renews on heartbeats, asks lease_due every turn. Pure; loop
 * thread; O(log n).
 *
 * Time. All times are the monotonic ns handed in. An attempt gets
 *     ttl = max(2 s, tokens * (median + 6 MAD of the measured ns per token))
 * and 60 s while nothing is measured. Its deadline is now + ttl; a heartbeat of the compute loop
 * that names the attempt moves it to (that) now + ttl, but never beyond granted + cap, the cap
 * being 20 ttl (at least 120 s): a worker that only pretends to work cannot hold a job for ever. A
 * deadline says nothing about other workers: results that come later are still taken while the job
 * is open. When the coordinator itself was away (a tick that came much later than promised),
 * lease_shift moves every deadline by the time lost: nobody expires because of our own stall. */
#ifndef PFT_LEASE_H
#define PFT_LEASE_H

#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/queue.h"

enum {
    LEASE_WINDOW = 64, /* measured costs kept, per kind of job */
    LEASE_MAX = LIMIT_WORKERS * LIMIT_SLOTS,
};
#define LEASE_FLOOR_NS 2000000000ull
#define LEASE_FIRST_NS 60000000000ull
#define LEASE_CAP_NS 120000000000ull

struct lease {
    uint64_t job;
    uint64_t worker;
    uint32_t attempt;
    uint32_t slot;
    uint32_t tokens;
    enum job_kind kind;
    uint64_t granted_ns; /* these three less all shifts; lease_elapsed_ns is for others */
    uint64_t deadline_ns;
    uint64_t ttl_ns;
    uint64_t cap_ns; /* latest deadline */
};

struct leases;

MUST_USE enum err leases_new(struct leases **out);
void leases_free(struct leases **l);

/* Fills ttl, deadline and cap from kind and tokens and stores it; *handle names it from now on. */
MUST_USE enum err lease_grant(struct leases *l, const struct lease *what, uint64_t now_ns,
                              uint32_t *handle);
void lease_renew(struct leases *l, uint32_t handle, uint64_t now_ns);
/* Ends a lease; measured = it brought a result, so its duration teaches the cost of a token. */
void lease_end(struct leases *l, uint32_t handle, bool measured, uint64_t now_ns);
const struct lease *lease_get(const struct leases *l, uint32_t handle);

uint64_t lease_elapsed_ns(const struct leases *l, uint32_t handle, uint64_t now_ns);

/* The next handle whose deadline has passed (it stays until lease_end), or UINT32_MAX. */
uint32_t lease_due(const struct leases *l, uint64_t now_ns);
/* Time until the next deadline; UINT64_MAX when there is none. */
uint64_t lease_sleep_ns(const struct leases *l, uint64_t now_ns);
/* The coordinator was away for lost_ns: every deadline, cap and grant moves by it. O(1). */
void lease_shift(struct leases *l, uint64_t lost_ns);

/* Expected ns from grant to result of tokens of work (the median); 0 while nothing is measured. */
uint64_t lease_expected_ns(const struct leases *l, enum job_kind kind, uint64_t tokens);

/* A result of a lease says that it was computed in spent_ns, without the ways of job, parameters
 * and result; 0 = it does not say, the time since the grant counts, which is also the most. */
void lease_computed(struct leases *l, uint32_t handle, uint64_t spent_ns, uint64_t now_ns);
/* What tokens of work cost to compute (the median); 0 while nothing is measured. */
uint64_t lease_cost_ns(const struct leases *l, enum job_kind kind, uint64_t tokens);
uint32_t leases_count(const struct leases *l);

#endif
