/* test_socket.c - a ROUTER and DEALERs on one loop over ipc: many messages, payloads without a
 * copy, unknown peers, malformed messages, bounded work per turn, closing from inside a callback.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>
#include <zmq.h>

#include "common/base/mem.h"
#include "common/net/request.h"
#include "common/net/socket.h"

enum {
    MESSAGES = 700,
    PAYLOAD_BYTES = 100000,
    PARTINGS = 200,
    FLOOD = 20,
    PATIENCE_MS = 20000,
};

struct world {
    char folder[64];
    char address[ADDRESS_BYTES];
    uv_loop_t loop;
    uv_timer_t timer;
    struct socket_context *context;
    struct socket *server, *client;
    struct socket_route route;
    uint32_t at_server, at_client, malformed, sent;
    bool wrong;
};

static const struct socket_options OPTIONS[] = {
    {.type = SOCKET_ROUTER, .queue_messages = 1000, .frame_bytes = 1 << 20},
    {.type = SOCKET_DEALER,
     .queue_messages = 1000,
     .frame_bytes = 1 << 20,
     .reconnect_ms = 10,
     .reconnect_max_ms = 100},
};

static void on_server(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    struct world *w = ctx;
    if (!header) {
        w->malformed++;
        return;
    }
    w->route = *route;
    w->at_server++;
    w->wrong |= socket_send(w->server, route, header, bytes, *payload) != OK;
}

static void on_client(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    struct world *w = ctx;
    uint32_t number = 0;
    w->wrong |= route != NULL || !header || bytes != sizeof number || !*payload ||
                blob_bytes(*payload) != PAYLOAD_BYTES;
    if (!w->wrong) {
        memcpy(&number, header, sizeof number);
        w->wrong |= number != w->at_client || blob_data(*payload)[PAYLOAD_BYTES - 1] != 0x5a;
    }
    if (++w->at_client == MESSAGES || w->wrong) {
        socket_close(&w->client);
        socket_close(&w->server);
        uv_close((uv_handle_t *)&w->timer, NULL);
    }
}

/* Sends as long as the queue takes it; tries again a little later (also while connecting). */
static void on_timer(uv_timer_t *timer)
{
    struct world *w = timer->data;
    struct blob *blob = blob_new(PAYLOAD_BYTES);
    assert_non_null(blob);
    memset(blob_data_mut(blob), 0x5a, PAYLOAD_BYTES);
    while (w->client && w->sent < MESSAGES) {
        enum err error =
            socket_send(w->client, NULL, (const uint8_t *)&w->sent, sizeof w->sent, blob);
        if (error != OK) {
            w->wrong |= error != ERR_BUSY;
            break;
        }
        w->sent++;
    }
    blob_free(&blob);
}

