/* test_message.c - round trips of every message, every truncation, hostile fields and counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/wire/message.h"

static const char HASH[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void fill_hello(struct wire_hello *m)
{
    m->protocol = WIRE_PROTOCOL;
    m->epoch = 77;
    m->slots = 2;
    m->kernel_levels = 7;
    (void)snprintf(m->worker, sizeof m->worker, "box-1.4711");
    (void)snprintf(m->host, sizeof m->host, "box-1");
    (void)snprintf(m->core_type, sizeof m->core_type, "SkylakeX");
    (void)snprintf(m->model_hash, sizeof m->model_hash, "%s", HASH);
    (void)snprintf(m->shape_digest, sizeof m->shape_digest, "%.32s", HASH);
    (void)snprintf(m->build, sizeof m->build, "0.1.0");
}

static void fill_welcome(struct wire_welcome *m)
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
    m->tree_tokens_max = 4096;
    (void)snprintf(m->run, sizeof m->run, "%.32s", HASH);
    (void)snprintf(m->kernels, sizeof m->kernels, "x86-64-v4");
    (void)snprintf(m->tensor_endpoint, sizeof m->tensor_endpoint, "tcp://127.0.0.1:4444");
    (void)snprintf(m->precision, sizeof m->precision, "fp32");
}

static void fill_result_ready(struct wire_result_ready *m)
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

static void fill_heartbeat(struct wire_heartbeat *m)
{
    m->session = 9;
    m->computed_ms = 123456789;
    m->n_slots = LIMIT_SLOTS;
    for (uint32_t i = 0; i < LIMIT_SLOTS; i++) {
        m->slots[i] =
            (struct wire_progress){.job = i + 1, .attempt = i, .progress = UINT64_MAX - i};
    }
}

static void fill_job_note(struct wire_job_note *n)
{
    *n = (struct wire_job_note){.session = 9, .job = 8, .token = {9, 9}, .code = 1, .attempt = 4};
    (void)snprintf(n->text, sizeof n->text, "layer 3 q: NaN");
}

/* A valid message of each kind; zeroed first, so that whole structs can be compared. */
static void fill(struct wire_message *m, enum wire_kind kind)
{
    memset(m, 0, sizeof *m);
    m->kind = kind;
    switch (kind) {
    case WIRE_HELLO:
        fill_hello(&m->hello);
        return;
    case WIRE_WELCOME:
        fill_welcome(&m->welcome);
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
                                   .request = 12};
        return;
    case WIRE_HEARTBEAT:
        fill_heartbeat(&m->heartbeat);
        return;
    case WIRE_RESULT_READY:
        fill_result_ready(&m->result_ready);
        return;
    case WIRE_FAILED:
    case WIRE_SEND:
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
    case WIRE_RELEASE:
    case WIRE_RESULT:
        fill_job_note(&m->job_note);
        return;
    case WIRE_FETCH:
    case WIRE_PARAMS:
        m->params = (struct wire_params){.session = 9, .version = 3, .floats = 100, .hash = {1}};
        return;
    case WIRE_NONE:
    case WIRE_KINDS:
    default:
        fail();
    }
}

static void test_every_message_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message in;
        struct wire_message out;
        struct errbuf e;
        uint8_t bytes[LIMIT_HEADER_BYTES];
        size_t n;
        fill(&in, (enum wire_kind)kind);
        wire_encode(&in, bytes, &n);
        memset(&out, 0, sizeof out);
        assert_int_equal(wire_decode(bytes, n, &out, &e), OK);
        assert_memory_equal(&in, &out, sizeof in);
        assert_true(kind == WIRE_HELLO || wire_session_of(&out) != 0);
        assert_string_not_equal(wire_kind_name((enum wire_kind)kind), "unknown");
    }
}

static void test_every_truncation_is_refused_or_another_valid_message(void **state)
{
    (void)state;
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message in;
        struct wire_message out;
        struct errbuf e;
        uint8_t bytes[LIMIT_HEADER_BYTES];
        size_t n;
        fill(&in, (enum wire_kind)kind);
        wire_encode(&in, bytes, &n);
        for (size_t cut = 0; cut < n; cut++) {
            enum err error = wire_decode(bytes, cut, &out, &e);
            assert_true(error == ERR_PARSE || error == ERR_RANGE);
            assert_int_equal(out.kind, WIRE_NONE);
        }
    }
}

