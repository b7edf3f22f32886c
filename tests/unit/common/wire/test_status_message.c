/* test_status_message.c - the status reply: round trip, truncations, too many workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/wire/status_message.h"

static void fill(struct status *s, uint32_t workers)
{
    *s = (struct status){.schema = STATUS_SCHEMA,
                         .step_open = 3,
                         .step_committed = 2,
                         .step_total = 50,
                         .loss = 1.25,
                         .pairs_per_s = 3.5,
                         .tokens_per_s = 420.0,
                         .eta_s = NAN,
                         .utilisation = 0.875,
                         .units_queued = 5,
                         .units_leased = 2,
                         .units_done = 19,
                         .useful_slots = 8,
                         .n_workers = workers};
    (void)snprintf(s->run, sizeof s->run, "runs/starter");
    (void)snprintf(s->task, sizeof s->task, "train");
    (void)snprintf(s->state, sizeof s->state, "running");
    s->workers = mem_calloc(workers, sizeof *s->workers);
    assert_non_null(s->workers);
    for (uint32_t i = 0; i < workers; i++) {
        struct status_worker *w = &s->workers[i];
        *w = (struct status_worker){
            .slots = 2, .units_done = i, .tokens_per_s = 210.0, .last_heard_ms = 40, .strikes = 1};
        w->utilisation = 0.5;
        (void)snprintf(w->id, sizeof w->id, "w%u", i);
        (void)snprintf(w->host, sizeof w->host, "host-%u", i);
        (void)snprintf(w->state, sizeof w->state, "ready");
        (void)snprintf(w->core_type, sizeof w->core_type, "SkylakeX");
    }
}

static void test_a_reply_comes_back_as_it_was(void **state)
{
    (void)state;
    struct status in;
    struct status out;
    struct errbuf e;
    uint8_t *bytes;
    size_t n;
    fill(&in, LIMIT_WORKERS);
    assert_int_equal(status_encode(&in, &bytes, &n), OK);
    assert_int_equal(status_decode(bytes, n, &out, &e), OK);
    assert_true(isnan(out.eta_s));
    assert_true(fabs(out.utilisation - 0.875) < 1e-12);
    assert_int_equal(out.n_workers, LIMIT_WORKERS);
    assert_memory_equal(out.workers, in.workers, LIMIT_WORKERS * sizeof *in.workers);
    assert_string_equal(out.task, "train");
    assert_int_equal(out.units_done, 19);
    mem_free(bytes);
    status_free(&out);
    status_free(&in);
}

static void test_truncated_replies_never_crash(void **state)
{
    (void)state;
    struct status in;
    struct status out;
    struct errbuf e;
    uint8_t *bytes;
    size_t n;
    fill(&in, 2);
    assert_int_equal(status_encode(&in, &bytes, &n), OK);
    for (size_t cut = 0; cut < n; cut++) {
        /* A cut between two fields is a reply with fewer fields: that is how protobuf grows. */
        if (status_decode(bytes, cut, &out, &e) == OK) {
            status_free(&out);
        }
    }
    mem_free(bytes);
    status_free(&in);
}

static void test_more_workers_than_the_limit_are_refused(void **state)
{
    (void)state;
    struct status in;
    struct status out;
    struct errbuf e;
    uint8_t *bytes;
    size_t n;
    fill(&in, LIMIT_WORKERS + 1);
    assert_int_equal(status_encode(&in, &bytes, &n), OK);
    assert_int_equal(status_decode(bytes, n, &out, &e), ERR_RANGE);
    mem_free(bytes);
    status_free(&in);
}

static void test_a_share_beyond_one_is_refused_and_an_unknown_one_is_not(void **state)
{
    (void)state;
    static const struct {
        double whole, worker;
        enum err code;
    } cases[] = {{1.25, 0.5, ERR_RANGE},
                 {-0.1, 0.5, ERR_RANGE},
                 {0.5, INFINITY, ERR_RANGE},
                 {NAN, NAN, OK},
                 {0.0, 1.0, OK}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct status in;
        struct status out;
        struct errbuf e;
        uint8_t *bytes;
        size_t n;
        fill(&in, 1);
        in.utilisation = cases[i].whole;
        in.workers[0].utilisation = cases[i].worker;
        assert_int_equal(status_encode(&in, &bytes, &n), OK);
        assert_int_equal(status_decode(bytes, n, &out, &e), cases[i].code);
        status_free(&out);
        mem_free(bytes);
        status_free(&in);
    }
}

static void test_only_a_request_of_the_known_schema_is_one(void **state)
{
    (void)state;
    uint8_t request[STATUS_REQUEST_BYTES];
    size_t n;
    struct errbuf e;
    struct status_request out;
    const struct status_request ask = {.command = STATUS_ASK};
    status_request_encode(&ask, request, &n);
    assert_int_equal(status_request_decode(request, n, &out, &e), OK);
    assert_int_equal(out.command, STATUS_ASK);
    assert_int_equal(status_request_decode(request, 0, &out, &e), ERR_RANGE);
    assert_int_equal(status_request_decode((const uint8_t *)"GET / HTTP/1.1", 14, &out, &e),
                     ERR_PARSE);
}

static void test_a_command_comes_back_as_it_was_and_its_answer_too(void **state)
{
    (void)state;
    uint8_t request[STATUS_REQUEST_BYTES];
    size_t n;
    struct errbuf e;
    struct status_request in = {.command = STATUS_DRAIN};
    struct status_request out;
    memset(in.worker, 'w', sizeof in.worker - 1);
    status_request_encode(&in, request, &n);
    assert_int_equal(status_request_decode(request, n, &out, &e), OK);
    assert_int_equal(out.command, STATUS_DRAIN);
    assert_string_equal(out.worker, in.worker);
    in.command = STATUS_COMMANDS;
    status_request_encode(&in, request, &n);
    assert_int_equal(status_request_decode(request, n, &out, &e), ERR_RANGE);

    struct status told;
    struct status heard;
    uint8_t *bytes;
    fill(&told, 0);
    told.refused = 7;
    told.outcome = STATUS_REFUSED;
    (void)snprintf(told.answer, sizeof told.answer, "only an operator");
    assert_int_equal(status_encode(&told, &bytes, &n), OK);
    assert_int_equal(status_decode(bytes, n, &heard, &e), OK);
    assert_int_equal(heard.refused, 7);
    assert_int_equal(heard.outcome, STATUS_REFUSED);
    assert_string_equal(heard.answer, "only an operator");
    mem_free(bytes);
    status_free(&heard);
    status_free(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reply_comes_back_as_it_was),
        cmocka_unit_test(test_truncated_replies_never_crash),
        cmocka_unit_test(test_more_workers_than_the_limit_are_refused),
        cmocka_unit_test(test_a_share_beyond_one_is_refused_and_an_unknown_one_is_not),
        cmocka_unit_test(test_only_a_request_of_the_known_schema_is_one),
        cmocka_unit_test(test_a_command_comes_back_as_it_was_and_its_answer_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
