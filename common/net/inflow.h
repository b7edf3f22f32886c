/* inflow.h - how much every connection of a bound socket sends: bytes that nobody has read yet
 * (tcp), and messages a second.
 * Owns: a table of connections. Never: a ZeroMQ socket. Place: inside socket, on its thread.
 *
 * libzmq collects all parts of a message before it delivers the first, without a limit on their
 * number, and its high-water mark counts whole messages only. What it holds for a connection can
 * still be known: bytes the kernel received on it, less those still in the kernel, less those
 * delivered. A connection beyond its cap, or the worst one when all together are beyond theirs, is
 * hung up on. A part costs libzmq 64 bytes at least, so in the worst case, parts of one byte, the
 * memory is some 20 times the bytes capped here.
 *
 * The queue of messages has no end (socket_options.c), so a connection that sends more messages a
 * second than any honest one is hung up on as well, and what it left behind is dropped unseen. */
#ifndef PFT_INFLOW_H
#define PFT_INFLOW_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct inflow;

/* Caps in bytes as they come over the wire, and in messages a second (0: no cap). */
MUST_USE enum err inflow_open(uint64_t connection_bytes, uint64_t total_bytes,
                              uint32_t messages_per_s, struct inflow **out);
void inflow_close(struct inflow **inflow);
/* Wider caps; narrower ones change nothing. */
void inflow_widen(struct inflow *f, uint64_t connection_bytes, uint64_t total_bytes);

/* A connection was accepted on this descriptor (libzmq's). */
void inflow_accepted(struct inflow *f, int fd);
enum inflow_verdict {
    INFLOW_GOOD,
    INFLOW_FLOOD, /* one message too many: hung up on now, the message is to be dropped */
    INFLOW_LATE,  /* what such a connection left behind: to be dropped */
};
/* A message of so many parts and bytes came over it and is about to be delivered. number tells its
 * connection from earlier ones on the same descriptor, whose messages may come later: it grows from
 * one connection to the next; 0: not known. */
MUST_USE enum inflow_verdict inflow_delivered(struct inflow *f, int fd, uint32_t number,
                                              uint64_t parts, uint64_t bytes);
/* Hangs up on it. */
void inflow_hang_up(struct inflow *f, int fd);

/* Looks at every connection and hangs up on those beyond the caps; returns how many. A few times a
 * second. */
uint32_t inflow_check(struct inflow *f, uint64_t now_ms);

#endif
