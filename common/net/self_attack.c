/* self_attack.c - a stranger, a plain client, and the coordinator itself at its own door. */
#include "common/net/self_attack.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/net/address.h"
#include "common/net/handshake.h"
#include "common/net/socket_options.h"

enum { VERDICT_MS = 15000, SIGNATURE_BYTES = 10, GREETING_BYTES = 64, FRAME_BYTES = 4096 };

static const char TCP[] = "tcp://";

/* tcp://0.0.0.0:N and tcp://[::]:N are reached over loopback. */
static enum err reachable(const char *endpoint, char host[ADDRESS_BYTES], char port[8],
                          struct errbuf *e)
{
    const char *rest = endpoint + sizeof TCP - 1;
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, TCP, sizeof TCP - 1) != 0 || colon < rest || strlen(colon + 1) > 7) {
        return err_set(e, ERR_USAGE, "%s: tcp://HOST:PORT wanted", endpoint);
    }
    int n = (int)(colon - rest);
    bool bracketed = n > 2 && rest[0] == '[';
    (void)snprintf(host, ADDRESS_BYTES, "%.*s", bracketed ? n - 2 : n, rest + (bracketed ? 1 : 0));
    (void)snprintf(port, 8, "%s", colon + 1);
    if (strcmp(host, "0.0.0.0") == 0) {
        (void)snprintf(host, ADDRESS_BYTES, "127.0.0.1");
    } else if (strcmp(host, "::") == 0) {
        (void)snprintf(host, ADDRESS_BYTES, "::1");
    }
    return OK;
}

/* What the handshake of one client with that key comes to. */
static enum err knock(const char *address, const struct key_file *key, enum handshake *verdict,
                      struct errbuf *e)
{
    const struct socket_options options = {
        .type = SOCKET_DEALER, .queue_messages = 1, .frame_bytes = FRAME_BYTES, .key = key};
    struct handshake_watch *watch = NULL;
    void *context = zmq_ctx_new();
    void *zmq = context ? zmq_socket(context, ZMQ_DEALER) : NULL;
    enum err error = zmq ? socket_options_apply(zmq, &options, e)
                         : err_set(e, ERR_IO, "zmq_socket: %s", zmq_strerror(errno));
    if (error == OK) {
        error = handshake_watch_open(context, zmq, false, &watch, e);
    }
    if (error == OK && zmq_connect(zmq, address) != 0) {
        error = err_set(e, ERR_IO, "%s: %s", address, zmq_strerror(errno));
    }
    if (error == OK) {
        *verdict = handshake_wait(watch, VERDICT_MS);
    }
    handshake_watch_close(&watch);
    if (zmq) {
        (void)zmq_close(zmq);
    }
    while (context && zmq_ctx_term(context) != 0 && errno == EINTR) {
    }
    return error;
}

static int connect_plain(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* Bytes received, until there are `enough` or the other side hangs up (*closed) or the time is
 * over.
 */
static size_t receive(int fd, size_t enough, bool *closed)
{
    char bytes[512];
    size_t got = 0;
    uint64_t end = clock_now_ms() + VERDICT_MS;
    *closed = false;
    for (uint64_t now = clock_now_ms(); now < end && got < enough; now = clock_now_ms()) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (poll(&item, 1, (int)(end - now)) <= 0) {
            continue;
        }
        size_t room = enough - got < sizeof bytes ? enough - got : sizeof bytes;
        ssize_t n = recv(fd, bytes, room, 0);
        if (n <= 0) {
            *closed = true;
            return got;
        }
        got += (size_t)n;
    }
    return got;
}

/* A greeting of the NULL mechanism in turns, as ZMTP has it; then, whatever the other side said of
 * itself, READY and a message. *in: something came back beyond its greeting. */
