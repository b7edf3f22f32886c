/* decode.c - prompts in, steps over the caches. */
#include "worker/model/decode.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/model/attention.h"
#include "worker/model/head.h"
#include "worker/model/rope.h"

enum { TAIL_MAX = LIMIT_ANSWER_TOKENS / KV_COLS + 1 };

static struct span kv_at(const struct model_shape *s, const struct kv_block *b, uint32_t layer,
                         uint32_t half, uint32_t group)
{
    const size_t matrix = (size_t)s->head_dim * b->ld;
    return (struct span){b->buffer, (((size_t)layer * 2 + half) * s->kv_heads + group) * matrix};
}

static struct span kv_keys(const struct model_shape *s, const struct kv_block *b, uint32_t layer,
                           uint32_t group)
{
    return kv_at(s, b, layer, 0, group);
}

static struct span kv_values(const struct model_shape *s, const struct kv_block *b, uint32_t layer,
                             uint32_t group)
{
    return kv_at(s, b, layer, 1, group);
}

static enum err kv_new(const struct pass *p, size_t ld, struct kv_block *out, struct errbuf *e)
{
    const struct model_shape *s = &p->model->shape;
    const size_t words = (size_t)s->layers * 2 * s->kv_heads * s->head_dim * ld;
    *out = (struct kv_block){.ld = ld};
    return p->team.ops->alloc(words, &out->buffer) == OK
               ? OK
               : err_set(e, ERR_NOMEM,
                         "engine: no memory for keys and values of %zu tokens (%zu MiB)", ld,
                         words * sizeof(float) >> 20);
}

void kv_free(const struct backend_ops *ops, struct kv_block *block)
{
    ops->release(&block->buffer);
}

enum err decode_init(struct decode *d, struct pass *p)
{
    *d = (struct decode){.p = p};
    d->logits = mem_aligned((size_t)DECODE_ROWS * p->model->shape.vocab, sizeof *d->logits);
    return d->logits ? OK : ERR_NOMEM;
}

void decode_free(struct decode *d)
{
    for (uint32_t row = 0; d->p && row < DECODE_ROWS; row++) {
        decode_remove(d, row);
    }
    mem_free(d->logits);
    *d = (struct decode){0};
}

uint32_t decode_add(struct decode *d, struct decode_path *path, uint32_t token)
{
    uint32_t row = 0;
    while (row < DECODE_ROWS && d->rows[row].used) {
        row++;
    }
    CHECK(row < DECODE_ROWS);
    d->rows[row] =
        (struct decode_row){.used = true, .path = *path, .token = token, .length = path->tokens};
    path->runs = NULL;
    return row;
}

void decode_remove(struct decode *d, uint32_t row)
{
    struct decode_row *r = &d->rows[row];
    for (uint32_t i = 0; i < r->n_tail; i++) {
        kv_free(d->p->team.ops, &r->tail[i]);
    }
    mem_free(r->tail);
    mem_free(r->path.runs);
    *r = (struct decode_row){0};
}

uint32_t decode_free_rows(const struct decode *d)
{
    uint32_t n = 0;
    for (uint32_t row = 0; row < DECODE_ROWS; row++) {
        n += !d->rows[row].used;
    }
    return n;
}

/* Attention of a prompt as ever; then its keys and values go into the block. */
static void attend_prompt(struct pass *p, uint32_t layer)
{
    const struct kv_block *block = p->guest;
    const struct model_shape *s = &p->model->shape;
    const size_t packed = (size_t)p->sizes.rows * s->head_dim;
    attention_forward(p, layer);
    for (uint32_t group = 0; group < s->kv_heads; group++) {
        p->team.ops->transpose(&p->team, p->sizes.rows, s->head_dim, block->ld,
                               span_at(p->layers[layer].k, group * packed),
                               kv_keys(s, block, layer, group));
        p->team.ops->copy(&p->team, span_at(p->layers[layer].v, group * packed),
                          kv_values(s, block, layer, group), packed);
    }
}

