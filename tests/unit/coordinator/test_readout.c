/* test_readout.c - picks of each readout, ties, intervals; the bag of words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "coordinator/bag_of_words.h"
#include "coordinator/readout.h"

static void test_each_readout_picks_by_its_own_formula(void **state)
{
    (void)state;
    const double a[] = {-10.0, -4.0, -6.0};
    const double b[] = {-14.0, -3.0, -7.0};
    const double none[] = {-13.0, -4.5, -9.5};
    const double letters[] = {-1.0, -1.0, -0.5};
    const uint32_t tokens[] = {10, 2, 2};
    const struct readout_scores s = {
        .n_options = 3, .logp = {a, b, none}, .tokens = tokens, .letter = {letters, letters}};
    assert_int_equal(readout_pick(READOUT_LIKELIHOOD, &s, READOUT_A), 0);
    assert_int_equal(readout_pick(READOUT_LIFT, &s, READOUT_A), 2);
    assert_int_equal(readout_pick(READOUT_CONTRAST, &s, READOUT_A), 0);
    assert_int_equal(readout_pick(READOUT_CONTRAST, &s, READOUT_B), 1);
    assert_int_equal(readout_pick(READOUT_LETTER, &s, READOUT_B), 2);
}

static void test_ties_go_to_the_first_option(void **state)
{
    (void)state;
    const double same[] = {-2.0, -2.0};
    const uint32_t tokens[] = {2, 2};
    const struct readout_scores s = {
        .n_options = 2, .logp = {same, same, same}, .tokens = tokens, .letter = {same, same}};
    for (int r = 0; r < READOUTS; r++) {
        assert_int_equal(readout_pick((enum readout)r, &s, READOUT_A), 0);
    }
}

static void test_interval_holds_the_share_and_is_the_same_every_time(void **state)
{
    (void)state;
    struct readout_question q[80];
    for (uint32_t i = 0; i < 80; i++) {
        q[i] = (struct readout_question){
            .scenario = i / 2, .axis = i / 2 % 2, .side = i % 2, .correct = i % 4 != 0};
    }
    struct readout_share one;
    struct readout_share two;
    assert_int_equal(readout_share(q, 80, -1, 0, &one), OK);
    assert_int_equal(readout_share(q, 80, -1, 0, &two), OK);
    assert_int_equal(one.n, 80);
    assert_true(fabs(one.share - 0.75) < 1e-12);
    assert_true(one.lo <= 0.75 && one.hi >= 0.75 && one.lo > 0.6 && one.hi < 0.9);
    assert_memory_equal(&one, &two, sizeof one);
    assert_int_equal(readout_share(q, 80, 0, 0, &one), OK);
    assert_int_equal(one.n, 20);
    assert_int_equal(readout_share(q, 80, 5, 0, &one), OK);
    assert_int_equal(one.n, 0);
}

static void test_paired_difference_of_equal_answers_is_zero_without_width(void **state)
{
    (void)state;
    struct readout_question q[10];
    for (uint32_t i = 0; i < 10; i++) {
        q[i] = (struct readout_question){.scenario = i, .correct = i % 3 == 0};
    }
    struct readout_share d;
    assert_int_equal(readout_paired(q, q, 10, &d), OK);
    assert_true(d.share == 0.0 && d.lo == 0.0 && d.hi == 0.0);
}

static void test_bag_of_words_learns_words_and_pairs_per_axis(void **state)
{
    (void)state;
    struct bag_of_words *bag = NULL;
    double score = 0.0;
    assert_int_equal(bag_new(2, &bag), OK);
    assert_int_equal(bag_fit(bag, 0, 0, "Jump NOW, jump", 14), OK);
    assert_int_equal(bag_fit(bag, 0, 1, "wait and see", 12), OK);
    assert_int_equal(bag_score(bag, 0, "jump", 4, &score), OK);
    assert_true(score > 0.0);
    assert_int_equal(bag_score(bag, 0, "wait and", 8, &score), OK);
    assert_true(score < 0.0);
    assert_int_equal(bag_score(bag, 0, "unseen", 6, &score), OK);
    assert_true(score == 0.0);
    assert_int_equal(bag_score(bag, 1, "jump", 4, &score), OK);
    assert_true(score == 0.0);
    /* jump 2, now 1, (jump now) 1, (now jump) 1 against wait, and, see, two pairs; V = 9. */
    assert_int_equal(bag_score(bag, 0, "jump", 4, &score), OK);
    assert_true(fabs(score - (log(2.1 / 5.9) - log(0.1 / 5.9))) < 1e-12);
    bag_free(&bag);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_readout_picks_by_its_own_formula),
        cmocka_unit_test(test_ties_go_to_the_first_option),
        cmocka_unit_test(test_interval_holds_the_share_and_is_the_same_every_time),
        cmocka_unit_test(test_paired_difference_of_equal_answers_is_zero_without_width),
        cmocka_unit_test(test_bag_of_words_learns_words_and_pairs_per_axis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
