/* test_engine_anchor.c - anchors: loss and gradient against the model in double, and what DESIGN §4
 * promises about bits. */
#include "tests/unit/worker/tiny_model.h"
#include "worker/backend/bf16.h"

enum { SEED = 20261125, TREES = 2, ROWS_MOST = 40 };

struct fixture {
    struct weights weights;
    struct engine *engine;
    struct engine_slot *slot;
    float *flat;
    size_t count;
    int64_t *sum;
    struct unit_result result;
    struct tree trees[TREES];
    struct unit unit;
};

static void open_fixture(struct fixture *f, const struct engine_config *config)
{
    struct errbuf e = {0};
    memset(f, 0, sizeof *f);
    tiny_weights(&f->weights, &config->shape, SEED);
    assert_int_equal(engine_new(config, &f->weights, &f->engine, &e), OK);
    assert_int_equal(engine_slot_new(f->engine, 0, &f->slot, &e), OK);
    f->count = engine_lora_count(f->engine);
    f->flat = tiny_adapter(&config->shape, &config->lora, SEED);
    f->sum = mem_calloc(f->count, sizeof *f->sum);
    assert_non_null(f->sum);
    for (uint32_t i = 0; i < TREES; i++) { /* one chain each, a label at three of four rows */
        tiny_tree(&f->trees[i], &config->shape, 1, ROWS_MOST, 5 + i);
        assert_true(f->trees[i].n_labels > 1 && f->trees[i].n_labels < f->trees[i].n_rows);
    }
    f->unit = tiny_unit(f->trees, TREES);
    f->unit.anchor = true;
}

static void close_fixture(struct fixture *f)
{
    for (uint32_t i = 0; i < TREES; i++) {
        tree_free(&f->trees[i]);
    }
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

/* log p of every entry at every row of a chain: [rows][vocab], the caller's. */
static double *chain_log_p(const struct reference *r, const struct tree *t)
{
    const struct model_shape *s = &r->w->shape;
    struct reference_room *m = mem_calloc(1, sizeof *m);
    double *log_p = mem_calloc((size_t)t->n_rows * s->vocab, sizeof *log_p);
    assert_true(m && log_p);
    for (uint32_t i = 0; i < t->n_rows; i++) {
        for (uint32_t c = 0; c < s->hidden; c++) {
            m->x[i][c] = (double)r->w->embed[(size_t)t->tokens[i] * s->hidden + c];
        }
    }
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        reference_layer(r, layer, t->n_rows, m);
    }
    for (uint32_t i = 0; i < t->n_rows; i++) {
        for (uint32_t v = 0; v < s->vocab; v++) {
            log_p[(size_t)i * s->vocab + v] = reference_log_p(r, m->x[i], v);
        }
    }
    mem_free(m);
    return log_p;
}

static double chain_kl(const struct fixture *f, const struct lora_config *lora, const double *flat,
                       const struct tree *t)
{
    const struct reference model = {&f->weights, lora, flat};
    const struct reference bare = {&f->weights, lora, NULL};
    const uint32_t vocab = f->weights.shape.vocab;
    double *p = chain_log_p(&model, t);
    double *q = chain_log_p(&bare, t);
    double loss = 0.0;
    for (uint32_t i = 0; i < t->n_labels; i++) {
        const size_t at = (size_t)t->labels[i].row * vocab;
        for (uint32_t v = 0; v < vocab; v++) {
            loss += (double)t->labels[i].weight * exp(q[at + v]) * (q[at + v] - p[at + v]);
        }
    }
    mem_free(p);
    mem_free(q);
    return loss;
}

static double unit_kl(const struct fixture *f, const struct lora_config *lora, const double *flat)
{
    double loss = 0.0;
    for (uint32_t i = 0; i < TREES; i++) {
        loss += chain_kl(f, lora, flat, &f->trees[i]);
    }
    return loss;
}

/* The gradient within one matrix along a random direction, against central differences. */
static void check_direction(const struct fixture *f, const struct lora_config *lora, size_t from,
                            size_t count)
{
    double *flat = mem_calloc(f->count, sizeof *flat);
    double ends[2] = {0, 0};
    double along = 0;
    double size = 0;
    const double step = 1e-4;
    assert_non_null(flat);
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
        ends[side] = unit_kl(f, lora, flat);
    }
    double expected = (ends[1] - ends[0]) / (2 * step);
    if (!(fabs(along - expected) <= 2e-5 * (sqrt(size) + 1e-3))) {
        fail_msg("%.9g along the direction from %zu, %.9g by differences", along, from, expected);
    }
    mem_free(flat);
}