/* The runs of a labelled row: those of its block, clipped to the row itself. */
static enum err path_of(const struct query_set *set, uint32_t query, const struct kv_block *block,
                        struct decode_path *path)
{
    const struct attention_block *b = set->blocks;
    while (!(query >= b->query && query - b->query < b->queries)) {
        b++;
    }
    *path = (struct decode_path){.block = *block, .tokens = set->limits[query]};
    path->runs = mem_calloc(b->runs, sizeof *path->runs);
    for (uint32_t i = 0; path->runs && i < b->runs; i++) {
        struct attention_run run = set->runs[b->run + i];
        uint32_t left = path->tokens > run.col ? path->tokens - run.col : 0;
        run.count = run.count < left ? run.count : left;
        if (run.count > 0) {
            path->runs[path->n_runs++] = run;
        }
    }
    return path->runs ? OK : ERR_NOMEM;
}

/* Logits of the branches in the order of leaves, and their paths. */
static enum err take_branches(struct decode *d, const struct kv_block *block,
                              struct decode_path *paths, struct errbuf *e)
{
    struct pass *p = d->p;
    const size_t vocab = p->model->shape.vocab;
    float *rows = mem_aligned((size_t)p->sizes.labelled * vocab, sizeof *rows);
    enum err error = rows ? OK : ERR_NOMEM;
    if (error == OK) {
        head_logits(p, rows);
    }
    for (uint32_t i = 0; error == OK && i < p->rows.n_labels; i++) {
        const struct unit_label *label = &p->rows.labels[i];
        memcpy(d->logits + label->leaf * vocab, rows + label->query * vocab, vocab * sizeof *rows);
        error = path_of(&p->rows.labelled, label->query, block, &paths[label->leaf]);
    }
    mem_free(rows);
    return error == OK ? OK : err_set(e, error, "engine: no memory for the branches of a request");
}

enum err decode_prompt(struct decode *d, const struct unit *unit, const float *lora_flat,
                       struct kv_block *block, struct decode_path *paths, struct errbuf *e)
{
    struct pass *p = d->p;
    *block = (struct kv_block){0};
    enum err error = pass_start(p, unit, lora_flat, false, 0, 0, e);
    if (error == OK) {
        error = kv_new(p, score_ld(p->sizes.rows), block, e);
    }
    if (error != OK) {
        return error;
    }
    p->attend = attend_prompt;
    p->guest = block;
    network_forward(p);
    p->attend = NULL;
    p->guest = NULL;
    return take_branches(d, block, paths, e);
}

enum err decode_prepare(struct decode *d, uint32_t depth, struct errbuf *e)
{
    struct pass *p = d->p;
    const struct pass_sizes sizes = {.rows = DECODE_ROWS,
                                     .labelled = DECODE_ROWS,
                                     .depth = depth,
                                     .score_words = score_ld(depth),
                                     .lanes = p->team.threads};
    enum err error = pass_reserve(p, &sizes, e);
    float *table = mem_calloc((size_t)depth * p->model->shape.head_dim, sizeof *table);
    if (error == OK && !table) {
        error = err_set(e, ERR_NOMEM, "engine: no memory for %u positions", depth);
    }
    if (error == OK) {
        uint32_t own[DECODE_ROWS];
        for (uint32_t row = 0; row < DECODE_ROWS; row++) {
            own[row] = row;
        }
        rope_table(&p->model->shape, depth, table);
        p->team.ops->upload(p->unit.rope, table, (size_t)depth * p->model->shape.head_dim);
        p->team.ops->upload(p->unit.label_rows, own, DECODE_ROWS);
    }
    mem_free(table);
    return error;
}

/* One step's attention: who is at work, and on which layer. */
struct step {
    const struct decode *d;
    uint32_t layer, n;
    uint32_t active[DECODE_ROWS];
};

