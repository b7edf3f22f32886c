/* attention.c - blocks of queries against the runs of rows they see. */
#include "worker/model/attention.h"

#include "common/base/check.h"

/* One block of one group: [rows, E] against its runs. */
struct view {
    const struct query_set *set;
    const struct attention_block *block;
    uint32_t rows;     /* queries * P */
    uint32_t head_dim; /* E */
    size_t query_at;   /* words of the block in q, dq, heads */
    size_t row_at;     /* floats of the block in most, inverse, delta */
    size_t key_at;     /* words of the group in k, v, dk, dv */
    size_t flipped_at; /* words of the group in k_flipped, v_flipped */
    size_t flipped_ld; /* of those: score_ld(N) */
    size_t ld;         /* of the scores */
    float scale;       /* 1 / sqrt(E) */
};

static const struct query_set *set_of(const struct pass *p, uint32_t layer)
{
    return layer_is_last(p, layer) ? &p->rows.labelled : &p->rows.all;
}

static struct view view_of(const struct pass *p, const struct query_set *set, uint32_t group,
                           uint32_t block)
{
    const struct model_shape *s = &p->model->shape;
    const struct attention_block *b = &set->blocks[block];
    uint32_t per = s->heads / s->kv_heads;
    size_t row = ((size_t)group * set->count + b->query) * per;
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
                         .scale = 1.0f / __builtin_sqrtf((float)s->head_dim)};
}

/* scores [rows, cols] = alpha * queries [rows, E] keys^T, run by run; keys flipped. */
static void against_keys(struct pass *p, const struct view *v, struct span queries,
                         struct span keys, struct span scores, float alpha)
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
        p->team.ops->gemm(&p->team, &g);
    }
}

/* out [rows, E] = alpha * scores values, summed over the runs. */
static void mix_values(struct pass *p, const struct view *v, struct span scores, struct span values,
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
        p->team.ops->gemm(&p->team, &g);
    }
}

/* values += alpha * scores^T rows, run by run. */
static void collect(struct pass *p, const struct view *v, struct span scores, struct span rows,
                    struct span values, float alpha)
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
        p->team.ops->gemm(&p->team, &g);
    }
}

static struct softmax softmax_of(const struct pass *p, uint32_t layer, const struct view *v)
{
    const struct layer_tensors *t = &p->layers[layer];
    struct span limits = layer_is_last(p, layer) ? p->unit.label_limits : p->unit.limits;
    return (struct softmax){.queries = v->block->queries,
                            .per = v->rows / v->block->queries,
                            .cols = v->block->cols,
                            .ld = v->ld,
                            .limits = span_at(limits, v->block->query),
                            .s = p->scratch.scores,
                            .most = span_at(t->most, v->row_at),
                            .inverse = span_at(t->inverse, v->row_at)};
}

/* The flat side of attention's output: all heads of each query. */
static struct heads flat_heads(const struct pass *p, uint32_t queries)
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
    p->team.profile.flops[PROFILE_ATTENTION] += 2 * products * set->pairs * s->heads * s->head_dim;
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

void attention_forward(struct pass *p, uint32_t layer)
{
    const struct query_set *set = set_of(p, layer);
    const struct layer_tensors *t = &p->layers[layer];
    team_enter(&p->team, PROFILE_ATTENTION);
    flip(p, t->k, p->scratch.k_flipped);
    for (uint32_t group = 0; group < p->model->shape.kv_heads; group++) {
        for (uint32_t i = 0; i < set->n_blocks; i++) {
            const struct view v = view_of(p, set, group, i);
            const struct softmax s = softmax_of(p, layer, &v);
            against_keys(p, &v, t->q, p->scratch.k_flipped, p->scratch.scores, v.scale);
            p->team.ops->softmax(&p->team, &s);
            mix_values(p, &v, p->scratch.scores, t->v, p->scratch.heads, 1.0f);
        }
    }
    struct heads heads = flat_heads(p, set->count);
    heads.scaled_rows = true;
    heads.row_scale = t->inverse;
    p->team.ops->heads_merge(&p->team, &heads, p->scratch.heads, t->attn);
    count_pairs(p, set, 2);
}

void attention_backward(struct pass *p, uint32_t layer)
{
    const struct query_set *set = set_of(p, layer);
    const struct layer_tensors *t = &p->layers[layer];
    const struct scratch *c = &p->scratch;
    const struct model_shape *s = &p->model->shape;
    const struct heads heads = flat_heads(p, set->count);
    size_t keys = (size_t)s->kv_heads * p->sizes.rows * s->head_dim;
    team_enter(&p->team, PROFILE_ATTENTION);
    p->team.ops->heads_split(&p->team, &heads, c->dattn, c->heads);
    p->team.ops->heads_dot(&p->team, &heads, c->dattn, t->attn, c->delta);
    flip(p, t->k, c->k_flipped);
    flip(p, t->v, c->v_flipped);
    p->team.ops->fill(&p->team, c->dk, keys, 0.0f);
    p->team.ops->fill(&p->team, c->dv, keys, 0.0f);
    for (uint32_t group = 0; group < s->kv_heads; group++) {
        for (uint32_t i = 0; i < set->n_blocks; i++) {
            const struct view v = view_of(p, set, group, i);
            const struct softmax softmax = softmax_of(p, layer, &v);
            against_keys(p, &v, t->q, c->k_flipped, c->scores, v.scale);
            against_keys(p, &v, c->heads, c->v_flipped, c->dscores, 1.0f);
            p->team.ops->softmax_backward(&p->team, &softmax, c->dscores,
                                          span_at(c->delta, v.row_at));
            mix_values(p, &v, c->dscores, t->k, c->dq, v.scale);
            collect(p, &v, c->dscores, t->q, c->dk, v.scale);
            collect(p, &v, c->scores, c->heads, c->dv, 1.0f);
        }
    }
    count_pairs(p, set, 4);
}
