/* engine_values.c - what an engine tells beside gradients and scores: divergence from the base,
 * sums of activations; and the vectors that steer a slot's passes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "worker/engine_slot.h"
#include "worker/model/divergence.h"
#include "worker/model/head.h"

#define CAPTURE_MAX (1ll << (LIMIT_CAPTURE_SHIFT + LIMIT_CAPTURE_BITS))

enum err engine_slot_steer(struct engine_slot *slot, const float *vectors, struct errbuf *e)
{
    slot->pass.steer = false;
    enum err error = vectors ? pass_load_vectors(&slot->pass, vectors, e) : OK;
    slot->pass.steer = vectors && error == OK;
    return error;
}

/* One forward pass without activations kept. */
static enum err forward(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                        struct errbuf *e)
{
    struct pass *p = &slot->pass;
    team_enter(&p->team, PROFILE_PACK);
    enum err error = pass_start(p, unit, lora_flat, false, slot->engine->config.seed, 0, e);
    if (error == OK && p->rows.n_labels > 0) {
        network_forward(p);
    }
    return error;
}

/* The normed labelled rows of the bare model: the caller's. */
static enum err base_rows(struct engine_slot *slot, const struct unit *unit, float **out,
                          struct errbuf *e)
{
    struct pass *p = &slot->pass;
    const bool steered = p->steer;
    *out = NULL;
    p->steer = false;
    enum err error = forward(slot, unit, NULL, e);
    p->steer = steered;
    const size_t words = (size_t)p->sizes.labelled * p->model->shape.hidden;
    if (error != OK || p->rows.n_labels == 0) {
        return error;
    }
    *out = mem_aligned(words, sizeof **out);
    if (!*out) {
        return err_set(e, ERR_NOMEM, "engine: no memory for %u rows", p->sizes.labelled);
    }
    head_norm(p);
    const float *rows = p->team.ops->view(&p->team, p->scratch.norm_labelled, words, *out);
    if (rows != *out) {
        memcpy(*out, rows, words * sizeof **out);
    }
    return OK;
}

static void leaf_means(const struct pass *p, const double *row_kl, double *leaf_kl, uint32_t *count)
{
    for (uint32_t i = 0; i < p->rows.n_labels; i++) {
        const struct unit_label *label = &p->rows.labels[i];
        leaf_kl[label->leaf] += row_kl[label->query];
        count[label->leaf]++;
    }
    for (uint32_t i = 0; i < p->rows.n_leaves; i++) {
        leaf_kl[i] = count[i] > 0 ? leaf_kl[i] / count[i] : 0.0;
    }
}

enum err engine_divergence(struct engine_slot *slot, const struct unit *unit,
                           const float *lora_flat, double *leaf_kl, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    float *base = NULL;
    enum err error = base_rows(slot, unit, &base, e);
    if (error == OK) {
        error = forward(slot, unit, lora_flat, e);
    }
    const uint32_t leaves = error == OK ? p->rows.n_leaves : 0;
    double *row_kl = mem_calloc(p->sizes.labelled, sizeof *row_kl);
    uint32_t *count = mem_calloc(leaves, sizeof *count);
    memset(leaf_kl, 0, leaves * sizeof *leaf_kl);
    if (error == OK && (!row_kl || !count)) {
        error = err_set(e, ERR_NOMEM, "engine: no memory for %u rows", p->sizes.labelled);
    }
    if (error == OK && base && divergence_rows(p, base, row_kl) != OK) {
        error =
            err_set(e, ERR_NOMEM, "engine: no memory for the logits of %u rows", p->sizes.labelled);
    }
    if (error == OK) {
        leaf_means(p, row_kl, leaf_kl, count);
    }
    for (uint32_t i = 0; error == OK && i < leaves; i++) {
        if (!isfinite(leaf_kl[i])) {
            error = err_set(e, ERR_RANGE, "the divergence of leaf %u is not finite", i);
        }
    }
    mem_free(base);
    mem_free(row_kl);
    mem_free(count);
    team_enter(&p->team, PROFILE_IDLE);
    return error;
}

size_t engine_capture_count(const struct engine *engine)
{
    const struct model_shape *s = &engine->model.shape;
    return 2 * (size_t)s->layers * s->hidden;
}

/* A capture under way: guest of the pass. */
struct capture {
    int64_t *sum;       /* [2][L][D] of this unit */
    float *room;        /* of a layer's output, where the backend's memory is not the host's */
    bool refused;       /* an element was */
    uint32_t bad_layer; /* the first that had one */
    double bad;
};

static void add_row(struct capture *c, uint32_t layer, const float *x, uint32_t n, float weight,
                    int64_t *sum)
{
    for (uint32_t i = 0; i < n; i++) {
        const double value = fabs((double)weight) * (double)x[i] * 0x1p32;
        if (!(fabs(value) < (double)CAPTURE_MAX) ||
            llabs(sum[i] + (int64_t)llrint(value)) >= CAPTURE_MAX) {
            c->bad_layer = c->refused ? c->bad_layer : layer;
            c->bad = c->refused ? c->bad : (double)x[i];
            c->refused = true;
            return;
        }
        sum[i] += (int64_t)llrint(value);
    }
}

static void capture_layer(struct pass *p, uint32_t layer, struct span y)
{
    struct capture *c = p->guest;
    const struct model_shape *s = &p->model->shape;
    const uint32_t D = s->hidden;
    const float *x = p->team.ops->view(&p->team, y, (size_t)layer_queries(p, layer) * D, c->room);
    for (uint32_t i = 0; i < p->rows.n_labels; i++) {
        const struct unit_label *label = &p->rows.labels[i];
        const uint32_t row =
            layer_is_last(p, layer) ? label->query : p->rows.labelled.rows[label->query];
        const size_t half = label->weight < 0.0f ? (size_t)s->layers : 0;
        add_row(c, layer, x + (size_t)row * D, D, label->weight, c->sum + (half + layer) * D);
    }
}

enum err engine_capture(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                        int64_t *sum, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    const size_t count = engine_capture_count(slot->engine);
    const size_t words = p->team.ops->on_host ? 0 : (size_t)unit->n_rows * p->model->shape.hidden;
    struct capture c = {.sum = mem_calloc(count, sizeof *c.sum),
                        .room = mem_aligned(words, sizeof *c.room)};
    enum err error = c.sum && c.room ? OK : err_set(e, ERR_NOMEM, "engine: no memory for sums");
    if (error == OK) {
        p->layer_out = capture_layer;
        p->guest = &c;
        error = forward(slot, unit, lora_flat, e);
        p->layer_out = NULL;
        p->guest = NULL;
    }
    if (error == OK && c.refused) {
        error = err_set(e, ERR_RANGE,
                        "activation %g behind layer %u cannot be summed (bound 2^%d in a unit)",
                        c.bad, c.bad_layer, LIMIT_CAPTURE_BITS);
    }
    for (size_t i = 0; error == OK && i < count; i++) {
        sum[i] += c.sum[i];
    }
    mem_free(c.sum);
    mem_free(c.room);
    team_enter(&p->team, PROFILE_IDLE);
    return error;
}
