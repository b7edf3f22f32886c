/* scratch.h - a folder of its own below TMPDIR for the length of a command.
 * Owns: the folder, and a process that removes it when pft and everything that pft started are gone
 * without having done so (kill -9). Never: what is in it. Blocks on the disk. */
#ifndef PFT_SCRATCH_H
#define PFT_SCRATCH_H

#include <sys/types.h>

#include "common/base/err.h"
#include "common/base/file.h"

struct scratch {
    char folder[FILE_PATH_BYTES]; /* "": none */
    int held;                     /* inherited by every child: its last copy closed is the end */
    pid_t keeper;
};

/* s->folder = a new empty folder, mode 0700, below TMPDIR or /tmp. */
MUST_USE enum err scratch_make(struct scratch *s, struct errbuf *e);

/* Removes it with all it holds; fine on a zeroed struct. Every child has ended. */
void scratch_remove(struct scratch *s);

/* Removes a folder with all it holds. */
void scratch_clear(const char *folder);

#endif
