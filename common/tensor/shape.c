/* shape.c - model sizes and the layout of LoRA parameters. */
#include "common/tensor/shape.h"

#include <math.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/rng.h"

static const struct {
    const char *name, *proj;
} modules[LORA_MODULES] = {
    [LORA_Q] = {"q", "q_proj"},          [LORA_K] = {"k", "k_proj"},
    [LORA_V] = {"v", "v_proj"},          [LORA_O] = {"o", "o_proj"},
    [LORA_GATE] = {"gate", "gate_proj"}, [LORA_UP] = {"up", "up_proj"},
    [LORA_DOWN] = {"down", "down_proj"},
};

static enum err in_range(const char *name, uint32_t value, uint32_t most, struct errbuf *e)
{
    if (value < 1 || value > most) {
        return err_set(e, ERR_RANGE, "model: %s is %u, 1 to %u are possible", name, value, most);
    }
    return OK;
}

enum err shape_check(const struct model_shape *m, struct errbuf *e)
{
    const struct {
        const char *name;
        uint32_t value, most;
    } fields[] = {{"layers", m->layers, LIMIT_LAYERS},
                  {"hidden size", m->hidden, LIMIT_HIDDEN},
                  {"feed-forward size", m->ff, LIMIT_HIDDEN * 4},
                  {"heads", m->heads, LIMIT_HEADS},
                  {"kv heads", m->kv_heads, LIMIT_HEADS},
                  {"head size", m->head_dim, 1024},
                  {"vocabulary", m->vocab, LIMIT_VOCAB}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum err error = in_range(fields[i].name, fields[i].value, fields[i].most, e);
        if (error != OK) {
            return error;
        }
    }
    if (m->heads % m->kv_heads != 0) {
        return err_set(e, ERR_RANGE, "model: %u heads are no multiple of %u kv heads", m->heads,
                       m->kv_heads);
    }
    if (m->head_dim % 2 != 0) {
        return err_set(e, ERR_RANGE, "model: head size %u is odd, RoPE needs pairs", m->head_dim);
    }
    if (!(m->rope_theta >= 1.0f && m->rope_theta <= 1e12f)) {
        return err_set(e, ERR_RANGE, "model: rope_theta is %g, 1 to 1e12 are possible",
                       (double)m->rope_theta);
    }
    if (!(m->rms_eps > 0.0f && m->rms_eps <= 1e-2f)) {
        return err_set(e, ERR_RANGE, "model: rms_norm_eps is %g, above 0 to 0.01 are possible",
                       (double)m->rms_eps);
    }
    return OK;
}

void shape_module(const struct model_shape *m, enum lora_module module, uint32_t *in, uint32_t *out)
{
    uint32_t q = m->heads * m->head_dim;
    uint32_t kv = m->kv_heads * m->head_dim;
    *in = module == LORA_O ? q : module == LORA_DOWN ? m->ff : m->hidden;
    switch (module) {
    case LORA_Q:
        *out = q;
        break;
    case LORA_K:
    case LORA_V:
        *out = kv;
        break;
    case LORA_GATE:
    case LORA_UP:
        *out = m->ff;
        break;
    case LORA_O:
    case LORA_DOWN:
    case LORA_MODULES:
    default:
        *out = m->hidden;
        break;
    }
}

static size_t module_count(const struct model_shape *m, const struct lora_config *c,
                           enum lora_module module)
{
    uint32_t in;
    uint32_t out;
    if (!(c->targets & 1u << module)) {
        return 0;
    }
    shape_module(m, module, &in, &out);
    return (size_t)c->r * ((size_t)in + out);
}

static size_t layer_count(const struct model_shape *m, const struct lora_config *c)
{
    size_t count = 0;
    for (int module = 0; module < LORA_MODULES; module++) {
        count += module_count(m, c, (enum lora_module)module);
    }
    return count;
}

size_t lora_count(const struct model_shape *m, const struct lora_config *c)
{
    return m->layers * layer_count(m, c);
}

bool lora_place(const struct model_shape *m, const struct lora_config *c, uint32_t layer,
                enum lora_module module, struct lora_place *place)
{
    if (c->r == 0 || !(c->targets & 1u << module)) {
        return false;
    }
    size_t at = layer * layer_count(m, c);
    for (int before = 0; before < (int)module; before++) {
        at += module_count(m, c, (enum lora_module)before);
    }
    shape_module(m, module, &place->in, &place->out);
    place->a = at;
    place->b = at + (size_t)c->r * place->in;
    return true;
}

const char *lora_module_name(enum lora_module module)
{
    return modules[module].name;
}

const char *lora_module_proj(enum lora_module module)
{
    return modules[module].proj;
}

int lora_module_from(const char *name, size_t length)
{
    for (int i = 0; i < LORA_MODULES; i++) {
        if ((strlen(modules[i].name) == length && memcmp(modules[i].name, name, length) == 0) ||
            (strlen(modules[i].proj) == length && memcmp(modules[i].proj, name, length) == 0)) {
            return i;
        }
    }
    return -1;
}

void lora_init(const struct model_shape *m, const struct lora_config *c, uint64_t seed, float *flat)
{
    memset(flat, 0, lora_count(m, c) * sizeof *flat);
    for (uint32_t layer = 0; layer < m->layers; layer++) {
        for (int module = 0; module < LORA_MODULES; module++) {
            struct lora_place place;
            if (!lora_place(m, c, layer, (enum lora_module)module, &place)) {
                continue;
            }
            uint64_t key = rng_key(seed, 0x4C6F5241, layer, (uint64_t)module);
            float bound = 1.0f / sqrtf((float)place.in);
            for (size_t i = 0; i < (size_t)c->r * place.in; i++) {
                flat[place.a + i] = (2.0f * rng_unit(key, i) - 1.0f) * bound;
            }
        }
    }
}
