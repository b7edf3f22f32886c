/* network.c - the weights on a backend, a slot's memory, and the pass through the layers. */
#include "worker/model/network.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/backend/kernels.h"
#include "worker/model/layer.h"
#include "worker/model/rope.h"

static struct span of(const struct model *m, const struct weights *w, const float *tensor)
{
    return (struct span){m->weights, (size_t)(tensor - w->block)};
}

/* Freezes the matrices of a layer that its passes use: the last layer has q apart from k and v. */
static enum err freeze_layer(struct model *m, const struct weights *w, uint32_t i)
{
    const struct model_shape *s = &m->shape;
    const struct weights_layer *from = &w->layers[i];
    const uint32_t q = s->heads * s->head_dim;
    const uint32_t kv = 2 * s->kv_heads * s->head_dim;
    struct model_layer *l = &m->layers[i];
    l->attn_norm = of(m, w, from->attn_norm);
    l->mlp_norm = of(m, w, from->mlp_norm);
    l->qkv = (struct frozen){of(m, w, from->qkv), q + kv, s->hidden, NULL};
    l->q = (struct frozen){l->qkv.w, q, s->hidden, NULL};
    l->kv = (struct frozen){span_at(l->qkv.w, (size_t)q * s->hidden), kv, s->hidden, NULL};
    l->o = (struct frozen){of(m, w, from->o), s->hidden, q, NULL};
    l->gate_up = (struct frozen){of(m, w, from->gate_up), 2 * s->ff, s->hidden, NULL};
    l->down = (struct frozen){of(m, w, from->down), s->hidden, s->ff, NULL};
    const bool last = i + 1 == s->layers;
    struct frozen *used[] = {last ? &l->q : &l->qkv, &l->o, &l->gate_up, &l->down, &l->kv};
    enum err error = OK;
    for (size_t k = 0; error == OK && k < (last ? 5 : 4); k++) {
        error = m->ops->freeze(used[k], m->precision, m->tile_cols);
    }
    return error;
}

static enum err freeze_head(struct model *m, const struct weights *w)
{
    const struct model_shape *s = &m->shape;
    m->head = of(m, w, w->head);
    m->n_head_blocks = (s->vocab + HEAD_COLS - 1) / HEAD_COLS;
    m->head_blocks = mem_calloc(m->n_head_blocks, sizeof *m->head_blocks);
    enum err error = m->head_blocks ? OK : ERR_NOMEM;
    for (uint32_t i = 0; error == OK && i < m->n_head_blocks; i++) {
        uint32_t first = i * HEAD_COLS;
        uint32_t left = s->vocab - first;
        m->head_blocks[i] = (struct frozen){span_at(m->head, (size_t)first * s->hidden),
                                            left < HEAD_COLS ? left : HEAD_COLS, s->hidden, NULL};
        error = m->ops->freeze(&m->head_blocks[i], m->precision, m->tile_cols);
    }
    return error;
}

enum err model_init(struct model *m, const struct backend_ops *ops, const struct weights *w,
                    const struct lora_config *lora, enum precision precision, uint32_t tile_cols,
                    struct errbuf *e)
{
    *m = (struct model){
        .shape = w->shape, .ops = ops, .precision = precision, .tile_cols = tile_cols};
    m->layers = mem_calloc(w->shape.layers, sizeof *m->layers);
    enum err error = m->layers ? ops->import(w->block, w->floats, &m->weights) : ERR_NOMEM;
    for (uint32_t i = 0; error == OK && i < w->shape.layers; i++) {
        error = freeze_layer(m, w, i);
        if (precision == PRECISION_BF16_PRODUCTS) {
            weights_cool(w); /* packed now: both copies of all layers are never held at once */
        }
    }
    error = error == OK ? freeze_head(m, w) : error;
    if (error != OK) {
        model_deinit(m);
        return err_set(e, error, "engine: no memory for the weights on backend %s", ops->name);
    }
    adapter_init(&m->adapter, &w->shape, lora);
    m->embed = of(m, w, w->embed);
    m->final_norm = of(m, w, w->final_norm);
    return OK;
}

