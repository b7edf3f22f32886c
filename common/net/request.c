/* request.c - a question over a DEALER of its own. */
#include "common/net/request.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/address.h"
#include "common/net/handshake.h"
#include "common/net/socket_options.h"

/* The frames of a CURVE handshake must fit too. */
enum { REQUEST_QUEUE = 4, SLICE_MS = 20, FRAME_LEAST_BYTES = 1024 };

static enum err take_reply(void *zmq, size_t reply_max, uint8_t **reply, size_t *reply_bytes,
                           struct errbuf *e)
{
    zmq_msg_t message;
    (void)zmq_msg_init(&message);
    enum err error = OK;
    int n = zmq_msg_recv(&message, zmq, 0);
    if (n < 0 || zmq_msg_more(&message) || zmq_msg_size(&message) > reply_max) {
        error = err_set(e, ERR_PARSE, "the reply is not one frame of at most %zu bytes", reply_max);
    } else {
        *reply_bytes = zmq_msg_size(&message);
        *reply = mem_calloc(1, *reply_bytes);
        if (*reply) {
            memcpy(*reply, zmq_msg_data(&message), *reply_bytes);
        } else {
            error = err_set(e, ERR_NOMEM, "no memory for a reply of %zu bytes", *reply_bytes);
        }
    }
    (void)zmq_msg_close(&message);
    return error;
}

/* Why nobody answered, as far as the handshake tells. */
static enum err no_answer(const char *address, const struct key_file *key, enum handshake seen,
                          int timeout_ms, struct errbuf *e)
{
    if (seen == HANDSHAKE_DENIED) {
        return err_set(e, ERR_REFUSED,
                       "%s: does not let key '%s' (%s) in here: it is not on the coordinator's "
                       "list, was revoked, or its role may not use this socket",
                       address, key->name, key_role_name(key->role));
    }
    if ((seen == HANDSHAKE_BROKEN || seen == HANDSHAKE_SLOW || seen == HANDSHAKE_LEFT) &&
        !address_ipc_path(address)) {
        return err_set(e, ERR_REFUSED,
                       key ? "%s: hangs up on key '%s': it belongs to another "
                             "coordinator, or this one asks for no keys"
                           : "%s: hangs up: it asks for a key; give one with --key",
                       address, key ? key->name : "");
    }
    return err_set(e, ERR_TIMEOUT, "%s: no answer within %d ms; has the coordinator ended?",
                   address, timeout_ms);
}

/* Waits until the socket has what is wanted, or the handshake failed. */
static enum err await(void *zmq, struct handshake_watch *watch, short events, uint64_t end_ms,
                      enum handshake *seen)
{
    zmq_pollitem_t item = {.socket = zmq, .events = events};
    for (;;) {
        if (zmq_poll(&item, 1, SLICE_MS) > 0) {
            return OK;
        }
        enum handshake h = handshake_next(watch, NULL);
        *seen = h != HANDSHAKE_NONE ? h : *seen;
        if (*seen == HANDSHAKE_DENIED || clock_now_ms() >= end_ms) {
            return ERR_TIMEOUT;
        }
    }
}

static enum err ask(void *zmq, struct handshake_watch *watch, const char *address,
                    const struct key_file *key, const uint8_t *request, size_t bytes,
                    int timeout_ms, struct errbuf *e)
{
    uint64_t end_ms = clock_now_ms() + (uint64_t)timeout_ms;
    enum handshake seen = HANDSHAKE_NONE;
    if (zmq_connect(zmq, address) != 0) {
        return err_set(e, ERR_IO, "%s: %s", address, zmq_strerror(errno));
    }
    enum err error = await(zmq, watch, ZMQ_POLLOUT, end_ms, &seen);
    if (error == OK && zmq_send(zmq, request, bytes, ZMQ_DONTWAIT) >= 0) {
        error = await(zmq, watch, ZMQ_POLLIN, end_ms, &seen);
    } else {
        error = ERR_TIMEOUT;
    }
    return error == OK ? OK : no_answer(address, key, seen, timeout_ms, e);
}

enum err request_reply(const char *address, const struct key_file *key, const uint8_t *request,
                       size_t bytes, size_t reply_max, int timeout_ms, uint8_t **reply,
                       size_t *reply_bytes, struct errbuf *e)
{
    *reply = NULL;
    const struct socket_options options = {
        .type = SOCKET_DEALER,
        .queue_messages = REQUEST_QUEUE,
        .frame_bytes = reply_max > FRAME_LEAST_BYTES ? (int64_t)reply_max : FRAME_LEAST_BYTES,
        .key = address_ipc_path(address) ? NULL : key};
    enum err error = address_check_connect(address, e);
    if (error != OK) {
        return error;
    }
    struct handshake_watch *watch = NULL;
    void *context = zmq_ctx_new();
    void *zmq = context ? zmq_socket(context, ZMQ_DEALER) : NULL;
    error = zmq ? socket_options_apply(zmq, &options, e)
                : err_set(e, ERR_IO, "zmq_socket: %s", zmq_strerror(errno));
    /* A DEALER that does not queue to absent peers throws away what it has not read when its peer
     * closes: the answer of a coordinator that ends right after it. */
    const int queue = 0;
    if (error == OK && zmq_setsockopt(zmq, ZMQ_IMMEDIATE, &queue, sizeof queue) != 0) {
        error = err_set(e, ERR_IO, "ZMQ_IMMEDIATE: %s", zmq_strerror(errno));
    }
    if (error == OK) {
        error = handshake_watch_open(context, zmq, false, &watch, e);
    }
    if (error == OK) {
        error = ask(zmq, watch, address, options.key, request, bytes, timeout_ms, e);
    }
    if (error == OK) {
        error = take_reply(zmq, reply_max, reply, reply_bytes, e);
    }
    handshake_watch_close(&watch);
    if (zmq) {
        (void)zmq_close(zmq);
    }
    while (context && zmq_ctx_term(context) != 0 && errno == EINTR) {
    }
    return error;
}
