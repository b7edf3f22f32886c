/* client_send.c - what a worker says. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/failpoint.h"
#include "worker/backend/kernels_level.h"
#include "worker/client_state.h"

enum { STUCK_MS = 20000 }; /* a slot that does not move for so long is not reported any more */

enum err client_send(struct client *c, struct socket *socket, const struct wire_message *m,
                     struct blob *payload)
{
    (void)c;
    if (!socket) {
        return ERR_GONE;
    }
    uint8_t header[LIMIT_HEADER_BYTES];
    size_t bytes;
    wire_encode(m, header, &bytes);
    return socket_send(socket, NULL, header, bytes, payload);
}

/* For what the agent repeats by itself when no answer comes. */
static void send_lossy(struct client *c, const struct wire_message *m)
{
    enum err error = client_send(c, c->control, m, NULL);
    if (error != OK) {
        log_event(LOG_DEBUG, "send_failed", "message=%s error=\"%s\"", wire_kind_name(m->kind),
                  err_text(error));
    }
}

void client_send_hello(struct client *c, uint64_t epoch)
{
    struct wire_message m = {.kind = WIRE_HELLO};
    struct wire_hello *h = &m.hello;
    h->protocol = WIRE_PROTOCOL;
    h->epoch = epoch;
    h->process = c->process;
    h->slots = c->cfg.slots;
    for (int level = 0; level < KERNELS_LEVELS; level++) {
        h->kernel_levels |= kernels_level_runs_here((enum kernels_level)level) ? 1u << level : 0;
    }
    (void)snprintf(h->worker, sizeof h->worker, "%s", c->id);
    (void)snprintf(h->host, sizeof h->host, "%s", c->host);
    (void)snprintf(h->core_type, sizeof h->core_type, "%s", kernels_level_loaded_core());
    (void)snprintf(h->model_hash, sizeof h->model_hash, "%s", c->cfg.model_hash);
    (void)snprintf(h->shape_digest, sizeof h->shape_digest, "%s", c->shape);
    (void)snprintf(h->build, sizeof h->build, "%s", PFT_VERSION);
    if (client_send(c, c->control, &m, NULL) != OK) {
        agent_hello_unsent(c->agent);
    }
}

void client_send_probe(struct client *c)
{
    struct wire_message m = {.kind = WIRE_PROBE};
    m.probe.session = agent_session(c->agent);
    memcpy(m.probe.digest, c->digest, sizeof m.probe.digest);
    (void)snprintf(m.probe.core_type, sizeof m.probe.core_type, "%s", kernels_level_loaded_core());
    send_lossy(c, &m);
}

void client_send_request(struct client *c, const struct agent_action *action)
{
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){
        .session = agent_session(c->agent), .slot = action->slot, .request = action->number};
    send_lossy(c, &m);
}

static void fill_job_note(struct client *c, struct wire_message *m, const struct wire_job *job)
{
    m->job_note.session = agent_session(c->agent);
    m->job_note.job = job->job;
    m->job_note.attempt = job->attempt;
    memcpy(m->job_note.token, job->token, sizeof m->job_note.token);
}

void client_send_release(struct client *c, const struct agent_action *action)
{
    struct wire_message m = {.kind = WIRE_RELEASE};
    m.job_note.session = agent_session(c->agent);
    m.job_note.job = action->job;
    m.job_note.attempt = action->attempt;
    memcpy(m.job_note.token, action->token, sizeof m.job_note.token);
    send_lossy(c, &m);
}

void client_send_failed(struct client *c, const struct agent_action *action)
{
    struct wire_message m = {.kind = WIRE_FAILED};
    fill_job_note(c, &m, agent_slot_job(c->agent, action->slot));
    m.job_note.code = (uint32_t)action->number;
    (void)snprintf(m.job_note.text, sizeof m.job_note.text, "%.*s", WIRE_TEXT_BYTES - 1,
                   c->slot[action->slot].failed.text);
    for (char *p = m.job_note.text; *p; p++) {
        *p = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p;
    }
    log_event(LOG_WARN, "job_failed", "job=%llx %s", (unsigned long long)m.job_note.job,
              m.job_note.text);
    send_lossy(c, &m);
}

