/* scratch.h - a folder of its own below /tmp for the length of a command.
 * Owns: the folder. Never: what is in it. Blocks on the disk. */
#ifndef PFT_SCRATCH_H
#define PFT_SCRATCH_H

#include "common/base/err.h"

enum { SCRATCH_BYTES = 64 };

/* folder = a new empty folder, mode 0700. */
MUST_USE enum err scratch_make(char folder[SCRATCH_BYTES], struct errbuf *e);

/* Removes it with all it holds; fine on "". */
void scratch_remove(const char *folder);

#endif
