/* client.c - loop, sockets and signals of a worker. */
#include "worker/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "common/wire/shape_digest.h"
#include "common/wire/units_frame.h"
#include "worker/backend/kernels_level.h"
#include "worker/client_state.h"

enum {
    CONTROL_QUEUE = 1024,
    TENSOR_QUEUE = LIMIT_RESULTS_IN_FLIGHT, /* all of them may be this worker's */
    LINGER_MS = 500,
    REPORTS_MAX = 4 * LIMIT_SLOTS,
};

static void drain_actions(struct client *c, uint64_t now);
static void on_control(void *ctx, const struct socket_route *route, const uint8_t *header,
                       size_t bytes, struct blob **payload);
static void on_tensor(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload);

static enum err connect_socket(struct client *c, const char *address, int queue, int64_t frame,
                               socket_receive receive, struct socket **out, struct errbuf *e)
{
    const struct socket_options options = {.type = SOCKET_DEALER,
                                           .queue_messages = queue,
                                           .frame_bytes = frame,
                                           .linger_ms = LINGER_MS,
                                           .reconnect_ms = 100,
                                           .reconnect_max_ms = 2000,
                                           .key = address_ipc_path(address) ? NULL : c->cfg.key};
    enum err error = socket_open(c->context, &c->loop, &options, receive, c, out, e);
    if (error == OK) {
        error = socket_connect(*out, address, e);
        if (error != OK) {
            socket_close(out);
        }
    }
    return error;
}

void client_end(struct client *c, enum agent_exit code)
{
    if (!c->ended) {
        c->ended = true;
        c->exit = code;
        uv_stop(&c->loop);
    }
}

static void open_control(struct client *c)
{
    struct errbuf e;
    socket_close(&c->control);
    socket_close(&c->tensor);
    c->attached = false;
    if (connect_socket(c, c->cfg.address, CONTROL_QUEUE, LIMIT_JOB_BYTES, on_control, &c->control,
                       &e) != OK) {
        log_event(LOG_ERROR, "connect_failed", "%s", e.text);
        client_end(c, AGENT_EXIT_ERROR);
    }
}

void client_open_tensor(struct client *c)
{
    const struct wire_welcome *w = agent_settings(c->agent);
    struct errbuf e;
    enum err error = OK;
    socket_close(&c->tensor); /* of an earlier session on the same connection */
    c->attached = false;
    if (w->tensor_endpoint[0] != '\0') {
        (void)snprintf(c->tensor_address, sizeof c->tensor_address, "%s", w->tensor_endpoint);
    } else {
        error = address_tensor(c->cfg.address, c->tensor_address, &e);
    }
    if (error == OK) {
        error = connect_socket(c, c->tensor_address, TENSOR_QUEUE, LIMIT_TENSOR_BYTES, on_tensor,
                               &c->tensor, &e);
    }
    if (error != OK) {
        log_event(LOG_ERROR, "connect_failed", "%s", e.text);
    }
}

static void run_probe(struct client *c, bool again, uint64_t now)
{
    if (c->has_digest && !again) {
        agent_probed(c->agent, OK, "", now);
        return;
    }
    enum err error = slots_probe(c->slots);
    if (error != OK) {
        agent_probed(c->agent, error, "slot 0 takes no more work", now);
    }
}

/* Floats of the adapter, and of a vector per layer that may follow it. */
static size_t adapter_floats(const struct client *c, size_t *vectors)
{
    const struct wire_welcome *w = agent_settings(c->agent);
    const struct lora_config lora = {.r = w->lora_r, .targets = w->lora_targets};
    const struct model_shape *shape = model_shape(c->cfg.model);
    *vectors = (size_t)shape->layers * shape->hidden;
    return lora_count(shape, &lora);
}

