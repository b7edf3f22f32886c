/* layer.c - one transformer layer, forward beside backward, in reading order. */
#include "worker/model/layer.h"

#include "worker/model/attention.h"
#include "worker/model/linear.h"

/* Rows, tensors and sizes that both directions use. */
struct frame {
    const struct model_shape *s;
    const struct model_layer *w;
    const struct layer_tensors *t;
    bool last;
    uint32_t rows, queries; /* N, Q */
    uint32_t q_cols, kv_cols;
    struct span keys, query_keys; /* of dropout masks */
};

static struct frame frame_of(const struct pass *p, uint32_t layer)
{
    const struct model_shape *s = &p->model->shape;
    bool last = layer_is_last(p, layer);
    return (struct frame){.s = s,
                          .w = &p->model->layers[layer],
                          .t = &p->layers[layer],
                          .last = last,
                          .rows = p->sizes.rows,
                          .queries = layer_queries(p, layer),
                          .q_cols = s->heads * s->head_dim,
                          .kv_cols = s->kv_heads * s->head_dim,
                          .keys = p->unit.keys,
                          .query_keys = last ? p->unit.label_keys : p->unit.keys};
}

static void norm_forward(struct pass *p, uint32_t rows, struct span x, struct span w,
                         struct span rstd)
{
    const struct model_shape *s = &p->model->shape;
    team_enter(&p->team, PROFILE_NORM);
    p->team.ops->rmsnorm(&p->team, rows, s->hidden, s->rms_eps, x, w, p->scratch.norm, rstd);
}

static struct span labelled_norm(struct pass *p, const struct frame *f)
{
    p->team.ops->gather_rows(&p->team, f->queries, f->s->hidden, p->unit.label_rows,
                             p->scratch.norm, p->scratch.norm_labelled);
    return p->scratch.norm_labelled;
}

/* Heads of q (queries, P to a group) or of k and v (all rows, one to a group), at column col of a
 * flat matrix of ld columns. */
static struct heads query_heads(const struct pass *p, const struct frame *f, size_t ld)
{
    return (struct heads){.rows = f->queries,
                          .groups = f->s->kv_heads,
                          .per = f->s->heads / f->s->kv_heads,
                          .head_dim = f->s->head_dim,
                          .ld = ld,
                          .rotated = true,
                          .table = p->unit.rope,
                          .positions = f->last ? p->unit.label_positions : p->unit.positions,
                          .scale = 1.0f};
}

static struct heads key_heads(const struct pass *p, const struct frame *f, size_t ld, size_t col,
                              bool rotated)
{
    return (struct heads){.rows = f->rows,
                          .groups = f->s->kv_heads,
                          .per = 1,
                          .head_dim = f->s->head_dim,
                          .ld = ld,
                          .col = col,
                          .rotated = rotated,
                          .table = p->unit.rope,
                          .positions = p->unit.positions,
                          .scale = 1.0f};
}

/* Where q, k, v lie in scratch.qkv: side by side, or in the last layer k v first and q behind. */
struct qkv_places {
    struct span q;
    size_t q_ld, kv_ld, k_col, v_col;
};

static struct qkv_places places_of(const struct pass *p, const struct frame *f)
{
    size_t kv = f->kv_cols;
    if (f->last) {
        return (struct qkv_places){span_at(p->scratch.qkv, f->rows * 2 * kv), f->q_cols, 2 * kv, 0,
                                   kv};
    }
    return (struct qkv_places){p->scratch.qkv, f->q_cols + 2 * kv, f->q_cols + 2 * kv, f->q_cols,
                               f->q_cols + kv};
}

