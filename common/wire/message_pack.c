/* message_pack.c - plain structs to protobuf-c structs; strings and bytes are borrowed, not copied.
 */
#include "common/base/check.h"
#include "common/wire/message_codec.h"

static char *text(const char *s)
{
    return (char *)(uintptr_t)s; /* protobuf-c's structs are not const; pack only reads */
}

static ProtobufCBinaryData binary(const uint8_t *data, size_t bytes)
{
    return (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)(uintptr_t)data};
}

static void pack_hello(const struct wire_hello *m, Pft__Hello *p)
{
    pft__hello__init(p);
    p->protocol = m->protocol;
    p->worker = text(m->worker);
    p->epoch = m->epoch;
    p->host = text(m->host);
    p->slots = m->slots;
    p->kernel_levels = m->kernel_levels;
    p->core_type = text(m->core_type);
    p->model_hash = text(m->model_hash);
    p->shape_digest = text(m->shape_digest);
    p->build = text(m->build);
    p->process = m->process;
}

static void pack_welcome(const struct wire_welcome *m, Pft__Welcome *p)
{
    pft__welcome__init(p);
    p->protocol = m->protocol;
    p->run = text(m->run);
    p->session = m->session;
    p->lora_r = m->lora_r;
    p->lora_alpha = m->lora_alpha;
    p->lora_dropout = m->lora_dropout;
    p->lora_targets = m->lora_targets;
    p->seed = m->seed;
    p->kernels = text(m->kernels);
    p->tile_rows = m->tile_rows;
    p->tile_cols = m->tile_cols;
    p->strict = m->strict;
    p->heartbeat_ms = m->heartbeat_ms;
    p->silence_ms = m->silence_ms;
    p->tensor_endpoint = text(m->tensor_endpoint);
    p->probe = m->probe;
    p->unit_tokens = m->unit_tokens;
    p->unit_rows = m->unit_rows;
    p->anchor_rows = m->anchor_rows;
    p->tree_tokens_max = m->tree_tokens_max;
    p->precision = text(m->precision);
}

static void pack_note(const struct wire_note *m, Pft__Note *p)
{
    pft__note__init(p);
    p->session = m->session;
    p->code = m->code;
    p->text = text(m->text);
    p->retry_ms = m->retry_ms;
}

static void pack_probe(const struct wire_probe *m, Pft__Probe *p)
{
    pft__probe__init(p);
    p->session = m->session;
    p->digest = binary(m->digest, sizeof m->digest);
    p->core_type = text(m->core_type);
}

static void pack_job(const struct wire_job *m, Pft__Job *p)
{
    pft__job__init(p);
    p->session = m->session;
    p->job = m->job;
    p->token = binary(m->token, sizeof m->token);
    p->kind = (uint32_t)m->kind;
    p->step = m->step;
    p->version = m->version;
    p->adapter = m->adapter;
    p->units = m->units;
    p->rows = m->rows;
    p->attempt = m->attempt;
    p->slot = m->slot;
    p->request = m->request;
    p->score = (uint32_t)m->score;
    p->steer = m->steer;
    p->units_hash = binary(m->units_hash, sizeof m->units_hash);
}

static void pack_heartbeat(const struct wire_heartbeat *m, struct message_scratch *s)
{
    Pft__Heartbeat *p = &s->heartbeat;
    pft__heartbeat__init(p);
    p->session = m->session;
    p->n_slots = m->n_slots;
    p->slots = s->slots;
    p->computed_ms = m->computed_ms;
    for (uint32_t i = 0; i < m->n_slots; i++) {
        pft__slot_progress__init(&s->slot[i]);
        s->slot[i].job = m->slots[i].job;
        s->slot[i].attempt = m->slots[i].attempt;
        s->slot[i].progress = m->slots[i].progress;
        s->slots[i] = &s->slot[i];
    }
}

static void pack_result_ready(const struct wire_result_ready *m, struct message_scratch *s)
{
    Pft__ResultReady *p = &s->result_ready;
    pft__result_ready__init(p);
    p->session = m->session;
    p->job = m->job;
    p->token = binary(m->token, sizeof m->token);
    p->kind = (uint32_t)m->kind;
    p->n_rows = m->n_rows;
    p->rows = s->rows;
    p->payload_bytes = m->payload_bytes;
    p->payload_hash = binary(m->payload_hash, sizeof m->payload_hash);
    p->seconds = m->seconds;
    p->attempt = m->attempt;
    for (uint32_t i = 0; i < m->n_rows; i++) {
        pft__unit_row__init(&s->row[i]);
        s->row[i].unit = m->rows[i].unit;
        s->row[i].loss = m->rows[i].loss;
        s->row[i].sumsq = m->rows[i].sumsq;
        s->row[i].labels = m->rows[i].labels;
        s->rows[i] = &s->row[i];
    }
}

static void pack_job_note(const struct wire_job_note *m, Pft__JobNote *p)
{
    pft__job_note__init(p);
    p->session = m->session;
    p->job = m->job;
    p->token = binary(m->token, sizeof m->token);
    p->code = m->code;
    p->text = text(m->text);
    p->attempt = m->attempt;
}

static void pack_params(const struct wire_params *m, Pft__Params *p)
{
    pft__params__init(p);
    p->session = m->session;
    p->version = m->version;
    p->floats = m->floats;
    p->hash = binary(m->hash, sizeof m->hash);
}

static void pack_session(const struct wire_session *m, Pft__Session *p)
{
    pft__session__init(p);
    p->session = m->session;
}

static void pack_request(const struct wire_request *m, Pft__Request *p)
{
    pft__request__init(p);
    p->session = m->session;
    p->slot = m->slot;
    p->request = m->request;
}

void message_pack(const struct wire_message *m, struct message_scratch *scratch,
                  Pft__Header *header)
{
    /* wire kinds and the oneof's numbers are the same list; message_unpack asserts it. */
    header->body_case = (Pft__Header__BodyCase)m->kind;
    header->hello = &scratch->hello; /* a union of pointers to the one scratch piece */
    switch (m->kind) {
    case WIRE_HELLO:
        pack_hello(&m->hello, &scratch->hello);
        return;
    case WIRE_WELCOME:
        pack_welcome(&m->welcome, &scratch->welcome);
        return;
    case WIRE_REFUSED:
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        pack_note(&m->note, &scratch->note);
        return;
    case WIRE_PROBE:
        pack_probe(&m->probe, &scratch->probe);
        return;
    case WIRE_READY:
    case WIRE_PONG:
    case WIRE_ATTACH:
    case WIRE_REPROBE:
        pack_session(&m->session, &scratch->session);
        return;
    case WIRE_REQUEST:
        pack_request(&m->request, &scratch->request);
        return;
    case WIRE_JOB:
        pack_job(&m->job, &scratch->job);
        return;
    case WIRE_HEARTBEAT:
        pack_heartbeat(&m->heartbeat, scratch);
        return;
    case WIRE_RESULT_READY:
        pack_result_ready(&m->result_ready, scratch);
        return;
    case WIRE_FAILED:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        pack_job_note(&m->job_note, &scratch->job_note);
        return;
    case WIRE_FETCH:
    case WIRE_PARAMS:
        pack_params(&m->params, &scratch->params);
        return;
    case WIRE_NONE:
    case WIRE_KINDS:
    default:
        CHECK(!"a message has a kind");
    }
}
