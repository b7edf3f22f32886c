/* engine_bench_tool.c - how fast a slot computes a unit: a random tree of the size of a VCD group
 * (prefix 190, two preferences of 30, four answers of 38 tokens: 402 rows) forward and backward.
 *
 *   engine_bench_tool [--model FILE] [--repeat N] [--slots N] [--r R] [--trees N] [--prefix N]
 *                     [--tile-rows N] [--tile-cols N] [--kernels LEVEL] [--bf16] [--threads T]
 *
 * Without --model the weights are random, of SmolLM2-135M's shape: the time is the same. Prints the
 * measured sgemm peak, milliseconds a unit, the share and rate of each part, useful operations per
 * second over the peak, and peak memory. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/format/model_file.h"
#include "worker/backend/backend.h"
#include "worker/engine.h"
#include "worker/model/weights.h"

enum { PREFIX = 190, PREFERENCE = 30, ANSWER = 38, ANSWERS = 4 };
enum { BRANCH_ROWS = 2 * PREFERENCE + ANSWERS * ANSWER, PEAK_SIZE = 1536 };

static const struct model_shape smollm2 = {.layers = 30,
                                           .hidden = 576,
                                           .ff = 1536,
                                           .heads = 9,
                                           .kv_heads = 3,
                                           .head_dim = 64,
                                           .vocab = 49152,
                                           .rope_theta = 1e5f,
                                           .rms_eps = 1e-5f,
                                           .tied_head = true};

static void must(enum err error, const struct errbuf *e)
{
    if (error != OK) {
        (void)fprintf(stderr, "engine_bench_tool: %s\n", e->text[0] ? e->text : err_text(error));
        exit(1);
    }
}

static double seconds(uint64_t from_ns)
{
    return (double)(clock_now_ns() - from_ns) * 1e-9;
}

static double thread_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_THREAD, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void make_tree(struct tree *t, uint32_t vocab, uint32_t prefix, uint64_t seed)
{
    struct errbuf e = {0};
    const uint32_t nodes = 3 + ANSWERS;
    const uint32_t rows = prefix + BRANCH_ROWS;
    const uint32_t labels = ANSWERS * (ANSWER + 1);
    must(tree_alloc(t, nodes, rows, labels, ANSWERS), &e);
    t->id = seed;
    t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = prefix};
    uint32_t node = 1;
    uint32_t row = prefix;
    uint32_t n = 0;
    for (uint32_t i = 0; i < rows; i++) {
        t->tokens[i] = (uint32_t)rng_below(seed, i, vocab);
    }
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t up = node++;
        t->nodes[up] = (struct tree_node){.parent = 0, .count = PREFERENCE};
        uint32_t last = row + PREFERENCE - 1;
        row += PREFERENCE;
        for (uint32_t i = 0; i < ANSWERS / 2; i++, row += ANSWER) {
            uint32_t leaf = side * ANSWERS / 2 + i;
            t->nodes[node++] = (struct tree_node){.parent = up, .count = ANSWER};
            for (uint32_t at = 0; at <= ANSWER; at++) {
                uint32_t from = at == 0 ? last : row + at - 1;
                uint32_t target = at < ANSWER ? t->tokens[row + at] : 2;
                t->labels[n++] = (struct tree_label){from, target, leaf, 0.01f};
            }
        }
    }
    for (uint32_t i = 1; i < n; i++) { /* in order of row, then leaf */
        struct tree_label label = t->labels[i];
        uint32_t at = i;
        for (; at > 0 && t->labels[at - 1].row > label.row; at--) {
            t->labels[at] = t->labels[at - 1];
        }
        t->labels[at] = label;
    }
    must(tree_finish(t, vocab, &e), &e);
}

static double measure_peak(enum kernels_level level)
{
    struct team team;
    struct buffer *buffer;
    struct errbuf e = {0};
    const size_t words = (size_t)PEAK_SIZE * PEAK_SIZE;
    team_init_cpu(&team, level, PEAK_SIZE, PEAK_SIZE);
    must(team.ops->alloc(3 * words, &buffer), &e);
    team.ops->fill(&team, (struct span){buffer, 0}, 3 * words, 0.5f);
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
        double start = thread_seconds();
        const struct frozen w = {{buffer, words}, PEAK_SIZE, PEAK_SIZE, NULL};
        const struct product p = {
            .w = &w, .rows = PEAK_SIZE, .x = {buffer, 0}, .y = {buffer, 2 * words}};
        team.ops->product(&team, &p);
        double took = thread_seconds() - start;
        best = took < best ? took : best;
    }
    team.ops->release(&buffer);
    return 2.0 * PEAK_SIZE * PEAK_SIZE * PEAK_SIZE / best * 1e-9;
}

