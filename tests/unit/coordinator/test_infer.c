/* test_infer.c - the preference vector of one user, worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "coordinator/infer.h"
#include "coordinator/posterior.h"

static struct values_axis axes[2] = {
    {.name = "Pace", .poles = {{.name = "Fast"}, {.name = "Slow"}}},
    {.name = "Tone", .poles = {{.name = "Loud"}, {.name = "Low"}}}};
static const struct values values = {.n_axes = 2, .axes = axes};
static const struct dataset nothing = {.n_scenarios = 0};
static struct data_option options[2] = {{.text = {"One.", 4}}, {.text = {"Two.", 4}}};

enum { ITEMS = 3 };

/* Item 0 is about Pace, 1 about Tone, 2 about nobody knows what. */
static void make(struct data_scenario s[ITEMS], struct dataset *d)
{
    static char path[] = "history.json";
    for (uint32_t i = 0; i < ITEMS; i++) {
        s[i] = (struct data_scenario){.text = {"A \"bus\".", 8},
                                      .axis = i < 2 ? i : DATASET_NO_AXIS,
                                      .n_options = 2,
                                      .options = options,
                                      .chosen = true,
                                      .line = i + 1};
    }
    *d = (struct dataset){.path = path, .n_scenarios = ITEMS, .scenarios = s};
}

/* p(option 0 | value) for the four values, of every item. */
static struct value_scores *choices_of(const struct dataset *d, const double p[4])
{
    struct value_scores *c = NULL;
    assert_int_equal(value_scores_new(d, 2, &c), OK);
    for (uint32_t i = 0; i < d->n_scenarios; i++) {
        for (uint32_t v = 0; v < 4; v++) {
            value_scores_at(c, i, v)[0] = log(p[v]);
            value_scores_at(c, i, v)[1] = log(1.0 - p[v]);
        }
    }
    return c;
}

static struct infer_settings usual(void)
{
    return (struct infer_settings){.temperature = 1.0,
                                   .forget = 1.0,
                                   .hazard = 0.05,
                                   .threshold = 2.0,
                                   .axis = DATASET_NO_AXIS};
}

static void near(double is, double should)
{
    assert_true(fabs(is - should) <= 1e-12);
}

static const double skewed[4] = {0.9, 0.3, 0.6, 0.2};

static void test_a_choice_speaks_about_its_axis_or_about_all_when_it_is_unknown(void **state)
{
    (void)state;
    struct data_scenario s[ITEMS];
    struct dataset d;
    struct infer_result r;
    struct errbuf e;
    make(s, &d);
    struct value_scores *c = choices_of(&d, skewed);
    struct infer_settings how = usual();
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    assert_int_equal(r.axes[0].n, 2);
    assert_int_equal(r.axes[1].n, 2);
    near(r.axes[0].shares[0], 0.81 / (0.81 + 0.09));
    near(r.axes[0].lambda, r.axes[0].shares[0]);
    near(r.axes[1].shares[0], 0.36 / (0.36 + 0.04));
    /* Over all values every choice counts: p^3. */
    near(r.shares[0], 0.729 / (0.729 + 0.027 + 0.216 + 0.008));
    near(r.entropy, posterior_entropy(r.shares, 4));
    assert_int_equal(r.n_choices, 3);
    value_scores_free(&c);
}

static void test_one_axis_alone_and_a_prior(void **state)
{
    (void)state;
    struct data_scenario s[ITEMS];
    struct dataset d;
    struct infer_result r;
    struct errbuf e;
    double prior[2 * LIMIT_AXES];
    make(s, &d);
    struct value_scores *c = choices_of(&d, skewed);
    struct infer_settings how = usual();
    how.axis = 1;
    how.prior = prior;
    assert_int_equal(infer_prior(&values, "Low=3", prior, &e), OK);
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    near(r.shares[2], 0.36 / (0.36 + 3.0 * 0.04)); /* item 0 is about another axis */
    near(r.axes[1].shares[0], 0.36 / (0.36 + 3.0 * 0.04));
    assert_int_equal(r.axes[0].n, 0);
    value_scores_free(&c);
}