static bool talk_plainly(int fd, bool *in)
{
    static const uint8_t greeting[GREETING_BYTES] = {0xff, 0,    0, 0, 0,   0,   0,   0,
                                                     0,    0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    static const uint8_t rest[] = "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\6DEALER\0\5hello";
    bool closed = false;
    *in = false;
    if (send(fd, greeting, SIGNATURE_BYTES + 1, MSG_NOSIGNAL) < 0 ||
        receive(fd, GREETING_BYTES, &closed) != GREETING_BYTES) {
        return false; /* no ZMTP lives there */
    }
    /* What cannot be sent any more was refused already. */
    if (send(fd, greeting + SIGNATURE_BYTES + 1, GREETING_BYTES - SIGNATURE_BYTES - 1,
             MSG_NOSIGNAL) > 0) {
        (void)send(fd, rest, sizeof rest - 1, MSG_NOSIGNAL);
    }
    *in = receive(fd, 1, &closed) > 0;
    return *in || closed;
}

static enum err attack_plainly(const char *host, const char *port, const char *endpoint,
                               struct errbuf *e)
{
    bool in = false;
    int fd = connect_plain(host, port);
    if (fd < 0) {
        return err_set(e, ERR_IO, "%s: cannot be reached by its own coordinator: %s", endpoint,
                       strerror(errno));
    }
    bool verdict = talk_plainly(fd, &in);
    (void)close(fd);
    if (!verdict) {
        return err_set(e, ERR_IO, "%s: neither greets nor hangs up on a client without a key",
                       endpoint);
    }
    return !in ? OK
               : err_set(e, ERR_REFUSED,
                         "%s: let a client without a key in; this build or its ZeroMQ library "
                         "cannot be trusted, nothing is served",
                         endpoint);
}

static enum err attack_as_stranger(const char *address, const char *endpoint,
                                   const struct key_file *own, struct errbuf *e)
{
    struct key_file stranger = {.role = KEY_WORKER};
    enum handshake verdict = HANDSHAKE_TIMEOUT;
    key_generate(&stranger);
    memcpy(stranger.server, own->public_key, KEY_BYTES);
    enum err error = knock(address, &stranger, &verdict, e);
    key_clear(&stranger);
    if (error == OK && verdict == HANDSHAKE_DONE) {
        error = err_set(e, ERR_REFUSED,
                        "%s: let a stranger's key in; this build or its ZeroMQ library cannot be "
                        "trusted, nothing is served",
                        endpoint);
    } else if (error == OK && verdict == HANDSHAKE_TIMEOUT) {
        error = err_set(e, ERR_IO, "%s: gave a stranger's key no answer within %d ms", endpoint,
                        VERDICT_MS);
    }
    return error;
}

static enum err enter_as_oneself(const char *address, const char *endpoint,
                                 const struct key_file *own, struct errbuf *e)
{
    struct key_file key = *own;
    enum handshake verdict = HANDSHAKE_TIMEOUT;
    memcpy(key.server, own->public_key, KEY_BYTES);
    enum err error = knock(address, &key, &verdict, e);
    key_clear(&key);
    return error == OK && verdict != HANDSHAKE_DONE
               ? err_set(e, ERR_IO,
                         "%s: does not let the coordinator's own key in, so keys cannot "
                         "be checked here",
                         endpoint)
               : error;
}

enum err self_attack(const char *endpoint, const struct key_file *own, struct errbuf *e)
{
    char host[ADDRESS_BYTES];
    char port[8];
    char address[ADDRESS_BYTES + 16];
    enum err error = reachable(endpoint, host, port, e);
    if (error != OK) {
        return error;
    }
    bool six = strchr(host, ':') != NULL;
    (void)snprintf(address, sizeof address, "tcp://%s%s%s:%s", six ? "[" : "", host, six ? "]" : "",
                   port);
    error = attack_plainly(host, port, endpoint, e);
    if (error == OK) {
        error = attack_as_stranger(address, endpoint, own, e);
    }
    return error == OK ? enter_as_oneself(address, endpoint, own, e) : error;
}
