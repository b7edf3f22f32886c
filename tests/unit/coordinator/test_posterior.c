/* test_posterior.c - posteriors worked out by hand, information, change, temperature. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "coordinator/drift.h"
#include "coordinator/posterior.h"
#include "coordinator/temperature.h"

static void near(double is, double should, double bound)
{
    if (!(fabs(is - should) <= bound)) {
        print_error("%.17g is not %.17g\n", is, should);
    }
    assert_true(fabs(is - should) <= bound);
}

static struct posterior even(uint32_t n, double forget)
{
    struct posterior p;
    struct errbuf e;
    assert_int_equal(posterior_init(&p, n, NULL, forget, &e), OK);
    return p;
}

static void test_two_choices_give_the_posterior_worked_out_by_hand(void **state)
{
    (void)state;
    struct posterior p;
    struct errbuf e;
    double shares[3];
    const double prior[3] = {2.0, 1.0, 1.0};
    const double first[3] = {log(0.5), log(0.25), log(0.125)};
    const double second[3] = {log(0.1), log(0.8), log(0.4)};
    assert_int_equal(posterior_init(&p, 3, prior, 1.0, &e), OK);
    posterior_shares(&p, shares);
    near(shares[0], 0.5, 1e-15);
    posterior_take(&p, first);
    posterior_shares(&p, shares);
    near(shares[0], 8.0 / 11.0, 1e-14);
    posterior_take(&p, second);
    posterior_shares(&p, shares);
    /* 2 * 0.5 * 0.1 = 0.1, 0.25 * 0.8 = 0.2, 0.125 * 0.4 = 0.05 */
    near(shares[0], 2.0 / 7.0, 1e-14);
    near(shares[1], 4.0 / 7.0, 1e-14);
    near(shares[2], 1.0 / 7.0, 1e-14);
}

static void test_forgetting_takes_a_factor_off_every_earlier_choice(void **state)
{
    (void)state;
    struct posterior p = even(2, 0.5);
    double shares[2];
    const double a[2] = {log(0.9), log(0.1)};
    const double b[2] = {log(0.1), log(0.9)};
    posterior_take(&p, a);
    posterior_take(&p, b);
    posterior_shares(&p, shares);
    /* odds 9^0.5 against 9: 1 to 3 */
    near(shares[0], 0.25, 1e-14);
}

static void test_without_forgetting_the_order_of_choices_is_all_one(void **state)
{
    (void)state;
    uint64_t key = rng_key(11, 0, 0, 0);
    double log_p[12][5];
    double forward[5];
    double backward[5];
    struct posterior one = even(5, 1.0);
    struct posterior two = even(5, 1.0);
    for (uint32_t i = 0; i < 60; i++) {
        log_p[i / 5][i % 5] = -4.0 * (double)rng_unit(key, i);
    }
    for (uint32_t i = 0; i < 12; i++) {
        posterior_take(&one, log_p[i]);
        posterior_take(&two, log_p[11 - i]);
    }
    posterior_shares(&one, forward);
    posterior_shares(&two, backward);
    for (uint32_t v = 0; v < 5; v++) {
        near(forward[v], backward[v], 1e-12);
    }
}

static void test_scores_and_temperature_times_the_same_number_change_nothing(void **state)
{
    (void)state;
    const double scores[4] = {1.0, -2.0, 0.5, 700.0};
    const double larger[4] = {8.0, -16.0, 4.0, 5600.0};
    double one[4];
    double two[4];
    posterior_choice(scores, 4, 2.5, one);
    posterior_choice(larger, 4, 20.0, two);
    for (uint32_t o = 0; o < 4; o++) {
        near(one[o], two[o], 1e-12);
    }
    near(posterior_log_sum(one, 4), 0.0, 1e-12);
    /* e^1 / (e^1 + 1) of two options that lie 1 apart at temperature 1 */
    const double pair[2] = {3.0, 2.0};
    posterior_choice(pair, 2, 1.0, one);
    near(exp(one[0]), 0.7310585786300049, 1e-15);
}

static void test_a_value_ruled_out_stays_out_and_evidence_of_any_size_is_fine(void **state)
{
    (void)state;
    struct posterior p;
    struct errbuf e;
    double shares[3];
    const double prior[3] = {0.0, 1.0, 1.0};
    const double log_p[3] = {-1.0, -5000.0, -5001.0};
    assert_int_equal(posterior_init(&p, 3, prior, 1.0, &e), OK);
    posterior_take(&p, log_p);
    posterior_shares(&p, shares);
    assert_true(shares[0] == 0.0);
    near(shares[1], 0.7310585786300049, 1e-12);
}

