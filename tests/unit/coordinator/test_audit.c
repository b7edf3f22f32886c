/* test_audit.c - which units are chosen, what that costs, since when a worker is not proven. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "common/base/limits.h"
#include "coordinator/audit.h"

enum { UNITS = 400000 };

static const uint8_t secrets[2][AUDIT_SECRET_BYTES] = {{1, 2, 3}, {4, 5, 6}};

static struct audit *made(double rate, int secret)
{
    struct audit *a = NULL;
    assert_int_equal(audit_new(rate, secrets[secret], &a), OK);
    return a;
}

static void test_share_of_units_chosen_is_the_rate(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    uint32_t n = 0;
    for (uint64_t u = 0; u < UNITS; u++) {
        n += audit_samples(a, u / 32 << 32 | u % 32);
    }
    assert_in_range(n, UNITS / 100 * 95 / 100, UNITS / 100 * 105 / 100);
    audit_free(&a);
}

static void test_none_is_chosen_at_0_and_all_are_at_1(void **state)
{
    (void)state;
    struct audit *none = made(0.0, 0);
    struct audit *all = made(1.0, 0);
    assert_false(audit_on(none));
    assert_true(audit_on(all));
    for (uint64_t u = 0; u < 1000; u++) {
        assert_false(audit_samples(none, u));
        assert_true(audit_samples(all, u));
    }
    audit_free(&none);
    audit_free(&all);
}

static void test_choice_follows_the_secret_and_nothing_else(void **state)
{
    (void)state;
    struct audit *a = made(0.5, 0);
    struct audit *same = made(0.5, 0);
    struct audit *other = made(0.5, 1);
    uint32_t differ = 0;
    (void)audit_joined(same, 1 << 16 | 7, "somebody");
    audit_counted(same, 1 << 16 | 7, 1);
    for (uint64_t u = 0; u < 1000; u++) {
        assert_true(audit_samples(a, u) == audit_samples(same, u));
        differ += audit_samples(a, u) != audit_samples(other, u);
    }
    assert_in_range(differ, 400, 600);
    audit_free(&a);
    audit_free(&same);
    audit_free(&other);
}

/* Lists of n out of many units: units computed once more, and lists repeated with all of it. */
static void audit_lists(const struct audit *a, uint32_t n, uint64_t *repeated, uint64_t *whole)
{
    uint64_t ids[LIMIT_JOB_UNITS];
    *repeated = *whole = 0;
    for (uint64_t u = 0; u + n <= UNITS; u += n) {
        uint32_t left = n;
        for (uint32_t i = 0; i < n; i++) {
            ids[i] = u + i;
        }
        for (uint32_t at; (at = audit_alone(a, ids, left)) < left; left--) {
            assert_true(audit_samples(a, ids[at]));
            ++*repeated;
            ids[at] = ids[left - 1];
        }
        bool chosen = false;
        for (uint32_t i = 0; i < left; i++) {
            chosen = chosen || audit_samples(a, ids[i]);
        }
        *repeated += chosen ? left : 0;
        *whole += chosen && left == n;
    }
}

static void test_lists_of_any_length_cost_at_most_half_more_than_the_rate(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 1);
    for (uint32_t n = 1; n <= LIMIT_JOB_UNITS; n *= 2) {
        uint64_t repeated;
        uint64_t whole;
        audit_lists(a, n, &repeated, &whole);
        print_message("lists of %u: %.3f %% repeated\n", n, 100.0 * (double)repeated / UNITS);
        assert_in_range(repeated, UNITS / 100 * 90 / 100, UNITS / 100 * 165 / 100);
    }
    audit_free(&a);
}

static void test_long_list_is_no_shelter(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 1);
    for (uint32_t n = 2; n <= 16; n *= 2) {
        uint64_t repeated;
        uint64_t whole;
        audit_lists(a, n, &repeated, &whole);
        assert_true(whole >= UNITS / n / 100 * 35 / 100); /* about half a percent of them */
    }
    audit_free(&a);
}

enum { NOBODY = 9 };

static uint64_t id_of(uint64_t serial, uint64_t index)
{
    return serial << 16 | index;
}

