/* ask_request.h - one REQUEST of a question (ask.h): JSON to branches and sampling.
 * Owns: the defaults. Never: more than one request. */
#ifndef PFT_ASK_REQUEST_H
#define PFT_ASK_REQUEST_H

#include <jansson.h>

#include "coordinator/generate.h"
#include "coordinator/render.h"

/* Without a word about it: greedy, at most ASK_NEW_TOKENS tokens. */
enum { ASK_NEW_TOKENS = 256, ASK_HISTORY_TURNS = 4096 };

MUST_USE enum err ask_request_add(struct generate *g, struct render *r, const json_t *request,
                                  struct errbuf *e);

#endif
