/* linear.c - frozen products with their adapters. The As of modules with one input are one thin
 * product; each B is a product of inner size r added onto its columns of y. */
#include "worker/model/linear.h"

enum { PARTS = 3 };

struct part { /* one targeted module */
    enum lora_module module;
    uint32_t col, out; /* its columns of y */
    uint32_t rank;     /* its first column of u */
};

struct linear {
    const struct frozen *w; /* [out, in] */
    uint32_t in, out;
    uint32_t n_parts, rank; /* rank = n_parts * r */
    struct part parts[PARTS];
    struct span u;         /* [rows, rank] */
    struct span a, da;     /* [rank, in] */
    struct span a_flipped; /* [in, flipped_ld], of which the first rank columns */
    uint32_t flipped_ld;
};

static const struct {
    enum lora_module first, last;
    int group; /* of layer_tensors.u */
} kinds[] = {
    [LINEAR_QKV] = {LORA_Q, LORA_V, 0},         [LINEAR_O] = {LORA_O, LORA_O, 1},
    [LINEAR_GATE_UP] = {LORA_GATE, LORA_UP, 2}, [LINEAR_DOWN] = {LORA_DOWN, LORA_DOWN, 3},
    [LINEAR_Q] = {LORA_Q, LORA_Q, -1},          [LINEAR_KV] = {LORA_K, LORA_V, 0},
};

static const struct frozen *weights_of(const struct model *m, uint32_t layer, enum linear_kind kind)
{
    const struct model_layer *l = &m->layers[layer];
    switch (kind) {
    case LINEAR_O:
        return &l->o;
    case LINEAR_GATE_UP:
        return &l->gate_up;
    case LINEAR_DOWN:
        return &l->down;
    case LINEAR_Q:
        return &l->q;
    case LINEAR_KV:
        return &l->kv;
    case LINEAR_QKV:
    default:
        return &l->qkv;
    }
}

static struct linear linear_of(const struct pass *p, uint32_t layer, enum linear_kind kind)
{
    const struct model *m = p->model;
    const struct adapter *adapter = &m->adapter;
    struct linear l = {.w = weights_of(m, layer, kind)};
    for (int i = (int)kinds[kind].first; i <= (int)kinds[kind].last; i++) {
        enum lora_module module = (enum lora_module)i;
        uint32_t out;
        shape_module(&m->shape, module, &l.in, &out);
        if (p->adapter && adapter_targets(adapter, module)) {
            if (l.n_parts == 0) {
                size_t at = layer * adapter->layer_words + adapter->a[module];
                l.a = span_at(p->params, at);
                const struct adapter_columns c = adapter_columns(adapter, module);
                l.a_flipped = span_at(p->flipped, layer * adapter->layer_words + c.at + c.first);
                l.flipped_ld = c.rank;
                l.da = span_at(p->grads, at);
            }
            l.parts[l.n_parts++] = (struct part){module, l.out, out, l.rank};
            l.rank += adapter->config.r;
        }
        l.out += out;
    }
    const struct layer_tensors *t = &p->layers[layer];
    l.u = kinds[kind].group < 0 ? t->u_q : t->u[kinds[kind].group];
    return l;
}

bool linear_has_adapter(const struct pass *p, enum linear_kind kind)
{
    for (int i = (int)kinds[kind].first; i <= (int)kinds[kind].last; i++) {
        if (p->adapter && adapter_targets(&p->model->adapter, (enum lora_module)i)) {
            return true;
        }
    }
    return false;
}

static struct span matrix_b(const struct pass *p, struct span base, uint32_t layer,
                            const struct part *part)
{
    const struct adapter *a = &p->model->adapter;
    return span_at(base, layer * a->layer_words + a->b[part->module]);
}

static void drop(struct pass *p, uint32_t layer, const struct part *part,
                 const struct linear_input *input, uint32_t in, struct span from, struct span to,
                 bool accumulate)
{
    const struct dropout d = {.rows = input->rows,
                              .cols = in,
                              .keys = input->keys,
                              .salt = (uint64_t)layer * LORA_MODULES + (uint64_t)part->module,
                              .keep = 1.0f - p->model->adapter.config.dropout,
                              .accumulate = accumulate};
    p->team.ops->dropout(&p->team, &d, from, to);
}

/* u = x A^T: one product, or one per module when each has a mask of its own. */
static void lower(struct pass *p, uint32_t layer, const struct linear *l,
                  const struct linear_input *input)
{
    struct gemm g = {.m = input->rows,
                     .n = l->rank,
                     .k = l->in,
                     .alpha = 1.0f,
                     .a = input->x,
                     .lda = l->in,
                     .b = l->a_flipped,
                     .ldb = l->flipped_ld,
                     .c = l->u,
                     .ldc = l->rank};
    if (!p->sizes.dropout) {
        p->team.ops->gemm(&p->team, &g);
        return;
    }
    for (uint32_t i = 0; i < l->n_parts; i++) {
        drop(p, layer, &l->parts[i], input, l->in, input->x, p->scratch.dropped, false);
        g.n = p->model->adapter.config.r;
        g.a = p->scratch.dropped;
        g.b = span_at(l->a_flipped, l->parts[i].rank);
        g.c = span_at(l->u, l->parts[i].rank);
        p->team.ops->gemm(&p->team, &g);
    }
}

