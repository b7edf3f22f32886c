/* attention.c - blocks of queries against the runs of rows they see. */
#include "worker/model/attention.h"

#include "common/base/check.h"

/* One block of one group: [rows, E] against its runs. */
struct view {
    const struct query_set *set;
    const struct attention_block *block;
    uint32_t rows;               /* queries * P */
    uint32_t head_dim;           /* E */
    size_t query_at;             /* words of the block in q, dq, heads */
    size_t row_at;               /* floats of the block in most, inverse, delta */
    size_t key_at;               /* words of the group in k, v, dk, dv */
    size_t flipped_at;           /* words of the group in k_flipped, v_flipped */
    size_t flipped_ld;           /* of those: score_ld(N) */
    size_t ld;                   /* of the scores */
    struct span scores, dscores; /* [rows, ld] of the lane */
    struct team *team;           /* who works on it */
    float scale;                 /* 1 / sqrt(E) */
};

static const struct query_set *set_of(const struct pass *p, uint32_t layer)
{
    return layer_is_last(p, layer) ? &p->rows.labelled : &p->rows.all;
}

/* One layer's blocks of all groups, and who sees what. */
struct blocks {
    const struct pass *p;
    uint32_t layer;
    const struct query_set *set;
    const struct layer_tensors *t;
};

static struct blocks blocks_of(const struct pass *p, uint32_t layer)
{
    return (struct blocks){p, layer, set_of(p, layer), &p->layers[layer]};
}

static struct view view_of(const struct blocks *all, struct team *team, uint32_t lane,
                           uint32_t group, uint32_t block)
{
    const struct pass *p = all->p;
    const struct query_set *set = all->set;
    const struct model_shape *s = &p->model->shape;
    const struct attention_block *b = &set->blocks[block];
    uint32_t per = s->heads / s->kv_heads;
    size_t row = ((size_t)group * set->count + b->query) * per;
    size_t room = lane * per * p->sizes.score_words;
    return (struct view){.set = set,
                         .block = b,
                         .rows = b->queries * per,
                         .head_dim = s->head_dim,
                         .query_at = row * s->head_dim,
                         .row_at = row,
                         .key_at = (size_t)group * p->sizes.rows * s->head_dim,
                         .flipped_at = group * s->head_dim * score_ld(p->sizes.rows),
                         .flipped_ld = score_ld(p->sizes.rows),
                         .ld = score_ld(b->cols),
                         .scores = span_at(p->scratch.scores, room),
                         .dscores = span_at(p->scratch.dscores, room),
                         .team = team,
                         .scale = 1.0f / __builtin_sqrtf((float)s->head_dim)};
}

/* scores [rows, cols] = alpha * queries [rows, E] keys^T, run by run; keys flipped. */
static void against_keys(const struct view *v, struct span queries, struct span keys,
                         struct span scores, float alpha)
{
    for (uint32_t i = 0; i < v->block->runs; i++) {
        const struct attention_run *run = &v->set->runs[v->block->run + i];
        const struct gemm g = {.m = v->rows,
                               .n = run->count,
                               .k = v->head_dim,
                               .alpha = alpha,
                               .a = span_at(queries, v->query_at),
                               .lda = v->head_dim,
                               .b = span_at(keys, v->flipped_at + run->row),
                               .ldb = v->flipped_ld,
                               .c = span_at(scores, run->col),
                               .ldc = v->ld};
        v->team->ops->gemm(v->team, &g);
    }
}

/* out [rows, E] = alpha * scores values, summed over the runs. */
static void mix_values(const struct view *v, struct span scores, struct span values,
                       struct span out, float alpha)
{
    for (uint32_t i = 0; i < v->block->runs; i++) {
        const struct attention_run *run = &v->set->runs[v->block->run + i];
        const struct gemm g = {.m = v->rows,
                               .n = v->head_dim,
                               .k = run->count,
                               .alpha = alpha,
                               .onto = i > 0,
                               .a = span_at(scores, run->col),
                               .lda = v->ld,
                               .b = span_at(values, v->key_at + (size_t)run->row * v->head_dim),
                               .ldb = v->head_dim,
                               .c = span_at(out, v->query_at),
                               .ldc = v->head_dim};
        v->team->ops->gemm(v->team, &g);
    }
}

/* values += alpha * scores^T rows, run by run. */
static void collect(const struct view *v, struct span scores, struct span rows, struct span values,
                    float alpha)
{
    for (uint32_t i = 0; i < v->block->runs; i++) {
        const struct attention_run *run = &v->set->runs[v->block->run + i];
        const struct gemm g = {.a_transposed = true,
                               .m = run->count,
                               .n = v->head_dim,
                               .k = v->rows,
                               .alpha = alpha,
                               .onto = true,
                               .a = span_at(scores, run->col),
                               .lda = v->ld,
                               .b = span_at(rows, v->query_at),
                               .ldb = v->head_dim,
                               .c = span_at(values, v->key_at + (size_t)run->row * v->head_dim),
                               .ldc = v->head_dim};
        v->team->ops->gemm(v->team, &g);
    }
}

