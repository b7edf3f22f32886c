/* handshake.h - a watch over the handshakes of one ZeroMQ socket: who got through, who did not.
 * Owns: the monitor of the socket and its end of it. Never: decides. On the thread of the watched
 * socket; nothing blocks but handshake_wait. */
#ifndef PFT_HANDSHAKE_H
#define PFT_HANDSHAKE_H

#include <stdint.h>

#include "common/base/err.h"

enum handshake {
    HANDSHAKE_NONE,    /* nothing new */
    HANDSHAKE_BEGUN,   /* a connection was accepted */
    HANDSHAKE_DONE,    /* a peer got through */
    HANDSHAKE_DENIED,  /* a key was turned away */
    HANDSHAKE_BROKEN,  /* no common language, a wrong server key, silence */
    HANDSHAKE_TIMEOUT, /* handshake_wait: nothing within the time */
};

struct handshake_watch;

/* zmq_context and zmq are ZeroMQ's. Before the socket binds or connects. */
MUST_USE enum err handshake_watch_open(void *zmq_context, void *zmq, struct handshake_watch **out,
                                       struct errbuf *e);
/* Before the socket is closed. */
void handshake_watch_close(struct handshake_watch **watch);

/* The next event, HANDSHAKE_NONE when there is none. *fd (which may be NULL): the descriptor of
 * HANDSHAKE_BEGUN, libzmq's own. */
enum handshake handshake_next(struct handshake_watch *watch, int *fd);
/* The next verdict; waits up to timeout_ms. For a socket that connects. */
enum handshake handshake_wait(struct handshake_watch *watch, int timeout_ms);

#endif
