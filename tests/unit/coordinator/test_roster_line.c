/* test_roster_line.c - the lines of a roster slot by slot: who waits, who was silent longest, who
 * is asked; what is said of a worker; names that are cut; records that are full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/roster.h"

#define SEC 1000000000ull

static struct roster *r;

static int setup(void **state)
{
    (void)state;
    return roster_new(&r) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    roster_free(&r);
    return 0;
}

static uint64_t entered(const char *name, uint64_t epoch, uint64_t now)
{
    const struct roster_hello hello = {.name = name, .epoch = epoch, .slots = 3};
    uint64_t id = 0;
    uint64_t replaced;
    assert_int_equal(roster_hello(r, &hello, now, &id, &replaced, NULL), OK);
    return id;
}

static uint64_t ready(const char *name)
{
    uint64_t id = entered(name, 1, SEC);
    roster_ready(r, id, false);
    return id;
}

/* The waiting slots as text: worker's letter and slot, in their order. */
static void assert_line(const char *want)
{
    char line[64] = "";
    uint64_t id;
    uint32_t slot;
    size_t n = 0;
    for (bool more = roster_first(r, &id, &slot); more; more = roster_after(r, &id, &slot)) {
        n += (size_t)snprintf(line + n, sizeof line - n, "%s%s%u", n > 0 ? " " : "",
                              roster_get(r, id)->name, slot);
        assert_true(n < sizeof line - 4);
    }
    assert_string_equal(line, want);
}

static void test_waiting_slots_stand_in_their_order_wherever_one_leaves(void **state)
{
    (void)state;
    uint64_t a = ready("a");
    uint64_t b = ready("b");
    assert_line("");
    roster_wait(r, a, 2, 1);
    roster_wait(r, b, 1, 1);
    roster_wait(r, a, 0, 1);
    roster_wait(r, b, 2, 1);
    assert_line("a2 b1 a0 b2");
    assert_int_equal(roster_waiting_slots(r), 4);
    roster_hold(r, a, 0, 7, 1, 0); /* from the middle */
    assert_line("a2 b1 b2");
    roster_free_slot(r, b, 2); /* the last */
    assert_line("a2 b1");
    roster_wait(r, a, 1, 1);
    assert_line("a2 b1 a1");
    roster_hold(r, a, 2, 8, 1, 0); /* the first */
    assert_line("b1 a1");
    roster_wait(r, b, 1, 2); /* asks again: behind the others */
    assert_line("a1 b1");
    roster_wait(r, b, 0, 1);
    assert_line("a1 b1 b0");
    roster_remove(r, b);
    assert_line("a1");
    assert_int_equal(roster_waiting_slots(r), 1);
    roster_free_slot(r, a, 1);
    assert_line("");
    roster_wait(r, a, 1, 3);
    assert_line("a1");
    assert_int_equal(roster_get(r, a)->busy, 2);
    assert_int_equal(roster_get(r, a)->slots[2].job, 8);
    roster_wait(r, a, 2, 3); /* it computes no more */
    assert_int_equal(roster_get(r, a)->busy, 1);
    assert_line("a1 a2");
}

static void test_a_held_slot_knows_its_job(void **state)
{
    (void)state;
    uint64_t a = ready("a");
    roster_wait(r, a, 1, 44);
    roster_hold(r, a, 1, 7, 5, 9);
    const struct roster_slot *s = &roster_get(r, a)->slots[1];
    assert_true(s->state == SLOT_BUSY && s->job == 7 && s->attempt == 5 && s->lease == 9);
    assert_int_equal(s->request, 44);
    roster_free_slot(r, a, 1);
    assert_int_equal(s->state, SLOT_IDLE);
    roster_free_slot(r, a, 1);
    assert_int_equal(roster_get(r, a)->busy, 0);
    assert_int_equal(roster_waiting_slots(r), 0);
}

