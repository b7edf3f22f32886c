/* backend_cpu.c - the table of operations on host memory: OpenBLAS or oneDNN for products with
 * frozen weights, kernels_impl.c for everything else; and how a team shares them out. The only file
 * that calls BLAS. */
#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "worker/backend/backend_cpu.h"
#include "worker/backend/bf16.h"
#include "worker/backend/crew.h"
#include "worker/backend/kernels.h"

static enum err make(float *data, size_t words, bool owned, struct buffer **out)
{
    struct buffer *b = data ? mem_calloc(1, sizeof *b) : NULL;
    if (!b) {
        if (owned) {
            mem_free(data);
        }
        return ERR_NOMEM;
    }
    *b = (struct buffer){data, words, owned};
    *out = b;
    return OK;
}

static enum err cpu_alloc(size_t words, struct buffer **out)
{
    return make(mem_aligned(words, sizeof(float)), words, true, out);
}

static enum err cpu_import(const void *host, size_t words, struct buffer **out)
{
    union { /* read-only by contract: no operation writes into an imported buffer */
        const void *from;
        float *to;
    } cast = {.from = host};
    return make(cast.to, words, false, out);
}

static void cpu_release(struct buffer **buffer)
{
    if (*buffer) {
        if ((*buffer)->owned) {
            mem_free((*buffer)->data);
        }
        mem_free(*buffer);
        *buffer = NULL;
    }
}

static void cpu_upload(struct span to, const void *from, size_t words)
{
    CHECK(to.buffer->owned && to.at + words <= to.buffer->words);
    if (words > 0) {
        memcpy(cpu_at(to), from, words * sizeof(float));
    }
}

static const void *cpu_view(struct team *t, struct span from, size_t words, void *room)
{
    (void)t;
    (void)room;
    CHECK(from.at + words <= from.buffer->words);
    return cpu_at(from);
}

static void charge(struct team *t, enum profile_part part, uint64_t ns)
{
    t->profile.ns[part] += ns;
    if (t->layer) {
        t->layer->ns[part] += ns;
    }
}

/* The part that runs does not pay for it. */
static void charge_wait(struct team *t, uint64_t ns)
{
    charge(t, PROFILE_WAIT, ns);
    t->part_since_ns += ns;
}

void team_count(struct team *t, uint64_t flops, uint64_t bytes)
{
    t->profile.flops[t->part] += flops;
    t->profile.bytes[t->part] += bytes;
    if (t->layer) {
        t->layer->flops[t->part] += flops;
        t->layer->bytes[t->part] += bytes;
    }
}

struct shared_items {
    item_fn *fn;
    void *ctx;
    uint32_t items;
    atomic_uint next;
};

static void take_items(void *ctx, uint32_t lane)
{
    struct shared_items *s = ctx;
    for (uint32_t item = atomic_fetch_add(&s->next, 1); item < s->items;
         item = atomic_fetch_add(&s->next, 1)) {
        s->fn(s->ctx, lane, item);
    }
}

void cpu_items(struct team *t, uint32_t items, item_fn *fn, void *ctx)
{
    if (t->crew && items > 1) {
        struct shared_items s = {.fn = fn, .ctx = ctx, .items = items};
        charge_wait(t, crew_run(t->crew, take_items, &s));
        return;
    }
    for (uint32_t item = 0; item < items; item++) {
        fn(ctx, 0, item);
    }
}

struct shared_range {
    range_fn *fn;
    void *ctx;
    size_t items, part;
};

static void take_range(void *ctx, uint32_t lane)
{
    const struct shared_range *s = ctx;
    size_t first = lane * s->part;
    if (first < s->items) {
        s->fn(s->ctx, lane, first, s->items - first < s->part ? s->items - first : s->part);
    }
}

void cpu_ranges(struct team *t, size_t items, size_t grain, range_fn *fn, void *ctx)
{
    if (!t->crew || items <= grain) {
        fn(ctx, 0, 0, items);
        return;
    }
    size_t part = (items + t->threads - 1) / t->threads;
    struct shared_range s = {fn, ctx, items, (part + grain - 1) / grain * grain};
    charge_wait(t, crew_run(t->crew, take_range, &s));
}

struct shared_each {
    const struct team *team;
    team_item_fn *fn;
    void *ctx;
    atomic_uint_least64_t bytes;
};