void linear_forward(struct pass *p, uint32_t layer, enum linear_kind kind,
                    const struct linear_input *input, struct span y, bool onto)
{
    const struct linear l = linear_of(p, layer, kind);
    const struct adapter *adapter = &p->model->adapter;
    team_enter(&p->team, PROFILE_LINEAR);
    const struct product product = {
        .w = l.w, .onto = onto, .rows = input->rows, .x = input->x, .y = y};
    p->team.ops->product(&p->team, &product);
    if (l.n_parts == 0) {
        return;
    }
    team_enter(&p->team, PROFILE_LORA);
    lower(p, layer, &l, input);
    for (uint32_t i = 0; i < l.n_parts; i++) {
        const struct part *part = &l.parts[i];
        const struct gemm raise = {.onto = true,
                                   .m = input->rows,
                                   .n = part->out,
                                   .k = adapter->config.r,
                                   .alpha = adapter->scale,
                                   .a = span_at(l.u, part->rank),
                                   .lda = l.rank,
                                   .b = matrix_b(p, p->flipped, layer, part),
                                   .ldb = part->out,
                                   .c = span_at(y, part->col),
                                   .ldc = l.out};
        p->team.ops->gemm(&p->team, &raise);
    }
}

/* du = s dy B and dB = s dy^T u of one module. */
static void part_backward(struct pass *p, uint32_t layer, const struct linear *l,
                          const struct part *part, uint32_t rows, struct span dy)
{
    const struct adapter *adapter = &p->model->adapter;
    const uint32_t r = adapter->config.r;
    const struct gemm du = {.m = rows,
                            .n = r,
                            .k = part->out,
                            .alpha = adapter->scale,
                            .a = span_at(dy, part->col),
                            .lda = l->out,
                            .b = matrix_b(p, p->params, layer, part),
                            .ldb = r,
                            .c = span_at(p->scratch.du, part->rank),
                            .ldc = l->rank};
    /* dB^T = s u^T dy reads dy along its rows, which is faster than across them. */
    const struct gemm db = {.a_transposed = true,
                            .m = r,
                            .n = part->out,
                            .k = rows,
                            .alpha = adapter->scale,
                            .a = span_at(l->u, part->rank),
                            .lda = l->rank,
                            .b = span_at(dy, part->col),
                            .ldb = l->out,
                            .c = p->scratch.db,
                            .ldc = part->out};
    p->team.ops->gemm(&p->team, &du);
    p->team.ops->gemm(&p->team, &db);
    p->team.ops->transpose(&p->team, r, part->out, r, p->scratch.db,
                           matrix_b(p, p->grads, layer, part));
}

/* dA = du^T x, dx += du A, for `rank` columns from `first` on. */
static void lower_backward(struct pass *p, const struct linear *l, uint32_t first, uint32_t rank,
                           uint32_t rows, struct span x, const struct span *dx)
{
    const struct gemm da = {.a_transposed = true,
                            .m = rank,
                            .n = l->in,
                            .k = rows,
                            .alpha = 1.0f,
                            .a = span_at(p->scratch.du, first),
                            .lda = l->rank,
                            .b = x,
                            .ldb = l->in,
                            .c = span_at(l->da, (size_t)first * l->in),
                            .ldc = l->in};
    p->team.ops->gemm(&p->team, &da);
    if (dx) {
        const struct gemm down = {.onto = true,
                                  .m = rows,
                                  .n = l->in,
                                  .k = rank,
                                  .alpha = 1.0f,
                                  .a = span_at(p->scratch.du, first),
                                  .lda = l->rank,
                                  .b = span_at(l->a, (size_t)first * l->in),
                                  .ldb = l->in,
                                  .c = *dx,
                                  .ldc = l->in};
        p->team.ops->gemm(&p->team, &down);
    }
}

static void adapter_backward(struct pass *p, uint32_t layer, const struct linear *l,
                             const struct linear_input *input, struct span dy,
                             const struct span *dx)
{
    for (uint32_t i = 0; i < l->n_parts; i++) {
        part_backward(p, layer, l, &l->parts[i], input->rows, dy);
    }
    if (!p->sizes.dropout) {
        lower_backward(p, l, 0, l->rank, input->rows, input->x, dx);
        return;
    }
    for (uint32_t i = 0; i < l->n_parts; i++) {
        const struct part *part = &l->parts[i];
        const uint32_t r = p->model->adapter.config.r;
        drop(p, layer, part, input, l->in, input->x, p->scratch.dropped, false);
        lower_backward(p, l, part->rank, r, input->rows, p->scratch.dropped, NULL);
        if (dx) {
            const struct gemm down = {.m = input->rows,
                                      .n = l->in,
                                      .k = r,
                                      .alpha = 1.0f,
                                      .a = span_at(p->scratch.du, part->rank),
                                      .lda = l->rank,
                                      .b = span_at(l->a, (size_t)part->rank * l->in),
                                      .ldb = l->in,
                                      .c = p->scratch.dropped,
                                      .ldc = l->in};
            p->team.ops->gemm(&p->team, &down);
            drop(p, layer, part, input, l->in, p->scratch.dropped, *dx, true);
        }
    }
}

void linear_backward(struct pass *p, uint32_t layer, enum linear_kind kind,
                     const struct linear_input *input, struct span dy, const struct span *dx)
{
    const struct linear l = linear_of(p, layer, kind);
    if (dx) {
        team_enter(&p->team, PROFILE_LINEAR);
        const struct product product = {
            .w = l.w, .backward = true, .rows = input->rows, .x = dy, .y = *dx};
        p->team.ops->product(&p->team, &product);
    }
    if (l.n_parts > 0) {
        team_enter(&p->team, PROFILE_LORA);
        adapter_backward(p, layer, &l, input, dy, dx);
    }
}