static void qkv_forward(struct pass *p, uint32_t layer, const struct frame *f)
{
    const struct qkv_places at = places_of(p, f);
    const struct linear_input all = {f->rows, p->scratch.norm, f->keys};
    if (f->last) {
        const struct linear_input labelled = {f->queries, labelled_norm(p, f), f->query_keys};
        linear_forward(p, layer, LINEAR_KV, &all, p->scratch.qkv, false);
        linear_forward(p, layer, LINEAR_Q, &labelled, at.q, false);
    } else {
        linear_forward(p, layer, LINEAR_QKV, &all, p->scratch.qkv, false);
    }
    const struct heads q = query_heads(p, f, at.q_ld);
    const struct heads k = key_heads(p, f, at.kv_ld, at.k_col, true);
    const struct heads v = key_heads(p, f, at.kv_ld, at.v_col, false);
    team_enter(&p->team, PROFILE_ROPE);
    p->team.ops->heads_split(&p->team, &q, at.q, f->t->q);
    p->team.ops->heads_split(&p->team, &k, p->scratch.qkv, f->t->k);
    p->team.ops->heads_split(&p->team, &v, p->scratch.qkv, f->t->v);
    pass_show(p, "q", layer, f->t->q, (size_t)f->queries * f->s->heads, f->s->head_dim);
    pass_show(p, "k", layer, f->t->k, (size_t)f->rows * f->s->kv_heads, f->s->head_dim);
    pass_show(p, "v", layer, f->t->v, (size_t)f->rows * f->s->kv_heads, f->s->head_dim);
}

void layer_forward(struct pass *p, uint32_t layer, struct span y)
{
    const struct frame f = frame_of(p, layer);
    const uint32_t D = f.s->hidden;
    const struct backend_ops *ops = p->team.ops;
    pass_show(p, "input", layer, f.t->x, f.rows, D);
    norm_forward(p, f.rows, f.t->x, f.w->attn_norm, f.t->rstd_attn);
    pass_show(p, "attn_norm", layer, p->scratch.norm, f.rows, D);
    qkv_forward(p, layer, &f);
    (p->attend ? p->attend : attention_forward)(p, layer);
    pass_show(p, "attn", layer, f.t->attn, f.queries, f.q_cols);

    team_enter(&p->team, PROFILE_OTHER);
    if (f.last) {
        ops->gather_rows(&p->team, f.queries, D, p->unit.label_rows, f.t->x, f.t->residual);
    } else {
        ops->copy(&p->team, f.t->x, f.t->residual, (size_t)f.rows * D);
    }
    const struct linear_input attn = {f.queries, f.t->attn, f.query_keys};
    linear_forward(p, layer, LINEAR_O, &attn, f.t->residual, true);
    pass_show(p, "residual", layer, f.t->residual, f.queries, D);

    norm_forward(p, f.queries, f.t->residual, f.w->mlp_norm, f.t->rstd_mlp);
    pass_show(p, "mlp_norm", layer, p->scratch.norm, f.queries, D);
    const struct linear_input norm = {f.queries, p->scratch.norm, f.query_keys};
    linear_forward(p, layer, LINEAR_GATE_UP, &norm, f.t->gate_up, false);
    pass_show(p, "gate_up", layer, f.t->gate_up, f.queries, 2 * (size_t)f.s->ff);
    team_enter(&p->team, PROFILE_SWIGLU);
    ops->swiglu(&p->team, f.queries, f.s->ff, f.t->gate_up, p->scratch.h);
    pass_show(p, "act", layer, p->scratch.h, f.queries, f.s->ff);

    team_enter(&p->team, PROFILE_OTHER);
    ops->copy(&p->team, f.t->residual, y, (size_t)f.queries * D);
    const struct linear_input act = {f.queries, p->scratch.h, f.query_keys};
    linear_forward(p, layer, LINEAR_DOWN, &act, y, true);
    pass_show(p, "output", layer, y, f.queries, D);
}

/* d: gradient of the layer's output -> of residual, in place. False: nothing below is needed. */
static bool mlp_backward(struct pass *p, uint32_t layer, const struct frame *f, struct span d,
                         bool through)
{
    const struct scratch *c = &p->scratch;
    bool below_norm =
        through || linear_has_adapter(p, LINEAR_QKV) || linear_has_adapter(p, LINEAR_O);
    bool below_act = below_norm || linear_has_adapter(p, LINEAR_GATE_UP);
    if (linear_has_adapter(p, LINEAR_DOWN)) {
        team_enter(&p->team, PROFILE_SWIGLU);
        p->team.ops->swiglu(&p->team, f->queries, f->s->ff, f->t->gate_up, c->h);
    }
    const struct linear_input act = {f->queries, c->h, f->query_keys};
    linear_backward(p, layer, LINEAR_DOWN, &act, d, below_act ? &c->dh : NULL);
    if (!below_act) {
        return false;
    }
    team_enter(&p->team, PROFILE_SWIGLU);
    p->team.ops->swiglu_backward(&p->team, f->queries, f->s->ff, f->t->gate_up, c->dh);
    if (linear_has_adapter(p, LINEAR_GATE_UP)) {
        norm_forward(p, f->queries, f->t->residual, f->w->mlp_norm, f->t->rstd_mlp);
    }
    const struct linear_input norm = {f->queries, c->norm, f->query_keys};
    linear_backward(p, layer, LINEAR_GATE_UP, &norm, f->t->gate_up, below_norm ? &c->dnorm : NULL);
    if (below_norm) {
        team_enter(&p->team, PROFILE_NORM);
        p->team.ops->rmsnorm_backward(&p->team, f->queries, f->s->hidden, f->t->residual,
                                      f->w->mlp_norm, f->t->rstd_mlp, c->dnorm, d, true);
    }
    return below_norm;
}