static struct softmax softmax_of(const struct blocks *all, const struct view *v)
{
    const struct unit_spans *unit = &all->p->unit;
    struct span limits = layer_is_last(all->p, all->layer) ? unit->label_limits : unit->limits;
    return (struct softmax){.queries = v->block->queries,
                            .per = v->rows / v->block->queries,
                            .cols = v->block->cols,
                            .ld = v->ld,
                            .limits = span_at(limits, v->block->query),
                            .s = v->scores,
                            .most = span_at(all->t->most, v->row_at),
                            .inverse = span_at(all->t->inverse, v->row_at)};
}

struct heads attention_heads(const struct pass *p, uint32_t queries)
{
    const struct model_shape *s = &p->model->shape;
    CHECK(s->kv_heads > 0);
    return (struct heads){.rows = queries,
                          .groups = s->kv_heads,
                          .per = s->heads / s->kv_heads,
                          .head_dim = s->head_dim,
                          .ld = (size_t)s->heads * s->head_dim,
                          .scale = 1.0f};
}

/* Useful operations: `products` score-sized products over the pairs that see each other. */
static void count_pairs(struct pass *p, const struct query_set *set, uint64_t products)
{
    const struct model_shape *s = &p->model->shape;
    team_count(&p->team, 2 * products * set->pairs * s->heads * s->head_dim, 0);
}

/* packed [K][N][E] -> flipped [K][E][score_ld(N)]. */
static void flip(struct pass *p, struct span packed, struct span flipped)
{
    const struct model_shape *s = &p->model->shape;
    const size_t ld = score_ld(p->sizes.rows);
    for (uint32_t group = 0; group < s->kv_heads; group++) {
        p->team.ops->transpose(&p->team, p->sizes.rows, s->head_dim, ld,
                               span_at(packed, (size_t)group * p->sizes.rows * s->head_dim),
                               span_at(flipped, group * s->head_dim * ld));
    }
}

static void block_forward(void *ctx, struct team *alone, uint32_t lane, uint32_t item)
{
    const struct blocks *all = ctx;
    const uint32_t n = all->set->n_blocks;
    const struct view v = view_of(all, alone, lane, item / n, item % n);
    const struct softmax s = softmax_of(all, &v);
    against_keys(&v, all->t->q, all->p->scratch.k_flipped, v.scores, v.scale);
    alone->ops->softmax(alone, &s);
    mix_values(&v, v.scores, all->t->v, all->p->scratch.heads, 1.0f);
}

void attention_forward(struct pass *p, uint32_t layer)
{
    struct blocks all = blocks_of(p, layer);
    struct heads heads = attention_heads(p, all.set->count);
    heads.scaled_rows = true;
    heads.row_scale = all.t->inverse;
    team_enter(&p->team, PROFILE_ATTENTION);
    flip(p, all.t->k, p->scratch.k_flipped);
    p->team.ops->each(&p->team, p->model->shape.kv_heads * all.set->n_blocks, block_forward, &all);
    p->team.ops->heads_merge(&p->team, &heads, p->scratch.heads, all.t->attn);
    count_pairs(p, all.set, 2);
}

/* The blocks of a group collect into the same keys and values, so they follow each other. */
static void group_backward(void *ctx, struct team *alone, uint32_t lane, uint32_t group)
{
    const struct blocks *all = ctx;
    const struct scratch *c = &all->p->scratch;
    for (uint32_t i = 0; i < all->set->n_blocks; i++) {
        const struct view v = view_of(all, alone, lane, group, i);
        const struct softmax softmax = softmax_of(all, &v);
        against_keys(&v, all->t->q, c->k_flipped, v.scores, v.scale);
        against_keys(&v, c->heads, c->v_flipped, v.dscores, 1.0f);
        alone->ops->softmax_backward(alone, &softmax, v.dscores, span_at(c->delta, v.row_at));
        mix_values(&v, v.dscores, all->t->k, c->dq, v.scale);
        collect(&v, v.dscores, all->t->q, c->dk, v.scale);
        collect(&v, v.scores, c->heads, c->dv, 1.0f);
    }
}

void attention_backward(struct pass *p, uint32_t layer)
{
    struct blocks all = blocks_of(p, layer);
    const struct scratch *c = &p->scratch;
    const struct model_shape *s = &p->model->shape;
    const struct heads heads = attention_heads(p, all.set->count);
    size_t keys = (size_t)s->kv_heads * p->sizes.rows * s->head_dim;
    team_enter(&p->team, PROFILE_ATTENTION);
    p->team.ops->heads_split(&p->team, &heads, c->dattn, c->heads);
    p->team.ops->heads_dot(&p->team, &heads, c->dattn, all.t->attn, c->delta);
    flip(p, all.t->k, c->k_flipped);
    flip(p, all.t->v, c->v_flipped);
    p->team.ops->fill(&p->team, c->dk, keys, 0.0f);
    p->team.ops->fill(&p->team, c->dv, keys, 0.0f);
    p->team.ops->each(&p->team, s->kv_heads, group_backward, &all);
    count_pairs(p, all.set, 4);
}