static void test_the_next_question_is_the_one_that_tells_most(void **state)
{
    (void)state;
    struct data_scenario s[ITEMS];
    struct dataset d;
    struct infer_result r;
    struct infer_next next;
    struct errbuf e;
    make(s, &d);
    struct value_scores *c = choices_of(&d, skewed);
    struct infer_settings how = usual();
    const double even[4] = {0.5, 0.5, 0.5, 0.5};
    struct value_scores *dull = choices_of(&d, even);
    /* An item of the pool that tells much about Tone, which is open, against two dull ones. */
    value_scores_at(dull, 1, 2)[0] = log(0.9);
    value_scores_at(dull, 1, 2)[1] = log(0.1);
    value_scores_at(dull, 1, 3)[0] = log(0.1);
    value_scores_at(dull, 1, 3)[1] = log(0.9);
    value_scores_at(dull, 0, 0)[0] = log(0.6);
    value_scores_at(dull, 0, 0)[1] = log(0.4);
    d.n_scenarios = 0;
    c->n_rows = 0;
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    d.n_scenarios = ITEMS;
    c->n_rows = ITEMS;
    assert_int_equal(infer_ask(&d, &nothing, dull, &how, &r, &next, &e), OK);
    assert_int_equal(next.item, 1);
    assert_true(next.about_axis);
    near(next.information, log(2.0) + 0.9 * log(0.9) + 0.1 * log(0.1));
    how.axis = 0;
    d.n_scenarios = c->n_rows = 0;
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    d.n_scenarios = c->n_rows = ITEMS;
    assert_int_equal(infer_ask(&d, &nothing, dull, &how, &r, &next, &e), OK);
    assert_int_equal(next.item, 0);
    assert_true(next.information > 0.0 && next.information < 0.01);
    s[0].axis = s[2].axis = 1;
    assert_int_equal(infer_ask(&d, &nothing, dull, &how, &r, &next, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "no item of the pool"));
    value_scores_free(&c);
    value_scores_free(&dull);
}

static void test_what_the_history_answered_is_not_asked_again(void **state)
{
    (void)state;
    static struct data_option turned[2] = {{.text = {"Two.", 4}}, {.text = {"One.", 4}}};
    static struct data_option others[2] = {{.text = {"One.", 4}}, {.text = {"Three.", 6}}};
    struct data_scenario s[ITEMS];
    struct data_scenario asked;
    struct dataset d;
    struct infer_result r;
    struct infer_next next;
    struct errbuf e;
    make(s, &d);
    asked = s[0];
    asked.options = turned;
    const struct dataset history = {.n_scenarios = 1, .scenarios = &asked};
    struct value_scores *c = choices_of(&d, skewed);
    struct infer_settings how = usual();
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    assert_int_equal(infer_ask(&d, &history, c, &how, &r, &next, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "all 3 items of the pool"));
    s[1].options = others;
    assert_int_equal(infer_ask(&d, &history, c, &how, &r, &next, &e), OK);
    assert_int_equal(next.item, 1);
    s[1].options = options;
    s[2].text = (struct data_text){"A \"tram\".", 9};
    assert_int_equal(infer_ask(&d, &history, c, &how, &r, &next, &e), OK);
    assert_int_equal(next.item, 2);
    value_scores_free(&c);
}

static void test_a_turn_is_flagged_at_the_choice_that_shows_it(void **state)
{
    (void)state;
    enum { N = 14 };
    struct data_scenario s[N];
    struct dataset d;
    struct infer_result r;
    struct errbuf e;
    make(s, &d);
    for (uint32_t i = 0; i < N; i++) {
        s[i] = s[0];
        s[i].choice = i < 10 ? 0 : 1;
    }
    d.n_scenarios = N;
    const double clear[4] = {0.9, 0.1, 0.5, 0.5};
    struct value_scores *c = choices_of(&d, clear);
    struct infer_settings how = usual();
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    assert_in_range(r.axes[0].flagged, 12, 13);
    assert_int_equal(r.axes[1].flagged, 0);
    for (uint32_t i = 0; i < N; i++) {
        s[i].choice = 0;
    }
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    assert_int_equal(r.axes[0].flagged, 0);
    value_scores_free(&c);
}

