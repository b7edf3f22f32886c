/* backend_cpu.c - the table of operations on host memory: OpenBLAS for products, kernels_impl.c for
 * everything else. The only file that calls BLAS. */
#include <cblas.h>
#include <pthread.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "worker/backend/backend.h"
#include "worker/backend/bf16.h"
#include "worker/backend/kernels.h"

enum { BEYOND = 16 }; /* words behind a buffer that gemm may read */

struct buffer {
    float *data;
    size_t words;
    bool owned;
};

static float *at(struct span s)
{
    return s.buffer->data + s.at;
}

static const uint32_t *index_at(struct span s)
{
    return (const uint32_t *)(const void *)at(s);
}

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
    return make(mem_aligned(words + BEYOND, sizeof(float)), words, true, out);
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
        memcpy(at(to), from, words * sizeof(float));
    }
}

static const void *cpu_view(struct team *t, struct span from, size_t words, void *room)
{
    (void)t;
    (void)room;
    CHECK(from.at + words <= from.buffer->words);
    return at(from);
}

static void cpu_gemm(struct team *t, const struct gemm *g)
{
    const struct kernel_gemm k = {.m = g->m,
                                  .n = g->n,
                                  .k = g->k,
                                  .a_row = g->a_transposed ? 1 : g->lda,
                                  .a_col = g->a_transposed ? g->lda : 1,
                                  .ldb = g->ldb,
                                  .ldc = g->ldc,
                                  .alpha = g->alpha,
                                  .onto = g->onto};
    t->kernels->gemm(&k, at(g->a), at(g->b), at(g->c));
    if (t->part != PROFILE_ATTENTION) { /* attention counts its visible pairs itself */
        t->profile.flops[t->part] += 2 * (uint64_t)g->m * g->n * g->k;
    }
}

static enum err cpu_freeze(struct frozen *w, enum precision precision)
{
    w->bf16 = NULL;
    return precision == PRECISION_BF16_PRODUCTS ? bf16_pack(at(w->w), w->out, w->in, &w->bf16) : OK;
}

static void cpu_thaw(struct frozen *w)
{
    bf16_matrix_free(&w->bf16);
}

static enum err cpu_reserve(struct team *t, size_t elements, enum precision precision)
{
    return precision == PRECISION_BF16_PRODUCTS ? bf16_reserve(&t->bf16, elements) : OK;
}

/* One output tile of y = x W^T or x W. */
static void tile(const struct product *p, uint32_t row, uint32_t rows, uint32_t col, uint32_t cols)
{
    const struct frozen *w = p->w;
    const uint32_t from = p->backward ? w->out : w->in;
    const uint32_t to = p->backward ? w->in : w->out;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, p->backward ? CblasNoTrans : CblasTrans, (int)rows,
                (int)cols, (int)from, 1.0f, at(p->x) + (size_t)row * from, (int)from,
                at(w->w) + (p->backward ? col : (size_t)col * w->in), (int)w->in,
                p->onto ? 1.0f : 0.0f, at(p->y) + (size_t)row * to + col, (int)to);
}

static void cpu_product(struct team *t, const struct product *p)
{
    const struct frozen *w = p->w;
    const uint32_t from = p->backward ? w->out : w->in;
    const uint32_t to = p->backward ? w->in : w->out;
    if (w->bf16) {
        bf16_product(t->bf16, t->kernels, w->bf16, p->backward, p->rows, at(p->x), at(p->y),
                     p->onto);
    } else {
        for (uint32_t col = 0; col < to; col += t->tile_cols) {
            uint32_t cols = to - col < t->tile_cols ? to - col : t->tile_cols;
            for (uint32_t row = 0; row < p->rows; row += t->tile_rows) {
                uint32_t rows = p->rows - row < t->tile_rows ? p->rows - row : t->tile_rows;
                tile(p, row, rows, col, cols);
            }
        }
    }
    t->profile.flops[t->part] += 2 * (uint64_t)p->rows * from * to;
}

static void cpu_transpose(struct team *t, uint32_t rows, uint32_t cols, size_t ld, struct span from,
                          struct span to)
{
    t->kernels->transpose(rows, cols, ld, at(from), at(to));
}

static void cpu_fill(struct team *t, struct span x, size_t words, float value)
{
    (void)t;
    float *p = at(x);
    for (size_t i = 0; i < words; i++) {
        p[i] = value;
    }
}

static void cpu_copy(struct team *t, struct span from, struct span to, size_t words)
{
    (void)t;
    memcpy(at(to), at(from), words * sizeof(float));
}

static void cpu_rmsnorm(struct team *t, uint32_t rows, uint32_t cols, float eps, struct span x,
                        struct span w, struct span y, struct span rstd)
{
    t->kernels->rmsnorm(rows, cols, eps, at(x), at(w), at(y), at(rstd));
}

static void cpu_rmsnorm_backward(struct team *t, uint32_t rows, uint32_t cols, struct span x,
                                 struct span w, struct span rstd, struct span dy, struct span dx,
                                 bool accumulate)
{
    t->kernels->rmsnorm_backward(rows, cols, at(x), at(w), at(rstd), at(dy), at(dx), accumulate);
}

