/* test_dispatch_audit.c - units that two hosts compute: what a step waits for, who repeats what,
 * who loses, and what happens when nobody is left to repeat it. Every result is told by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/dispatch.h"

#define SEC 1000000000ull

enum { UNITS = 4, ACTIONS = 64, TAG = 7 };

struct fleet {
    struct dispatch *d;
    uint64_t workers[5];
    uint64_t now;
    uint64_t requests[5];                 /* of each worker */
    struct dispatch_action last[ACTIONS]; /* since the last event */
    uint32_t n;
};

static const uint8_t probe[16] = {1};
static const uint32_t rows[UNITS] = {40, 30, 20, 10};

static void collect(struct fleet *f)
{
    struct dispatch_action a;
    f->n = 0;
    while (dispatch_next(f->d, &a)) {
        assert_true(f->n < ACTIONS);
        f->last[f->n++] = a;
    }
}

static const struct dispatch_action *action(const struct fleet *f, enum dispatch_act act)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->last[i].act == act) {
            return &f->last[i];
        }
    }
    return NULL;
}

static void join(struct fleet *f, int i, const char *host, uint64_t epoch)
{
    char name[3] = {'w', (char)('0' + i), 0};
    const struct roster_hello hello = {.name = name, .host = host, .epoch = epoch, .slots = 4};
    assert_int_equal(dispatch_hello(f->d, &hello, f->now, &f->workers[i], NULL), OK);
    assert_int_equal(dispatch_probed(f->d, f->workers[i], probe, f->now, NULL), OK);
    collect(f);
}

static void open_step(struct fleet *f, uint32_t tag, uint32_t units)
{
    uint64_t ids[UNITS];
    for (uint32_t i = 0; i < units; i++) {
        ids[i] = (uint64_t)tag << 32 | i;
    }
    const struct dispatch_batch batch = {
        .kind = JOB_GRADIENT, .tag = tag, .n_units = units, .unit_ids = ids, .rows = rows};
    assert_int_equal(dispatch_open(f->d, &batch, f->now), OK);
    collect(f);
}

/* Worker i is on host hosts[i]; a step of so many units is open. */
static void start(struct fleet *f, double rate, const char *const *hosts, uint32_t units)
{
    const struct dispatch_config cfg = {
        .strict = true, .epoch = 3, .has_probe = true, .probe = {1}, .audit_rate = rate};
    *f = (struct fleet){.now = SEC};
    assert_int_equal(dispatch_new(&cfg, &f->d), OK);
    for (int i = 0; hosts[i]; i++) {
        join(f, i, hosts[i], 1);
    }
    open_step(f, TAG, units);
}

static const char *const two_hosts[] = {"a", "b", NULL};
static const char *const three_hosts[] = {"a", "b", "c", NULL};
static const char *const one_host[] = {"a", "a", NULL};

/* Worker i asks, on one of its four slots after the other; the job it gets, job 0 for none. */
static struct dispatch_action want(struct fleet *f, int i)
{
    uint64_t request = ++f->requests[i];
    dispatch_want(f->d, f->workers[i], (uint32_t)(request % 4), request, f->now);
    collect(f);
    for (uint32_t k = 0; k < f->n; k++) {
        if (f->last[k].act == DISPATCH_ASSIGN && f->last[k].worker == f->workers[i]) {
            return f->last[k];
        }
    }
    return (struct dispatch_action){0};
}

/* What worker i says of its job: the bits stand for its sum. */
static void say_norm(struct fleet *f, int i, const struct dispatch_action *a, uint8_t bits,
                     double norm)
{
    struct result_row row[UNITS];
    const struct job *job = dispatch_job(f->d, a->job);
    for (uint32_t u = 0; job && u < job->n_units; u++) {
        row[u] = (struct result_row){
            .unit = (uint64_t)dispatch_stats(f->d).tag << 32 | job->units[u], .sumsq = norm * norm};
    }
    const struct dispatch_result r = {.worker = f->workers[i],
                                      .job = a->job,
                                      .attempt = a->attempt,
                                      .n_rows = job ? job->n_units : 0,
                                      .rows = row,
                                      .digest = {bits}};
    dispatch_announce(f->d, &r, f->now);
    collect(f);
}

static void say(struct fleet *f, int i, const struct dispatch_action *a, uint8_t bits)
{
    say_norm(f, i, a, bits, 1.0);
}