/* The new token's key and value to the end of the row's tail. */
static void keep_token(const struct step *step, uint32_t row)
{
    struct pass *p = step->d->p;
    const struct model_shape *s = &p->model->shape;
    const struct layer_tensors *t = &p->layers[step->layer];
    const struct decode_row *r = &step->d->rows[row];
    const uint32_t at = r->length - r->path.tokens;
    const struct kv_block *block = &r->tail[at / KV_COLS];
    for (uint32_t group = 0; group < s->kv_heads; group++) {
        const size_t from = ((size_t)group * DECODE_ROWS + row) * s->head_dim;
        p->team.ops->transpose(&p->team, 1, s->head_dim, block->ld, span_at(t->k, from),
                               span_at(kv_keys(s, block, step->layer, group), at % KV_COLS));
        p->team.ops->copy(
            &p->team, span_at(t->v, from),
            span_at(kv_values(s, block, step->layer, group), (size_t)(at % KV_COLS) * s->head_dim),
            s->head_dim);
    }
}

/* A row's query heads of one group against one run of cached tokens. */
struct reach {
    struct span keys, values; /* at the run */
    size_t ld;
    uint32_t count, col;
};

static uint32_t reaches_of(const struct step *step, const struct decode_row *r, uint32_t group,
                           uint32_t i, struct reach *out)
{
    const struct model_shape *s = &step->d->p->model->shape;
    const struct kv_block *block = &r->path.block;
    uint32_t row = 0;
    if (i < r->path.n_runs) {
        row = r->path.runs[i].row;
        out->count = r->path.runs[i].count;
        out->col = r->path.runs[i].col;
    } else {
        const uint32_t first = (i - r->path.n_runs) * KV_COLS;
        const uint32_t left = r->length + 1 - r->path.tokens - first;
        block = &r->tail[i - r->path.n_runs];
        out->count = left < KV_COLS ? left : KV_COLS;
        out->col = r->path.tokens + first;
    }
    out->ld = block->ld;
    out->keys = span_at(kv_keys(s, block, step->layer, group), row);
    out->values = span_at(kv_values(s, block, step->layer, group), (size_t)row * s->head_dim);
    return out->col + out->count;
}

static void row_attend(void *ctx, struct team *alone, uint32_t lane, uint32_t item)
{
    const struct step *step = ctx;
    const struct pass *p = step->d->p;
    const struct model_shape *s = &p->model->shape;
    const struct layer_tensors *t = &p->layers[step->layer];
    const uint32_t E = s->head_dim;
    const uint32_t per = s->heads / s->kv_heads;
    const uint32_t group = item / step->n;
    const uint32_t row = step->active[item % step->n];
    const struct decode_row *r = &step->d->rows[row];
    const uint32_t len = r->length + 1;
    const size_t at = ((size_t)group * DECODE_ROWS + row) * per;
    const size_t ld = score_ld(len);
    const struct span scores = span_at(p->scratch.scores, lane * per * p->sizes.score_words);
    struct reach reach;
    uint32_t n = 0;
    for (uint32_t upto = 0; upto < len; n++) {
        upto = reaches_of(step, r, group, n, &reach);
        const struct gemm g = {.m = per,
                               .n = reach.count,
                               .k = E,
                               .alpha = 1.0f / __builtin_sqrtf((float)E),
                               .a = span_at(t->q, at * E),
                               .lda = E,
                               .b = reach.keys,
                               .ldb = reach.ld,
                               .c = span_at(scores, reach.col),
                               .ldc = ld};
        alone->ops->gemm(alone, &g);
    }
    const struct softmax softmax = {.queries = 1,
                                    .per = per,
                                    .cols = len,
                                    .ld = ld,
                                    .limits = span_at(p->unit.limits, row),
                                    .s = scores,
                                    .most = span_at(t->most, at),
                                    .inverse = span_at(t->inverse, at)};
    alone->ops->softmax(alone, &softmax);
    for (uint32_t i = 0; i < n; i++) {
        (void)reaches_of(step, r, group, i, &reach);
        const struct gemm g = {.onto = i > 0,
                               .m = per,
                               .n = E,
                               .k = reach.count,
                               .alpha = 1.0f,
                               .a = span_at(scores, reach.col),
                               .lda = ld,
                               .b = reach.values,
                               .ldb = E,
                               .c = span_at(p->scratch.heads, at * E),
                               .ldc = E};
        alone->ops->gemm(alone, &g);
    }
}

