/* local_words.h - the words of a coordinator that serves a run's adapter or a bare model, for the
 * commands that start one of their own. Owns: its run folder, temporary or kept, and the texts that
 * words point to. Never: starts anything. */
#ifndef PFT_LOCAL_WORDS_H
#define PFT_LOCAL_WORDS_H

#include <stdbool.h>

#include "cli/args.h"
#include "cli/local.h"
#include "cli/scratch.h"
#include "common/base/file.h"

enum {
    LOCAL_WORDS = ARGS_REPEATS * 4 + 64,
    LOCAL_PATHS = 4, /* settings that name a file */
    LOCAL_SET_BYTES = FILE_PATH_BYTES + 32
};

struct local_words {
    bool goes_on;           /* a kept folder that holds a run */
    struct scratch scratch; /* none: the folder is kept */
    char folder[FILE_PATH_BYTES], config[FILE_PATH_BYTES], result[FILE_PATH_BYTES];
    char model[FILE_PATH_BYTES];
    char paths[LOCAL_PATHS][LOCAL_SET_BYTES];
    int n_paths;
    const char *words[LOCAL_WORDS];
    struct local_options local; /* of local_run: words, out and model are set */
};

/* What is served. */
struct local_served {
    const char *run, *model;   /* one of the two */
    const char *data, *values; /* NULL: as the run has them */
    bool no_data;              /* none, whatever the run has */
    const char *const *steers; /* --steer */
    int n_steers;
    const char *const *sets; /* --set, after everything else */
    int n_sets;
};

/* "one RUN or --model FILE is needed" and what goes with --model. */
MUST_USE enum err local_words_check(const struct local_served *served, const char *usage,
                                    struct errbuf *e);

/* keep: the folder, made where it is missing; NULL: one of its own, which local_words_free removes
 * (fine on a zeroed struct). result is a file in it for what the coordinator prints. */
MUST_USE enum err local_words_make(struct local_words *w, const char *keep, struct errbuf *e);
void local_words_free(struct local_words *w);

/* The texts are borrowed. At most LOCAL_WORDS words and LOCAL_PATHS paths. */
void local_words_add(struct local_words *w, const char *word);
/* Nothing when value is NULL. */
void local_words_option(struct local_words *w, const char *option, const char *value);
void local_words_set(struct local_words *w, const char *set);
/* --set key=path, absolute. */
MUST_USE enum err local_words_path(struct local_words *w, const char *key, const char *path,
                                   struct errbuf *e);

/* mode: "--eval-only" or "--ask". Comes last: what --set says overrides what is there. */
MUST_USE enum err local_words_fill(struct local_words *w, const char *mode,
                                   const struct local_served *served, struct errbuf *e);

#endif
