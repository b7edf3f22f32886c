/* talk.h - lines to and from a coordinator that was started with --ask.
 * Owns: the two pipes, what is read of a line. Never: what lines mean. Place: a command fills
 * `begin` and `answered`; local_run opens it with the coordinator. All on its loop. */
#ifndef PFT_TALK_H
#define PFT_TALK_H

#include <uv.h>

#include "cli/children.h"
#include "common/base/str.h"

struct talk {
    void (*begin)(struct talk *talk);                      /* the coordinator was started */
    void (*answered)(struct talk *talk, const char *line); /* without its line end */
    void *context;
    uv_loop_t *loop;
    uv_pipe_t in, out; /* as the coordinator sees them */
    struct str kept;
    bool open; /* in is */
};

/* Makes the pipes the coordinator's; talk_begin starts to read and calls begin. */
void talk_open(struct talk *talk, uv_loop_t *loop, struct child *coordinator);
void talk_begin(struct talk *talk);

/* Sends a line (copied); its end is added. */
void talk_say(struct talk *talk, const char *line, size_t bytes);
/* No more lines: the coordinator ends after its last answer. */
void talk_end(struct talk *talk);
/* After local_run: what is left of lines. Fine on a zeroed struct. */
void talk_free(struct talk *talk);

#endif
