/* inflow.h - how much every connection of a bound tcp socket has sent that nobody has read yet.
 * Owns: a table of connections. Never: a ZeroMQ socket. Place: inside socket, on its thread.
 *
 * libzmq collects all parts of a message before it delivers the first, without a limit on their
 * number, and its high-water mark counts whole messages only. What it holds for a connection can
 * still be known: bytes the kernel received on it, less those still in the kernel, less those
 * delivered. A connection beyond its cap, or the worst one when all together are beyond theirs, is
 * hung up on. A part costs libzmq 64 bytes at least, so in the worst case, parts of one byte, the
 * memory is some 20 times the bytes capped here. */
#ifndef PFT_INFLOW_H
#define PFT_INFLOW_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct inflow;

/* Caps in bytes as they come over the wire. */
MUST_USE enum err inflow_open(uint64_t connection_bytes, uint64_t total_bytes, struct inflow **out);
void inflow_close(struct inflow **inflow);
/* Wider caps; narrower ones change nothing. */
void inflow_widen(struct inflow *f, uint64_t connection_bytes, uint64_t total_bytes);

/* A connection was accepted on this descriptor (libzmq's). */
void inflow_accepted(struct inflow *f, int fd);
/* A message of so many parts and bytes came over it and was delivered. */
void inflow_delivered(struct inflow *f, int fd, uint64_t parts, uint64_t bytes);
/* Hangs up on it. */
void inflow_hang_up(struct inflow *f, int fd);

/* Looks at every connection and hangs up on those beyond the caps; returns how many. A few times a
 * second. */
uint32_t inflow_check(struct inflow *f, uint64_t now_ms);

#endif