static void test_the_longest_silent_is_known_whoever_speaks_or_leaves(void **state)
{
    (void)state;
    const uint64_t later = 100 * SEC;
    uint64_t a = entered("a", 1, SEC);
    uint64_t b = entered("b", 1, SEC + 1);
    uint64_t c = entered("c", 1, SEC + 2);
    assert_int_equal(roster_silent(r, later), a);
    roster_heard(r, b, SEC + 3); /* from the middle */
    assert_int_equal(roster_silent(r, later), a);
    roster_remove(r, a); /* the first */
    assert_int_equal(roster_silent(r, later), c);
    uint64_t d = entered("d", 1, SEC + 4);
    roster_remove(r, b);
    assert_int_equal(roster_silent(r, later), c);
    roster_heard(r, c, SEC + 5);
    assert_int_equal(roster_silent(r, later), d);
    roster_remove(r, c); /* the last */
    roster_heard(r, d, SEC + 6);
    assert_int_equal(roster_silent(r, later), d);
    assert_int_equal(roster_silent(r, SEC + 6 + ROSTER_SILENCE_NS - 1), 0);
    assert_int_equal(roster_silent(r, SEC + 6 + ROSTER_SILENCE_NS), d);
    roster_remove(r, d);
    assert_int_equal(roster_silent(r, later), 0);
    roster_heard(r, d, later); /* nobody */
    assert_int_equal(roster_count(r), 0);
}

static void test_those_entered_can_be_gone_through_whoever_left(void **state)
{
    (void)state;
    uint64_t ids[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        ids[i] = entered(names[i], 1, SEC);
    }
    roster_remove(r, ids[1]);
    assert_int_equal(roster_count(r), 3);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 3; i++) {
        seen |= 1u << (roster_at(r, i)->name[0] - 'a');
    }
    assert_int_equal(seen, 1 | 4 | 8);
    assert_null(roster_get(r, ids[1]));
    uint64_t e = entered("e", 1, SEC); /* in b's place, under another id */
    assert_int_equal(e & 0xFFFF, ids[1] & 0xFFFF);
    assert_true(e != ids[1] && !roster_get(r, ids[1]));
    assert_null(roster_get(r, 0xFFFF));
    assert_null(roster_get(r, e + (1ull << 16)));
}

static void test_the_next_deadline_is_the_earliest_of_silence_and_quarantine(void **state)
{
    (void)state;
    assert_true(roster_sleep_ns(r, SEC) == UINT64_MAX);
    assert_int_equal(roster_released(r, 1000 * SEC), 0);
    uint64_t a = ready("a");
    uint64_t b = ready("b");
    assert_true(roster_sleep_ns(r, SEC) == ROSTER_SILENCE_NS);
    assert_true(roster_strike(r, a, true, SEC));
    const uint64_t over = SEC + ROSTER_QUARANTINE_NS;
    roster_heard(r, a, over - SEC);
    roster_heard(r, b, over - SEC);
    assert_true(roster_sleep_ns(r, over - SEC) == SEC);
    assert_int_equal(roster_sleep_ns(r, over + 10 * SEC), 0);
    assert_int_equal(roster_released(r, over - 1), 0);
    assert_int_equal(roster_released(r, over), a);
    assert_int_equal(roster_released(r, over), 0);
    assert_true(roster_sleep_ns(r, over) == ROSTER_SILENCE_NS - SEC);
}

static void test_silence_is_since_the_last_word_less_our_own_stalls(void **state)
{
    (void)state;
    uint64_t a = ready("a");
    assert_int_equal(roster_silence_ns(r, roster_get(r, a), 3 * SEC), 2 * SEC);
    roster_shift(r, SEC);
    assert_int_equal(roster_silence_ns(r, roster_get(r, a), 3 * SEC), SEC);
    assert_int_equal(roster_silence_ns(r, roster_get(r, a), SEC), 0);
    uint64_t b = entered("b", 1, 5 * SEC);
    assert_int_equal(roster_silence_ns(r, roster_get(r, b), 6 * SEC), SEC);
    assert_int_equal(roster_get(r, b)->joined_ns, 4 * SEC);
}

static void test_a_job_waits_for_who_works_or_asked_lately(void **state)
{
    (void)state;
    uint64_t a = entered("a", 1, SEC);
    const struct worker *w = roster_get(r, a);
    assert_false(roster_asks(r, w, SEC)); /* it has not proven anything */
    roster_ready(r, a, false);
    assert_true(roster_asks(r, w, SEC + ROSTER_ASKS_NS - 1)); /* it will ask at once */
    assert_false(roster_asks(r, w, SEC + ROSTER_ASKS_NS));
    roster_asked(r, a, 20 * SEC);
    assert_true(roster_asks(r, w, 20 * SEC + ROSTER_ASKS_NS - 1));
    assert_false(roster_asks(r, w, 20 * SEC + ROSTER_ASKS_NS));
    roster_shift(r, SEC);
    assert_true(roster_asks(r, w, 20 * SEC + ROSTER_ASKS_NS));
    roster_wait(r, a, 0, 1);
    roster_hold(r, a, 0, 7, 1, 0);
    assert_true(roster_asks(r, w, 1000 * SEC));
    roster_drain(r, a);
    assert_false(roster_asks(r, w, SEC));
    roster_asked(r, a + 1, SEC); /* nobody */
}