static void compute(struct client *c, uint32_t s, uint64_t now)
{
    const struct wire_job *job = agent_slot_job(c->agent, s);
    struct client_slot *slot = &c->slot[s];
    struct unit *units = slot->units;
    struct answer_request *requests = slot->requests;
    slot->units = NULL;
    slot->requests = NULL;
    slot->moved_ms = now;
    size_t vectors;
    const size_t floats = adapter_floats(c, &vectors) + vectors;
    if (units && job->steer && (!c->params || blob_bytes(c->params) != floats * 4)) {
        (void)err_set(&slot->failed, ERR_PARSE,
                      "a job that steers, and parameters without vectors");
        units_frame_free(units, job->units);
        mem_free(requests);
        units = NULL;
    }
    enum err error = units ? slots_compute(c->slots, s, job, units, requests,
                                           wire_job_fetches(job) ? c->params : NULL)
                           : ERR_PARSE;
    if (error != OK) {
        if (units) {
            (void)err_set(&slot->failed, error, "the slot takes no more work");
        }
        (void)agent_slot_done(c->agent, s, AGENT_FAILED, false,
                              units ? WIRE_FAILURE_RESOURCES : WIRE_FAILURE_INPUT, now);
    }
}

static void carry_out(struct client *c, const struct agent_action *action, uint64_t now)
{
    switch (action->act) {
    case AGENT_OPEN:
        open_control(c);
        return;
    case AGENT_SEND_HELLO:
        client_send_hello(c, action->number);
        return;
    case AGENT_PREPARE:
        client_prepare(c, now);
        return;
    case AGENT_RUN_PROBE:
        run_probe(c, action->number != 0, now);
        return;
    case AGENT_SEND_PROBE:
        client_send_probe(c);
        return;
    case AGENT_SEND_REQUEST:
        client_send_request(c, action);
        return;
    case AGENT_FETCH:
        client_send_fetch(c, action->number);
        return;
    case AGENT_COMPUTE:
        compute(c, action->slot, now);
        return;
    case AGENT_ABANDON:
        slots_stop(c->slots, action->slot);
        return;
    case AGENT_RELEASE:
        client_send_release(c, action);
        return;
    case AGENT_SEND_FAILED:
        client_send_failed(c, action);
        return;
    case AGENT_ANNOUNCE:
        client_send_announcement(c, action->result);
        return;
    case AGENT_SEND_RESULT:
        client_send_result(c, action->result, now);
        return;
    case AGENT_DROP_RESULT:
        blob_free(&c->results[action->result].payload);
        return;
    case AGENT_DROP_PARAMS:
        blob_free(&c->params);
        return;
    case AGENT_SEND_HEARTBEAT:
        client_send_heartbeat(c, now);
        (void)client_attach(c);
        return;
    case AGENT_SEND_DRAIN:
        client_send_note(c, WIRE_DRAIN, agent_session(c->agent), "draining");
        return;
    case AGENT_SEND_GOODBYE:
        client_send_note(c, WIRE_GOODBYE, action->number, "leaving");
        return;
    case AGENT_EXIT:
        log_event(action->number == AGENT_EXIT_DONE ? LOG_INFO : LOG_ERROR, "leaving", "%s",
                  action->text);
        client_end(c, (enum agent_exit)action->number);
        return;
    case AGENT_UNHEARD:
        client_say_unheard(c, action->number);
        return;
    case AGENT_NOTE:
        log_event(LOG_WARN, "note", "%s", action->text);
        return;
    default:
        CHECK(!"every action is known");
    }
}

static void drain_actions(struct client *c, uint64_t now)
{
    struct agent_action action;
    while (!c->ended && agent_next(c->agent, &action)) {
        carry_out(c, &action, now);
    }
    if (agent_state(c->agent) != c->shown) {
        c->shown = agent_state(c->agent);
        log_event(LOG_INFO, "state", "now=%s", agent_state_name(c->shown));
    }
}

static void malformed(struct client *c, const char *why, uint64_t now)
{
    c->malformed++;
    log_limited(&c->malformed_limit, now, LOG_WARN, "malformed", "count=%llu %s",
                (unsigned long long)c->malformed, why);
}

static void drop_job(struct client_slot *slot)
{
    units_frame_free(slot->units, slot->n_units);
    mem_free(slot->requests);
    slot->units = NULL;
    slot->requests = NULL;
    slot->n_units = 0;
}

