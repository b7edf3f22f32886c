/* asking.h - what pft generate, chat and capture share: the model that is asked, the options that
 * say which, the first half of a request. Owns: nothing. Never: answers. */
#ifndef PFT_ASKING_H
#define PFT_ASKING_H

#include <jansson.h>

#include "cli/args.h"
#include "cli/local_words.h"
#include "cli/talk.h"
#include "cli/wish.h"

struct asking {
    struct local_served served;
    const char *sets[ARGS_REPEATS], *steers[ARGS_REPEATS];
    const char *workers;
    const char *value, *mix; /* whose preference the prompts name */
    const char *inferred;    /* where the lambda of a mix stands */
    const char *temperature, *top_p, *max_new, *seed;
    bool bare;
    bool count;            /* how much there is to compute is all that is asked */
    struct values *values; /* by asking_request, where they can be known; NULL: not here */
};

/* Options of the model (ASKING_MODEL) and those of a request too (ASKING_ALL), into list. */
enum { ASKING_MODEL = 6, ASKING_ALL = 13 };
void asking_options(struct asking *a, struct args_option list[ASKING_ALL]);

/* Positional RUN and repeated options to where they belong; checks them. */
MUST_USE enum err asking_take(struct asking *a, const struct args *args, struct errbuf *e);

/* Where --out leads: an absolute path in a folder that exists. Checked before anything is computed.
 */
MUST_USE enum err asking_place(const char *out, char path[FILE_PATH_BYTES], struct errbuf *e);

/* A request without its prompt: value or mix, sampling; once. *out is the caller's (json_decref).
 * asking_free frees what it read. */
MUST_USE enum err asking_request(struct asking *a, json_t **out, struct errbuf *e);
struct wish_source asking_source(const struct asking *a); /* of later wishes */
void asking_free(struct asking *a);

/* Sends {key: what} (what is taken), whether the adapter is wanted, and what is to be counted. */
void asking_say(const struct asking *a, struct talk *talk, const char *key, json_t *what);

/* Starts coordinator and workers, lets talk run, ends them; *code as local_run's. */
MUST_USE enum err asking_run(const struct asking *a, struct talk *talk, bool quiet, int *code,
                             struct errbuf *e);

#endif
