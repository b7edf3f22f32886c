/* forest_bench_tool.c - our side of `make bench`: the trees of a file, forward and backward, on S
 * slots of one process. Reads what `pft data forest FILE --json` prints, so that PyTorch and this
 * program run the very same tokens. Prints one JSON object.
 *   forest_bench_tool --model FILE --forest FILE [--groups 20] [--slots 2] [--r 8] [--alpha 32]
 *                     [--targets q,k,v,o] [--precision fp32|bf16] [--lora FILE] [--gradient FILE]
 * --lora has PEFT's names (without it: A as in a new run, B zero); --gradient gets the gradient of
 * the mean over groups, under the same names. */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "common/tensor/shape.h"
#include "tests/golden/golden_case.h"
#include "worker/backend/backend.h"
#include "worker/backend/bf16.h"
#include "worker/engine.h"
#include "worker/model/weights.h"

enum { MAX_SLOTS = 64, PEAK_SIDE = 1536, PEAK_REPEATS = 12 };

struct bench {
    struct engine *engine;
    struct tree *trees;
    uint32_t n_trees;
    uint64_t pairs, rows;
    float *flat;
    size_t count;
    atomic_uint next;
    long peak_rss_kib; /* of the passes: read before the GEMM rates are measured */
    int64_t loss[MAX_SLOTS];
    uint64_t flops[MAX_SLOTS]; /* useful ones of the last pass, as the profile counts them */
    int64_t *sum[MAX_SLOTS];
};

static void die(enum err error, const struct errbuf *e)
{
    if (error != OK) {
        (void)fprintf(stderr, "forest_bench_tool: %s\n", e->text[0] ? e->text : err_text(error));
        exit(1);
    }
}

static void read_forest(struct bench *b, const char *path, uint32_t most, uint32_t vocab)
{
    json_error_t where;
    json_t *root = json_load_file(path, 0, &where);
    json_t *groups = json_is_object(root) ? json_object_get(root, "groups") : root;
    if (!json_is_array(groups)) {
        (void)fprintf(stderr, "forest_bench_tool: %s: %s\n", path, where.text);
        exit(1);
    }
    uint32_t n = (uint32_t)json_array_size(groups);
    b->n_trees = n < most ? n : most;
    b->trees = mem_calloc(b->n_trees, sizeof *b->trees);
    CHECK(b->trees);
    for (uint32_t i = 0; i < b->n_trees; i++) {
        json_t *group = json_array_get(groups, i);
        struct errbuf e = {0};
        die(golden_tree(group, vocab, &b->trees[i], &e), &e);
        b->pairs += json_array_size(json_object_get(group, "pairs"));
        b->rows += b->trees[i].n_rows;
    }
    json_decref(root);
}

struct slot_job {
    struct bench *bench;
    uint32_t index;
    pthread_t thread;
};

static void *slot_run(void *argument)
{
    struct slot_job *job = argument;
    struct bench *b = job->bench;
    struct engine_slot *slot = NULL;
    struct errbuf e = {0};
    die(engine_slot_new(b->engine, 512, &slot, &e), &e);
    for (;;) {
        uint32_t i = atomic_fetch_add(&b->next, 1);
        if (i >= b->n_trees) {
            break;
        }
        struct unit unit = {
            .id = i, .n_trees = 1, .n_rows = b->trees[i].n_rows, .trees = &b->trees[i]};
        struct unit_result result;
        die(engine_gradient(slot, &unit, b->flat, 0, b->sum[job->index], &result, &e), &e);
        b->loss[job->index] += result.loss;
    }
    const struct profile *profile = engine_slot_profile(slot);
    b->flops[job->index] = 0;
    for (size_t i = 0; i < PROFILE_PARTS; i++) {
        b->flops[job->index] += profile->flops[i];
    }
    engine_slot_free(&slot);
    return NULL;
}

/* One pass over all trees; seconds it took. */
static double pass(struct bench *b, uint32_t slots)
{
    struct slot_job jobs[MAX_SLOTS];
    uint64_t begin = clock_now_ns();
    atomic_store(&b->next, 0);
    for (uint32_t i = 0; i < slots; i++) {
        jobs[i] = (struct slot_job){.bench = b, .index = i};
        b->loss[i] = 0;
        memset(b->sum[i], 0, b->count * sizeof *b->sum[i]);
        CHECK(pthread_create(&jobs[i].thread, NULL, slot_run, &jobs[i]) == 0);
    }
    for (uint32_t i = 0; i < slots; i++) {
        CHECK(pthread_join(jobs[i].thread, NULL) == 0);
    }
    return (double)(clock_now_ns() - begin) / 1e9;
}

