/* test_generation_golden.c - greedy answers, mixes, captured sums, divergence and steering on the
 * tiny model against transformers (README.md beside this file). */
#include <stdatomic.h>

#include "common/format/model_file.h"
#include "tests/golden/golden_gradient.h"
#include "tests/support/test_level.h"
#include "worker/engine.h"
#include "worker/engine_generate.h"
#include "worker/model/weights.h"

#define FOLDER "tests/golden/generation/"

enum { TOKENS_MAX = 256, NEW_MAX = 64 };

struct golden {
    json_t *json;
    struct weights weights;
    struct lora_config lora;
    struct engine *engine;
    struct engine_slot *slot;
    struct safetensors *expected;
    float *flat;
    uint32_t new_tokens;
};

static void open_golden(struct golden *g)
{
    struct errbuf e = {0};
    struct model_file *mf = NULL;
    memset(g, 0, sizeof *g);
    must(golden_json(FOLDER "generation.json", &g->json, &e), &e);
    golden_lora(json_object_get(g->json, "lora"), &g->lora);
    g->new_tokens = golden_number(g->json, "new_tokens");
    assert_true(g->new_tokens <= NEW_MAX);
    must(model_open("tests/golden/tiny", &mf, &e), &e);
    must(weights_load(&g->weights, mf, 1, &e), &e);
    model_close(&mf);
    const struct engine_config config = {
        .shape = g->weights.shape, .lora = g->lora, .kernels = test_level()};
    must(engine_new(&config, &g->weights, &g->engine, &e), &e);
    must(engine_slot_new(g->engine, 0, &g->slot, &e), &e);
    g->flat = mem_calloc(engine_lora_count(g->engine), sizeof *g->flat);
    assert_non_null(g->flat);
    must(golden_adapter(FOLDER "lora.safetensors", &g->weights.shape, &g->lora, g->flat, &e), &e);
    must(safetensors_open(FOLDER "generation.safetensors", &g->expected, &e), &e);
}

static void close_golden(struct golden *g)
{
    safetensors_close(&g->expected);
    engine_slot_free(&g->slot);
    engine_free(&g->engine);
    weights_free(&g->weights);
    mem_free(g->flat);
    json_decref(g->json);
}

static uint32_t ids(const json_t *list, uint32_t *out)
{
    const uint32_t n = (uint32_t)json_array_size(list);
    assert_true(n > 0 && n <= TOKENS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    }
    return n;
}

/* Chains of their own roots, a label at the last row (or at every row) of each. */
static void chains(const struct golden *g, const json_t *const *lists, const float *weights,
                   uint32_t n, bool everywhere, struct tree *t)
{
    uint32_t tokens[2][TOKENS_MAX];
    uint32_t count[2];
    uint32_t rows = 0;
    struct errbuf e = {0};
    assert_true(n <= 2);
    for (uint32_t i = 0; i < n; i++) {
        count[i] = ids(lists[i], tokens[i]);
        rows += count[i];
    }
    assert_int_equal(tree_alloc(t, n, rows, everywhere ? rows : n, n), OK);
    for (uint32_t i = 0, row = 0, label = 0; i < n; i++) {
        t->nodes[i] = (struct tree_node){.parent = TREE_ROOT, .count = count[i]};
        memcpy(t->tokens + row, tokens[i], count[i] * sizeof *t->tokens);
        for (uint32_t k = everywhere ? 0 : count[i] - 1; k < count[i]; k++) {
            t->labels[label++] =
                (struct tree_label){.row = row + k, .leaf = i, .weight = weights[i]};
        }
        row += count[i];
    }
    must(tree_finish(t, g->weights.shape.vocab, &e), &e);
}

static void check_answer(struct golden *g, const struct tree *tree, const float *flat,
                         const json_t *expected)
{
    struct errbuf e = {0};
    struct tree copy = *tree;
    const struct unit unit = {.n_trees = 1, .n_rows = tree->n_rows, .trees = &copy};
    const struct answer_request r = {.top_p = 1.0f, .max_new_tokens = g->new_tokens};
    struct engine_answer answer = {.n = 0};
    atomic_bool stop = false;
    bool stopped;
    must(answer_check(tree, &r, g->weights.shape.vocab, &e), &e);
    must(engine_generate(g->slot, &unit, &r, 1, flat, &stop, &stopped, &answer, &e), &e);
    assert_int_equal(answer.n, json_array_size(expected));
    for (uint32_t i = 0; i < answer.n; i++) {
        assert_int_equal(answer.tokens[i], json_integer_value(json_array_get(expected, i)));
    }
    mem_free(answer.tokens);
}

static void test_greedy_answers_equal_those_of_transformers(void **state)
{
    (void)state;
    struct golden g;
    const float one = 1.0f;
    size_t i;
    const json_t *item;
    open_golden(&g);
    json_array_foreach(json_object_get(g.json, "answers"), i, item)
    {
        struct tree tree;
        const json_t *prompt = json_object_get(item, "prompt");
        chains(&g, &prompt, &one, 1, false, &tree);
        check_answer(&g, &tree, NULL, json_object_get(item, "base"));
        check_answer(&g, &tree, g.flat, json_object_get(item, "adapted"));
        tree_free(&tree);
    }
    close_golden(&g);
}

