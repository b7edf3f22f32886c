/* audit.h - which units are computed on two hosts, and since when a worker's results are not
 * proven. Owns: the choice, what is known of each worker by its name. Never: jobs (queue), opinions
 * (screen), who is there (roster). Place: dispatch asks it. Pure; loop thread.
 *
 * A gradient that is wrong and within the band looks like any other; but the same unit has the same
 * bits wherever it is computed, so that computing it again on another host is an exact check. Each
 * unit is chosen with the chance `rate`, by a keyed hash of its id: the key never leaves the
 * coordinator, so nothing that a worker sees tells which (plan, seed and bits do not know of it).
 * While there is no band every unit is (dispatch decides that).
 *
 * A result is the sum of a list, and only a whole list can be compared. A chosen unit is therefore
 * made a list of its own, so that it costs one unit; but with chance 1 / 2n it stays in its list of
 * n, which is then repeated whole. So every list, of any size, is repeated with at least about half
 * the chance that its units have, being in a long one does not protect a lie, and all of it costs
 * at most 1.5 times the rate.
 *
 * A worker is known by its name. What it gave since its last good audit is not proven; when it
 * loses one, the steps that hold any of it are suspect, and from then on all it computes is
 * audited. */
#ifndef PFT_AUDIT_H
#define PFT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

enum { AUDIT_SECRET_BYTES = 16, AUDIT_RECORDS = 4096 };
#define AUDIT_NEVER UINT64_MAX

struct audit;

/* rate 0: never; 1: always. ERR_NOMEM. */
MUST_USE enum err audit_new(double rate, const uint8_t secret[AUDIT_SECRET_BYTES],
                            struct audit **out);
void audit_free(struct audit **a);

/* Whether there is any auditing, and whether the unit of this id is chosen. */
bool audit_on(const struct audit *a);
bool audit_samples(const struct audit *a, uint64_t unit);
/* Which of the n units that would make the next list is to be a list of its own; n: none. */
uint32_t audit_alone(const struct audit *a, const uint64_t *units, uint32_t n);

/* A session of the worker of that name begins; the id of the session before, 0 for none. */
uint64_t audit_joined(struct audit *a, uint64_t worker, const char *name);
/* A result of it went into the sum of a step and nobody repeated it. */
void audit_counted(struct audit *a, uint64_t worker, uint64_t step);
/* Another host gave the same for a unit of this step. */
void audit_passed(struct audit *a, uint64_t worker, uint64_t step);
/* It was found wrong. */
void audit_lost(struct audit *a, uint64_t worker);
/* All it computes is to be audited. */
bool audit_distrusts(const struct audit *a, uint64_t worker);

struct audit_suspects {
    uint64_t from, to; /* steps, both included */
    uint64_t good;     /* step of its last good audit; AUDIT_NEVER: there was none */
};
/* The steps before `open` that hold results of it since its last good audit; false: none does. */
bool audit_suspects(const struct audit *a, uint64_t worker, uint64_t open,
                    struct audit_suspects *out);

/* What is known of the workers, as text for run.db: a line of name, first unproven step, step of
 * the last good audit (AUDIT_NEVER: none) and 1 if it lost one. load: before anybody joins;
 * ERR_PARSE leaves what was read until then. go_back: steps from `step` on are no more. */
void audit_dump(const struct audit *a, struct str *out);
MUST_USE enum err audit_load(struct audit *a, const char *text);
void audit_go_back(struct audit *a, uint64_t step);

#endif
