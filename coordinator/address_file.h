/* address_file.h - where a coordinator listens: the default addresses of a run folder, and
 * RUN/address.json {"jobs", "status", "pid"}, which tells the others. Owns: that file and a socket
 * folder made when none can lie in the run's. Blocks on the disk; start and end. */
#ifndef PFT_ADDRESS_FILE_H
#define PFT_ADDRESS_FILE_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/net/address.h"

struct address_file {
    char jobs[ADDRESS_BYTES];     /* to bind */
    char status[ADDRESS_BYTES];   /* to bind */
    char folder[FILE_PATH_BYTES]; /* made for the sockets; "" when they lie in the run folder */
    char path[FILE_PATH_BYTES];   /* of address.json */
};

/* Given addresses are taken as they are; NULL means RUN/jobs.sock and RUN/status.sock, or, when
 * those do not fit a socket's name, are no UTF-8 or lie where no socket can, a new 0700 folder in
 * $XDG_RUNTIME_DIR, $TMPDIR or /tmp. The run folder
 * must exist. keys: addresses beyond loopback are fine. */
MUST_USE enum err address_file_choose(const char *run, const char *jobs, const char *status,
                                      bool keys, struct address_file *a, struct errbuf *e);

/* Writes address.json with what came out of the binds; atomic. */
MUST_USE enum err address_file_write(const struct address_file *a, const char *jobs,
                                     const char *status, struct errbuf *e);

/* Removes address.json and the folder made for the sockets; with served also the socket files,
 * which otherwise may be somebody else's. */
void address_file_remove(const struct address_file *a, bool served);

#endif
