/* asking.h - what pft generate, chat and capture share: the model that is asked, the options that
 * say which, the first half of a request. Owns: nothing. Never: answers. */
#ifndef PFT_ASKING_H
#define PFT_ASKING_H

#include <jansson.h>

#include "cli/args.h"
#include "cli/local_words.h"
#include "cli/talk.h"

struct asking {
    struct local_served served;
    const char *sets[ARGS_REPEATS], *steers[ARGS_REPEATS];
    const char *workers;
    const char *value, *mix; /* whose preference the prompts name */
    const char *temperature, *top_p, *max_new, *seed;
    bool bare;
    bool count; /* how much there is to compute is all that is asked */
};

/* Options of the model (ASKING_MODEL) and those of a request too (ASKING_ALL), into list. */
enum { ASKING_MODEL = 6, ASKING_ALL = 12 };
void asking_options(struct asking *a, struct args_option list[ASKING_ALL]);

/* Positional RUN and repeated options to where they belong; checks them. */
MUST_USE enum err asking_take(struct asking *a, const struct args *args, struct errbuf *e);

/* A request without its prompt: value or mix, sampling. *out is the caller's (json_decref). */
MUST_USE enum err asking_request(const struct asking *a, json_t **out, struct errbuf *e);
/* "mix" from AXIS=LAMBDA into the request. */
MUST_USE enum err asking_mix(json_t *request, const char *text, struct errbuf *e);

/* Sends {key: what} (what is taken), whether the adapter is wanted, and what is to be counted. */
void asking_say(const struct asking *a, struct talk *talk, const char *key, json_t *what);

/* Starts coordinator and workers, lets talk run, ends them; *code as local_run's. */
MUST_USE enum err asking_run(const struct asking *a, struct talk *talk, bool quiet, int *code,
                             struct errbuf *e);

#endif