static void test_steps_since_the_last_good_audit_are_suspect(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    struct audit_suspects s;
    const uint64_t w = id_of(1, 3);
    assert_int_equal(audit_joined(a, w, "w"), 0);
    assert_false(audit_suspects(a, w, 5, &s));
    audit_counted(a, w, 2);
    audit_counted(a, w, 4);
    audit_counted(a, w, 5);
    assert_false(audit_suspects(a, w, 2, &s)); /* the open step starts again */
    assert_true(audit_suspects(a, w, 5, &s));
    assert_true(s.from == 2 && s.to == 4 && s.good == AUDIT_NEVER);
    audit_passed(a, w, 5);
    assert_false(audit_suspects(a, w, 9, &s));
    audit_counted(a, w, 5); /* behind the audit, in the same step */
    audit_counted(a, w, 7);
    assert_true(audit_suspects(a, w, 9, &s));
    assert_true(s.from == 5 && s.to == 8 && s.good == 5);
    assert_false(audit_suspects(a, id_of(1, NOBODY), 9, &s));
    audit_free(&a);
}

static void test_worker_is_known_by_its_name_over_sessions(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    struct audit_suspects s;
    assert_int_equal(audit_joined(a, id_of(1, 0), "w"), 0);
    assert_int_equal(audit_joined(a, id_of(2, 1), "v"), 0);
    audit_counted(a, id_of(1, 0), 3);
    audit_lost(a, id_of(1, 0));
    assert_int_equal(audit_joined(a, id_of(3, 2), "w"), id_of(1, 0));
    assert_true(audit_suspects(a, id_of(3, 2), 8, &s) && s.from == 3);
    assert_true(audit_distrusts(a, id_of(3, 2)));
    assert_false(audit_distrusts(a, id_of(2, 1)));
    assert_false(audit_suspects(a, id_of(1, 0), 8, &s)); /* that session is over */
    audit_free(&a);
}

static void test_what_is_known_of_workers_survives_a_restart(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    struct audit *b = made(0.01, 1);
    struct str text = {0};
    struct str again = {0};
    struct audit_suspects s;
    (void)audit_joined(a, id_of(1, 0), "w");
    (void)audit_joined(a, id_of(2, 1), "v");
    (void)audit_joined(a, id_of(3, 2), "new");
    audit_passed(a, id_of(1, 0), 4);
    audit_counted(a, id_of(1, 0), 6);
    audit_lost(a, id_of(2, 1));
    audit_dump(a, &text);
    assert_int_equal(audit_load(b, text.data), OK);
    audit_dump(b, &again);
    assert_string_equal(again.data, text.data);
    assert_int_equal(audit_joined(b, id_of(1, 5), "w"), 0);
    assert_int_equal(audit_joined(b, id_of(2, 6), "v"), 0);
    assert_true(audit_suspects(b, id_of(1, 5), 20, &s) && s.from == 6 && s.good == 4);
    assert_true(audit_distrusts(b, id_of(2, 6)));
    audit_go_back(b, 6);
    assert_false(audit_suspects(b, id_of(1, 5), 20, &s));
    assert_int_equal(audit_load(b, "w 1 2"), ERR_PARSE);
    assert_int_equal(audit_load(b, "w 1 2 3\n"), ERR_PARSE);
    str_free(&text);
    str_free(&again);
    audit_free(&a);
    audit_free(&b);
}

static void test_every_thing_known_of_a_worker_is_worth_a_line(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    struct str text = {0};
    (void)audit_joined(a, id_of(1, 0), "idle");
    (void)audit_joined(a, id_of(2, 1), "counted");
    (void)audit_joined(a, id_of(3, 2), "passed");
    (void)audit_joined(a, id_of(4, 3), "lost");
    audit_counted(a, id_of(2, 1), 3);
    audit_counted(a, id_of(2, 1), 2);
    audit_passed(a, id_of(3, 2), 4);
    audit_lost(a, id_of(4, 3));
    audit_counted(a, id_of(9, NOBODY), 1);
    audit_passed(a, id_of(9, NOBODY), 1);
    audit_lost(a, id_of(9, NOBODY));
    audit_dump(a, &text);
    assert_string_equal(text.data, "counted 2 18446744073709551615 0\n"
                                   "passed 18446744073709551615 4 0\n"
                                   "lost 18446744073709551615 18446744073709551615 1\n");
    assert_true(audit_distrusts(a, id_of(4, 3)));
    struct audit_suspects s;
    assert_false(audit_suspects(a, id_of(2, 1), 2, &s));
    assert_true(audit_suspects(a, id_of(2, 1), 3, &s) && s.from == 2 && s.to == 2);
    str_free(&text);
    audit_free(&a);
    assert_null(a);
}

