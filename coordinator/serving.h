/* serving.h - phases and server of a run put together, and taken apart again. Owns: both. Never:
 * decides, knows the command line. Place: main, and the simulator, which turns the loop itself. */
#ifndef PFT_SERVING_H
#define PFT_SERVING_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/net/key_file.h"
#include "coordinator/address_file.h"
#include "coordinator/phases.h"
#include "coordinator/run_settings.h"
#include "coordinator/server.h"
#include "coordinator/start.h"

struct serving {
    struct phases *phases;
    struct server *server;
    struct run_settings settings; /* borrowed by the server */
};

/* Both borrowed until serving_close. */
struct serving_keys {
    const struct key_file *key;
    const char *folder;
};

/* Binds and attaches everything; phases_begin and server_run come next. start, run and address are
 * borrowed until serving_close, start->params is taken; keys NULL: none. On an error what is open
 * stays in *s: serving_close is due in any case. */
MUST_USE enum err serving_open(struct start *start, const char *run, bool eval_only,
                               const struct address_file *address, const struct serving_keys *keys,
                               struct serving *s, struct errbuf *e);
/* Waits for the disk and fills the outcome. Fine on a zeroed struct. */
void serving_close(struct serving *s, struct phases_outcome *outcome);

#endif
