/* socket_options.h - what a ZeroMQ socket is told before it binds or connects.
 * Owns: the list of options and their fixed values. Never: sockets. Place: under socket, request
 * and the self-attack. */
#ifndef PFT_SOCKET_OPTIONS_H
#define PFT_SOCKET_OPTIONS_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/net/key_file.h"

enum { SOCKET_HANDSHAKE_MS = 2000 }; /* a longer handshake is ended */

enum socket_type {
    SOCKET_ROUTER, /* binds; many peers, each with a route */
    SOCKET_DEALER, /* connects to one peer */
};

struct socket_options {
    enum socket_type type;
    int queue_messages;  /* high-water mark a peer; of a ROUTER only of what goes out */
    int64_t frame_bytes; /* larger incoming frames disconnect the peer */
    /* Of a ROUTER, 0: no caps. What a connection, and all together, may have sent that is not
     * delivered yet (tcp), and how many messages a second; beyond it they are hung up on
     * (inflow.h). */
    uint64_t unread_bytes, unread_total_bytes;
    uint32_t messages_per_s;
    /* Of a ROUTER with those caps, 0: no caps. Connections that have said nothing yet, all and of
     * one address (half_open.h); and the highest descriptor that a connection may have: one that
     * gets a higher one is hung up on at once, those are for files. */
    uint32_t half_open, half_open_per_address;
    int descriptor_max;
    int linger_ms;    /* unsent messages live this long after close */
    int reconnect_ms; /* first pause of a DEALER; doubles up to reconnect_max_ms */
    int reconnect_max_ms;
    /* NULL: no keys. Else CURVE: a ROUTER asks the ZAP handler of its context about every peer and
     * names itself with domain; a DEALER shows its key and insists on key->server. Borrowed for
     * the call. */
    const struct key_file *key;
    const char *domain; /* of a ROUTER with a key */
};

/* zmq is a ZeroMQ socket. */
MUST_USE enum err socket_options_apply(void *zmq, const struct socket_options *o, struct errbuf *e);

#endif
