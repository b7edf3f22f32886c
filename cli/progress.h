/* progress.h - the progress line of `pft run`: phase, bar, step, loss, rates, workers, ETA.
 * Renders what the status socket says, nothing else. On a terminal the line is rewritten in place;
 * elsewhere a line comes every few seconds. To stderr. */
#ifndef PFT_PROGRESS_H
#define PFT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct status;

struct progress {
    bool terminal;
    uint64_t last_ms; /* when a line was last written */
    char last_task[64];
    bool open; /* a line stands unfinished on the terminal */
};

void progress_init(struct progress *p);
void progress_show(struct progress *p, const struct status *s, uint64_t now_ms);
/* Ends an unfinished line. */
void progress_end(struct progress *p);

#endif