static void take_job(struct client *c, const struct wire_job *job, const struct blob *payload)
{
    const uint32_t vocab = model_shape(c->cfg.model)->vocab;
    struct client_slot *slot = &c->slot[job->slot];
    drop_job(slot);
    enum err error =
        job->kind == WIRE_GENERATE
            ? answers_frame_read(blob_data(payload), blob_bytes(payload), vocab, &slot->units,
                                 &slot->requests, &slot->n_units, &slot->failed)
            : units_frame_read(blob_data(payload), blob_bytes(payload), vocab, &slot->units,
                               &slot->n_units, &slot->failed);
    if (error == OK && slot->n_units != job->units) {
        (void)err_set(&slot->failed, ERR_PARSE, "%u units instead of %u", slot->n_units,
                      job->units);
        drop_job(slot);
    }
}

/* Whether a frame is what its header names by a digest. */
static bool is_whole(const struct blob *frame, const uint8_t wanted[WIRE_DIGEST_BYTES])
{
    uint8_t digest[WIRE_DIGEST_BYTES];
    if (!frame) {
        return false;
    }
    hash_xxh128(blob_data(frame), blob_bytes(frame), digest);
    return memcmp(digest, wanted, sizeof digest) == 0;
}

static void take_params(struct client *c, const struct wire_params *m, struct blob **payload,
                        uint64_t now)
{
    size_t vectors;
    size_t floats = adapter_floats(c, &vectors);
    if (!*payload && m->floats == 0) {
        agent_params_gone(c->agent, m->version, now);
        return;
    }
    if (!is_whole(*payload, m->hash) || (m->floats != floats && m->floats != floats + vectors) ||
        blob_bytes(*payload) != m->floats * 4) {
        malformed(c, "parameters of a wrong size or digest", now);
        return;
    }
    /* The frame's memory may lie at any address: parameters are read as floats. */
    struct blob *aligned = (uintptr_t)blob_data(*payload) % _Alignof(float) == 0
                               ? blob_ref(*payload)
                               : blob_new(blob_bytes(*payload));
    if (!aligned) {
        log_event(LOG_ERROR, "no_memory", "parameters of %zu floats", floats);
        return;
    }
    if (blob_data(aligned) != blob_data(*payload)) {
        memcpy(blob_data_mut(aligned), blob_data(*payload), blob_bytes(*payload));
    }
    blob_free(&c->params);
    c->params = aligned;
    agent_params(c->agent, m->version, now);
}

static void on_message(struct client *c, const uint8_t *header, size_t bytes, struct blob **payload,
                       bool tensor)
{
    uint64_t now = clock_now_ms();
    struct wire_message m;
    struct errbuf e;
    e.text[0] = '\0';
    if (!header || wire_decode(header, bytes, &m, &e) != OK) {
        malformed(c, header ? e.text : "a wrong number of frames", now);
        return;
    }
    if (tensor != (m.kind == WIRE_PARAMS)) {
        malformed(c, "a message on the wrong channel", now);
        return;
    }
    if (m.kind == WIRE_JOB && !is_whole(*payload, m.job.units_hash)) {
        malformed(c, "a job whose units do not have the digest it names", now);
        return; /* the slot asks again and is sent the same job */
    }
    uint64_t unexpected = agent_unexpected(c->agent);
    bool wanted = agent_message(c->agent, &m, now);
    if (agent_unexpected(c->agent) != unexpected) {
        log_limited(&c->unexpected_limit, now, LOG_DEBUG, "unexpected", "message=%s state=%s",
                    wire_kind_name(m.kind), agent_state_name(agent_state(c->agent)));
    }
    if (wanted && m.kind == WIRE_JOB) {
        take_job(c, &m.job, *payload);
        FAILPOINT("job.taken");
    } else if (wanted) {
        take_params(c, &m.params, payload, now);
        FAILPOINT("params.received");
    }
    drain_actions(c, now);
}