static bool credited(const struct fleet *f, int i)
{
    const struct dispatch_action *a = action(f, DISPATCH_CREDIT);
    return a && a->worker == f->workers[i];
}

static void pay(struct fleet *f, int i, const struct dispatch_action *a)
{
    assert_int_equal(dispatch_payload(f->d, f->workers[i], a->job, a->attempt, f->now), OK);
    dispatch_summed(f->d, a->job, OK, f->now);
    collect(f);
}

static enum worker_state state_of(const struct fleet *f, int i)
{
    return roster_get(dispatch_roster(f->d), f->workers[i])->state;
}

static void probe_again(struct fleet *f, int i)
{
    assert_int_equal(dispatch_probed(f->d, f->workers[i], probe, f->now, NULL), OK);
    collect(f);
}

static void test_nothing_is_repeated_on_a_single_host(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, one_host, 1);
    struct dispatch_action a = want(&f, 0);
    assert_int_equal(want(&f, 1).job, 0);
    say(&f, 0, &a, 1);
    assert_true(credited(&f, 0));
    pay(&f, 0, &a);
    assert_non_null(action(&f, DISPATCH_BATCH_DONE));
    assert_int_equal(dispatch_stats(f.d).audits, 0);
    dispatch_free(&f.d);
}

static void test_nothing_is_repeated_at_rate_0(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 0.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    assert_int_equal(want(&f, 1).job, 0);
    say(&f, 0, &a, 1);
    assert_true(credited(&f, 0));
    dispatch_free(&f.d);
}

static void test_step_is_not_over_before_another_host_has_said_the_same(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, two_hosts, 1); /* no band yet: all is repeated whatever the rate */
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1); /* at once, not after the first result */
    assert_true(a.job != 0 && b.job == a.job && b.attempt == 2);
    say(&f, 0, &a, 1);
    assert_null(action(&f, DISPATCH_CREDIT));
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_BUSY);
    say(&f, 1, &b, 1);
    assert_true(credited(&f, 1)); /* one payload travels, not two */
    assert_null(action(&f, DISPATCH_BATCH_DONE));
    pay(&f, 1, &b);
    assert_non_null(action(&f, DISPATCH_BATCH_DONE));
    assert_int_equal(dispatch_stats(f.d).confirmed, 1);
    assert_int_equal(dispatch_stats(f.d).unconfirmed, 0);
    dispatch_free(&f.d);
}

static void test_result_that_is_said_twice_does_not_confirm_itself(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    say(&f, 0, &a, 1);
    say(&f, 0, &a, 1);
    assert_null(action(&f, DISPATCH_CREDIT));
    assert_int_equal(dispatch_stats(f.d).confirmed, 0);
    dispatch_free(&f.d);
}

static void test_worker_of_the_same_host_does_not_confirm(void **state)
{
    (void)state;
    static const char *const hosts[] = {"a", "a", "b", NULL};
    struct fleet f;
    start(&f, 1.0, hosts, 1);
    struct dispatch_action a = want(&f, 0);
    assert_int_equal(want(&f, 1).job, 0);
    say(&f, 0, &a, 1);
    assert_null(action(&f, DISPATCH_ASSIGN));
    struct dispatch_action c = want(&f, 2);
    assert_int_equal(c.job, a.job);
    say(&f, 2, &c, 1);
    assert_true(credited(&f, 2));
    dispatch_free(&f.d);
}

static void test_copy_of_a_worker_that_dies_goes_to_another(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, three_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    assert_int_equal(want(&f, 2).job, 0); /* two are enough; it waits */
    assert_int_equal(b.job, a.job);
    dispatch_gone(f.d, f.workers[1], "bye", f.now);
    collect(&f);
    const struct dispatch_action *c = action(&f, DISPATCH_ASSIGN);
    assert_true(c && c->worker == f.workers[2] && c->job == a.job);
    struct dispatch_action copy = *c;
    say(&f, 0, &a, 1);
    dispatch_gone(f.d, f.workers[2], "bye", f.now); /* and this one after the first result */
    collect(&f);
    join(&f, 3, "d", 1);
    struct dispatch_action d = want(&f, 3);
    assert_true(d.job == a.job && d.attempt > copy.attempt);
    say(&f, 3, &d, 1);
    assert_true(credited(&f, 3));
    dispatch_free(&f.d);
}