static int setup(void **state)
{
    struct world *w = mem_calloc(1, sizeof *w);
    struct errbuf e;
    assert_non_null(w);
    (void)snprintf(w->folder, sizeof w->folder, "/tmp/pft-socket-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    (void)snprintf(w->address, sizeof w->address, "ipc://%s/s", w->folder);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->timer), 0);
    w->timer.data = w;
    assert_int_equal(socket_context_open(&w->context, &e), OK);
    char endpoint[ADDRESS_BYTES];
    assert_int_equal(socket_open(w->context, &w->loop, &OPTIONS[0], on_server, w, &w->server, &e),
                     OK);
    assert_int_equal(socket_bind(w->server, w->address, endpoint, &e), OK);
    assert_string_equal(endpoint, w->address);
    assert_int_equal(socket_open(w->context, &w->loop, &OPTIONS[1], on_client, w, &w->client, &e),
                     OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    socket_close(&w->client);
    socket_close(&w->server);
    if (!uv_is_closing((uv_handle_t *)&w->timer)) {
        uv_close((uv_handle_t *)&w->timer, NULL);
    }
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    socket_context_close(&w->context);
    (void)unlink(w->address + strlen("ipc://"));
    assert_int_equal(rmdir(w->folder), 0);
    mem_free(w);
    return 0;
}

static void test_messages_and_payloads_come_back_in_order(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    assert_int_equal(socket_connect(w->client, w->address, &e), OK);
    assert_int_equal(uv_timer_start(&w->timer, on_timer, 0, 5), 0);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_false(w->wrong);
    assert_int_equal(w->at_server, MESSAGES);
    assert_int_equal(w->at_client, MESSAGES);
}

static void test_a_peer_that_is_not_there_is_gone_and_a_dealer_alone_is_busy(void **state)
{
    struct world *w = *state;
    const struct socket_route nobody = {.length = 5, .bytes = {0, 1, 2, 3, 4}};
    assert_int_equal(socket_send(w->server, &nobody, (const uint8_t *)"x", 1, NULL), ERR_GONE);
    assert_int_equal(socket_send(w->client, NULL, (const uint8_t *)"x", 1, NULL), ERR_BUSY);
}

static void test_messages_of_a_wrong_number_of_frames_are_counted_and_dropped(void **state)
{
    struct world *w = *state;
    void *raw_context = zmq_ctx_new();
    void *raw = zmq_socket(raw_context, ZMQ_DEALER);
    assert_int_equal(zmq_connect(raw, w->address), 0);
    for (int frames = 3; frames < 40; frames++) {
        for (int i = 0; i < frames; i++) {
            assert_int_equal(zmq_send(raw, "abc", 3, i + 1 < frames ? ZMQ_SNDMORE : 0), 3);
        }
    }
    assert_int_equal(zmq_send(raw, "", 0, 0), 0);
    while (w->malformed < 37 || w->at_server < 1) {
        assert_true(uv_run(&w->loop, UV_RUN_ONCE) != 0);
    }
    assert_false(w->wrong);
    int linger = 0;
    assert_int_equal(zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof linger), 0);
    assert_int_equal(zmq_close(raw), 0);
    assert_int_equal(zmq_ctx_term(raw_context), 0);
}

static void test_a_request_without_anybody_to_answer_times_out(void **state)
{
    struct world *w = *state;
    uint8_t *reply;
    size_t bytes;
    struct errbuf e;
    assert_int_equal(request_reply("ipc:///nonexistent/s", NULL, (const uint8_t *)"x", 1, 100, 20,
                                   &reply, &bytes, &e),
                     ERR_TIMEOUT);
    assert_null(reply);
    assert_int_equal(
        request_reply(w->address, NULL, (const uint8_t *)"x", 1, 100, 20, &reply, &bytes, &e),
        ERR_TIMEOUT);
}

/* Answers one request and is gone, as a coordinator that is told to stop. */
static void *answer_and_leave(void *argument)
{
    char route[SOCKET_ROUTE_BYTES];
    char word[8];
    void *router = argument;
    int n = zmq_recv(router, route, sizeof route, 0);
    int m = zmq_recv(router, word, sizeof word, 0);
    bool ok = n > 0 && m > 0 && zmq_send(router, route, (size_t)n, ZMQ_SNDMORE) == n &&
              zmq_send(router, word, (size_t)m, 0) == m;
    ok = zmq_close(router) == 0 && ok;
    return ok ? argument : NULL;
}

static void test_a_reply_is_not_lost_when_who_gave_it_leaves_at_once(void **state)
{
    const struct world *w = *state;
    char address[ADDRESS_BYTES];
    (void)snprintf(address, sizeof address, "ipc://%s/leaving", w->folder);
    for (int i = 0; i < PARTINGS; i++) {
        void *context = zmq_ctx_new();
        void *router = zmq_socket(context, ZMQ_ROUTER);
        pthread_t thread;
        uint8_t *reply;
        void *ok;
        size_t bytes;
        struct errbuf e;
        assert_int_equal(zmq_bind(router, address), 0);
        assert_int_equal(pthread_create(&thread, NULL, answer_and_leave, router), 0);
        assert_int_equal(
            request_reply(address, NULL, (const uint8_t *)"x", 1, 100, 3000, &reply, &bytes, &e),
            OK);
        assert_int_equal(pthread_join(thread, &ok), 0);
        assert_non_null(ok);
        assert_int_equal(bytes, 1);
        mem_free(reply);
        assert_int_equal(zmq_ctx_term(context), 0);
    }
    (void)unlink(address + strlen("ipc://"));
}

/* Says when libzmq noticed that a peer of the socket left; with a full queue it says nothing. */
static void *watch_for_the_end(struct world *w, void *zmq)
{
    int patience = PATIENCE_MS;
    assert_int_equal(zmq_socket_monitor(zmq, "inproc://end", ZMQ_EVENT_DISCONNECTED), 0);
    void *seen = zmq_socket(socket_context_zmq(w->context), ZMQ_PAIR);
    assert_non_null(seen);
    assert_int_equal(zmq_setsockopt(seen, ZMQ_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(zmq_connect(seen, "inproc://end"), 0);
    return seen;
}

static void put(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void get(int fd, size_t n)
{
    char bytes[128];
    assert_true(n <= sizeof bytes);
    assert_int_equal(recv(fd, bytes, n, MSG_WAITALL), (ssize_t)n);
}

/* A plain client by hand: many messages, a ping and more messages in one go, then it is gone. */
static void fill_ping_and_leave(const char *path)
{
    static const uint8_t greeting[64] = {0xff, 0,    0, 0, 0,   0,   0,   0,
                                         0,    0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    static const uint8_t ready[] = "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\6DEALER";
    static const uint8_t ping[] = "\x04\x07\x04PING\0";
    enum { HEAD_AND_SIZE = 2, SMALL_BYTES = 3 };
    uint8_t many[FLOOD * SMALL_BYTES];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    uint8_t head[HEAD_AND_SIZE];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(strlen(path) < sizeof name.sun_path);
    memcpy(name.sun_path, path, strlen(path) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    put(fd, greeting, sizeof greeting);
    get(fd, sizeof greeting);
    put(fd, ready, sizeof ready - 1);
    assert_int_equal(recv(fd, head, sizeof head, MSG_WAITALL), (ssize_t)sizeof head);
    get(fd, head[1]);
    for (size_t i = 0; i < FLOOD; i++) {
        memcpy(many + i * SMALL_BYTES, "\0\1x", SMALL_BYTES);
    }
    put(fd, many, sizeof many);
    put(fd, ping, sizeof ping);
    put(fd, many, sizeof many);
    (void)close(fd);
}

/* libzmq aborts when it has to answer a ping that waits behind a full queue, of a peer that is gone
 * (and when its own heartbeat is due then). */
static void test_who_fills_the_queue_pings_and_leaves_ends_nothing(void **state)
{
    struct world *w = *state;
    struct socket_options options = OPTIONS[0];
    struct errbuf e;
    char address[ADDRESS_BYTES];
    char bytes[64];
    int left = PATIENCE_MS;
    uint32_t parts = 0;
    options.queue_messages = FLOOD / 2;
    (void)snprintf(address, sizeof address, "ipc://%s/flood", w->folder);
    void *router = zmq_socket(socket_context_zmq(w->context), ZMQ_ROUTER);
    assert_non_null(router);
    assert_int_equal(socket_options_apply(router, &options, &e), OK);
    assert_int_equal(zmq_setsockopt(router, ZMQ_RCVTIMEO, &left, sizeof left), 0);
    assert_int_equal(zmq_bind(router, address), 0);
    void *seen = watch_for_the_end(w, router);
    fill_ping_and_leave(address + strlen("ipc://"));
    assert_true(zmq_recv(seen, bytes, sizeof bytes, 0) > 0); /* or it aborts here: a full queue */
    while (parts < 2 * 2 * FLOOD && zmq_recv(router, bytes, sizeof bytes, 0) >= 0) {
        parts++;
    }
    assert_int_equal(parts, 2 * 2 * FLOOD); /* the name and the message */
    (void)zmq_close(seen);
    (void)zmq_close(router);
    (void)unlink(address + strlen("ipc://"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_messages_and_payloads_come_back_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_peer_that_is_not_there_is_gone_and_a_dealer_alone_is_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_messages_of_a_wrong_number_of_frames_are_counted_and_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_without_anybody_to_answer_times_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_reply_is_not_lost_when_who_gave_it_leaves_at_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_fills_the_queue_pings_and_leaves_ends_nothing,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
