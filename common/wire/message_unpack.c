/* message_unpack.c - protobuf-c structs to plain ones. Every copy is bounded; a string with a NUL
 * inside ends there, which the name and text checks then see. */
#include <assert.h>
#include <string.h>

#include "common/wire/message_codec.h"

static_assert((int)WIRE_HELLO == (int)PFT__HEADER__BODY_HELLO &&
                  (int)WIRE_JOB == (int)PFT__HEADER__BODY_JOB &&
                  (int)WIRE_ACK == (int)PFT__HEADER__BODY_ACK &&
                  (int)WIRE_REPROBE == (int)PFT__HEADER__BODY_REPROBE &&
                  WIRE_KINDS == WIRE_REPROBE + 1,
              "wire kinds are the numbers of the oneof");

static enum err copy_text(char *out, size_t room, const char *in, const char *field,
                          struct errbuf *e)
{
    size_t n = strnlen(in, room);
    if (n == room) {
        return err_set(e, ERR_RANGE, "%s: longer than %zu bytes", field, room - 1);
    }
    memcpy(out, in, n + 1);
    return OK;
}

static enum err copy_bytes(uint8_t *out, size_t n, const ProtobufCBinaryData *in, const char *field,
                           struct errbuf *e)
{
    if (in->len != n) {
        return err_set(e, ERR_RANGE, "%s: %zu bytes instead of %zu", field, in->len, n);
    }
    memcpy(out, in->data, n);
    return OK;
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum err try_error = (call);                                                               \
        if (try_error != OK) {                                                                     \
            return try_error;                                                                      \
        }                                                                                          \
    } while (0)
#define TEXT(to, from, field) TRY(copy_text((to), sizeof(to), (from), field, e))
#define BYTES(to, from, field) TRY(copy_bytes((to), sizeof(to), &(from), field, e))

static enum err unpack_hello(const Pft__Hello *p, struct wire_hello *m, struct errbuf *e)
{
    m->protocol = p->protocol;
    m->epoch = p->epoch;
    m->slots = p->slots;
    m->kernel_levels = p->kernel_levels;
    m->process = p->process;
    TEXT(m->worker, p->worker, "hello.worker");
    TEXT(m->host, p->host, "hello.host");
    TEXT(m->core_type, p->core_type, "hello.core_type");
    TEXT(m->model_hash, p->model_hash, "hello.model_hash");
    TEXT(m->shape_digest, p->shape_digest, "hello.shape_digest");
    TEXT(m->build, p->build, "hello.build");
    return OK;
}

static enum err unpack_welcome(const Pft__Welcome *p, struct wire_welcome *m, struct errbuf *e)
{
    m->protocol = p->protocol;
    m->session = p->session;
    m->lora_r = p->lora_r;
    m->lora_alpha = p->lora_alpha;
    m->lora_dropout = p->lora_dropout;
    m->lora_targets = p->lora_targets;
    m->seed = p->seed;
    m->tile_rows = p->tile_rows;
    m->tile_cols = p->tile_cols;
    m->strict = p->strict != 0;
    m->heartbeat_ms = p->heartbeat_ms;
    m->silence_ms = p->silence_ms;
    m->probe = p->probe != 0;
    m->unit_tokens = p->unit_tokens;
    m->unit_rows = p->unit_rows;
    m->anchor_rows = p->anchor_rows;
    m->tree_tokens_max = p->tree_tokens_max;
    TEXT(m->run, p->run, "welcome.run");
    TEXT(m->kernels, p->kernels, "welcome.kernels");
    TEXT(m->tensor_endpoint, p->tensor_endpoint, "welcome.tensor_endpoint");
    TEXT(m->precision, p->precision, "welcome.precision");
    return OK;
}

static enum err unpack_note(const Pft__Note *p, struct wire_note *m, struct errbuf *e)
{
    m->session = p->session;
    m->code = p->code;
    m->retry_ms = p->retry_ms;
    TEXT(m->text, p->text, "note.text");
    return OK;
}

static enum err unpack_probe(const Pft__Probe *p, struct wire_probe *m, struct errbuf *e)
{
    m->session = p->session;
    BYTES(m->digest, p->digest, "probe.digest");
    TEXT(m->core_type, p->core_type, "probe.core_type");
    return OK;
}

