/* test_trial.c - trials of inference on tables of scores whose outcome is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/trial.h"

enum { AXES = 2, SCENARIOS = 80 };

static struct data_option options[3] = {{.side = 0}, {.side = 1}, {.side = 0}};
static struct data_scenario scenarios[SCENARIOS];
static const struct dataset data = {.n_scenarios = SCENARIOS, .scenarios = scenarios};

static int set_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SCENARIOS; i++) {
        scenarios[i] = (struct data_scenario){.axis = i % AXES, .n_options = 3, .options = options};
    }
    return 0;
}

static struct trial_settings usual(void)
{
    return (struct trial_settings){.seed = 1,
                                   .users = 100,
                                   .n_shots = 4,
                                   .shots = {0, 1, 3, 10},
                                   .temperature = 1.0,
                                   .forget = 1.0,
                                   .hazard = 0.05,
                                   .threshold = 3.0,
                                   .sure = 0.9};
}

/* Options that carry the pole score `signal` and the others -signal, with noise of up to `noise`;
 * only the scenario's own axis, or all of them. */
static struct value_scores *table(double signal, double noise, bool all)
{
    struct value_scores *s = NULL;
    uint64_t key = rng_key(9, 0, 0, 0);
    uint32_t n = 0;
    assert_int_equal(value_scores_new(&data, AXES, &s), OK);
    for (uint32_t i = 0; i < SCENARIOS; i++) {
        for (uint32_t axis = 0; axis < AXES; axis++) {
            for (uint32_t o = 0; o < 3 && (all || axis == scenarios[i].axis); o++) {
                double x = axis == scenarios[i].axis ? signal : 0.0;
                x = options[o].side == 0 ? x : -x;
                x += noise * (2.0 * (double)rng_unit(key, n++) - 1.0);
                value_scores_at(s, i, 2 * axis)[o] = x;
                value_scores_at(s, i, 2 * axis + 1)[o] = -x;
            }
        }
    }
    return s;
}

static struct trial_report run(const struct value_scores *scores, const struct trial_settings *how)
{
    struct trial_report r;
    struct errbuf e = {{0}};
    assert_int_equal(trial_run(&data, scores, how, &r, &e), OK);
    return r;
}

static void test_scores_without_doubt_infer_at_once_and_see_a_change_at_once(void **state)
{
    (void)state;
    struct value_scores *s = table(20.0, 0.0, true);
    struct trial_settings how = usual();
    struct trial_report r = run(s, &how);
    assert_int_equal(r.n_shots, 4);
    assert_int_equal(r.shots[0].n, 400);
    assert_true(fabs(r.shots[0].inferred.share - 0.5) < 1e-12);
    assert_true(fabs(r.shots[0].accuracy.share - 0.5) < 1e-12);
    for (uint32_t k = 1; k < 4; k++) {
        assert_true(r.shots[k].inferred.share == 1.0);
        assert_true(r.shots[k].accuracy.share == 1.0 && r.shots[k].told.share == 1.0);
        assert_true(r.shots[k].gap.share == 0.0);
        assert_int_equal(r.shots[k].n_all, 400);
        assert_true(r.shots[k].inferred_all == 1.0 && r.shots[k].probability > 0.999);
        assert_int_equal(r.shots[k].values[3].n, 100);
    }
    assert_true(r.chosen.mean == 1.0 && r.random.mean == 1.0 && r.chosen.right == 1.0);
    assert_true(r.change.delay == 1.0 && r.change.stable_flagged == 0.0);
    assert_true(r.change.within_3 == 1.0 && r.change.early == 0.0 && r.change.missed == 0.0);
    value_scores_free(&s);
}

