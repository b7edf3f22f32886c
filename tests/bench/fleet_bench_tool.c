/* fleet_bench_tool.c - many synthetic workers in one process, against a real coordinator: they
 * join, fetch parameters, ask, announce and send gradients by the protocol of proto/README.md, and
 * compute nothing. Prints one JSON line: jobs, bytes, times from a lease to its ack, and what the
 * coordinator used meanwhile, from /proc. Place: under scripts/bench/coordinator.
 *
 * Each worker is two connections (control, tensors) as a real one has; all of them hang on two
 * ROUTER sockets that connect, so that the driver costs little beside what is measured.
 *
 * usage: fleet_bench_tool --jobs ADDRESS --model MODEL --probe HEX --pid COORDINATOR --floats N
 *                         [--key FILE] [--workers N] [--slots N] [--warmup S] [--seconds S]
 *                         [--rate JOBS_PER_S]
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "common/net/address.h"
#include "common/net/socket_options.h"
#include "common/wire/message.h"
#include "common/wire/shape_digest.h"
#include "common/wire/units_frame.h"

enum {
    ROUTE_BYTES = 4,
    FLIGHTS = 1 << 13,   /* results under way, by the low bits of serial and index of a job */
    EXTRA = 2,           /* AGENT_RESULTS_EXTRA: results a worker holds beyond its slots */
    TURN_MESSAGES = 256, /* of a socket, before the other one has its turn */
    THREADS_MAX = 64,    /* of the coordinator */
    BUCKETS = 64 * 64,   /* of the histogram: powers of two, each in 64 parts */
    JOIN_MS = 60000,     /* for everybody to be ready */
    HEARTBEAT_MS = 500,
    PARTING_MS = 200,
};

static const uint64_t LATE_NS = 1000000000u; /* from a lease to its ack */

enum slot_state { SLOT_IDLE, SLOT_WANTING, SLOT_FETCHING };

struct slot {
    enum slot_state state;
    uint64_t request, begun_ns;
    struct wire_job job; /* FETCHING: waits for its parameters */
    uint64_t units[LIMIT_JOB_UNITS];
};

struct worker {
    uint64_t session, version, asked_version; /* of the parameters; +1, so that 0 is none */
    bool ready;
    uint32_t taken; /* slots in use and results that are not settled */
    struct slot *slots;
};

struct flight {
    bool used;
    uint32_t worker, attempt, units;
    uint64_t job, begun_ns;
    uint8_t token[WIRE_TOKEN_BYTES];
};

struct usage {
    uint64_t rss_kib, hwm_kib;
    double total_s;
    uint32_t n;
    struct {
        char name[32];
        double seconds;
    } threads[THREADS_MAX];
};

struct options {
    const char *jobs, *model, *key;
    uint8_t probe[WIRE_DIGEST_BYTES];
    long pid;
    uint32_t workers, slots;
    double warmup_s, seconds, rate;
    size_t floats;
};

struct fleet {
    struct options o;
    char tensors[ADDRESS_BYTES];
    char model_hash[HASH_SHA256_HEX], shape[WIRE_DIGEST_HEX];
    uint32_t vocab;
    void *context, *control, *tensor;
    struct worker *workers;
    uint32_t n_ready;
    struct flight flights[FLIGHTS];
    int64_t *gradient; /* [floats], the same for every job: nobody computes */
    uint8_t digest[WIRE_DIGEST_BYTES];
    double allowed; /* requests that the rate allows now */
    uint32_t next_worker;
    bool measuring;
    uint64_t jobs, units, stale, rejected, refused, fetches, lost, cancelled, first_step, last_step;
    uint64_t histogram[BUCKETS], longest_ns, late;
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "fleet_bench_tool: %s\n", what);
    exit(1);
}

/* -- figures ----------------------------------------------------------------------------------- */

static uint32_t bucket_of(uint64_t ns)
{
    if (ns < 64) {
        return (uint32_t)ns;
    }
    uint32_t top = 63 - (uint32_t)__builtin_clzll(ns);
    return (top - 5) * 64 + (uint32_t)(ns >> (top - 6) & 63);
}

static double bucket_us(uint32_t b)
{
    return b < 64 ? b * 1e-3 : (double)((64ull + b % 64) << (b / 64 - 1)) * 1e-3;
}