static void test_mixes_equal_the_formula_token_by_token(void **state)
{
    (void)state;
    struct golden g;
    size_t i;
    const json_t *item;
    open_golden(&g);
    json_array_foreach(json_object_get(g.json, "mixes"), i, item)
    {
        struct tree tree;
        const float lambda = (float)json_number_value(json_object_get(item, "lambda"));
        const float weights[] = {lambda, 1.0f - lambda};
        const json_t *const prompts[] = {json_object_get(g.json, "a"),
                                         json_object_get(g.json, "b")};
        assert_true(json_number_value(json_object_get(item, "lead")) > 1e-4);
        chains(&g, prompts, weights, 2, false, &tree);
        check_answer(&g, &tree, g.flat, json_object_get(item, "tokens"));
        tree_free(&tree);
    }
    close_golden(&g);
}

static void test_captured_sums_equal_those_of_hidden_states(void **state)
{
    (void)state;
    struct golden g;
    struct tree tree;
    struct errbuf e = {0};
    const float weights[] = {1.0f, -1.0f};
    open_golden(&g);
    const size_t half = (size_t)g.weights.shape.layers * g.weights.shape.hidden;
    const json_t *const prompts[] = {json_object_get(g.json, "a"), json_object_get(g.json, "b")};
    chains(&g, prompts, weights, 2, true, &tree);
    const struct unit unit = {.n_trees = 1, .n_rows = tree.n_rows, .trees = &tree};
    int64_t *sum = mem_calloc(engine_capture_count(g.engine), sizeof *sum);
    assert_true(engine_capture_count(g.engine) == 2 * half);
    must(engine_capture(g.slot, &unit, g.flat, sum, &e), &e);
    float *plus = golden_tensor(g.expected, "plus", half);
    float *minus = golden_tensor(g.expected, "minus", half);
    for (size_t i = 0; i < half; i++) {
        const double a = (double)sum[i] * 0x1p-32;
        const double b = (double)sum[half + i] * 0x1p-32;
        if (!(fabs(a - (double)plus[i]) <= 1e-4 * (1.0 + fabs(a))) ||
            !(fabs(b - (double)minus[i]) <= 1e-4 * (1.0 + fabs(b)))) {
            fail_msg("element %zu: %g and %g, not %g and %g", i, a, b, (double)plus[i],
                     (double)minus[i]);
        }
    }
    /* Twice is twice, exactly. */
    int64_t *again = mem_calloc(2 * half, sizeof *again);
    must(engine_capture(g.slot, &unit, g.flat, again, &e), &e);
    must(engine_capture(g.slot, &unit, g.flat, again, &e), &e);
    for (size_t i = 0; i < 2 * half; i++) {
        assert_true(again[i] == 2 * sum[i]);
    }
    mem_free(again);
    mem_free(sum);
    mem_free(plus);
    mem_free(minus);
    tree_free(&tree);
    close_golden(&g);
}

static void test_the_divergence_from_the_base_is_that_of_the_full_vocabulary(void **state)
{
    (void)state;
    struct golden g;
    struct errbuf e = {0};
    const float one = 1.0f;
    size_t i;
    const json_t *item;
    open_golden(&g);
    json_array_foreach(json_object_get(g.json, "answers"), i, item)
    {
        struct tree tree;
        double kl;
        const double expected = json_number_value(json_array_get(json_object_get(g.json, "kl"), i));
        const json_t *prompt = json_object_get(item, "prompt");
        chains(&g, &prompt, &one, 1, true, &tree);
        const struct unit unit = {.n_trees = 1, .n_rows = tree.n_rows, .trees = &tree};
        must(engine_divergence(g.slot, &unit, g.flat, &kl, &e), &e);
        assert_true(fabs(kl - expected) <= 1e-5 * (1.0 + expected));
        must(engine_divergence(g.slot, &unit, NULL, &kl, &e), &e);
        assert_true(kl == 0.0);
        tree_free(&tree);
    }
    close_golden(&g);
}

static void test_vectors_are_added_behind_every_layer(void **state)
{
    (void)state;
    struct golden g;
    struct tree tree;
    struct errbuf e = {0};
    const float one = 1.0f;
    uint32_t count;
    open_golden(&g);
    const struct model_shape *s = &g.weights.shape;
    const json_t *prompt = json_object_get(g.json, "a");
    chains(&g, &prompt, &one, 1, false, &tree);
    const struct unit unit = {.n_trees = 1, .n_rows = tree.n_rows, .trees = &tree};
    float *vectors = golden_tensor(g.expected, "steer", (size_t)s->layers * s->hidden);
    float *expected = golden_tensor(g.expected, "steered", s->vocab);
    float *plain = mem_calloc(s->vocab, sizeof *plain);
    float *logits = mem_calloc(s->vocab, sizeof *logits);
    must(engine_logits(g.slot, &unit, g.flat, NULL, plain, &count, &e), &e);
    must(engine_slot_steer(g.slot, vectors, &e), &e);
    must(engine_logits(g.slot, &unit, g.flat, NULL, logits, &count, &e), &e);
    for (uint32_t i = 0; i < s->vocab; i++) {
        assert_true(fabs((double)logits[i] - (double)expected[i]) <= 1e-4);
    }
    must(engine_slot_steer(g.slot, NULL, &e), &e);
    must(engine_logits(g.slot, &unit, g.flat, NULL, logits, &count, &e), &e);
    assert_memory_equal(logits, plain, s->vocab * sizeof *plain);
    mem_free(vectors);
    mem_free(expected);
    mem_free(plain);
    mem_free(logits);
    tree_free(&tree);
    close_golden(&g);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_answers_equal_those_of_transformers),
        cmocka_unit_test(test_mixes_equal_the_formula_token_by_token),
        cmocka_unit_test(test_captured_sums_equal_those_of_hidden_states),
        cmocka_unit_test(test_the_divergence_from_the_base_is_that_of_the_full_vocabulary),
        cmocka_unit_test(test_vectors_are_added_behind_every_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
