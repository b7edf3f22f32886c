/* test_server_hostile.c - peers that have a key and lie: about tokens, attempts, sessions, names.
 * The real server over sockets and a clock of the test; what is summed is what on_payload sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/self_attack.h"
#include "coordinator/server_state.h"

enum { FLOATS = 4, UNITS = 4, VOCAB = 50, ROUTES = 4, HEARD = 64, KEYS = 4 };

static const char MODEL[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char SHAPE[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
static const char *const NAMES[KEYS] = {"alice", "bob", "eve", "dave"};

struct socket {
    socket_receive receive;
    void *ctx;
};

static struct {
    uint64_t now_ns;
    struct socket sockets[3]; /* control, tensor, status */
    uint32_t n_sockets;
    uint64_t unread[3]; /* bytes that a connection may leave unread */
    const char *sender; /* name of the key of what arrives now */
    uint32_t hung_up, payloads, counted;
    uint64_t last_job;
    struct mailbox *news;
    struct server *server;
    struct key_file key;
    struct tree trees[UNITS];
    struct unit units[UNITS];
    uint64_t ids[UNITS];
    uint32_t rows[UNITS];
    struct batch batch;
    struct wire_message heard[ROUTES][HEARD]; /* on that route, the newest last */
    uint32_t n_heard[ROUTES];
    bool gone[ROUTES]; /* nothing can be sent there any more */
} w;

/* -- the clock, the network, the door-keeper -------------------------------------------------- */

uint64_t clock_now_ns(void)
{
    return w.now_ns;
}

uint64_t clock_now_ms(void)
{
    return w.now_ns / 1000000u;
}

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
    (void)e;
    CHECK(w.n_sockets < 3 && options->key == &w.key); /* no socket on tcp without it */
    *out = &w.sockets[w.n_sockets++];
    **out = (struct socket){receive, ctx};
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

const char *socket_sender(const struct socket *s)
{
    (void)s;
    return w.sender;
}

void socket_hang_up_sender(struct socket *s)
{
    (void)s;
    w.hung_up++;
}

void socket_allow_unread(struct socket *s, uint64_t unread_bytes, uint64_t unread_total_bytes)
{
    CHECK(unread_bytes > 0 && unread_total_bytes >= unread_bytes);
    w.unread[s - w.sockets] = unread_bytes;
}

struct socket_refusals socket_refusals(struct socket *s)
{
    (void)s;
    return (struct socket_refusals){0};
}

enum err socket_send(struct socket *s, const struct socket_route *route, const uint8_t *header,
                     size_t header_bytes, struct blob *payload)
{
    struct wire_message m;
    (void)s;
    (void)payload;
    CHECK(wire_decode(header, header_bytes, &m, NULL) == OK);
    uint32_t r = route->bytes[0];
    CHECK(r < ROUTES && w.n_heard[r] < HEARD);
    if (w.gone[r]) {
        return ERR_GONE;
    }
    w.heard[r][w.n_heard[r]++] = m;
    return OK;
}

static void drop_news(struct letter *letter)
{
    struct zap_news *news = (struct zap_news *)letter;
    allow_list_free(&news->list);
    mem_free(news);
}

/* The list from now on: every key that is named, each a worker's but dave's. */
static void post_list(uint32_t n, const char *const names[])
{
    struct zap_news *news = mem_calloc(1, sizeof *news);
    struct allowed_key *keys = mem_calloc(KEYS, sizeof *keys);
    assert_true(news && keys);
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(keys[i].name, sizeof keys[i].name, "%s", names[i]);
        keys[i].role = strcmp(names[i], "dave") == 0 ? KEY_OBSERVER : KEY_WORKER;
        memset(keys[i].public_key, names[i][0], KEY_BYTES);
    }
    *news = (struct zap_news){.letter = {.drop = drop_news},
                              .list = {.keys = keys, .n = n, .capacity = KEYS}};
    assert_int_equal(mailbox_post(w.news, &news->letter), OK);
}

enum err zap_open(struct socket_context *c, const struct zap_config *cfg, struct zap **out,
                  struct errbuf *e)
{
    static const char *const all[] = {"alice", "bob", "dave", "eve"};
    (void)c;
    (void)e;
    *out = NULL;
    w.news = cfg->news;
    post_list(KEYS, all);
    return OK;
}

