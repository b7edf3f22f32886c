/* test_readout.c - picks of each readout, ties; the bag of words. */
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

static void test_the_margin_is_the_mean_over_the_values_options_in_nats_a_token(void **state)
{
    (void)state;
    const double a[] = {-2.0, -9.0, -4.0};
    const double b[] = {-9.0, -3.0, -8.0};
    const uint32_t tokens[] = {2, 2, 4};
    const struct readout_scores s = {.n_options = 3, .logp = {a, b}, .tokens = tokens};
    const bool first_and_last[] = {true, false, true};
    const bool second[] = {false, true, false};
    /* 7 / 2 and 4 / 4 */
    assert_true(fabs(readout_margin(&s, READOUT_A, first_and_last) - 2.25) < 1e-12);
    assert_true(fabs(readout_margin(&s, READOUT_B, first_and_last) + 2.25) < 1e-12);
    assert_true(fabs(readout_margin(&s, READOUT_B, second) - 3.0) < 1e-12);
}

static void test_a_mix_weighs_both_sides_by_token(void **state)
{
    (void)state;
    const double a[] = {-2.0, -9.0, -4.0};
    const double b[] = {-9.0, -3.0, -8.0};
    const uint32_t tokens[] = {2, 2, 4};
    const struct readout_scores s = {.n_options = 3, .logp = {a, b}, .tokens = tokens};
    /* lambda 1: -1, -4.5, -1; 0: -4.5, -1.5, -2; .5: -2.75, -3, -1.5; 2: 2.5, -7.5, 0 */
    assert_int_equal(readout_mix_pick(&s, 1.0), 0);
    assert_int_equal(readout_mix_pick(&s, 0.0), 1);
    assert_int_equal(readout_mix_pick(&s, 0.5), 2);
    assert_int_equal(readout_mix_pick(&s, 2.0), 0);
    assert_int_equal(readout_mix_pick(&s, -2.0), 1); /* -12, 4.5, -4 */
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
        cmocka_unit_test(test_the_margin_is_the_mean_over_the_values_options_in_nats_a_token),
        cmocka_unit_test(test_a_mix_weighs_both_sides_by_token),
        cmocka_unit_test(test_ties_go_to_the_first_option),
        cmocka_unit_test(test_bag_of_words_learns_words_and_pairs_per_axis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