static void test_loss_and_gradient_are_those_of_the_kl_in_double(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    open_fixture(&f, &config);
    gradient(&f, &f.unit);
    double *flat = mem_calloc(f.count, sizeof *flat);
    for (size_t i = 0; i < f.count; i++) {
        flat[i] = (double)f.flat[i];
    }
    double expected = unit_kl(&f, &tiny_lora, flat);
    mem_free(flat);
    assert_true(expected > 0.01);
    if (!(fabs(loss_of(&f) - expected) <= 1e-5 * (1 + expected))) {
        fail_msg("loss %.9g, %.9g expected", loss_of(&f), expected);
    }
    assert_int_equal(f.result.labels, f.trees[0].n_labels + f.trees[1].n_labels);
    for (uint32_t layer = 0; layer < tiny_shape.layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            assert_true(lora_place(&tiny_shape, &tiny_lora, layer, (enum lora_module)m, &place));
            check_direction(&f, &tiny_lora, place.a, (size_t)tiny_lora.r * place.in);
            check_direction(&f, &tiny_lora, place.b, (size_t)tiny_lora.r * place.out);
        }
    }
    close_fixture(&f);
}

static void test_an_adapter_that_does_nothing_is_not_moved(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    open_fixture(&f, &config);
    lora_init(&tiny_shape, &tiny_lora, 1, f.flat);
    gradient(&f, &f.unit);
    assert_int_equal(f.result.loss, 0);
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(f.sum[i], 0);
    }
    close_fixture(&f);
}

static void test_its_kl_is_what_a_score_says(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct errbuf e = {0};
    double kl[TREES];
    double sum = 0.0;
    open_fixture(&f, &config);
    for (uint32_t i = 0; i < TREES; i++) {
        for (uint32_t l = 0; l < f.trees[i].n_labels; l++) {
            f.trees[i].labels[l].weight = 1.0f / (float)f.trees[i].n_labels;
        }
        for (uint32_t m = 0; m < f.count; m++) { /* small: the two directions of KL agree */
            f.flat[m] *= i == 0 ? 0.2f : 1.0f;
        }
    }
    gradient(&f, &f.unit);
    assert_int_equal(engine_divergence(f.slot, &f.unit, f.flat, kl, &e), OK);
    for (uint32_t i = 0; i < TREES; i++) {
        sum += kl[i];
    }
    assert_true(sum > 1e-6);
    if (!(fabs(sum - loss_of(&f)) <= 0.05 * sum)) {
        fail_msg("loss %.9g, scores %.9g", loss_of(&f), sum);
    }
    close_fixture(&f);
}

/* Other units before it, threads and checkpointing. */
static void test_nothing_beside_the_unit_changes_its_bits(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture first;
    struct fixture second;
    struct unit plain;
    open_fixture(&first, &config);
    config.threads = 3;
    config.checkpointing = true;
    open_fixture(&second, &config);
    plain = second.unit;
    plain.anchor = false;
    gradient(&first, &first.unit);
    gradient(&second, &plain);
    assert_memory_not_equal(first.sum, second.sum, first.count * sizeof *first.sum);
    for (int i = 0; i < 2; i++) {
        gradient(&second, &second.unit);
        assert_memory_equal(first.sum, second.sum, first.count * sizeof *first.sum);
        assert_memory_equal(&first.result, &second.result, sizeof first.result);
    }
    close_fixture(&first);
    close_fixture(&second);
}

static void test_nan_parameters_are_refused_by_tree(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture f;
    struct errbuf e = {0};
    struct unit_result result;
    open_fixture(&f, &config);
    f.flat[0] = NAN;
    assert_int_equal(engine_gradient(f.slot, &f.unit, f.flat, 3, f.sum, &result, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "unit 7, tree 5: loss"));
    close_fixture(&f);
}

static void test_bf16_keeps_the_direction(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    struct fixture fine;
    struct fixture coarse;
    if (!bf16_runs_here() || config.kernels != KERNELS_V4) {
        print_message("this CPU has no AVX512_BF16\n");
        skip();
    }
    open_fixture(&fine, &config);
    config.precision = ENGINE_BF16;
    open_fixture(&coarse, &config);
    gradient(&fine, &fine.unit);
    gradient(&coarse, &coarse.unit);
    assert_true(fabs(loss_of(&fine) - loss_of(&coarse)) <= 2e-2 * loss_of(&fine));
    double ab = 0;
    for (size_t i = 0; i < fine.count; i++) {
        ab += (double)fine.sum[i] * 0x1p-40 * (double)coarse.sum[i] * 0x1p-40;
    }
    double cosine = ab / sqrt(fine.result.sumsq * coarse.result.sumsq);
    if (!(cosine >= 0.999)) {
        fail_msg("cosine %.6f", cosine);
    }
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_and_gradient_are_those_of_the_kl_in_double),
        cmocka_unit_test(test_an_adapter_that_does_nothing_is_not_moved),
        cmocka_unit_test(test_its_kl_is_what_a_score_says),
        cmocka_unit_test(test_nothing_beside_the_unit_changes_its_bits),
        cmocka_unit_test(test_nan_parameters_are_refused_by_tree),
        cmocka_unit_test(test_bf16_keeps_the_direction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