static void test_wrong_priors_and_forgetting_factors_are_refused_by_number(void **state)
{
    (void)state;
    struct posterior p;
    struct errbuf e;
    const double negative[2] = {1.0, -0.5};
    const double none[2] = {0.0, 0.0};
    assert_int_equal(posterior_init(&p, 2, negative, 1.0, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "value 1 is -0.5"));
    assert_int_equal(posterior_init(&p, 2, none, 1.0, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "rules out every value"));
    assert_int_equal(posterior_init(&p, 2, NULL, 0.0, &e), ERR_RANGE);
    assert_int_equal(posterior_init(&p, 2, NULL, 1.5, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "1.5"));
    assert_int_equal(posterior_init(&p, 2, NULL, (double)NAN, &e), ERR_RANGE);
    assert_int_equal(posterior_init(&p, 0, NULL, 1.0, &e), ERR_RANGE);
    assert_int_equal(posterior_init(&p, POSTERIOR_VALUES + 1, NULL, 1.0, &e), ERR_RANGE);
}

static void test_entropy_and_information_of_known_cases(void **state)
{
    (void)state;
    const double half[2] = {0.5, 0.5};
    const double sure[2] = {1.0, 0.0};
    near(posterior_entropy(half, 2), log(2.0), 1e-15);
    assert_true(posterior_entropy(sure, 2) == 0.0);
    /* An answer that tells everything, one that tells nothing, and a channel with 10 % errors:
     * log 2 - H(0.1) = 0.368064... nats. */
    const double all[4] = {0.0, -INFINITY, -INFINITY, 0.0};
    const double nothing[4] = {log(0.3), log(0.7), log(0.3), log(0.7)};
    const double noisy[4] = {log(0.9), log(0.1), log(0.1), log(0.9)};
    near(posterior_information(half, 2, all, 2), log(2.0), 1e-15);
    near(posterior_information(half, 2, nothing, 2), 0.0, 1e-15);
    near(posterior_information(half, 2, noisy, 2), log(2.0) + 0.9 * log(0.9) + 0.1 * log(0.1),
         1e-14);
    assert_true(posterior_information(sure, 2, noisy, 2) == 0.0);
}

/* Expected information is what the entropy falls by, averaged over the answers. */
static void test_information_is_the_expected_fall_of_the_entropy(void **state)
{
    (void)state;
    enum { N = 6, OPTIONS = 4 };
    uint64_t key = rng_key(5, 0, 0, 0);
    double log_p[N * OPTIONS];
    double shares[N];
    double after = 0.0;
    for (uint32_t v = 0; v < N; v++) {
        double scores[OPTIONS];
        shares[v] = (double)(v + 1) / 21.0;
        for (uint32_t o = 0; o < OPTIONS; o++) {
            scores[o] = 3.0 * (double)rng_unit(key, v * OPTIONS + o);
        }
        posterior_choice(scores, OPTIONS, 0.7, log_p + (size_t)v * OPTIONS);
    }
    for (uint32_t o = 0; o < OPTIONS; o++) {
        struct posterior p;
        struct errbuf e;
        double column[N];
        double then[N];
        double chance = 0.0;
        assert_int_equal(posterior_init(&p, N, shares, 1.0, &e), OK);
        for (uint32_t v = 0; v < N; v++) {
            column[v] = log_p[v * OPTIONS + o];
            chance += shares[v] * exp(column[v]);
        }
        posterior_take(&p, column);
        posterior_shares(&p, then);
        after += chance * posterior_entropy(then, N);
    }
    near(posterior_information(shares, N, log_p, OPTIONS), posterior_entropy(shares, N) - after,
         1e-12);
}

