/* test_server.c - a server on its sockets and a peer of ours on the other side: refusals, a whole
 * job by hand, and what malformed, forged and misplaced messages do (nothing, and they are
 * counted). And a goodbye that is read late.
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
#include <unistd.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/net/socket.h"
#include "common/wire/units_frame.h"
#include "coordinator/plan.h"
#include "coordinator/server.h"

enum { FLOATS = 8, UNITS = 2, LEAVES = 2, VOCAB = 50, PATIENCE_MS = 15000 };

static const char MODEL[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char SHAPE[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

enum hold { LOOP_FREE, LOOP_WANTED, LOOP_HELD };

/* The coordinator's side. */
struct world {
    char folder[64], jobs[ADDRESS_BYTES], status[ADDRESS_BYTES];
    struct server *server;
    struct batch batch;
    struct tree trees[UNITS];
    struct unit units[UNITS];
    uint64_t ids[UNITS];
    uint32_t rows[UNITS];
    double scores[UNITS * LEAVES];
    uint32_t n_scores;
    bool done;
    /* A peer holds the loop in its tick while it leaves. */
    pthread_mutex_t lock;
    pthread_cond_t turned;
    enum hold hold;
};

static void on_payload(void *ctx, const struct job *job, const struct wire_result_ready *announced,
                       struct blob *payload)
{
    (void)ctx;
    (void)job;
    (void)announced;
    (void)payload;
    CHECK(!"no gradients here");
}

static void on_scores(void *ctx, const struct job *job, const double *leaf)
{
    struct world *w = ctx;
    for (uint32_t i = 0; i < job->n_units * LEAVES; i++) {
        w->scores[w->n_scores++] = leaf[i];
    }
}

static void on_counted(void *ctx, uint32_t tokens)
{
    (void)ctx;
    (void)tokens;
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void on_batch_done(void *ctx, uint32_t tag)
{
    struct world *w = ctx;
    w->done = tag == w->batch.tag;
    server_end(w->server, WIRE_PARTING_FINISHED, "done");
}

static void on_stop(void *ctx, const char *why)
{
    struct world *w = ctx;
    server_end(w->server, WIRE_PARTING_FAILED, why);
}

static void on_probe(void *ctx, const uint8_t *digest)
{
    (void)ctx;
    (void)digest;
}

static void on_status(void *ctx, struct status *status)
{
    (void)ctx;
    (void)snprintf(status->state, sizeof status->state, "running");
}

static void on_tick(void *ctx, uint64_t now_ms)
{
    struct world *w = ctx;
    (void)now_ms;
    (void)pthread_mutex_lock(&w->lock);
    if (w->hold == LOOP_WANTED) {
        w->hold = LOOP_HELD;
        (void)pthread_cond_broadcast(&w->turned);
        while (w->hold == LOOP_HELD) {
            (void)pthread_cond_wait(&w->turned, &w->lock);
        }
    }
    (void)pthread_mutex_unlock(&w->lock);
}

static void make_batch(struct world *w)
{
    struct errbuf e;
    for (uint32_t i = 0; i < UNITS; i++) {
        struct tree *t = &w->trees[i];
        assert_int_equal(tree_alloc(t, 3, 4, 2, LEAVES), OK);
        t->id = i;
        t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = 2};
        t->nodes[1] = (struct tree_node){.parent = 0, .count = 1};
        t->nodes[2] = (struct tree_node){.parent = 0, .count = 1};
        t->labels[0] = (struct tree_label){.row = 1, .target = 3, .leaf = 0, .weight = 1.0f};
        t->labels[1] = (struct tree_label){.row = 1, .target = 4, .leaf = 1, .weight = 1.0f};
        assert_int_equal(tree_finish(t, VOCAB, &e), OK);
        w->ids[i] = ((uint64_t)PLAN_EVAL_TAG << 32) | i;
        w->rows[i] = t->n_rows;
        w->units[i] = (struct unit){.id = w->ids[i], .n_trees = 1, .n_rows = t->n_rows, .trees = t};
    }
    w->batch = (struct batch){.kind = JOB_SCORE,
                              .tag = PLAN_EVAL_TAG,
                              .n_units = UNITS,
                              .units = w->units,
                              .ids = w->ids,
                              .rows = w->rows,
                              .trees = w->trees};
}

