/* local.h - a coordinator and its workers on this machine, as children of pft: started, shown,
 * ended together. Owns: the processes it starts. Never: what they compute. Blocks until the
 * coordinator has ended; its exit code is the outcome. */
#ifndef PFT_LOCAL_H
#define PFT_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct talk;

struct local_options {
    const char *const *words; /* of the coordinator, without the program's name and --out */
    int n_words;
    const char *out;   /* run folder; logs go to out/logs */
    const char *model; /* resolved path, for the workers */
    uint32_t workers;
    uint32_t slots, threads; /* of each worker, of each slot */
    bool checkpointing;      /* of every worker */
    const char *capture;     /* file that takes the coordinator's stdout; NULL: inherited */
    const char *goes_on;     /* said about the time after an interruption; NULL: nothing */
    struct talk *talk;       /* over its stdin and stdout (talk.h); NULL: none */
    bool quiet;              /* no progress line */
};

enum { LOCAL_WORKERS_MAX = 256 };

/* *code: exit code for pft (cli.h). ERR_*: nothing was started; the text says why. */
MUST_USE enum err local_run(const struct local_options *o, int *code, struct errbuf *e);

/* workers, slots and threads from the texts of --workers, --slots and --threads. NULL: as many
 * workers as keep every core busy, one slot, one thread. */
MUST_USE enum err local_shape(const char *workers, const char *slots, const char *threads,
                              struct local_options *o, struct errbuf *e);

#endif