static void test_step_goes_on_when_no_second_host_is_left(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 2);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    assert_int_equal(b.job, a.job);
    struct dispatch_action second = want(&f, 0);
    assert_true(second.job != 0 && second.job != a.job);
    say(&f, 0, &a, 1);
    assert_null(action(&f, DISPATCH_CREDIT));
    assert_int_equal(want(&f, 0).job, 0); /* the other host computes it: no copy here */
    dispatch_gone(f.d, f.workers[1], "bye", f.now);
    collect(&f); /* what was kept is done again by who is left; what was not is taken as it comes */
    const struct dispatch_action *again = action(&f, DISPATCH_ASSIGN);
    assert_true(again && again->worker == f.workers[0] && again->job == a.job);
    struct dispatch_action repeat = *again;
    say(&f, 0, &second, 2);
    assert_true(credited(&f, 0));
    pay(&f, 0, &second);
    say(&f, 0, &repeat, 1);
    assert_true(credited(&f, 0));
    pay(&f, 0, &repeat);
    assert_non_null(action(&f, DISPATCH_BATCH_DONE));
    assert_int_equal(dispatch_stats(f.d).confirmed, 0);
    assert_int_equal(dispatch_stats(f.d).unconfirmed, 2);
    dispatch_free(&f.d);
}

static void test_third_attempt_decides_and_the_loser_is_quarantined(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, three_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    assert_null(action(&f, DISPATCH_CREDIT));
    assert_non_null(action(&f, DISPATCH_PROBE));
    assert_true(state_of(&f, 0) == WORKER_PROBING && state_of(&f, 1) == WORKER_PROBING);
    probe_again(&f, 0);
    probe_again(&f, 1);
    assert_int_equal(want(&f, 0).job, 0);
    struct dispatch_action c = want(&f, 2);
    assert_int_equal(c.job, a.job);
    say(&f, 2, &c, 1);
    assert_non_null(action(&f, DISPATCH_QUARANTINE));
    assert_true(state_of(&f, 0) == WORKER_QUARANTINED && state_of(&f, 1) == WORKER_READY);
    assert_true(credited(&f, 2));
    assert_int_equal(dispatch_stats(f.d).mismatches, 1);
    dispatch_free(&f.d);
}

/* Steps with norms of 1 until there is a band; the results of all are repeated and agree. */
static uint32_t fill_band(struct fleet *f, int one, int two)
{
    uint32_t tag = TAG;
    for (; tag < TAG + SCREEN_MIN / UNITS; tag++) {
        open_step(f, tag, UNITS);
        for (uint32_t u = 0; u < UNITS; u++) {
            struct dispatch_action a = want(f, one);
            struct dispatch_action b = want(f, two);
            assert_true(a.job != 0 && b.job == a.job);
            say(f, one, &a, 1);
            say(f, two, &b, 1);
            pay(f, two, &b);
        }
        dispatch_committed(f->d, tag);
    }
    return tag;
}

static void
test_step_that_holds_results_of_a_loser_starts_again_and_earlier_ones_are_named(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, three_hosts, UNITS);
    uint32_t tag = fill_band(&f, 0, 1);
    for (uint32_t step = tag; step < tag + 2;
         step++) { /* not repeated any more: the rate decides */
        open_step(&f, step, 1);
        struct dispatch_action a = want(&f, 0);
        say(&f, 0, &a, 66);
        pay(&f, 0, &a);
        assert_non_null(action(&f, DISPATCH_BATCH_DONE));
    }
    open_step(&f, tag + 2, 2);
    struct dispatch_action summed = want(&f, 0);
    say(&f, 0, &summed, 66);
    pay(&f, 0, &summed);
    struct dispatch_action a = want(&f, 0);
    say_norm(&f, 0, &a, 66, 1e6); /* beyond the band: others are asked, as in an audit */
    struct dispatch_action b = want(&f, 1);
    assert_int_equal(b.job, a.job);
    say(&f, 1, &b, 1);
    probe_again(&f, 0);
    probe_again(&f, 1);
    struct dispatch_action c = want(&f, 2);
    assert_int_equal(c.job, a.job);
    say(&f, 2, &c, 1);
    assert_non_null(action(&f, DISPATCH_RESTART)); /* the sum holds another result of w0 */
    assert_null(action(&f, DISPATCH_CREDIT));
    const struct dispatch_action *suspect = action(&f, DISPATCH_SUSPECT);
    assert_non_null(suspect);
    assert_true(suspect->tag == tag && suspect->job == tag + 1);
    assert_non_null(strstr(suspect->text, "w0"));
    assert_int_equal(state_of(&f, 0), WORKER_QUARANTINED);
    dispatch_free(&f.d);
}

