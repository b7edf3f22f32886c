/* wire_sample.h - a valid message of each kind, every field with something in it. */
#ifndef PFT_WIRE_SAMPLE_H
#define PFT_WIRE_SAMPLE_H

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/wire/message.h"

static const char wire_sample_hash[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static inline void wire_sample_hello(struct wire_hello *m)
{
    m->protocol = WIRE_PROTOCOL;
    m->epoch = 77;
    m->slots = 2;
    m->kernel_levels = 7;
    (void)snprintf(m->worker, sizeof m->worker, "box-1.4711");
    (void)snprintf(m->host, sizeof m->host, "box-1");
    (void)snprintf(m->core_type, sizeof m->core_type, "SkylakeX");
    (void)snprintf(m->model_hash, sizeof m->model_hash, "%s", wire_sample_hash);
    (void)snprintf(m->shape_digest, sizeof m->shape_digest, "%.32s", wire_sample_hash);
    (void)snprintf(m->build, sizeof m->build, "0.1.0");
}

static inline void wire_sample_welcome(struct wire_welcome *m)
{
    m->protocol = WIRE_PROTOCOL;
    m->session = 0xfeedfacecafebeefu;
    m->lora_r = 16;
    m->lora_alpha = 32.0f;
    m->lora_dropout = 0.05f;
    m->lora_targets = 0x7f;
    m->seed = UINT64_MAX;
    m->tile_rows = 512;
    m->tile_cols = 1024;
    m->strict = true;
    m->heartbeat_ms = 500;
    m->silence_ms = 5000;
    m->probe = true;
    m->unit_tokens = 512;
    m->unit_rows = 640;
    m->anchor_rows = 320;
    m->tree_tokens_max = 4096;
    (void)snprintf(m->run, sizeof m->run, "%.32s", wire_sample_hash);
    (void)snprintf(m->kernels, sizeof m->kernels, "x86-64-v4");
    (void)snprintf(m->tensor_endpoint, sizeof m->tensor_endpoint, "tcp://127.0.0.1:4444");
    (void)snprintf(m->precision, sizeof m->precision, "fp32");
}

static inline void wire_sample_result_ready(struct wire_result_ready *m)
{
    m->session = 5;
    m->job = 1ull << 40;
    memset(m->token, 0xab, sizeof m->token);
    m->kind = WIRE_GRADIENT;
    m->n_rows = LIMIT_JOB_UNITS;
    for (uint32_t i = 0; i < m->n_rows; i++) {
        m->rows[i] = (struct wire_unit_row){.unit = (3ull << 32) | i,
                                            .loss = -(int64_t)i * (1ll << 40),
                                            .sumsq = i * 0.5,
                                            .labels = i};
    }
    m->payload_bytes = 8000;
    memset(m->payload_hash, 0xcd, sizeof m->payload_hash);
    m->seconds = 1.5f;
    m->attempt = 3;
}

static inline void wire_sample_heartbeat(struct wire_heartbeat *m)
{
    m->session = 9;
    m->computed_ms = 123456789;
    m->n_slots = LIMIT_SLOTS;
    for (uint32_t i = 0; i < LIMIT_SLOTS; i++) {
        m->slots[i] =
            (struct wire_progress){.job = i + 1, .attempt = i, .progress = UINT64_MAX - i};
    }
}

static inline void wire_sample_job_note(struct wire_job_note *n)
{
    *n = (struct wire_job_note){.session = 9, .job = 8, .token = {9, 9}, .code = 1, .attempt = 4};
    (void)snprintf(n->text, sizeof n->text, "layer 3 q: NaN");
}

/* Makes a sample job one of another kind. */
static inline void wire_sample_kind(struct wire_job *m, enum wire_job_kind kind)
{
    m->kind = kind;
    m->score = kind == WIRE_SCORE ? WIRE_KL : WIRE_LOG_P;
    m->steer = kind != WIRE_GRADIENT;
}

/* A valid message of each kind; zeroed first, so that whole structs can be compared. */
static inline void wire_sample(struct wire_message *m, enum wire_kind kind)
{
    memset(m, 0, sizeof *m);
    m->kind = kind;
    switch (kind) {
    case WIRE_HELLO:
        wire_sample_hello(&m->hello);
        return;
    case WIRE_WELCOME:
        wire_sample_welcome(&m->welcome);
        return;
    case WIRE_REFUSED:
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        m->note = (struct wire_note){.session = 9, .code = 1, .retry_ms = 1000};
        (void)snprintf(m->note.text, sizeof m->note.text, "the model is \xc3\xa4nother one");
        return;
    case WIRE_PROBE:
        m->probe.session = 9;
        m->probe.digest[3] = 0x11;
        m->probe.core_type[0] = 'H';
        return;
    case WIRE_READY:
    case WIRE_PONG:
    case WIRE_ATTACH:
    case WIRE_REPROBE:
        m->session.session = UINT64_MAX;
        return;
    case WIRE_REQUEST:
        m->request = (struct wire_request){.session = 9, .slot = 3, .request = 12};
        return;
    case WIRE_JOB:
        m->job = (struct wire_job){.session = 9,
                                   .job = 8,
                                   .token = {1, 2, 3},
                                   .kind = WIRE_SCORE,
                                   .step = 50,
                                   .version = 49,
                                   .adapter = true,
                                   .units = 4,
                                   .rows = 2048,
                                   .attempt = 2,
                                   .slot = 1,
                                   .request = 12,
                                   .score = WIRE_KL,
                                   .steer = true,
                                   .units_hash = {4, 5, 6}};
        return;
    case WIRE_HEARTBEAT:
        wire_sample_heartbeat(&m->heartbeat);
        return;
    case WIRE_RESULT_READY:
        wire_sample_result_ready(&m->result_ready);
        return;
    case WIRE_FAILED:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        wire_sample_job_note(&m->job_note);
        return;
    case WIRE_FETCH:
    case WIRE_PARAMS:
        m->params = (struct wire_params){.session = 9, .version = 3, .floats = 100, .hash = {1}};
        return;
    case WIRE_NONE:
    case WIRE_KINDS:
    default:
        CHECK(!"a kind of message");
    }
}

#endif
