/* tiny_model.h - for the tests of the engine: a random tiny Llama, random trees and adapters, and
 * the same model once more in double, one plain sequence at a time, sharing nothing. */
#ifndef PFT_TINY_MODEL_H
#define PFT_TINY_MODEL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "tests/support/test_level.h"
#include "worker/engine.h"
#include "worker/model/weights.h"

static const struct model_shape tiny_shape = {.layers = 3,
                                              .hidden = 24,
                                              .ff = 40,
                                              .heads = 4,
                                              .kv_heads = 2,
                                              .head_dim = 6,
                                              .vocab = 61,
                                              .rope_theta = 1e4f,
                                              .rms_eps = 1e-5f,
                                              .tied_head = true};
enum { TINY_ALL_TARGETS = (1 << LORA_MODULES) - 1 };

static const struct lora_config tiny_lora = {
    .r = 3, .alpha = 6.0f, .dropout = 0.0f, .targets = TINY_ALL_TARGETS};

static inline float tiny_random(uint64_t key, uint64_t i, float scale)
{
    return (2.0f * rng_unit(key, i) - 1.0f) * scale;
}

static inline void tiny_weights(struct weights *w, const struct model_shape *shape, uint64_t seed)
{
    struct errbuf e = {0};
    assert_int_equal(weights_alloc(w, shape, &e), OK);
    for (size_t i = 0; i < w->floats; i++) {
        w->block[i] = tiny_random(seed, i, 0.35f);
    }
    for (uint32_t i = 0; i < shape->hidden; i++) {
        w->final_norm[i] += 1.0f;
        for (uint32_t l = 0; l < shape->layers; l++) {
            w->layers[l].attn_norm[i] += 1.0f;
            w->layers[l].mlp_norm[i] += 1.0f;
        }
    }
}

/* Random A and B, B not zero. The caller frees it. */
static inline float *tiny_adapter(const struct model_shape *shape, const struct lora_config *lora,
                                  uint64_t seed)
{
    size_t n = lora_count(shape, lora);
    float *flat = mem_calloc(n, sizeof *flat);
    assert_non_null(flat);
    for (size_t i = 0; i < n; i++) {
        flat[i] = tiny_random(seed + 1, i, 0.3f);
    }
    return flat;
}

/* A tree of n_nodes nodes of 1 to most tokens with random parents (late_root: some start anew);
 * every node is labelled with the first tokens of its children, and inside itself for every leaf
 * below it with probability 3/4; a leaf ends with a target of its own. */
static inline void tiny_tree(struct tree *t, const struct model_shape *shape, uint32_t n_nodes,
                             uint32_t most, uint64_t seed)
{
    uint32_t parent[64];
    uint32_t count[64];
    uint32_t leaf_of[64];
    uint32_t rows = 0;
    uint32_t leaves = 0;
    bool is_parent[64] = {false};
    assert_true(n_nodes <= 64);
    for (uint32_t i = 0; i < n_nodes; i++) {
        parent[i] = i == 0 ? TREE_ROOT : (uint32_t)rng_below(seed, 100 + i, i);
        count[i] = 1 + (uint32_t)rng_below(seed, 200 + i, most);
        rows += count[i];
        if (i > 0) {
            is_parent[parent[i]] = true;
        }
    }
    for (uint32_t i = 0; i < n_nodes; i++) {
        leaf_of[i] = is_parent[i] ? UINT32_MAX : leaves++;
    }
    struct tree big;
    assert_int_equal(tree_alloc(&big, n_nodes, rows, (rows + n_nodes) * leaves, leaves), OK);
    big.id = seed;
    for (uint32_t i = 0; i < n_nodes; i++) {
        big.nodes[i] = (struct tree_node){.parent = parent[i], .count = count[i]};
    }
    for (uint32_t i = 0; i < rows; i++) {
        big.tokens[i] = (uint32_t)rng_below(seed, 300 + i, shape->vocab);
    }
    uint32_t first[64];
    for (uint32_t i = 0, row = 0; i < n_nodes; row += count[i++]) {
        first[i] = row;
    }
    uint32_t n = 0;
    for (uint32_t node = 0; node < n_nodes; node++) {
        for (uint32_t i = 0; i < count[node]; i++) {
            uint32_t row = first[node] + i;
            for (uint32_t leaf = 0; leaf < n_nodes; leaf++) {
                uint32_t step = leaf; /* the node after `node` on the way down to leaf */
                uint32_t at = leaf;
                while (at != node && at != TREE_ROOT) {
                    step = at;
                    at = parent[at];
                }
                if (leaf_of[leaf] == UINT32_MAX || at != node ||
                    rng_below(seed, 1000 + row, 4) == 0) {
                    continue;
                }
                uint32_t target = i + 1 < count[node] ? big.tokens[row + 1]
                                  : step == node      ? 2
                                                      : big.tokens[first[step]];
                big.labels[n] = (struct tree_label){row, target, leaf_of[leaf],
                                                    tiny_random(seed + 2, n, 0.5f) + 0.6f};
                n++;
            }
        }
    }
    big.n_labels = n;
    struct errbuf e = {0};
    assert_int_equal(tree_finish(&big, shape->vocab, &e), OK);
    *t = big;
}