static void test_worker_that_is_wrong_twice_in_the_same_way_is_not_its_own_majority(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    probe_again(&f, 0);
    probe_again(&f, 1);
    a = want(&f, 0);
    assert_int_equal(a.job, b.job);
    say(&f, 0, &a, 66);
    assert_null(action(&f, DISPATCH_QUARANTINE));
    assert_null(action(&f, DISPATCH_CREDIT));
    b = want(&f, 1);
    assert_int_equal(b.job, a.job);
    say(&f, 1, &b, 1);
    const struct dispatch_action *stop = action(&f, DISPATCH_STOP);
    assert_non_null(stop); /* nobody can tell which of the two it is */
    assert_non_null(strstr(stop->text, "w0"));
    assert_non_null(strstr(stop->text, "w1"));
    dispatch_free(&f.d);
}

static void test_worker_that_contradicts_itself_loses_without_a_third(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    probe_again(&f, 0);
    probe_again(&f, 1);
    a = want(&f, 0);
    say(&f, 0, &a, 67);
    assert_non_null(action(&f, DISPATCH_QUARANTINE));
    assert_int_equal(state_of(&f, 0), WORKER_QUARANTINED);
    assert_null(action(&f, DISPATCH_STOP));
    assert_int_equal(dispatch_job(f.d, a.job)->opinions, 1); /* the other one's */
    b = want(&f, 1); /* nobody else is left: it does the job again */
    assert_int_equal(b.job, a.job);
    say(&f, 1, &b, 1);
    assert_true(credited(&f, 1));
    dispatch_free(&f.d);
}

/* What is left is the other one's word, and on its host nobody confirms it. */
static void test_the_second_of_two_that_contradicts_itself_leaves_the_first_ones_word(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 1);
    say(&f, 1, &b, 66);
    probe_again(&f, 0);
    probe_again(&f, 1);
    b = want(&f, 1);
    say(&f, 1, &b, 67);
    assert_int_equal(state_of(&f, 1), WORKER_QUARANTINED);
    a = want(&f, 0);
    assert_int_equal(a.job, b.job);
    say(&f, 0, &a, 1);
    assert_true(credited(&f, 0));
    assert_int_equal(dispatch_stats(f.d).confirmed, 0);
    assert_int_equal(dispatch_stats(f.d).unconfirmed, 1);
    dispatch_free(&f.d);
}

static void test_worker_that_contradicts_itself_alone_proves_itself_and_goes_on(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, two_hosts, UNITS);
    uint32_t tag = fill_band(&f, 0, 1);
    dispatch_gone(f.d, f.workers[1], "bye", f.now);
    open_step(&f, tag, 1);
    struct dispatch_action a = want(&f, 0);
    say_norm(&f, 0, &a, 66, 1e6);
    a = want(&f, 0);
    say(&f, 0, &a, 1);
    assert_int_equal(state_of(&f, 0), WORKER_PROBING);
    assert_int_equal(dispatch_job(f.d, a.job)->opinions, 0); /* it has none any more */
    probe_again(&f, 0);
    a = want(&f, 0);
    say(&f, 0, &a, 1);
    a = want(&f, 0);
    say(&f, 0, &a, 1);
    assert_true(credited(&f, 0));
    dispatch_free(&f.d);
}

static void test_other_opinions_of_a_loser_are_worth_nothing(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, three_hosts, 2);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    struct dispatch_action other = want(&f, 0);
    assert_true(b.job == a.job && other.job != a.job);
    say(&f, 0, &other, 67);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    struct dispatch_action c = want(&f, 2);
    while (c.job != 0 && c.job != a.job) { /* the copy of the other one comes first */
        c = want(&f, 2);
    }
    assert_int_equal(c.job, a.job);
    say(&f, 2, &c, 1);
    assert_int_equal(state_of(&f, 0), WORKER_QUARANTINED);
    assert_int_equal(dispatch_job(f.d, other.job)->opinions, 0);
    dispatch_free(&f.d);
}

