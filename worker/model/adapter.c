/* adapter.c - packed order of LoRA parameters and the way back. */
#include "worker/model/adapter.h"

#include "common/base/check.h"
#include "worker/backend/kernels.h"

static const struct {
    enum lora_module first, last;
} groups[] = {{LORA_Q, LORA_V}, {LORA_O, LORA_O}, {LORA_GATE, LORA_UP}, {LORA_DOWN, LORA_DOWN}};

void adapter_init(struct adapter *a, const struct model_shape *shape,
                  const struct lora_config *config)
{
    *a = (struct adapter){.config = *config};
    a->scale = config->r > 0 ? config->alpha / (float)config->r : 0.0f;
    size_t at = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (int pass = 0; pass < 2; pass++) { /* As, then Bs */
            for (int m = (int)groups[g].first; m <= (int)groups[g].last; m++) {
                uint32_t in;
                uint32_t out;
                if (!adapter_targets(a, (enum lora_module)m)) {
                    continue;
                }
                shape_module(shape, (enum lora_module)m, &in, &out);
                *(pass == 0 ? &a->a[m] : &a->b[m]) = at;
                at += (size_t)config->r * (pass == 0 ? in : out);
            }
        }
    }
    a->layer_words = at;
    a->words = at * shape->layers;
    CHECK(a->words == (config->r > 0 ? lora_count(shape, config) : 0));
}

/* One matrix of the adapter: where it lies in both orders. */
struct piece {
    uint32_t layer;
    enum lora_module module;
    char matrix;
    size_t flat, packed, count;
};

/* Calls visit for every matrix in flat order until it returns false. */
static bool each_piece(const struct adapter *a, const struct model_shape *shape,
                       bool (*visit)(void *context, const struct piece *piece), void *context)
{
    for (uint32_t layer = 0; a->words > 0 && layer < shape->layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            if (!lora_place(shape, &a->config, layer, (enum lora_module)m, &place)) {
                continue;
            }
            size_t base = layer * a->layer_words;
            const struct piece pieces[2] = {{layer, (enum lora_module)m, 'A', place.a,
                                             base + a->a[m], (size_t)a->config.r * place.in},
                                            {layer, (enum lora_module)m, 'B', place.b,
                                             base + a->b[m], (size_t)a->config.r * place.out}};
            if (!visit(context, &pieces[0]) || !visit(context, &pieces[1])) {
                return false;
            }
        }
    }
    return true;
}

struct uploading {
    const struct backend_ops *ops;
    const float *flat;
    struct span packed;
};

static bool upload_piece(void *context, const struct piece *piece)
{
    const struct uploading *u = context;
    u->ops->upload(span_at(u->packed, piece->packed), u->flat + piece->flat, piece->count);
    return true;
}

void adapter_upload(const struct adapter *a, const struct model_shape *shape,
                    const struct backend_ops *ops, const float *flat, struct span packed)
{
    struct uploading uploading = {ops, flat, packed};
    (void)each_piece(a, shape, upload_piece, &uploading);
}

struct adapter_columns adapter_columns(const struct adapter *a, enum lora_module module)
{
    struct adapter_columns c = {0};
    size_t g = 0;
    while (groups[g].last < module) {
        g++;
    }
    for (int m = (int)groups[g].first; m <= (int)groups[g].last; m++) {
        if (adapter_targets(a, (enum lora_module)m)) {
            c.at = c.rank == 0 ? a->a[m] : c.at;
            c.first += m < (int)module ? a->config.r : 0;
            c.rank += a->config.r;
        }
    }
    return c;
}

static void flip_group(const struct adapter *a, const struct model_shape *shape, struct team *team,
                       size_t group, struct span packed, struct span flipped)
{
    for (int m = (int)groups[group].first; m <= (int)groups[group].last; m++) {
        uint32_t in;
        uint32_t out;
        if (!adapter_targets(a, (enum lora_module)m)) {
            continue;
        }
        shape_module(shape, (enum lora_module)m, &in, &out);
        team->ops->transpose(team, out, a->config.r, out, span_at(packed, a->b[m]),
                             span_at(flipped, a->b[m]));
        const struct adapter_columns c = adapter_columns(a, (enum lora_module)m);
        if (c.first == 0) { /* all As of the group at once */
            team->ops->transpose(team, c.rank, in, c.rank, span_at(packed, c.at),
                                 span_at(flipped, c.at));
        }
    }
}

void adapter_flip(const struct adapter *a, const struct model_shape *shape, struct team *team,
                  struct span packed, struct span flipped)
{
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        const size_t base = layer * a->layer_words;
        for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
            flip_group(a, shape, team, g, span_at(packed, base), span_at(flipped, base));
        }
    }
}

struct fitting {
    const struct kernels *kernels;
    const float *packed;
    struct adapter_refusal *refusal;
};

static bool piece_fits(void *context, const struct piece *piece)
{
    const struct fitting *f = context;
    const float *g = f->packed + piece->packed;
    size_t bad = f->kernels->first_refused(piece->count, g);
    if (bad < piece->count) {
        *f->refusal = (struct adapter_refusal){piece->layer, piece->module, piece->matrix, g[bad]};
        return false;
    }
    return true;
}

bool adapter_fits(const struct adapter *a, const struct model_shape *shape,
                  const struct kernels *kernels, const float *packed,
                  struct adapter_refusal *refusal)
{
    struct fitting fitting = {kernels, packed, refusal};
    return each_piece(a, shape, piece_fits, &fitting);
}

struct adding {
    const struct kernels *kernels;
    const float *packed;
    int64_t *sum;
    double squares;
};

static bool add_piece(void *context, const struct piece *piece)
{
    struct adding *add = context;
    add->squares +=
        add->kernels->add_fixed(piece->count, add->packed + piece->packed, add->sum + piece->flat);
    return true;
}

double adapter_add_fixed(const struct adapter *a, const struct model_shape *shape,
                         const struct kernels *kernels, const float *packed, int64_t *sum)
{
    struct adding add = {kernels, packed, sum, 0.0};
    (void)each_piece(a, shape, add_piece, &add);
    return add.squares;
}
