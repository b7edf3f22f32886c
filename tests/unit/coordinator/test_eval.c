/* test_eval.c - questions, their trees and the JSON of an evaluation, on the tiny model's
 * tokenizer. */
#include "tests/unit/coordinator/eval_fixture.h"

#include "common/base/file.h"
#include "coordinator/bag_of_words.h"

static const char data_text[] =
    "[{\"scenario\":\"A bus is late.\",\"preference domain\":\"Pace\",\"scene\":\"x\",\"options\":["
    "{\"text\":\"Run.\",\"bias\":\"Fast\"},{\"text\":\"Sit.\",\"bias\":\"Slow\"}]},\n"
    " {\"scenario\":\"A kettle.\",\"preference domain\":\"Pace\",\"scene\":\"x\",\"options\":["
    "{\"text\":\"Tea later.\",\"bias\":\"Slow\"},{\"text\":\"Run.\",\"bias\":\"Fast\"},"
    "{\"text\":\"Pour it.\",\"bias\":\"Fast\"}]},\n"
    " {\"scenario\":\"One side.\",\"preference domain\":\"Pace\",\"scene\":\"x\",\"options\":["
    "{\"text\":\"Go.\",\"bias\":\"Fast\"},{\"text\":\"Rush.\",\"bias\":\"Fast\"}]}]";

struct fixture {
    struct world w;
    struct dataset *data;
};

static int set_up(void **state)
{
    static struct fixture f;
    f.w = world_open();
    f.data = world_data(&f.w, "d", data_text);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    dataset_free(&f->data);
    world_close(&f->w);
    return 0;
}

/* Leaves come by side (A, B, none), options in file order, then the letters of A and of B. */
static void answer_rightly(struct eval *ev, const struct dataset *data, uint32_t tree,
                           uint32_t scenario)
{
    const struct data_scenario *s = &data->scenarios[scenario];
    double logp[64];
    uint32_t n = 0;
    for (uint32_t block = 0; block < 5; block++) {
        for (uint32_t o = 0; o < s->n_options; o++) {
            uint32_t side = block == 0 || block == 3 ? 0 : block == 1 || block == 4 ? 1 : 2;
            logp[n++] = s->options[o].side == side ? -1.0 : -9.0;
        }
    }
    uint32_t trees;
    assert_int_equal(eval_trees(ev, &trees)[tree].n_leaves, n);
    eval_take(ev, EVAL_MAIN, tree, logp);
}

static void test_right_answers_give_one_and_one_sided_scenarios_are_left_out(void **state)
{
    const struct fixture *f = *state;
    uint32_t n = 0;
    const struct eval_input in = world_input(&f->w, EVAL_SELECT, f->data, f->data);
    struct eval *ev = world_eval(&in);
    (void)eval_trees(ev, &n);
    assert_int_equal(n, 2);
    answer_rightly(ev, f->data, 0, 0);
    answer_rightly(ev, f->data, 1, 1);
    json_t *root = world_finish(ev);
    json_t *results = json_object_get(root, "results");
    assert_int_equal(json_array_size(results), READOUTS);
    for (size_t i = 0; i < READOUTS; i++) {
        json_t *r = json_array_get(results, i);
        assert_int_equal(json_integer_value(json_object_get(r, "n")), 4);
        assert_true(json_number_value(json_object_get(r, "accuracy")) == 1.0);
        assert_int_equal(json_object_size(json_object_get(r, "per_value")), 2);
        assert_true(json_is_object(json_object_get(r, "bag_of_words")));
        assert_int_equal(json_array_size(json_object_get(r, "questions")), 4);
    }
    json_decref(root);
    eval_free(&ev);
}

static void test_a_missing_tree_and_a_nan_are_refused(void **state)
{
    const struct fixture *f = *state;
    struct errbuf e = {0};
    struct str json = {0};
    const struct eval_input in = world_input(&f->w, EVAL_SELECT, f->data, NULL);
    f->w.cfg->eval_readouts = 1u << READOUT_CONTRAST;
    struct eval *ev = world_eval(&in);
    assert_int_equal(eval_finish(ev, &json, &e), ERR_STATE);
    assert_non_null(strstr(e.text, "tree 0 of 2 was not scored"));
    const double bad[] = {-1.0, (double)NAN, -1.0, -1.0};
    const double fine[] = {-1.0, -1.0, -1.0, -1.0, -1.0, -1.0};
    eval_take(ev, EVAL_MAIN, 0, bad);
    eval_take(ev, EVAL_MAIN, 1, fine);
    assert_int_equal(eval_finish(ev, &json, &e), ERR_STATE);
    assert_non_null(strstr(e.text, "not finite"));
    str_free(&json);
    eval_free(&ev);
}