/* Users drawn from the model itself: of those given a posterior of about p, a share of p is so. */
static void test_posteriors_of_users_drawn_from_the_model_are_calibrated(void **state)
{
    (void)state;
    enum { USERS = 20000, CHOICES = 3, BINS = 10 };
    double sum[BINS] = {0};
    uint32_t n[BINS] = {0};
    uint32_t right[BINS] = {0};
    for (uint32_t u = 0; u < USERS; u++) {
        uint64_t key = rng_key(2, u, 0, 0);
        struct posterior p = even(2, 1.0);
        double shares[2];
        uint32_t value = u % 2;
        for (uint32_t i = 0; i < CHOICES; i++) {
            double d = 2.0 * (double)rng_unit(key, 10 + i) - 1.0;
            const double scores[2][2] = {{d, -d}, {-d, d}};
            double log_p[2][2];
            posterior_choice(scores[0], 2, 0.8, log_p[0]);
            posterior_choice(scores[1], 2, 0.8, log_p[1]);
            uint32_t o = (double)rng_unit(key, i) < exp(log_p[value][0]) ? 0 : 1;
            const double column[2] = {log_p[0][o], log_p[1][o]};
            posterior_take(&p, column);
        }
        posterior_shares(&p, shares);
        uint32_t bin = (uint32_t)(shares[0] * BINS);
        bin = bin < BINS ? bin : BINS - 1;
        n[bin]++;
        sum[bin] += shares[0];
        right[bin] += value == 0;
    }
    for (uint32_t i = 0; i < BINS; i++) {
        double count = (double)n[i];
        if (n[i] >= 200) {
            near((double)right[i] / count, sum[i] / count, 3.5 * sqrt(0.25 / count));
        }
    }
}

static void test_the_share_of_a_mixed_user_comes_out_between_prior_and_count(void **state)
{
    (void)state;
    struct posterior_mix m;
    posterior_mix_init(&m, 1.0);
    near(posterior_mix_share(&m), 0.5, 1e-12);
    /* Choices that leave no doubt: Beta(1 + a, 1 + b), mean (1 + a) / (2 + a + b), on a grid. */
    for (uint32_t i = 0; i < 12; i++) {
        posterior_mix_take(&m, i % 4 == 0 ? -60.0 : 0.0, i % 4 == 0 ? 0.0 : -60.0);
    }
    near(posterior_mix_share(&m), 10.0 / 14.0, 1e-3);
}

static void test_change_statistic_is_the_sum_over_all_histories(void **state)
{
    (void)state;
    const double log_p[3][2] = {{log(0.9), log(0.2)}, {log(0.7), log(0.4)}, {log(0.1), log(0.8)}};
    const double prior[2] = {log(0.5), log(0.5)};
    const double h = 0.1;
    struct drift d;
    double same = 0.0;
    double changed = 0.0;
    double now_a = 0.0;
    for (uint32_t path = 0; path < 8; path++) {
        double p = 0.5;
        uint32_t changes = 0;
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t v = path >> i & 1;
            uint32_t turned = i > 0 && v != (path >> (i - 1) & 1);
            p *= exp(log_p[i][v]) * (i == 0 ? 1.0 : turned ? h : 1.0 - h);
            changes += turned;
        }
        same += changes == 0 ? p : 0.0;
        changed += changes > 0 ? p : 0.0;
        now_a += (path >> 2 & 1) == 0 ? p : 0.0;
    }
    drift_init(&d, 2, prior, h);
    assert_true(drift_take(&d, log_p[0]) == -INFINITY);
    (void)drift_take(&d, log_p[1]);
    near(drift_take(&d, log_p[2]), log(changed / same), 1e-12);
    double shares[2];
    drift_shares(&d, shares);
    near(shares[0], now_a / (same + changed), 1e-12);
}

static void test_change_statistic_rises_after_a_change_and_not_before(void **state)
{
    (void)state;
    const double a[3] = {log(0.8), log(0.1), log(0.1)};
    const double b[3] = {log(0.1), log(0.8), log(0.1)};
    const double prior[3] = {0.0, 0.0, 0.0};
    struct drift d;
    drift_init(&d, 3, prior, 0.05);
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(drift_take(&d, a) < 0.0);
    }
    (void)drift_take(&d, b);
    (void)drift_take(&d, b);
    assert_true(drift_take(&d, b) > 2.0);
    drift_init(&d, 1, prior, 0.05);
    (void)drift_take(&d, a);
    assert_true(drift_take(&d, a) == -INFINITY);
}

