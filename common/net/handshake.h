/* handshake.h - a watch over the handshakes of one ZeroMQ socket: who got through, who did not.
 * Owns: the monitor of the socket and its end of it. Never: decides. On the thread of the watched
 * socket; nothing blocks but handshake_wait. */
#ifndef PFT_HANDSHAKE_H
#define PFT_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum handshake {
    HANDSHAKE_NONE,   /* nothing new */
    HANDSHAKE_BEGUN,  /* a connection was accepted */
    HANDSHAKE_DONE,   /* a peer got through */
    HANDSHAKE_DENIED, /* a key was turned away */
    HANDSHAKE_BROKEN, /* no common language, a wrong server key */
    HANDSHAKE_SLOW,   /* it took too long */
    HANDSHAKE_LEFT,   /* the other side hung up before it was over (or, rarely, it took too long) */
    HANDSHAKE_CLOSED, /* an accepted connection is gone, after its verdict if it had a bad one */
    HANDSHAKE_TIMEOUT, /* handshake_wait: nothing within the time */
};

struct handshake_watch;

/* zmq_context and zmq are ZeroMQ's. Before the socket binds or connects. accepts: of a socket that
 * binds, with HANDSHAKE_BEGUN and HANDSHAKE_CLOSED. */
MUST_USE enum err handshake_watch_open(void *zmq_context, void *zmq, bool accepts,
                                       struct handshake_watch **out, struct errbuf *e);
/* Before the socket is closed. */
void handshake_watch_close(struct handshake_watch **watch);

/* A descriptor that becomes readable (edge-triggered) when there is something new; -1 on an error.
 */
int handshake_watch_fd(const struct handshake_watch *watch);
/* The next event, HANDSHAKE_NONE when there is none. *fd (which may be NULL): the descriptor of
 * HANDSHAKE_BEGUN and HANDSHAKE_CLOSED, libzmq's own. */
enum handshake handshake_next(struct handshake_watch *watch, int *fd);
/* The next verdict; waits up to timeout_ms. For a socket that connects. */
enum handshake handshake_wait(struct handshake_watch *watch, int timeout_ms);

#endif
