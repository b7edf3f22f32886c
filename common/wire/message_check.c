/* message_check.c - the ranges of every field. protobuf-c checks neither UTF-8 nor enums nor
 * counts, so nothing that came from a peer is used before it went through here. */
#include <math.h>
#include <string.h>

#include "common/wire/message.h"

enum { SILENCE_MS_MAX = 600000, TILE_MAX = 1 << 16 };
#define COMPUTED_MS_MAX 1000000000000000ull

#define NEED(condition, ...)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return err_set(e, ERR_RANGE, __VA_ARGS__);                                             \
        }                                                                                          \
    } while (0)

/* Printable ASCII without spaces: safe in logs, file names and JSON. */
static bool is_name(const char *s, bool may_be_empty)
{
    for (const char *c = s; *c; c++) {
        if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\') {
            return false;
        }
    }
    return may_be_empty || *s;
}

/* Text for people: no control characters, so that a peer cannot write lines into our log. */
static bool is_text(const char *s)
{
    for (const char *c = s; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte < ' ' || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_hex(const char *s, size_t digits)
{
    return strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

static enum err check_hello(const struct wire_hello *m, struct errbuf *e)
{
    NEED(is_name(m->worker, false), "hello.worker: 1 to %d printable characters without spaces",
         WIRE_NAME_BYTES - 1);
    NEED(is_name(m->host, true), "hello.host: printable characters without spaces");
    NEED(m->slots >= 1 && m->slots <= LIMIT_SLOTS, "hello.slots: %u, 1 to %d are possible",
         m->slots, LIMIT_SLOTS);
    NEED(is_name(m->core_type, true), "hello.core_type: printable characters without spaces");
    NEED(is_name(m->build, true), "hello.build: printable characters without spaces");
    NEED(is_hex(m->model_hash, WIRE_HASH_HEX - 1), "hello.model_hash: 64 hex digits wanted");
    NEED(is_hex(m->shape_digest, WIRE_DIGEST_HEX - 1), "hello.shape_digest: 32 hex digits wanted");
    return OK;
}

static enum err check_welcome(const struct wire_welcome *m, struct errbuf *e)
{
    NEED(is_name(m->run, false), "welcome.run: printable characters without spaces");
    NEED(m->session != 0, "welcome.session: 0");
    NEED(m->lora_r <= LIMIT_LORA_RANK, "welcome.lora_r: %u, at most %d", m->lora_r,
         LIMIT_LORA_RANK);
    NEED(isfinite(m->lora_alpha), "welcome.lora_alpha: not finite");
    NEED(m->lora_dropout >= 0.0f && m->lora_dropout < 1.0f,
         "welcome.lora_dropout: %g, 0 to below 1 is possible", (double)m->lora_dropout);
    NEED(m->lora_targets < 1u << 7, "welcome.lora_targets: 0x%x, seven bits are known",
         m->lora_targets);
    NEED(is_name(m->kernels, false), "welcome.kernels: a level's name wanted");
    NEED(is_name(m->precision, false), "welcome.precision: a name wanted");
    NEED(m->tile_rows <= TILE_MAX && m->tile_cols <= TILE_MAX,
         "welcome.tile_rows, tile_cols: %u, %u, at most %d", m->tile_rows, m->tile_cols, TILE_MAX);
    NEED(m->heartbeat_ms >= 10 && m->silence_ms <= SILENCE_MS_MAX &&
             m->heartbeat_ms < m->silence_ms,
         "welcome.heartbeat_ms, silence_ms: %u, %u; 10 <= heartbeat < silence <= %d",
         m->heartbeat_ms, m->silence_ms, SILENCE_MS_MAX);
    NEED(is_name(m->tensor_endpoint, true), "welcome.tensor_endpoint: an address wanted");
    NEED(m->unit_tokens >= 1 && m->unit_tokens <= LIMIT_TREE_TOKENS,
         "welcome.unit_tokens: %u, 1 to %d are possible", m->unit_tokens, LIMIT_TREE_TOKENS);
    NEED(m->unit_rows <= LIMIT_TREE_TOKENS, "welcome.unit_rows: %u, at most %d", m->unit_rows,
         LIMIT_TREE_TOKENS);
    NEED(m->anchor_rows <= LIMIT_TREE_TOKENS, "welcome.anchor_rows: %u, at most %d", m->anchor_rows,
         LIMIT_TREE_TOKENS);
    NEED(m->tree_tokens_max >= 1 && m->tree_tokens_max <= LIMIT_TREE_TOKENS,
         "welcome.tree_tokens_max: %u, 1 to %d are possible", m->tree_tokens_max,
         LIMIT_TREE_TOKENS);
    return OK;
}

static enum err check_note(enum wire_kind kind, const struct wire_note *m, struct errbuf *e)
{
    uint32_t codes = kind == WIRE_REFUSED ? (uint32_t)WIRE_REFUSALS : (uint32_t)WIRE_PARTINGS;
    NEED(m->code >= 1 && m->code < codes, "%s.code: %u, 1 to %u are known", wire_kind_name(kind),
         m->code, codes - 1);
    NEED(is_text(m->text), "%s.text: control characters", wire_kind_name(kind));
    NEED(m->retry_ms <= SILENCE_MS_MAX, "%s.retry_ms: %u, at most %d", wire_kind_name(kind),
         m->retry_ms, SILENCE_MS_MAX);
    NEED(kind == WIRE_REFUSED || m->session != 0, "%s.session: 0", wire_kind_name(kind));
    return OK;
}

static enum err check_job(const struct wire_job *m, struct errbuf *e)
{
    NEED(m->job != 0, "job.job: 0");
    NEED(m->kind >= WIRE_GRADIENT && m->kind < WIRE_JOB_KINDS, "job.kind: %u, 1 to %d are known",
         (unsigned)m->kind, WIRE_JOB_KINDS - 1);
    NEED(m->score < WIRE_SCORES && (m->score == WIRE_LOG_P || m->kind == WIRE_SCORE),
         "job.score: %u, below %d, and above 0 with a score only", (unsigned)m->score, WIRE_SCORES);
    NEED(!m->steer || m->kind != WIRE_GRADIENT, "job.steer: not with a gradient");
    NEED(m->version != UINT64_MAX, "job.version: no such version");
    NEED(m->slot < LIMIT_SLOTS, "job.slot: %u, below %d wanted", m->slot, LIMIT_SLOTS);
    NEED(m->units >= 1 && m->units <= LIMIT_JOB_UNITS, "job.units: %u, 1 to %d are possible",
         m->units, LIMIT_JOB_UNITS);
    NEED(m->rows >= 1 && m->rows <= LIMIT_JOB_UNITS * (uint32_t)LIMIT_TREE_TOKENS,
         "job.rows: %u, 1 to %u are possible", m->rows,
         LIMIT_JOB_UNITS * (uint32_t)LIMIT_TREE_TOKENS);
    return OK;
}

static enum err check_result_ready(const struct wire_result_ready *m, struct errbuf *e)
{
    NEED(m->job != 0, "result_ready.job: 0");
    NEED(m->kind >= WIRE_GRADIENT && m->kind < WIRE_JOB_KINDS,
         "result_ready.kind: %u, 1 to %d are known", (unsigned)m->kind, WIRE_JOB_KINDS - 1);
    NEED(m->n_rows >= 1 && m->n_rows <= LIMIT_JOB_UNITS,
         "result_ready.rows: %u, 1 to %d are possible", m->n_rows, LIMIT_JOB_UNITS);
    uint64_t grain = m->kind == WIRE_GENERATE ? 4 : 8;
    NEED(m->payload_bytes >= 8 && m->payload_bytes <= LIMIT_TENSOR_BYTES &&
             m->payload_bytes % grain == 0,
         "result_ready.payload_bytes: %llu, a multiple of %llu up to %d",
         (unsigned long long)m->payload_bytes, (unsigned long long)grain, LIMIT_TENSOR_BYTES);
    NEED(m->seconds >= 0.0f && isfinite(m->seconds), "result_ready.seconds: %g",
         (double)m->seconds);
    for (uint32_t i = 0; i < m->n_rows; i++) {
        NEED(m->rows[i].labels <= LIMIT_TREE_LABELS * (uint32_t)LIMIT_UNIT_TREES,
             "result_ready.rows[%u].labels: %u", i, m->rows[i].labels);
        NEED(m->rows[i].sumsq >= 0.0 && isfinite(m->rows[i].sumsq),
             "result_ready.rows[%u].sumsq: %g", i, m->rows[i].sumsq);
    }
    return OK;
}

static enum err check_job_note(enum wire_kind kind, const struct wire_job_note *m, struct errbuf *e)
{
    NEED(m->job != 0, "%s.job: 0", wire_kind_name(kind));
    NEED(is_text(m->text), "%s.text: control characters", wire_kind_name(kind));
    NEED(kind != WIRE_FAILED || (m->code >= 1 && m->code < WIRE_FAILURES),
         "failed.code: %u, 1 to %d are known", m->code, WIRE_FAILURES - 1);
    return OK;
}

static enum err check_heartbeat(const struct wire_heartbeat *m, struct errbuf *e)
{
    NEED(m->n_slots <= LIMIT_SLOTS, "heartbeat.slots: %u, at most %d", m->n_slots, LIMIT_SLOTS);
    NEED(m->computed_ms <= COMPUTED_MS_MAX, "heartbeat.computed_ms: %llu, at most %llu",
         (unsigned long long)m->computed_ms, COMPUTED_MS_MAX);
    return OK;
}

static enum err check_params(enum wire_kind kind, const struct wire_params *m, struct errbuf *e)
{
    NEED(m->floats <= LIMIT_TENSOR_BYTES / 4, "%s.floats: %llu, at most %d", wire_kind_name(kind),
         (unsigned long long)m->floats, LIMIT_TENSOR_BYTES / 4);
    NEED(m->version != UINT64_MAX, "%s.version: no such version", wire_kind_name(kind));
    return OK;
}

enum err wire_check(const struct wire_message *m, struct errbuf *e)
{
    bool first = m->kind == WIRE_HELLO || m->kind == WIRE_REFUSED;
    NEED(first || wire_session_of(m) != 0, "%s.session: 0", wire_kind_name(m->kind));
    switch (m->kind) {
    case WIRE_HELLO:
        return check_hello(&m->hello, e);
    case WIRE_WELCOME:
        return check_welcome(&m->welcome, e);
    case WIRE_REFUSED:
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        return check_note(m->kind, &m->note, e);
    case WIRE_PROBE:
        NEED(is_name(m->probe.core_type, true), "probe.core_type: printable characters wanted");
        return OK;
    case WIRE_READY:
    case WIRE_PONG:
    case WIRE_ATTACH:
    case WIRE_REPROBE:
        return OK;
    case WIRE_REQUEST:
        NEED(m->request.slot < LIMIT_SLOTS && m->request.request != 0,
             "request.slot, request: %u, %llu; a slot below %d and a request above 0 wanted",
             m->request.slot, (unsigned long long)m->request.request, LIMIT_SLOTS);
        return OK;
    case WIRE_JOB:
        return check_job(&m->job, e);
    case WIRE_HEARTBEAT:
        return check_heartbeat(&m->heartbeat, e);
    case WIRE_RESULT_READY:
        return check_result_ready(&m->result_ready, e);
    case WIRE_FAILED:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        return check_job_note(m->kind, &m->job_note, e);
    case WIRE_FETCH:
    case WIRE_PARAMS:
        return check_params(m->kind, &m->params, e);
    case WIRE_NONE:
    case WIRE_KINDS:
    default:
        return err_set(e, ERR_PARSE, "no message");
    }
}