void zap_speak(struct zap *zap)
{
    (void)zap;
}

void zap_close(struct zap **zap)
{
    *zap = NULL;
}

enum err self_attack(const char *endpoint, const struct key_file *own, struct errbuf *e)
{
    (void)e;
    CHECK(own == &w.key && strncmp(endpoint, "tcp://", 6) == 0);
    return OK;
}

/* -- the run behind the server ---------------------------------------------------------------- */

static void on_payload(void *ctx, const struct job *job, const struct wire_result_ready *announced,
                       struct blob *payload)
{
    (void)ctx;
    CHECK(memcmp(announced->payload_hash, job->digest, sizeof job->digest) == 0 && payload);
    w.payloads++;
    w.last_job = job->id;
}

static void on_counted(void *ctx, uint32_t tokens)
{
    (void)ctx;
    (void)tokens;
    w.counted++;
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void on_batch_done(void *ctx, uint32_t tag)
{
    (void)ctx;
    (void)tag;
}

static void on_stop(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("the run stops: %s", why);
}

static void make_units(void)
{
    for (uint32_t i = 0; i < UNITS; i++) {
        struct tree *t = &w.trees[i];
        struct errbuf e;
        assert_int_equal(tree_alloc(t, 2, 3, 1, 1), OK);
        t->id = i;
        t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = 2};
        t->nodes[1] = (struct tree_node){.parent = 0, .count = 1};
        t->labels[0] = (struct tree_label){.row = 1, .target = 3, .leaf = 0, .weight = 1.0f};
        assert_int_equal(tree_finish(t, VOCAB, &e), OK);
        w.ids[i] = (1ull << 32) | i;
        w.rows[i] = t->n_rows;
        w.units[i] = (struct unit){.id = w.ids[i], .n_trees = 1, .n_rows = t->n_rows, .trees = t};
    }
    w.batch = (struct batch){.kind = JOB_GRADIENT,
                             .tag = 1,
                             .n_units = UNITS,
                             .units = w.units,
                             .ids = w.ids,
                             .rows = w.rows,
                             .trees = w.trees};
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    w.now_ns = 1000000000ull;
    w.sender = "";
    w.key.role = KEY_COORDINATOR;
    const struct server_doors doors = {.bind = "tcp://127.0.0.1:7000",
                                       .status = "tcp://127.0.0.1:7100",
                                       .key = &w.key,
                                       .keys_folder = "/nowhere"};
    const struct server_config c = {.kernels_bit = 1,
                                    .model_hash = MODEL,
                                    .model_name = "tiny",
                                    .model_path = "tiny",
                                    .shape_digest = SHAPE,
                                    .floats = FLOATS,
                                    .start = 1,
                                    .has_probe = true,
                                    .welcome = {.protocol = WIRE_PROTOCOL,
                                                .run = "r",
                                                .kernels = "portable",
                                                .precision = "fp32",
                                                .strict = true,
                                                .heartbeat_ms = SERVER_HEARTBEAT_MS,
                                                .silence_ms = SERVER_SILENCE_MS,
                                                .unit_tokens = 512,
                                                .tree_tokens_max = 4096}};
    const struct server_events events = {.payload = on_payload,
                                         .counted = on_counted,
                                         .restart = on_nothing,
                                         .batch_done = on_batch_done,
                                         .stop = on_stop,
                                         .signal = on_nothing};
    struct errbuf e;
    log_init("test", LOG_ERROR);
    make_units();
    assert_int_equal(server_open(&doors, &c, &events, &w.server, &e), OK);
    assert_int_equal(server_batch(w.server, &w.batch, false, 0), OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_close(&w.server);
    for (uint32_t i = 0; i < UNITS; i++) {
        tree_free(&w.trees[i]);
    }
    return 0;
}

/* -- what peers say --------------------------------------------------------------------------- */

static struct socket_route route(uint32_t r)
{
    return (struct socket_route){.length = 1, .bytes = {(uint8_t)r}};
}

/* As a connection with the key of NAMES[key]. */
static void say_as(uint32_t key, bool tensor, uint32_t r, const struct wire_message *m,
                   struct blob *payload)
{
    uint8_t header[LIMIT_HEADER_BYTES];
    size_t bytes;
    const struct socket_route from = route(r);
    wire_encode(m, header, &bytes);
    w.sender = NAMES[key];
    struct socket *s = &w.sockets[tensor ? 1 : 0];
    s->receive(s->ctx, &from, header, bytes, &payload);
    blob_free(&payload);
}

/* Worker r has route r and key r. */
static void say(uint32_t r, const struct wire_message *m)
{
    say_as(r, false, r, m, NULL);
}

static const struct wire_message *last(uint32_t r)
{
    assert_true(w.n_heard[r] > 0);
    return &w.heard[r][w.n_heard[r] - 1];
}

static uint32_t times(uint32_t r, enum wire_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.n_heard[r]; i++) {
        n += w.heard[r][i].kind == kind;
    }
    return n;
}

