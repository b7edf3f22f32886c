/* server_fixture.h - the real server over sockets, a clock, a list of keys and a limit of
 * descriptors of the test: what it opens, whom it attacks, what it says to whom. What is summed is
 * what on_payload sees. Included once. */
#ifndef PFT_SERVER_FIXTURE_H
#define PFT_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

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
    struct socket_options options[3];
    uint32_t n_sockets, closed;
    const char *tensor_endpoint;        /* that its bind comes out with; NULL: its address */
    struct socket_refusals refusals[3]; /* what each tells */
    char attacked[3][ADDRESS_BYTES];
    uint32_t attacks, attack_fails; /* the n-th of them; 0: none */
    uint32_t files;                 /* descriptors that the process may have; 0: nobody knows */
    uint32_t zaps;                  /* that are open */
    uint64_t unread[3];             /* bytes that a connection may leave unread */
    const char *sender;             /* name of the key of what arrives now */
    uint32_t hung_up, payloads, counted, signals;
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
    uint64_t carried[ROUTES][HEARD]; /* bytes of the payload of each */
    bool gone[ROUTES], full[ROUTES]; /* nothing can be sent there: any more, for now */
    struct status status;            /* the last reply on the status socket, its lists apart */
    uint32_t replies;
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
    CHECK(w.n_sockets < 3);
    w.options[w.n_sockets] = *options;
    *out = &w.sockets[w.n_sockets++];
    **out = (struct socket){receive, ctx};
    return OK;
}

enum err socket_bind(struct socket *s, const char *address, char endpoint[ADDRESS_BYTES],
                     struct errbuf *e)
{
    (void)e;
    address = s == &w.sockets[1] && w.tensor_endpoint ? w.tensor_endpoint : address;
    CHECK(snprintf(endpoint, ADDRESS_BYTES, "%s", address) < ADDRESS_BYTES);
    return OK;
}

void socket_close(struct socket **s)
{
    w.closed += *s != NULL;
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
    return w.refusals[s - w.sockets];
}

enum err socket_send(struct socket *s, const struct socket_route *route, const uint8_t *header,
                     size_t header_bytes, struct blob *payload)
{
    struct wire_message m;
    uint32_t r = route->bytes[0];
    CHECK(r < ROUTES && w.n_heard[r] < HEARD);
    if (w.gone[r] || w.full[r]) {
        return w.gone[r] ? ERR_GONE : ERR_BUSY;
    }
    if (s == &w.sockets[2]) {
        struct status status;
        CHECK(status_decode(header, header_bytes, &status, NULL) == OK);
        w.status = status;
        status_free(&status);
        w.replies++;
        return OK;
    }
    CHECK(wire_decode(header, header_bytes, &m, NULL) == OK);
    w.carried[r][w.n_heard[r]] = payload ? blob_bytes(payload) : 0;
    w.heard[r][w.n_heard[r]++] = m;
    return OK;
}

static inline void drop_news(struct letter *letter)
{
    struct zap_news *news = (struct zap_news *)letter;
    allow_list_free(&news->list);
    mem_free(news);
}

/* The list from now on: every key that is named, each a worker's but dave's. */
static inline enum err try_list(uint32_t n, const char *const names[])
{
    struct zap_news *news = mem_calloc(1, sizeof *news);
    struct allowed_key *keys = mem_calloc(KEYS, sizeof *keys);
    if (!news || !keys) {
        mem_free(news);
        mem_free(keys);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(keys[i].name, sizeof keys[i].name, "%s", names[i]);
        keys[i].role = strcmp(names[i], "dave") == 0 ? KEY_OBSERVER : KEY_WORKER;
        memset(keys[i].public_key, names[i][0], KEY_BYTES);
    }
    *news = (struct zap_news){.letter = {.drop = drop_news},
                              .list = {.keys = keys, .n = n, .capacity = KEYS}};
    return mailbox_post(w.news, &news->letter);
}

static inline void post_list(uint32_t n, const char *const names[])
{
    assert_int_equal(try_list(n, names), OK);
}

enum err zap_open(struct socket_context *c, const struct zap_config *cfg, struct zap **out,
                  struct errbuf *e)
{
    static const char *const all[] = {"alice", "bob", "dave", "eve"};
    (void)c;
    w.news = cfg->news;
    enum err error = try_list(KEYS, all);
    *out = error == OK ? (void *)&w.zaps : NULL;
    w.zaps += error == OK;
    return error == OK ? OK : err_set(e, error, "no memory for a list");
}

void zap_speak(struct zap *zap)
{
    (void)zap;
}

void zap_close(struct zap **zap)
{
    w.zaps -= *zap != NULL;
    *zap = NULL;
}

enum err self_attack(const char *endpoint, const struct key_file *own, struct errbuf *e)
{
    CHECK(own == &w.key && w.attacks < 3);
    (void)snprintf(w.attacked[w.attacks], ADDRESS_BYTES, "%s", endpoint);
    return ++w.attacks == w.attack_fails ? err_set(e, ERR_REFUSED, "a stranger got in") : OK;
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    if (resource != RLIMIT_NOFILE) {
        return prlimit(0, resource, NULL, limit);
    }
    *limit = (struct rlimit){.rlim_cur = w.files, .rlim_max = w.files};
    return w.files > 0 ? 0 : -1;
}