void model_deinit(struct model *m)
{
    for (uint32_t i = 0; m->layers && i < m->shape.layers; i++) {
        struct model_layer *l = &m->layers[i];
        struct frozen *all[] = {&l->qkv, &l->q, &l->kv, &l->o, &l->gate_up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
            m->ops->thaw(all[k]);
        }
    }
    for (uint32_t i = 0; m->head_blocks && i < m->n_head_blocks; i++) {
        m->ops->thaw(&m->head_blocks[i]);
    }
    if (m->weights) {
        m->ops->release(&m->weights);
    }
    mem_free(m->layers);
    mem_free(m->head_blocks);
    *m = (struct model){0};
}

/* Places tensors one behind the other; the first walk has no buffer and only measures. */
struct arena {
    struct buffer *buffer;
    size_t at;
};

static struct span take(struct arena *a, size_t rows, size_t cols)
{
    const size_t step = MEM_ALIGNMENT / sizeof(float);
    struct span s = {a->buffer, a->at};
    a->at += (rows * cols + step - 1) / step * step;
    return s;
}

static void place_unit(struct unit_spans *u, struct arena *a, const struct pass_sizes *n,
                       const struct model_shape *s)
{
    u->tokens = take(a, n->rows, 1);
    u->positions = take(a, n->rows, 1);
    u->limits = take(a, n->rows, 1);
    u->keys = take(a, n->rows, 2);
    u->label_rows = take(a, n->labelled, 1);
    u->label_positions = take(a, n->labelled, 1);
    u->label_limits = take(a, n->labelled, 1);
    u->label_keys = take(a, n->labelled, 2);
    u->first_targets = take(a, n->labelled, 1);
    u->row_factor = take(a, n->labelled, 1);
    u->label_query = take(a, n->labels, 1);
    u->label_target = take(a, n->labels, 1);
    u->label_coefficient = take(a, n->labels, 1);
    u->label_logit = take(a, n->labels, 1);
    u->rope = take(a, n->depth, s->head_dim);
}

/* Columns of x A^T of a group. */
static uint32_t rank_of(const struct adapter *a, enum lora_module first, enum lora_module last)
{
    uint32_t rank = 0;
    for (int m = (int)first; m <= (int)last; m++) {
        rank += adapter_targets(a, (enum lora_module)m) ? a->config.r : 0;
    }
    return rank;
}

static void place_layer(struct layer_tensors *t, struct arena *a, const struct pass_sizes *n,
                        const struct model *m, bool last)
{
    const struct model_shape *s = &m->shape;
    const size_t queries = last ? n->labelled : n->rows;
    const size_t heads = (size_t)s->heads * queries;
    t->rstd_attn = take(a, n->rows, 1);
    t->q = take(a, heads, s->head_dim);
    t->k = take(a, (size_t)s->kv_heads * n->rows, s->head_dim);
    t->v = take(a, (size_t)s->kv_heads * n->rows, s->head_dim);
    t->most = take(a, heads, 1);
    t->inverse = take(a, heads, 1);
    t->attn = take(a, heads, s->head_dim);
    t->residual = take(a, queries, s->hidden);
    t->rstd_mlp = take(a, queries, 1);
    t->gate_up = take(a, queries, 2 * (size_t)s->ff);
    t->u[0] = take(a, n->rows, rank_of(&m->adapter, LORA_Q, LORA_V));
    t->u[1] = take(a, queries, rank_of(&m->adapter, LORA_O, LORA_O));
    t->u[2] = take(a, queries, rank_of(&m->adapter, LORA_GATE, LORA_UP));
    t->u[3] = take(a, queries, rank_of(&m->adapter, LORA_DOWN, LORA_DOWN));
    t->u_q = last ? take(a, queries, rank_of(&m->adapter, LORA_Q, LORA_Q)) : t->u[0];
}

/* With keep every layer has tensors of its own, or with `again` an input of its own; otherwise all
 * share one set, and without keep the inputs change places. */
