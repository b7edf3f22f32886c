/* adapter_kl.h - how far the adapter (and what steers) moves the model on texts that have nothing
 * to do with it: mean KL(adapted || base) in nats a token, as SCORE jobs of kind WIRE_KL. Owns: the
 * trees of the texts, their numbers. Never: jobs. Loop thread. */
#ifndef PFT_ADAPTER_KL_H
#define PFT_ADAPTER_KL_H

#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/batch.h"

struct render;
struct adapter_kl;

MUST_USE enum err adapter_kl_new(uint32_t vocab, struct adapter_kl **out, struct errbuf *e);
/* A text as the user turn of a prompt without preference: its tokens and what follows them up to
 * the place of the answer are compared. */
MUST_USE enum err adapter_kl_add(struct adapter_kl *d, struct render *r, const char *text,
                                 size_t bytes, struct errbuf *e);
uint32_t adapter_kl_count(const struct adapter_kl *d);
MUST_USE enum err adapter_kl_batch(const struct adapter_kl *d, uint32_t unit_tokens,
                                   uint32_t number, struct batch *b, struct errbuf *e);
/* The leaf of a tree; the same may come twice. */
void adapter_kl_take(struct adapter_kl *d, uint32_t tree, const double *leaf);
/* Of text i: its mean over the tokens compared, and their number. */
double adapter_kl_text(const struct adapter_kl *d, uint32_t i, uint32_t *tokens);
/* Over the tokens of all texts. */
double adapter_kl_mean(const struct adapter_kl *d);
void adapter_kl_free(struct adapter_kl **d); /* NULL inside is fine */

#endif