struct peak_job {
    enum kernels_level level;
    enum precision precision;
    pthread_t thread;
};

/* A square product again and again, by one thread, as the layers make it: through the backend. */
static void *peak_run(void *argument)
{
    const struct peak_job *job = argument;
    const size_t words = (size_t)PEAK_SIDE * PEAK_SIDE;
    struct team team;
    struct buffer *buffer;
    struct errbuf e = {0};
    team_init_cpu(&team, job->level, PEAK_SIDE, PEAK_SIDE);
    die(team.ops->alloc(3 * words, &buffer), &e);
    team.ops->fill(&team, (struct span){buffer, 0}, 3 * words, 0.5f);
    struct frozen w = {.w = {buffer, 0}, .out = PEAK_SIDE, .in = PEAK_SIDE};
    die(team.ops->freeze(&w, job->precision, PEAK_SIDE), &e);
    die(team.ops->reserve(&team, words, job->precision), &e);
    const struct product p = {
        .w = &w, .rows = PEAK_SIDE, .x = {buffer, words}, .y = {buffer, 2 * words}};
    for (int i = 0; i < PEAK_REPEATS; i++) {
        team.ops->product(&team, &p);
    }
    team.ops->thaw(&w);
    team.ops->release(&buffer);
    team_deinit(&team);
    return NULL;
}

/* GFLOP/s of all slots together, by wall time: the best of three. */
static double gemm_peak(enum kernels_level level, enum precision precision, uint32_t slots)
{
    double best = 0.0;
    for (int round = 0; round < 3; round++) {
        struct peak_job jobs[MAX_SLOTS];
        uint64_t begin = clock_now_ns();
        for (uint32_t i = 0; i < slots; i++) {
            jobs[i] = (struct peak_job){.level = level, .precision = precision};
            CHECK(pthread_create(&jobs[i].thread, NULL, peak_run, &jobs[i]) == 0);
        }
        for (uint32_t i = 0; i < slots; i++) {
            CHECK(pthread_join(jobs[i].thread, NULL) == 0);
        }
        double seconds = (double)(clock_now_ns() - begin) / 1e9;
        double rate =
            2.0 * PEAK_SIDE * PEAK_SIDE * PEAK_SIDE * PEAK_REPEATS * slots / seconds / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

static void fill_lora(struct bench *b, const struct model_shape *shape, const struct lora_config *c,
                      const char *path)
{
    struct errbuf e = {0};
    b->count = lora_count(shape, c);
    b->flat = mem_aligned(b->count, sizeof *b->flat);
    CHECK(b->flat);
    if (path) {
        die(golden_adapter(path, shape, c, b->flat, &e), &e);
    } else {
        lora_init(shape, c, 0, b->flat);
    }
}

/* The sum of the slots' exact sums over the number of groups, with PEFT's names. */
static void write_gradient(const struct bench *b, const struct model_shape *shape,
                           const struct lora_config *c, uint32_t slots, const char *path)
{
    const size_t most = 2 * (size_t)LORA_MODULES * shape->layers;
    struct safetensors_item *items = mem_calloc(most, sizeof *items);
    char(*names)[GOLDEN_NAME_BYTES] = mem_calloc(most, sizeof *names);
    float *gradient = mem_calloc(b->count, sizeof *gradient);
    struct errbuf e = {0};
    size_t n = 0;
    CHECK(items && names && gradient);
    for (size_t i = 0; i < b->count; i++) {
        int64_t sum = 0;
        for (uint32_t slot = 0; slot < slots; slot++) {
            sum += b->sum[slot][i];
        }
        gradient[i] = (float)((double)sum * 0x1p-40 / b->n_trees);
    }
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place at;
            if (!lora_place(shape, c, layer, (enum lora_module)m, &at)) {
                continue;
            }
            golden_name(names[n], layer, (enum lora_module)m, 'A', "");
            items[n] = (struct safetensors_item){
                names[n], SAFETENSORS_F32, 2, {c->r, at.in, 1, 1}, gradient + at.a};
            n++;
            golden_name(names[n], layer, (enum lora_module)m, 'B', "");
            items[n] = (struct safetensors_item){
                names[n], SAFETENSORS_F32, 2, {at.out, c->r, 1, 1}, gradient + at.b};
            n++;
        }
    }
    die(safetensors_write(path, items, n, NULL, 0, &e), &e);
    mem_free(items);
    mem_free(names);
    mem_free(gradient);
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }
    return otherwise;
}