static void place_layers(struct pass *p, struct arena *a, const struct pass_sizes *n)
{
    const uint32_t layers = p->model->shape.layers;
    const uint32_t D = p->model->shape.hidden;
    const struct span inputs[2] = {take(a, n->rows, D), take(a, n->rows, D)};
    struct layer_tensors shared = {0};
    const bool share = !n->keep || n->again;
    if (share) {
        struct pass_sizes all = *n;
        place_layer(&shared, a, &all, p->model, false);
        shared.u_q = take(a, n->labelled, p->model->adapter.config.r);
    }
    for (uint32_t i = 0; i < layers; i++) {
        struct layer_tensors *t = &p->layers[i];
        if (share) {
            *t = shared;
        } else {
            place_layer(t, a, n, p->model, i + 1 == layers);
        }
        t->x = n->keep && i >= 2 ? take(a, n->rows, D) : inputs[i % 2];
    }
    p->final_x = take(a, n->labelled, D);
    p->final_rstd = take(a, n->labelled, 1);
}

static void place_scratch(struct scratch *c, struct arena *a, const struct pass_sizes *n,
                          const struct model *m)
{
    const struct model_shape *s = &m->shape;
    const size_t N = n->rows;
    const size_t back = n->keep ? N : 0;
    const size_t heads = (size_t)s->heads * s->head_dim;
    const size_t kv = (size_t)s->kv_heads * s->head_dim;
    const size_t per = s->heads / s->kv_heads;
    const size_t wide = s->ff > s->hidden ? s->ff : s->hidden;
    c->norm = take(a, N, s->hidden);
    c->norm_labelled = take(a, n->labelled, s->hidden);
    c->dx = take(a, back, s->hidden);
    c->dnorm = take(a, back, s->hidden);
    c->du = take(a, back, 3 * (size_t)m->adapter.config.r);
    c->db = take(a, n->keep ? m->adapter.config.r : 0, wide > heads ? wide : heads);
    c->dropped = take(a, n->dropout ? N : 0, wide > heads ? wide : heads);
    c->mix = take(a, n->keep ? n->labelled : 0, s->hidden);
    c->dlabelled = take(a, n->keep ? n->labelled : 0, s->hidden);
    c->dnorm_labelled = take(a, n->keep ? n->labelled : 0, s->hidden);
    /* Attention, MLP and head take turns in one place. */
    const struct arena here = *a;
    c->qkv = take(a, N + 1, heads + 2 * kv);
    c->heads = take(a, N, heads);
    c->scores = take(a, n->lanes * per, n->score_words);
    c->dscores = take(a, n->keep ? n->lanes * per : 0, n->score_words);
    c->k_flipped = take(a, kv, score_ld(n->rows));
    c->v_flipped = take(a, n->keep ? kv : 0, score_ld(n->rows));
    c->dq = take(a, back, heads);
    c->dk = take(a, back, kv);
    c->dv = take(a, back, kv);
    c->delta = take(a, back, s->heads);
    c->dattn = take(a, back, heads);
    struct arena mlp = here;
    c->h = take(&mlp, N, s->ff);
    c->dh = take(&mlp, back, s->ff);
    struct arena head = here;
    c->logits = take(&head, n->labelled, HEAD_COLS);
    c->most = take(&head, n->labelled, 1);
    c->sum = take(&head, n->labelled, 1);
    c->base_logits = take(&head, n->anchor ? n->labelled : 0, HEAD_COLS);
    c->anchor_rows = take(&head, n->anchor ? n->labelled : 0, KERNEL_ANCHOR_WORDS);
    c->kl = take(&head, n->anchor ? n->labelled : 0, 1);
    a->at = mlp.at > a->at ? mlp.at : a->at;
    a->at = head.at > a->at ? head.at : a->at;
}

