/* socket_options.c - options of a ZeroMQ socket. */
#include "common/net/socket_options.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "common/base/check.h"

enum {
    BACKLOG = 256,
    /* A dead tcp peer is noticed within 30 s: unacknowledged bytes by their age, an idle connection
     * by probes (the last of them, where the kernel does not count their age, after 40 s). */
    UNACKNOWLEDGED_MS = 30000,
    KEEPALIVE_IDLE_S = 15,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_PROBES = 5,
    CURVE_BYTES = 64, /* what encryption adds to a frame, 33, and to spare */
};

#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
/* A draft name in zmq.h, an option of every library since 4.3.0. */
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

static enum err set(void *zmq, int option, const void *value, size_t bytes, struct errbuf *e)
{
    return zmq_setsockopt(zmq, option, value, bytes) == 0
               ? OK
               : err_set(e, ERR_IO, "socket option %d: %s", option, zmq_strerror(errno));
}

/* Without a domain that is enforced, libzmq lets everybody in when no handler answers. */
static enum err apply_key(void *zmq, const struct socket_options *o, struct errbuf *e)
{
    const int one = 1;
    const struct key_file *key = o->key;
    bool server = o->type == SOCKET_ROUTER;
    CHECK(zmq_has("curve") == 1);
    enum err error = set(zmq, ZMQ_CURVE_SECRETKEY, key->secret, KEY_BYTES, e);
    if (error == OK && !server) {
        error = set(zmq, ZMQ_CURVE_PUBLICKEY, key->public_key, KEY_BYTES, e);
        return error == OK ? set(zmq, ZMQ_CURVE_SERVERKEY, key->server, KEY_BYTES, e) : error;
    }
    if (error == OK) {
        error = set(zmq, ZMQ_CURVE_SERVER, &one, sizeof one, e);
    }
    if (error == OK && o->domain) {
        error = set(zmq, ZMQ_ZAP_DOMAIN, o->domain, strlen(o->domain), e);
    }
    return error == OK && o->domain ? set(zmq, ZMQ_ZAP_ENFORCE_DOMAIN, &one, sizeof one, e) : error;
}

/* libzmq (4.3.4, stream_engine_base.cpp) must never write to a connection whose input it stopped
 * because the receive queue was full, and whose peer hung up since: it aborts. Two things make it
 * do so, its own heartbeats and the answer to a ping that came behind the message that found no
 * room. So there are no heartbeats, and the queue of a socket that strangers connect to has no end;
 * inflow.h bounds what is in it. */
enum err socket_options_apply(void *zmq, const struct socket_options *o, struct errbuf *e)
{
    const struct {
        int option, value;
    } list[] = {
        {ZMQ_LINGER, o->linger_ms},
        {ZMQ_SNDHWM, o->queue_messages},
        {ZMQ_RCVHWM, o->type == SOCKET_ROUTER ? 0 : o->queue_messages},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S},
        {ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S},
        {ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES},
        {ZMQ_TCP_MAXRT, UNACKNOWLEDGED_MS},
        {ZMQ_HANDSHAKE_IVL, SOCKET_HANDSHAKE_MS},
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_BACKLOG, BACKLOG},
        {ZMQ_IPV6, 1},
        {ZMQ_RECONNECT_IVL, o->reconnect_ms > 0 ? o->reconnect_ms : 100},
        {ZMQ_RECONNECT_IVL_MAX, o->reconnect_max_ms},
        {ZMQ_ROUTER_MANDATORY, 1},
    };
    size_t n = sizeof list / sizeof list[0] - (o->type == SOCKET_ROUTER ? 0 : 1);
    enum err error = OK;
    for (size_t i = 0; i < n && error == OK; i++) {
        error = set(zmq, list[i].option, &list[i].value, sizeof list[i].value, e);
    }
    if (error == OK) {
        const int64_t frame = o->frame_bytes + (o->key && o->frame_bytes >= 0 ? CURVE_BYTES : 0);
        error = set(zmq, ZMQ_MAXMSGSIZE, &frame, sizeof frame, e);
    }
    return error == OK && o->key ? apply_key(zmq, o, e) : error;
}