static void on_control(void *ctx, const struct socket_route *route, const uint8_t *header,
                       size_t bytes, struct blob **payload)
{
    (void)route;
    on_message(ctx, header, bytes, payload, false);
}

static void on_tensor(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    (void)route;
    on_message(ctx, header, bytes, payload, true);
}

static void job_reported(struct client *c, struct slot_report *report, uint64_t now)
{
    uint32_t s = report->slot;
    enum agent_outcome outcome = report->code != OK       ? AGENT_FAILED
                                 : report->result.stopped ? AGENT_ABANDONED
                                                          : AGENT_COMPUTED;
    FAILPOINT("job.computed");
    c->slot[s].failed = report->text;
    uint32_t r = agent_slot_done(c->agent, s, outcome, report->job.kind != WIRE_GRADIENT,
                                 report->result.failure, now);
    if (r != UINT32_MAX) {
        c->results[r].payload = report->result.payload;
        report->result.payload = NULL;
        c->results[r].result = report->result;
        c->results[r].seconds = report->seconds;
    }
}

/* What an earlier session asked for may come late: the settings of this one are others. */
static void engine_reported(struct client *c, const struct slot_report *report, uint64_t now)
{
    c->has_digest = c->has_digest && !report->fresh;
    if (report->engine != c->engine) {
        return;
    }
    if (report->kind == SLOT_PREPARED) {
        agent_prepared(c->agent, report->code, report->text.text, now);
        return;
    }
    c->has_digest = report->code == OK;
    memcpy(c->digest, report->digest, sizeof c->digest);
    agent_probed(c->agent, report->code, report->text.text, now);
}

static void on_reports(void *ctx)
{
    struct client *c = ctx;
    uint64_t now = clock_now_ms();
    for (struct letter *l = mailbox_take(c->reports); l && !c->ended;
         l = mailbox_take(c->reports)) {
        struct slot_report *report = (struct slot_report *)l;
        if (report->kind == SLOT_JOB) {
            job_reported(c, report, now);
        } else {
            engine_reported(c, report, now);
        }
        slot_report_free(report);
        drain_actions(c, now);
    }
}

/* Why a coordinator that is there may never answer. */
static void read_handshakes(struct client *c, uint64_t now)
{
    if (!c->control) {
        return;
    }
    const struct socket_refusals h = socket_refusals(c->control);
    if (h.denied > 0) {
        agent_key_denied(c->agent);
    } else if (h.broken > c->broken && !address_ipc_path(c->cfg.address)) {
        log_limited(&c->broken_limit, now, LOG_WARN, "handshake_failed", "%s",
                    c->cfg.key
                        ? "the coordinator hangs up: --key belongs to another one, or it "
                          "asks for no keys"
                        : "the coordinator hangs up: it asks for a key, give one with --key");
    }
    c->broken = h.broken;
}

static void on_timer(uv_timer_t *timer)
{
    struct client *c = timer->data;
    uint64_t now = clock_now_ms();
    read_handshakes(c, now);
    uint64_t rest = agent_tick(c->agent, now);
    drain_actions(c, now);
    if (!c->ended) {
        (void)uv_timer_start(timer, on_timer, rest, 0);
    }
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct client *c = handle->data;
    uint64_t now = clock_now_ms();
    log_event(LOG_INFO, "signal", "number=%d", signum);
    agent_signal(c->agent, now);
    drain_actions(c, now);
}

/* Names go on the wire and into logs: whatever is no plain character becomes '-'. */
static void name_self(struct client *c)
{
    CHECK(getrandom(&c->process, sizeof c->process, 0) == (ssize_t)sizeof c->process);
    if (gethostname(c->host, sizeof c->host - 1) != 0 || c->host[0] == '\0') {
        (void)snprintf(c->host, sizeof c->host, "unknown");
    }
    if (c->cfg.id) {
        (void)snprintf(c->id, sizeof c->id, "%s", c->cfg.id);
    } else {
        (void)snprintf(c->id, sizeof c->id, "%.32s.%ld.%06x", c->host, (long)getpid(),
                       (unsigned)(c->process & 0xFFFFFF));
    }
    char *const names[] = {c->id, c->host};
    for (size_t i = 0; i < 2; i++) {
        for (char *p = names[i]; *p; p++) {
            if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\') {
                *p = '-';
            }
        }
    }
}

