/* message.c - dispatch over kinds, encode, names. The fields are in message_pack, message_unpack
 * and message_check. */
#include "common/wire/message.h"

#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/wire/message_codec.h"
#include "common/wire/wire_arena.h"
#include "pft.pb-c.h"

enum { DECODE_ARENA_BYTES = 96 << 10 };

const char *wire_kind_name(enum wire_kind kind)
{
    static const char *const names[WIRE_KINDS] = {
        [WIRE_NONE] = "none",
        [WIRE_HELLO] = "hello",
        [WIRE_WELCOME] = "welcome",
        [WIRE_REFUSED] = "refused",
        [WIRE_PROBE] = "probe",
        [WIRE_READY] = "ready",
        [WIRE_REQUEST] = "request",
        [WIRE_JOB] = "job",
        [WIRE_HEARTBEAT] = "heartbeat",
        [WIRE_PONG] = "pong",
        [WIRE_RESULT_READY] = "result_ready",
        [WIRE_FAILED] = "failed",
        [WIRE_SEND] = "send",
        [WIRE_ACK] = "ack",
        [WIRE_STALE] = "stale",
        [WIRE_REJECTED] = "rejected",
        [WIRE_RELEASE] = "release",
        [WIRE_DRAIN] = "drain",
        [WIRE_GOODBYE] = "goodbye",
        [WIRE_ATTACH] = "attach",
        [WIRE_FETCH] = "fetch",
        [WIRE_PARAMS] = "params",
        [WIRE_RESULT] = "result",
        [WIRE_REPROBE] = "reprobe",
    };
    unsigned index = (unsigned)kind;
    return index < WIRE_KINDS ? names[index] : "unknown";
}

uint64_t wire_session_of(const struct wire_message *m)
{
    switch (m->kind) {
    case WIRE_WELCOME:
        return m->welcome.session;
    case WIRE_REFUSED:
    case WIRE_DRAIN:
    case WIRE_GOODBYE:
        return m->note.session;
    case WIRE_PROBE:
        return m->probe.session;
    case WIRE_READY:
    case WIRE_PONG:
    case WIRE_ATTACH:
    case WIRE_REPROBE:
        return m->session.session;
    case WIRE_REQUEST:
        return m->request.session;
    case WIRE_JOB:
        return m->job.session;
    case WIRE_HEARTBEAT:
        return m->heartbeat.session;
    case WIRE_RESULT_READY:
        return m->result_ready.session;
    case WIRE_FAILED:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        return m->job_note.session;
    case WIRE_FETCH:
    case WIRE_PARAMS:
        return m->params.session;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_KINDS:
    default:
        return 0;
    }
}

void wire_encode(const struct wire_message *m, uint8_t out[LIMIT_HEADER_BYTES], size_t *bytes)
{
    struct errbuf e;
    CHECK(wire_check(m, &e) == OK);
    struct message_scratch scratch;
    Pft__Header header = PFT__HEADER__INIT;
    message_pack(m, &scratch, &header);
    size_t need = pft__header__get_packed_size(&header);
    CHECK(need <= LIMIT_HEADER_BYTES);
    *bytes = pft__header__pack(&header, out);
}

enum err wire_decode(const uint8_t *data, size_t bytes, struct wire_message *m, struct errbuf *e)
{
    m->kind = WIRE_NONE;
    if (bytes == 0 || bytes > LIMIT_HEADER_BYTES) {
        return err_set(e, ERR_RANGE, "header frame of %zu bytes, 1 to %d are possible", bytes,
                       LIMIT_HEADER_BYTES);
    }
    _Alignas(16) uint8_t block[DECODE_ARENA_BYTES];
    struct wire_arena arena;
    wire_arena_init(&arena, block, sizeof block);
    Pft__Header *header = pft__header__unpack(&arena.allocator, bytes, data);
    if (!header) {
        return err_set(e, ERR_PARSE, "header frame of %zu bytes is no message of this protocol",
                       bytes);
    }
    enum err error = message_unpack(header, m, e);
    if (error == OK) {
        error = wire_check(m, e);
    }
    if (error != OK) {
        m->kind = WIRE_NONE;
    }
    return error;
}
