/* test_engine.c - gradients and scores of the engine against the same model in double, and what
 * DESIGN §4 promises about bits. Seeds are fixed and printed. */
#include <pthread.h>

#include "tests/unit/worker/tiny_model.h"
#include "worker/backend/bf16.h"
#include "worker/model/terms.h"

enum { SEED = 20261123 };

struct fixture {
    struct weights weights;
    struct engine *engine;
    struct engine_slot *slot;
    float *flat;
    size_t count;
    int64_t *sum;
    struct unit_result result;
};

static void open_fixture(struct fixture *f, const struct model_shape *shape,
                         const struct engine_config *config)
{
    struct errbuf e = {0};
    memset(f, 0, sizeof *f);
    tiny_weights(&f->weights, shape, SEED);
    assert_int_equal(engine_new(config, &f->weights, &f->engine, &e), OK);
    assert_int_equal(engine_slot_new(f->engine, 0, &f->slot, &e), OK);
    f->count = engine_lora_count(f->engine);
    f->flat = tiny_adapter(shape, &config->lora, SEED);
    f->sum = mem_calloc(f->count, sizeof *f->sum);
    assert_non_null(f->sum);
}

static void close_fixture(struct fixture *f)
{
    engine_slot_free(&f->slot);
    engine_free(&f->engine);
    weights_free(&f->weights);
    mem_free(f->flat);
    mem_free(f->sum);
}

static void gradient(struct fixture *f, const struct unit *unit)
{
    struct errbuf e = {0};
    memset(f->sum, 0, f->count * sizeof *f->sum);
    if (engine_gradient(f->slot, unit, f->flat, 3, f->sum, &f->result, &e) != OK) {
        fail_msg("%s", e.text);
    }
}

static double loss_of(const struct fixture *f)
{
    return (double)f->result.loss * 0x1p-40;
}

static void test_loss_and_scores_equal_separate_passes_in_double(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    open_fixture(&f, &tiny_shape, &config);
    double *flat = mem_calloc(f.count, sizeof *flat);
    for (size_t i = 0; i < f.count; i++) {
        flat[i] = (double)f.flat[i];
    }
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct tree t;
        struct errbuf e = {0};
        tiny_tree(&t, &tiny_shape, 1 + (uint32_t)seed, seed == 5 ? 40 : 9, seed);
        const struct unit unit = tiny_unit(&t, 1);
        for (int adapter = 0; adapter < 2; adapter++) {
            const struct reference r = {&f.weights, &tiny_lora, adapter ? flat : NULL};
            double expected[64] = {0};
            double leaves[64] = {0};
            double loss = reference_loss(&r, &t, expected);
            assert_int_equal(
                engine_gradient(f.slot, &unit, adapter ? f.flat : NULL, 3, f.sum, &f.result, &e),
                OK);
            assert_int_equal(engine_score(f.slot, &unit, adapter ? f.flat : NULL, leaves, &e), OK);
            assert_int_equal(f.result.labels, t.n_labels);
            if (!(fabs(loss_of(&f) - loss) <= 1e-5 * (1 + fabs(loss)))) {
                fail_msg("seed %d: loss %.9g, %.9g expected", (int)seed, loss_of(&f), loss);
            }
            for (uint32_t i = 0; i < t.n_leaves; i++) {
                if (!(fabs(leaves[i] - expected[i]) <= 1e-5 * (1 + fabs(expected[i])))) {
                    fail_msg("seed %d, leaf %u: log p %.9g, %.9g expected", (int)seed, i, leaves[i],
                             expected[i]);
                }
            }
        }
        tree_free(&t);
    }
    mem_free(flat);
    close_fixture(&f);
}

/* Loss of labels and terms from separate passes in double. */
static double full_loss(const struct reference *r, const struct tree *t)
{
    double log_p[64] = {0};
    double unused[64] = {0};
    double loss = reference_loss(r, t, log_p);
    assert_true(t->n_leaves <= 64);
    for (uint32_t i = 0; i < t->n_terms; i++) {
        loss += terms_add(&t->terms[i], log_p, unused);
    }
    return loss;
}

/* The gradient along a random direction within one matrix, against central differences of the loss
 * in double. */
