/* test_training_golden.c - twenty optimiser steps on the tiny model, engine, exact sum and AdamW
 * together, against PyTorch + PEFT (tests/golden/README.md, "Training"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "coordinator/params.h"
#include "coordinator/reduce.h"
#include "coordinator/schedule.h"
#include "tests/golden/golden_case.h"
#include "tests/support/test_level.h"
#include "worker/engine.h"
#include "worker/model/weights.h"

enum { TREES = 3, LORA_ALL = (1 << LORA_MODULES) - 1 };

static const double loss_tolerance = 1e-4; /* relative */

struct run {
    json_t *json;
    struct weights weights;
    struct engine *engine;
    struct engine_slot *slot;
    struct lora_config lora;
    struct tree trees[TREES];
    struct params *params;
    struct reduce *reduce;
    size_t count;
    int64_t *sum;
    float *gradient;
};

static void must(enum err error, const struct errbuf *e)
{
    if (error != OK) {
        print_message("%s\n", e->text);
        fail();
    }
}

static double recipe(const struct run *r, const char *key)
{
    return json_number_value(json_object_get(json_object_get(r->json, "recipe"), key));
}

static void open_run(struct run *r)
{
    struct errbuf e = {0};
    struct model_file *mf = NULL;
    must(golden_json("tests/golden/training/run.json", &r->json, &e), &e);
    must(model_open("tests/golden/tiny", &mf, &e), &e);
    must(weights_load(&r->weights, mf, 1, &e), &e);
    model_close(&mf);
    r->lora = (struct lora_config){.r = 4, .alpha = 8.0f, .targets = LORA_ALL};
    const struct engine_config config = {
        .shape = r->weights.shape, .lora = r->lora, .kernels = test_level()};
    must(engine_new(&config, &r->weights, &r->engine, &e), &e);
    must(engine_slot_new(r->engine, 0, &r->slot, &e), &e);
    r->count = engine_lora_count(r->engine);
    r->sum = mem_calloc(r->count, sizeof *r->sum);
    r->gradient = mem_calloc(r->count, sizeof *r->gradient);
    assert_true(r->sum && r->gradient);
    for (size_t i = 0; i < TREES; i++) {
        must(golden_tree(json_array_get(json_object_get(r->json, "trees"), i),
                         r->weights.shape.vocab, &r->trees[i], &e),
             &e);
    }
    const struct adamw_config adamw = {.beta1 = recipe(r, "beta1"),
                                       .beta2 = recipe(r, "beta2"),
                                       .eps = recipe(r, "eps"),
                                       .weight_decay = recipe(r, "weight_decay"),
                                       .clip = recipe(r, "clip")};
    must(params_new(&r->weights.shape, &r->lora, 0, &adamw, &r->params), &e);
    must(golden_adapter("tests/golden/training/start.safetensors", &r->weights.shape, &r->lora,
                        r->params->adam.p, &e),
         &e);
    must(reduce_new(r->count, &r->reduce), &e);
}

static void close_run(struct run *r)
{
    reduce_free(&r->reduce);
    params_free(&r->params);
    for (size_t i = 0; i < TREES; i++) {
        tree_free(&r->trees[i]);
    }
    mem_free(r->gradient);
    mem_free(r->sum);
    engine_slot_free(&r->slot);
    engine_free(&r->engine);
    weights_free(&r->weights);
    json_decref(r->json);
}

/* Every tree of the step is a unit and a job of its own, as a fleet would do it. */
static double train_step(struct run *r, uint64_t step, const json_t *trees, double lr, double *norm)
{
    struct errbuf e = {0};
    struct reduce_total total;
    uint32_t n = (uint32_t)json_array_size(trees);
    must(reduce_begin(r->reduce, step, n, n), &e);
    for (uint32_t i = 0; i < n; i++) {
        struct tree *tree = &r->trees[json_integer_value(json_array_get(trees, i))];
        const struct unit unit = {.id = i, .n_trees = 1, .n_rows = tree->n_rows, .trees = tree};
        struct unit_result result;
        memset(r->sum, 0, r->count * sizeof *r->sum);
        must(engine_gradient(r->slot, &unit, r->params->adam.p, step, r->sum, &result, &e), &e);
        struct reduce_job job = {.n_units = 1,
                                 .units = &i,
                                 .loss = &result.loss,
                                 .labels = &result.labels,
                                 .payload = r->sum,
                                 .bytes = r->count * sizeof *r->sum};
        hash_xxh128(job.payload, job.bytes, job.digest);
        must(reduce_add(r->reduce, step, &job), &e);
    }
    must(reduce_finish(r->reduce, r->gradient, &total), &e);
    params_step(r->params, r->gradient, lr, norm);
    return total.loss;
}

static void compare_adapter(const struct run *r, const char *path, double bound)
{
    struct errbuf e = {0};
    float *wanted = mem_calloc(r->count, sizeof *wanted);
    assert_non_null(wanted);
    must(golden_adapter(path, &r->weights.shape, &r->lora, wanted, &e), &e);
    double difference = 0.0;
    double size = 0.0;
    for (size_t i = 0; i < r->count; i++) {
        double d = (double)r->params->adam.p[i] - (double)wanted[i];
        difference += d * d;
        size += (double)wanted[i] * (double)wanted[i];
    }
    double relative = sqrt(difference / size);
    print_message("%s: relative difference %.2e\n", path, relative);
    if (!(relative <= bound)) {
        fail();
    }
    mem_free(wanted);
}

static void test_twenty_steps_follow_the_losses_and_parameters_of_pytorch(void **state)
{
    (void)state;
    struct run r = {0};
    open_run(&r);
    const struct schedule schedule = {.steps = (uint64_t)recipe(&r, "steps"),
                                      .warmup = (uint64_t)recipe(&r, "warmup_steps")};
    double worst = 0.0;
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(r.json, "steps"), i, step)
    {
        double norm;
        double lr = recipe(&r, "learning_rate") * schedule_factor(&schedule, i);
        double wanted = json_number_value(json_object_get(step, "loss"));
        double loss = train_step(&r, i, json_object_get(step, "trees"), lr, &norm);
        double relative = fabs(loss - wanted) / wanted;
        double norm_wanted = json_number_value(json_object_get(step, "grad_norm"));
        worst = relative > worst ? relative : worst;
        if (!(relative <= loss_tolerance) || !(fabs(norm - norm_wanted) <= 1e-3 * norm_wanted) ||
            !(fabs(lr - json_number_value(json_object_get(step, "learning_rate"))) <= 1e-12)) {
            print_message("step %zu: loss %.9f, PyTorch %.9f; norm %.6f, PyTorch %.6f\n", i, loss,
                          wanted, norm, norm_wanted);
            fail();
        }
        if (i == 1) {
            compare_adapter(&r, "tests/golden/training/after-2-steps.safetensors", 1e-3);
        }
    }
    print_message("20 steps: worst relative difference of a loss %.2e\n", worst);
    compare_adapter(&r, "tests/golden/training/final.safetensors", 1e-2);
    close_run(&r);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twenty_steps_follow_the_losses_and_parameters_of_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
