/* handshake.c - ZeroMQ's socket monitor, read as verdicts. */
#include "common/net/handshake.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "common/base/mem.h"

struct handshake_watch {
    void *watched;
    void *events; /* PAIR; unbounded: the I/O thread must never wait for its reader */
};

static enum err watch(struct handshake_watch *w, void *zmq_context, bool accepts, struct errbuf *e)
{
    static atomic_uint_least64_t serial;
    char name[64];
    (void)snprintf(name, sizeof name, "inproc://handshakes-%" PRIuLEAST64,
                   atomic_fetch_add(&serial, 1));
    const int kinds = (accepts ? ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED : 0) |
                      ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                      ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    const int none = 0;
    w->events = zmq_socket(zmq_context, ZMQ_PAIR);
    if (!w->events || zmq_setsockopt(w->events, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_setsockopt(w->events, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_socket_monitor(w->watched, name, kinds) != 0 || zmq_connect(w->events, name) != 0) {
        return err_set(e, ERR_IO, "socket monitor: %s", zmq_strerror(errno));
    }
    return OK;
}

enum err handshake_watch_open(void *zmq_context, void *zmq, bool accepts,
                              struct handshake_watch **out, struct errbuf *e)
{
    *out = NULL;
    struct handshake_watch *w = mem_calloc(1, sizeof *w);
    if (!w) {
        return err_set(e, ERR_NOMEM, "no memory for a socket monitor");
    }
    w->watched = zmq;
    enum err error = watch(w, zmq_context, accepts, e);
    if (error != OK) {
        handshake_watch_close(&w);
    }
    *out = w;
    return error;
}

void handshake_watch_close(struct handshake_watch **watch)
{
    struct handshake_watch *w = *watch;
    *watch = NULL;
    if (!w) {
        return;
    }
    (void)zmq_socket_monitor(w->watched, NULL, 0);
    if (w->events) {
        (void)zmq_close(w->events);
    }
    mem_free(w);
}

int handshake_watch_fd(const struct handshake_watch *w)
{
    int fd = -1;
    size_t bytes = sizeof fd;
    return zmq_getsockopt(w->events, ZMQ_FD, &fd, &bytes) == 0 ? fd : -1;
}

/* The value of a failure without detail is an errno; after a time-out it is any. */
static enum handshake verdict(unsigned event, int value)
{
    switch (event) {
    case ZMQ_EVENT_ACCEPTED:
        return HANDSHAKE_BEGUN;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        return HANDSHAKE_DONE;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return HANDSHAKE_DENIED;
    case ZMQ_EVENT_DISCONNECTED:
        return HANDSHAKE_CLOSED;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return value == EPIPE || value == ECONNRESET ? HANDSHAKE_LEFT : HANDSHAKE_SLOW;
    default:
        return HANDSHAKE_BROKEN;
    }
}

enum handshake handshake_next(struct handshake_watch *w, int *fd)
{
    /* Frame 0: 16 bits of event, 32 bits of value; frame 1: the address. */
    uint8_t head[6];
    char address[256];
    int n = zmq_recv(w->events, head, sizeof head, ZMQ_DONTWAIT);
    if (n != (int)sizeof head) {
        return HANDSHAKE_NONE;
    }
    (void)zmq_recv(w->events, address, sizeof address, ZMQ_DONTWAIT);
    uint16_t event;
    int32_t value;
    memcpy(&event, head, sizeof event);
    memcpy(&value, head + sizeof event, sizeof value);
    if (fd) {
        *fd = value;
    }
    return verdict(event, value);
}

enum handshake handshake_wait(struct handshake_watch *w, int timeout_ms)
{
    zmq_pollitem_t item = {.socket = w->events, .events = ZMQ_POLLIN};
    int n;
    do {
        n = zmq_poll(&item, 1, timeout_ms);
    } while (n < 0 && errno == EINTR);
    return n > 0 ? handshake_next(w, NULL) : HANDSHAKE_TIMEOUT;
}
