/* profile_run.c - slots at work on the same units, their profiles added up and printed. */
#include "worker/profile_run.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/format/model_file.h"
#include "common/format/model_hash.h"
#include "common/wire/units_frame.h"
#include "worker/backend/profile.h"
#include "worker/memory.h"
#include "worker/model/weights.h"

enum { UNITS_BYTES = 64 << 20, KEY_LORA = 7 };

struct bench {
    const struct profile_options *o;
    struct weights weights;
    struct engine *engine;
    struct unit *units;
    uint32_t n_units;
    uint64_t rows;
    float *lora;
    struct engine_need need;
    pthread_barrier_t start; /* after the uncounted pass of every slot */
};

struct runner {
    struct bench *b;
    pthread_t thread;
    struct engine_slot *slot;
    int64_t *sum;
    uint64_t begin_ns, end_ns;
    enum err error;
    struct errbuf text;
};

static void pass(struct runner *r)
{
    struct unit_result result;
    for (uint32_t i = 0; i < r->b->n_units && r->error == OK; i++) {
        r->error =
            engine_gradient(r->slot, &r->b->units[i], r->b->lora, 0, r->sum, &result, &r->text);
    }
}

static void *run(void *argument)
{
    struct runner *r = argument;
    pass(r);
    (void)pthread_barrier_wait(&r->b->start);
    engine_slot_profile_reset(r->slot);
    r->begin_ns = clock_now_ns();
    for (uint32_t i = 0; i < r->b->o->repeat && r->error == OK; i++) {
        pass(r);
    }
    r->end_ns = clock_now_ns();
    return NULL;
}

static void add(struct profile *to, const struct profile *from)
{
    for (int i = 0; i < PROFILE_PARTS; i++) {
        to->ns[i] += from->ns[i];
        to->flops[i] += from->flops[i];
        to->bytes[i] += from->bytes[i];
    }
}

static uint64_t total_ns(const struct profile *p)
{
    uint64_t ns = 0;
    for (int i = 0; i < PROFILE_PARTS; i++) {
        ns += p->ns[i];
    }
    return ns;
}

static void print_row(const char *name, uint64_t ns, double share, uint64_t flops, uint64_t bytes)
{
    double s = (double)ns * 1e-9;
    printf("  %-10s %9.1f ms %6.1f %%", name, s * 1e3, share);
    if (flops > 0) {
        printf(" %9.2f GFLOP %7.1f GFLOP/s", (double)flops * 1e-9, (double)flops * 1e-9 / s);
    } else {
        printf(" %33s", "");
    }
    if (bytes > 0 && ns > 0) {
        printf(" %8.2f GB %6.1f GB/s", (double)bytes * 1e-9, (double)bytes * 1e-9 / s);
    }
    printf("\n");
}

static void print_table(const struct profile *p)
{
    const double all = (double)total_ns(p);
    uint64_t flops = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < PROFILE_PARTS; i++) {
        print_row(profile_part_name((enum profile_part)i), p->ns[i],
                  all > 0 ? 100.0 * (double)p->ns[i] / all : 0.0, p->flops[i], p->bytes[i]);
        flops += p->flops[i];
        bytes += p->bytes[i];
    }
    print_row("all", total_ns(p), 100.0, flops, bytes);
}

static void print_layers(const struct profile *layers, uint32_t n)
{
    printf("\n%6s", "ms of");
    for (int i = 0; i < PROFILE_PARTS; i++) {
        printf(" %9s", profile_part_name((enum profile_part)i));
    }
    printf(" %9s %8s\n", "all", "GFLOP/s");
    for (uint32_t layer = 0; layer < n; layer++) {
        const struct profile *p = &layers[layer];
        uint64_t flops = 0;
        printf("%6u", layer);
        for (int i = 0; i < PROFILE_PARTS; i++) {
            printf(" %9.2f", (double)p->ns[i] * 1e-6);
            flops += p->flops[i];
        }
        printf(" %9.2f %8.1f\n", (double)total_ns(p) * 1e-6,
               (double)flops / ((double)total_ns(p) + 1.0));
    }
}