static double percentile_us(const struct fleet *f, double share)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    for (uint32_t b = 0; b < BUCKETS; b++) {
        total += f->histogram[b];
    }
    for (uint32_t b = 0; b < BUCKETS; b++) {
        seen += f->histogram[b];
        if (seen > 0 && (double)seen >= share * (double)total) {
            return bucket_us(b);
        }
    }
    return 0.0;
}

/* The first number after a word in a file of /proc; 0 when it is not there. */
static uint64_t number_in(const char *path, const char *word)
{
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, word, strlen(word)) == 0) {
            value = strtoull(line + strlen(word), NULL, 10);
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return value;
}

static void read_name(const char *path, char *name, size_t room)
{
    FILE *file = fopen(path, "re");
    name[0] = '\0';
    if (file) {
        if (fgets(name, (int)room, file)) {
            name[strcspn(name, "\n")] = '\0';
        }
        (void)fclose(file);
    }
}

/* What the coordinator holds and has computed so far, by thread. */
static void read_usage(long pid, struct usage *u)
{
    char path[128];
    *u = (struct usage){0};
    (void)snprintf(path, sizeof path, "/proc/%ld/status", pid);
    u->rss_kib = number_in(path, "VmRSS:");
    u->hwm_kib = number_in(path, "VmHWM:");
    (void)snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) && u->n < THREADS_MAX) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(path, sizeof path, "/proc/%ld/task/%.16s/comm", pid, entry->d_name);
        read_name(path, u->threads[u->n].name, sizeof u->threads[u->n].name);
        (void)snprintf(path, sizeof path, "/proc/%ld/task/%.16s/schedstat", pid, entry->d_name);
        u->threads[u->n].seconds = (double)number_in(path, "") * 1e-9;
        u->total_s += u->threads[u->n++].seconds;
    }
    if (folder) {
        (void)closedir(folder);
    }
}

static double own_cpu_s(void)
{
    struct rusage r;
    (void)getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}

/* -- sending ----------------------------------------------------------------------------------- */

static void put_route(uint32_t worker, uint8_t route[ROUTE_BYTES])
{
    bytes_put_u32(route, worker + 1); /* a name may not begin with a zero byte */
    route[3] = route[0];
    route[0] = 'w';
}

static void send_to(void *zmq, uint32_t worker, const struct wire_message *m, const void *payload,
                    size_t payload_bytes)
{
    uint8_t header[LIMIT_HEADER_BYTES];
    uint8_t route[ROUTE_BYTES];
    size_t bytes;
    bool ok;
    put_route(worker, route);
    wire_encode(m, header, &bytes);
    ok = zmq_send(zmq, route, sizeof route, ZMQ_SNDMORE) >= 0;
    ok = ok && zmq_send(zmq, header, bytes, payload ? ZMQ_SNDMORE : 0) >= 0;
    if (ok && payload) {
        zmq_msg_t tail;
        ok = zmq_msg_init_data(&tail, (void *)(uintptr_t)payload, payload_bytes, NULL, NULL) == 0 &&
             zmq_msg_send(&tail, zmq, 0) >= 0;
    }
    if (!ok) {
        die(zmq_strerror(errno));
    }
}

static void say_hello(struct fleet *f, uint32_t w)
{
    struct wire_message m = {.kind = WIRE_HELLO};
    m.hello = (struct wire_hello){.protocol = WIRE_PROTOCOL,
                                  .epoch = 1,
                                  .host = "bench",
                                  .slots = f->o.slots,
                                  .kernel_levels = 7,
                                  .core_type = "synthetic",
                                  .build = PFT_VERSION};
    (void)snprintf(m.hello.worker, sizeof m.hello.worker, "synthetic-%u", w);
    (void)snprintf(m.hello.model_hash, sizeof m.hello.model_hash, "%s", f->model_hash);
    (void)snprintf(m.hello.shape_digest, sizeof m.hello.shape_digest, "%s", f->shape);
    send_to(f->control, w, &m, NULL, 0);
}