static enum err unpack_job(const Pft__Job *p, struct wire_job *m, struct errbuf *e)
{
    m->session = p->session;
    m->job = p->job;
    m->kind = (enum wire_job_kind)p->kind;
    m->step = p->step;
    m->version = p->version;
    m->adapter = p->adapter != 0;
    m->units = p->units;
    m->rows = p->rows;
    m->attempt = p->attempt;
    m->slot = p->slot;
    m->request = p->request;
    m->score = (enum wire_score)p->score;
    m->steer = p->steer != 0;
    BYTES(m->token, p->token, "job.token");
    BYTES(m->units_hash, p->units_hash, "job.units_hash");
    return OK;
}

static enum err unpack_heartbeat(const Pft__Heartbeat *p, struct wire_heartbeat *m,
                                 struct errbuf *e)
{
    m->session = p->session;
    if (p->n_slots > LIMIT_SLOTS) {
        return err_set(e, ERR_RANGE, "heartbeat.slots: %zu, at most %d", p->n_slots, LIMIT_SLOTS);
    }
    m->n_slots = (uint32_t)p->n_slots;
    m->computed_ms = p->computed_ms;
    for (uint32_t i = 0; i < m->n_slots; i++) {
        m->slots[i] = (struct wire_progress){.job = p->slots[i]->job,
                                             .attempt = p->slots[i]->attempt,
                                             .progress = p->slots[i]->progress};
    }
    return OK;
}

static enum err unpack_result_ready(const Pft__ResultReady *p, struct wire_result_ready *m,
                                    struct errbuf *e)
{
    m->session = p->session;
    m->job = p->job;
    m->kind = (enum wire_job_kind)p->kind;
    m->payload_bytes = p->payload_bytes;
    m->seconds = p->seconds;
    m->attempt = p->attempt;
    BYTES(m->token, p->token, "result_ready.token");
    BYTES(m->payload_hash, p->payload_hash, "result_ready.payload_hash");
    if (p->n_rows > LIMIT_JOB_UNITS) {
        return err_set(e, ERR_RANGE, "result_ready.rows: %zu, at most %d", p->n_rows,
                       LIMIT_JOB_UNITS);
    }
    m->n_rows = (uint32_t)p->n_rows;
    for (uint32_t i = 0; i < m->n_rows; i++) {
        const Pft__UnitRow *row = p->rows[i];
        m->rows[i] = (struct wire_unit_row){
            .unit = row->unit, .loss = row->loss, .sumsq = row->sumsq, .labels = row->labels};
    }
    return OK;
}

static enum err unpack_job_note(const Pft__JobNote *p, struct wire_job_note *m, struct errbuf *e)
{
    m->session = p->session;
    m->job = p->job;
    m->code = p->code;
    m->attempt = p->attempt;
    BYTES(m->token, p->token, "job_note.token");
    TEXT(m->text, p->text, "job_note.text");
    return OK;
}

static enum err unpack_params(const Pft__Params *p, struct wire_params *m, struct errbuf *e)
{
    m->session = p->session;
    m->version = p->version;
    m->floats = p->floats;
    BYTES(m->hash, p->hash, "params.hash");
    return OK;
}

enum err message_unpack(const Pft__Header *header, struct wire_message *m, struct errbuf *e)
{
    /* A oneof member that is set is never NULL: protobuf-c fills it before it sets the case. */
    m->kind = (enum wire_kind)header->body_case;
    switch (m->kind) {
    case WIRE_HELLO:
        return unpack_hello(header->hello, &m->hello, e);
    case WIRE_WELCOME:
        return unpack_welcome(header->welcome, &m->welcome, e);
    case WIRE_REFUSED:
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        return unpack_note(header->refused, &m->note, e);
    case WIRE_PROBE:
        return unpack_probe(header->probe, &m->probe, e);
    case WIRE_READY:
    case WIRE_PONG:
    case WIRE_ATTACH:
    case WIRE_REPROBE:
        m->session.session = header->ready->session;
        return OK;
    case WIRE_REQUEST:
        m->request = (struct wire_request){.session = header->request->session,
                                           .slot = header->request->slot,
                                           .request = header->request->request};
        return OK;
    case WIRE_JOB:
        return unpack_job(header->job, &m->job, e);
    case WIRE_HEARTBEAT:
        return unpack_heartbeat(header->heartbeat, &m->heartbeat, e);
    case WIRE_RESULT_READY:
        return unpack_result_ready(header->result_ready, &m->result_ready, e);
    case WIRE_FAILED:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        return unpack_job_note(header->failed, &m->job_note, e);
    case WIRE_FETCH:
    case WIRE_PARAMS:
        return unpack_params(header->fetch, &m->params, e);
    case WIRE_NONE:
    case WIRE_KINDS:
    default:
        return err_set(e, ERR_PARSE, "header without a message");
    }
}
