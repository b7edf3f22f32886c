/* desk.h - a thread that handles letters one after another, in the order in which they were posted.
 * Owns: its mailbox, its thread. Never: knows what a letter says. Place: under the reducer and the
 * scribe, whose work is written as plain functions of one letter; the simulator puts virtual time
 * in the place of the thread. desk_open, desk_post, desk_close: one thread, the loop's. */
#ifndef PFT_DESK_H
#define PFT_DESK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/mailbox.h"

struct desk;

/* Handles a letter on the desk's thread; may block. Returns 0 when it is done with it (the letter
 * is then dropped), else the ms after which it wants the same letter again. closing: nobody waits
 * any longer, it must be done with it now. */
typedef uint32_t (*desk_handle)(void *ctx, struct letter *letter, bool closing);

/* limit = letters that wait at most. ERR_NOMEM also when no thread can be started. */
MUST_USE enum err desk_open(size_t limit, desk_handle handle, void *ctx, struct desk **out);

/* OK: the desk has the letter. ERR_FULL, ERR_GONE: the letter was dropped. Never blocks. */
MUST_USE enum err desk_post(struct desk *d, struct letter *letter);

/* Handles what was posted, waits for the thread; NULL inside is fine. */
void desk_close(struct desk **d);

#endif
