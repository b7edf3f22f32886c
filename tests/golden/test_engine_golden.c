/* test_engine_golden.c - the engine on the tiny model against PyTorch: every activation, logits,
 * loss and every gradient of the fixtures (README.md beside this file). */
#include "common/format/model_file.h"
#include "tests/golden/golden_gradient.h"
#include "tests/support/test_level.h"
#include "worker/engine.h"
#include "worker/model/weights.h"

#define FOLDER "tests/golden/"

struct golden {
    struct weights weights;
    struct lora_config lora;
    struct engine *engine;
    struct engine_slot *slot;
    struct tree tree;
    struct unit unit;
    struct safetensors *expected;
    float *flat;
    int64_t *sum;
    double loss;
};

static void open_case(struct golden *g, const char *name)
{
    char path[512];
    struct errbuf e = {0};
    json_t *json = NULL;
    struct model_file *mf = NULL;
    memset(g, 0, sizeof *g);
    (void)snprintf(path, sizeof path, FOLDER "trees/%s.json", name);
    must(golden_json(path, &json, &e), &e);
    golden_lora(json_object_get(json, "lora"), &g->lora);
    g->loss = json_number_value(json_object_get(json, "loss"));
    (void)snprintf(path, sizeof path, FOLDER "%s",
                   json_string_value(json_object_get(json, "model")));
    must(model_open(path, &mf, &e), &e);
    must(weights_load(&g->weights, mf, 1, &e), &e);
    model_close(&mf);
    must(golden_tree(json, g->weights.shape.vocab, &g->tree, &e), &e);
    json_decref(json);
    g->unit = (struct unit){.n_trees = 1, .n_rows = g->tree.n_rows, .trees = &g->tree};
    const struct engine_config config = {
        .shape = g->weights.shape, .lora = g->lora, .kernels = test_level()};
    must(engine_new(&config, &g->weights, &g->engine, &e), &e);
    must(engine_slot_new(g->engine, 0, &g->slot, &e), &e);
    g->flat = mem_calloc(engine_lora_count(g->engine), sizeof *g->flat);
    g->sum = mem_calloc(engine_lora_count(g->engine), sizeof *g->sum);
    assert_true(g->flat && g->sum);
    (void)snprintf(path, sizeof path, FOLDER "trees/%s.lora.safetensors", name);
    must(golden_adapter(path, &g->weights.shape, &g->lora, g->flat, &e), &e);
    (void)snprintf(path, sizeof path, FOLDER "trees/%s.safetensors", name);
    must(safetensors_open(path, &g->expected, &e), &e);
}

static void close_case(struct golden *g)
{
    safetensors_close(&g->expected);
    engine_slot_free(&g->slot);
    engine_free(&g->engine);
    tree_free(&g->tree);
    weights_free(&g->weights);
    mem_free(g->flat);
    mem_free(g->sum);
}

static void check_logits(struct golden *g)
{
    struct errbuf e = {0};
    uint32_t n = 0;
    uint32_t *rows = mem_calloc(g->tree.n_rows, sizeof *rows);
    must(engine_logits(g->slot, &g->unit, g->flat, rows, NULL, &n, &e), &e);
    size_t count = (size_t)n * g->weights.shape.vocab;
    float *logits = mem_calloc(count, sizeof *logits);
    must(engine_logits(g->slot, &g->unit, g->flat, NULL, logits, &n, &e), &e);
    const struct safetensors_tensor *t = safetensors_find(g->expected, "rows");
    int32_t *theirs = mem_calloc(g->tree.n_rows, sizeof *theirs);
    assert_true(t && t->elements == n);
    must(safetensors_read_raw(g->expected, t, theirs, &e), &e);
    float *values = golden_tensor(g->expected, "logits", count);
    double worst = 0;
    for (uint32_t i = 0; i < n; i++) { /* theirs in order of first use */
        uint32_t at = 0;
        while (at < n && theirs[at] != (int32_t)rows[i]) {
            at++;
        }
        assert_true(at < n);
        for (uint32_t v = 0; v < g->weights.shape.vocab; v++) {
            double gap = fabs((double)logits[(size_t)i * g->weights.shape.vocab + v] -
                              (double)values[(size_t)at * g->weights.shape.vocab + v]);
            worst = worst >= gap ? worst : gap;
        }
    }
    print_message("  logits of %u rows: largest difference %.2e\n", n, worst);
    assert_true(worst <= 1e-4);
    mem_free(rows);
    mem_free(logits);
    mem_free(theirs);
    mem_free(values);
}

static void check_gradients(struct golden *g)
{
    struct errbuf e = {0};
    struct unit_result result;
    must(engine_gradient(g->slot, &g->unit, g->flat, 0, g->sum, &result, &e), &e);
    double loss = (double)result.loss * 0x1p-40;
    assert_true(fabs(loss - g->loss) <= 1e-5 * fabs(g->loss));
    struct golden_worst worst = golden_gradients(g->expected, &g->weights.shape, &g->lora, g->sum);
    print_message("  loss %.9f (%.9f), gradients: worst cosine %.9f, relative error %.2e\n", loss,
                  g->loss, worst.cosine, worst.error);
}

