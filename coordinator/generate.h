/* generate.h - answers as GENERATE jobs: prompts in, tokens and text out.
 * Owns: the requests, their trees, the answers. Never: jobs, wording of prompts (render.h).
 * Place: whoever wants answers fills one with generate_add, opens generate_batch on the server,
 * hands each answer of the `values` event to generate_take_job, reads them once generate_left is 0.
 * Loop thread. */
#ifndef PFT_GENERATE_H
#define PFT_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/blob.h"
#include "common/wire/answers.h"
#include "coordinator/batch.h"

struct tokenizer;
struct generate;

/* One sequence that an answer goes on from. */
struct generate_branch {
    const uint32_t *tokens; /* [n], n >= 1; copied */
    uint32_t n;
    float weight; /* 1 alone; lambda and 1 - lambda in a mix (common/wire/answers.h) */
};

/* tok is borrowed; vocab is the model's. ERR_NOMEM. */
MUST_USE enum err generate_new(const struct tokenizer *tok, uint32_t vocab, struct generate **out,
                               struct errbuf *e);

/* Adds a request of 1 to LIMIT_BRANCHES branches; the first is number 0. Not after generate_batch.
 * ERR_RANGE names the field that is out of bounds. */
MUST_USE enum err generate_add(struct generate *g, const struct generate_branch *branches,
                               uint32_t n, const struct answer_request *how, struct errbuf *e);
uint32_t generate_count(const struct generate *g);

/* The tree and the request of number i: what its answer depends on, beside the model. */
const struct tree *generate_tree(const struct generate *g, uint32_t i);
const struct answer_request *generate_request(const struct generate *g, uint32_t i);
/* An answer that is known beforehand; tokens are copied. ERR_RANGE when it is none for request i.
 */
MUST_USE enum err generate_put(struct generate *g, uint32_t i, enum answer_end end,
                               const uint32_t *tokens, uint32_t n);

/* All requests without an answer as batch `number`, at least one; it borrows from g until the next
 * one is made. */
MUST_USE enum err generate_batch(struct generate *g, uint32_t number, struct batch *b,
                                 struct errbuf *e);
/* The request that a unit of that batch stands for. */
uint32_t generate_of_unit(const struct generate *g, uint32_t unit);

/* The payload of a job of that batch, as server_events.values gives it. The same request may come
 * twice. ERR_NOMEM. */
MUST_USE enum err generate_take_job(struct generate *g, const struct job *job,
                                    const struct blob *payload, struct errbuf *e);
/* Requests without an answer. */
uint32_t generate_left(const struct generate *g);

/* Answer i, once it is there: its tokens (g's own), or its text appended to out (check str_ok). An
 * id that the tokenizer does not have gives no text. */
const uint32_t *generate_tokens(const struct generate *g, uint32_t i, uint32_t *n,
                                enum answer_end *end);
void generate_text(const struct generate *g, uint32_t i, struct str *out);

void generate_free(struct generate **g); /* NULL inside is fine */

#endif