static void request(struct fleet *f, uint32_t w, uint32_t s)
{
    struct worker *worker = &f->workers[w];
    struct slot *slot = &worker->slots[s];
    struct wire_message m = {.kind = WIRE_REQUEST};
    slot->state = SLOT_WANTING;
    worker->taken++;
    m.request =
        (struct wire_request){.session = worker->session, .slot = s, .request = ++slot->request};
    send_to(f->control, w, &m, NULL, 0);
}

/* Asks for every idle slot whose result will find room, as a real worker does. */
static void want(struct fleet *f, uint32_t w)
{
    const struct worker *worker = &f->workers[w];
    for (uint32_t s = 0; s < f->o.slots && worker->taken < f->o.slots + EXTRA; s++) {
        if (f->o.rate > 0.0 && f->allowed < 1.0) {
            return;
        }
        if (worker->slots[s].state == SLOT_IDLE) {
            f->allowed -= f->o.rate > 0.0 ? 1.0 : 0.0;
            request(f, w, s);
        }
    }
}

static struct flight *flight_of(struct fleet *f, uint64_t job)
{
    return &f->flights[(job >> 32 & 1) << 12 | (job & (FLIGHTS / 2 - 1))];
}

/* The job is computed at once: what is announced is the one gradient. */
static void announce(struct fleet *f, uint32_t w, uint32_t s)
{
    struct worker *worker = &f->workers[w];
    struct slot *slot = &worker->slots[s];
    const struct wire_job *job = &slot->job;
    struct flight *flight = flight_of(f, job->job);
    struct wire_message m = {.kind = WIRE_RESULT_READY};
    struct wire_result_ready *r = &m.result_ready;
    f->lost += flight->used;
    *flight = (struct flight){.used = true,
                              .worker = w,
                              .attempt = job->attempt,
                              .units = job->units,
                              .job = job->job,
                              .begun_ns = slot->begun_ns};
    memcpy(flight->token, job->token, sizeof flight->token);
    r->session = worker->session;
    r->job = job->job;
    r->attempt = job->attempt;
    memcpy(r->token, job->token, sizeof r->token);
    r->kind = WIRE_GRADIENT;
    r->n_rows = job->units;
    for (uint32_t i = 0; i < job->units; i++) {
        r->rows[i] = (struct wire_unit_row){
            .unit = slot->units[i], .loss = 1ll << 40, .sumsq = 1e-6, .labels = 2};
    }
    r->payload_bytes = f->o.floats * sizeof *f->gradient;
    memcpy(r->payload_hash, f->digest, sizeof r->payload_hash);
    r->seconds = 1e-6f;
    send_to(f->control, w, &m, NULL, 0);
    slot->state = SLOT_IDLE; /* its place is the result's now */
    want(f, w);
}

/* -- messages in ------------------------------------------------------------------------------- */

static void take_job(struct fleet *f, uint32_t w, const struct wire_job *job, zmq_msg_t *payload)
{
    struct worker *worker = &f->workers[w];
    struct unit *units = NULL;
    uint32_t n = 0;
    struct errbuf e;
    if (job->slot >= f->o.slots || job->kind != WIRE_GRADIENT || job->units > LIMIT_JOB_UNITS) {
        die("a job that is no gradient's: the run must not evaluate");
    }
    struct slot *slot = &worker->slots[job->slot];
    if (slot->state != SLOT_WANTING || job->request != slot->request) {
        return;
    }
    if (units_frame_read(zmq_msg_data(payload), zmq_msg_size(payload), f->vocab, &units, &n, &e) !=
            OK ||
        n != job->units) {
        die("a job whose units cannot be read");
    }
    slot->begun_ns = clock_now_ns();
    slot->job = *job;
    for (uint32_t i = 0; i < n; i++) {
        slot->units[i] = units[i].id;
    }
    units_frame_free(units, n);
    f->last_step = job->step > f->last_step ? job->step : f->last_step;
    if (worker->version == job->version + 1) {
        announce(f, w, job->slot);
        return;
    }
    slot->state = SLOT_FETCHING;
    if (worker->asked_version != job->version + 1) {
        struct wire_message m = {.kind = WIRE_FETCH};
        m.params = (struct wire_params){.session = worker->session, .version = job->version};
        worker->asked_version = job->version + 1;
        f->fetches++;
        send_to(f->tensor, w, &m, NULL, 0);
    }
}