static void test_nobody_is_distrusted_where_there_are_no_audits(void **state)
{
    (void)state;
    struct audit *a = made(0.0, 0);
    (void)audit_joined(a, id_of(1, 0), "w");
    audit_lost(a, id_of(1, 0));
    assert_false(audit_distrusts(a, id_of(1, 0)));
    assert_false(audit_distrusts(a, 0xFFFF)); /* an index that no worker has */
    audit_free(&a);
}

static void test_a_book_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"w 1 2 2\n",  "w 1 2 -1\n", "w 1 2 0",   "w 1 2\n",
                                      "w 1 2 0 \n", "\n",         "w x 2 0\n", "w 1 2 0x\n"};
    struct audit *a = made(0.01, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(audit_load(a, bad[i]), ERR_PARSE);
    }
    assert_int_equal(audit_load(a, ""), OK);
    assert_int_equal(audit_load(a, "w 1 2 0\nv 3 4 1\n"), OK);
    (void)audit_joined(a, id_of(1, 0), "v");
    assert_true(audit_distrusts(a, id_of(1, 0)));
    audit_free(&a);
}

static void test_going_back_forgets_what_comes_from_that_step_on(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    struct str text = {0};
    assert_int_equal(audit_load(a, "a 5 5 0\nb 6 6 0\nc 7 7 1\n"), OK);
    audit_go_back(a, 6);
    audit_dump(a, &text);
    assert_string_equal(text.data, "a 5 5 0\nc 18446744073709551615 18446744073709551615 1\n");
    str_free(&text);
    audit_free(&a);
}

static void test_when_records_are_full_the_oldest_names_go(void **state)
{
    (void)state;
    struct audit *a = made(0.01, 0);
    char name[16];
    for (uint64_t i = 0; i < AUDIT_RECORDS + 2; i++) {
        (void)snprintf(name, sizeof name, "n%u", (unsigned)i);
        assert_int_equal(audit_joined(a, id_of(i + 1, 0), name), 0);
        audit_lost(a, id_of(i + 1, 0));
    }
    assert_int_equal(audit_joined(a, id_of(9000, 1), "n2"), id_of(3, 0));
    assert_true(audit_distrusts(a, id_of(9000, 1)));
    assert_int_equal(audit_joined(a, id_of(9001, 2), "n0"), 0); /* takes n2's place */
    assert_false(audit_distrusts(a, id_of(9001, 2)));
    assert_false(audit_distrusts(a, id_of(9000, 1)));
    assert_int_equal(audit_joined(a, id_of(9002, 3), "n3"), id_of(4, 0));
    audit_free(&a);
}

static void test_only_a_list_that_could_be_shorter_is_cut(void **state)
{
    (void)state;
    struct audit *some = made(0.999, 0);
    struct audit *all = made(1.0, 0);
    uint64_t ids[8];
    uint32_t alone = 0;
    for (uint64_t u = 0; u < 800; u += 8) {
        for (uint32_t i = 0; i < 8; i++) {
            ids[i] = u + i;
        }
        assert_int_equal(audit_alone(some, ids, 1), 1);
        assert_int_equal(audit_alone(some, ids, 0), 0);
        assert_int_equal(audit_alone(all, ids, 8), 8);
        alone += audit_alone(some, ids, 8) < 8;
    }
    assert_true(alone > 90);
    audit_free(&some);
    audit_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_of_units_chosen_is_the_rate),
        cmocka_unit_test(test_none_is_chosen_at_0_and_all_are_at_1),
        cmocka_unit_test(test_choice_follows_the_secret_and_nothing_else),
        cmocka_unit_test(test_lists_of_any_length_cost_at_most_half_more_than_the_rate),
        cmocka_unit_test(test_long_list_is_no_shelter),
        cmocka_unit_test(test_steps_since_the_last_good_audit_are_suspect),
        cmocka_unit_test(test_worker_is_known_by_its_name_over_sessions),
        cmocka_unit_test(test_what_is_known_of_workers_survives_a_restart),
        cmocka_unit_test(test_every_thing_known_of_a_worker_is_worth_a_line),
        cmocka_unit_test(test_nobody_is_distrusted_where_there_are_no_audits),
        cmocka_unit_test(test_a_book_that_cannot_be_is_refused),
        cmocka_unit_test(test_going_back_forgets_what_comes_from_that_step_on),
        cmocka_unit_test(test_when_records_are_full_the_oldest_names_go),
        cmocka_unit_test(test_only_a_list_that_could_be_shorter_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