static struct wire_message hello(const char *name, uint64_t epoch)
{
    struct wire_message m = {.kind = WIRE_HELLO};
    m.hello = (struct wire_hello){.protocol = WIRE_PROTOCOL,
                                  .epoch = epoch,
                                  .host = "here",
                                  .slots = 1,
                                  .kernel_levels = 1,
                                  .core_type = "Prescott",
                                  .build = "test"};
    (void)snprintf(m.hello.worker, sizeof m.hello.worker, "%s", name);
    memcpy(m.hello.model_hash, MODEL, sizeof MODEL);
    memcpy(m.hello.shape_digest, SHAPE, sizeof SHAPE);
    return m;
}

static void say_hello(uint32_t r, const char *name, uint64_t epoch)
{
    struct wire_message m = hello(name, epoch);
    say(r, &m);
}

static uint64_t joined(uint32_t r)
{
    char name[16];
    (void)snprintf(name, sizeof name, "w%u", r);
    say_hello(r, name, 1);
    assert_int_equal(last(r)->kind, WIRE_WELCOME);
    uint64_t session = last(r)->welcome.session;
    struct wire_message m = {.kind = WIRE_PROBE};
    m.probe.session = session; /* zeros, as the run's */
    say(r, &m);
    assert_int_equal(last(r)->kind, WIRE_READY);
    return session;
}

static struct wire_job asked(uint32_t r, uint64_t session, uint64_t request)
{
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = request};
    say(r, &m);
    assert_int_equal(last(r)->kind, WIRE_JOB);
    return last(r)->job;
}

static void announce(uint32_t r, const struct wire_job *job, uint64_t session)
{
    struct wire_message m = {.kind = WIRE_RESULT_READY};
    struct wire_result_ready *ready = &m.result_ready;
    const struct job *j = dispatch_job(w.server->dispatch, job->job);
    ready->session = session;
    ready->job = job->job;
    ready->attempt = job->attempt;
    memcpy(ready->token, job->token, sizeof ready->token);
    ready->kind = WIRE_GRADIENT;
    ready->n_rows = job->units;
    for (uint32_t i = 0; i < job->units; i++) {
        ready->rows[i] =
            (struct wire_unit_row){.unit = w.ids[j->units[i]], .labels = 1, .sumsq = 1.0};
    }
    ready->payload_bytes = FLOATS * sizeof(int64_t);
    memset(ready->payload_hash, 5, sizeof ready->payload_hash);
    say(r, &m);
}

static struct wire_message note(enum wire_kind kind, const struct wire_job *job, uint64_t session)
{
    struct wire_message m = {.kind = kind};
    m.job_note.session = session;
    m.job_note.job = job->job;
    m.job_note.attempt = job->attempt;
    memcpy(m.job_note.token, job->token, sizeof m.job_note.token);
    return m;
}

/* The payload of a result, over the tensor connection of that key. */
static void send_result_as(uint32_t key, uint32_t r, const struct wire_message *m)
{
    struct blob *payload = blob_new(FLOATS * sizeof(int64_t));
    assert_non_null(payload);
    memset(blob_data_mut(payload), 0, FLOATS * sizeof(int64_t));
    say_as(key, true, r, m, payload);
}

static uint32_t leased(void)
{
    return server_counts(w.server).jobs_leased;
}

/* -- the tests -------------------------------------------------------------------------------- */