static uint32_t targets_of(const char *list)
{
    uint32_t mask = 0;
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        int module = lora_module_from(list, n);
        CHECK(module >= 0);
        mask |= 1u << module;
        list += n + (list[n] == ',');
    }
    return mask;
}

static void print_result(const struct bench *b, uint32_t slots, double first, double seconds,
                         enum kernels_level level)
{
    double loss = 0.0;
    double flops = 0.0;
    for (uint32_t i = 0; i < slots; i++) {
        loss += (double)b->loss[i] * 0x1p-40;
        flops += (double)b->flops[i];
    }
    (void)printf("{\"groups\": %u, \"pairs\": %llu, \"tokens\": %llu, \"slots\": %u, "
                 "\"warm_up_s\": %.3f, \"seconds\": %.3f, \"pairs_per_s\": %.4f, "
                 "\"tokens_per_s\": %.1f, \"loss\": %.6f, \"peak_rss_mib\": %ld, "
                 "\"useful_flops\": %.0f, \"core_type\": \"%s\", \"gflops\": {\"fp32\": %.1f",
                 b->n_trees, (unsigned long long)b->pairs, (unsigned long long)b->rows, slots,
                 first, seconds, (double)b->pairs / seconds, (double)b->rows / seconds,
                 loss / (double)b->n_trees, b->peak_rss_kib / 1024, flops,
                 kernels_level_loaded_core(), gemm_peak(level, PRECISION_FP32_PRODUCTS, slots));
    if (level == KERNELS_V4 && bf16_runs_here()) {
        (void)printf(", \"bf16\": %.1f", gemm_peak(level, PRECISION_BF16_PRODUCTS, slots));
    }
    (void)printf("}}\n");
}

static void release(struct bench *b, uint32_t slots)
{
    for (uint32_t i = 0; i < slots; i++) {
        mem_free(b->sum[i]);
    }
    for (uint32_t i = 0; i < b->n_trees; i++) {
        tree_free(&b->trees[i]);
    }
    mem_free(b->trees);
    mem_free(b->flat);
    engine_free(&b->engine);
}

int main(int argc, char **argv)
{
    struct errbuf e = {0};
    struct bench b = {0};
    struct model_file *mf = NULL;
    struct weights weights = {0};
    const char *model = option(argc, argv, "--model", NULL);
    const char *forest = option(argc, argv, "--forest", NULL);
    if (!model || !forest) {
        (void)fprintf(stderr, "usage: forest_bench_tool --model FILE --forest FILE [--slots 2]\n");
        return 2;
    }
    enum kernels_level level = kernels_level_native();
    die(kernels_level_prepare(level, argv, &e), &e);
    uint32_t slots = (uint32_t)strtoul(option(argc, argv, "--slots", "2"), NULL, 10);
    CHECK(slots >= 1 && slots <= MAX_SLOTS);
    die(model_open(model, &mf, &e), &e);
    die(weights_load(&weights, mf, slots, &e), &e);
    model_close(&mf);
    const struct lora_config lora = {
        .r = (uint32_t)strtoul(option(argc, argv, "--r", "8"), NULL, 10),
        .alpha = strtof(option(argc, argv, "--alpha", "32"), NULL),
        .targets = targets_of(option(argc, argv, "--targets", "q,k,v,o"))};
    bool bf16 = strcmp(option(argc, argv, "--precision", "fp32"), "bf16") == 0;
    const struct engine_config config = {.shape = weights.shape,
                                         .lora = lora,
                                         .kernels = level,
                                         .precision = bf16 ? ENGINE_BF16 : ENGINE_FP32};
    die(engine_new(&config, &weights, &b.engine, &e), &e);
    read_forest(&b, forest, (uint32_t)strtoul(option(argc, argv, "--groups", "20"), NULL, 10),
                weights.shape.vocab);
    fill_lora(&b, &weights.shape, &lora, option(argc, argv, "--lora", NULL));
    for (uint32_t i = 0; i < slots; i++) {
        b.sum[i] = mem_calloc(b.count, sizeof *b.sum[i]);
        CHECK(b.sum[i]);
    }
    double first = pass(&b, slots);
    double second = pass(&b, slots);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    b.peak_rss_kib = usage.ru_maxrss;
    const char *gradient = option(argc, argv, "--gradient", NULL);
    if (gradient) {
        write_gradient(&b, &weights.shape, &lora, slots, gradient);
    }
    print_result(&b, slots, first, second, level);
    release(&b, slots);
    weights_free(&weights);
    return 0;
}