static void check_direction(const struct fixture *f, const struct lora_config *lora,
                            const struct unit *unit, size_t from, size_t count, const char *name)
{
    double *flat = mem_calloc(f->count, sizeof *flat);
    double ends[2] = {0, 0};
    double along = 0;
    double size = 0;
    const double step = 1e-4;
    const struct reference r = {&f->weights, lora, flat};
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < f->count; i++) {
            bool inside = i >= from && i < from + count;
            double d = inside ? (double)tiny_random(99, i, 1.0f) : 0.0;
            flat[i] = (double)f->flat[i] + (side ? step : -step) * d;
            if (side) {
                along += d * (double)f->sum[i] * 0x1p-40;
                size += d * d * (double)f->sum[i] * (double)f->sum[i] * 0x1p-80;
            }
        }
        for (uint32_t t = 0; t < unit->n_trees; t++) {
            ends[side] += full_loss(&r, &unit->trees[t]);
        }
    }
    double expected = (ends[1] - ends[0]) / (2 * step);
    if (!(fabs(along - expected) <= 2e-5 * (sqrt(size) + 1e-3))) {
        fail_msg("%s: %.9g along the direction, %.9g by differences", name, along, expected);
    }
    mem_free(flat);
}

static void check_unit(const struct model_shape *shape, const struct lora_config *lora,
                       uint64_t seed, struct tree trees[2])
{
    struct engine_config config = tiny_config(shape, lora);
    struct fixture f;
    open_fixture(&f, shape, &config);
    const struct unit unit = tiny_unit(trees, 2);
    gradient(&f, &unit);
    double loss = 0;
    double *flat = mem_calloc(f.count, sizeof *flat);
    for (size_t i = 0; i < f.count; i++) {
        flat[i] = (double)f.flat[i];
    }
    const struct reference r = {&f.weights, lora, flat};
    loss = full_loss(&r, &trees[0]) + full_loss(&r, &trees[1]);
    mem_free(flat);
    assert_true(fabs(loss_of(&f) - loss) <= 1e-5 * (1 + fabs(loss)));
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            char name[64];
            if (!lora_place(shape, lora, layer, (enum lora_module)m, &place)) {
                continue;
            }
            (void)snprintf(name, sizeof name, "seed %d, layer %u, %s", (int)seed, layer,
                           lora_module_name((enum lora_module)m));
            check_direction(&f, lora, &unit, place.a, (size_t)lora->r * place.in, name);
            check_direction(&f, lora, &unit, place.b, (size_t)lora->r * place.out, name);
        }
    }
    tree_free(&trees[0]);
    tree_free(&trees[1]);
    close_fixture(&f);
}

static void check_gradient(const struct model_shape *shape, const struct lora_config *lora,
                           uint64_t seed, uint32_t nodes, uint32_t most)
{
    struct tree trees[2];
    tiny_tree(&trees[0], shape, nodes, most, seed);
    tiny_tree(&trees[1], shape, 3, 4, seed + 50);
    check_unit(shape, lora, seed, trees);
}

static void test_terms_that_compare_leaves_give_the_gradient_of_finite_differences(void **state)
{
    (void)state;
    struct tree trees[2];
    struct errbuf e = {0};
    tiny_tree(&trees[0], &tiny_shape, 9, 6, 13);
    tiny_tree(&trees[1], &tiny_shape, 5, 5, 17);
    assert_true(trees[0].n_leaves >= 4 && trees[1].n_leaves >= 2);
    for (uint32_t i = 0; i < trees[0].n_labels; i++) { /* as under DPO: terms alone */
        trees[0].labels[i].weight = 0;
    }
    assert_int_equal(tree_alloc_terms(&trees[0], 2), OK);
    assert_int_equal(tree_alloc_terms(&trees[1], 1), OK);
    trees[0].terms[0] = (struct tree_term){
        .n = 4, .leaf = {0, 2, 1, 3}, .coef = {0.3f, -0.3f, -0.3f, 0.3f}, .weight = 1.5f};
    trees[0].terms[1] = (struct tree_term){.n = 2,
                                           .leaf = {3, 0},
                                           .coef = {0.1f, -0.1f},
                                           .offset = -0.75,
                                           .weight = 0.5f,
                                           .smoothing = 0.25f};
    trees[1].terms[0] = (struct tree_term){
        .n = 2, .leaf = {1, 0}, .coef = {0.5f, -0.25f}, .offset = -0.5, .weight = 2};
    assert_int_equal(tree_finish(&trees[0], tiny_shape.vocab, &e), OK);
    assert_int_equal(tree_finish(&trees[1], tiny_shape.vocab, &e), OK);
    check_unit(&tiny_shape, &tiny_lora, 13, trees);
}