static void test_what_a_worker_says_of_itself_is_kept_and_cut(void **state)
{
    (void)state;
    char name[101];
    uint64_t id;
    uint64_t replaced;
    memset(name, 'n', 100);
    name[100] = '\0';
    const struct roster_hello hello = {
        .name = name, .host = name, .core_type = name, .epoch = 5, .slots = LIMIT_SLOTS};
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, NULL), OK);
    const struct worker *w = roster_get(r, id);
    assert_int_equal(strlen(w->name), ROSTER_NAME_BYTES - 1);
    assert_int_equal(strlen(w->host), ROSTER_HOST_BYTES - 1);
    assert_int_equal(strlen(w->core_type), ROSTER_CORE_BYTES - 1);
    assert_true(w->epoch == 5 && w->n_slots == LIMIT_SLOTS && w->busy == 0);
    uint64_t again;
    assert_int_equal(roster_hello(r, &hello, SEC, &again, &replaced, NULL), OK);
    assert_true(again == id && replaced == 0); /* it is known by what is left of its name */
    const struct roster_hello newer = {.name = name, .epoch = 6, .slots = 1};
    assert_int_equal(roster_hello(r, &newer, SEC, &again, &replaced, NULL), OK);
    assert_true(again != id && replaced == id);
    assert_string_equal(roster_get(r, again)->host, "");
    assert_string_equal(roster_get(r, again)->core_type, "");
}

static void test_a_hello_that_cannot_be_is_refused_and_enters_nobody(void **state)
{
    (void)state;
    struct errbuf e;
    uint64_t id;
    uint64_t replaced = 9;
    struct roster_hello hello = {.name = NULL, .epoch = 1, .slots = 1};
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "name"));
    assert_int_equal(replaced, 0);
    hello.name = "";
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_RANGE);
    hello.name = "w";
    hello.slots = LIMIT_SLOTS + 1;
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_RANGE);
    hello.slots = 0;
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_RANGE);
    hello.slots = 2;
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_NOMEM);
        mem_fail_after(0);
    }
    assert_int_equal(roster_count(r), 0);
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), OK);
    hello.epoch = 0;
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_STALE);
    hello.epoch = 2;
    mem_fail_after(1);
    assert_int_equal(roster_hello(r, &hello, SEC, &id, &replaced, &e), ERR_NOMEM);
    mem_fail_after(0);
    assert_int_equal(replaced, 0); /* the older one stays */
    assert_int_equal(roster_count(r), 1);
}

/* The same life again: a sign of it. */
static void test_a_hello_that_is_said_again_counts_as_a_word(void **state)
{
    (void)state;
    uint64_t a = entered("a", 1, SEC);
    assert_int_equal(entered("a", 1, 3 * SEC), a);
    assert_int_equal(roster_silence_ns(r, roster_get(r, a), 3 * SEC), 0);
    assert_int_equal(roster_get(r, a)->joined_ns, SEC);
}

static void test_when_records_are_full_the_oldest_name_is_forgotten(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i <= ROSTER_RECORDS; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        uint64_t id = entered(name, 1, SEC);
        assert_false(roster_strike(r, id, false, SEC));
        assert_int_equal(roster_get(r, id)->strikes, 1);
        roster_remove(r, id);
    }
    assert_int_equal(roster_get(r, entered("n0", 2, SEC))->strikes, 0);
    assert_int_equal(roster_get(r, entered("n1", 2, SEC))->strikes, 1);
    (void)snprintf(name, sizeof name, "n%d", ROSTER_RECORDS);
    assert_int_equal(roster_get(r, entered(name, 2, SEC))->strikes, 1);
    uint64_t more = entered("more", 1, SEC);
    assert_false(roster_strike(r, more, false, SEC));
    assert_int_equal(roster_get(r, entered("n1", 3, SEC))->strikes, 0); /* the next one */
    assert_int_equal(roster_get(r, entered("n2", 3, SEC))->strikes, 1);
    assert_false(roster_strike(r, 12345, true, SEC)); /* nobody */
}

