/* test_eval_generated.c - answers in words: what is asked, what their replies are worth, and which
 * of them are known beforehand. */
#include "tests/unit/coordinator/eval_fixture.h"

#include "common/base/mem.h"
#include "coordinator/score_book.h"

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

static const char two_scenarios[] =
    "[{\"scenario\":\"A bus is late.\",\"preference domain\":\"Pace\",\"options\":["
    "{\"text\":\"Run.\",\"bias\":\"Fast\"},{\"text\":\"Sit.\",\"bias\":\"Slow\"},"
    "{\"text\":\"Go.\",\"bias\":\"Fast\"}]},"
    "{\"scenario\":\"It rains.\",\"preference domain\":\"Pace\",\"options\":["
    "{\"text\":\"Walk on.\",\"bias\":\"Slow\"},{\"text\":\"Hurry home.\",\"bias\":\"Fast\"}]}]";

static struct eval_input input(const struct dataset *data)
{
    struct eval_input in = world_input(&world, EVAL_GENERATED, data, NULL);
    in.vocab = model_shape(world.model)->vocab;
    return in;
}

static void answer(struct generate *g, uint32_t i, const char *text)
{
    struct token_list list = {0};
    struct errbuf e = {0};
    uint32_t tokens[64];
    assert_int_equal(tokenizer_encode(world.tok, text, strlen(text), &list, &e), OK);
    assert_true(list.count <= 64);
    for (size_t k = 0; k < list.count; k++) {
        tokens[k] = list.items[k].id;
    }
    assert_int_equal(generate_put(g, i, ANSWER_STOPPED, tokens, (uint32_t)list.count), OK);
    token_list_free(&list);
}

/* By scenario, side a and b of each, one and all of each. */
static void answer_all(struct generate *g, const char *const replies[8])
{
    for (uint32_t i = 0; i < 8; i++) {
        answer(g, i, replies[i]);
    }
}

static void prompt_of(const struct generate *g, uint32_t i, struct str *out)
{
    const struct tree *t = generate_tree(g, i);
    struct errbuf e = {0};
    str_clear(out);
    assert_int_equal(tokenizer_decode(world.tok, t->tokens, t->n_rows, out, &e), OK);
}