void client_send_announcement(struct client *c, uint32_t r)
{
    const struct wire_job *job = agent_result_job(c->agent, r);
    const struct client_result *kept = &c->results[r];
    if (!kept->payload) {
        return;
    }
    struct wire_message m = {.kind = WIRE_RESULT_READY};
    struct wire_result_ready *ready = &m.result_ready;
    ready->session = agent_session(c->agent);
    ready->job = job->job;
    ready->attempt = job->attempt;
    memcpy(ready->token, job->token, sizeof ready->token);
    ready->kind = job->kind;
    ready->n_rows = kept->result.n_rows;
    memcpy(ready->rows, kept->result.rows, kept->result.n_rows * sizeof ready->rows[0]);
    ready->payload_bytes = blob_bytes(kept->payload);
    memcpy(ready->payload_hash, kept->result.hash, sizeof ready->payload_hash);
    ready->seconds = kept->seconds;
    struct blob *inlined = job->kind != WIRE_GRADIENT ? kept->payload : NULL;
    if (client_send(c, c->control, &m, inlined) != OK) {
        log_event(LOG_DEBUG, "send_failed", "message=result_ready");
    }
    FAILPOINT("result.announce");
}

void client_send_heartbeat(struct client *c, uint64_t now_ms)
{
    struct wire_message m = {.kind = WIRE_HEARTBEAT};
    m.heartbeat.session = agent_session(c->agent);
    m.heartbeat.computed_ms = slots_computed_ms(c->slots);
    for (uint32_t s = 0; s < c->cfg.slots; s++) {
        bool fetches = agent_slot_fetches(c->agent, s);
        if (!fetches && !agent_slot_computes(c->agent, s)) {
            continue;
        }
        const struct wire_job *job = agent_slot_job(c->agent, s);
        uint64_t progress = slots_progress(c->slots, s);
        if (fetches || progress != c->slot[s].moved) {
            c->slot[s].moved = progress;
            c->slot[s].moved_ms = now_ms;
        }
        if (now_ms - c->slot[s].moved_ms < STUCK_MS) {
            m.heartbeat.slots[m.heartbeat.n_slots++] = (struct wire_progress){
                .job = job->job, .attempt = job->attempt, .progress = progress};
        }
    }
    send_lossy(c, &m);
}

void client_send_note(struct client *c, enum wire_kind kind, uint64_t session, const char *text)
{
    struct wire_message m = {.kind = kind};
    m.note.session = session;
    m.note.code = WIRE_PARTING_SHUTDOWN;
    (void)snprintf(m.note.text, sizeof m.note.text, "%s", text);
    if (m.note.session != 0) {
        send_lossy(c, &m);
    }
}

bool client_attach(struct client *c)
{
    if (!c->attached) {
        struct wire_message m = {.kind = WIRE_ATTACH};
        m.session.session = agent_session(c->agent);
        c->attached = m.session.session != 0 && client_send(c, c->tensor, &m, NULL) == OK;
    }
    return c->attached;
}

void client_send_fetch(struct client *c, uint64_t version)
{
    struct wire_message m = {.kind = WIRE_FETCH};
    m.params.session = agent_session(c->agent);
    m.params.version = version;
    if (!client_attach(c) || client_send(c, c->tensor, &m, NULL) != OK) {
        agent_fetch_unsent(c->agent);
    }
}

void client_send_result(struct client *c, uint32_t r, uint64_t now_ms)
{
    struct wire_message m = {.kind = WIRE_RESULT};
    fill_job_note(c, &m, agent_result_job(c->agent, r));
    if (!client_attach(c) || client_send(c, c->tensor, &m, c->results[r].payload) != OK) {
        agent_result_unsent(c->agent, r, now_ms);
    }
    FAILPOINT("result.sent");
}