static void test_every_gradient_matches_finite_differences(void **state)
{
    (void)state;
    check_gradient(&tiny_shape, &tiny_lora, 11, 7, 6);
    check_gradient(&tiny_shape, &tiny_lora, 12, 2, 70); /* nodes of several attention blocks */
}

static void test_any_subset_of_targets_gives_its_gradients(void **state)
{
    (void)state;
    const uint32_t subsets[] = {1u << LORA_Q | 1u << LORA_V, 1u << LORA_O, 1u << LORA_DOWN,
                                1u << LORA_GATE, 1u << LORA_K | 1u << LORA_UP};
    for (size_t i = 0; i < sizeof subsets / sizeof subsets[0]; i++) {
        const struct lora_config lora = {2, 1.0f, 0.0f, subsets[i]};
        check_gradient(&tiny_shape, &lora, 21 + i, 5, 5);
    }
}

static void test_one_layer_and_an_untied_head_work(void **state)
{
    (void)state;
    struct model_shape shape = tiny_shape;
    shape.layers = 1;
    shape.tied_head = false;
    shape.kv_heads = shape.heads;
    check_gradient(&shape, &tiny_lora, 31, 6, 6);
}

static void test_b_of_zero_gives_a_gradient_of_exactly_zero(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree t;
    open_fixture(&f, &tiny_shape, &config);
    lora_init(&tiny_shape, &tiny_lora, 1, f.flat);
    tiny_tree(&t, &tiny_shape, 6, 6, 41);
    const struct unit unit = tiny_unit(&t, 1);
    gradient(&f, &unit);
    for (uint32_t layer = 0; layer < tiny_shape.layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            bool any = false;
            assert_true(lora_place(&tiny_shape, &tiny_lora, layer, (enum lora_module)m, &place));
            for (size_t i = 0; i < (size_t)tiny_lora.r * place.in; i++) {
                assert_int_equal(f.sum[place.a + i], 0);
            }
            for (size_t i = 0; i < (size_t)tiny_lora.r * place.out; i++) {
                any = any || f.sum[place.b + i] != 0;
            }
            assert_true(any);
        }
    }
    tree_free(&t);
    close_fixture(&f);
}

static void test_bits_of_a_unit_do_not_depend_on_what_ran_before(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree small;
    struct tree large;
    struct errbuf e = {0};
    double leaves[64];
    open_fixture(&f, &tiny_shape, &config);
    int64_t *first = mem_calloc(f.count, sizeof *first);
    tiny_tree(&small, &tiny_shape, 5, 6, 51);
    tiny_tree(&large, &tiny_shape, 9, 30, 52);
    const struct unit unit = tiny_unit(&small, 1);
    const struct unit other = tiny_unit(&large, 1);
    gradient(&f, &unit);
    memcpy(first, f.sum, f.count * sizeof *first);
    struct unit_result before = f.result;
    gradient(&f, &other);
    assert_int_equal(engine_score(f.slot, &other, NULL, leaves, &e), OK);
    gradient(&f, &unit);
    assert_memory_equal(first, f.sum, f.count * sizeof *first);
    assert_memory_equal(&before, &f.result, sizeof before);
    mem_free(first);
    tree_free(&small);
    tree_free(&large);
    close_fixture(&f);
}

static void test_a_sum_over_units_is_the_sum_of_their_sums(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree t[2];
    struct errbuf e = {0};
    open_fixture(&f, &tiny_shape, &config);
    int64_t *total = mem_calloc(f.count, sizeof *total);
    tiny_tree(&t[0], &tiny_shape, 5, 6, 61);
    tiny_tree(&t[1], &tiny_shape, 4, 8, 62);
    double squares = 0;
    for (uint32_t i = 0; i < 2; i++) {
        const struct unit unit = tiny_unit(&t[i], 1);
        gradient(&f, &unit);
        for (size_t j = 0; j < f.count; j++) {
            total[j] += f.sum[j];
            squares += (double)f.sum[j] * (double)f.sum[j] * 0x1p-80;
        }
        squares -= f.result.sumsq;
    }
    assert_true(fabs(squares) <= 1e-9 * f.result.sumsq);
    memset(f.sum, 0, f.count * sizeof *f.sum);
    for (uint32_t i = 2; i-- > 0;) {
        const struct unit unit = tiny_unit(&t[i], 1);
        assert_int_equal(engine_gradient(f.slot, &unit, f.flat, 3, f.sum, &f.result, &e), OK);
    }
    assert_memory_equal(total, f.sum, f.count * sizeof *total);
    mem_free(total);
    tree_free(&t[0]);
    tree_free(&t[1]);
    close_fixture(&f);
}

