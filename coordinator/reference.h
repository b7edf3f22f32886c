/* reference.h - log-probabilities of the training answers by the model without adapter: what DPO
 * measures against. They do not change while a run trains, so they are scored once, as SCORE jobs
 * before the first step, and kept in run.db.
 * Owns: the numbers, and the trees while they are scored. Never: jobs, SQL. Place: setup makes it
 * empty, start fills it from run.db or phases from scores, batch reads it. Loop thread. */
#ifndef PFT_REFERENCE_H
#define PFT_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/tree/tree.h"
#include "coordinator/forest.h"
#include "coordinator/plan.h"

/* The key of the dump in the evaluations of run.db. */
#define REFERENCE_NAME "reference"

struct reference;

/* Empty, for the groups that the plan's steps train on. */
MUST_USE enum err reference_new(const struct forest *forest, struct plan *plan,
                                struct reference **out, struct errbuf *e);
void reference_free(struct reference **r); /* NULL inside is fine */

/* Are all groups of the plan known? */
bool reference_complete(const struct reference *r);

/* One number per leaf of a group (of forest_groups), in order; NULL when it is not known. */
const double *reference_of(const struct reference *r, uint32_t group);

/* Builds the trees of every group of the plan; they stay until reference_release. */
MUST_USE enum err reference_trees(struct reference *r, struct forest *forest,
                                  const struct tree **trees, uint32_t *n, struct errbuf *e);
void reference_release(struct reference *r);

/* Takes the log-probabilities of the leaves of tree `tree` of reference_trees; it may come twice.
 * ERR_RANGE: one is not finite. */
MUST_USE enum err reference_take(struct reference *r, uint32_t tree, const double *leaf_log_p,
                                 struct errbuf *e);

/* Appends what is known as JSON; every number comes back as it was. Check str_ok. */
void reference_dump(const struct reference *r, struct str *out);

/* Reads a dump. ERR_CORRUPT when it is not of these groups. */
MUST_USE enum err reference_load(struct reference *r, const char *text, size_t bytes,
                                 struct errbuf *e);

#endif