static void attend_step(struct pass *p, uint32_t layer)
{
    const struct model_shape *s = &p->model->shape;
    const struct layer_tensors *t = &p->layers[layer];
    struct step step = {.d = p->guest, .layer = layer};
    struct heads heads = attention_heads(p, DECODE_ROWS);
    heads.scaled_rows = true;
    heads.row_scale = t->inverse;
    team_enter(&p->team, PROFILE_ATTENTION);
    p->team.ops->fill(&p->team, p->scratch.heads, (size_t)DECODE_ROWS * s->heads * s->head_dim,
                      0.0f);
    p->team.ops->fill(&p->team, t->inverse, (size_t)DECODE_ROWS * s->heads, 0.0f);
    for (uint32_t row = 0; row < DECODE_ROWS; row++) {
        if (step.d->rows[row].used) {
            step.active[step.n++] = row;
            keep_token(&step, row);
        }
    }
    p->team.ops->each(&p->team, step.n * s->kv_heads, row_attend, &step);
    p->team.ops->heads_merge(&p->team, &heads, p->scratch.heads, t->attn);
}

/* Room for one token more in every tail. */
static enum err grow_tails(struct decode *d, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t row = 0; error == OK && row < DECODE_ROWS; row++) {
        struct decode_row *r = &d->rows[row];
        if (!r->used || r->length - r->path.tokens < r->n_tail * KV_COLS) {
            continue;
        }
        error = mem_grow((void **)&r->tail, &r->tail_capacity, (size_t)r->n_tail + 1,
                         sizeof *r->tail, TAIL_MAX);
        error = error == OK ? kv_new(d->p, KV_COLS, &r->tail[r->n_tail], e)
                            : err_set(e, error, "engine: no memory for the tail of an answer");
        r->n_tail += error == OK;
    }
    return error;
}

enum err decode_step(struct decode *d, struct errbuf *e)
{
    struct pass *p = d->p;
    const struct backend_ops *ops = p->team.ops;
    uint32_t tokens[DECODE_ROWS] = {0};
    uint32_t positions[DECODE_ROWS] = {0};
    uint32_t limits[DECODE_ROWS] = {0};
    enum err error = grow_tails(d, e);
    if (error != OK) {
        return error;
    }
    for (uint32_t row = 0; row < DECODE_ROWS; row++) {
        const struct decode_row *r = &d->rows[row];
        tokens[row] = r->token;
        positions[row] = r->length;
        limits[row] = r->length + 1;
    }
    ops->upload(p->unit.tokens, tokens, DECODE_ROWS);
    ops->upload(p->unit.positions, positions, DECODE_ROWS);
    ops->upload(p->unit.label_positions, positions, DECODE_ROWS);
    ops->upload(p->unit.limits, limits, DECODE_ROWS);
    const uint32_t tile_rows = p->team.tile_rows;
    CHECK(DECODE_ROWS % p->team.even_rows == 0);
    p->team.tile_rows = p->team.even_rows;
    p->attend = attend_step;
    p->guest = d;
    network_forward(p);
    p->attend = NULL;
    p->guest = NULL;
    head_logits(p, d->logits);
    p->team.tile_rows = tile_rows;
    for (uint32_t row = 0; row < DECODE_ROWS; row++) {
        d->rows[row].length += d->rows[row].used;
    }
    return OK;
}