static void run_each(void *ctx, uint32_t lane, uint32_t item)
{
    struct shared_each *s = ctx;
    struct team alone = *s->team;
    alone.crew = NULL;
    alone.threads = 1;
    alone.layer = NULL;
    alone.profile.bytes[alone.part] = 0;
    s->fn(s->ctx, &alone, lane, item);
    atomic_fetch_add(&s->bytes, alone.profile.bytes[alone.part]);
}

static void cpu_each(struct team *t, uint32_t count, team_item_fn *fn, void *ctx)
{
    struct shared_each s = {.team = t, .fn = fn, .ctx = ctx};
    cpu_items(t, count, run_each, &s);
    team_count(t, 0, atomic_load(&s.bytes));
}

enum { GRAIN_M = 24, GRAIN_N = 64 }; /* whole tiles of kernels_gemm.h */

struct shared_gemm {
    const struct kernels *kernels;
    struct kernel_gemm g;
    bool by_rows;
    const float *a, *b;
    float *c;
};

static void gemm_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct shared_gemm *s = ctx;
    struct kernel_gemm g = s->g;
    (void)lane;
    if (s->by_rows) {
        g.m = (uint32_t)count;
        s->kernels->gemm(&g, s->a + first * g.a_row, s->b, s->c + first * g.ldc);
    } else {
        g.n = (uint32_t)count;
        s->kernels->gemm(&g, s->a, s->b + first, s->c + first);
    }
}

static void cpu_gemm(struct team *t, const struct gemm *g)
{
    struct shared_gemm s = {.kernels = t->kernels,
                            .g = {.m = g->m,
                                  .n = g->n,
                                  .k = g->k,
                                  .a_row = g->a_transposed ? 1 : g->lda,
                                  .a_col = g->a_transposed ? g->lda : 1,
                                  .ldb = g->ldb,
                                  .ldc = g->ldc,
                                  .alpha = g->alpha,
                                  .onto = g->onto},
                            .by_rows = g->m >= g->n,
                            .a = cpu_at(g->a),
                            .b = cpu_at(g->b),
                            .c = cpu_at(g->c)};
    cpu_ranges(t, s.by_rows ? g->m : g->n, s.by_rows ? GRAIN_M : GRAIN_N, gemm_range, &s);
    const uint64_t m = g->m;
    const uint64_t n = g->n;
    /* attention counts its visible pairs itself */
    team_count(t, t->part == PROFILE_ATTENTION ? 0 : 2 * m * n * g->k,
               4 * (m * g->k + n * g->k + (g->onto ? 2 : 1) * m * n));
}

uint32_t tile_width(uint32_t n, uint32_t most)
{
    uint32_t count = (n + most - 1) / most;
    for (uint32_t i = count; i < 2 * count + 1; i++) {
        if (n % (16 * i) == 0) {
            return n / i;
        }
    }
    uint32_t width = (n + count - 1) / count;
    return (width + 15) / 16 * 16;
}

static enum err cpu_freeze(struct frozen *w, enum precision precision, uint32_t tile_cols)
{
    w->bf16 = NULL;
    return precision == PRECISION_BF16_PRODUCTS
               ? bf16_pack(cpu_at(w->w), w->out, w->in, tile_cols, &w->bf16)
               : OK;
}

static void cpu_thaw(struct frozen *w)
{
    bf16_matrix_free(&w->bf16);
}

static enum err cpu_reserve(struct team *t, size_t elements, enum precision precision)
{
    return precision == PRECISION_BF16_PRODUCTS ? bf16_reserve(&t->bf16, t->threads, elements) : OK;
}

struct shared_product {
    const struct team *team;
    const struct product *p;
    uint32_t from, to;
    uint32_t tile_cols, col_tiles;
};

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void sgemm_tile(void *ctx, uint32_t lane, uint32_t item)
{
    const struct shared_product *s = ctx;
    const struct product *p = s->p;
    const struct frozen *w = p->w;
    const uint32_t tile_rows = s->team->tile_rows;
    const uint32_t row = item / s->col_tiles * tile_rows;
    const uint32_t col = item % s->col_tiles * s->tile_cols;
    (void)lane;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, p->backward ? CblasNoTrans : CblasTrans,
                (int)least(tile_rows, p->rows - row), (int)least(s->tile_cols, s->to - col),
                (int)s->from, 1.0f, cpu_at(p->x) + (size_t)row * s->from, (int)s->from,
                cpu_at(w->w) + (p->backward ? col : (size_t)col * w->in), (int)w->in,
                p->onto ? 1.0f : 0.0f, cpu_at(p->y) + (size_t)row * s->to + col, (int)s->to);
}