struct runner {
    struct engine_slot *slot;
    const struct unit *unit;
    const float *flat;
    int64_t *sum;
    int repeat;
    double best, cpu; /* seconds: of the best unit; of the thread, a unit */
};

static void *run(void *context)
{
    struct runner *r = context;
    struct errbuf e = {0};
    struct unit_result result;
    r->best = 1e9;
    double cpu = thread_seconds();
    for (int i = 0; i < r->repeat; i++) {
        uint64_t start = clock_now_ns();
        must(engine_gradient(r->slot, r->unit, r->flat, (uint64_t)i, r->sum, &result, &e), &e);
        double took = seconds(start);
        r->best = took < r->best ? took : r->best;
    }
    r->cpu = (thread_seconds() - cpu) / r->repeat;
    return NULL;
}

static void report(const struct runner *runners, int slots, uint32_t rows, double wall, double peak)
{
    const struct profile *p = engine_slot_profile(runners[0].slot);
    const double units = runners[0].repeat;
    double total_ms = 0;
    double flops = 0;
    for (int i = PROFILE_IDLE + 1; i < PROFILE_PARTS; i++) {
        total_ms += (double)p->ns[i] * 1e-6 / units;
        flops += (double)p->flops[i] / units;
    }
    for (int i = PROFILE_IDLE + 1; i < PROFILE_PARTS; i++) {
        double ms = (double)p->ns[i] * 1e-6 / units;
        double gflop = (double)p->flops[i] / units * 1e-9;
        printf("  %-10s %9.1f ms %5.1f %%", profile_part_name((enum profile_part)i), ms,
               100 * ms / total_ms);
        if (gflop > 0) {
            printf(" %8.2f GFLOP %7.1f GFLOP/s", gflop, gflop / ms * 1e3);
        }
        printf("\n");
    }
    double rate = flops * units * slots / wall * 1e-9;
    printf("unit of %u rows: best %.1f ms, mean %.1f ms, %.0f rows/s a slot\n", rows,
           runners[0].best * 1e3, total_ms, rows / total_ms * 1e3);
    printf("useful %.1f GFLOP a unit, %.1f GFLOP/s on %d slots, %.3f of the sgemm peak\n",
           flops * 1e-9, rate, slots, rate / (peak * slots));
    printf("best unit %.3f of the peak; per CPU second %.3f of the peak\n",
           flops * 1e-9 / runners[0].best / peak, flops * 1e-9 / runners[0].cpu / peak);
}

static void load(struct weights *w, const char *model)
{
    struct errbuf e = {0};
    struct model_file *mf = NULL;
    if (model) {
        must(model_open(model, &mf, &e), &e);
        must(weights_load(w, mf, 0, &e), &e);
        model_close(&mf);
        return;
    }
    must(weights_alloc(w, &smollm2, &e), &e);
    for (size_t i = 0; i < w->floats; i++) {
        w->block[i] = ((float)(i * 2654435761u % 65536) / 65536.0f - 0.5f) * 0.08f;
    }
}

enum { SLOTS_MOST = 16, TREES_MOST = 8 };

struct settings {
    const char *model;
    int repeat, slots;
    uint32_t trees, prefix, tile_rows, tile_cols, threads;
    enum kernels_level level;
    struct lora_config lora;
    enum engine_precision precision;
};

static const char usage[] =
    "usage: engine_bench_tool [--model FILE] [--repeat N] [--slots N] [--r R] [--trees N]\n"
    "       [--prefix N] [--tile-rows N] [--tile-cols N] [--kernels LEVEL] [--bf16]\n"
    "       [--threads T]\n";