static void take_params(struct fleet *f, uint32_t w, const struct wire_params *m, size_t bytes)
{
    struct worker *worker = &f->workers[w];
    if (bytes != f->o.floats * sizeof(float)) {
        return; /* not served any more: its jobs are over, and the word of that is on its way */
    }
    worker->version = m->version + 1;
    for (uint32_t s = 0; s < f->o.slots; s++) {
        if (worker->slots[s].state == SLOT_FETCHING && worker->slots[s].job.version == m->version) {
            announce(f, w, s);
        }
    }
}

/* A job that still waits for its parameters is not wanted any more. */
static void stop_fetching(struct fleet *f, uint32_t w, const struct wire_job_note *note)
{
    struct worker *worker = &f->workers[w];
    for (uint32_t s = 0; s < f->o.slots; s++) {
        struct slot *slot = &worker->slots[s];
        if (slot->state == SLOT_FETCHING && slot->job.job == note->job &&
            slot->job.attempt == note->attempt) {
            slot->state = SLOT_IDLE;
            worker->taken--;
            f->cancelled++;
            want(f, w);
            return;
        }
    }
}

/* send, ack, stale, rejected */
static void take_word(struct fleet *f, uint32_t w, enum wire_kind kind,
                      const struct wire_job_note *note)
{
    struct flight *flight = flight_of(f, note->job);
    if (!flight->used || flight->worker != w || flight->job != note->job ||
        flight->attempt != note->attempt) {
        stop_fetching(f, w, note);
        return;
    }
    if (kind == WIRE_SEND) {
        struct wire_message m = {.kind = WIRE_RESULT};
        m.job_note = (struct wire_job_note){
            .session = f->workers[w].session, .job = note->job, .attempt = note->attempt};
        memcpy(m.job_note.token, flight->token, sizeof flight->token);
        send_to(f->tensor, w, &m, f->gradient, f->o.floats * sizeof *f->gradient);
        return;
    }
    flight->used = false;
    f->workers[w].taken--;
    f->stale += kind == WIRE_STALE;
    f->rejected += kind == WIRE_REJECTED;
    if (kind == WIRE_ACK && f->measuring) {
        uint64_t ns = clock_now_ns() - flight->begun_ns;
        f->histogram[bucket_of(ns)]++;
        f->longest_ns = ns > f->longest_ns ? ns : f->longest_ns;
        f->late += ns > LATE_NS;
        f->jobs++;
        f->units += flight->units;
    }
    want(f, w);
}

static void take_welcome(struct fleet *f, uint32_t w, uint64_t session)
{
    struct wire_message m = {.kind = WIRE_ATTACH};
    f->workers[w].session = session;
    m.session.session = session;
    send_to(f->tensor, w, &m, NULL, 0);
    m = (struct wire_message){.kind = WIRE_PROBE};
    m.probe.session = session;
    memcpy(m.probe.digest, f->o.probe, sizeof m.probe.digest);
    (void)snprintf(m.probe.core_type, sizeof m.probe.core_type, "synthetic");
    send_to(f->control, w, &m, NULL, 0);
}

static void take(struct fleet *f, uint32_t w, const struct wire_message *m, zmq_msg_t *payload)
{
    switch ((int)m->kind) {
    case WIRE_WELCOME:
        take_welcome(f, w, m->welcome.session);
        return;
    case WIRE_READY:
        f->n_ready += !f->workers[w].ready;
        f->workers[w].ready = true;
        return;
    case WIRE_JOB:
        take_job(f, w, &m->job, payload);
        return;
    case WIRE_PARAMS:
        take_params(f, w, &m->params, zmq_msg_size(payload));
        return;
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
        take_word(f, w, m->kind, &m->job_note);
        return;
    case WIRE_REFUSED:
        f->refused++;
        (void)fprintf(stderr, "fleet_bench_tool: refused: %s\n", m->note.text);
        return;
    case WIRE_PONG:
        return;
    case WIRE_GOODBYE:
        die("the coordinator ended the run: it has too few steps");
    default:
        die("a message that no coordinator sends");
    }
}