struct job {
    struct fixture *f;
    struct engine_slot *slot;
    const struct unit *unit;
    int64_t *sum;
};

static void *run_job(void *context)
{
    struct job *j = context;
    struct unit_result result;
    for (int i = 0; i < 10; i++) {
        memset(j->sum, 0, j->f->count * sizeof *j->sum);
        if (engine_gradient(j->slot, j->unit, j->f->flat, 3, j->sum, &result, NULL) != OK) {
            return j;
        }
    }
    return NULL;
}

static void test_two_slots_at_once_give_the_same_bits(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree t;
    struct job jobs[2];
    pthread_t threads[2];
    struct errbuf e = {0};
    open_fixture(&f, &tiny_shape, &config);
    tiny_tree(&t, &tiny_shape, 8, 12, 71);
    const struct unit unit = tiny_unit(&t, 1);
    gradient(&f, &unit);
    for (int i = 0; i < 2; i++) {
        jobs[i] = (struct job){&f, NULL, &unit, mem_calloc(f.count, sizeof(int64_t))};
        assert_int_equal(engine_slot_new(f.engine, 100, &jobs[i].slot, &e), OK);
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        assert_memory_equal(f.sum, jobs[i].sum, f.count * sizeof *f.sum);
        assert_true(engine_slot_progress(jobs[i].slot) >= 10 * 2 * tiny_shape.layers);
        engine_slot_free(&jobs[i].slot);
        mem_free(jobs[i].sum);
    }
    tree_free(&t);
    close_fixture(&f);
}

static void test_a_gradient_too_large_is_refused_by_module_layer_and_tree(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree t[2];
    struct errbuf e = {0};
    struct lora_place place;
    open_fixture(&f, &tiny_shape, &config);
    tiny_tree(&t[0], &tiny_shape, 4, 5, 81);
    tiny_tree(&t[1], &tiny_shape, 4, 5, 82);
    const struct unit unit = tiny_unit(t, 2);
    /* A small A and a huge B of one module: its dA is huge, the loss is not. */
    assert_true(lora_place(&tiny_shape, &tiny_lora, 1, LORA_UP, &place));
    for (size_t i = 0; i < (size_t)tiny_lora.r * place.in; i++) {
        f.flat[place.a + i] = 0.0f;
    }
    for (size_t i = 0; i < (size_t)tiny_lora.r * place.out; i++) {
        f.flat[place.b + i] *= 1e5f;
    }
    assert_int_equal(engine_gradient(f.slot, &unit, f.flat, 3, f.sum, &f.result, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "unit 7, tree 81: gradient"));
    assert_non_null(strstr(e.text, "lora_A of up_proj in layer 1 "));
    assert_non_null(strstr(e.text, "training diverges; a lower train.learning_rate"));
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(f.sum[i], 0);
    }
    /* NaN parameters show in the loss. */
    f.flat[place.b] = NAN;
    assert_int_equal(engine_gradient(f.slot, &unit, f.flat, 3, f.sum, &f.result, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "tree 81: loss"));
    assert_non_null(strstr(e.text, "training diverges; a lower train.learning_rate"));
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(f.sum[i], 0);
    }
    tree_free(&t[0]);
    tree_free(&t[1]);
    close_fixture(&f);
}

static void test_trees_of_a_unit_do_not_mix(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree t[3];
    struct errbuf e = {0};
    double together[64];
    double alone[64];
    open_fixture(&f, &tiny_shape, &config);
    for (uint32_t i = 0; i < 3; i++) {
        tiny_tree(&t[i], &tiny_shape, 3 + i, 7, 91 + i);
    }
    const struct unit unit = tiny_unit(t, 3);
    assert_int_equal(engine_score(f.slot, &unit, f.flat, together, &e), OK);
    uint32_t at = 0;
    for (uint32_t i = 0; i < 3; i++) {
        const struct unit one = tiny_unit(&t[i], 1);
        assert_int_equal(engine_score(f.slot, &one, f.flat, alone, &e), OK);
        for (uint32_t leaf = 0; leaf < t[i].n_leaves; leaf++, at++) {
            assert_true(fabs(together[at] - alone[leaf]) <= 1e-5 * (1 + fabs(alone[leaf])));
        }
        tree_free(&t[i]);
    }
    close_fixture(&f);
}

