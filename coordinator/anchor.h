/* anchor.h - texts that have nothing to do with preferences, on which training keeps the model
 * where it was: a further term of every objective (docs/objectives.md).
 * Owns: the trees of anchor.data, which of them a step takes and with which weights. Never: units,
 * arithmetic on gradients. Place: setup -> anchor -> batch. Loop thread.
 *
 * Step s takes the texts number s * anchor.texts and on of an endless list: shuffles of the file
 * one behind the other, keyed by (seed, number of the shuffle) and by nothing else. Every label of
 * its trees weighs anchor.weight / labels of the step's texts, so the term is anchor.weight * mean
 * over those tokens of KL(base || model). */
#ifndef PFT_ANCHOR_H
#define PFT_ANCHOR_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "coordinator/forest.h"

struct anchor;

/* Tokenises cfg->anchor_data. All arguments are borrowed for as long as the anchor lives. */
MUST_USE enum err anchor_new(const struct run_config *cfg, const struct values *values,
                             const struct tokenizer *tok, struct anchor **out, struct errbuf *e);
void anchor_free(struct anchor **a); /* NULL inside is fine */

/* SHA-256 of the file. */
const char *anchor_hash(const struct anchor *a);
uint32_t anchor_texts(const struct anchor *a); /* of a step */
/* At most: tokens of a unit of anchors, and such units of a step. */
uint32_t anchor_unit_rows(const struct anchor *a);
uint32_t anchor_step_units(const struct anchor *a);

/* The trees of a step, one in each of out [anchor_texts], which is zeroed and the caller's in any
 * case (forest_trees_free). The same step gives the same bytes. */
MUST_USE enum err anchor_build(struct anchor *a, uint64_t step, struct forest_trees *out,
                               struct errbuf *e);

#endif
