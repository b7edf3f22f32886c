/* backend_cpu_rows.c - the operations whose rows, or groups of heads, know nothing of each other: a
 * team shares them out, each lane calls the same kernel on its part. */
#include "worker/backend/backend_cpu.h"
#include "worker/backend/kernels.h"

enum { GRAIN_ROWS = 8 }; /* fewer are not worth another lane */

struct norm_call {
    const struct kernels *kernels;
    uint32_t cols;
    float eps;
    const float *x, *w, *dy;
    float *y, *rstd, *dx;
    bool accumulate;
};

static void rmsnorm_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct norm_call *c = ctx;
    const size_t from = first * c->cols;
    (void)lane;
    c->kernels->rmsnorm(count, c->cols, c->eps, c->x + from, c->w, c->y + from, c->rstd + first);
}

void cpu_rmsnorm(struct team *t, uint32_t rows, uint32_t cols, float eps, struct span x,
                 struct span w, struct span y, struct span rstd)
{
    struct norm_call c = {.kernels = t->kernels,
                          .cols = cols,
                          .eps = eps,
                          .x = cpu_at(x),
                          .w = cpu_at(w),
                          .y = cpu_at(y),
                          .rstd = cpu_at(rstd)};
    cpu_ranges(t, rows, GRAIN_ROWS, rmsnorm_range, &c);
    team_count(t, 0, 8 * (uint64_t)rows * cols);
}

static void rmsnorm_backward_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct norm_call *c = ctx;
    const size_t from = first * c->cols;
    (void)lane;
    c->kernels->rmsnorm_backward(count, c->cols, c->x + from, c->w, c->rstd + first, c->dy + from,
                                 c->dx + from, c->accumulate);
}

void cpu_rmsnorm_backward(struct team *t, uint32_t rows, uint32_t cols, struct span x,
                          struct span w, struct span rstd, struct span dy, struct span dx,
                          bool accumulate)
{
    struct norm_call c = {.kernels = t->kernels,
                          .cols = cols,
                          .x = cpu_at(x),
                          .w = cpu_at(w),
                          .dy = cpu_at(dy),
                          .rstd = cpu_at(rstd),
                          .dx = cpu_at(dx),
                          .accumulate = accumulate};
    cpu_ranges(t, rows, GRAIN_ROWS, rmsnorm_backward_range, &c);
    team_count(t, 0, (accumulate ? 16 : 12) * (uint64_t)rows * cols);
}

struct heads_call {
    const struct kernels *kernels;
    struct kernel_heads heads;
    const float *from, *other;
    float *to;
};

static struct heads_call heads_call(const struct team *t, const struct heads *h)
{
    return (struct heads_call){
        .kernels = t->kernels,
        .heads = {.rows = h->rows,
                  .groups = h->groups,
                  .per = h->per,
                  .head_dim = h->head_dim,
                  .ld = h->ld,
                  .col = h->col,
                  .table = h->rotated ? cpu_at(h->table) : NULL,
                  .positions = h->rotated ? cpu_index_at(h->positions) : NULL,
                  .scale = h->scale,
                  .row_scale = h->scaled_rows ? cpu_at(h->row_scale) : NULL},
    };
}

/* One kv head and its queries. */
static struct kernel_heads one_group(const struct kernel_heads *all, uint32_t group)
{
    struct kernel_heads h = *all;
    h.groups = 1;
    h.col += (size_t)group * h.per * h.head_dim;
    h.row_scale = h.row_scale ? h.row_scale + (size_t)group * h.rows * h.per : NULL;
    return h;
}

static size_t group_heads(const struct kernel_heads *h, uint32_t group)
{
    return (size_t)group * h->rows * h->per;
}

static void split_group(void *ctx, uint32_t lane, uint32_t group)
{
    const struct heads_call *c = ctx;
    const struct kernel_heads h = one_group(&c->heads, group);
    (void)lane;
    c->kernels->heads_split(&h, c->from, c->to + group_heads(&h, group) * h.head_dim);
}

void cpu_heads_split(struct team *t, const struct heads *h, struct span flat, struct span packed)
{
    struct heads_call c = heads_call(t, h);
    c.from = cpu_at(flat);
    c.to = cpu_at(packed);
    cpu_items(t, h->groups, split_group, &c);
    team_count(t, 0, 8 * (uint64_t)h->rows * h->groups * h->per * h->head_dim);
}

static void merge_group(void *ctx, uint32_t lane, uint32_t group)
{
    const struct heads_call *c = ctx;
    const struct kernel_heads h = one_group(&c->heads, group);
    (void)lane;
    c->kernels->heads_merge(&h, c->from + group_heads(&h, group) * h.head_dim, c->to);
}

