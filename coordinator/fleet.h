/* fleet.h - a standing coordinator: a list of tasks, done one after another on whatever workers
 * there are (docs/decisions/0010).
 *
 *   IDLE -> BEGINNING (the list says "running" on disk) -> OPENING (a thread of its own)
 *        -> RUNNING (phases, as in any run) -> ENDING (the list says how it ended) -> IDLE
 *
 * No state is left, and nobody is told "submitted" or "cancelled", before the list is on disk.
 * Between two tasks, when no worker has a session, the loop may wait for the disk; else never.
 * Owns: the list, clerk, opener, the open task. Never: steps, sockets, what a task computes. */
#ifndef PFT_FLEET_H
#define PFT_FLEET_H

#include <stdbool.h>

#include "common/base/err.h"
#include "coordinator/serving.h"

struct fleet_options {
    const char *dir;           /* made when absent */
    const char *bind, *status; /* NULL: sockets in dir */
    struct serving_keys keys;
};

/* Serves until SIGTERM or SIGINT, or until the disk fails (ERR_IO). *left: a task is unfinished.
 * ERR_BUSY: another coordinator has the folder. */
MUST_USE enum err fleet_run(const struct fleet_options *o, bool *left, struct errbuf *e);

#endif