static void test_before_training_only_the_readouts_asked_for_then_are_taken(void **state)
{
    const struct fixture *f = *state;
    struct errbuf e = {0};
    struct eval *ev = NULL;
    struct eval_input in = world_input(&f->w, EVAL_SELECT, f->data, NULL);
    f->w.cfg->eval_readouts = 1u << READOUT_CONTRAST | 1u << READOUT_LETTER;
    f->w.cfg->eval_before_readouts = 1u << READOUT_CONTRAST | 1u << READOUT_LIFT;
    assert_int_equal(eval_readouts(&in), 1u << READOUT_CONTRAST | 1u << READOUT_LETTER);
    in.ask.before = true;
    assert_int_equal(eval_readouts(&in), 1u << READOUT_CONTRAST);
    f->w.cfg->eval_before_readouts = 1u << READOUT_LIFT;
    assert_int_equal(eval_new(&in, &ev, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "eval.before_readouts"));
    f->w.cfg->eval_before_readouts = UINT32_MAX;
}

static uint32_t pick_by_words(const struct bag_of_words *bag, const struct data_scenario *s,
                              uint32_t side)
{
    uint32_t best = 0;
    double most = -INFINITY;
    for (uint32_t o = 0; o < s->n_options; o++) {
        double score;
        assert_int_equal(
            bag_score(bag, s->axis, s->options[o].text.text, s->options[o].text.bytes, &score), OK);
        score = side == 0 ? score : -score;
        if (score > most) {
            most = score;
            best = o;
        }
    }
    return best;
}

/* PAPER.md gives 326 of 390 for this scorer on these files. */
static void test_bag_of_words_scores_what_the_reference_scores_on_vcd(void **state)
{
    (void)state;
    struct values *values = NULL;
    struct dataset *train = NULL;
    struct dataset *test = NULL;
    struct bag_of_words *bag = NULL;
    struct errbuf e = {0};
    uint32_t right = 0;
    uint32_t n = 0;
    if (!file_exists("../shared/data/vcd/vcd_train.json")) {
        print_message("SKIPPED: bag of words on VCD: ../shared/data/vcd is not there\n");
        skip();
    }
    assert_int_equal(values_load("configs/values/vcd.yaml", &values, &e), OK);
    assert_int_equal(
        dataset_load("../shared/data/vcd/vcd_train.json", values, GROUP_SCENARIO, &train, &e), OK);
    assert_int_equal(
        dataset_load("../shared/data/vcd/vcd_test.json", values, GROUP_SCENARIO, &test, &e), OK);
    assert_int_equal(bag_new(values->n_axes, &bag), OK);
    for (uint32_t i = 0; i < train->n_scenarios; i++) {
        const struct data_scenario *s = &train->scenarios[i];
        for (uint32_t o = 0; o < s->n_options; o++) {
            assert_int_equal(bag_fit(bag, s->axis, s->options[o].side, s->options[o].text.text,
                                     s->options[o].text.bytes),
                             OK);
        }
    }
    for (uint32_t i = 0; i < test->n_scenarios; i++) {
        const struct data_scenario *s = &test->scenarios[i];
        for (uint32_t side = 0; side < 2; side++, n++) {
            right += s->options[pick_by_words(bag, s, side)].side == side;
        }
    }
    print_message("bag of words on vcd_test: %u of %u\n", right, n);
    assert_int_equal(n, 390);
    assert_in_range(right, 324, 328);
    bag_free(&bag);
    dataset_free(&test);
    dataset_free(&train);
    values_free(&values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_answers_give_one_and_one_sided_scenarios_are_left_out),
        cmocka_unit_test(test_a_missing_tree_and_a_nan_are_refused),
        cmocka_unit_test(test_before_training_only_the_readouts_asked_for_then_are_taken),
        cmocka_unit_test(test_bag_of_words_scores_what_the_reference_scores_on_vcd),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