void cpu_heads_merge(struct team *t, const struct heads *h, struct span packed, struct span flat)
{
    struct heads_call c = heads_call(t, h);
    c.from = cpu_at(packed);
    c.to = cpu_at(flat);
    cpu_items(t, h->groups, merge_group, &c);
    team_count(t, 0, 8 * (uint64_t)h->rows * h->groups * h->per * h->head_dim);
}

static void dot_group(void *ctx, uint32_t lane, uint32_t group)
{
    const struct heads_call *c = ctx;
    const struct kernel_heads h = one_group(&c->heads, group);
    (void)lane;
    c->kernels->heads_dot(&h, c->from, c->other, c->to + group_heads(&h, group));
}

void cpu_heads_dot(struct team *t, const struct heads *h, struct span a, struct span b,
                   struct span dots)
{
    struct heads_call c = heads_call(t, h);
    c.from = cpu_at(a);
    c.other = cpu_at(b);
    c.to = cpu_at(dots);
    cpu_items(t, h->groups, dot_group, &c);
    team_count(t, 0, 8 * (uint64_t)h->rows * h->groups * h->per * h->head_dim);
}

struct swiglu_call {
    const struct kernels *kernels;
    uint32_t cols;
    float *gate_up, *h;
};

static void swiglu_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct swiglu_call *c = ctx;
    (void)lane;
    c->kernels->swiglu(count, c->cols, c->gate_up + first * 2 * c->cols, c->h + first * c->cols);
}

void cpu_swiglu(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up, struct span h)
{
    struct swiglu_call c = {t->kernels, cols, cpu_at(gate_up), cpu_at(h)};
    cpu_ranges(t, rows, GRAIN_ROWS, swiglu_range, &c);
    team_count(t, 0, 12 * (uint64_t)rows * cols);
}

static void swiglu_backward_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct swiglu_call *c = ctx;
    (void)lane;
    c->kernels->swiglu_backward(count, c->cols, c->gate_up + first * 2 * c->cols,
                                c->h + first * c->cols);
}

void cpu_swiglu_backward(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up,
                         struct span dh)
{
    struct swiglu_call c = {t->kernels, cols, cpu_at(gate_up), cpu_at(dh)};
    cpu_ranges(t, rows, GRAIN_ROWS, swiglu_backward_range, &c);
    team_count(t, 0, 20 * (uint64_t)rows * cols);
}

static struct kernel_head_block head_block_of(const struct head_block *b)
{
    return (struct kernel_head_block){
        .rows = b->rows,
        .cols = b->cols,
        .first = b->first,
        .hidden = b->hidden,
        .ld = b->ld,
        .targets = cpu_index_at(b->targets),
        .most = cpu_at(b->most),
        .sum = cpu_at(b->sum),
        .mix = b->mixing ? cpu_at(b->mix) : NULL,
    };
}

struct head_call {
    const struct kernels *kernels;
    struct kernel_head_block block;
    float *logits;
};

static void head_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct head_call *c = ctx;
    struct kernel_head_block b = c->block;
    (void)lane;
    b.rows = (uint32_t)count;
    b.targets += first;
    b.most += first;
    b.sum += first;
    b.mix = b.mix ? b.mix + first * b.hidden : NULL;
    c->kernels->head_block(&b, c->logits + first * b.ld);
}

void cpu_head_block(struct team *t, const struct head_block *b)
{
    struct head_call c = {t->kernels, head_block_of(b), cpu_at(b->logits)};
    cpu_ranges(t, b->rows, GRAIN_ROWS, head_range, &c);
    team_count(t, 0, 8 * (uint64_t)b->rows * b->cols);
}

struct anchor_call {
    const struct kernels *kernels;
    uint32_t cols;
    const struct kernel_anchor_row *norms;
    const float *base;
    float *logits, *kl;
};

static void anchor_range(void *ctx, uint32_t lane, size_t first, size_t count)
{
    const struct anchor_call *c = ctx;
    const size_t at = first * c->cols;
    (void)lane;
    c->kernels->anchor_block((uint32_t)count, c->cols, c->norms + first, c->base + at,
                             c->logits + at, c->kl + first);
}

void cpu_anchor_block(struct team *t, const struct anchor_block *b)
{
    struct anchor_call c = {t->kernels,
                            b->cols,
                            (const struct kernel_anchor_row *)(const void *)cpu_at(b->norms),
                            cpu_at(b->base),
                            cpu_at(b->logits),
                            cpu_at(b->kl)};
    cpu_ranges(t, b->rows, GRAIN_ROWS, anchor_range, &c);
    team_count(t, 0, 12 * (uint64_t)b->rows * b->cols);
}

void cpu_pick(struct team *t, const struct head_block *b, uint32_t count, struct span row,
              struct span target, struct span out)
{
    const struct kernel_head_block block = head_block_of(b);
    t->kernels->pick(&block, cpu_at(b->logits), count, cpu_index_at(row), cpu_index_at(target),
                     cpu_at(out));
}
