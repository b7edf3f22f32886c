/* mailbox.h - the one queue type between threads: owned letters, first in first out.
 * Owns: the letters in it. Never: looks inside one. Any thread may post; one thread takes, either
 * by waiting (a plain thread) or by a callback on its libuv loop. What a letter points to belongs
 * to whoever holds the letter. */
#ifndef PFT_MAILBOX_H
#define PFT_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

struct uv_loop_s;

/* First member of every message type that goes through a mailbox. */
struct letter {
    struct letter *next;
    void (*drop)(struct letter *letter); /* frees it whole, unread; called by mailbox_close */
};

struct mailbox;

/* limit = letters it holds at most. */
MUST_USE enum err mailbox_open(size_t limit, struct mailbox **out);

/* From now on ready(ctx) is called on the loop's thread after posts (several posts may make one
 * call: take until NULL). Call on the loop's thread, before the first post. */
MUST_USE enum err mailbox_attach(struct mailbox *m, struct uv_loop_s *loop,
                                 void (*ready)(void *ctx), void *ctx);

/* OK: the mailbox has the letter. ERR_FULL, ERR_GONE (stopped): the caller still has it. Never
 * blocks. */
MUST_USE enum err mailbox_post(struct mailbox *m, struct letter *letter);

/* The next letter, now the caller's; NULL when there is none. */
struct letter *mailbox_take(struct mailbox *m);
/* Blocks for the next letter; NULL once stopped and empty. */
struct letter *mailbox_wait(struct mailbox *m);

/* No more posts are taken; a waiting thread gets what is left, then NULL. Any thread. */
void mailbox_stop(struct mailbox *m);

/* Frees it and drops the letters in it. Nobody uses it any more; an attached one must be closed on
 * the loop's thread, and the loop must turn once more before it is closed itself. */
void mailbox_close(struct mailbox **m);

#endif