/* -- the run behind the server ---------------------------------------------------------------- */

static inline void on_payload(void *ctx, const struct job *job,
                              const struct wire_result_ready *announced, struct blob *payload)
{
    (void)ctx;
    CHECK(memcmp(announced->payload_hash, job->digest, sizeof job->digest) == 0 && payload);
    w.payloads++;
    w.last_job = job->id;
}

static inline void on_counted(void *ctx, uint32_t tokens)
{
    (void)ctx;
    (void)tokens;
    w.counted++;
}

static inline void on_nothing(void *ctx)
{
    (void)ctx;
}

static inline void on_batch_done(void *ctx, uint32_t tag)
{
    (void)ctx;
    (void)tag;
}

static inline void on_stop(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("the run stops: %s", why);
}

static inline void make_units(void)
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

static const struct server_config fixture_config = {.kernels_bit = 1,
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

static inline void on_status_event(void *ctx, struct status *status)
{
    (void)ctx;
    (void)snprintf(status->state, sizeof status->state, "running");
}

static inline void on_signal_event(void *ctx)
{
    (void)ctx;
    w.signals++;
}

static const struct server_events fixture_events = {.payload = on_payload,
                                                    .counted = on_counted,
                                                    .restart = on_nothing,
                                                    .batch_done = on_batch_done,
                                                    .stop = on_stop,
                                                    .status = on_status_event,
                                                    .signal = on_signal_event};

static inline void clear_world(void)
{
    for (uint32_t i = 0; i < UNITS; i++) {
        tree_free(&w.trees[i]);
    }
    memset(&w, 0, sizeof w);
    w.now_ns = 1000000000ull;
    w.sender = "";
    w.files = 1024;
    w.key.role = KEY_COORDINATOR;
    log_init("test", LOG_ERROR);
    make_units();
}

/* A server that listens there, with the key, with one batch of gradients open. */
static inline enum err open_server(const char *bind, const char *status, struct errbuf *e)
{
    const struct server_doors doors = {
        .bind = bind, .status = status, .key = &w.key, .keys_folder = "/nowhere"};
    enum err error = server_open(&doors, &fixture_config, &fixture_events, &w.server, e);
    return error == OK ? server_batch(w.server, &w.batch, false, 0) : error;
}

static inline int setup(void **state)
{
    (void)state;
    struct errbuf e;
    clear_world();
    assert_int_equal(open_server("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7100", &e), OK);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    server_close(&w.server);
    for (uint32_t i = 0; i < UNITS; i++) {
        tree_free(&w.trees[i]);
    }
    return 0;
}

/* -- what peers say --------------------------------------------------------------------------- */

static inline struct socket_route route(uint32_t r)
{
    return (struct socket_route){.length = 1, .bytes = {(uint8_t)r}};
}

/* As a connection with the key of NAMES[key]. */
static inline void say_as(uint32_t key, bool tensor, uint32_t r, const struct wire_message *m,
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
static inline void say(uint32_t r, const struct wire_message *m)
{
    say_as(r, false, r, m, NULL);
}

static inline const struct wire_message *last(uint32_t r)
{
    assert_true(w.n_heard[r] > 0);
    return &w.heard[r][w.n_heard[r] - 1];
}

static inline uint32_t times(uint32_t r, enum wire_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.n_heard[r]; i++) {
        n += w.heard[r][i].kind == kind;
    }
    return n;
}

static inline struct wire_message hello(const char *name, uint64_t epoch)
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

static inline void say_hello(uint32_t r, const char *name, uint64_t epoch)
{
    struct wire_message m = hello(name, epoch);
    say(r, &m);
}

static inline uint64_t joined(uint32_t r)
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

static inline struct wire_job asked(uint32_t r, uint64_t session, uint64_t request)
{
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = request};
    say(r, &m);
    assert_int_equal(last(r)->kind, WIRE_JOB);
    return last(r)->job;
}

static inline void announce(uint32_t r, const struct wire_job *job, uint64_t session)
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

static inline struct wire_message note(enum wire_kind kind, const struct wire_job *job,
                                       uint64_t session)
{
    struct wire_message m = {.kind = kind};
    m.job_note.session = session;
    m.job_note.job = job->job;
    m.job_note.attempt = job->attempt;
    memcpy(m.job_note.token, job->token, sizeof m.job_note.token);
    return m;
}

/* The payload of a result, over the tensor connection of that key. */
static inline void send_result_as(uint32_t key, uint32_t r, const struct wire_message *m)
{
    struct blob *payload = blob_new(FLOATS * sizeof(int64_t));
    assert_non_null(payload);
    memset(blob_data_mut(payload), 0, FLOATS * sizeof(int64_t));
    say_as(key, true, r, m, payload);
}

static inline uint32_t leased(void)
{
    return server_counts(w.server).jobs_leased;
}

#endif