static void test_a_strike_counts_in_a_quarantine_but_makes_it_no_longer(void **state)
{
    (void)state;
    uint64_t a = ready("a");
    assert_true(roster_strike(r, a, true, SEC));
    assert_int_equal(roster_get(r, a)->quarantine_until_ns, SEC + ROSTER_QUARANTINE_NS);
    assert_false(roster_strike(r, a, true, 20 * SEC));
    assert_int_equal(roster_get(r, a)->strikes, 1);
    assert_int_equal(roster_get(r, a)->quarantine_until_ns, SEC + ROSTER_QUARANTINE_NS);
}

static void test_the_rate_of_a_worker_is_since_it_joined_then_of_the_last_half_minute(void **state)
{
    (void)state;
    uint64_t a = entered("a", 1, 100 * SEC);
    const struct worker *w = roster_get(r, a);
    assert_true(w->tokens_per_s == 0.0);
    roster_done(r, a, 2, 50, 100 * SEC);
    assert_true(w->tokens_per_s == 0.0); /* no time has passed */
    roster_done(r, a, 3, 50, 102 * SEC);
    assert_true(w->tokens_per_s == 50.0);
    assert_true(w->units_done == 5 && w->tokens_done == 100);
    roster_done(r, a, 1, 500, 130 * SEC); /* 600 in 30 s: not yet halved */
    assert_true(w->tokens_per_s == 20.0);
    roster_done(r, a, 1, 0, 132 * SEC); /* 600 in 32 s: from here on 300 in 16 s */
    assert_true(w->tokens_per_s == 18.75);
    roster_done(r, a, 1, 100, 136 * SEC);
    assert_true(w->tokens_per_s == 20.0);     /* 400 in 20 s */
    roster_done(r, a + 1, 1, 100, 136 * SEC); /* nobody */
}

static void test_what_a_worker_computes_counts_while_it_may_work(void **state)
{
    (void)state;
    const struct utilisation none = {0};
    uint64_t a = entered("a", 1, SEC);
    const struct worker *w = roster_get(r, a);
    roster_computed(r, a, 500, SEC);
    roster_computed(r, a, 900, 2 * SEC);
    assert_memory_equal(&w->utilisation, &none, sizeof none);
    roster_ready(r, a, false);
    roster_computed(r, a, 1000, 3 * SEC);
    roster_computed(r, a, 1500, 4 * SEC);
    assert_memory_not_equal(&w->utilisation, &none, sizeof none);
    struct utilisation before = w->utilisation;
    roster_drain(r, a);
    roster_computed(r, a, 2000, 5 * SEC);
    assert_memory_not_equal(&w->utilisation, &before, sizeof before);
    before = w->utilisation;
    assert_true(roster_strike(r, a, true, 5 * SEC));
    roster_computed(r, a, 2500, 6 * SEC);
    assert_memory_equal(&w->utilisation, &before, sizeof before);
    roster_computed(r, a + 1, 2500, 6 * SEC);
}

static void test_states_have_their_names(void **state)
{
    (void)state;
    assert_string_equal(worker_state_name(WORKER_PROBING), "probing");
    assert_string_equal(worker_state_name(WORKER_READY), "ready");
    assert_string_equal(worker_state_name(WORKER_DRAINING), "draining");
    assert_string_equal(worker_state_name(WORKER_QUARANTINED), "quarantined");
    assert_string_equal(worker_state_name((enum worker_state)WORKER_STATES), "unknown");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_waiting_slots_stand_in_their_order_wherever_one_leaves),
        TEST(test_a_held_slot_knows_its_job),
        TEST(test_the_longest_silent_is_known_whoever_speaks_or_leaves),
        TEST(test_those_entered_can_be_gone_through_whoever_left),
        TEST(test_the_next_deadline_is_the_earliest_of_silence_and_quarantine),
        TEST(test_silence_is_since_the_last_word_less_our_own_stalls),
        TEST(test_a_job_waits_for_who_works_or_asked_lately),
        TEST(test_what_a_worker_says_of_itself_is_kept_and_cut),
        TEST(test_a_hello_that_cannot_be_is_refused_and_enters_nobody),
        TEST(test_a_hello_that_is_said_again_counts_as_a_word),
        TEST(test_when_records_are_full_the_oldest_name_is_forgotten),
        TEST(test_a_strike_counts_in_a_quarantine_but_makes_it_no_longer),
        TEST(test_the_rate_of_a_worker_is_since_it_joined_then_of_the_last_half_minute),
        TEST(test_what_a_worker_computes_counts_while_it_may_work),
        TEST(test_states_have_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