static size_t place_all(struct pass *p, const struct pass_sizes *n, struct buffer *buffer)
{
    struct arena a = {buffer, 0};
    place_unit(&p->unit, &a, n, &p->model->shape);
    p->grads = take(&a, n->keep ? p->model->adapter.words : 0, 1);
    place_layers(p, &a, n);
    place_scratch(&p->scratch, &a, n, p->model);
    return a.at;
}

static size_t host_words(const struct pass_sizes *n)
{
    return 3 * (size_t)n->labelled + 2 * (size_t)n->labels + HEAD_COLS;
}

static enum err reserve_host(struct pass *p, const struct pass_sizes *n)
{
    size_t words = host_words(n);
    struct host_room *h = &p->host;
    if (words > p->host_words) {
        mem_free(h->block);
        h->block = mem_aligned(words, sizeof(float));
        p->host_words = h->block ? words : 0;
        if (!h->block) {
            return ERR_NOMEM;
        }
    }
    h->most = h->block;
    h->sum = h->most + n->labelled;
    h->factor = h->sum + n->labelled;
    h->logit = h->factor + n->labelled;
    h->coefficient = h->logit + n->labels;
    h->logits = h->coefficient + n->labels;
    return OK;
}

/* Elements of the widest input of a product. */
static size_t widest_input(const struct model_shape *s, const struct pass_sizes *n)
{
    size_t wide = (s->heads + 2 * (size_t)s->kv_heads) * s->head_dim;
    wide = wide > 2 * (size_t)s->ff ? wide : 2 * (size_t)s->ff;
    wide = wide > s->hidden ? wide : s->hidden;
    size_t input = n->rows * wide;
    size_t logits = (size_t)n->labelled * HEAD_COLS;
    return input > logits ? input : logits;
}

enum err pass_measure(const struct model *m, const struct pass_sizes *sizes, size_t *bytes,
                      struct errbuf *e)
{
    struct pass p = {.model = m};
    p.layers = mem_calloc(m->shape.layers, sizeof *p.layers);
    if (!p.layers) {
        return err_set(e, ERR_NOMEM, "engine: no memory for a list of %u layers", m->shape.layers);
    }
    size_t words = place_all(&p, sizes, NULL) + host_words(sizes) + 2 * m->adapter.words;
    mem_free(p.layers);
    *bytes = words * sizeof(float);
    if (m->precision == PRECISION_BF16_PRODUCTS) {
        *bytes += widest_input(&m->shape, sizes) * sizeof(uint16_t);
    }
    return OK;
}

enum err pass_reserve(struct pass *p, const struct pass_sizes *sizes, struct errbuf *e)
{
    const struct backend_ops *ops = p->team.ops;
    if (!p->layers) {
        p->layers = mem_calloc(p->model->shape.layers, sizeof *p->layers);
        p->profiles = mem_calloc(p->model->shape.layers, sizeof *p->profiles);
        if (!p->layers || !p->profiles) {
            mem_free(p->layers);
            mem_free(p->profiles);
            p->layers = NULL;
            p->profiles = NULL;
            return err_set(e, ERR_NOMEM, "engine: no memory for a slot");
        }
    }
    size_t words = place_all(p, sizes, NULL);
    if (words > p->arena_words) {
        ops->release(&p->arena);
        p->arena_words = 0;
        if (ops->alloc(words, &p->arena) != OK) {
            return err_set(e, ERR_NOMEM, "engine: no memory for a unit of %u rows (%zu MiB)",
                           sizes->rows, words * sizeof(float) >> 20);
        }
        p->arena_words = words;
    }
    size_t input = widest_input(&p->model->shape, sizes);
    if (ops->reserve(&p->team, input, p->model->precision) != OK) {
        return err_set(e, ERR_NOMEM, "engine: no memory to multiply %u rows", sizes->rows);
    }
    if (reserve_host(p, sizes) != OK) {
        return err_set(e, ERR_NOMEM, "engine: no memory for a unit of %u labels", sizes->labels);
    }
    p->sizes = *sizes;
    (void)place_all(p, sizes, p->arena);
    return OK;
}