static int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    assert_int_equal(pthread_mutex_init(&w.lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&w.turned, NULL), 0);
    (void)snprintf(w.folder, sizeof w.folder, "/tmp/pft-server-XXXXXX");
    assert_non_null(mkdtemp(w.folder));
    (void)snprintf(w.jobs, sizeof w.jobs, "ipc://%s/jobs", w.folder);
    (void)snprintf(w.status, sizeof w.status, "ipc://%s/status", w.folder);
    const struct server_doors doors = {.bind = w.jobs, .status = w.status};
    struct server_config c = {.kernels_bit = 1,
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
    const struct server_events events = {.ctx = &w,
                                         .payload = on_payload,
                                         .scores = on_scores,
                                         .counted = on_counted,
                                         .restart = on_nothing,
                                         .batch_done = on_batch_done,
                                         .stop = on_stop,
                                         .probe = on_probe,
                                         .status = on_status,
                                         .signal = on_nothing,
                                         .tick = on_tick};
    struct errbuf e;
    make_batch(&w);
    assert_int_equal(server_open(&doors, &c, &events, &w.server, &e), OK);
    assert_int_equal(server_batch(w.server, &w.batch, false, 0), OK);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    server_close(&w->server);
    for (uint32_t i = 0; i < UNITS; i++) {
        tree_free(&w->trees[i]);
    }
    const char *names[] = {"jobs", "jobs.tensors", "status"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", w->folder, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(w->folder), 0);
    return 0;
}

/* The worker's side: a thread with a loop of its own that follows a script step by step. */
struct peer_side {
    struct world *w;
    const char *name;
    uv_loop_t loop;
    uv_timer_t limit;
    struct socket_context *context;
    struct socket *control, *tensor;
    struct wire_message got;
    struct blob *payload;
    bool arrived, late;
};

static void on_control(void *ctx, const struct socket_route *route, const uint8_t *header,
                       size_t bytes, struct blob **payload)
{
    struct peer_side *p = ctx;
    struct errbuf e;
    (void)route;
    CHECK(header && wire_decode(header, bytes, &p->got, &e) == OK);
    blob_free(&p->payload);
    p->payload = *payload;
    *payload = NULL;
    p->arrived = true;
}

static void on_limit(uv_timer_t *timer)
{
    ((struct peer_side *)timer->data)->late = true;
}

/* The next message that is not a pong; WIRE_NONE when ms passed without one. */
static enum wire_kind hear(struct peer_side *p, uint64_t ms)
{
    p->late = false;
    CHECK(uv_timer_start(&p->limit, on_limit, ms, 0) == 0);
    do {
        p->arrived = false;
        while (!p->arrived && !p->late) {
            (void)uv_run(&p->loop, UV_RUN_ONCE);
        }
    } while (p->arrived && p->got.kind == WIRE_PONG);
    (void)uv_timer_stop(&p->limit);
    return p->arrived ? p->got.kind : WIRE_NONE;
}

static void send_bytes(struct peer_side *p, struct socket *socket, const void *data, size_t bytes,
                       struct blob *payload)
{
    enum err error;
    while ((error = socket_send(socket, NULL, data, bytes, payload)) == ERR_BUSY) {
        (void)uv_run(&p->loop, UV_RUN_NOWAIT); /* not connected yet */
    }
    CHECK(error == OK);
}

static void say(struct peer_side *p, const struct wire_message *m, struct blob *payload)
{
    uint8_t header[LIMIT_HEADER_BYTES];
    size_t bytes;
    wire_encode(m, header, &bytes);
    send_bytes(p, p->control, header, bytes, payload);
}

static void connect_control(struct peer_side *p)
{
    const struct socket_options options = {
        .type = SOCKET_DEALER, .queue_messages = 100, .frame_bytes = 1 << 20, .linger_ms = 500};
    struct errbuf e;
    socket_close(&p->control);
    CHECK(socket_open(p->context, &p->loop, &options, on_control, p, &p->control, &e) == OK);
    CHECK(socket_connect(p->control, p->w->jobs, &e) == OK);
}

static void connect_tensor(struct peer_side *p)
{
    const struct socket_options options = {
        .type = SOCKET_DEALER, .queue_messages = 4, .frame_bytes = 1 << 20, .linger_ms = 500};
    struct errbuf e;
    char address[ADDRESS_BYTES];
    socket_close(&p->tensor);
    CHECK(address_tensor(p->w->jobs, address, &e) == OK);
    CHECK(socket_open(p->context, &p->loop, &options, on_control, p, &p->tensor, &e) == OK);
    CHECK(socket_connect(p->tensor, address, &e) == OK);
}

static struct wire_message hello(const struct peer_side *p)
{
    struct wire_message m = {.kind = WIRE_HELLO};
    m.hello = (struct wire_hello){.protocol = WIRE_PROTOCOL,
                                  .epoch = 1,
                                  .host = "here",
                                  .slots = 1,
                                  .kernel_levels = 1,
                                  .core_type = "Prescott",
                                  .build = "test"};
    (void)snprintf(m.hello.worker, sizeof m.hello.worker, "%s", p->name);
    memcpy(m.hello.model_hash, MODEL, sizeof MODEL);
    memcpy(m.hello.shape_digest, SHAPE, sizeof SHAPE);
    return m;
}

static void expect_refusal(struct peer_side *p, struct wire_message m, enum wire_refusal code,
                           const char *word)
{
    say(p, &m, NULL);
    CHECK(hear(p, PATIENCE_MS) == WIRE_REFUSED);
    CHECK(p->got.note.code == (uint32_t)code && strstr(p->got.note.text, word));
}

static void be_refused(struct peer_side *p)
{
    struct wire_message m = hello(p);
    m.hello.protocol = 99;
    expect_refusal(p, m, WIRE_REFUSED_PROTOCOL, "99");
    m = hello(p);
    m.hello.model_hash[0] = 'c';
    expect_refusal(p, m, WIRE_REFUSED_MODEL, "caaa");
    m = hello(p);
    m.hello.shape_digest[0] = 'c';
    expect_refusal(p, m, WIRE_REFUSED_SHAPE, "cbbb");
    m = hello(p);
    m.hello.kernel_levels = 6;
    expect_refusal(p, m, WIRE_REFUSED_KERNELS, "x86-64-v4");
    m = (struct wire_message){.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = 12345, .request = 1};
    expect_refusal(p, m, WIRE_REFUSED_SESSION, "hello");
}

/* Three strikes, then even a good hello is not heard on that connection; a new one is. */
static void be_malformed(struct peer_side *p)
{
    for (int i = 0; i < 3; i++) {
        send_bytes(p, p->control, "\xff\xff\xff", 3, NULL);
    }
    struct wire_message m = hello(p);
    say(p, &m, NULL);
    CHECK(hear(p, 300) == WIRE_NONE);
    connect_control(p);
}

static uint64_t join(struct peer_side *p)
{
    struct wire_message m = hello(p);
    say(p, &m, NULL);
    CHECK(hear(p, PATIENCE_MS) == WIRE_WELCOME);
    uint64_t session = p->got.welcome.session;
    CHECK(session != 0 && p->got.welcome.tensor_endpoint[0] == '\0');
    m = (struct wire_message){.kind = WIRE_PROBE};
    m.probe.session = session; /* the digest is all zeros, as the run's */
    say(p, &m, NULL);
    CHECK(hear(p, PATIENCE_MS) == WIRE_READY);
    return session;
}

static void answer(struct peer_side *p, const struct wire_job *job, bool forged, bool short_one)
{
    struct wire_message m = {.kind = WIRE_RESULT_READY};
    struct wire_result_ready *r = &m.result_ready;
    uint32_t values = short_one ? 1 : job->units * LEAVES;
    struct blob *scores = blob_new(values * sizeof(double));
    struct unit *units;
    uint32_t n;
    struct errbuf e;
    CHECK(scores != NULL);
    CHECK(units_frame_read(blob_data(p->payload), blob_bytes(p->payload), VOCAB, &units, &n, &e) ==
          OK);
    double *out = (double *)(void *)blob_data_mut(scores);
    for (uint32_t i = 0; i < values; i++) {
        out[i] = -1.5 - i;
    }
    r->session = job->session;
    r->job = job->job;
    r->attempt = job->attempt;
    memcpy(r->token, job->token, sizeof r->token);
    r->token[0] ^= forged ? 1 : 0;
    r->kind = WIRE_SCORE;
    r->n_rows = n;
    for (uint32_t i = 0; i < n; i++) {
        r->rows[i] = (struct wire_unit_row){.unit = units[i].id, .labels = 2};
    }
    r->payload_bytes = values * sizeof(double);
    hash_xxh128(blob_data(scores), blob_bytes(scores), r->payload_hash);
    say(p, &m, scores);
    blob_free(&scores);
    units_frame_free(units, n);
}

/* A gradient for a job that wants scores. */
static void answer_with_a_gradient(struct peer_side *p, const struct wire_job *job)
{
    struct wire_message m = {.kind = WIRE_RESULT_READY};
    struct wire_result_ready *r = &m.result_ready;
    r->session = job->session;
    r->job = job->job;
    r->attempt = job->attempt;
    memcpy(r->token, job->token, sizeof r->token);
    r->kind = WIRE_GRADIENT;
    r->n_rows = job->units;
    for (uint32_t i = 0; i < job->units; i++) {
        r->rows[i] = (struct wire_unit_row){.unit = p->w->ids[i], .labels = 2};
    }
    r->payload_bytes = FLOATS * sizeof(int64_t);
    say(p, &m, NULL);
}

static struct wire_job ask(struct peer_side *p, uint64_t session, uint64_t request)
{
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = request};
    say(p, &m, NULL);
    enum wire_kind kind = hear(p, PATIENCE_MS);
    CHECK(kind == WIRE_JOB && p->got.job.request == request && p->got.job.kind == WIRE_SCORE);
    CHECK(!p->got.job.adapter && p->payload != NULL);
    uint8_t digest[WIRE_DIGEST_BYTES];
    hash_xxh128(blob_data(p->payload), blob_bytes(p->payload), digest);
    CHECK(memcmp(digest, p->got.job.units_hash, sizeof digest) == 0);
    return p->got.job;
}