static void test_tiles_change_rounding_only(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture whole;
    struct fixture tiled;
    struct tree t;
    open_fixture(&whole, &tiny_shape, &config);
    config.tile_rows = 5;
    config.tile_cols = 7;
    open_fixture(&tiled, &tiny_shape, &config);
    tiny_tree(&t, &tiny_shape, 6, 9, 95);
    const struct unit unit = tiny_unit(&t, 1);
    gradient(&whole, &unit);
    gradient(&tiled, &unit);
    double error = 0;
    for (size_t i = 0; i < whole.count; i++) {
        double d = (double)(whole.sum[i] - tiled.sum[i]) * 0x1p-40;
        error += d * d;
    }
    assert_true(sqrt(error) <= 1e-5 * sqrt(whole.result.sumsq));
    tree_free(&t);
    close_fixture(&whole);
    close_fixture(&tiled);
}

static void test_dropout_keeps_its_masks_by_step_and_its_mean(void **state)
{
    (void)state;
    struct lora_config lora = tiny_lora;
    lora.dropout = 0.25f;
    struct engine_config config = tiny_config(&tiny_shape, &lora);
    struct fixture f;
    struct tree t;
    struct errbuf e = {0};
    struct unit_result a;
    struct unit_result b;
    open_fixture(&f, &tiny_shape, &config);
    tiny_tree(&t, &tiny_shape, 6, 9, 101);
    const struct unit unit = tiny_unit(&t, 1);
    assert_int_equal(engine_gradient(f.slot, &unit, f.flat, 1, f.sum, &a, &e), OK);
    assert_int_equal(engine_gradient(f.slot, &unit, f.flat, 1, f.sum, &b, &e), OK);
    assert_int_equal(a.loss, b.loss);
    assert_int_equal(engine_gradient(f.slot, &unit, f.flat, 2, f.sum, &b, &e), OK);
    assert_int_not_equal(a.loss, b.loss);
    /* Small adapters make the loss nearly linear in the masks: its mean is the one without. */
    for (size_t i = 0; i < f.count; i++) {
        f.flat[i] *= 0.2f;
    }
    double mean = 0;
    enum { STEPS = 400 };
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_int_equal(engine_gradient(f.slot, &unit, f.flat, step, f.sum, &a, &e), OK);
        mean += (double)a.loss * 0x1p-40 / STEPS;
    }
    double leaves[64];
    double plain = 0;
    lora.dropout = 0.0f;
    config.lora = lora;
    struct fixture still;
    open_fixture(&still, &tiny_shape, &config);
    memcpy(still.flat, f.flat, f.count * sizeof *f.flat);
    gradient(&still, &unit);
    plain = loss_of(&still);
    if (!(fabs(mean - plain) <= 2e-3 * plain)) {
        fail_msg("mean loss %.6g with dropout, %.6g without", mean, plain);
    }
    /* Scores never drop. */
    double others[64];
    assert_int_equal(engine_score(f.slot, &unit, f.flat, leaves, &e), OK);
    assert_int_equal(engine_score(still.slot, &unit, f.flat, others, &e), OK);
    assert_memory_equal(leaves, others, t.n_leaves * sizeof *leaves);
    tree_free(&t);
    close_fixture(&f);
    close_fixture(&still);
}

/* With masks fixed by the step, the gradient is that of the loss with those masks: differences of
 * the engine's own loss, in fp32. */