static struct kernel_heads heads_of(const struct heads *h)
{
    return (struct kernel_heads){
        .rows = h->rows,
        .groups = h->groups,
        .per = h->per,
        .head_dim = h->head_dim,
        .ld = h->ld,
        .col = h->col,
        .table = h->rotated ? at(h->table) : NULL,
        .positions = h->rotated ? index_at(h->positions) : NULL,
        .scale = h->scale,
        .row_scale = h->scaled_rows ? at(h->row_scale) : NULL,
    };
}

static void cpu_heads_split(struct team *t, const struct heads *h, struct span flat,
                            struct span packed)
{
    const struct kernel_heads heads = heads_of(h);
    t->kernels->heads_split(&heads, at(flat), at(packed));
}

static void cpu_heads_merge(struct team *t, const struct heads *h, struct span packed,
                            struct span flat)
{
    const struct kernel_heads heads = heads_of(h);
    t->kernels->heads_merge(&heads, at(packed), at(flat));
}

static void cpu_heads_dot(struct team *t, const struct heads *h, struct span a, struct span b,
                          struct span dots)
{
    const struct kernel_heads heads = heads_of(h);
    t->kernels->heads_dot(&heads, at(a), at(b), at(dots));
}

static struct kernel_softmax softmax_of(const struct softmax *b)
{
    return (struct kernel_softmax){b->queries, b->per, b->cols, b->ld, index_at(b->limits)};
}

static void cpu_softmax(struct team *t, const struct softmax *b)
{
    const struct kernel_softmax block = softmax_of(b);
    t->kernels->softmax(&block, at(b->s), at(b->most), at(b->inverse));
}

static void cpu_softmax_backward(struct team *t, const struct softmax *b, struct span ds,
                                 struct span delta)
{
    const struct kernel_softmax block = softmax_of(b);
    t->kernels->softmax_backward(&block, at(b->s), at(ds), at(b->most), at(b->inverse), at(delta));
}

static void cpu_swiglu(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up,
                       struct span h)
{
    t->kernels->swiglu(rows, cols, at(gate_up), at(h));
}

static void cpu_swiglu_backward(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up,
                                struct span dh)
{
    t->kernels->swiglu_backward(rows, cols, at(gate_up), at(dh));
}

static struct kernel_head_block head_block_of(const struct head_block *b)
{
    return (struct kernel_head_block){
        .rows = b->rows,
        .cols = b->cols,
        .first = b->first,
        .hidden = b->hidden,
        .ld = b->ld,
        .targets = index_at(b->targets),
        .most = at(b->most),
        .sum = at(b->sum),
        .mix = b->mixing ? at(b->mix) : NULL,
    };
}

static void cpu_head_block(struct team *t, const struct head_block *b)
{
    const struct kernel_head_block block = head_block_of(b);
    t->kernels->head_block(&block, at(b->logits));
}

static void cpu_pick(struct team *t, const struct head_block *b, uint32_t count, struct span row,
                     struct span target, struct span out)
{
    const struct kernel_head_block block = head_block_of(b);
    t->kernels->pick(&block, at(b->logits), count, index_at(row), index_at(target), at(out));
}

static void cpu_gather_rows(struct team *t, uint32_t rows, uint32_t cols, struct span index,
                            struct span from, struct span to)
{
    t->kernels->gather_rows(rows, cols, index_at(index), at(from), at(to));
}

static void cpu_scatter_add_rows(struct team *t, uint32_t rows, uint32_t cols, struct span index,
                                 struct span from, struct span to)
{
    t->kernels->scatter_add_rows(rows, cols, index_at(index), at(from), at(to));
}

static void cpu_add_scaled_rows(struct team *t, uint32_t count, uint32_t cols, struct span row,
                                struct span index, struct span coefficient, struct span from,
                                struct span to)
{
    t->kernels->add_scaled_rows(count, cols, index_at(row), index_at(index), at(coefficient),
                                at(from), at(to));
}

static void cpu_scale_rows(struct team *t, uint32_t rows, uint32_t cols, struct span factor,
                           struct span x)
{
    t->kernels->scale_rows(rows, cols, at(factor), at(x));
}

static void cpu_dropout(struct team *t, const struct dropout *d, struct span from, struct span to)
{
    const uint64_t *keys = (const uint64_t *)(const void *)at(d->keys);
    t->kernels->dropout(d->rows, d->cols, keys, d->salt, d->keep, at(from), at(to), d->accumulate);
}

const struct backend_ops backend_cpu = {
    .name = "openblas",
    .on_host = true,
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
                       .part_since_ns = clock_now_ns()};
}

void team_deinit(struct team *t)
{
    bf16_room_free(&t->bf16);
    *t = (struct team){0};
}

void team_enter(struct team *t, enum profile_part part)
{
    uint64_t now = clock_now_ns();
    t->profile.ns[t->part] += now - t->part_since_ns;
    t->part = part;
    t->part_since_ns = now;
}
