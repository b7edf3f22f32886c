/* opener.h - the thread that opens one task of a standing coordinator: config, data, model, run
 * folder, parameters. That takes seconds, and workers and status must not wait for it.
 * Owns: the thread. Never: the list, sockets. One letter comes out, then opener_join is due. */
#ifndef PFT_OPENER_H
#define PFT_OPENER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/file.h"
#include "common/net/mailbox.h"
#include "common/wire/task_message.h"
#include "coordinator/start.h"

/* A task that is open, or what came of opening it. */
struct opened {
    struct letter letter; /* first */
    uint64_t id;
    enum task_sort sort;
    char run[FILE_PATH_BYTES];
    enum err code;
    struct errbuf text;
    bool complete; /* its result lies there already: there is nothing to do */
    int log;       /* descriptor of task.log, where log lines go from now on; -1: none */
    struct start start;
};
/* Closes the log too; a run that was made just now and did not begin is discarded with discard. */
void opened_free(struct opened *o, bool discard);

struct opener {
    pthread_t thread;
    bool running;
    const char *dir;
    uint64_t id;
    enum task_sort sort;
    struct mailbox *reports;
    struct opened *opened; /* the thread's, which posts it */
};

/* reports (borrowed) gets one struct opened. */
MUST_USE enum err opener_begin(struct opener *o, const char *dir, uint64_t id, enum task_sort sort,
                               struct mailbox *reports);
void opener_join(struct opener *o);

#endif
