/* score_book.h - log-probabilities that were scored before, and answers that were generated: by the
 * tree and the parameters, so that an evaluation that was killed, or asks for more, scores nothing
 * twice. Owns: the numbers in memory and their text form (evals "scores/..." in run.db). Never:
 * SQL, jobs. Place: start fills it from run.db, phases look trees up before they are made jobs and
 * put down what comes. Loop thread.
 *
 * A key is XXH3-128 of the tree's byte form with id 0 and, behind it, the digest of the adapter (16
 * zero bytes where it is off), then what was added behind the layers and what was made of the leaf,
 * where they are not the usual nothing and log p. Of an answer, the byte form of its request
 * (common/wire/answers.h) stands in the tree's place, and its numbers are how it ended and its
 * tokens. What else decides the bits (model, kernels, precision) is fixed for a run folder. */
#ifndef PFT_SCORE_BOOK_H
#define PFT_SCORE_BOOK_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/str.h"
#include "common/tree/tree.h"
#include "common/wire/answers.h"
#include "common/wire/message.h"

/* Names of the parts in the evaluations of run.db begin so. */
#define SCORE_BOOK_PREFIX "scores/"

struct score_key {
    uint8_t bytes[HASH_XXH128_BYTES];
};

struct score_book;

MUST_USE enum err score_book_new(struct score_book **out);
void score_book_free(struct score_book **b); /* NULL inside is fine */

struct score_maker {
    const uint8_t *adapter; /* digest of the parameters; NULL where it is off */
    const uint8_t *vectors; /* digest of what steers; NULL: nothing */
    enum wire_score score;
};

MUST_USE enum err score_book_key(const struct tree *tree, const struct score_maker *by,
                                 struct score_key *key);

/* The same for an answer to a request that goes on from a tree. */
MUST_USE enum err score_book_answer_key(const struct tree *tree,
                                        const struct answer_request *request,
                                        const struct score_maker *by, struct score_key *key);

/* The leaves' log-probabilities of a key, n of them; NULL when they are not known. Stays valid
 * until the next put or load. */
const double *score_book_find(const struct score_book *b, const struct score_key *key, uint32_t n);

/* The same whatever their number is, into *n. */
const double *score_book_find_any(const struct score_book *b, const struct score_key *key,
                                  uint32_t *n);

/* Keeps a copy of n numbers, marked as not yet written. A key that is known stays as it is. */
MUST_USE enum err score_book_put(struct score_book *b, const struct score_key *key,
                                 const double *logp, uint32_t n);

/* Entries put and not yet written. */
uint32_t score_book_fresh(const struct score_book *b);
/* Appends them as text and takes them as written. Check str_ok. */
void score_book_write(struct score_book *b, struct str *out);
/* Reads a text that score_book_write made. ERR_CORRUPT when it is none. */
MUST_USE enum err score_book_load(struct score_book *b, const char *text, size_t bytes,
                                  struct errbuf *e);

#endif
