/* matrix_child.h - one pft command as a child of pft reproduce, from start to end.
 * Owns: the process. Never: what it computes. Blocks; once a second it calls back with the seconds
 * since its start. The child ends when this process does, even by kill -9. */
#ifndef PFT_MATRIX_CHILD_H
#define PFT_MATRIX_CHILD_H

#include "cli/matrix.h"

struct matrix_child {
    const char *log;     /* its stderr is appended here */
    const char *capture; /* file that takes its stdout */
    void (*tick)(void *context, double seconds);
    void *context;
    bool quiet; /* leave the child's last words out when it fails */
    /* out */
    int code; /* its exit code; CLI_INTERRUPTED when it was stopped by a signal to us */
    double seconds;
};

/* ERR_*: it could not be started. */
MUST_USE enum err matrix_child_run(struct matrix_child *c, const struct matrix_words *words,
                                   struct errbuf *e);

#endif
