/* test_users.c - simulated users: they pick what they hold, in an order of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/users.h"

enum { SCENARIOS = 8 };

static struct data_option both[3] = {{.side = 0}, {.side = 1}, {.side = 0}};
static struct data_option alike[2] = {{.side = 1}, {.side = 1}};

/* Axis 0: scenarios 0, 2, 4; axis 1: 1, 3, 5; number 6 has one pole only, 7 no axis. */
static struct dataset make(struct data_scenario s[SCENARIOS])
{
    for (uint32_t i = 0; i < SCENARIOS; i++) {
        s[i] = (struct data_scenario){.axis = i % 2, .n_options = 3, .options = both};
    }
    s[6] = (struct data_scenario){.axis = 0, .n_options = 2, .options = alike};
    s[7].axis = DATASET_NO_AXIS;
    return (struct dataset){.n_scenarios = SCENARIOS, .scenarios = s};
}

static void test_only_scenarios_of_the_axis_with_both_poles_are_asked(void **state)
{
    (void)state;
    struct data_scenario s[SCENARIOS];
    struct dataset data = make(s);
    struct users *u = NULL;
    uint32_t n = 0;
    assert_int_equal(users_new(&data, 3, 1, &u), OK);
    const uint32_t *list = users_scenarios(u, 0, &n);
    assert_int_equal(n, 3);
    assert_true(list[0] == 0 && list[1] == 2 && list[2] == 4);
    (void)users_scenarios(u, 2, &n);
    assert_int_equal(n, 0);
    users_free(&u);
}

static void test_no_question_comes_twice_before_all_have_come(void **state)
{
    (void)state;
    struct data_scenario s[SCENARIOS];
    struct dataset data = make(s);
    struct users *u = NULL;
    assert_int_equal(users_new(&data, 2, 1, &u), OK);
    for (uint32_t number = 0; number < 20; number++) {
        const struct user who = {.axis = 1, .number = number, .share = 1.0, .turn = UINT32_MAX};
        struct user_choice c[6];
        assert_int_equal(users_choose(u, &who, 6, c), OK);
        for (uint32_t round = 0; round < 2; round++) {
            uint32_t seen = 0;
            for (uint32_t i = 0; i < 3; i++) {
                seen |= 1u << c[round * 3 + i].scenario;
            }
            assert_int_equal(seen, 1u << 1 | 1u << 3 | 1u << 5);
        }
    }
    users_free(&u);
}

static void test_a_user_picks_the_pole_held_evenly_among_its_options(void **state)
{
    (void)state;
    struct data_scenario s[SCENARIOS];
    struct dataset data = make(s);
    struct users *u = NULL;
    uint32_t picked[3] = {0};
    assert_int_equal(users_new(&data, 2, 7, &u), OK);
    for (uint32_t number = 0; number < 1000; number++) {
        const struct user who = {.axis = 0, .number = number, .share = 1.0, .turn = UINT32_MAX};
        struct user_choice c;
        assert_int_equal(users_choose(u, &who, 1, &c), OK);
        assert_int_equal(both[c.option].side, 0);
        picked[c.option]++;
    }
    assert_int_equal(picked[1], 0);
    assert_in_range(picked[0], 440, 560);
    users_free(&u);
}

static void test_a_changing_user_turns_once_and_a_mixed_one_now_and_then(void **state)
{
    (void)state;
    struct data_scenario s[SCENARIOS];
    struct dataset data = make(s);
    struct users *u = NULL;
    struct user_choice c[1000];
    assert_int_equal(users_new(&data, 2, 3, &u), OK);
    const struct user changing = {.axis = 0, .side = 1, .share = 1.0, .turn = 10};
    assert_int_equal(users_choose(u, &changing, 20, c), OK);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(c[i].side, i < 10 ? 1 : 0);
        assert_int_equal(both[c[i].option].side, c[i].side);
    }
    uint32_t first = 0;
    const struct user mixed = {.axis = 0, .side = 0, .share = 0.75, .turn = UINT32_MAX};
    assert_int_equal(users_choose(u, &mixed, 1000, c), OK);
    for (uint32_t i = 0; i < 1000; i++) {
        first += c[i].side == 0;
    }
    assert_in_range(first, 700, 800);
    users_free(&u);
}

static void test_the_same_seed_gives_the_same_users_and_longer_histories_go_on(void **state)
{
    (void)state;
    struct data_scenario s[SCENARIOS];
    struct dataset data = make(s);
    struct users *u[3] = {NULL};
    struct user_choice c[3][6];
    const struct user who = {.axis = 0, .number = 4, .share = 1.0, .turn = UINT32_MAX};
    memset(c, 0, sizeof c);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(users_new(&data, 2, i / 2, &u[i]), OK);
        assert_int_equal(users_choose(u[i], &who, i == 1 ? 4 : 6, c[i]), OK);
    }
    assert_memory_equal(c[0], c[1], 4 * sizeof c[0][0]);
    assert_memory_not_equal(c[0], c[2], sizeof c[0]);
    for (uint32_t i = 0; i < 3; i++) {
        users_free(&u[i]);
    }
}

static void test_no_memory_is_said_and_nothing_leaks(void **state)
{
    (void)state;
    struct data_scenario s[SCENARIOS];
    struct dataset data = make(s);
    struct users *u = NULL;
    for (unsigned long n = 1; n <= 3; n++) {
        mem_fail_after(n);
        assert_int_equal(users_new(&data, 2, 1, &u), ERR_NOMEM);
        assert_null(u);
    }
    mem_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_scenarios_of_the_axis_with_both_poles_are_asked),
        cmocka_unit_test(test_no_question_comes_twice_before_all_have_come),
        cmocka_unit_test(test_a_user_picks_the_pole_held_evenly_among_its_options),
        cmocka_unit_test(test_a_changing_user_turns_once_and_a_mixed_one_now_and_then),
        cmocka_unit_test(test_the_same_seed_gives_the_same_users_and_longer_histories_go_on),
        cmocka_unit_test(test_no_memory_is_said_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
