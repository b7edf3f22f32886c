/* batch.h - the trees and units of what is open: a training step or an evaluation.
 * Owns: the trees of a step (those of an evaluation are borrowed), the lists the queue needs.
 * Never: jobs, time. Place: plan + forest -> batch -> dispatch and the job frames. Loop thread. */
#ifndef PFT_BATCH_H
#define PFT_BATCH_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/tree/tree.h"
#include "common/wire/answers.h"
#include "coordinator/forest.h"
#include "coordinator/queue.h"
#include "coordinator/setup.h"

struct batch {
    enum job_kind kind;
    uint32_t tag; /* step, or PLAN_EVAL_TAG | number */
    uint32_t n_units;
    uint32_t first_anchor; /* units from here on are anchors; n_units: none */
    struct unit *units;    /* [n_units]; their trees are consecutive in `trees` */
    uint64_t *ids;         /* [n_units] */
    uint32_t *rows;        /* [n_units] tokens */
    struct tree *trees;    /* copies of the heads; the memory behind is of `owned` or borrowed */
    struct forest_trees *owned;
    uint32_t n_owned;
    uint64_t tokens, pairs, labels;        /* of the whole batch */
    enum wire_score score;                 /* SCORE: what of a leaf is wanted */
    bool steer;                            /* add the published vectors; never in training */
    const struct answer_request *requests; /* GENERATE: [n_units], borrowed */
    uint32_t vocab;                        /* GENERATE: bounds the tokens of answers */
    size_t sums;                           /* CAPTURE: int64 a payload holds */
};

/* The batch of a training step. An objective with a reference needs it complete (setup). */
MUST_USE enum err batch_train(const struct setup *s, uint64_t step, struct batch *b,
                              struct errbuf *e);

/* A batch that scores n trees (borrowed while the batch lives) as evaluation `number`. */
MUST_USE enum err batch_score(const struct tree *trees, uint32_t n, uint32_t unit_tokens,
                              uint32_t number, struct batch *b, struct errbuf *e);

/* A batch that captures n trees (borrowed like those above): payloads of `sums` int64 each. */
MUST_USE enum err batch_capture(const struct tree *trees, uint32_t n, uint32_t unit_tokens,
                                uint32_t number, size_t sums, struct batch *b, struct errbuf *e);

/* A batch of n requests, one unit each: trees[i] is continued as requests[i] says (both borrowed
 * while the batch lives, checked by answer_check). */
MUST_USE enum err batch_generate(const struct tree *trees, const struct answer_request *requests,
                                 uint32_t n, uint32_t vocab, uint32_t number, struct batch *b,
                                 struct errbuf *e);

void batch_free(struct batch *b); /* fine on a zeroed struct */

#endif
