/* test_dispatch_edges.c - dispatch at its edges: its list of actions, batches that cannot be
 * opened, probes in strict and relaxed runs, memory that ends, words about what is not there. */
#include "tests/unit/coordinator/dispatch_fixture.h"

#include "common/base/mem.h"

static const uint8_t other[HASH_XXH128_BYTES] = {9};

static void test_actions_come_out_in_the_order_in_which_they_were_decided(void **state)
{
    (void)state;
    begin(0, 1, 1, 0);
    uint32_t put = 0;
    uint32_t got = 0;
    struct dispatch_action a;
    for (int round = 0; round < 300; round++) { /* the list wraps round, and grows while it does */
        for (int k = 0; k < 7; k++) {
            dispatch_act(w.d, (struct dispatch_action){.act = DISPATCH_NOTE, .tag = put}, "note %u",
                         put);
            put++;
        }
        for (int k = 0; k < (round % 3 == 0 ? 1 : 6); k++) {
            char text[32];
            (void)snprintf(text, sizeof text, "note %u", got);
            assert_true(dispatch_next(w.d, &a));
            assert_int_equal(a.tag, got++);
            assert_string_equal(a.text, text);
        }
    }
    while (dispatch_next(w.d, &a)) {
        assert_int_equal(a.tag, got++);
    }
    assert_int_equal(got, put);
}

static void test_a_stop_says_why_and_nothing_is_handed_out_after_it(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    dispatch_stop(w.d, "unit %u cannot be computed", 7u);
    assert_true(dispatch_stats(w.d).stopped);
    collect();
    assert_string_equal(action(DISPATCH_STOP)->text, "unit 7 cannot be computed");
    assert_int_equal(want(0, 0, 1).job, 0);
}

static void test_without_memory_for_an_action_the_run_stops_once_and_says_so(void **state)
{
    (void)state;
    struct dispatch_action a;
    begin(0, 1, 1, 0);
    dispatch_act(w.d, (struct dispatch_action){.act = DISPATCH_NOTE, .tag = 1}, NULL);
    while (w.d->actions_count < w.d->actions_capacity) {
        dispatch_act(w.d, (struct dispatch_action){.act = DISPATCH_NOTE, .tag = 1}, NULL);
    }
    mem_fail_after(1);
    dispatch_act(w.d, (struct dispatch_action){.act = DISPATCH_NOTE, .tag = 2}, NULL);
    mem_fail_after(0);
    while (dispatch_next(w.d, &a) && a.act == DISPATCH_NOTE) {
        assert_int_equal(a.tag, 1); /* what was decided before goes out first */
    }
    assert_int_equal(a.act, DISPATCH_STOP);
    assert_string_equal(a.text, err_text(ERR_NOMEM));
    assert_true(dispatch_stats(w.d).stopped);
    assert_false(dispatch_next(w.d, &a));
}

static void test_a_batch_that_cannot_be_opened_leaves_the_one_before(void **state)
{
    (void)state;
    static uint64_t ids[LIMIT_STEP_UNITS + 1];
    static uint32_t rows[LIMIT_STEP_UNITS + 1];
    begin(1, 2, 3, 0);
    struct dispatch_action a = want(0, 0, 1);
    struct dispatch_batch batch = {.kind = JOB_GRADIENT,
                                   .tag = TAG + 1,
                                   .n_units = LIMIT_STEP_UNITS + 1,
                                   .unit_ids = ids,
                                   .rows = rows};
    assert_int_equal(dispatch_open(w.d, &batch, w.now), ERR_RANGE);
    batch.n_units = 3;
    for (unsigned long n = 1; n <= 4; n++) {
        mem_fail_after(n);
        assert_int_equal(dispatch_open(w.d, &batch, w.now), ERR_NOMEM);
        mem_fail_after(0);
    }
    assert_int_equal(dispatch_stats(w.d).tag, TAG);
    assert_true(dispatch_stats(w.d).open);
    collect();
    assert_int_equal(w.n, 0);
    announce(&a); /* its units are those of the batch that is open */
    pay(&a, OK);
    assert_int_equal(action(DISPATCH_SETTLED)->code, OK);
    assert_true(want(0, 1, 1).job != 0);
    assert_int_equal(dispatch_open(w.d, &batch, w.now), OK);
    assert_int_equal(dispatch_stats(w.d).tag, TAG + 1);
}