static void test_flipped_bytes_never_pass_the_ranges(void **state)
{
    (void)state;
    const uint64_t seed = 7;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message in;
        struct wire_message out;
        struct errbuf e;
        uint8_t bytes[LIMIT_HEADER_BYTES];
        size_t n;
        fill(&in, (enum wire_kind)kind);
        wire_encode(&in, bytes, &n);
        for (uint64_t i = 0; i < 3000; i++) {
            uint64_t key = rng_key(seed, (uint64_t)kind, i, 0);
            size_t at = rng_below(key, 0, n);
            uint8_t old = bytes[at];
            bytes[at] = (uint8_t)rng_at(key, 1);
            if (wire_decode(bytes, n, &out, &e) == OK) {
                assert_int_equal(wire_check(&out, &e), OK);
            }
            bytes[at] = old;
        }
    }
}

static void test_an_oversized_or_empty_frame_is_refused(void **state)
{
    (void)state;
    static uint8_t bytes[LIMIT_HEADER_BYTES + 1];
    struct wire_message out;
    struct errbuf e;
    assert_int_equal(wire_decode(bytes, sizeof bytes, &out, &e), ERR_RANGE);
    assert_int_equal(wire_decode(bytes, 0, &out, &e), ERR_RANGE);
}

/* A heartbeat (field 8) of as many two-byte empty slots as a frame holds. */
static void test_a_frame_of_tiny_repeated_fields_needs_bounded_memory(void **state)
{
    (void)state;
    static uint8_t bytes[LIMIT_HEADER_BYTES];
    size_t body = sizeof bytes - 4;
    bytes[0] = (8 << 3) | 2;
    bytes[1] = (uint8_t)(body & 0x7f) | 0x80;
    bytes[2] = (uint8_t)(body >> 7 & 0x7f) | 0x80;
    bytes[3] = (uint8_t)(body >> 14);
    for (size_t i = 4; i + 1 < sizeof bytes; i += 2) {
        bytes[i] = (2 << 3) | 2;
        bytes[i + 1] = 0;
    }
    struct wire_message out;
    struct errbuf e;
    assert_int_equal(wire_decode(bytes, sizeof bytes, &out, &e), ERR_PARSE);
}

static void expect_range(struct wire_message *m, const char *field)
{
    struct errbuf e;
    e.text[0] = '\0';
    assert_int_equal(wire_check(m, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, field));
}

static void test_a_field_outside_its_range_is_named(void **state)
{
    (void)state;
    struct wire_message m;
    fill(&m, WIRE_HELLO);
    m.hello.slots = LIMIT_SLOTS + 1;
    expect_range(&m, "hello.slots");
    fill(&m, WIRE_HELLO);
    m.hello.worker[0] = '\n';
    expect_range(&m, "hello.worker");
    fill(&m, WIRE_HELLO);
    m.hello.model_hash[5] = 'G';
    expect_range(&m, "hello.model_hash");
    fill(&m, WIRE_WELCOME);
    m.welcome.lora_dropout = NAN;
    expect_range(&m, "welcome.lora_dropout");
    fill(&m, WIRE_WELCOME);
    m.welcome.silence_ms = m.welcome.heartbeat_ms;
    expect_range(&m, "silence_ms");
    fill(&m, WIRE_HEARTBEAT);
    m.heartbeat.computed_ms = UINT64_MAX;
    expect_range(&m, "heartbeat.computed_ms");
    fill(&m, WIRE_JOB);
    m.job.kind = (enum wire_job_kind)3;
    expect_range(&m, "job.kind");
    fill(&m, WIRE_JOB);
    m.job.units = 0;
    expect_range(&m, "job.units");
    fill(&m, WIRE_RESULT_READY);
    m.result_ready.rows[63].sumsq = INFINITY;
    expect_range(&m, "rows[63].sumsq");
    fill(&m, WIRE_RESULT_READY);
    m.result_ready.payload_bytes = 12;
    expect_range(&m, "payload_bytes");
    fill(&m, WIRE_REFUSED);
    m.note.code = 99;
    expect_range(&m, "refused.code");
    fill(&m, WIRE_FAILED);
    (void)snprintf(m.job_note.text, sizeof m.job_note.text, "a\x1b[2Jb");
    expect_range(&m, "failed.text");
    fill(&m, WIRE_PONG);
    m.session.session = 0;
    expect_range(&m, "pong.session");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_comes_back_as_it_was),
        cmocka_unit_test(test_every_truncation_is_refused_or_another_valid_message),
        cmocka_unit_test(test_flipped_bytes_never_pass_the_ranges),
        cmocka_unit_test(test_an_oversized_or_empty_frame_is_refused),
        cmocka_unit_test(test_a_frame_of_tiny_repeated_fields_needs_bounded_memory),
        cmocka_unit_test(test_a_field_outside_its_range_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
