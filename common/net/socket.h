/* socket.h - a ZeroMQ socket on a libuv loop.
 * Owns: the context, sockets, their handles on the loop, options. Never: what frames mean.
 * Place: under the two shells and the status endpoint. Everything on the loop's thread.
 *
 * The socket's descriptor is edge-triggered and only a hint, and any send or receive can eat the
 * edge. So the events are read before every poll and after it, and while messages wait an idle
 * handle keeps the loop from sleeping; at most SOCKET_TURN_MESSAGES are handled per turn, so that a
 * talkative peer delays nobody. Sending never blocks.
 *
 * A message is one header frame and at most one payload frame. Anything else that a peer sends is
 * dropped and reported as malformed; what comes from a peer that gave itself a name is dropped
 * unseen. */
#ifndef PFT_SOCKET_H
#define PFT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/address.h"
#include "common/net/blob.h"
#include "common/net/socket_options.h"

struct uv_loop_s;

enum { SOCKET_TURN_MESSAGES = 64, SOCKET_ROUTE_BYTES = 32 };

/* The address of a peer of a ROUTER for as long as its connection lives. */
struct socket_route {
    uint8_t length;
    uint8_t bytes[SOCKET_ROUTE_BYTES];
};

/* What arrives. route is NULL on a DEALER. payload may be NULL; set *payload to NULL to keep it.
 * header == NULL: the peer sent something malformed, there is nothing to read. The callback may
 * send on any socket and may close this one. */
typedef void (*socket_receive)(void *ctx, const struct socket_route *route, const uint8_t *header,
                               size_t header_bytes, struct blob **payload);

struct socket_context;
struct socket;

/* One context per process. Refuses a libzmq older than 4.3.3 (known remote faults). */
MUST_USE enum err socket_context_open(struct socket_context **out, struct errbuf *e);
/* Every socket must be closed before; waits at most for their linger time. */
void socket_context_close(struct socket_context **c);

MUST_USE enum err socket_open(struct socket_context *c, struct uv_loop_s *loop,
                              const struct socket_options *options, socket_receive receive,
                              void *ctx, struct socket **out, struct errbuf *e);

/* Binds; an ipc path that is served already (ERR_BUSY) or that is no socket (ERR_REFUSED) is left
 * alone. endpoint is the address that came out ("tcp://127.0.0.1:*" has a port then). */
MUST_USE enum err socket_bind(struct socket *s, const char *address, char endpoint[ADDRESS_BYTES],
                              struct errbuf *e);
/* Begins to connect; OK says only that the address can be tried. */
MUST_USE enum err socket_connect(struct socket *s, const char *address, struct errbuf *e);

/* Sends a header and, when payload is not NULL, the payload without copying it (a reference is
 * taken). route: ROUTER only. ERR_GONE: no such peer; ERR_BUSY: its queue is full, or a DEALER is
 * not connected; nothing was sent then. */
MUST_USE enum err socket_send(struct socket *s, const struct socket_route *route,
                              const uint8_t *header, size_t header_bytes, struct blob *payload);

/* Closes the socket at once; its handles leave the loop on the next turn. */
void socket_close(struct socket **s);

bool socket_route_equal(const struct socket_route *a, const struct socket_route *b);

/* The name of the key whose message is being received, "" when the socket asks for none. Only
 * inside a receive callback. */
const char *socket_sender(const struct socket *s);

/* Inside a receive callback of a ROUTER with a cap on unread bytes: closes the connection that the
 * message came over. */
void socket_hang_up_sender(struct socket *s);

/* Of a socket with a cap on unread bytes: wider ones from now on; narrower ones change nothing. */
void socket_allow_unread(struct socket *s, uint64_t unread_bytes, uint64_t unread_total_bytes);

/* Who was turned away so far. */
struct socket_refusals {
    uint64_t denied;  /* handshakes: the key was turned away */
    uint64_t broken;  /* handshakes: no key, a wrong server key, another protocol, silence */
    uint64_t crowded; /* connections: too many at once that say nothing, no descriptor left */
    uint64_t left;    /* of a ROUTER, not turned away: gone before the handshake was over */
    uint64_t flooded; /* connections: more unread bytes, or more messages a second, than the cap */
};
struct socket_refusals socket_refusals(struct socket *s);

/* The ZeroMQ context, for the parts of common/net that need sockets of their own in it. */
void *socket_context_zmq(const struct socket_context *c);

#endif