static void test_new_session_of_a_worker_is_no_third_opinion(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    join(&f, 0, "a", 2);
    probe_again(&f, 1);
    a = want(&f, 0);
    assert_int_equal(a.job, b.job);
    say(&f, 0, &a, 66);
    assert_null(action(&f, DISPATCH_CREDIT));
    assert_null(action(&f, DISPATCH_QUARANTINE));
    dispatch_free(&f.d);
}

static void test_all_of_a_worker_that_lost_an_audit_is_repeated(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, three_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    struct dispatch_action c = want(&f, 2);
    say(&f, 2, &c, 1);
    assert_non_null(action(&f, DISPATCH_QUARANTINE));
    f.now += ROSTER_QUARANTINE_NS + SEC;
    for (int i = 0; i < 3; i++) {
        join(&f, i, three_hosts[i], 2);
    }
    uint32_t tag = fill_band(&f, 1, 2);
    open_step(&f, tag, 1);
    a = want(&f, 1);
    assert_true(a.job != 0 && !dispatch_job(f.d, a.job)->audit);
    open_step(&f, tag + 1, 1);
    a = want(&f, 0);
    assert_true(a.job != 0 && dispatch_job(f.d, a.job)->audit);
    assert_int_equal(want(&f, 1).job, a.job);
    dispatch_free(&f.d);
}

/* Units of a step that two hosts are to compute, as bits, in a fleet of so many workers. */
static uint32_t repeated_units(uint32_t workers, uint32_t step)
{
    static const char *const hosts[] = {"a", "b", "c", "d", "e", NULL};
    const char *some[6] = {NULL};
    struct fleet f;
    uint32_t repeated = 0;
    memcpy(some, hosts, workers * sizeof *some);
    start(&f, 0.4, some, UNITS);
    uint32_t tag = fill_band(&f, 0, 1);
    open_step(&f, tag + step, UNITS);
    uint32_t seen[UNITS] = {0};
    for (uint32_t i = 0; i < 4 * workers; i++) {
        (void)want(&f, (int)(i % workers));
        for (uint32_t k = 0; k < f.n; k++) {
            const struct job *job = dispatch_job(f.d, f.last[k].job);
            for (uint32_t u = 0; f.last[k].act == DISPATCH_ASSIGN && u < job->n_units; u++) {
                seen[job->units[u]]++;
            }
        }
    }
    for (uint32_t u = 0; u < UNITS; u++) {
        repeated |= seen[u] > 1 ? 1u << u : 0;
    }
    dispatch_free(&f.d);
    return repeated;
}

static void test_units_that_are_repeated_do_not_depend_on_the_workers(void **state)
{
    (void)state;
    uint32_t any = 0;
    uint32_t all = 15;
    for (uint32_t step = 0; step < 6; step++) {
        uint32_t repeated = repeated_units(3, step);
        assert_int_equal(repeated_units(4, step), repeated);
        assert_int_equal(repeated_units(5, step), repeated);
        any |= repeated;
        all &= repeated;
    }
    assert_true(any != 0 && all != 15);
}

/* What is known of the workers, as it is kept. */
static void assert_book(const struct fleet *f, const char *want)
{
    struct str text = {0};
    dispatch_audit_book(f->d, &text);
    assert_string_equal(text.len > 0 ? text.data : "", want);
    str_free(&text);
}

static void test_a_good_audit_proves_both_and_what_nobody_repeats_proves_nobody(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 1);
    assert_book(&f, "");
    say(&f, 1, &b, 1);
    assert_book(&f, "w0 18446744073709551615 7 0\nw1 18446744073709551615 7 0\n");
    pay(&f, 1, &b);
    assert_book(&f, "w0 18446744073709551615 7 0\nw1 18446744073709551615 7 0\n");
    uint32_t tag = fill_band(&f, 0, 1);
    open_step(&f, tag, 1);
    a = want(&f, 0);
    say(&f, 0, &a, 1);
    pay(&f, 0, &a);
    char book[128];
    (void)snprintf(book, sizeof book, "w0 %u %u 0\nw1 18446744073709551615 %u 0\n", tag, tag - 1,
                   tag - 1);
    assert_book(&f, book);
    dispatch_free(&f.d);
}

