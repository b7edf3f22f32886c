/* memory.h - how much memory this process may still take, and whether a run's units fit into it.
 * Never: allocates what it speaks of. Blocks on /proc and /sys for a moment. */
#ifndef PFT_MEMORY_H
#define PFT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "worker/engine.h"

/* Bytes that can be taken without pushing others out: MemAvailable of /proc/meminfo, or less where
 * a cgroup (version 2) or a limit on the address space (ulimit -v) of this process allows less.
 * root stands before /proc and /sys ("" = the machine's). SIZE_MAX when nothing can be read. */
size_t memory_available(const char *root);

/* ERR_NOMEM, with what is needed, what there is and what to change, when slots for units of
 * these rows do not fit into `available` bytes; need is filled in any case. The weights that are
 * mapped already count as far as passes keep reading them. */
MUST_USE enum err memory_fits(const struct engine_config *config, uint32_t slots,
                              const struct engine_rows *rows, size_t available,
                              struct engine_need *need, struct errbuf *e);

#endif