static void round_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct shared_product *s = ctx;
    (void)lane;
    s->team->kernels->to_bf16(count, cpu_at(s->p->x) + first,
                              bf16_input(s->team->bf16, first + count) + first);
}

static void run_bf16_tile(void *ctx, uint32_t lane, uint32_t item)
{
    const struct shared_product *s = ctx;
    const struct product *p = s->p;
    bf16_tile(s->team->bf16, lane, p->w->bf16, p->backward, item, p->rows, cpu_at(p->y), p->onto);
}

static void cpu_product(struct team *t, const struct product *p)
{
    const struct frozen *w = p->w;
    struct shared_product s = {.team = t,
                               .p = p,
                               .from = p->backward ? w->out : w->in,
                               .to = p->backward ? w->in : w->out};
    if (w->bf16) {
        enum { GRAIN = 4096 };
        const enum profile_part part = t->part;
        team_enter(t, PROFILE_PACK);
        cpu_ranges(t, (size_t)p->rows * s.from, GRAIN, round_range, &s);
        team_count(t, 0, (uint64_t)p->rows * s.from * 6);
        team_enter(t, part);
        cpu_items(t, bf16_tiles(w->bf16, p->backward), run_bf16_tile, &s);
    } else {
        s.tile_cols = tile_width(s.to, t->tile_cols);
        s.col_tiles = (s.to + s.tile_cols - 1) / s.tile_cols;
        uint32_t row_tiles = (p->rows + t->tile_rows - 1) / t->tile_rows;
        cpu_items(t, row_tiles * s.col_tiles, sgemm_tile, &s);
    }
    const uint64_t rows = p->rows;
    const uint64_t inputs = rows * s.from + (uint64_t)s.from * s.to;
    team_count(t, 2 * rows * s.from * s.to,
               (w->bf16 ? 2 : 4) * inputs + (p->onto ? 8 : 4) * rows * s.to);
}

static void cpu_transpose(struct team *t, uint32_t rows, uint32_t cols, size_t ld, struct span from,
                          struct span to)
{
    t->kernels->transpose(rows, cols, ld, cpu_at(from), cpu_at(to));
    team_count(t, 0, 8 * (uint64_t)rows * cols);
}

static void cpu_fill(struct team *t, struct span x, size_t words, float value)
{
    float *p = cpu_at(x);
    for (size_t i = 0; i < words; i++) {
        p[i] = value;
    }
    team_count(t, 0, 4 * (uint64_t)words);
}

static void cpu_copy(struct team *t, struct span from, struct span to, size_t words)
{
    memcpy(cpu_at(to), cpu_at(from), words * sizeof(float));
    team_count(t, 0, 8 * (uint64_t)words);
}

static struct kernel_softmax softmax_of(const struct softmax *b)
{
    return (struct kernel_softmax){b->queries, b->per, b->cols, b->ld, cpu_index_at(b->limits)};
}

static void cpu_softmax(struct team *t, const struct softmax *b)
{
    const struct kernel_softmax block = softmax_of(b);
    t->kernels->softmax(&block, cpu_at(b->s), cpu_at(b->most), cpu_at(b->inverse));
    team_count(t, 0, 8 * (uint64_t)b->queries * b->per * b->cols);
}

static void cpu_softmax_backward(struct team *t, const struct softmax *b, struct span ds,
                                 struct span delta)
{
    const struct kernel_softmax block = softmax_of(b);
    t->kernels->softmax_backward(&block, cpu_at(b->s), cpu_at(ds), cpu_at(b->most),
                                 cpu_at(b->inverse), cpu_at(delta));
    team_count(t, 0, 16 * (uint64_t)b->queries * b->per * b->cols);
}

static void cpu_gather_rows(struct team *t, uint32_t rows, uint32_t cols, struct span index,
                            struct span from, struct span to)
{
    t->kernels->gather_rows(rows, cols, cpu_index_at(index), cpu_at(from), cpu_at(to));
    team_count(t, 0, 8 * (uint64_t)rows * cols);
}