static void test_nothing_is_handed_out_before_a_batch_is_open_or_after_it_is_done(void **state)
{
    (void)state;
    const struct dispatch_config cfg = {.strict = true, .has_probe = true, .probe = {1}};
    memset(&w, 0, sizeof w);
    w.now = SEC;
    w.slots = 2;
    assert_int_equal(dispatch_new(&cfg, &w.d), OK);
    w.workers[0] = join("w0", 1);
    assert_int_equal(want(0, 0, 1).job, 0);
    assert_false(dispatch_stats(w.d).open);
    open_batch(TAG, 1);
    assert_non_null(action(DISPATCH_ASSIGN));
    struct dispatch_action a = *action(DISPATCH_ASSIGN);
    announce(&a);
    pay(&a, OK);
    assert_true(dispatch_stats(w.d).done);
    assert_int_equal(want(0, 1, 1).job, 0);
    open_batch(TAG + 1, 1);
    assert_false(dispatch_stats(w.d).done);
    assert_non_null(action(DISPATCH_ASSIGN));
}

/* The slot is free afterwards in any case, also when its job is of an earlier batch. */
static void test_a_slot_is_free_once_what_it_computes_was_ended(void **state)
{
    (void)state;
    begin(1, 2, 2, 0);
    struct dispatch_action a = want(0, 1, 1);
    assert_int_equal(dispatch_slot(w.d, a.worker, a.job, a.attempt), 1);
    assert_int_equal(dispatch_slot(w.d, a.worker, a.job, a.attempt + 1), -1);
    assert_int_equal(dispatch_slot(w.d, a.worker, a.job + 1, a.attempt), -1);
    assert_int_equal(dispatch_slot(w.d, a.worker + 1, a.job, a.attempt), -1);
    queue_close(w.d->queue);
    dispatch_end_slot(w.d, a.worker, 1, ATTEMPT_LOST, "a test", w.now);
    assert_int_equal(worker(0)->slots[1].state, SLOT_IDLE);
    assert_int_equal(worker(0)->busy, 0);
    assert_int_equal(leases_count(w.d->leases), 0);
}

static void test_the_first_probe_is_the_runs_where_none_is_known(void **state)
{
    (void)state;
    const struct dispatch_config cfg = {.strict = true, .epoch = 3};
    const struct roster_hello first = {.name = "a", .epoch = 1, .slots = 1};
    const struct roster_hello second = {.name = "b", .epoch = 1, .slots = 1};
    uint64_t a;
    uint64_t b;
    struct errbuf e;
    memset(&w, 0, sizeof w);
    w.now = SEC;
    assert_int_equal(dispatch_new(&cfg, &w.d), OK);
    assert_null(dispatch_probe_digest(w.d));
    assert_int_equal(dispatch_hello(w.d, &first, w.now, &a, NULL), OK);
    assert_int_equal(dispatch_hello(w.d, &second, w.now, &b, NULL), OK);
    assert_int_equal(dispatch_probed(w.d, a, other, w.now, &e), OK);
    collect();
    assert_int_equal(action(DISPATCH_PROBE_SET)->worker, a);
    assert_memory_equal(dispatch_probe_digest(w.d), other, sizeof other);
    assert_int_equal(dispatch_probed(w.d, b, probe, w.now, &e), ERR_REFUSED);
    collect();
    assert_null(action(DISPATCH_PROBE_SET));
    assert_int_equal(action(DISPATCH_GONE)->worker, b);
    assert_int_equal(roster_count(dispatch_roster(w.d)), 1);
    assert_int_equal(dispatch_probed(w.d, b, other, w.now, &e), ERR_GONE);
    assert_non_null(strstr(e.text, "hello"));
    assert_int_equal(dispatch_probed(w.d, a, probe, w.now, &e), OK); /* nobody asked it to */
    assert_int_equal(roster_get(dispatch_roster(w.d), a)->state, WORKER_READY);
}