static void test_temperature_is_the_one_worked_out_by_hand_and_scales_with_the_scores(void **state)
{
    (void)state;
    /* Three choices of four go to the option that is 2 higher: softmax(2 / T) = 3/4, T = 2/log 3.
     */
    const double up[2] = {2.0, 0.0};
    const double up_ten[2] = {20.0, 0.0};
    const uint32_t sides[2] = {0, 1};
    struct temperature_choice c[4];
    struct temperature_fit fit;
    struct errbuf e;
    for (uint32_t i = 0; i < 4; i++) {
        c[i] = (struct temperature_choice){
            .n_options = 2, .scores = up, .sides = sides, .side = i == 0};
    }
    assert_int_equal(temperature_fit(c, 4, &fit, &e), OK);
    near(fit.temperature, 2.0 / log(3.0), 1e-6);
    near(fit.log_likelihood, 0.75 * log(0.75) + 0.25 * log(0.25), 1e-12);
    near(fit.even, -log(2.0), 1e-15);
    assert_false(fit.at_bound);
    for (uint32_t i = 0; i < 4; i++) {
        c[i].scores = up_ten;
    }
    assert_int_equal(temperature_fit(c, 4, &fit, &e), OK);
    near(fit.temperature, 20.0 / log(3.0), 1e-5);
}

static void test_scores_without_a_mistake_give_no_odds_far_beyond_their_number(void **state)
{
    (void)state;
    enum { N = 40 };
    double scores[N][2];
    const uint32_t sides[2] = {0, 1};
    struct temperature_choice c[N];
    struct temperature_fit fit;
    struct errbuf e;
    double log_p[2];
    for (uint32_t i = 0; i < N; i++) {
        scores[i][0] = 1.0 + 0.05 * i;
        scores[i][1] = -scores[i][0];
        c[i] = (struct temperature_choice){
            .n_options = 2, .scores = scores[i], .sides = sides, .side = 0};
    }
    assert_int_equal(temperature_fit(c, N, &fit, &e), OK);
    assert_true(fit.separated && !fit.at_bound);
    posterior_choice(scores[0], 2, fit.temperature, log_p);
    assert_true(log_p[0] - log_p[1] > log(N / 4.0) && log_p[0] - log_p[1] < log(N * 4.0));
    scores[7][0] = -0.1; /* one mistake, and there is a maximum */
    scores[7][1] = 0.1;
    assert_int_equal(temperature_fit(c, N, &fit, &e), OK);
    assert_false(fit.separated);
}

static void test_temperature_without_a_maximum_says_so(void **state)
{
    (void)state;
    const double up[2] = {2.0, 0.0};
    const double flat[2] = {1.0, 1.0};
    const double bad[2] = {1.0, (double)NAN};
    const uint32_t sides[2] = {0, 1};
    struct temperature_choice c = {.n_options = 2, .scores = up, .sides = sides, .side = 1};
    struct temperature_fit fit;
    struct errbuf e;
    assert_int_equal(temperature_fit(&c, 1, &fit, &e), OK);
    assert_true(fit.at_bound);
    c.scores = flat;
    assert_int_equal(temperature_fit(&c, 1, &fit, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "never differ"));
    c.scores = bad;
    assert_int_equal(temperature_fit(&c, 1, &fit, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "not all finite"));
    assert_int_equal(temperature_fit(&c, 0, &fit, &e), ERR_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_choices_give_the_posterior_worked_out_by_hand),
        cmocka_unit_test(test_forgetting_takes_a_factor_off_every_earlier_choice),
        cmocka_unit_test(test_without_forgetting_the_order_of_choices_is_all_one),
        cmocka_unit_test(test_scores_and_temperature_times_the_same_number_change_nothing),
        cmocka_unit_test(test_a_value_ruled_out_stays_out_and_evidence_of_any_size_is_fine),
        cmocka_unit_test(test_wrong_priors_and_forgetting_factors_are_refused_by_number),
        cmocka_unit_test(test_entropy_and_information_of_known_cases),
        cmocka_unit_test(test_information_is_the_expected_fall_of_the_entropy),
        cmocka_unit_test(test_posteriors_of_users_drawn_from_the_model_are_calibrated),
        cmocka_unit_test(test_the_share_of_a_mixed_user_comes_out_between_prior_and_count),
        cmocka_unit_test(test_change_statistic_is_the_sum_over_all_histories),
        cmocka_unit_test(test_change_statistic_rises_after_a_change_and_not_before),
        cmocka_unit_test(test_temperature_is_the_one_worked_out_by_hand_and_scales_with_the_scores),
        cmocka_unit_test(test_scores_without_a_mistake_give_no_odds_far_beyond_their_number),
        cmocka_unit_test(test_temperature_without_a_maximum_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
