/* engine_generate.h - answers of a slot: requests in, tokens out.
 *
 * An answer depends on its request, the parameters and the engine's settings alone: not on the
 * other requests of the call, their order, the slot or its threads. */
#ifndef PFT_ENGINE_GENERATE_H
#define PFT_ENGINE_GENERATE_H

#include <stdatomic.h>

#include "common/wire/answers.h"
#include "worker/engine.h"

struct engine_answer {
    enum answer_end end;
    uint32_t n;
    uint32_t *tokens; /* [max_new_tokens of its request], the caller's: mem_free */
};

/* Continues units [n], each of one tree as answer_check wants it. answers [n] must be zeroed; what
 * is in them belongs to the caller also after an error. Between two steps it looks at stop:
 * *stopped then says that the answers are not whole. Errors name the unit: ERR_RANGE (a logit is
 * not finite), ERR_NOMEM. */
MUST_USE enum err engine_generate(struct engine_slot *slot, const struct unit *units,
                                  const struct answer_request *requests, uint32_t n,
                                  const float *lora_flat, const atomic_bool *stop, bool *stopped,
                                  struct engine_answer *answers, struct errbuf *e);

#endif
