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
                         .kl = 0.0625,
                         .pairs_per_s = 3.5,
                         .tokens_per_s = 420.0,
                         .eta_s = NAN,
                         .utilisation = 0.875,
                         .units_queued = 5,
                         .units_leased = 2,
                         .units_done = 19,
                         .useful_slots = 8,
                         .audits_confirmed = 4,
                         .audits_unconfirmed = 1,
                         .n_workers = workers};
    (void)snprintf(s->suspects, sizeof s->suspects, "results of w7 in steps 3 to 9");
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
    assert_string_equal(out.suspects, in.suspects);
    assert_true(out.audits_confirmed == 4 && out.audits_unconfirmed == 1);
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

static void test_a_request_comes_back_as_it_was(void **state)
{
    (void)state;
    static uint8_t bytes[STATUS_REQUEST_BYTES];
    size_t n;
    struct errbuf e;
    char config[] = "lora:\n  r: 8\n";
    char from[] = "/runs/a";
    char sets[] = "a=1\nb=2\n";
    const struct status_request in = {.command = STATUS_SUBMIT,
                                      .order = {.sort = TASK_EVALUATE,
                                                .ticket = 0xfedcba9876543210u,
                                                .name = "night",
                                                .config = config,
                                                .from = from,
                                                .sets = sets}};
    struct status_request out;
    status_request_encode(&in, bytes, &n);
    assert_int_equal(status_request_decode(bytes, n, &out, &e), OK);
    assert_int_equal(out.command, STATUS_SUBMIT);
    assert_true(out.order.ticket == in.order.ticket);
    assert_string_equal(out.order.name, "night");
    assert_string_equal(out.order.config, config);
    assert_string_equal(out.order.from, from);
    assert_string_equal(out.order.sets, sets);
    status_request_free(&out);
    for (size_t cut = 0; cut < n; cut++) {
        if (status_request_decode(bytes, cut, &out, &e) == OK) {
            status_request_free(&out);
        }
    }
    const struct status_request read = {
        .command = STATUS_READ, .task = 7, .offset = 1ull << 40, .part = TASK_RESULT};
    status_request_encode(&read, bytes, &n);
    assert_int_equal(status_request_decode(bytes, n, &out, &e), OK);
    assert_int_equal(out.task, 7);
    assert_int_equal(out.part, TASK_RESULT);
    assert_true(out.offset == read.offset);
    status_request_free(&out);
}

static void test_orders_that_make_no_task_are_refused_by_name(void **state)
{
    (void)state;
    struct errbuf e;
    char config[] = "lora:\n";
    char bell[] = "lora:\a";
    char empty[] = "";
    char from[] = "/runs/a";
    char *big = mem_calloc(1, TASK_CONFIG_BYTES + 1);
    assert_non_null(big);
    memset(big, 'x', TASK_CONFIG_BYTES);
    const struct {
        struct task_order order;
        const char *why;
    } bad[] = {
        {{.sort = TASK_NOTHING, .config = config}, "sort 0"},
        {{.sort = TASK_TRAIN, .config = empty}, "without a config"},
        {{.sort = TASK_TRAIN, .config = config, .from = from}, "only an evaluation"},
        {{.sort = TASK_TRAIN, .config = bell}, "control character"},
        {{.sort = TASK_TRAIN, .config = big}, "bytes at most"},
        {{.sort = TASK_TRAIN, .config = config, .name = "two\nlines"}, "control character"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(task_order_check(&bad[i].order, &e), ERR_RANGE);
        assert_non_null(strstr(e.text, bad[i].why));
    }
    const struct task_order fine = {.sort = TASK_EVALUATE, .from = from};
    assert_int_equal(task_order_check(&fine, &e), OK);
    mem_free(big);
}

static void test_tasks_and_content_come_back_as_they_were(void **state)
{
    (void)state;
    struct status in;
    struct status out;
    struct errbuf e;
    uint8_t *bytes;
    size_t n;
    fill(&in, 0);
    in.outcome = STATUS_DONE;
    in.task_id = 12;
    in.n_tasks = STATUS_TASKS;
    in.tasks = mem_calloc(STATUS_TASKS, sizeof *in.tasks);
    in.content = mem_calloc(1, STATUS_CONTENT_BYTES);
    assert_true(in.tasks && in.content);
    in.content_bytes = STATUS_CONTENT_BYTES;
    in.content_total = 1ull << 33;
    memset(in.content, '\n', STATUS_CONTENT_BYTES);
    (void)snprintf(in.answer, sizeof in.answer, "task 12");
    for (uint32_t i = 0; i < STATUS_TASKS; i++) {
        in.tasks[i] = (struct task_info){.id = i + 1,
                                         .sort = TASK_TRAIN,
                                         .state = TASK_FAILED,
                                         .name = "starter",
                                         .text = "no such file",
                                         .submitted_s = 5,
                                         .ended_s = 9};
    }
    assert_int_equal(status_encode(&in, &bytes, &n), OK);
    assert_int_equal(status_decode(bytes, n, &out, &e), OK);
    assert_int_equal(out.n_tasks, STATUS_TASKS);
    assert_memory_equal(out.tasks, in.tasks, STATUS_TASKS * sizeof *in.tasks);
    assert_int_equal(out.content_bytes, STATUS_CONTENT_BYTES);
    assert_memory_equal(out.content, in.content, STATUS_CONTENT_BYTES);
    assert_true(out.content_total == in.content_total);
    assert_int_equal(out.outcome, STATUS_DONE);
    assert_string_equal(out.answer, "task 12");
    mem_free(bytes);
    status_free(&out);
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
    static uint8_t request[STATUS_REQUEST_BYTES];
    size_t n;
    struct errbuf e;
    const struct status_request ask = {.command = STATUS_ASK};
    struct status_request out;
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
        cmocka_unit_test(test_a_request_comes_back_as_it_was),
        cmocka_unit_test(test_orders_that_make_no_task_are_refused_by_name),
        cmocka_unit_test(test_tasks_and_content_come_back_as_they_were),
        cmocka_unit_test(test_a_share_beyond_one_is_refused_and_an_unknown_one_is_not),
        cmocka_unit_test(test_only_a_request_of_the_known_schema_is_one),
        cmocka_unit_test(test_a_command_comes_back_as_it_was_and_its_answer_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