static inline struct unit tiny_unit(struct tree *trees, uint32_t n)
{
    struct unit u = {.id = 7, .n_trees = n, .trees = trees};
    for (uint32_t i = 0; i < n; i++) {
        u.n_rows += trees[i].n_rows;
    }
    return u;
}

static inline struct engine_config tiny_config(const struct model_shape *shape,
                                               const struct lora_config *lora)
{
    return (struct engine_config){
        .shape = *shape, .lora = *lora, .kernels = test_level(), .seed = 5};
}

/* ---- the model in double ---- */

struct reference {
    const struct weights *w;
    const struct lora_config *lora;
    const double *flat; /* the adapter, or NULL */
};

/* y [out] = W x + s B (A x) */
static inline void reference_linear(const struct reference *r, uint32_t layer,
                                    enum lora_module module, const float *w, const double *x,
                                    double *y)
{
    uint32_t in;
    uint32_t out;
    struct lora_place place;
    shape_module(&r->w->shape, module, &in, &out);
    for (uint32_t o = 0; o < out; o++) {
        y[o] = 0;
        for (uint32_t i = 0; i < in; i++) {
            y[o] += (double)w[(size_t)o * in + i] * x[i];
        }
    }
    if (!r->flat || !lora_place(&r->w->shape, r->lora, layer, module, &place)) {
        return;
    }
    double scale = (double)r->lora->alpha / r->lora->r;
    for (uint32_t k = 0; k < r->lora->r; k++) {
        double u = 0;
        for (uint32_t i = 0; i < in; i++) {
            u += r->flat[place.a + (size_t)k * in + i] * x[i];
        }
        for (uint32_t o = 0; o < out; o++) {
            y[o] += scale * r->flat[place.b + (size_t)o * r->lora->r + k] * u;
        }
    }
}

static inline void reference_norm(const struct model_shape *s, const float *w, const double *x,
                                  double *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < s->hidden; i++) {
        sum += x[i] * x[i];
    }
    double scale = 1 / sqrt(sum / s->hidden + (double)s->rms_eps);
    for (uint32_t i = 0; i < s->hidden; i++) {
        y[i] = x[i] * scale * (double)w[i];
    }
}

static inline void reference_rope(const struct model_shape *s, uint32_t heads, uint32_t position,
                                  double *x)
{
    uint32_t half = s->head_dim / 2;
    for (uint32_t h = 0; h < heads; h++, x += s->head_dim) {
        for (uint32_t i = 0; i < half; i++) {
            double angle = position * pow((double)s->rope_theta, -2.0 * i / s->head_dim);
            double a = x[i];
            double b = x[i + half];
            x[i] = a * cos(angle) - b * sin(angle);
            x[i + half] = b * cos(angle) + a * sin(angle);
        }
    }
}

enum { REFERENCE_ROWS = 256, REFERENCE_WIDTH = 64 };

struct reference_room {
    double x[REFERENCE_ROWS][REFERENCE_WIDTH], q[REFERENCE_ROWS][REFERENCE_WIDTH];
    double k[REFERENCE_ROWS][REFERENCE_WIDTH], v[REFERENCE_ROWS][REFERENCE_WIDTH];
};

static inline void reference_attention(const struct model_shape *s, struct reference_room *m,
                                       uint32_t row, double *out)
{
    uint32_t per = s->heads / s->kv_heads;
    for (uint32_t h = 0; h < s->heads; h++) {
        double p[REFERENCE_ROWS];
        double sum = 0;
        for (uint32_t j = 0; j <= row; j++) {
            double score = 0;
            for (uint32_t c = 0; c < s->head_dim; c++) {
                score += m->q[row][h * s->head_dim + c] * m->k[j][h / per * s->head_dim + c];
            }
            p[j] = exp(score / sqrt(s->head_dim));
            sum += p[j];
        }
        for (uint32_t c = 0; c < s->head_dim; c++) {
            double mix = 0;
            for (uint32_t j = 0; j <= row; j++) {
                mix += p[j] / sum * m->v[j][h / per * s->head_dim + c];
            }
            out[h * s->head_dim + c] = mix;
        }
    }
}

