/* ask.h - one thing that is asked of a model, as a line of JSON, and its answer as another.
 * Owns: the reading of the question, what is computed for it. Never: jobs, the line's way in or out
 * (ask_lines.h). Loop thread; reading renders and tokenises.
 *
 *   {"generate": [REQUEST, ...]}   -> {"answers": [{"text", "tokens", "end"}, ...]}
 *       REQUEST = {"prompt": TEXT, "history": [TURN, ...],
 *                  "value": NAME | "mix": {"axis": NAME, "lambda": L},
 *                  "temperature", "top_p", "max_new_tokens", "seed"}; only prompt is needed
 *       TURN = {"role": "user" | "assistant", "content": TEXT}; end = "stop" or "length"
 *   {"capture": {"axis": NAME, "scenarios": N, "skip": N, "limit": N,
 *                "out": FILE}}
 *                                  -> {"out", "scenarios", "rows": [A, B], "norms": [per layer]}
 *   {"divergence": [TEXT, ...]}         -> {"kl", "tokens", "texts": [KL, ...]}
 *   {"generate": [...], "count": true}  -> how much there is to compute (work_count.h); none
 *                                        of it is
 *
 * Any of them with "adapter": false is answered by the bare model. What cannot be answered gets
 * {"error": TEXT}. */
#ifndef PFT_ASK_H
#define PFT_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/blob.h"
#include "coordinator/batch.h"

struct setup;
struct ask;

/* s is borrowed. The message names what is wrong with the line. */
MUST_USE enum err ask_new(const struct setup *s, const char *line, size_t bytes, struct ask **out,
                          struct errbuf *e);
/* The batch of number `number`; it borrows from the ask. */
MUST_USE enum err ask_batch(const struct ask *ask, uint32_t number, struct batch *b,
                            struct errbuf *e);
bool ask_bare(const struct ask *ask); /* "adapter": false */
/* "count": true: nothing is computed, ask_count appends the answer's JSON. */
bool ask_counts(const struct ask *ask);
MUST_USE enum err ask_count(const struct ask *ask, struct str *out, struct errbuf *e);

/* What comes of the batch: a payload of answers or sums, the leaves of a tree, a new beginning. */
MUST_USE enum err ask_take(struct ask *ask, const struct job *job, const struct blob *payload,
                           struct errbuf *e);
void ask_take_leaves(struct ask *ask, uint32_t tree, const double *leaf);
void ask_restart(struct ask *ask);

/* After the whole batch: the answer's JSON without a line end, appended. A capture writes its file
 * here. */
MUST_USE enum err ask_answer(const struct ask *ask, struct str *out, struct errbuf *e);
void ask_free(struct ask **ask); /* NULL inside is fine */

#endif
