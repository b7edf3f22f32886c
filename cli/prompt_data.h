/* prompt_data.h - the scenarios of a data file as prompts for pft generate: each one once for
 * either value of its axis. Owns: nothing. Never: wording; the coordinator names the value. */
#ifndef PFT_PROMPT_DATA_H
#define PFT_PROMPT_DATA_H

#include <jansson.h>
#include <stdint.h>

#include "cli/local_words.h"

/* Appends {"prompt", "value"} to list, of the first `limit` scenarios (0: all) in the order of the
 * file. served: its data, and its values or those of its run. Refuses a file without axes. Blocks
 * on the disk. */
MUST_USE enum err prompt_data_read(const struct local_served *served, uint32_t limit, json_t *list,
                                   struct errbuf *e);

#endif