static bool receive(void *zmq, zmq_msg_t parts[3])
{
    int n = 0;
    for (int more = 1; more && n < 3; n++) {
        if (zmq_msg_recv(&parts[n], zmq, ZMQ_DONTWAIT) < 0) {
            return false;
        }
        more = zmq_msg_more(&parts[n]);
    }
    return n >= 2;
}

static int drain(struct fleet *f, void *zmq)
{
    int n = 0;
    while (n < TURN_MESSAGES) {
        zmq_msg_t parts[3];
        struct wire_message m;
        struct errbuf e;
        for (int i = 0; i < 3; i++) {
            (void)zmq_msg_init(&parts[i]);
        }
        bool any = receive(zmq, parts);
        if (any) {
            const uint8_t *route = zmq_msg_data(&parts[0]);
            uint8_t index[4] = {route[3], route[1], route[2], 0};
            if (wire_decode(zmq_msg_data(&parts[1]), zmq_msg_size(&parts[1]), &m, &e) != OK) {
                die(e.text);
            }
            take(f, bytes_get_u32(index) - 1, &m, &parts[2]);
            n++;
        }
        for (int i = 0; i < 3; i++) {
            (void)zmq_msg_close(&parts[i]);
        }
        if (!any) {
            break;
        }
    }
    return n;
}

/* -- time -------------------------------------------------------------------------------------- */

static void heartbeats(struct fleet *f)
{
    for (uint32_t w = 0; w < f->o.workers; w++) {
        struct wire_message m = {.kind = WIRE_HEARTBEAT};
        m.heartbeat.session = f->workers[w].session;
        if (m.heartbeat.session != 0) {
            send_to(f->control, w, &m, NULL, 0);
        }
    }
}

/* Lets workers ask in turn, as far as the rate allows. */
static void pace(struct fleet *f, uint64_t passed_ns)
{
    f->allowed += f->o.rate * (double)passed_ns * 1e-9;
    f->allowed = f->allowed < f->o.rate * 0.01 + 1.0 ? f->allowed : f->o.rate * 0.01 + 1.0;
    for (uint32_t i = 0; i < f->o.workers && f->allowed >= 1.0; i++) {
        want(f, f->next_worker);
        f->next_worker = (f->next_worker + 1) % f->o.workers;
    }
}

/* Turns until the time is over, or everybody is ready when that is waited for. */
static void turn_until(struct fleet *f, uint64_t end_ns, bool joining)
{
    uint64_t beat_ns = clock_now_ns();
    uint64_t last_ns = beat_ns;
    while (last_ns < end_ns && !(joining && f->n_ready == f->o.workers)) {
        zmq_pollitem_t items[] = {{.socket = f->control, .events = ZMQ_POLLIN},
                                  {.socket = f->tensor, .events = ZMQ_POLLIN}};
        if (drain(f, f->control) + drain(f, f->tensor) == 0) {
            (void)zmq_poll(items, 2, f->o.rate > 0.0 ? 1 : 20);
        }
        uint64_t now_ns = clock_now_ns();
        if (f->o.rate > 0.0 && !joining) {
            pace(f, now_ns - last_ns);
        }
        if (now_ns - beat_ns > HEARTBEAT_MS * 1000000ull) {
            beat_ns = now_ns;
            heartbeats(f);
        }
        last_ns = now_ns;
    }
}

/* -- beginning and end ------------------------------------------------------------------------- */

static void *open_socket(struct fleet *f, const char *address, const struct key_file *key)
{
    const struct socket_options options = {
        .type = SOCKET_DEALER, .frame_bytes = -1, .linger_ms = 0, .key = key};
    const int zero = 0;
    const int one = 1;
    struct errbuf e;
    void *zmq = zmq_socket(f->context, ZMQ_ROUTER);
    if (!zmq || socket_options_apply(zmq, &options, &e) != OK ||
        zmq_setsockopt(zmq, ZMQ_IMMEDIATE, &zero, sizeof zero) != 0 ||
        zmq_setsockopt(zmq, ZMQ_ROUTER_MANDATORY, &one, sizeof one) != 0) {
        die("a socket cannot be made");
    }
    for (uint32_t w = 0; w < f->o.workers; w++) {
        uint8_t route[ROUTE_BYTES];
        put_route(w, route);
        if (zmq_setsockopt(zmq, ZMQ_CONNECT_ROUTING_ID, route, sizeof route) != 0 ||
            zmq_connect(zmq, address) != 0) {
            die(zmq_strerror(errno));
        }
    }
    return zmq;
}