static void json_parts(const struct profile *p)
{
    for (int i = 0; i < PROFILE_PARTS; i++) {
        printf("%s\"%s\":{\"s\":%.6f,\"flop\":%llu,\"bytes\":%llu}", i > 0 ? "," : "",
               profile_part_name((enum profile_part)i), (double)p->ns[i] * 1e-9,
               (unsigned long long)p->flops[i], (unsigned long long)p->bytes[i]);
    }
}

static void print_all(const struct bench *b, const struct runner *runners,
                      const struct profile *sum, const struct profile *layers)
{
    const struct profile_options *o = b->o;
    const struct engine_config *c = &o->config;
    const char *precision = c->precision == ENGINE_BF16 ? "bf16" : "fp32";
    uint64_t wall_ns = 0;
    for (uint32_t i = 0; i < o->slots; i++) {
        uint64_t ns = runners[i].end_ns - runners[0].begin_ns;
        wall_ns = ns > wall_ns ? ns : wall_ns;
    }
    double wall = (double)wall_ns * 1e-9;
    double rate = (double)b->rows * o->slots * o->repeat / wall;
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    const double mib = (double)used.ru_maxrss / 1024.0;
    const struct engine_need *need = &b->need;
    const double predicted =
        (double)(need->resident + need->packed + o->slots * need->slot) / (1 << 20);
    if (!o->json) {
        printf("%s, kernels %s, OpenBLAS %s; %u slots of %u threads; %u units of %llu tokens in "
               "all, %u times\n",
               precision, kernels_level_name(c->kernels), kernels_level_loaded_core(), o->slots,
               c->threads, b->n_units, (unsigned long long)b->rows, o->repeat);
        print_table(sum);
        if (o->layers) {
            print_layers(layers, c->shape.layers);
        }
        printf("\n%.2f s, %.0f tokens/s; peak memory %.0f MiB, predicted %.0f\n", wall, rate, mib,
               predicted);
        return;
    }
    printf("{\"precision\":\"%s\",\"kernels\":\"%s\",\"core_type\":\"%s\",\"slots\":%u,"
           "\"threads\":%u,\"units\":%u,\"tokens\":%llu,\"repeat\":%u,\"wall_s\":%.6f,"
           "\"tokens_per_s\":%.1f,\"peak_mib\":%.0f,\"predicted_mib\":%.0f,\"parts\":{",
           precision, kernels_level_name(c->kernels), kernels_level_loaded_core(), o->slots,
           c->threads, b->n_units, (unsigned long long)b->rows, o->repeat, wall, rate, mib,
           predicted);
    json_parts(sum);
    printf("},\"layers\":[");
    for (uint32_t i = 0; i < c->shape.layers; i++) {
        printf("%s{", i > 0 ? "," : "");
        json_parts(&layers[i]);
        printf("}");
    }
    printf("]}\n");
}

static enum err run_slots(struct bench *b, struct runner *runners, struct errbuf *e)
{
    const uint32_t n = b->o->slots;
    enum err error = pthread_barrier_init(&b->start, NULL, n) == 0 ? OK : ERR_NOMEM;
    uint32_t started = 0;
    for (uint32_t i = 0; i < n && error == OK; i++) {
        struct runner *r = &runners[i];
        r->b = b;
        r->sum = mem_calloc(engine_lora_count(b->engine), sizeof *r->sum);
        error = r->sum ? engine_slot_new(b->engine, 0, &r->slot, e) : ERR_NOMEM;
    }
    for (; started < n && error == OK; started++) {
        if (pthread_create(&runners[started].thread, NULL, run, &runners[started]) != 0) {
            return err_set(
                e, ERR_NOMEM,
                "cannot start the thread of slot %u; do ulimit -u and ulimit -v allow it?",
                started);
        }
    }
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(runners[i].thread, NULL);
        if (runners[i].error != OK && error == OK) {
            error = err_set(e, runners[i].error, "%s", runners[i].text.text);
        }
    }
    return error == ERR_NOMEM && e->text[0] == '\0' ? err_set(e, error, "no memory for %u slots", n)
                                                    : error;
}

