/* test_eval_kinds.c - every kind of evaluation from given log-probabilities to figures that were
 * computed by hand. */
#include "tests/unit/coordinator/eval_fixture.h"

#include "coordinator/eval_named.h"
#include "coordinator/history.h"

static struct world world;

static int set_up(void **state)
{
    (void)state;
    world = world_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

#define ITEM(scenario, options)                                                                    \
    "{\"scenario\":\"" scenario "\",\"preference domain\":\"Pace\",\"options\":[" options "]}"
#define OPTION(text, bias) "{\"text\":\"" text "\",\"bias\":\"" bias "\"}"

static const char one_scenario[] =
    "[" ITEM("A bus is late.",
             OPTION("Run.", "Fast") "," OPTION("Sit.", "Slow") "," OPTION("Go.", "Fast")) "]";

/* Options in file order under A, under B. */
static void test_select_one_and_select_all_come_from_one_scoring(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", one_scenario);
    struct eval_input in = world_input(&world, EVAL_SELECT, data, NULL);
    world.cfg->eval_readouts = 1u << READOUT_CONTRAST;
    struct eval *ev = world_eval(&in);
    /* contrast for Fast: 2, -1, -3: picks option 0 (right), selects {0} of the right {0, 2}.
     * contrast for Slow: -2, 1, 3: picks option 2 (wrong), selects {1, 2} of the right {1}. */
    const double logp[] = {-4.0, -6.0, -9.0, -6.0, -5.0, -6.0};
    eval_take(ev, EVAL_MAIN, 0, logp);
    json_t *root = world_finish(ev);
    json_t *r = result_of(root, 0);
    assert_string_equal(json_string_value(json_object_get(root, "task")), "select");
    expect_figure(r, "n", 2.0);
    expect_figure(r, "accuracy", 0.5);
    expect_figure(r, "per_value/Fast/accuracy", 1.0);
    expect_figure(r, "per_value/Slow/accuracy", 0.0);
    expect_figure(r, "select_all/score", 0.25); /* recall 1/2, and 0 for a wrong one */
    expect_figure(r, "select_all/per_value/Fast/score", 0.5);
    expect_figure(r, "select_all/per_value/Slow/score", 0.0);
    expect_figure(r, "select_all/precision", 2.0 / 3.0);
    expect_figure(r, "select_all/recall", 2.0 / 3.0);
    expect_figure(r, "select_all/f1", 2.0 / 3.0);
    expect_figure(r, "select_all/per_value/Slow/precision", 0.5);
    expect_figure(r, "select_all/threshold", 0.0);
    assert_true(json_is_null(json_object_get(r, "bag_of_words")));
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_a_threshold_is_fitted_on_training_scenarios_or_there_is_no_select_all(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", one_scenario);
    struct eval_input in = world_input(&world, EVAL_SELECT, data, NULL);
    world.cfg->eval_readouts = 1u << READOUT_LETTER;
    struct eval *ev = world_eval(&in);
    const double letters[] = {-1.0, -3.0, -2.0, -3.0, -1.0, -2.5};
    eval_take(ev, EVAL_MAIN, 0, letters);
    json_t *root = world_finish(ev);
    assert_true(json_is_null(json_object_get(result_of(root, 0), "select_all")));
    json_decref(root);
    eval_free(&ev);

    in.train = data; /* stands for a training file: its scores are given apart */
    in.ask.fit = 5;
    ev = world_eval(&in);
    uint32_t n = 0;
    assert_int_equal(eval_trees(ev, &n)->n_leaves, 6);
    assert_int_equal(n, 2);
    eval_take(ev, EVAL_MAIN, 0, letters);
    /* A: right -1, -2 over wrong -4; B: right -1 over wrong -5, -6: the lowest best is -3. */
    eval_take(ev, EVAL_MAIN, 1, (const double[]){-1.0, -4.0, -2.0, -5.0, -1.0, -6.0});
    root = world_finish(ev);
    json_t *r = result_of(root, 0);
    expect_figure(r, "select_all/threshold", -3.0);
    /* Above -3: A picks 0 and 2, exact; B picks 1 and 2, of which 2 is wrong. */
    expect_figure(r, "select_all/score", 0.5);
    expect_figure(r, "select_all/precision", 0.75);
    assert_true(json_is_object(json_object_get(json_object_get(r, "select_all"), "bag_of_words")));
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_where_scenarios_are_held_out_thresholds_are_fitted_on_them_alone(void **state)
{
    (void)state;
    static const char three[] =
        "[" ITEM("First.", OPTION("Run.", "Fast") "," OPTION("Sit.", "Slow")) "," ITEM(
            "Second.",
            OPTION("Go.", "Fast") "," OPTION("Stay.", "Slow") "," OPTION(
                "On.", "Fast")) "," ITEM("Third.",
                                         OPTION("Up.", "Fast") "," OPTION(
                                             "Down.", "Slow") "," OPTION("Off.", "Slow")) "]";
    struct dataset *data = world_data(&world, "d", one_scenario);
    struct dataset *train = world_data(&world, "t", three);
    struct eval_input in = world_input(&world, EVAL_SELECT, data, NULL);
    world.cfg->eval_readouts = 1u << READOUT_LETTER;
    in.train = train;
    in.ask.fit = 60;
    const uint32_t trees[] = {1 + 3, 1 + 1};
    for (int held = 0; held < 2; held++) {
        uint32_t n = 0;
        dataset_hold_out(train, held ? 1 : 0);
        struct eval *ev = world_eval(&in);
        const struct tree *made = eval_trees(ev, &n);
        assert_int_equal(n, trees[held]);
        assert_int_equal(made[1].n_leaves, 2 * train->scenarios[0].n_options);
        eval_free(&ev);
    }
    dataset_free(&train);
    dataset_free(&data);
}

static void test_a_paired_evaluation_gives_base_and_difference(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", one_scenario);
    struct eval_input in = world_input(&world, EVAL_SELECT, data, NULL);
    struct errbuf e = {0};
    struct str json = {0};
    world.cfg->eval_readouts = 1u << READOUT_CONTRAST;
    in.ask.paired = true;
    struct eval *ev = world_eval(&in);
    eval_take(ev, EVAL_MAIN, 0, (const double[]){-4.0, -6.0, -5.0, -6.0, -5.0, -6.0}); /* both */
    assert_int_equal(eval_finish(ev, &json, &e), ERR_STATE); /* the base was not asked */
    eval_take(ev, EVAL_BASE, 0, (const double[]){-4.0, -6.0, -9.0, -6.0, -5.0, -6.0}); /* A alone */
    json_t *root = world_finish(ev);
    json_t *r = result_of(root, 0);
    expect_figure(r, "accuracy", 1.0);
    expect_figure(r, "base/accuracy", 0.5);
    expect_figure(r, "paired/difference", 0.5);
    expect_figure(r, "paired/per_value/Fast/difference", 0.0);
    expect_figure(r, "paired/per_value/Slow/difference", 1.0);
    expect_figure(r, "select_all/paired/difference", 0.75); /* 1 and 1 against 0.5 and 0 */
    json_decref(root);
    str_free(&json);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_behaviour_asks_both_poles_of_the_axis_of_the_file(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"question\":\"Now?\\n\\nChoices:\\n (A) Wait\\n (B) Now\",\"answer_matching_behavior\":"
        "\"(B)\",\"answer_not_matching_behavior\":\"(A)\"}]";
    struct dataset *data = world_data(&world, "Pace_test.json", text);
    struct eval_input in = world_input(&world, EVAL_BEHAVIOUR, data, data);
    world.cfg->eval_readouts = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LETTER;
    assert_int_equal(eval_task_for(data), EVAL_BEHAVIOUR);
    struct eval *ev = world_eval(&in);
    /* Answers under A, under B, then letters under A, under B. "Wait" (option 0) is B's answer.
     * Means per token: long answers do not lose by their length. */
    const double logp[] = {-900.0, -1.0, -900.0, -1.0, -1.0, -2.0, -1.0, -2.0};
    eval_take(ev, EVAL_MAIN, 0, logp);
    json_t *root = world_finish(ev);
    expect_figure(result_of(root, 0), "accuracy", 0.5);
    expect_figure(result_of(root, 0), "per_value/Fast/accuracy", 1.0);
    expect_figure(result_of(root, 1), "per_value/Fast/accuracy", 0.0);
    expect_figure(result_of(root, 1), "per_value/Slow/accuracy", 1.0);
    expect_figure(result_of(root, 0), "bag_of_words/accuracy", 1.0);
    assert_null(json_object_get(result_of(root, 0), "select_all"));
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_retention_is_right_by_sum_or_by_mean(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"prompt\":\"Sky?\",\"correct\":\"It is a very deep blue\",\"incorrect\":\"Red\","
        "\"category\":\"colours\"},"
        "{\"prompt\":\"Grass?\\n\\nChoices:\\n(A) Red\\n(B) "
        "Green\",\"correct\":\"(B)\",\"incorrect\":"
        "\"(A)\",\"category\":\"colours\"},"
        "{\"prompt\":\"Two?\",\"correct\":\"2\",\"incorrect\":\"3\"}]";
    struct dataset *data = world_data(&world, "r", text);
    struct eval_input in = world_input(&world, EVAL_RETENTION, data, NULL);
    assert_int_equal(eval_task_for(data), EVAL_RETENTION);
    struct eval *ev = world_eval(&in);
    eval_take(ev, EVAL_MAIN, 0, (const double[]){-6.0, -5.0}); /* by sum wrong, by mean right */
    eval_take(ev, EVAL_MAIN, 1, (const double[]){-9.0, -1.0}); /* option 1 is (B), right */
    eval_take(ev, EVAL_MAIN, 2, (const double[]){-1.0, -1.0}); /* a tie: the first, right */
    json_t *root = world_finish(ev);
    json_t *sum = result_of(root, 0);
    json_t *mean = result_of(root, 1);
    assert_string_equal(json_string_value(json_object_get(sum, "readout")), "sum");
    assert_string_equal(json_string_value(json_object_get(mean, "readout")), "per-token");
    expect_figure(sum, "n", 3.0);
    expect_figure(sum, "accuracy", 2.0 / 3.0);
    expect_figure(sum, "per_category/colours/accuracy", 0.5);
    expect_figure(sum, "per_category/no category/accuracy", 1.0);
    expect_figure(mean, "accuracy", 1.0);
    assert_null(json_object_get(sum, "bag_of_words"));
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static const char three_scenarios[] =
    "[" ITEM("Bus.", OPTION("Run.", "Fast") "," OPTION("Sit.", "Slow")) "," ITEM(
        "Tea.",
        OPTION("Later.", "Slow") "," OPTION("Gulp.", "Fast") "," OPTION(
            "Sip.", "Slow")) "," ITEM("Walk.",
                                      OPTION("Stroll.", "Slow") "," OPTION("Rush.", "Fast")) "]";

static void test_history_reads_the_right_length_and_lift_compares_with_none(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "h", three_scenarios);
    struct eval_input in = world_input(&world, EVAL_HISTORY, data, NULL);
    world.cfg->eval_readouts = 1u << READOUT_LIKELIHOOD | 1u << READOUT_LIFT;
    in.ask.n_shots = 2;
    in.ask.shots[1] = 2;
    in.ask.limit = 1;
    struct eval *ev = world_eval(&in);
    uint32_t n = 0;
    assert_int_equal(eval_trees(ev, &n)->n_leaves, 6);
    assert_int_equal(n, 1);
    /* No history: -1, -2 (both answers have equally many tokens); Fast's user: -1, -2.5; Slow's:
     * -1, -1.5: by likelihood option 0 always, by lift each user's own. */
    eval_take(ev, EVAL_MAIN, 0, (const double[]){-1.0, -2.0, -1.0, -2.5, -1.0, -1.5});
    json_t *root = world_finish(ev);
    assert_int_equal(json_array_size(json_object_get(root, "results")), 3);
    expect_figure(result_of(root, 0), "shots", 0.0);
    expect_figure(result_of(root, 0), "accuracy", 0.5);
    expect_figure(result_of(root, 1), "shots", 2.0);
    expect_figure(result_of(root, 1), "per_value/Fast/accuracy", 1.0);
    expect_figure(result_of(root, 1), "per_value/Slow/accuracy", 0.0);
    assert_string_equal(json_string_value(json_object_get(result_of(root, 2), "readout")), "lift");
    expect_figure(result_of(root, 2), "accuracy", 1.0);
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_a_divergence_is_a_mean_over_tokens_whole_and_by_part(void **state)
{
    (void)state;
    static const char text[] = "[{\"instruction\":\"Say two words.\",\"response\":\"A b.\"},"
                               "{\"instruction\":\"Go.\",\"response\":\"On we go now.\"}]";
    struct dataset *data = world_data(&world, "d", text);
    struct eval_input in = world_input(&world, EVAL_DIVERGENCE, data, NULL);
    struct eval *ev = world_eval(&in);
    uint32_t n = 0;
    const struct tree *trees = eval_trees(ev, &n);
    uint32_t tokens[2][2] = {{0}};
    assert_int_equal(n, 2);
    assert_int_equal(eval_score(ev), WIRE_KL);
    for (uint32_t t = 0; t < n; t++) {
        assert_int_equal(trees[t].n_leaves, 2);
        for (uint32_t i = 0; i < trees[t].n_labels; i++) {
            tokens[t][trees[t].labels[i].leaf]++;
            assert_true(i == 0 || trees[t].labels[i].row == trees[t].labels[i - 1].row + 1);
        }
    }
    eval_take(ev, EVAL_MAIN, 0, (const double[]){0.25, 1.0});
    eval_take(ev, EVAL_MAIN, 1, (const double[]){0.5, 2.0});
    json_t *root = world_finish(ev);
    const double prompt = 0.25 * tokens[0][0] + 0.5 * tokens[1][0];
    const double answer = 1.0 * tokens[0][1] + 2.0 * tokens[1][1];
    const double prompts = (double)tokens[0][0] + tokens[1][0];
    const double answers = (double)tokens[0][1] + tokens[1][1];
    assert_string_equal(json_string_value(json_object_get(result_of(root, 0), "readout")), "all");
    expect_figure(result_of(root, 0), "n", 2.0);
    expect_figure(result_of(root, 0), "kl", (prompt + answer) / (prompts + answers));
    expect_figure(result_of(root, 1), "kl", prompt / prompts);
    expect_figure(result_of(root, 2), "kl", answer / answers);
    assert_null(json_object_get(result_of(root, 0), "per_value"));
    json_t *own = json_array_get(json_object_get(result_of(root, 2), "questions"), 1);
    assert_true(json_number_value(json_array_get(own, 4)) == 2.0);
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_a_prompt_without_an_answer_has_the_place_of_its_first_token(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", "[{\"question\":\"Say two words.\"}]");
    struct eval_input in = world_input(&world, EVAL_DIVERGENCE, data, NULL);
    struct errbuf e = {0};
    struct eval *ev = world_eval(&in);
    uint32_t n = 0;
    const struct tree *tree = eval_trees(ev, &n);
    assert_int_equal(n, 1);
    assert_int_equal(tree->labels[tree->n_labels - 1].leaf, 1);
    assert_int_equal(tree->labels[tree->n_labels - 1].row, tree->n_rows - 1);
    assert_int_equal(tree->labels[tree->n_labels - 2].leaf, 0);
    eval_free(&ev);
    in.ask.paired = true;
    assert_int_equal(eval_new(&in, &ev, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "compares with the base itself"));
    dataset_free(&data);
}

static void test_a_mix_counts_the_picks_of_the_first_value_at_every_share(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", one_scenario);
    struct eval_input in = world_input(&world, EVAL_SELECT, data, NULL);
    in.ask.only_mix = true;
    in.ask.n_lambdas = 3;
    in.ask.lambdas[1] = 0.5;
    in.ask.lambdas[2] = 1.0;
    struct eval *ev = world_eval(&in);
    uint32_t n = 0;
    assert_int_equal(eval_trees(ev, &n)->n_leaves, 6); /* those of likelihood */
    /* every answer has two tokens; Fast, Slow, Fast */
    const double rising[] = {-1.0, -3.0, -9.0, -8.0, -2.0, -9.0};
    eval_take(ev, EVAL_MAIN, 0, rising);
    json_t *root = world_finish(ev);
    assert_int_equal(json_array_size(json_object_get(root, "results")), 3);
    expect_figure(result_of(root, 0), "lambda", 0.0);
    expect_figure(result_of(root, 0), "accuracy", 0.0);
    expect_figure(result_of(root, 1), "accuracy", 0.0);
    expect_figure(result_of(root, 2), "lambda", 1.0);
    expect_figure(result_of(root, 2), "accuracy", 1.0);
    expect_figure(result_of(root, 2), "n", 1.0);
    expect_figure(result_of(root, 2), "per_value/Fast/accuracy", 1.0);
    json_t *mix = json_object_get(root, "mix");
    assert_true(json_is_true(json_object_get(mix, "monotone")));
    assert_true(json_is_true(json_object_get(json_object_get(mix, "values"), "Fast")));
    json_decref(root);
    const double falling[] = {-8.0, -2.0, -9.0, -1.0, -3.0, -9.0};
    eval_take(ev, EVAL_MAIN, 0, falling);
    root = world_finish(ev);
    mix = json_object_get(root, "mix");
    assert_true(json_is_false(json_object_get(mix, "monotone")));
    assert_true(json_is_false(json_object_get(json_object_get(mix, "values"), "Fast")));
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_a_file_of_another_kind_and_readouts_of_another_kind_are_refused(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d.json", one_scenario);
    struct eval_input in = world_input(&world, EVAL_RETENTION, data, NULL);
    struct eval *ev = NULL;
    struct errbuf e = {0};
    assert_int_equal(eval_new(&in, &ev, &e), ERR_REFUSED);
    assert_string_equal(e.text, "d.json: the items are scenarios with options; the evaluation "
                                "'retention' reads 'retention' files, what such items are for is "
                                "'select'");
    in.ask.task = EVAL_HISTORY;
    world.cfg->eval_readouts = 1u << READOUT_CONTRAST;
    assert_int_equal(eval_new(&in, &ev, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "'history' has likelihood, lift, letter"));
    world.cfg->eval_readouts = 1u << READOUT_LIFT;
    assert_int_equal(eval_new(&in, &ev, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "a length above 0 is needed"));
    in.ask.shots[0] = 3;
    assert_int_equal(eval_new(&in, &ev, &e), ERR_REFUSED);
    assert_string_equal(e.text, "d.json:1:2: a history of 3 choices is asked for, its axis has 0 "
                                "other scenarios in the file; ask for fewer");
    assert_null(ev);
    dataset_free(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select_one_and_select_all_come_from_one_scoring),
        cmocka_unit_test(
            test_a_threshold_is_fitted_on_training_scenarios_or_there_is_no_select_all),
        cmocka_unit_test(test_where_scenarios_are_held_out_thresholds_are_fitted_on_them_alone),
        cmocka_unit_test(test_a_paired_evaluation_gives_base_and_difference),
        cmocka_unit_test(test_behaviour_asks_both_poles_of_the_axis_of_the_file),
        cmocka_unit_test(test_retention_is_right_by_sum_or_by_mean),
        cmocka_unit_test(test_history_reads_the_right_length_and_lift_compares_with_none),
        cmocka_unit_test(test_a_divergence_is_a_mean_over_tokens_whole_and_by_part),
        cmocka_unit_test(test_a_prompt_without_an_answer_has_the_place_of_its_first_token),
        cmocka_unit_test(test_a_mix_counts_the_picks_of_the_first_value_at_every_share),
        cmocka_unit_test(test_a_file_of_another_kind_and_readouts_of_another_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