static void test_scores_are_no_part_of_what_must_be_proven(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1.0, two_hosts, 1);
    const uint64_t ids[] = {5};
    const struct dispatch_batch batch = {
        .kind = JOB_SCORE, .tag = 9, .n_units = 1, .unit_ids = ids, .rows = rows};
    assert_int_equal(dispatch_open(f.d, &batch, f.now), OK);
    struct dispatch_action a = want(&f, 0);
    assert_false(dispatch_job(f.d, a.job)->audit);
    assert_int_equal(want(&f, 1).job, 0);
    const struct result_row row = {.unit = 5};
    const struct dispatch_result r = {
        .worker = a.worker, .job = a.job, .attempt = a.attempt, .n_rows = 1, .rows = &row};
    assert_int_equal(dispatch_result(f.d, &r, f.now), OK);
    assert_book(&f, "");
    dispatch_free(&f.d);
}

static void test_a_large_gradient_that_two_agree_on_is_worth_a_note(void **state)
{
    (void)state;
    for (int beyond = 0; beyond < 2; beyond++) {
        struct fleet f;
        start(&f, 1.0, two_hosts, UNITS);
        uint32_t tag = fill_band(&f, 0, 1); /* all norms are 1, so that the band is 2 */
        open_step(&f, tag, 2);
        struct dispatch_action first = want(&f, 0);
        struct dispatch_action copy = want(&f, 1);
        assert_int_equal(copy.job, first.job);
        double norm = beyond ? 2.5 : 2.0;
        uint32_t unit = dispatch_job(f.d, first.job)->units[0];
        say_norm(&f, 0, &first, 1, norm);
        say_norm(&f, 1, &copy, 1, norm);
        assert_true(credited(&f, 1));
        const struct dispatch_action *note = action(&f, DISPATCH_NOTE);
        assert_int_equal(note != NULL, beyond);
        char name[64];
        (void)snprintf(name, sizeof name,
                       "unit %llu:", (unsigned long long)((uint64_t)tag << 32 | unit));
        assert_true(!beyond || (strstr(note->text, name) && strstr(note->text, "w1")));
        dispatch_free(&f.d);
    }
}

static void test_a_result_beyond_the_band_is_noted_by_unit_and_worker(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, two_hosts, UNITS);
    uint32_t tag = fill_band(&f, 0, 1);
    open_step(&f, tag, 1);
    const uint64_t noted = dispatch_stats(f.d).noted;
    struct dispatch_action a = want(&f, 0);
    say_norm(&f, 0, &a, 1, 1e6);
    char name[64];
    (void)snprintf(name, sizeof name, "unit %llu: gradient of w0", (unsigned long long)tag << 32);
    assert_non_null(strstr(action(&f, DISPATCH_NOTE)->text, name));
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_BUSY);
    assert_int_equal(dispatch_stats(f.d).noted, noted + 1);
    assert_int_equal(dispatch_stats(f.d).restarts + dispatch_stats(f.d).mismatches, 0);
    const struct job *job = dispatch_job(f.d, a.job);
    assert_true(job->state == JOB_QUEUED && job->opinions == 1 && job->n_avoid == 1);
    assert_int_equal(want(&f, 0).job, 0);
    say(&f, 0, &a, 1); /* it says so once more, of an attempt that is over */
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_BUSY);
    assert_int_equal(job->opinions, 1);
    dispatch_free(&f.d);
}

static void test_a_gradient_that_is_not_finite_is_the_workers_failure(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 0.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    say_norm(&f, 0, &a, 1, 1e300); /* its square is infinite */
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_REFUSED);
    assert_int_equal(dispatch_stats(f.d).failed, 1);
    assert_int_equal(dispatch_job(f.d, a.job)->failures, 1);
    assert_int_equal(want(&f, 0).job, 0);
    assert_int_equal(want(&f, 1).job, a.job);
    dispatch_free(&f.d);
}

/* Its word alone went into a step: whoever cannot be trusted with this one is named for that one.
 */