/* dq, dk, dv -> their flat gradients -> scratch.dnorm [N, D], gradient of attn_norm's output. */
static void qkv_backward(struct pass *p, uint32_t layer, const struct frame *f, bool through)
{
    const struct scratch *c = &p->scratch;
    const struct qkv_places at = places_of(p, f);
    const struct heads q = query_heads(p, f, at.q_ld);
    const struct heads k = key_heads(p, f, at.kv_ld, at.k_col, true);
    const struct heads v = key_heads(p, f, at.kv_ld, at.v_col, false);
    team_enter(&p->team, PROFILE_ROPE);
    p->team.ops->heads_merge(&p->team, &q, c->dq, at.q);
    p->team.ops->heads_merge(&p->team, &k, c->dk, c->qkv);
    p->team.ops->heads_merge(&p->team, &v, c->dv, c->qkv);
    if (linear_has_adapter(p, LINEAR_QKV)) {
        norm_forward(p, f->rows, f->t->x, f->w->attn_norm, f->t->rstd_attn);
    }
    const struct linear_input all = {f->rows, c->norm, f->keys};
    if (!f->last) {
        linear_backward(p, layer, LINEAR_QKV, &all, c->qkv, through ? &c->dnorm : NULL);
        return;
    }
    const struct linear_input labelled = {f->queries, labelled_norm(p, f), f->query_keys};
    linear_backward(p, layer, LINEAR_KV, &all, c->qkv, through ? &c->dnorm : NULL);
    linear_backward(p, layer, LINEAR_Q, &labelled, at.q, through ? &c->dnorm_labelled : NULL);
    if (through) {
        team_enter(&p->team, PROFILE_OTHER);
        p->team.ops->scatter_add_rows(&p->team, f->queries, f->s->hidden, p->unit.label_rows,
                                      c->dnorm_labelled, c->dnorm);
    }
}

void layer_backward(struct pass *p, uint32_t layer, bool through)
{
    const struct frame f = frame_of(p, layer);
    const struct scratch *c = &p->scratch;
    struct span d = f.last ? c->dlabelled : c->dx;
    if (!mlp_backward(p, layer, &f, d, through)) {
        return;
    }
    bool below_o = through || linear_has_adapter(p, LINEAR_QKV);
    const struct linear_input attn = {f.queries, f.t->attn, f.query_keys};
    linear_backward(p, layer, LINEAR_O, &attn, d, below_o ? &c->dattn : NULL);
    if (!below_o) {
        return;
    }
    attention_backward(p, layer);
    qkv_backward(p, layer, &f, through);
    if (!through) {
        return;
    }
    if (f.last) { /* the residual's share of labelled rows goes back to its place */
        team_enter(&p->team, PROFILE_OTHER);
        p->team.ops->fill(&p->team, c->dx, (size_t)f.rows * f.s->hidden, 0.0f);
        p->team.ops->scatter_add_rows(&p->team, f.queries, f.s->hidden, p->unit.label_rows,
                                      c->dlabelled, c->dx);
    }
    team_enter(&p->team, PROFILE_NORM);
    p->team.ops->rmsnorm_backward(&p->team, f.rows, f.s->hidden, f.t->x, f.w->attn_norm,
                                  f.t->rstd_attn, c->dnorm, c->dx, true);
    pass_show(p, "d_input", layer, c->dx, f.rows, f.s->hidden);
}