static void cpu_scatter_add_rows(struct team *t, uint32_t rows, uint32_t cols, struct span index,
                                 struct span from, struct span to)
{
    t->kernels->scatter_add_rows(rows, cols, cpu_index_at(index), cpu_at(from), cpu_at(to));
    team_count(t, 0, 12 * (uint64_t)rows * cols);
}

static void cpu_add_scaled_rows(struct team *t, uint32_t count, uint32_t cols, struct span row,
                                struct span index, struct span coefficient, struct span from,
                                struct span to)
{
    t->kernels->add_scaled_rows(count, cols, cpu_index_at(row), cpu_index_at(index),
                                cpu_at(coefficient), cpu_at(from), cpu_at(to));
    team_count(t, 0, 12 * (uint64_t)count * cols);
}

static void cpu_scale_rows(struct team *t, uint32_t rows, uint32_t cols, struct span factor,
                           struct span x)
{
    t->kernels->scale_rows(rows, cols, cpu_at(factor), cpu_at(x));
    team_count(t, 0, 8 * (uint64_t)rows * cols);
}

static void cpu_dropout(struct team *t, const struct dropout *d, struct span from, struct span to)
{
    const uint64_t *keys = (const uint64_t *)(const void *)cpu_at(d->keys);
    t->kernels->dropout(d->rows, d->cols, keys, d->salt, d->keep, cpu_at(from), cpu_at(to),
                        d->accumulate);
    team_count(t, 0, (d->accumulate ? 12 : 8) * (uint64_t)d->rows * d->cols);
}

const struct backend_ops backend_cpu = {
    .name = "openblas",
    .on_host = true,
    .each = cpu_each,
    .alloc = cpu_alloc,
    .import = cpu_import,
    .release = cpu_release,
    .upload = cpu_upload,
    .view = cpu_view,
    .freeze = cpu_freeze,
    .thaw = cpu_thaw,
    .reserve = cpu_reserve,
    .product = cpu_product,
    .gemm = cpu_gemm,
    .transpose = cpu_transpose,
    .fill = cpu_fill,
    .copy = cpu_copy,
    .rmsnorm = cpu_rmsnorm,
    .rmsnorm_backward = cpu_rmsnorm_backward,
    .heads_split = cpu_heads_split,
    .heads_merge = cpu_heads_merge,
    .heads_dot = cpu_heads_dot,
    .softmax = cpu_softmax,
    .softmax_backward = cpu_softmax_backward,
    .swiglu = cpu_swiglu,
    .swiglu_backward = cpu_swiglu_backward,
    .head_block = cpu_head_block,
    .anchor_block = cpu_anchor_block,
    .pick = cpu_pick,
    .gather_rows = cpu_gather_rows,
    .scatter_add_rows = cpu_scatter_add_rows,
    .add_scaled_rows = cpu_add_scaled_rows,
    .scale_rows = cpu_scale_rows,
    .dropout = cpu_dropout,
};

static void one_thread_a_call(void)
{
    openblas_set_num_threads(1);
}

void team_init_cpu(struct team *t, enum kernels_level level, uint32_t tile_rows, uint32_t tile_cols)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, one_thread_a_call);
    *t = (struct team){.ops = &backend_cpu,
                       .kernels = kernels_of(level),
                       .threads = 1,
                       .tile_rows = tile_rows,
                       .tile_cols = tile_cols,
                       .even_rows = kernels_level_even_rows(level),
                       .part_since_ns = clock_now_ns()};
}

enum err team_hire(struct team *t, uint32_t threads)
{
    CHECK(!t->crew && !t->bf16);
    enum err error = threads > 1 ? crew_new(threads, &t->crew) : OK;
    t->threads = error == OK ? threads : 1;
    return error;
}

void team_deinit(struct team *t)
{
    crew_free(&t->crew);
    bf16_room_free(&t->bf16);
    *t = (struct team){0};
}

void team_enter(struct team *t, enum profile_part part)
{
    uint64_t now = clock_now_ns();
    charge(t, t->part, now - t->part_since_ns);
    t->part = part;
    t->part_since_ns = now;
}

void team_layer(struct team *t, struct profile *layer)
{
    team_enter(t, t->part);
    t->layer = layer;
}

static const char *const part_names[] = {
#define PART_NAME(part, text) text,
    PROFILE_LIST(PART_NAME)
#undef PART_NAME
};

const char *profile_part_name(enum profile_part part)
{
    return part_names[part];
}