static void test_a_digest_of_the_coordinators_own_stays_the_runs(void **state)
{
    (void)state;
    const struct dispatch_config cfg = {.strict = true, .epoch = 3};
    memset(&w, 0, sizeof w);
    w.now = SEC;
    w.slots = 1;
    assert_int_equal(dispatch_new(&cfg, &w.d), OK);
    dispatch_expect_probe(w.d, probe);
    dispatch_expect_probe(w.d, other); /* one is known */
    assert_memory_equal(dispatch_probe_digest(w.d), probe, sizeof probe);
    w.workers[0] = join("w0", 1);
    collect();
    assert_null(action(DISPATCH_PROBE_SET));
    assert_int_equal(worker(0)->state, WORKER_READY);
}

static void test_a_relaxed_run_admits_other_arithmetic_and_marks_it(void **state)
{
    (void)state;
    const struct dispatch_config cfg = {.epoch = 3, .has_probe = true, .probe = {9}};
    begin_with(&cfg, 1, 1, 1); /* its workers' digest is another */
    assert_true(worker(0)->marked);
    assert_int_equal(worker(0)->state, WORKER_READY);
    assert_true(want(0, 0, 1).job != 0);
    roster_reprobe(w.d->roster, w.workers[0]);
    assert_int_equal(dispatch_probed(w.d, w.workers[0], other, w.now, NULL), OK);
    assert_false(worker(0)->marked);
}

static void test_words_about_what_is_not_there_are_counted_and_change_nothing(void **state)
{
    (void)state;
    begin(1, 2, 2, 0);
    dispatch_want(w.d, 12345, 0, 1, w.now);
    assert_int_equal(dispatch_stats(w.d).unknown, 1);
    dispatch_want(w.d, w.workers[0], 2, 1, w.now); /* it has two slots */
    assert_int_equal(dispatch_stats(w.d).unknown, 2);
    dispatch_release(w.d, w.workers[0], 12345, 1, w.now);
    assert_int_equal(dispatch_stats(w.d).unknown, 3);
    dispatch_gone(w.d, 12345, "nobody", w.now);
    dispatch_drain(w.d, 12345, w.now);
    dispatch_slow(w.d, 12345, true, w.now);
    dispatch_blame(w.d, 12345, "nobody", w.now);
    dispatch_heartbeat(w.d, 12345, NULL, 0, w.now);
    dispatch_computed(w.d, 12345, 5, w.now);
    collect();
    assert_int_equal(w.n, 0);
    assert_int_equal(dispatch_counts(w.d).jobs, 0);
    assert_true(want(0, 1, 1).job != 0);
}

static void test_an_old_request_is_not_answered_again(void **state)
{
    (void)state;
    begin(1, 1, 2, 0);
    struct dispatch_action a = want(0, 0, 5);
    assert_true(a.job != 0);
    assert_int_equal(want(0, 0, 4).job, 0);
    assert_int_equal(dispatch_job(w.d, a.job)->n_live, 1); /* and frees nothing */
    assert_int_equal(dispatch_stats(w.d).released, 0);
    struct dispatch_action again = want(0, 0, 5);
    assert_true(again.job == a.job && again.attempt == a.attempt && again.request == 5);
    assert_int_equal(dispatch_stats(w.d).assigned, 1);
    struct dispatch_action next = want(0, 0, 6); /* it dropped the job without a word */
    assert_int_equal(dispatch_stats(w.d).released, 1);
    assert_int_equal(next.request, 6);
}

static void test_a_worker_whose_socket_is_full_gets_nothing_until_it_is_not(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    dispatch_slow(w.d, w.workers[0], true, w.now);
    assert_int_equal(want(0, 0, 1).job, 0);
    dispatch_slow(w.d, w.workers[0], true, w.now);
    collect();
    assert_null(action(DISPATCH_ASSIGN));
    dispatch_slow(w.d, w.workers[0], false, w.now);
    collect();
    assert_non_null(action(DISPATCH_ASSIGN));
}

/* More than can be kept: no result may get lost unseen. */
static void test_a_line_of_results_that_is_full_stops_the_run(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    w.d->line = mem_calloc(TRANSFERS_MAX, sizeof *w.d->line);
    assert_non_null(w.d->line);
    w.d->line_capacity = w.d->line_count = TRANSFERS_MAX;
    announce(&a);
    assert_non_null(action(DISPATCH_STOP));
    assert_int_equal(w.d->line_count, TRANSFERS_MAX);
}