static void test_what_is_missing_is_named_by_file_and_line(void **state)
{
    (void)state;
    struct data_scenario s[ITEMS];
    struct dataset d;
    struct infer_result r;
    struct errbuf e;
    make(s, &d);
    struct value_scores *c = choices_of(&d, skewed);
    struct infer_settings how = usual();
    s[1].chosen = false;
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "history.json:2: the item has no 'choice'"));
    s[1].chosen = true;
    value_scores_at(c, 2, 3)[1] = (double)NAN;
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "history.json:3"));
    how.forget = 2.0;
    value_scores_at(c, 2, 3)[1] = -1.0;
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), ERR_RANGE);
    value_scores_free(&c);
}

static void test_priors_in_words_are_read_and_wrong_ones_refused(void **state)
{
    (void)state;
    double prior[2 * LIMIT_AXES];
    struct errbuf e;
    assert_int_equal(infer_prior(&values, "Slow=2.5,Loud=0", prior, &e), OK);
    assert_true(prior[0] == 1.0 && prior[1] == 2.5 && prior[2] == 0.0 && prior[3] == 1.0);
    assert_int_equal(infer_prior(&values, "Slwo=1", prior, &e), ERR_USAGE);
    assert_non_null(
        strstr(e.text, "--prior: unknown value 'Slwo'; the nearest known one is 'Slow'"));
    assert_int_equal(infer_prior(&values, "Slow", prior, &e), ERR_USAGE);
    assert_int_equal(infer_prior(&values, "Slow=-1", prior, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "0 or more"));
    assert_int_equal(infer_prior(&values, "Slow=x", prior, &e), ERR_USAGE);
    assert_int_equal(infer_prior(&values, "Slow=1;Loud=2", prior, &e), ERR_USAGE);
    assert_int_equal(infer_prior(&values, "Slow=0,Fast=0", prior, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "both values of the axis 'Pace'"));
}

static void test_the_result_is_json_with_names(void **state)
{
    (void)state;
    struct data_scenario s[ITEMS];
    struct dataset d;
    struct infer_result r;
    struct infer_next next;
    struct errbuf e;
    struct str json = {0};
    make(s, &d);
    struct value_scores *c = choices_of(&d, skewed);
    struct infer_settings how = usual();
    assert_int_equal(infer_run(&values, &d, c, &how, &r, &e), OK);
    assert_int_equal(infer_ask(&d, &nothing, c, &how, &r, &next, &e), OK);
    str_add(&json, "{");
    infer_json(&values, &how, &r, &d, &next, &json);
    str_add(&json, "}");
    json_t *root = json_loadb(json.data, json.len, 0, NULL);
    assert_non_null(root);
    assert_int_equal(json_object_size(json_object_get(root, "values")), 4);
    json_t *pace = json_object_get(json_object_get(root, "axes"), "Pace");
    assert_true(fabs(json_number_value(json_object_get(pace, "lambda")) - 0.9) < 1e-6);
    assert_true(json_is_false(json_object_get(json_object_get(pace, "change"), "flagged")));
    assert_non_null(json_object_get(json_object_get(root, "next"), "information"));
    json_decref(root);
    str_free(&json);
    value_scores_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_choice_speaks_about_its_axis_or_about_all_when_it_is_unknown),
        cmocka_unit_test(test_one_axis_alone_and_a_prior),
        cmocka_unit_test(test_the_next_question_is_the_one_that_tells_most),
        cmocka_unit_test(test_what_the_history_answered_is_not_asked_again),
        cmocka_unit_test(test_a_turn_is_flagged_at_the_choice_that_shows_it),
        cmocka_unit_test(test_what_is_missing_is_named_by_file_and_line),
        cmocka_unit_test(test_priors_in_words_are_read_and_wrong_ones_refused),
        cmocka_unit_test(test_the_result_is_json_with_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