static void test_when_no_two_of_three_agree_all_their_unproven_steps_are_named(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 1e-9, three_hosts, UNITS);
    uint32_t tag = fill_band(&f, 0, 1);
    for (int i = 0; i < 2; i++) {
        open_step(&f, tag + (uint32_t)i, 1);
        struct dispatch_action a = want(&f, i);
        say(&f, i, &a, 1);
        pay(&f, i, &a);
    }
    open_step(&f, tag + 2, 1);
    struct dispatch_action a = want(&f, 0);
    say_norm(&f, 0, &a, 66, 1e6);
    struct dispatch_action b = want(&f, 1);
    say(&f, 1, &b, 67);
    struct dispatch_action c = want(&f, 2);
    assert_int_equal(c.job, a.job);
    say(&f, 2, &c, 68);
    const struct dispatch_action *stop = action(&f, DISPATCH_STOP);
    assert_true(stop && strstr(stop->text, "w0") && strstr(stop->text, "w1") &&
                strstr(stop->text, "w2"));
    uint32_t suspects = 0;
    for (uint32_t i = 0; i < f.n; i++) {
        if (f.last[i].act == DISPATCH_SUSPECT) {
            assert_int_equal(f.last[i].tag, tag + suspects);
            assert_int_equal(f.last[i].job, tag + 1);
            char good[64];
            (void)snprintf(good, sizeof good, "its last good one was in step %u", tag - 1);
            assert_non_null(strstr(f.last[i].text, good));
            suspects++;
        }
    }
    assert_int_equal(suspects, 2);
    dispatch_free(&f.d);
}

static void test_a_worker_that_never_passed_an_audit_is_said_to(void **state)
{
    (void)state;
    const struct dispatch_config cfg = {.strict = true,
                                        .has_probe = true,
                                        .probe = {1},
                                        .audit_rate = 1e-9,
                                        .audit_book = "w0 3 18446744073709551615 0\n"};
    struct fleet f = {.now = SEC};
    assert_int_equal(dispatch_new(&cfg, &f.d), OK);
    for (int i = 0; i < 3; i++) {
        join(&f, i, three_hosts[i], 1);
    }
    open_step(&f, TAG, 1);
    struct dispatch_action a = want(&f, 0);
    struct dispatch_action b = want(&f, 1);
    say(&f, 0, &a, 66);
    say(&f, 1, &b, 1);
    struct dispatch_action c = want(&f, 2);
    say(&f, 2, &c, 1);
    const struct dispatch_action *suspect = action(&f, DISPATCH_SUSPECT);
    assert_true(suspect && suspect->tag == 3 && suspect->job == TAG - 1);
    assert_non_null(strstr(suspect->text, "it never passed one"));
    assert_non_null(strstr(suspect->text, "--from-step 3"));
    assert_book(&f, "w0 3 18446744073709551615 1\n");
    dispatch_free(&f.d);
}

/* It computes for somebody else's attempt: that stays where it is. */
static void test_an_attempt_that_runs_elsewhere_is_not_answered_by_another(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 0.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    say(&f, 1, &a, 1);
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_STALE);
    assert_int_equal(action(&f, DISPATCH_SETTLED)->worker, f.workers[1]);
    assert_int_equal(dispatch_job(f.d, a.job)->state, JOB_LEASED);
    a.attempt = 2; /* nobody has that one */
    say(&f, 0, &a, 1);
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_STALE);
    a.attempt = 0;
    say(&f, 0, &a, 1);
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_STALE);
    assert_int_equal(dispatch_stats(f.d).stale, 3);
    a.attempt = 1;
    say(&f, 0, &a, 1);
    assert_true(credited(&f, 0));
    dispatch_free(&f.d);
}

/* Nobody can confirm bits that are a machine's own. */
static void test_a_marked_worker_neither_is_audited_nor_audits(void **state)
{
    (void)state;
    static const uint8_t other[16] = {9};
    const struct dispatch_config cfg = {
        .epoch = 3, .has_probe = true, .probe = {1}, .audit_rate = 1.0};
    struct fleet f = {.now = SEC};
    assert_int_equal(dispatch_new(&cfg, &f.d), OK);
    join(&f, 0, "a", 1);
    const struct roster_hello odd = {.name = "odd", .host = "b", .epoch = 1, .slots = 4};
    assert_int_equal(dispatch_hello(f.d, &odd, f.now, &f.workers[1], NULL), OK);
    assert_int_equal(dispatch_probed(f.d, f.workers[1], other, f.now, NULL), OK);
    open_step(&f, TAG, 2);
    struct dispatch_action a = want(&f, 0);
    assert_false(dispatch_job(f.d, a.job)->audit); /* there is nobody else who could */
    struct dispatch_action b = want(&f, 1);
    assert_true(b.job != 0 && b.job != a.job && !dispatch_job(f.d, b.job)->audit);
    say(&f, 1, &b, 1);
    assert_true(credited(&f, 1));
    dispatch_free(&f.d);
}