static void work(struct peer_side *p, uint64_t session)
{
    struct wire_job job = ask(p, session, 1);
    answer(p, &job, true, false); /* a forged token is not heard */
    CHECK(hear(p, 300) == WIRE_NONE);
    struct wire_job again = ask(p, session, 1); /* the same request: the same answer */
    CHECK(again.job == job.job && again.attempt == job.attempt);
    answer_with_a_gradient(p, &job); /* its payload is not asked for */
    CHECK(hear(p, 300) == WIRE_NONE);
    answer(p, &job, false, true); /* too few scores: counted against it, the job goes back */
    uint64_t request = 2;
    for (uint32_t units = 0; units < UNITS; request++) {
        job = ask(p, session, request);
        answer(p, &job, false, false);
        units += job.units;
        enum wire_kind kind = hear(p, PATIENCE_MS);
        /* The run ends with its batch: the last ack may be overtaken by the goodbye behind it. */
        if (units == UNITS && kind == WIRE_ACK) {
            kind = hear(p, PATIENCE_MS);
        }
        CHECK(kind == (units < UNITS ? WIRE_ACK : WIRE_GOODBYE));
    }
    CHECK(p->got.note.code == WIRE_PARTING_FINISHED);
    struct wire_message m = {.kind = WIRE_GOODBYE};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(p, &m, NULL);
}