static void test_a_line_that_cannot_grow_stops_the_run(void **state)
{
    (void)state;
    begin(1, 1, 1, 0);
    struct dispatch_action a = want(0, 0, 1);
    bool stopped = false;
    for (unsigned long n = 1; n < 10 && !stopped; n++) {
        mem_fail_after(n);
        announce(&a);
        mem_fail_after(0);
        stopped = action(DISPATCH_STOP) != NULL;
        if (!stopped) {
            break;
        }
    }
    assert_true(stopped);
    assert_true(dispatch_stats(w.d).stopped);
}

static void test_what_earlier_audits_found_is_read_and_kept_where_there_are_audits(void **state)
{
    (void)state;
    struct dispatch_config cfg = {.strict = true,
                                  .has_probe = true,
                                  .probe = {1},
                                  .audit_rate = 0.5,
                                  .audit_book = "w0 3 2 1\n"};
    struct str text = {0};
    begin_with(&cfg, 1, 1, 1);
    dispatch_audit_book(w.d, &text);
    assert_string_equal(text.data, "w0 3 2 1\n");
    assert_true(audit_distrusts(w.d->audit, w.workers[0]));
    dispatch_free(&w.d);
    str_clear(&text);
    cfg.audit_rate = 0.0;
    begin_with(&cfg, 1, 1, 1);
    dispatch_audit_book(w.d, &text);
    assert_int_equal(text.len, 0);
    dispatch_free(&w.d);
    cfg.audit_book = "what is this";
    memset(&w, 0, sizeof w);
    assert_int_equal(dispatch_new(&cfg, &w.d), OK);
    collect();
    assert_non_null(strstr(action(DISPATCH_NOTE)->text, "cannot be read"));
    str_free(&text);
}

static void test_a_result_for_a_score_is_taken_once_and_needs_no_credit(void **state)
{
    (void)state;
    begin(2, 1, 1, 0);
    const uint64_t ids[] = {5};
    const uint32_t rows[] = {10};
    const struct dispatch_batch batch = {
        .kind = JOB_SCORE, .tag = 9, .n_units = 1, .unit_ids = ids, .rows = rows};
    assert_int_equal(dispatch_open(w.d, &batch, w.now), OK);
    struct dispatch_action a = want(0, 0, 1);
    const struct result_row row = {.unit = 5};
    const struct dispatch_result r = {
        .worker = a.worker, .job = a.job, .attempt = a.attempt, .n_rows = 1, .rows = &row};
    assert_int_equal(dispatch_result(w.d, &r, w.now), OK);
    collect();
    assert_null(action(DISPATCH_CREDIT));
    assert_int_equal(action(DISPATCH_SETTLED)->code, OK);
    assert_int_equal(action(DISPATCH_BATCH_DONE)->tag, 9);
    assert_int_equal(dispatch_result(w.d, &r, w.now), ERR_STALE);
    collect();
    assert_null(action(DISPATCH_BATCH_DONE));
    assert_int_equal(dispatch_counts(w.d).done, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_actions_come_out_in_the_order_in_which_they_were_decided),
        TEST(test_a_stop_says_why_and_nothing_is_handed_out_after_it),
        TEST(test_without_memory_for_an_action_the_run_stops_once_and_says_so),
        TEST(test_a_batch_that_cannot_be_opened_leaves_the_one_before),
        TEST(test_nothing_is_handed_out_before_a_batch_is_open_or_after_it_is_done),
        TEST(test_a_slot_is_free_once_what_it_computes_was_ended),
        TEST(test_the_first_probe_is_the_runs_where_none_is_known),
        TEST(test_a_digest_of_the_coordinators_own_stays_the_runs),
        TEST(test_a_relaxed_run_admits_other_arithmetic_and_marks_it),
        TEST(test_words_about_what_is_not_there_are_counted_and_change_nothing),
        TEST(test_an_old_request_is_not_answered_again),
        TEST(test_a_worker_whose_socket_is_full_gets_nothing_until_it_is_not),
        TEST(test_a_line_of_results_that_is_full_stops_the_run),
        TEST(test_a_line_that_cannot_grow_stops_the_run),
        TEST(test_what_earlier_audits_found_is_read_and_kept_where_there_are_audits),
        TEST(test_a_result_for_a_score_is_taken_once_and_needs_no_credit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
