/* ask_lines.h - the way of questions in and answers out: lines on stdin and stdout.
 * Owns: a thread that reads stdin and writes stdout, so that a slow reader holds up no loop. Never:
 * what a line means. Lines come as letters in one mailbox, one at a time: the next is read once the
 * one before is answered. */
#ifndef PFT_ASK_LINES_H
#define PFT_ASK_LINES_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/mailbox.h"

enum { ASK_LINE_BYTES = 32 << 20 };

struct ask_line {
    struct letter letter; /* first */
    bool end;             /* no more will come, and this is no line */
    bool too_long;        /* above ASK_LINE_BYTES; text is empty */
    char trouble[128];    /* not "": the answer before it could not be written; the last word */
    struct str text;      /* without its line end */
};
void ask_line_free(struct ask_line *line);

struct ask_lines;

/* Letters go to `to`, which is borrowed and outlives it. */
MUST_USE enum err ask_lines_open(struct mailbox *to, struct ask_lines **out, struct errbuf *e);

/* The answer and a line end go to stdout, from the thread; then the next line comes in. ERR_NOMEM.
 */
MUST_USE enum err ask_lines_answer(struct ask_lines *lines, const struct str *answer,
                                   struct errbuf *e);

/* Stops the thread and waits for it; fine on NULL inside. */
void ask_lines_close(struct ask_lines **lines);

#endif
