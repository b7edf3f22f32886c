/* no_net.h - sockets that are not there, for programs that put a network of their own in
 * common/net's place: they define socket_send, and hand what arrives to the receive callbacks
 * themselves. Included once. */
#ifndef PFT_NO_NET_H
#define PFT_NO_NET_H

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/net/socket.h"

enum err socket_context_open(struct socket_context **out, struct errbuf *e)
{
    (void)e;
    *out = NULL;
    return OK;
}

void socket_context_close(struct socket_context **c)
{
    *c = NULL;
}

enum err socket_open(struct socket_context *c, struct uv_loop_s *loop,
                     const struct socket_options *options, socket_receive receive, void *ctx,
                     struct socket **out, struct errbuf *e)
{
    (void)c;
    (void)loop;
    (void)options;
    (void)receive;
    (void)ctx;
    (void)e;
    *out = NULL;
    return OK;
}

enum err socket_bind(struct socket *s, const char *address, char endpoint[ADDRESS_BYTES],
                     struct errbuf *e)
{
    (void)s;
    (void)e;
    CHECK(snprintf(endpoint, ADDRESS_BYTES, "%s", address) < ADDRESS_BYTES);
    return OK;
}

void socket_close(struct socket **s)
{
    *s = NULL;
}

bool socket_route_equal(const struct socket_route *a, const struct socket_route *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

#endif