static void test_gradient_with_dropout_matches_differences_of_its_loss(void **state)
{
    (void)state;
    struct lora_config lora = tiny_lora;
    lora.dropout = 0.3f;
    struct engine_config config = tiny_config(&tiny_shape, &lora);
    struct fixture f;
    struct tree t;
    struct errbuf e = {0};
    open_fixture(&f, &tiny_shape, &config);
    tiny_tree(&t, &tiny_shape, 6, 7, 111);
    const struct unit unit = tiny_unit(&t, 1);
    gradient(&f, &unit);
    const double step = 1e-4;
    double along = 0;
    double ends[2];
    int64_t *ignored = mem_calloc(f.count, sizeof *ignored);
    float *moved = mem_calloc(f.count, sizeof *moved);
    for (int side = 0; side < 2; side++) {
        struct unit_result result;
        for (size_t i = 0; i < f.count; i++) {
            double d = (double)tiny_random(98, i, 1.0f);
            d = f.sum[i] > 0 ? fabs(d) : -fabs(d); /* uphill: a large derivative */
            along += side ? d * (double)f.sum[i] * 0x1p-40 : 0.0;
            moved[i] = f.flat[i] + (float)((side ? step : -step) * d);
        }
        assert_int_equal(engine_gradient(f.slot, &unit, moved, 3, ignored, &result, &e), OK);
        ends[side] = (double)result.loss * 0x1p-40;
    }
    double expected = (ends[1] - ends[0]) / (2 * step);
    if (!(fabs(along - expected) <= 1e-2 * fabs(expected))) {
        fail_msg("%.9g along the direction, %.9g by differences", along, expected);
    }
    mem_free(ignored);
    mem_free(moved);
    tree_free(&t);
    close_fixture(&f);
}

static void test_a_unit_without_labels_is_nothing(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct tree t;
    open_fixture(&f, &tiny_shape, &config);
    tiny_tree(&t, &tiny_shape, 3, 5, 121);
    t.n_labels = 0;
    const struct unit unit = tiny_unit(&t, 1);
    gradient(&f, &unit);
    assert_int_equal(f.result.loss, 0);
    assert_int_equal(f.result.labels, 0);
    assert_true(f.result.sumsq == 0.0);
    tree_free(&t);
    close_fixture(&f);
}

static void test_bf16_products_keep_the_direction_and_repeat_their_bits(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture fine;
    struct fixture coarse;
    struct tree t;
    if (!bf16_runs_here() || config.kernels != KERNELS_V4) {
        print_message("this CPU has no AVX512_BF16\n");
        skip();
    }
    open_fixture(&fine, &tiny_shape, &config);
    config.precision = ENGINE_BF16;
    open_fixture(&coarse, &tiny_shape, &config);
    tiny_tree(&t, &tiny_shape, 7, 8, 131);
    const struct unit unit = tiny_unit(&t, 1);
    gradient(&fine, &unit);
    gradient(&coarse, &unit);
    assert_true(fabs(loss_of(&fine) - loss_of(&coarse)) <= 2e-2 * fabs(loss_of(&fine)));
    double ab = 0;
    for (size_t i = 0; i < fine.count; i++) {
        ab += (double)fine.sum[i] * 0x1p-40 * (double)coarse.sum[i] * 0x1p-40;
    }
    double cosine = ab / sqrt(fine.result.sumsq * coarse.result.sumsq);
    if (!(cosine >= 0.999)) {
        fail_msg("cosine %.6f", cosine);
    }
    memcpy(fine.sum, coarse.sum, fine.count * sizeof *fine.sum);
    gradient(&coarse, &unit);
    assert_memory_equal(fine.sum, coarse.sum, fine.count * sizeof *fine.sum);
    tree_free(&t);
    close_fixture(&fine);
    close_fixture(&coarse);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_and_scores_equal_separate_passes_in_double),
        cmocka_unit_test(test_every_gradient_matches_finite_differences),
        cmocka_unit_test(test_terms_that_compare_leaves_give_the_gradient_of_finite_differences),
        cmocka_unit_test(test_any_subset_of_targets_gives_its_gradients),
        cmocka_unit_test(test_one_layer_and_an_untied_head_work),
        cmocka_unit_test(test_b_of_zero_gives_a_gradient_of_exactly_zero),
        cmocka_unit_test(test_bits_of_a_unit_do_not_depend_on_what_ran_before),
        cmocka_unit_test(test_a_sum_over_units_is_the_sum_of_their_sums),
        cmocka_unit_test(test_two_slots_at_once_give_the_same_bits),
        cmocka_unit_test(test_a_gradient_too_large_is_refused_by_module_layer_and_tree),
        cmocka_unit_test(test_trees_of_a_unit_do_not_mix),
        cmocka_unit_test(test_tiles_change_rounding_only),
        cmocka_unit_test(test_dropout_keeps_its_masks_by_step_and_its_mean),
        cmocka_unit_test(test_gradient_with_dropout_matches_differences_of_its_loss),
        cmocka_unit_test(test_a_unit_without_labels_is_nothing),
        cmocka_unit_test(test_bf16_products_keep_the_direction_and_repeat_their_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