static void test_a_result_whose_token_is_wrong_is_not_summed(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    struct wire_message m = note(WIRE_RESULT, &job, session);
    m.job_note.token[WIRE_TOKEN_BYTES - 1] ^= 1;
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    assert_int_equal(w.server->bad_tokens, 1);
    m = note(WIRE_RESULT, &job, session);
    m.job_note.attempt++; /* the token is another attempt's */
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 1);
    send_result_as(0, 0, &m); /* and only once */
    assert_int_equal(w.payloads, 1);
    server_summed(w.server, job.job, OK);
    assert_int_equal(times(0, WIRE_ACK), 1);
    assert_int_equal(w.counted, 1);
}

static void test_a_job_is_not_given_back_announced_or_failed_with_a_wrong_token(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    struct wire_job forged = job;
    forged.token[0] ^= 1;
    assert_int_equal(leased(), 1);
    struct wire_message m = note(WIRE_RELEASE, &forged, session);
    say(0, &m);
    assert_int_equal(leased(), 1);
    m = note(WIRE_FAILED, &forged, session);
    m.job_note.code = WIRE_FAILURE_INPUT;
    say(0, &m);
    assert_int_equal(leased(), 1);
    announce(0, &forged, session);
    assert_int_equal(leased(), 1);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(w.server->bad_tokens, 3);
    assert_int_equal(dispatch_stats(w.server->dispatch).failed, 0);
    m = note(WIRE_RELEASE, &job, session);
    say(0, &m);
    assert_int_equal(leased(), 0);
    assert_int_equal(dispatch_stats(w.server->dispatch).released, 1);
}

/* A worker with a key of its own, that has seen another's session and token. */
static void test_a_tensor_connection_of_another_key_speaks_for_nobody(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)joined(1);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    struct peer *peer = server_peer_by_session(w.server, session);
    struct wire_message m = {.kind = WIRE_ATTACH};
    m.session.session = session;
    say_as(1, true, 3, &m, NULL);
    assert_false(peer->has_tensor);
    m = note(WIRE_RESULT, &job, session);
    send_result_as(1, 3, &m);
    assert_false(peer->has_tensor);
    assert_int_equal(w.payloads, 0);
    m = (struct wire_message){.kind = WIRE_FETCH};
    m.params.session = session;
    say_as(1, true, 3, &m, NULL);
    assert_int_equal(w.n_heard[3], 0);
    assert_false(peer->has_tensor);
    m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_true(peer->has_tensor);
    assert_int_equal(w.payloads, 1);
}

static void test_a_session_is_the_connections_that_began_it(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)joined(1);
    struct wire_job job = asked(0, session, 1);
    struct wire_message m = note(WIRE_RELEASE, &job, session);
    say(1, &m); /* with the right token, from elsewhere */
    assert_int_equal(leased(), 1);
    assert_int_equal(last(1)->kind, WIRE_REFUSED);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_SESSION);
    m = (struct wire_message){.kind = WIRE_GOODBYE};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    uint32_t heard = w.n_heard[1];
    say(1, &m);
    assert_int_equal(w.n_heard[1], heard); /* whoever says goodbye wants no answer */
    assert_int_equal(server_workers(w.server), 2);
    assert_int_equal(leased(), 1);
}

static void test_a_session_that_was_made_up_is_nobodys(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)joined(1);
    struct wire_job job = asked(0, session, 1);
    for (int bit = 16; bit < 64; bit++) { /* the low bits say where it lies */
        struct wire_message m = note(WIRE_RELEASE, &job, session ^ 1ull << bit);
        say(0, &m);
        assert_int_equal(leased(), 1);
        assert_int_equal(last(0)->kind, WIRE_REFUSED);
        w.n_heard[0] = 0;
    }
    struct wire_message m = note(WIRE_RELEASE, &job, session + 7);
    say(0, &m);
    assert_int_equal(leased(), 1);
}

static void test_a_name_belongs_to_the_key_that_holds_it(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    say_hello(1, "w0", 2);
    assert_int_equal(last(1)->kind, WIRE_REFUSED);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_STALE);
    assert_int_equal(last(1)->note.session, 0);
    assert_non_null(server_peer_by_session(w.server, session));
    say_hello(0, "w0", 2); /* its own key may */
    assert_int_equal(last(0)->kind, WIRE_WELCOME);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 1);
}

