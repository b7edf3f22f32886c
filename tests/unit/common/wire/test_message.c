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
#include "tests/support/wire_sample.h"

static void test_every_message_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message in;
        struct wire_message out;
        struct errbuf e;
        uint8_t bytes[LIMIT_HEADER_BYTES];
        size_t n;
        wire_sample(&in, (enum wire_kind)kind);
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
        wire_sample(&in, (enum wire_kind)kind);
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
        wire_sample(&in, (enum wire_kind)kind);
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
    wire_sample(&m, WIRE_HELLO);
    m.hello.slots = LIMIT_SLOTS + 1;
    expect_range(&m, "hello.slots");
    wire_sample(&m, WIRE_HELLO);
    m.hello.worker[0] = '\n';
    expect_range(&m, "hello.worker");
    wire_sample(&m, WIRE_HELLO);
    m.hello.model_hash[5] = 'G';
    expect_range(&m, "hello.model_hash");
    wire_sample(&m, WIRE_WELCOME);
    m.welcome.lora_dropout = NAN;
    expect_range(&m, "welcome.lora_dropout");
    wire_sample(&m, WIRE_WELCOME);
    m.welcome.silence_ms = m.welcome.heartbeat_ms;
    expect_range(&m, "silence_ms");
    wire_sample(&m, WIRE_JOB);
    m.job.kind = WIRE_JOB_KINDS;
    expect_range(&m, "job.kind");
    wire_sample(&m, WIRE_JOB);
    m.job.score = WIRE_SCORES;
    expect_range(&m, "job.score");
    wire_sample(&m, WIRE_JOB);
    m.job.kind = WIRE_CAPTURE; /* with what only a score has */
    expect_range(&m, "job.score");
    wire_sample(&m, WIRE_JOB);
    wire_sample_kind(&m.job, WIRE_GRADIENT);
    m.job.steer = true;
    expect_range(&m, "job.steer");
    wire_sample(&m, WIRE_JOB);
    m.job.units = 0;
    expect_range(&m, "job.units");
    wire_sample(&m, WIRE_JOB);
    m.job.version = UINT64_MAX;
    expect_range(&m, "job.version");
    wire_sample(&m, WIRE_PARAMS);
    m.params.version = UINT64_MAX;
    expect_range(&m, "params.version");
    wire_sample(&m, WIRE_RESULT_READY);
    m.result_ready.rows[63].sumsq = INFINITY;
    expect_range(&m, "rows[63].sumsq");
    wire_sample(&m, WIRE_RESULT_READY);
    m.result_ready.payload_bytes = 12;
    expect_range(&m, "payload_bytes");
    m.result_ready.kind = WIRE_GENERATE; /* answers are 4 bytes a token */
    assert_int_equal(wire_check(&m, &(struct errbuf){{0}}), OK);
    wire_sample(&m, WIRE_REFUSED);
    m.note.code = 99;
    expect_range(&m, "refused.code");
    wire_sample(&m, WIRE_FAILED);
    (void)snprintf(m.job_note.text, sizeof m.job_note.text, "a\x1b[2Jb");
    expect_range(&m, "failed.text");
    wire_sample(&m, WIRE_PONG);
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