static void test_an_interval_is_that_of_the_scenarios_and_not_of_the_users(void **state)
{
    (void)state;
    struct value_scores *s = table(5.0, 0.0, false);
    struct trial_settings how = usual();
    how.users = 1000;
    how.n_shots = 1;
    how.shots[0] = 1;
    for (uint32_t i = 0; i < SCENARIOS; i++) { /* the choice misleads in a quarter of scenarios */
        for (uint32_t o = 0; o < 3 && i % 8 < 2; o++) {
            uint32_t axis = scenarios[i].axis;
            double x = options[o].side == 0 ? -5.0 : 5.0;
            value_scores_at(s, i, 2 * axis)[o] = x;
            value_scores_at(s, i, 2 * axis + 1)[o] = -x;
        }
    }
    struct trial_report r = run(s, &how);
    double sd = sqrt(0.25 * 0.75 / SCENARIOS);
    double half = (r.shots[0].inferred.hi - r.shots[0].inferred.lo) / 2.0;
    assert_true(fabs(r.shots[0].inferred.share - 0.75) < 0.03);
    assert_true(half > 1.96 * sd * 0.95 && half < 1.96 * sd * 1.2);
    half = (r.shots[0].told.hi - r.shots[0].told.lo) / 2.0;
    assert_true(half > 1.96 * sd * 0.95 && half < 1.96 * sd * 1.2);
    value_scores_free(&s);
}

static void test_scores_that_say_nothing_leave_everything_open(void **state)
{
    (void)state;
    struct value_scores *s = table(0.0, 0.0, false);
    struct trial_settings how = usual();
    struct trial_report r = run(s, &how);
    for (uint32_t k = 0; k < 4; k++) {
        assert_true(r.shots[k].inferred.share == 0.5);
        assert_true(fabs(r.shots[k].log_loss - log(2.0)) < 1e-9);
    }
    assert_true(r.chosen.reached == 0.0 && r.chosen.mean == TRIAL_HORIZON);
    assert_true(r.change.stable_flagged == 0.0 && r.change.missed == 1.0);
    assert_int_equal(r.shots[3].n_all, 0);
    value_scores_free(&s);
}

static void test_noisy_scores_get_surer_with_choices_and_choosing_questions_saves_some(void **state)
{
    (void)state;
    struct value_scores *s = table(0.6, 2.0, true);
    struct trial_settings how = usual();
    struct temperature_fit fit;
    struct errbuf e;
    assert_int_equal(value_scores_fit(s, &data, &fit, &e), OK);
    assert_true(fit.log_likelihood > fit.even);
    how.temperature = fit.temperature;
    struct trial_report r = run(s, &how);
    assert_true(r.shots[1].inferred.share > 0.6);
    assert_true(r.shots[2].inferred.share > r.shots[1].inferred.share);
    assert_true(r.shots[3].inferred.share > r.shots[2].inferred.share);
    assert_true(r.shots[1].inferred.lo < r.shots[1].inferred.share);
    assert_true(r.chosen.mean < r.random.mean);
    assert_true(r.calibration_error < 0.1);
    assert_true(r.mixes[0].estimate < r.mixes[1].estimate);
    assert_true(r.mixes[1].estimate < r.mixes[2].estimate);
    uint32_t binned = 0;
    for (uint32_t i = 0; i < TRIAL_BINS; i++) {
        binned += r.bins[i].n;
    }
    assert_int_equal(binned, 3 * 400);
    value_scores_free(&s);
}

static void test_the_threshold_keeps_false_alarms_to_the_rate_asked_for(void **state)
{
    (void)state;
    struct value_scores *s = table(0.8, 2.0, false);
    struct trial_settings how = usual();
    struct errbuf e;
    how.users = 1000;
    assert_int_equal(trial_threshold(&data, s, &how, 0.05, &how.threshold, &e), OK);
    struct trial_report same = run(s, &how);
    assert_true(same.change.stable_flagged <= 0.05 && same.change.stable_flagged > 0.03);
    how.seed = 2;
    struct trial_report other = run(s, &how);
    assert_true(other.change.stable_flagged < 0.07);
    assert_true(other.change.missed < 0.5);
    value_scores_free(&s);
}