static void check_case(const char *name)
{
    struct golden g;
    open_case(&g, name);
    check_logits(&g);
    check_gradients(&g);
    close_case(&g);
}

/* ---- every activation ---- */

struct watcher {
    struct golden *g;
    uint32_t *labelled; /* rows with a label, ascending */
    uint32_t n_labelled;
    unsigned seen;
    double worst;
};

/* What a tensor of the engine is in the fixture: groups > 0: packed heads of so many groups. */
struct meaning {
    const char *name;
    uint32_t groups;
    size_t col, cols; /* of the engine's row */
};

/* Element (row, col) of the fixture's layout, from the engine's. */
static float element(const struct meaning *m, const float *data, size_t width, size_t n, size_t row,
                     size_t col, uint32_t head_dim)
{
    if (m->groups == 0) {
        return data[row * width + m->col + col];
    }
    size_t per = m->cols / head_dim / m->groups;
    size_t head = col / head_dim;
    size_t at = ((head / per * n + row) * per + head % per) * head_dim + col % head_dim;
    return data[at];
}

static void compare(struct watcher *w, const struct meaning *m, const char *full, const float *data,
                    size_t width, size_t n)
{
    const struct model_shape *s = &w->g->weights.shape;
    float *values = golden_tensor(w->g->expected, full, (size_t)w->g->tree.n_rows * m->cols);
    double size = 1.0;
    double gap = 0;
    for (size_t i = 0; i < (size_t)w->g->tree.n_rows * m->cols; i++) {
        size = fmax(size, fabs((double)values[i]));
    }
    for (size_t row = 0; row < n; row++) {
        size_t at = n == w->g->tree.n_rows ? row : w->labelled[row];
        for (size_t col = 0; col < m->cols; col++) {
            double d = (double)element(m, data, width, n, row, col, s->head_dim) -
                       (double)values[at * m->cols + col];
            gap = gap >= fabs(d) ? gap : fabs(d);
        }
    }
    if (!(gap <= 1e-5 * size)) {
        fail_msg("%s: largest difference %.2e, largest value %.2e", full, gap, size);
    }
    w->worst = fmax(w->worst, gap / size);
    w->seen++;
    mem_free(values);
}

static void watch(void *context, const char *name, uint32_t layer, const float *data, size_t rows,
                  size_t cols)
{
    struct watcher *w = context;
    const struct model_shape *s = &w->g->weights.shape;
    char full[GOLDEN_NAME_BYTES];
    struct meaning m = {name, 0, 0, cols};
    size_t n = rows;
    if (strcmp(name, "q") == 0 || strcmp(name, "k") == 0 || strcmp(name, "v") == 0) {
        size_t heads = *name == 'q' ? s->heads : s->kv_heads;
        m = (struct meaning){name, s->kv_heads, 0, heads * s->head_dim};
        n = rows / heads;
    }
    if (strncmp(name, "final", 5) == 0) {
        compare(w, &m, name, data, cols, n);
        return;
    }
    bool both = strcmp(name, "gate_up") == 0;
    for (int part = 0; part <= (both ? 1 : 0); part++) {
        if (both) {
            m = (struct meaning){part ? "up" : "gate", 0, part ? s->ff : 0, s->ff};
        }
        (void)snprintf(full, sizeof full, "layers.%u.%s", layer, m.name);
        compare(w, &m, full, data, cols, n);
    }
}

static void test_every_activation_is_pytorchs(void **state)
{
    (void)state;
    struct golden g;
    struct errbuf e = {0};
    struct unit_result result;
    open_case(&g, "all-modules");
    struct watcher w = {.g = &g, .labelled = mem_calloc(g.tree.n_rows, sizeof(uint32_t))};
    must(engine_logits(g.slot, &g.unit, NULL, w.labelled, NULL, &w.n_labelled, &e), &e);
    engine_slot_watch(g.slot, watch, &w);
    must(engine_gradient(g.slot, &g.unit, g.flat, 0, g.sum, &result, &e), &e);
    print_message("  %u tensors, largest difference %.2e of the largest value\n", w.seen, w.worst);
    assert_int_equal(w.seen, 12 * g.weights.shape.layers + g.weights.shape.layers - 1 + 3);
    mem_free(w.labelled);
    close_case(&g);
}

static void test_all_modules(void **state)
{
    (void)state;
    check_case("all-modules");
}

static void test_b_zero_gives_zero_a_gradients_and_the_base_models_logits(void **state)
{
    (void)state;
    check_case("b-zero");
}

static void test_q_and_v_only(void **state)
{
    (void)state;
    check_case("q-v-only");
}

static void test_labels_that_start_late(void **state)
{
    (void)state;
    check_case("late-labels");
}

static void test_a_unit_of_several_roots_with_an_untied_head(void **state)
{
    (void)state;
    check_case("unit-of-trees");
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_activation_is_pytorchs),
        cmocka_unit_test(test_all_modules),
        cmocka_unit_test(test_b_zero_gives_zero_a_gradients_and_the_base_models_logits),
        cmocka_unit_test(test_q_and_v_only),
        cmocka_unit_test(test_labels_that_start_late),
        cmocka_unit_test(test_a_unit_of_several_roots_with_an_untied_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