/* Over connection r, all with one key. */
static void say_hello_as(uint32_t r, const char *name, uint64_t epoch, uint64_t process)
{
    struct wire_message m = hello(name, epoch);
    m.hello.process = process;
    say_as(0, false, r, &m, NULL);
}

/* Two containers of one host name, say: neither must end the other's work. */
static void test_a_second_holder_of_a_living_name_waits(void **state)
{
    (void)state;
    say_hello_as(0, "box", 1, 11);
    uint64_t session = last(0)->welcome.session;
    for (uint64_t epoch = 2; epoch < 6; epoch++) {
        say_hello_as(1, "box", epoch, 22);
        assert_int_equal(last(1)->kind, WIRE_REFUSED);
        assert_int_equal(last(1)->note.code, WIRE_REFUSED_STALE);
        assert_true(last(1)->note.retry_ms > 0);
        assert_non_null(strstr(last(1)->note.text, "another --id"));
        assert_non_null(server_peer_by_session(w.server, session));
    }
    say_hello_as(2, "box", 7, 11); /* the same process over another connection */
    assert_int_equal(last(2)->kind, WIRE_WELCOME);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 1);
}

/* Its clock may be behind: it may run on another machine now. */
static void test_a_worker_started_again_has_its_name_once_the_old_connection_is_closed(void **state)
{
    (void)state;
    say_hello_as(0, "box", 9, 11);
    uint64_t session = last(0)->welcome.session;
    w.gone[0] = true;
    say_hello_as(1, "box", 2, 22);
    assert_int_equal(last(1)->kind, WIRE_WELCOME);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 1);
}

static void test_the_key_of_an_observer_is_no_workers(void **state)
{
    (void)state;
    say_hello(3, "w3", 1);
    assert_int_equal(w.n_heard[3], 0);
    assert_int_equal(server_workers(w.server), 0);
}

static void revoke_alice(void)
{
    static const char *const rest[] = {"bob", "dave", "eve"};
    post_list(3, rest);
}

/* The connection lives on, and the result is whole: its key may not come in any more. */
static void test_a_revoked_key_is_not_heard_on_a_living_connection(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    revoke_alice();
    struct wire_message m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(last(0)->kind, WIRE_REFUSED);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_KEY);
    assert_int_equal(w.hung_up, 0); /* the word gets a second to arrive */
    say_hello(0, "w0", 2);
    assert_int_equal(server_workers(w.server), 0);
    w.now_ns += 2000000000ull;
    say_hello(0, "w0", 3);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(w.hung_up, 1);
    uint64_t other = joined(1); /* the job is another's now */
    struct wire_job again = asked(1, other, 1);
    assert_int_equal(again.job, job.job);
}

static void test_the_sessions_of_a_revoked_key_end_before_its_next_word(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    uint64_t other = joined(1);
    struct wire_job job = asked(0, session, 1);
    revoke_alice();
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT); /* the letter alone */
    assert_null(server_peer_by_session(w.server, session));
    assert_non_null(server_peer_by_session(w.server, other));
    assert_int_equal(leased(), 0);
    struct wire_message m = note(WIRE_RELEASE, &job, session);
    say(0, &m);
    assert_int_equal(times(0, WIRE_REFUSED), 1);
}

static void test_a_quarantined_workers_announcement_gets_no_credit(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    const uint64_t worker = server_peer_by_session(w.server, session)->worker;
    for (int i = 0; i < ROSTER_STRIKES; i++) {
        dispatch_blame(w.server->dispatch, worker, "a test", server_now_ns());
    }
    server_pump(w.server);
    announce(0, &job, session);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(last(0)->kind, WIRE_REJECTED);
    struct wire_message m = note(WIRE_RESULT, &job, session);
    send_result_as(0, 0, &m);
    assert_int_equal(w.payloads, 0);
    uint64_t other = joined(1);
    struct wire_job again = asked(1, other, 1);
    announce(1, &again, other);
    assert_int_equal(last(1)->kind, WIRE_SEND);
}