void pass_deinit(struct pass *p)
{
    if (p->team.ops) {
        p->team.ops->release(&p->arena);
        p->team.ops->release(&p->adapter_room);
        p->team.ops->release(&p->steer_room);
    }
    team_deinit(&p->team);
    unit_rows_free(&p->rows);
    mem_free(p->layers);
    mem_free(p->profiles);
    mem_free(p->host.block);
    *p = (struct pass){0};
}

static void upload_labels(struct pass *p)
{
    const struct unit_rows *u = &p->rows;
    const struct backend_ops *ops = p->team.ops;
    for (uint32_t i = 0; i < u->n_labels; i++) {
        const struct unit_label *label = &u->labels[i];
        ops->upload(span_at(p->unit.label_query, i), &label->query, 1);
        ops->upload(span_at(p->unit.label_target, i), &label->target, 1);
        if (i == 0 || label->query != label[-1].query) {
            ops->upload(span_at(p->unit.first_targets, label->query), &label->target, 1);
        }
    }
    for (uint32_t i = 0; i < u->labelled.count; i++) {
        ops->upload(span_at(p->unit.label_keys, 2 * (size_t)i), &u->keys[u->labelled.rows[i]], 2);
    }
}

/* Parameters stay from unit to unit while they are the same. */
static enum err upload_adapter(struct pass *p, const float *lora_flat)
{
    const struct adapter *a = &p->model->adapter;
    uint8_t digest[HASH_XXH128_BYTES];
    hash_xxh128(lora_flat, a->words * sizeof *lora_flat, digest);
    if (p->adapter_room && memcmp(digest, p->params_digest, sizeof digest) == 0) {
        return OK;
    }
    if (!p->adapter_room) {
        struct arena room = {NULL, 0};
        (void)take(&room, a->words, 1);
        (void)take(&room, a->words, 1);
        if (p->team.ops->alloc(room.at, &p->adapter_room) != OK) {
            return ERR_NOMEM;
        }
        room = (struct arena){p->adapter_room, 0};
        p->params = take(&room, a->words, 1);
        p->flipped = take(&room, a->words, 1);
    }
    memcpy(p->params_digest, digest, sizeof digest);
    adapter_upload(a, &p->model->shape, p->team.ops, lora_flat, p->params);
    adapter_flip(a, &p->model->shape, &p->team, p->params, p->flipped);
    return OK;
}

static enum err upload_unit(struct pass *p, const float *lora_flat)
{
    const struct unit_rows *u = &p->rows;
    const struct backend_ops *ops = p->team.ops;
    ops->upload(p->unit.tokens, u->tokens, u->n_rows);
    ops->upload(p->unit.positions, u->all.positions, u->n_rows);
    ops->upload(p->unit.limits, u->all.limits, u->n_rows);
    ops->upload(p->unit.keys, u->keys, 2 * (size_t)u->n_rows);
    ops->upload(p->unit.label_rows, u->labelled.rows, u->labelled.count);
    ops->upload(p->unit.label_positions, u->labelled.positions, u->labelled.count);
    ops->upload(p->unit.label_limits, u->labelled.limits, u->labelled.count);
    upload_labels(p);
    if (p->adapter && upload_adapter(p, lora_flat) != OK) {
        return ERR_NOMEM;
    }
    size_t words = (size_t)u->depth * p->model->shape.head_dim;
    float *table = mem_calloc(words, sizeof *table);
    if (!table) {
        return ERR_NOMEM;
    }
    rope_table(&p->model->shape, u->depth, table);
    ops->upload(p->unit.rope, table, words);
    mem_free(table);
    return OK;
}

