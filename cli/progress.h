/* progress.h - the progress line of `pft run`: phase, bar, step, loss, rates, workers, ETA.
 * Renders what the status socket says, nothing else. On a terminal the line is rewritten in place,
 * at most 80 columns or what the terminal has; elsewhere (TERM=dumb too) a line comes every few
 * seconds. Why a run is degraded stands on a line of its own, once. To stderr. */
#ifndef PFT_PROGRESS_H
#define PFT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct status;

enum { PROGRESS_BYTES = 1024 };

struct progress {
    bool terminal;    /* that rewrites a line */
    bool narrow;      /* it has so many columns and no more */
    uint64_t last_ms; /* when a line was last written */
    char last_task[64];
    char last_text[PROGRESS_BYTES];
    bool open; /* a line stands unfinished on the terminal */
};

void progress_init(struct progress *p);
/* The line in at most `most` bytes: what can be missed best is left out first. Pure. */
void progress_line(char line[PROGRESS_BYTES], const struct status *s, size_t most);
void progress_show(struct progress *p, const struct status *s, uint64_t now_ms);
/* Ends an unfinished line. */
void progress_end(struct progress *p);

#endif