static void test_a_result_that_is_announced_twice_and_not_the_same_is_a_strike(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    announce(0, &job, session);
    struct peer *peer = server_peer_by_session(w.server, session);
    uint64_t before = w.server->malformed;
    peer->announced->ready.rows[0].labels++; /* as if it had said so the first time */
    announce(0, &job, session);
    assert_int_equal(w.server->malformed, before + 1);
}

/* What is refused for good names no time to come back; the rest does. */
static void test_only_what_may_change_is_told_to_come_back(void **state)
{
    (void)state;
    struct wire_message m = hello("w0", 1);
    m.hello.protocol++;
    say(0, &m);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_PROTOCOL);
    assert_int_equal(last(0)->note.retry_ms, 0);
    m = hello("w0", 1);
    m.hello.model_hash[0] = 'c';
    say(0, &m);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_MODEL);
    assert_int_equal(last(0)->note.retry_ms, 0);
    say_hello(0, "w0", 5);
    say_hello(0, "w0", 4); /* an older life of it */
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_STALE);
    assert_true(last(0)->note.retry_ms > 0);
    server_drain(w.server);
    say_hello(1, "w1", 1);
    assert_int_equal(last(1)->note.code, WIRE_REFUSED_STATE);
    assert_true(last(1)->note.retry_ms > 0);
}

static void test_what_may_wait_unread_follows_from_the_run_and_is_bounded(void **state)
{
    (void)state;
    const uint64_t large = 1ull << 28;
    w.server->cfg.floats = large;
    w.server->cfg.welcome.unit_tokens = 100000;
    server_make_room(w.server);
    assert_int_equal(w.unread[1], (LIMIT_RESULTS_LARGE_IN_FLIGHT + 1) * large * sizeof(int64_t));
    assert_true(w.unread[0] <= 2ull * LIMIT_JOB_BYTES);
    w.server->cfg.floats = 1;
    server_make_room(w.server);
    assert_true(w.unread[1] < large && w.unread[1] >= LIMIT_RESULTS_BYTES_IN_FLIGHT);
}

static void test_only_an_operator_or_the_owner_may_command(void **state)
{
    (void)state;
    w.sender = "dave";
    assert_int_equal(server_asker(w.server), KEY_OBSERVER);
    w.sender = "nobody";
    assert_int_equal(server_asker(w.server), KEY_OBSERVER);
    w.server->doors.key = NULL; /* without keys the file system decides */
    assert_int_equal(server_asker(w.server), KEY_OBSERVER);
    w.server->owner_commands = true;
    assert_int_equal(server_asker(w.server), KEY_OPERATOR);
    w.server->doors.key = &w.key;
}

static void test_sessions_are_never_0_and_never_twice_the_same(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t epoch = 1; epoch <= 20; epoch++) {
        say_hello(0, "w0", epoch);
        uint64_t session = last(0)->welcome.session;
        assert_int_equal(session >> 63, 1);
        assert_true(session >> 16 != before >> 16);
        before = session;
    }
    assert_int_equal(server_workers(w.server), 1);
}

static void test_other_arithmetic_ends_the_session(void **state)
{
    (void)state;
    say_hello(0, "w0", 1);
    uint64_t session = last(0)->welcome.session;
    assert_true(session >> 63 == 1 && (session & 0xFFFF) == 0);
    struct wire_message m = {.kind = WIRE_PROBE};
    m.probe.session = session;
    m.probe.digest[0] = 1;
    say(0, &m);
    assert_int_equal(last(0)->kind, WIRE_REFUSED);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_PROBE);
    assert_int_equal(last(0)->note.retry_ms, 0);
    assert_int_equal(times(0, WIRE_READY), 0);
    assert_null(server_peer_by_session(w.server, session));
    assert_int_equal(server_workers(w.server), 0);
}

/* The worker's last words may still wait in the socket: it is gone a turn later. */
static void test_a_lost_connection_gives_its_job_to_another(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    uint64_t other = joined(1);
    struct wire_job job = asked(0, session, 1);
    assert_false(server_part_lost(w.server));
    w.gone[0] = true;
    struct wire_message m = {.kind = WIRE_HEARTBEAT};
    m.heartbeat.session = session;
    say(0, &m); /* its pong cannot be sent */
    assert_int_equal(leased(), 1);
    assert_true(server_part_lost(w.server));
    assert_non_null(server_peer_by_session(w.server, session));
    assert_false(server_part_lost(w.server));
    assert_null(server_peer_by_session(w.server, session));
    assert_non_null(server_peer_by_session(w.server, other));
    assert_int_equal(server_workers(w.server), 1);
    assert_int_equal(leased(), 0);
    assert_int_equal(asked(1, other, 1).job, job.job);
}