static char *text_of(const struct trial_report *r)
{
    static struct values_axis axes[AXES] = {
        {.name = "Pace", .poles = {{.name = "Fast"}, {.name = "Slow"}}},
        {.name = "Tone", .poles = {{.name = "Loud"}, {.name = "Low"}}}};
    const struct values values = {.n_axes = AXES, .axes = axes};
    struct str json = {0};
    str_add(&json, "{");
    trial_json(r, &values, &json);
    str_add(&json, "}");
    assert_int_equal(str_ok(&json), OK);
    return json.data;
}

static void test_the_same_seed_gives_the_same_report_and_another_one_another(void **state)
{
    (void)state;
    struct value_scores *s = table(0.5, 2.0, true);
    struct trial_settings how = usual();
    char *text[3];
    for (uint32_t i = 0; i < 3; i++) {
        how.seed = 1 + i / 2;
        struct trial_report r = run(s, &how);
        text[i] = text_of(&r);
    }
    assert_string_equal(text[0], text[1]);
    assert_string_not_equal(text[0], text[2]);
    for (uint32_t i = 0; i < 3; i++) {
        mem_free(text[i]);
    }
    value_scores_free(&s);
}

static void test_an_axis_with_few_questions_takes_part_up_to_its_number(void **state)
{
    (void)state;
    struct trial_settings how = usual();
    for (uint32_t i = 8; i < SCENARIOS; i += AXES) {
        scenarios[i].axis = DATASET_NO_AXIS; /* axis 0 keeps four */
    }
    struct value_scores *s = table(20.0, 0.0, false);
    struct trial_report r = run(s, &how);
    assert_int_equal(r.shots[2].n, 400);
    assert_int_equal(r.shots[3].n, 200);
    assert_int_equal(r.shots[3].values[0].n, 0);
    assert_int_equal(r.change.n, 400);
    value_scores_free(&s);
    (void)set_up(state);
}

static void test_data_without_questions_are_refused(void **state)
{
    (void)state;
    struct value_scores *s = NULL;
    struct trial_settings how = usual();
    struct trial_report r;
    struct errbuf e;
    assert_int_equal(value_scores_new(&data, AXES, &s), OK); /* nothing is scored */
    assert_int_equal(trial_run(&data, s, &how, &r, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "2 scenarios that offer both poles"));
    value_scores_free(&s);
}

static void test_the_report_is_json(void **state)
{
    (void)state;
    struct value_scores *s = table(20.0, 0.0, true);
    struct trial_settings how = usual();
    struct trial_report r = run(s, &how);
    char *text = text_of(&r);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    json_t *shot = json_array_get(json_object_get(root, "shots"), 2);
    assert_int_equal(json_integer_value(json_object_get(shot, "k")), 3);
    assert_true(json_number_value(json_object_get(json_object_get(shot, "inferred"), "share")) ==
                1.0);
    assert_non_null(json_object_get(json_object_get(shot, "per_value"), "Slow"));
    assert_int_equal(json_array_size(json_object_get(root, "calibration")), TRIAL_BINS);
    assert_int_equal(json_array_size(json_object_get(root, "mixed")), TRIAL_MIXES);
    json_decref(root);
    mem_free(text);
    value_scores_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores_without_doubt_infer_at_once_and_see_a_change_at_once),
        cmocka_unit_test(test_an_interval_is_that_of_the_scenarios_and_not_of_the_users),
        cmocka_unit_test(test_scores_that_say_nothing_leave_everything_open),
        cmocka_unit_test(
            test_noisy_scores_get_surer_with_choices_and_choosing_questions_saves_some),
        cmocka_unit_test(test_the_threshold_keeps_false_alarms_to_the_rate_asked_for),
        cmocka_unit_test(test_the_same_seed_gives_the_same_report_and_another_one_another),
        cmocka_unit_test(test_an_axis_with_few_questions_takes_part_up_to_its_number),
        cmocka_unit_test(test_data_without_questions_are_refused),
        cmocka_unit_test(test_the_report_is_json),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