static void peer_open(struct peer_side *p)
{
    struct errbuf e;
    CHECK(uv_loop_init(&p->loop) == 0 && uv_timer_init(&p->loop, &p->limit) == 0);
    p->limit.data = p;
    CHECK(socket_context_open(&p->context, &e) == OK);
    connect_control(p);
}

/* Everything said is delivered when this returns. */
static void peer_close(struct peer_side *p)
{
    socket_close(&p->control);
    socket_close(&p->tensor);
    blob_free(&p->payload);
    uv_close((uv_handle_t *)&p->limit, NULL);
    (void)uv_run(&p->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&p->loop) == 0);
    socket_context_close(&p->context);
}

static void *peer_main(void *argument)
{
    struct peer_side *p = argument;
    peer_open(p);
    be_refused(p);
    be_malformed(p);
    work(p, join(p));
    peer_close(p);
    return NULL;
}

static void turn_hold(struct world *w, enum hold from, enum hold to)
{
    (void)pthread_mutex_lock(&w->lock);
    w->hold = from;
    (void)pthread_cond_broadcast(&w->turned);
    while (w->hold != to) {
        (void)pthread_cond_wait(&w->turned, &w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

/* Asks for a job, says goodbye and is gone before the coordinator reads either; then a worker of
 * another name does the work. */
static void *leaving_main(void *argument)
{
    struct peer_side *p = argument;
    peer_open(p);
    uint64_t session = join(p);
    turn_hold(p->w, LOOP_WANTED, LOOP_HELD);
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = session, .request = 1};
    say(p, &m, NULL);
    m = (struct wire_message){.kind = WIRE_GOODBYE};
    m.note = (struct wire_note){.session = session, .code = WIRE_PARTING_SHUTDOWN};
    say(p, &m, NULL);
    peer_close(p);
    turn_hold(p->w, LOOP_FREE, LOOP_FREE);
    p->name = "another";
    peer_open(p);
    work(p, join(p));
    peer_close(p);
    return NULL;
}

static void test_a_peer_is_refused_malformed_and_then_does_a_whole_batch(void **state)
{
    struct world *w = *state;
    struct peer_side p = {.w = w, .name = "by-hand"};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, peer_main, &p), 0);
    server_run(w->server);
    assert_true(w->done);
    assert_int_equal(w->n_scores, UNITS * LEAVES);
    assert_true(w->scores[0] == -1.5);
    server_close(&w->server);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* A connection that is lost and made again by ZeroMQ is a new one to the coordinator, and the
 * worker does not know: four times, for three strikes would silence it. */
static void *reconnecting_main(void *argument)
{
    struct peer_side *p = argument;
    peer_open(p);
    uint64_t session = join(p);
    for (int i = 0; i < 4; i++) {
        uint8_t header[LIMIT_HEADER_BYTES];
        size_t bytes;
        struct wire_message m = {.kind = WIRE_FETCH};
        m.params.session = session;
        m.params.version = i == 3 ? 9 : 0; /* there is no version 9: said so without a payload */
        connect_tensor(p);
        wire_encode(&m, header, &bytes);
        send_bytes(p, p->tensor, header, bytes, NULL);
        CHECK(hear(p, PATIENCE_MS) == WIRE_PARAMS && p->got.params.version == m.params.version);
        CHECK((p->payload != NULL) == (i != 3) && (p->got.params.floats != 0) == (i != 3));
    }
    work(p, session);
    peer_close(p);
    return NULL;
}

static void test_a_tensor_connection_made_anew_is_served_without_a_word(void **state)
{
    struct world *w = *state;
    struct peer_side p = {.w = w, .name = "by-hand"};
    const struct adamw_config adamw = {.beta1 = 0.9};
    struct params *params = NULL;
    struct params_snapshot *snapshot = NULL;
    pthread_t thread;
    assert_int_equal(params_new_empty(8, &adamw, &params), OK);
    assert_int_equal(params_snapshot(params, &snapshot), OK);
    params_free(&params);
    assert_int_equal(server_publish(w->server, snapshot), OK);
    assert_int_equal(pthread_create(&thread, NULL, reconnecting_main, &p), 0);
    server_run(w->server);
    assert_true(w->done);
    server_close(&w->server);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* stderr of what runs between the two calls. */
static int listen_in(FILE **file)
{
    *file = tmpfile();
    assert_non_null(*file);
    (void)fflush(stderr);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fileno(*file), STDERR_FILENO) >= 0);
    return saved;
}

static void listen_no_more(FILE *file, int saved, char *text, size_t bytes)
{
    (void)fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    rewind(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    (void)fclose(file);
}

static void test_a_goodbye_counts_though_a_message_failed_before_it_was_read(void **state)
{
    struct world *w = *state;
    struct peer_side p = {.w = w, .name = "by-hand"};
    pthread_t thread;
    FILE *file;
    char text[1 << 14];
    int saved = listen_in(&file);
    int started = pthread_create(&thread, NULL, leaving_main, &p);
    if (started == 0) {
        server_run(w->server);
        server_close(&w->server);
        started = pthread_join(thread, NULL);
    }
    listen_no_more(file, saved, text, sizeof text);
    assert_int_equal(started, 0);
    assert_true(w->done);
    assert_int_equal(w->n_scores, UNITS * LEAVES);
    assert_non_null(strstr(text, "worker_left worker=by-hand"));
    assert_null(strstr(text, "worker_unreachable"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_peer_is_refused_malformed_and_then_does_a_whole_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_tensor_connection_made_anew_is_served_without_a_word,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_goodbye_counts_though_a_message_failed_before_it_was_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