static void test_nonsense_three_times_is_not_heard_any_more(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_message m = {.kind = WIRE_WELCOME}; /* only a coordinator says that */
    m.welcome = w.server->cfg.welcome;
    m.welcome.session = session;
    for (int i = 0; i < SERVER_STRIKES; i++) {
        struct wire_message ask = {.kind = WIRE_HEARTBEAT};
        ask.heartbeat.session = session;
        say(0, &ask);
        assert_int_equal(times(0, WIRE_PONG), i + 1);
        say(0, &m);
        assert_int_equal(w.server->malformed, i + 1);
    }
    struct wire_message ask = {.kind = WIRE_HEARTBEAT};
    ask.heartbeat.session = session;
    say(0, &ask);
    assert_int_equal(times(0, WIRE_PONG), SERVER_STRIKES);
    const struct worker *worker = roster_at(dispatch_roster(w.server->dispatch), 0);
    assert_int_equal(worker->state, WORKER_QUARANTINED);
}

static void test_a_gradient_of_another_size_is_a_strike_and_not_asked_for(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    w.server->cfg.floats++; /* so that an honest one is too short */
    announce(0, &job, session);
    assert_int_equal(times(0, WIRE_SEND), 0);
    assert_int_equal(w.server->malformed, 1);
    assert_int_equal(leased(), 1);
}

static void test_a_goodbye_gives_back_what_runs(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    (void)asked(0, session, 1);
    struct wire_message m = {.kind = WIRE_GOODBYE};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(0, &m);
    assert_int_equal(server_workers(w.server), 0);
    assert_int_equal(leased(), 0);
    assert_null(server_peer_by_session(w.server, session));
}

static void test_a_worker_that_drains_gets_nothing_more(void **state)
{
    (void)state;
    uint64_t session = joined(0);
    struct wire_job job = asked(0, session, 1);
    struct wire_message m = {.kind = WIRE_DRAIN};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(0, &m);
    announce(0, &job, session);
    assert_int_equal(last(0)->kind, WIRE_SEND);
    m = (struct wire_message){.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = 2};
    say(0, &m);
    assert_int_equal(times(0, WIRE_JOB), 1);
    assert_int_equal(server_slots(w.server), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_result_whose_token_is_wrong_is_not_summed),
        TEST(test_a_job_is_not_given_back_announced_or_failed_with_a_wrong_token),
        TEST(test_a_tensor_connection_of_another_key_speaks_for_nobody),
        TEST(test_a_session_is_the_connections_that_began_it),
        TEST(test_a_session_that_was_made_up_is_nobodys),
        TEST(test_a_name_belongs_to_the_key_that_holds_it),
        TEST(test_a_second_holder_of_a_living_name_waits),
        TEST(test_a_worker_started_again_has_its_name_once_the_old_connection_is_closed),
        TEST(test_the_key_of_an_observer_is_no_workers),
        TEST(test_a_revoked_key_is_not_heard_on_a_living_connection),
        TEST(test_the_sessions_of_a_revoked_key_end_before_its_next_word),
        TEST(test_a_quarantined_workers_announcement_gets_no_credit),
        TEST(test_a_result_that_is_announced_twice_and_not_the_same_is_a_strike),
        TEST(test_only_what_may_change_is_told_to_come_back),
        TEST(test_what_may_wait_unread_follows_from_the_run_and_is_bounded),
        TEST(test_only_an_operator_or_the_owner_may_command),
        TEST(test_sessions_are_never_0_and_never_twice_the_same),
        TEST(test_other_arithmetic_ends_the_session),
        TEST(test_a_lost_connection_gives_its_job_to_another),
        TEST(test_nonsense_three_times_is_not_heard_any_more),
        TEST(test_a_gradient_of_another_size_is_a_strike_and_not_asked_for),
        TEST(test_a_goodbye_gives_back_what_runs),
        TEST(test_a_worker_that_drains_gets_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
