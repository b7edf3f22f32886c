/* probe.c - the digest of a worker's arithmetic. */
#include "worker/probe.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "worker/backend/kernels.h"
#include "worker/engine_slot.h"

enum {
    PREFIX = 40,
    BRANCH = 28,
    BRANCHES = 2,
    ROWS = PREFIX + BRANCHES * BRANCH,
    FEW_ROWS = 7,
    KEY_PROBE = 0x50726F62,
};

/* Prefix 40, two branches of 28 tokens, all of whose tokens are labels. */
static enum err make_tree(struct tree *t, uint32_t vocab, struct errbuf *e)
{
    if (tree_alloc(t, 1 + BRANCHES, ROWS, BRANCHES * BRANCH, BRANCHES) != OK) {
        return err_set(e, ERR_NOMEM, "probe: out of memory");
    }
    t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = PREFIX};
    for (uint32_t i = 0; i < ROWS; i++) {
        t->tokens[i] = (uint32_t)rng_below(KEY_PROBE, i, vocab);
    }
    uint32_t n = 0;
    for (uint32_t b = 0; b < BRANCHES; b++) { /* the prefix's last row predicts both branches */
        t->nodes[1 + b] = (struct tree_node){.parent = 0, .count = BRANCH};
        t->labels[n++] =
            (struct tree_label){PREFIX - 1, t->tokens[PREFIX + b * BRANCH], b, 1.0f / BRANCH};
    }
    for (uint32_t b = 0; b < BRANCHES; b++) {
        for (uint32_t i = 0; i + 1 < BRANCH; i++) {
            uint32_t row = PREFIX + b * BRANCH + i;
            t->labels[n++] = (struct tree_label){row, t->tokens[row + 1], b, 1.0f / BRANCH};
        }
    }
    return tree_finish(t, vocab, e);
}

/* Running digest: each piece is hashed together with what came before. */
static void mix(uint8_t digest[HASH_XXH128_BYTES], const void *data, size_t bytes)
{
    uint8_t both[2 * HASH_XXH128_BYTES];
    memcpy(both, digest, HASH_XXH128_BYTES);
    hash_xxh128(data, bytes, both + HASH_XXH128_BYTES);
    hash_xxh128(both, sizeof both, digest);
}

static enum err probe_gradient(struct engine_slot *slot, uint8_t digest[HASH_XXH128_BYTES],
                               struct errbuf *e)
{
    const struct model_shape *shape = &slot->engine->config.shape;
    const struct lora_config *lora = &slot->engine->config.lora;
    struct tree tree = {0};
    struct unit_result result;
    const size_t count = engine_lora_count(slot->engine);
    float *flat = mem_calloc(count, sizeof *flat);
    int64_t *sum = mem_calloc(count, sizeof *sum);
    enum err error = flat && sum ? make_tree(&tree, shape->vocab, e)
                                 : err_set(e, ERR_NOMEM, "probe: out of memory");
    if (error == OK) {
        lora_init(shape, lora, KEY_PROBE, flat);
        for (size_t i = 0; i < count; i++) { /* B is zero after lora_init */
            flat[i] = flat[i] != 0.0f ? flat[i] : (rng_unit(KEY_PROBE, i) - 0.5f) * 0x1p-4f;
        }
        const struct unit unit = {.n_trees = 1, .n_rows = ROWS, .trees = &tree};
        error = engine_gradient(slot, &unit, flat, 0, sum, &result, e);
    }
    if (error == OK) {
        mix(digest, sum, count * sizeof *sum);
        mix(digest, &result.loss, sizeof result.loss);
    }
    tree_free(&tree);
    mem_free(flat);
    mem_free(sum);
    return error;
}

/* Where results land on the host. */
struct landing {
    float *values;
    int64_t *fixed;
};

/* x W^T and y W of one matrix with so many rows, as int64. */
static void probe_product(struct pass *p, const struct frozen *w, uint32_t rows, struct span room,
                          const struct landing *to, uint8_t digest[HASH_XXH128_BYTES])
{
    const struct span x = room;
    const struct span y = span_at(room, (size_t)rows * w->in);
    const struct span dx = span_at(y, (size_t)rows * w->out);
    const struct product forward = {.w = w, .rows = rows, .x = x, .y = y};
    const struct product backward = {.w = w, .backward = true, .rows = rows, .x = y, .y = dx};
    const struct backend_ops *ops = p->team.ops;
    ops->product(&p->team, &forward);
    const float less = 0x1p-10f; /* keeps any model's values within fixed point */
    ops->upload(x, &less, 1);
    ops->scale_rows(&p->team, 1, rows * w->out, x, y);
    ops->product(&p->team, &backward);
    const size_t results = (size_t)rows * ((size_t)w->out + w->in);
    const float *values = ops->view(&p->team, y, results, to->values);
    memset(to->fixed, 0, results * sizeof *to->fixed);
    (void)p->team.kernels->add_fixed(results, values, to->fixed);
    mix(digest, to->fixed, results * sizeof *to->fixed);
}

static enum err probe_products(struct engine_slot *slot, uint8_t digest[HASH_XXH128_BYTES],
                               struct errbuf *e)
{
    struct pass *p = &slot->pass;
    const struct model *m = p->model;
    const struct model_layer *l = &m->layers[0];
    const struct frozen *products[] = {&l->qkv, &l->o, &l->gate_up, &l->down, &m->head_blocks[0]};
    const uint32_t rows[] = {1, FEW_ROWS, p->team.even_rows, p->team.tile_rows};
    const size_t n_rows = sizeof rows / sizeof rows[0];
    size_t most = 0;
    uint32_t most_rows = 0;
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        size_t n = 2 * (size_t)products[i]->in + products[i]->out;
        most = n > most ? n : most;
    }
    for (size_t r = 0; r < n_rows; r++) {
        most_rows = rows[r] > most_rows ? rows[r] : most_rows;
    }
    most *= most_rows;
    struct buffer *buffer = NULL;
    struct landing to = {mem_aligned(most, sizeof(float)), mem_aligned(most, sizeof(int64_t))};
    float *x = mem_aligned(most, sizeof *x);
    enum err error = to.values && to.fixed && x && p->team.ops->alloc(most, &buffer) == OK &&
                             p->team.ops->reserve(&p->team, most, m->precision) == OK
                         ? OK
                         : err_set(e, ERR_NOMEM, "probe: no memory for %zu numbers", most);
    for (size_t i = 0; error == OK && i < most; i++) {
        x[i] = rng_unit(KEY_PROBE + 1, i) - 0.5f;
    }
    for (size_t i = 0; error == OK && i < sizeof products / sizeof products[0]; i++) {
        for (size_t r = 0; r < n_rows; r++) {
            const struct span room = {buffer, 0};
            p->team.ops->upload(room, x, (size_t)rows[r] * products[i]->in);
            probe_product(p, products[i], rows[r], room, &to, digest);
        }
    }
    p->team.ops->release(&buffer);
    mem_free(to.values);
    mem_free(to.fixed);
    mem_free(x);
    return error;
}

enum err engine_probe(struct engine_slot *slot, uint8_t digest[HASH_XXH128_BYTES], struct errbuf *e)
{
    memset(digest, 0, HASH_XXH128_BYTES);
    enum err error = probe_gradient(slot, digest, e);
    if (error == OK) {
        error = probe_products(slot, digest, e);
    }
    team_enter(&slot->pass.team, PROFILE_IDLE);
    return error;
}