/* One whose duplicate differs though the job is counted and the step over: the probes tell. */
static void test_a_difference_after_the_step_takes_nothing_back(void **state)
{
    (void)state;
    struct fleet f;
    start(&f, 0.0, two_hosts, 1);
    struct dispatch_action a = want(&f, 0);
    say(&f, 0, &a, 1);
    pay(&f, 0, &a);
    assert_non_null(action(&f, DISPATCH_BATCH_DONE));
    say(&f, 1, &a, 2);
    assert_null(action(&f, DISPATCH_RESTART));
    assert_int_equal(action(&f, DISPATCH_SETTLED)->code, ERR_BUSY);
    assert_non_null(strstr(action(&f, DISPATCH_NOTE)->text, "w0 and w1 disagree"));
    assert_true(state_of(&f, 0) == WORKER_PROBING && state_of(&f, 1) == WORKER_PROBING);
    assert_int_equal(dispatch_stats(f.d).restarts, 0);
    dispatch_free(&f.d);
}

static void test_workers_that_do_not_say_where_they_run_confirm_nothing(void **state)
{
    (void)state;
    static const char *const nowhere[] = {"", "", NULL};
    struct fleet f;
    start(&f, 1.0, nowhere, 1);
    struct dispatch_action a = want(&f, 0);
    assert_int_equal(want(&f, 1).job, 0);
    say(&f, 0, &a, 1);
    assert_true(credited(&f, 0));
    dispatch_free(&f.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_repeated_on_a_single_host),
        cmocka_unit_test(test_nothing_is_repeated_at_rate_0),
        cmocka_unit_test(test_step_is_not_over_before_another_host_has_said_the_same),
        cmocka_unit_test(test_result_that_is_said_twice_does_not_confirm_itself),
        cmocka_unit_test(test_worker_of_the_same_host_does_not_confirm),
        cmocka_unit_test(test_copy_of_a_worker_that_dies_goes_to_another),
        cmocka_unit_test(test_step_goes_on_when_no_second_host_is_left),
        cmocka_unit_test(test_third_attempt_decides_and_the_loser_is_quarantined),
        cmocka_unit_test(
            test_step_that_holds_results_of_a_loser_starts_again_and_earlier_ones_are_named),
        cmocka_unit_test(test_worker_that_is_wrong_twice_in_the_same_way_is_not_its_own_majority),
        cmocka_unit_test(test_worker_that_contradicts_itself_loses_without_a_third),
        cmocka_unit_test(test_the_second_of_two_that_contradicts_itself_leaves_the_first_ones_word),
        cmocka_unit_test(test_worker_that_contradicts_itself_alone_proves_itself_and_goes_on),
        cmocka_unit_test(test_other_opinions_of_a_loser_are_worth_nothing),
        cmocka_unit_test(test_new_session_of_a_worker_is_no_third_opinion),
        cmocka_unit_test(test_all_of_a_worker_that_lost_an_audit_is_repeated),
        cmocka_unit_test(test_units_that_are_repeated_do_not_depend_on_the_workers),
        cmocka_unit_test(test_a_good_audit_proves_both_and_what_nobody_repeats_proves_nobody),
        cmocka_unit_test(test_scores_are_no_part_of_what_must_be_proven),
        cmocka_unit_test(test_a_large_gradient_that_two_agree_on_is_worth_a_note),
        cmocka_unit_test(test_a_result_beyond_the_band_is_noted_by_unit_and_worker),
        cmocka_unit_test(test_a_gradient_that_is_not_finite_is_the_workers_failure),
        cmocka_unit_test(test_when_no_two_of_three_agree_all_their_unproven_steps_are_named),
        cmocka_unit_test(test_a_worker_that_never_passed_an_audit_is_said_to),
        cmocka_unit_test(test_an_attempt_that_runs_elsewhere_is_not_answered_by_another),
        cmocka_unit_test(test_a_marked_worker_neither_is_audited_nor_audits),
        cmocka_unit_test(test_a_difference_after_the_step_takes_nothing_back),
        cmocka_unit_test(test_workers_that_do_not_say_where_they_run_confirm_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
