/* capture.h - mean activation differences of an axis as CAPTURE jobs (contrastive activation
 * addition): the trees of its scenarios, exact sums of their answers' rows, a vector per layer.
 * Owns: trees and sums. Never: jobs, files. Loop thread.
 *
 * Every option of a scenario that has options of both sides is one leaf, behind the prompt that
 * names no value; the rows of its own tokens count, those of side a positive, of side b negative.
 * The vector of a layer is mean(a) - mean(b) over all those rows: adding it pulls towards side a.
 * Sums are int64, so the vectors do not depend on how many workers there were. */
#ifndef PFT_CAPTURE_H
#define PFT_CAPTURE_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/net/blob.h"
#include "coordinator/batch.h"

struct setup;
struct capture;

/* Which scenarios of s->test: those of `axis` among `limit` (0: all) behind the first `skip`, at
 * most `most` of them (0: all), in file order. */
struct capture_range {
    uint32_t axis, skip, limit, most;
};

/* ERR_RANGE when there is none. s is borrowed. */
MUST_USE enum err capture_new(const struct setup *s, const struct capture_range *range,
                              struct capture **out, struct errbuf *e);
MUST_USE enum err capture_batch(const struct capture *c, uint32_t unit_tokens, uint32_t number,
                                struct batch *b, struct errbuf *e);

/* The payload of a job of that batch; each unit comes once. ERR_RANGE: beyond what its units can
 * sum to. restart: the batch begins again. */
MUST_USE enum err capture_take(struct capture *c, const struct job *job, const struct blob *payload,
                               struct errbuf *e);
void capture_restart(struct capture *c);

uint32_t capture_scenarios(const struct capture *c);
uint64_t capture_rows(const struct capture *c, uint32_t side);
/* vectors [L][D]; after every unit has come. */
void capture_vectors(const struct capture *c, float *vectors);

void capture_free(struct capture **c); /* NULL inside is fine */

#endif
