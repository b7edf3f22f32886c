/* divergence.h - how far the adapter (and what steers) moves the model on texts that have nothing
 * to do with it: mean KL(adapted || base) in nats a token, as SCORE jobs of kind WIRE_KL. Owns: the
 * trees of the texts, their numbers. Never: jobs. Loop thread. */
#ifndef PFT_DIVERGENCE_H
#define PFT_DIVERGENCE_H

#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/batch.h"

struct render;
struct divergence;

MUST_USE enum err divergence_new(uint32_t vocab, struct divergence **out, struct errbuf *e);
/* A text as the user turn of a prompt without preference: its tokens and what follows them up to
 * the place of the answer are compared. */
MUST_USE enum err divergence_add(struct divergence *d, struct render *r, const char *text,
                                 size_t bytes, struct errbuf *e);
uint32_t divergence_count(const struct divergence *d);
MUST_USE enum err divergence_batch(const struct divergence *d, uint32_t unit_tokens,
                                   uint32_t number, struct batch *b, struct errbuf *e);
/* The leaf of a tree; the same may come twice. */
void divergence_take(struct divergence *d, uint32_t tree, const double *leaf);
/* Of text i: its mean over the tokens compared, and their number. */
double divergence_text(const struct divergence *d, uint32_t i, uint32_t *tokens);
/* Over the tokens of all texts. */
double divergence_mean(const struct divergence *d);
void divergence_free(struct divergence **d); /* NULL inside is fine */

#endif