static void prepare(struct fleet *f)
{
    struct model_file *model = NULL;
    struct errbuf e;
    f->workers = mem_calloc(f->o.workers, sizeof *f->workers);
    f->gradient = mem_aligned(f->o.floats, sizeof *f->gradient);
    CHECK(f->workers && f->gradient);
    for (uint32_t w = 0; w < f->o.workers; w++) {
        f->workers[w].slots = mem_calloc(f->o.slots, sizeof *f->workers[w].slots);
        CHECK(f->workers[w].slots);
    }
    for (size_t i = 0; i < f->o.floats; i++) {
        f->gradient[i] = (int64_t)(i % 1000) << 20;
    }
    hash_xxh128(f->gradient, f->o.floats * sizeof *f->gradient, f->digest);
    if (model_open(f->o.model, &model, &e) != OK || model_hash(model, f->model_hash, &e) != OK) {
        die(e.text);
    }
    shape_digest(model_shape(model), f->shape);
    f->vocab = model_shape(model)->vocab;
    model_close(&model);
}

static void join(struct fleet *f)
{
    static struct key_file key;
    struct errbuf e;
    if (f->o.key && key_file_read(f->o.key, &key, &e) != OK) {
        die(e.text);
    }
    if (address_tensor(f->o.jobs, f->tensors, &e) != OK) {
        die(e.text);
    }
    f->context = zmq_ctx_new();
    CHECK(f->context);
    f->control = open_socket(f, f->o.jobs, f->o.key ? &key : NULL);
    f->tensor = open_socket(f, f->tensors, f->o.key ? &key : NULL);
    for (uint32_t w = 0; w < f->o.workers; w++) {
        say_hello(f, w);
    }
    turn_until(f, clock_now_ns() + JOIN_MS * 1000000ull, true);
    if (f->n_ready < f->o.workers) {
        (void)fprintf(stderr, "%u of %u workers\n", f->n_ready, f->o.workers);
        die("not everybody was let in");
    }
}

static void leave(struct fleet *f)
{
    for (uint32_t i = 0; i < 2 * f->o.workers; i++) { /* all drain first, so that no job is lost */
        uint32_t w = i % f->o.workers;
        struct wire_message m = {.kind = i < f->o.workers ? WIRE_DRAIN : WIRE_GOODBYE};
        m.note.session = f->workers[w].session;
        m.note.code = WIRE_PARTING_SHUTDOWN;
        send_to(f->control, w, &m, NULL, 0);
    }
    uint64_t end_ns = clock_now_ns() + PARTING_MS * 1000000ull;
    for (uint64_t now_ns = clock_now_ns(); now_ns < end_ns; now_ns = clock_now_ns()) {
        zmq_pollitem_t item = {.socket = f->control, .events = ZMQ_POLLIN};
        zmq_msg_t part;
        (void)zmq_poll(&item, 1, (long)((end_ns - now_ns) / 1000000u) + 1);
        (void)zmq_msg_init(&part); /* what is said now concerns nobody */
        (void)zmq_msg_recv(&part, f->control, ZMQ_DONTWAIT);
        (void)zmq_msg_close(&part);
    }
}