static void test_options_are_listed_and_json_is_asked_for(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", two_scenarios);
    const struct eval_input in = input(data);
    struct eval *ev = world_eval(&in);
    struct generate *g = eval_generate(ev, EVAL_MAIN);
    struct str text = {0};
    uint32_t n = 7;
    assert_int_equal(generate_count(g), 8);
    assert_null(eval_generate(ev, EVAL_BASE));
    (void)eval_trees(ev, &n);
    assert_int_equal(n, 0);
    prompt_of(g, 0, &text);
    assert_string_equal(
        text.data, "<|im_start|>user\nA bus is late.\n\nA. Run.\nB. Sit.\nC. Go.\n\nAnswer as "
                   "someone who values 'Fast'. Quick. Choose the one option that fits this best. "
                   "Reply in JSON: {\"choice\": <one letter>, \"explanation\": <one sentence>}"
                   "<|im_end|>\n<|im_start|>assistant\n");
    prompt_of(g, 7, &text);
    assert_non_null(strstr(text.data, "values 'Slow'. Calm. Choose every option that fits this. "
                                      "Reply in JSON: {\"choices\": [<letters>], "));
    const struct answer_request *how = generate_request(g, 0);
    assert_true(how->temperature == 0.0f && how->n_stops >= 1);
    str_free(&text);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_replies_are_counted_and_those_not_read_are_wrong(void **state)
{
    (void)state;
    static const char *const replies[8] = {
        "{\"choice\": \"C\"}",                 /* Fast: right */
        "{\"choices\": [\"A\"]}",              /* recall 1/2 */
        "{\"choice\": \"A\", \"explanation\"", /* Slow: wrong */
        "{\"choices\": [\"B\"]}",              /* exact */
        "I do not know.",                      /* Fast: not read */
        "{\"choices\": [\"A\", \"B\"]}",       /* one wrong: 0 */
        "Walk on.",                            /* Slow: right */
        "no",                                  /* not read */
    };
    struct dataset *data = world_data(&world, "d", two_scenarios);
    struct eval_input in = input(data);
    struct str json = {0};
    struct errbuf e = {0};
    in.train = data;
    struct eval *ev = world_eval(&in);
    assert_int_equal(eval_finish(ev, &json, &e), ERR_STATE);
    answer_all(eval_generate(ev, EVAL_MAIN), replies);
    json_t *root = world_finish(ev);
    json_t *r = result_of(root, 0);
    assert_string_equal(json_string_value(json_object_get(r, "readout")), "generated");
    expect_figure(r, "n", 4.0);
    expect_figure(r, "accuracy", 0.5);
    expect_figure(r, "unparsed", 0.25);
    expect_figure(r, "unparsed_n", 1.0);
    expect_figure(r, "per_value/Fast/unparsed", 0.5);
    expect_figure(r, "per_value/Slow/unparsed_n", 0.0);
    expect_figure(r, "select_all/score", 1.5 / 4.0);
    expect_figure(r, "select_all/unparsed_n", 1.0);
    expect_figure(r, "select_all/precision", 3.0 / 4.0);
    expect_figure(r, "select_all/recall", 3.0 / 5.0);
    assert_true(json_is_null(json_object_get(json_object_get(r, "select_all"), "threshold")));
    expect_figure(r, "bag_of_words/accuracy", 1.0);
    expect_figure(r, "select_all/bag_of_words/score", 1.0);
    char *questions = json_dumps(json_object_get(r, "questions"), JSON_COMPACT);
    assert_string_equal(questions, "[[0,0,0,2,1],[0,0,1,0,0],[1,0,0,-1,0],[1,0,1,0,1]]");
    mem_free(questions);
    json_decref(root);
    str_free(&json);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_a_pair_of_passes_is_compared_question_by_question(void **state)
{
    (void)state;
    static const char *const right[8] = {"A", "A, C", "B", "B", "B", "B", "A", "A"};
    static const char *const wrong[8] = {"B", "B", "C", "A", "A", "A", "B", "?"};
    struct dataset *data = world_data(&world, "d", two_scenarios);
    struct eval_input in = input(data);
    in.ask.paired = true;
    struct eval *ev = world_eval(&in);
    answer_all(eval_generate(ev, EVAL_BASE), wrong);
    answer_all(eval_generate(ev, EVAL_MAIN), right);
    json_t *root = world_finish(ev);
    json_t *r = result_of(root, 0);
    expect_figure(r, "accuracy", 1.0);
    expect_figure(r, "base/accuracy", 0.0);
    expect_figure(r, "paired/difference", 1.0);
    expect_figure(r, "select_all/base/unparsed_n", 1.0);
    expect_figure(r, "select_all/paired/difference", 1.0);
    json_decref(root);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_only_what_is_not_known_is_opened_and_units_name_their_requests(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", two_scenarios);
    const struct eval_input in = input(data);
    struct eval *ev = world_eval(&in);
    struct generate *g = eval_generate(ev, EVAL_MAIN);
    struct batch b = {0};
    struct errbuf e = {0};
    const uint32_t unknown = in.vocab;
    answer(g, 0, "A");
    answer(g, 3, "B");
    assert_int_equal(generate_put(g, 1, ANSWER_STOPPED, &unknown, 1), ERR_RANGE);
    assert_int_equal(generate_put(g, 1, (enum answer_end)9, NULL, 0), ERR_RANGE);
    assert_int_equal(generate_left(g), 6);
    assert_int_equal(generate_batch(g, 1, &b, &e), OK);
    assert_int_equal(b.n_units, 6);
    assert_int_equal(generate_of_unit(g, 0), 1);
    assert_int_equal(generate_of_unit(g, 2), 4);
    assert_int_equal(b.trees[2].n_rows, generate_tree(g, 4)->n_rows);
    batch_free(&b);
    eval_free(&ev);
    dataset_free(&data);
}

static void test_a_key_of_an_answer_is_of_prompt_request_adapter_and_vectors(void **state)
{
    (void)state;
    struct dataset *data = world_data(&world, "d", two_scenarios);
    const struct eval_input in = input(data);
    struct eval *ev = world_eval(&in);
    struct generate *g = eval_generate(ev, EVAL_MAIN);
    const uint8_t adapter[HASH_XXH128_BYTES] = {1};
    struct answer_request longer = *generate_request(g, 0);
    struct score_key key, same, others[4];
    longer.max_new_tokens++;
    struct tree numbered = *generate_tree(g, 0);
    numbered.id = 99;
    const struct score_maker base = {.adapter = NULL}, adapted = {.adapter = adapter},
                             steered = {.vectors = adapter};
    const struct tree *tree = generate_tree(g, 0);
    const struct answer_request *request = generate_request(g, 0);
    assert_int_equal(score_book_answer_key(tree, request, &base, &key), OK);
    assert_int_equal(score_book_answer_key(&numbered, request, &base, &same), OK);
    assert_int_equal(score_book_answer_key(&numbered, &longer, &base, &others[0]), OK);
    assert_int_equal(score_book_answer_key(&numbered, request, &adapted, &others[1]), OK);
    assert_int_equal(score_book_answer_key(generate_tree(g, 1), request, &base, &others[2]), OK);
    assert_int_equal(score_book_answer_key(&numbered, request, &steered, &others[3]), OK);
    assert_memory_equal(&key, &same, sizeof key);
    for (int i = 0; i < 4; i++) {
        assert_memory_not_equal(&key, &others[i], sizeof key);
    }
    eval_free(&ev);
    dataset_free(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_are_listed_and_json_is_asked_for),
        cmocka_unit_test(test_replies_are_counted_and_those_not_read_are_wrong),
        cmocka_unit_test(test_a_pair_of_passes_is_compared_question_by_question),
        cmocka_unit_test(test_only_what_is_not_known_is_opened_and_units_name_their_requests),
        cmocka_unit_test(test_a_key_of_an_answer_is_of_prompt_request_adapter_and_vectors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
