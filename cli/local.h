/* local.h - a coordinator and its workers on this machine, as children of pft: started, shown,
 * ended together. Owns: the processes it starts. Never: what they compute. Blocks until the
 * coordinator has ended; its exit code is the outcome. */
#ifndef PFT_LOCAL_H
#define PFT_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct local_options {
    const char *const *words; /* of the coordinator, without the program's name and --out */
    int n_words;
    const char *out;     /* run folder; logs go to out/logs */
    const char *model;   /* resolved path, for the workers */
    uint32_t workers;    /* one-slot workers */
    const char *capture; /* file that takes the coordinator's stdout; NULL: inherited */
};

enum { LOCAL_WORKERS_MAX = 256 };

/* *code: exit code for pft (cli.h). ERR_*: nothing was started; the text says why. */
MUST_USE enum err local_run(const struct local_options *o, int *code, struct errbuf *e);

/* Workers from the text of --workers; NULL: one per core. */
MUST_USE enum err local_workers(const char *text, uint32_t *out, struct errbuf *e);

#endif
