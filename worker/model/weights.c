/* weights.c - one block for all weights of a model. */
#include "worker/model/weights.h"

#include <stdint.h>
#include <sys/mman.h>

#include "common/base/mem.h"

/* Walks the block: at = floats used so far; gives a tensor its place when there is a block. */
static float *take(float *base, size_t *at, size_t rows, size_t cols)
{
    const size_t step = MEM_ALIGNMENT / sizeof(float);
    float *place = base ? base + *at : NULL;
    *at += (rows * cols + step - 1) / step * step;
    return place;
}

static size_t place_all(struct weights *w, float *base)
{
    const struct model_shape *s = &w->shape;
    size_t q = (size_t)s->heads * s->head_dim;
    size_t kv = (size_t)s->kv_heads * s->head_dim;
    size_t at = 0;
    w->embed = take(base, &at, s->vocab, s->hidden);
    w->head = s->tied_head ? w->embed : take(base, &at, s->vocab, s->hidden);
    w->final_norm = take(base, &at, 1, s->hidden);
    for (uint32_t i = 0; i < s->layers; i++) {
        struct weights_layer layer;
        layer.attn_norm = take(base, &at, 1, s->hidden);
        layer.qkv = take(base, &at, q + 2 * kv, s->hidden);
        layer.o = take(base, &at, s->hidden, q);
        layer.mlp_norm = take(base, &at, 1, s->hidden);
        layer.gate_up = take(base, &at, 2 * (size_t)s->ff, s->hidden);
        layer.down = take(base, &at, s->hidden, s->ff);
        if (base) {
            w->layers[i] = layer;
        }
    }
    return at;
}

size_t weights_floats(const struct model_shape *shape)
{
    struct weights w = {.shape = *shape};
    return place_all(&w, NULL);
}

enum err weights_place(struct weights *w, const struct model_shape *shape, float *block,
                       struct errbuf *e)
{
    *w = (struct weights){.shape = *shape};
    w->layers = mem_calloc(shape->layers, sizeof *w->layers);
    if (!w->layers) {
        return err_set(e, ERR_NOMEM, "no memory for a list of %u layers", shape->layers);
    }
    w->block = block;
    w->floats = place_all(w, block);
    return OK;
}

enum err weights_alloc(struct weights *w, const struct model_shape *shape, struct errbuf *e)
{
    *w = (struct weights){.shape = *shape};
    enum err error = shape_check(shape, e);
    if (error != OK) {
        return error;
    }
    size_t floats = weights_floats(shape);
    float *base = mem_aligned(floats, sizeof(float));
    if (!base) {
        return err_set(e, ERR_NOMEM, "no memory for the model's weights (%zu MiB)",
                       floats * sizeof(float) >> 20);
    }
    error = weights_place(w, shape, base, e);
    if (error != OK) {
        mem_free(base);
        *w = (struct weights){0};
    }
    return error;
}

void weights_free(struct weights *w)
{
    mem_free(w->layers);
    if (w->map) {
        (void)munmap(w->map, w->map_bytes);
    } else {
        mem_free(w->block);
    }
    *w = (struct weights){0};
}