static enum err profile(struct bench *b, struct errbuf *e)
{
    const uint32_t layers = b->o->config.shape.layers;
    struct runner *runners = mem_calloc(b->o->slots, sizeof *runners);
    struct profile *by_layer = mem_calloc(layers, sizeof *by_layer);
    struct profile sum = {0};
    enum err error = runners && by_layer ? run_slots(b, runners, e)
                                         : err_set(e, ERR_NOMEM, "no memory for a profile");
    for (uint32_t i = 0; error == OK && i < b->o->slots; i++) {
        add(&sum, engine_slot_profile(runners[i].slot));
        for (uint32_t layer = 0; layer < layers; layer++) {
            add(&by_layer[layer], engine_slot_layer_profile(runners[i].slot, layer));
        }
    }
    if (error == OK) {
        print_all(b, runners, &sum, by_layer);
    }
    for (uint32_t i = 0; runners && i < b->o->slots; i++) {
        engine_slot_free(&runners[i].slot);
        mem_free(runners[i].sum);
    }
    mem_free(runners);
    mem_free(by_layer);
    return error;
}

/* A small random adapter: B of zero would make the gradient of A trivial, not its cost. */
static enum err fill_lora(struct bench *b, struct errbuf *e)
{
    const size_t n = engine_lora_count(b->engine);
    b->lora = mem_aligned(n + 1, sizeof *b->lora);
    for (size_t i = 0; b->lora && i < n; i++) {
        b->lora[i] = (rng_unit(KEY_LORA, i) - 0.5f) * 0.02f;
    }
    return b->lora && n > 0 ? OK : err_set(e, ERR_RANGE, "profile: lora.r of at least 1 is needed");
}

static enum err read_units(struct bench *b, struct errbuf *e)
{
    char *data = NULL;
    size_t bytes = 0;
    enum err error = file_read(b->o->units, UNITS_BYTES, &data, &bytes, e);
    if (error == OK) {
        error = units_frame_read((const uint8_t *)data, bytes, b->o->config.shape.vocab, &b->units,
                                 &b->n_units, e);
    }
    mem_free(data);
    for (uint32_t i = 0; error == OK && i < b->n_units; i++) {
        b->rows += b->units[i].n_rows;
    }
    return error;
}

static struct engine_rows most_rows(const struct bench *b)
{
    struct engine_rows most = {.train = 1};
    for (uint32_t i = 0; i < b->n_units; i++) {
        const struct unit *unit = &b->units[i];
        uint32_t *rows = unit->anchor ? &most.anchor : &most.train;
        *rows = unit->n_rows > *rows ? unit->n_rows : *rows;
    }
    return most;
}

enum err profile_run(const struct profile_options *o, struct errbuf *e)
{
    struct bench b = {.o = o};
    char hash[HASH_SHA256_HEX];
    struct errbuf note;
    enum err error = read_units(&b, e);
    if (error == OK) {
        error = model_hash(o->model, hash, e);
    }
    if (error == OK) {
        error = weights_open(&b.weights, o->model, hash, NULL, WEIGHTS_SHARE_FLOATS, &note, e);
    }
    if (error == OK) {
        const struct engine_rows rows = most_rows(&b);
        error = memory_fits(&o->config, o->slots, &rows, memory_available(""), &b.need, e);
    }
    if (error == OK) {
        error = engine_new(&o->config, &b.weights, &b.engine, e);
    }
    if (error == OK) {
        error = fill_lora(&b, e);
    }
    if (error == OK) {
        error = profile(&b, e);
    }
    engine_free(&b.engine);
    weights_free(&b.weights);
    units_frame_free(b.units, b.n_units);
    mem_free(b.lora);
    return error;
}