static void print(const struct fleet *f, double seconds, double driver_s, const struct usage *a,
                  const struct usage *b)
{
    uint64_t bytes = f->jobs * f->o.floats * sizeof *f->gradient;
    (void)printf("{\"workers\": %u, \"slots\": %u, \"seconds\": %.3f, \"jobs\": %" PRIu64
                 ", \"units\": %" PRIu64 ", \"steps\": %" PRIu64 ", \"last_step\": %" PRIu64
                 ", \"gradient_bytes\": %" PRIu64 ", \"fetches\": %" PRIu64 ", \"stale\": %" PRIu64
                 ", \"rejected\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"lost\": %" PRIu64
                 ", \"cancelled\": %" PRIu64,
                 f->o.workers, f->o.slots, seconds, f->jobs, f->units, f->last_step - f->first_step,
                 f->last_step, bytes, f->fetches, f->stale, f->rejected, f->refused, f->lost,
                 f->cancelled);
    (void)printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"late\": %" PRIu64
                 ", \"driver_cpu_s\": %.3f",
                 percentile_us(f, 0.50), percentile_us(f, 0.99), (double)f->longest_ns * 1e-3,
                 f->late, driver_s);
    (void)printf(", \"rss_kib\": %" PRIu64 ", \"hwm_kib\": %" PRIu64
                 ", \"cpu_s\": %.3f, \"threads\": [",
                 b->rss_kib, b->hwm_kib, b->total_s - a->total_s);
    for (uint32_t i = 0; i < b->n && i < a->n; i++) {
        (void)printf("%s[\"%s\", %.3f]", i ? ", " : "", b->threads[i].name,
                     b->threads[i].seconds - a->threads[i].seconds);
    }
    (void)printf("]}\n");
}

static void measure(struct fleet *f)
{
    static struct usage before;
    static struct usage after;
    turn_until(f, clock_now_ns() + (uint64_t)(f->o.warmup_s * 1e9), false);
    f->first_step = f->last_step;
    f->fetches = f->stale = f->rejected = 0;
    read_usage(f->o.pid, &before);
    double driver_s = own_cpu_s();
    uint64_t begin_ns = clock_now_ns();
    f->measuring = true;
    turn_until(f, begin_ns + (uint64_t)(f->o.seconds * 1e9), false);
    f->measuring = false;
    double seconds = (double)(clock_now_ns() - begin_ns) * 1e-9;
    read_usage(f->o.pid, &after);
    print(f, seconds, own_cpu_s() - driver_s, &before, &after);
}

static void take_option(struct options *o, int option)
{
    switch (option) {
    case 'j':
        o->jobs = optarg;
        return;
    case 'm':
        o->model = optarg;
        return;
    case 'k':
        o->key = optarg;
        return;
    case 'p':
        if (!hash_from_hex(optarg, sizeof o->probe, o->probe)) {
            die("--probe: 32 hex digits are needed");
        }
        return;
    case 'P':
        o->pid = strtol(optarg, NULL, 10);
        return;
    case 'w':
        o->workers = (uint32_t)strtoul(optarg, NULL, 10);
        return;
    case 's':
        o->slots = (uint32_t)strtoul(optarg, NULL, 10);
        return;
    case 'W':
        o->warmup_s = strtod(optarg, NULL);
        return;
    case 'S':
        o->seconds = strtod(optarg, NULL);
        return;
    case 'r':
        o->rate = strtod(optarg, NULL);
        return;
    case 'f':
        o->floats = strtoul(optarg, NULL, 10);
        return;
    default:
        die("unknown option; the head of the source lists them");
    }
}

int main(int argc, char **argv)
{
    static struct fleet f = {.o = {.workers = 1, .slots = 1, .warmup_s = 1.0, .seconds = 3.0}};
    static const struct option list[] = {
        {"jobs", 1, NULL, 'j'},  {"model", 1, NULL, 'm'},  {"key", 1, NULL, 'k'},
        {"probe", 1, NULL, 'p'}, {"pid", 1, NULL, 'P'},    {"workers", 1, NULL, 'w'},
        {"slots", 1, NULL, 's'}, {"warmup", 1, NULL, 'W'}, {"seconds", 1, NULL, 'S'},
        {"rate", 1, NULL, 'r'},  {"floats", 1, NULL, 'f'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", list, NULL)) != -1) {
        take_option(&f.o, option);
    }
    if (!f.o.jobs || !f.o.model || f.o.pid <= 0 || f.o.floats == 0 || f.o.workers == 0 ||
        f.o.workers > LIMIT_WORKERS || f.o.slots == 0 || f.o.slots > LIMIT_SLOTS) {
        die("--jobs, --model, --probe, --pid and --floats are needed");
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    prepare(&f);
    join(&f);
    for (uint32_t w = 0; w < f.o.workers && f.o.rate <= 0.0; w++) {
        want(&f, w);
    }
    measure(&f);
    leave(&f);
    (void)zmq_close(f.control);
    (void)zmq_close(f.tensor);
    return 0; /* the context's thread ends with the process */
}
