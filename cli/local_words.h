/* local_words.h - the words of a coordinator that serves a run's adapter or a bare model, for the
 * commands that start one of their own. Owns: a temporary run folder and the texts that words point
 * to. Never: starts anything. */
#ifndef PFT_LOCAL_WORDS_H
#define PFT_LOCAL_WORDS_H

#include "cli/args.h"
#include "cli/local.h"
#include "common/base/file.h"

enum { LOCAL_WORDS = ARGS_REPEATS * 4 + 32, LOCAL_SET_BYTES = FILE_PATH_BYTES + 32 };

struct local_words {
    char folder[64]; /* --out */
    char config[FILE_PATH_BYTES], model[FILE_PATH_BYTES];
    char set_model[LOCAL_SET_BYTES], set_data[LOCAL_SET_BYTES], set_values[LOCAL_SET_BYTES];
    const char *words[LOCAL_WORDS];
    struct local_options local; /* of local_run: words, out and model are set */
};

/* What is served. */
struct local_served {
    const char *run, *model;   /* one of the two */
    const char *data, *values; /* NULL: as the run has them */
    const char *const *steers; /* --steer */
    int n_steers;
    const char *const *sets; /* --set, after everything else */
    int n_sets;
};

/* "one RUN or --model FILE is needed" and what goes with --model. */
MUST_USE enum err local_words_check(const struct local_served *served, const char *usage,
                                    struct errbuf *e);

/* Makes the folder. local_words_free removes it; fine on a zeroed struct. */
MUST_USE enum err local_words_make(struct local_words *w, struct errbuf *e);
void local_words_free(struct local_words *w);

/* mode: "--eval-only" or "--ask". */
MUST_USE enum err local_words_fill(struct local_words *w, const char *mode,
                                   const struct local_served *served, struct errbuf *e);
void local_words_set(struct local_words *w, const char *set);

#endif