enum err pass_start(struct pass *p, const struct unit *unit, const float *lora_flat, bool keep,
                    uint64_t seed, uint64_t step, struct errbuf *e)
{
    enum err error = unit_rows_fill(&p->rows, unit, seed, step, e);
    if (error != OK) {
        return error;
    }
    const struct unit_rows *u = &p->rows;
    size_t words = u->all.score_words;
    words = u->labelled.score_words > words ? u->labelled.score_words : words;
    p->adapter = lora_flat && p->model->adapter.words > 0;
    const struct pass_sizes sizes = {.rows = u->n_rows,
                                     .labelled = u->labelled.count,
                                     .labels = u->n_labels,
                                     .depth = u->depth,
                                     .score_words = words,
                                     .lanes = p->team.threads,
                                     .keep = keep,
                                     .again = keep && p->again,
                                     .anchor = keep && unit->anchor,
                                     .dropout = keep && p->adapter &&
                                                p->model->adapter.config.dropout > 0.0f};
    error = pass_reserve(p, &sizes, e);
    if (error == OK && upload_unit(p, lora_flat) != OK) {
        error =
            err_set(e, ERR_NOMEM, "engine: no memory for the adapter or %u positions", u->depth);
    }
    return error;
}

void pass_show(struct pass *p, const char *name, uint32_t layer, struct span data, size_t rows,
               size_t cols)
{
    if (p->watch) {
        CHECK(p->team.ops->on_host);
        p->watch(p->context, name, layer, p->team.ops->view(&p->team, data, rows * cols, NULL),
                 rows, cols);
    }
}

enum err pass_load_vectors(struct pass *p, const float *vectors, struct errbuf *e)
{
    const struct model_shape *s = &p->model->shape;
    const size_t words = (size_t)s->layers * s->hidden;
    const float one = 1.0f;
    if (!p->steer_room) {
        struct arena room = {NULL, 0};
        (void)take(&room, 1, 1);
        (void)take(&room, words, 1);
        if (p->team.ops->alloc(room.at, &p->steer_room) != OK) {
            return err_set(e, ERR_NOMEM, "engine: no memory for a vector per layer");
        }
        room = (struct arena){p->steer_room, 0};
        p->steer_one = take(&room, 1, 1);
        p->steer_vectors = take(&room, words, 1);
    }
    p->team.ops->upload(p->steer_one, &one, 1);
    p->team.ops->upload(p->steer_vectors, vectors, words);
    return OK;
}

/* y [rows, D] += the layer's vector, as a product of inner size 1 whose rows are all the same. */
static void steer(struct pass *p, uint32_t layer, struct span y)
{
    const uint32_t D = p->model->shape.hidden;
    const struct gemm g = {.onto = true,
                           .m = layer_queries(p, layer),
                           .n = D,
                           .k = 1,
                           .alpha = 1.0f,
                           .a = p->steer_one,
                           .lda = 0,
                           .b = span_at(p->steer_vectors, (size_t)layer * D),
                           .ldb = D,
                           .c = y,
                           .ldc = D};
    team_enter(&p->team, PROFILE_OTHER);
    p->team.ops->gemm(&p->team, &g);
}

void network_forward(struct pass *p)
{
    const struct model *m = p->model;
    team_enter(&p->team, PROFILE_OTHER);
    p->team.ops->gather_rows(&p->team, p->sizes.rows, m->shape.hidden, p->unit.tokens, m->embed,
                             p->layers[0].x);
    for (uint32_t i = 0; i < m->shape.layers; i++) {
        team_layer(&p->team, &p->profiles[i]);
        const struct span y = layer_is_last(p, i) ? p->final_x : p->layers[i + 1].x;
        layer_forward(p, i, y);
        if (p->steer) {
            steer(p, i, y);
        }
        if (p->layer_out) {
            p->layer_out(p, i, y);
        }
        p->layer_done(p->owner);
    }
    team_layer(&p->team, NULL);
}

void network_backward(struct pass *p)
{
    watch_fn *const watch = p->watch;
    for (uint32_t i = p->model->shape.layers; i-- > 0;) {
        team_layer(&p->team, &p->profiles[i]);
        if (p->sizes.again && !layer_is_last(p, i)) { /* the last one's tensors are still there */
            p->watch = NULL;
            layer_forward(p, i, p->scratch.dnorm);
            p->watch = watch;
        }
        layer_backward(p, i, i > 0);
        p->layer_done(p->owner);
    }
    team_layer(&p->team, NULL);
}