static enum err start(struct client *c, struct errbuf *e)
{
    CHECK(uv_loop_init(&c->loop) == 0);
    CHECK(uv_timer_init(&c->loop, &c->timer) == 0);
    CHECK(uv_signal_init(&c->loop, &c->terminate) == 0);
    CHECK(uv_signal_init(&c->loop, &c->interrupt) == 0);
    c->timer.data = c->terminate.data = c->interrupt.data = c;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)uv_signal_start(&c->terminate, on_signal, SIGTERM);
    (void)uv_signal_start(&c->interrupt, on_signal, SIGINT);
    const struct agent_config agent = {.slots = c->cfg.slots, .give_up_ms = c->cfg.give_up_ms};
    enum err error = agent_new(&agent, &c->agent);
    if (error == OK) {
        error = mailbox_open(REPORTS_MAX, &c->reports);
    }
    if (error == OK) {
        error = mailbox_attach(c->reports, &c->loop, on_reports, c);
    }
    if (error != OK) {
        return err_set(e, error, "cannot set up: %s", err_text(error));
    }
    error = socket_context_open(&c->context, e);
    if (error == OK) {
        error = slots_open(c->cfg.model, c->cfg.model_hash, c->cfg.slots, c->reports, &c->slots, e);
    }
    return error;
}

static void stop(struct client *c)
{
    socket_close(&c->control);
    socket_close(&c->tensor);
    socket_context_close(&c->context);
}

static void release(struct client *c)
{
    slots_close(&c->slots);
    mailbox_close(&c->reports);
    for (uint32_t s = 0; s < c->cfg.slots; s++) {
        drop_job(&c->slot[s]);
    }
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        blob_free(&c->results[r].payload);
    }
    blob_free(&c->params);
    agent_free(&c->agent);
    uv_close((uv_handle_t *)&c->timer, NULL);
    uv_close((uv_handle_t *)&c->terminate, NULL);
    uv_close((uv_handle_t *)&c->interrupt, NULL);
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&c->loop) == 0);
}

enum err client_open(const struct client_config *cfg, struct client **out, struct errbuf *e)
{
    struct client *c = mem_calloc(1, sizeof *c);
    if (!c) {
        return err_set(e, ERR_NOMEM, "no memory for the worker's shell");
    }
    c->cfg = *cfg;
    name_self(c);
    shape_digest(model_shape(cfg->model), c->shape);
    enum err error = start(c, e);
    if (error != OK) {
        client_close(&c);
        return error;
    }
    log_event(LOG_INFO, "started", "id=%s slots=%u coordinator=%s core=%s", c->id, c->cfg.slots,
              c->cfg.address, kernels_level_loaded_core());
    uint64_t now = clock_now_ms();
    agent_start(c->agent, now);
    drain_actions(c, now);
    (void)uv_timer_start(&c->timer, on_timer, 0, 0);
    *out = c;
    return OK;
}

bool client_ended(const struct client *c, enum agent_exit *code)
{
    *code = c->exit;
    return c->ended;
}

void client_close(struct client **client)
{
    struct client *c = *client;
    *client = NULL;
    stop(c);
    release(c);
    mem_free(c);
}

enum agent_exit client_run(const struct client_config *cfg)
{
    struct errbuf e;
    struct client *c = NULL;
    if (client_open(cfg, &c, &e) != OK) {
        log_event(LOG_ERROR, "start_failed", "%s", e.text);
        return AGENT_EXIT_ERROR;
    }
    while (!c->ended) {
        (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    }
    enum agent_exit code = c->exit;
    if (code == AGENT_EXIT_HURRIED) {
        stop(c);
        _Exit((int)code); /* threads may be in the middle of a unit */
    }
    client_close(&c);
    return code;
}
