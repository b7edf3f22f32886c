/* sample.h - the next token from logits: branches mixed, temperature, top-p, one draw.
 * Owns: the choice. Never: passes, caches. Pure: the same numbers give the same token everywhere,
 * whoever computes it and whatever it is computed beside. */
#ifndef PFT_SAMPLE_H
#define PFT_SAMPLE_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/answers.h"

struct sample_candidate {
    double z; /* mixed logit */
    uint32_t id;
};

/* Tokens are drawn from p(t) ~ exp(z(t) / temperature), z(t) = sum of weights[b] * logits[b][t];
 * with temperature 0 the largest z wins, the smaller id on a tie. Tokens more than 40 temperatures
 * below the best count as impossible. `index` is the place of the token in the answer: with the
 * seed it names the draw. room [vocab]. ERR_RANGE when a logit is not finite. */
MUST_USE enum err sample_next(const float *const *logits, const float *weights, uint32_t branches,
                              uint32_t vocab, const struct answer_request *request, uint32_t index,
                              struct sample_candidate *room, uint32_t *token);

#endif
