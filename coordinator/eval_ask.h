/* eval_ask.h - the words that ask for an evaluation: options of pft eval and of pft-coordinator
 * --eval-only, checked in one place. Pure. */
#ifndef PFT_EVAL_ASK_H
#define PFT_EVAL_ASK_H

#include "common/base/err.h"
#include "coordinator/eval_kind.h"

/* What is asked when nothing is said: select on all scenarios. */
struct eval_request eval_ask_usual(void);

/* Each takes the value of its option; ERR_USAGE names option, value and what is possible. */
MUST_USE enum err eval_ask_task(struct eval_request *ask, const char *value, struct errbuf *e);
MUST_USE enum err eval_ask_shots(struct eval_request *ask, const char *value, struct errbuf *e);
/* Shares of a mix, "0,.25,1": up to EVAL_LAMBDAS_MAX rising numbers from -2 to 3. */
MUST_USE enum err eval_ask_mix(struct eval_request *ask, const char *value, struct errbuf *e);
/* A list of rising numbers of choices, "0,1,3": up to `room` of them, each up to `most`. */
MUST_USE enum err eval_ask_rising(const char *value, uint32_t room, uint32_t most, uint32_t *out,
                                  uint32_t *n, struct errbuf *e);
MUST_USE enum err eval_ask_limit(struct eval_request *ask, const char *value, struct errbuf *e);
MUST_USE enum err eval_ask_fit(struct eval_request *ask, const char *value, struct errbuf *e);
MUST_USE enum err eval_ask_seed(struct eval_request *ask, const char *value, struct errbuf *e);

#endif
