/* scale_file.h - how pft scale reaches the pft run that owns the workers of a run folder.
 * RUN/workers.json says what that pft run has: {"pid", "wanted", "running", "draining"}; it is
 * there while pft run lives. RUN/workers.want is a wish: one number, removed when it is taken up.
 * Owns: the form of both files. Never: processes. Blocks on the disk. */
#ifndef PFT_SCALE_FILE_H
#define PFT_SCALE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct scale_state {
    long pid;
    uint32_t wanted;            /* workers as last asked for */
    uint32_t running, draining; /* of those that live */
};

/* For pft run: says how it stands; takes up a wish (false: there is none, or it is no number from 1
 * to most); removes both files. */
MUST_USE enum err scale_publish(const char *run, const struct scale_state *s, struct errbuf *e);
bool scale_take(const char *run, uint32_t most, uint32_t *wanted);
void scale_remove(const char *run);

/* For pft scale. ERR_NOT_FOUND: no pft run serves that folder. */
MUST_USE enum err scale_read(const char *run, struct scale_state *s, struct errbuf *e);
MUST_USE enum err scale_wish(const char *run, uint32_t wanted, struct errbuf *e);
bool scale_wish_waits(const char *run);
/* Takes a wish back that nobody took up. */
void scale_withdraw(const char *run);

#endif