static inline void reference_layer(const struct reference *r, uint32_t layer, uint32_t n,
                                   struct reference_room *m)
{
    const struct model_shape *s = &r->w->shape;
    const struct weights_layer *w = &r->w->layers[layer];
    uint32_t q = s->heads * s->head_dim;
    uint32_t kv = s->kv_heads * s->head_dim;
    for (uint32_t i = 0; i < n; i++) {
        double norm[REFERENCE_WIDTH];
        reference_norm(s, w->attn_norm, m->x[i], norm);
        reference_linear(r, layer, LORA_Q, w->qkv, norm, m->q[i]);
        reference_linear(r, layer, LORA_K, w->qkv + q * s->hidden, norm, m->k[i]);
        reference_linear(r, layer, LORA_V, w->qkv + (q + kv) * s->hidden, norm, m->v[i]);
        reference_rope(s, s->heads, i, m->q[i]);
        reference_rope(s, s->kv_heads, i, m->k[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        double in[REFERENCE_WIDTH];
        double gate[REFERENCE_WIDTH];
        double up[REFERENCE_WIDTH];
        double out[REFERENCE_WIDTH];
        reference_attention(s, m, i, in);
        reference_linear(r, layer, LORA_O, w->o, in, out);
        for (uint32_t c = 0; c < s->hidden; c++) {
            m->x[i][c] += out[c];
        }
        reference_norm(s, w->mlp_norm, m->x[i], in);
        reference_linear(r, layer, LORA_GATE, w->gate_up, in, gate);
        reference_linear(r, layer, LORA_UP, w->gate_up + s->ff * s->hidden, in, up);
        for (uint32_t c = 0; c < s->ff; c++) {
            gate[c] = gate[c] / (1 + exp(-gate[c])) * up[c];
        }
        reference_linear(r, layer, LORA_DOWN, w->down, gate, out);
        for (uint32_t c = 0; c < s->hidden; c++) {
            m->x[i][c] += out[c];
        }
    }
}

static inline double reference_log_p(const struct reference *r, const double *x, uint32_t target)
{
    const struct model_shape *s = &r->w->shape;
    double norm[REFERENCE_WIDTH];
    double sum = 0;
    double at = 0;
    reference_norm(s, r->w->final_norm, x, norm);
    for (uint32_t v = 0; v < s->vocab; v++) {
        double logit = 0;
        for (uint32_t c = 0; c < s->hidden; c++) {
            logit += (double)r->w->head[(size_t)v * s->hidden + c] * norm[c];
        }
        sum += exp(logit);
        at = v == target ? logit : at;
    }
    return at - log(sum);
}

/* Loss of a tree, every leaf run as a separate sequence; adds to leaf_logp [n_leaves] if given. */
static inline double reference_loss(const struct reference *r, const struct tree *t,
                                    double *leaf_logp)
{
    const struct model_shape *s = &r->w->shape;
    double loss = 0;
    struct reference_room *m = mem_calloc(1, sizeof *m);
    assert_non_null(m);
    for (uint32_t node = 0; node < t->n_nodes; node++) {
        uint32_t path[REFERENCE_ROWS]; /* rows of the sequence that ends with node */
        uint32_t n = t->nodes[node].depth + t->nodes[node].count;
        uint32_t leaf = UINT32_MAX;
        assert_true(n <= REFERENCE_ROWS);
        for (uint32_t at = node; at != TREE_ROOT; at = t->nodes[at].parent) {
            for (uint32_t i = 0; i < t->nodes[at].count; i++) {
                path[t->nodes[at].depth + i] = t->nodes[at].first + i;
            }
        }
        for (uint32_t i = 0; i < t->n_labels; i++) { /* a leaf's last row has target 2 */
            if (t->labels[i].row == path[n - 1] && t->labels[i].target == 2) {
                leaf = t->labels[i].leaf;
            }
        }
        bool parent = false;
        for (uint32_t i = 0; i < t->n_nodes; i++) {
            parent = parent || t->nodes[i].parent == node;
        }
        if (parent) {
            continue;
        }
        if (leaf == UINT32_MAX) { /* numbered as tiny_tree does: in node order */
            leaf = 0;
            for (uint32_t i = 0; i < node; i++) {
                bool inner = false;
                for (uint32_t j = 0; j < t->n_nodes; j++) {
                    inner = inner || t->nodes[j].parent == i;
                }
                leaf += inner ? 0 : 1;
            }
        }
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t c = 0; c < s->hidden; c++) {
                m->x[i][c] = (double)r->w->embed[(size_t)t->tokens[path[i]] * s->hidden + c];
            }
        }
        for (uint32_t layer = 0; layer < s->layers; layer++) {
            reference_layer(r, layer, n, m);
        }
        for (uint32_t i = 0; i < t->n_labels; i++) {
            for (uint32_t at = 0; t->labels[i].leaf == leaf && at < n; at++) {
                if (t->labels[i].row == path[at]) {
                    double log_p = reference_log_p(r, m->x[at], t->labels[i].target);
                    loss -= (double)t->labels[i].weight * log_p;
                    if (leaf_logp) {
                        leaf_logp[leaf] += log_p;
                    }
                }
            }
        }
    }
    mem_free(m);
    return loss;
}

#endif
