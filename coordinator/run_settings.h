/* run_settings.h - what the server tells the workers of a run: from its start to a server_config.
 * Owns: the texts that the config points to, for as long as it is used. Pure. */
#ifndef PFT_RUN_SETTINGS_H
#define PFT_RUN_SETTINGS_H

#include "coordinator/server.h"
#include "coordinator/start.h"

struct run_settings {
    struct model_description model;
    char shape[WIRE_DIGEST_HEX];
    struct server_config server; /* points into this struct and into start */
};

/* start is borrowed. */
void run_settings_fill(struct run_settings *r, const struct start *start);

#endif