static bool parse(int argc, char **argv, struct settings *s)
{
    const struct option options[] = {{"model", required_argument, NULL, 'm'},
                                     {"repeat", required_argument, NULL, 'n'},
                                     {"slots", required_argument, NULL, 's'},
                                     {"r", required_argument, NULL, 'r'},
                                     {"trees", required_argument, NULL, 't'},
                                     {"prefix", required_argument, NULL, 'p'},
                                     {"tile-rows", required_argument, NULL, 'R'},
                                     {"tile-cols", required_argument, NULL, 'C'},
                                     {"kernels", required_argument, NULL, 'k'},
                                     {"threads", required_argument, NULL, 'T'},
                                     {"bf16", no_argument, NULL, 'b'},
                                     {NULL, 0, NULL, 0}};
    *s = (struct settings){.repeat = 3,
                           .slots = 1,
                           .trees = 1,
                           .prefix = PREFIX,
                           .level = kernels_level_native(),
                           .lora = {16, 32.0f, 0.0f, (1u << LORA_MODULES) - 1}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        uint32_t n = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 0;
        s->model = c == 'm' ? optarg : s->model;
        s->repeat = c == 'n' ? (int)n : s->repeat;
        s->slots = c == 's' ? (int)n : s->slots;
        s->lora.r = c == 'r' ? n : s->lora.r;
        s->trees = c == 't' ? n : s->trees;
        s->prefix = c == 'p' ? n : s->prefix;
        s->tile_rows = c == 'R' ? n : s->tile_rows;
        s->tile_cols = c == 'C' ? n : s->tile_cols;
        s->threads = c == 'T' ? n : s->threads;
        s->precision = c == 'b' ? ENGINE_BF16 : s->precision;
        if (c == '?' || (c == 'k' && !kernels_level_from(optarg, &s->level))) {
            return false;
        }
    }
    return s->repeat > 0 && s->slots > 0 && s->slots <= SLOTS_MOST && s->trees > 0 &&
           s->trees <= TREES_MOST && s->prefix > 0;
}

static void bench(const struct settings *s, const struct engine *engine, const struct unit *unit,
                  double peak)
{
    struct errbuf e = {0};
    struct runner runners[SLOTS_MOST] = {0};
    pthread_t threads[SLOTS_MOST];
    const size_t count = engine_lora_count(engine);
    float *flat = mem_calloc(count, sizeof *flat);
    must(flat ? OK : ERR_NOMEM, &e);
    for (size_t i = 0; i < count; i++) {
        flat[i] = (rng_unit(1, i) - 0.5f) * 0.02f;
    }
    for (int i = 0; i < s->slots; i++) {
        runners[i] = (struct runner){.unit = unit, .flat = flat, .repeat = s->repeat};
        runners[i].sum = mem_calloc(count, sizeof(int64_t));
        must(runners[i].sum ? OK : ERR_NOMEM, &e);
        must(engine_slot_new(engine, unit->n_rows, &runners[i].slot, &e), &e);
    }
    uint64_t start = clock_now_ns();
    for (int i = 0; i < s->slots; i++) {
        must(pthread_create(&threads[i], NULL, run, &runners[i]) == 0 ? OK : ERR_NOMEM, &e);
    }
    for (int i = 0; i < s->slots; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    report(runners, s->slots, unit->n_rows, seconds(start), peak);
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    printf("slot memory %.0f MiB, peak resident %.0f MiB\n",
           (double)engine_slot_bytes(runners[0].slot) / (1 << 20), (double)used.ru_maxrss / 1024);
    for (int i = 0; i < s->slots; i++) {
        engine_slot_free(&runners[i].slot);
        mem_free(runners[i].sum);
    }
    mem_free(flat);
}

int main(int argc, char **argv)
{
    struct settings s;
    struct errbuf e = {0};
    if (!parse(argc, argv, &s)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    must(kernels_level_prepare(s.level, argv, &e), &e);
    double peak = measure_peak(s.level);
    printf("kernels %s, OpenBLAS %s, sgemm peak %.1f GFLOP/s\n", kernels_level_name(s.level),
           kernels_level_loaded_core(), peak);
    struct weights weights;
    load(&weights, s.model);
    const struct engine_config config = {.shape = weights.shape,
                                         .lora = s.lora,
                                         .kernels = s.level,
                                         .precision = s.precision,
                                         .tile_rows = s.tile_rows,
                                         .tile_cols = s.tile_cols,
                                         .threads = s.threads};
    struct engine *engine;
    must(engine_new(&config, &weights, &engine, &e), &e);
    struct tree trees[TREES_MOST];
    struct unit unit = {.n_trees = s.trees, .trees = trees};
    for (uint32_t i = 0; i < s.trees; i++) {
        make_tree(&trees[i], weights.shape.vocab, s.prefix, i + 1);
        unit.n_rows += trees[i].n_rows;
    }
    bench(&s, engine, &unit, peak);
    for (uint32_t i = 0; i < s.trees; i++) {
        tree_free(&trees[i]);
    }
    engine_free(&engine);
    weights_free(&weights);
    return 0;
}
