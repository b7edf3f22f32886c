/* params.c - the current version and its published copies. */
#include "coordinator/params.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* What a snapshot really is; the public part comes first. */
struct counted {
    struct params_snapshot pub;
    atomic_uint references;
};

enum err params_new_empty(size_t count, const struct adamw_config *cfg, struct params **out)
{
    struct params *p = mem_calloc(1, sizeof *p);
    if (!p) {
        return ERR_NOMEM;
    }
    p->cfg = *cfg;
    p->adam = (struct adamw_state){.count = count, .beta1_t = 1.0, .beta2_t = 1.0};
    p->adam.p = mem_calloc(count, sizeof *p->adam.p);
    p->adam.m = mem_calloc(count, sizeof *p->adam.m);
    p->adam.v = mem_calloc(count, sizeof *p->adam.v);
    if (!p->adam.p || !p->adam.m || !p->adam.v) {
        params_free(&p);
        return ERR_NOMEM;
    }
    *out = p;
    return OK;
}

enum err params_new(const struct model_shape *shape, const struct lora_config *lora, uint64_t seed,
                    const struct adamw_config *cfg, struct params **out)
{
    enum err error = params_new_empty(lora_count(shape, lora), cfg, out);
    if (error == OK) {
        lora_init(shape, lora, seed, (*out)->adam.p);
    }
    return error;
}

void params_free(struct params **p)
{
    if (*p) {
        mem_free((*p)->adam.p);
        mem_free((*p)->adam.m);
        mem_free((*p)->adam.v);
        mem_free(*p);
        *p = NULL;
    }
}

void params_step(struct params *p, const float *gradient, double lr, double *norm)
{
    double before = adamw_step(&p->cfg, &p->adam, gradient, lr);
    if (norm) {
        *norm = before;
    }
    p->version++;
}

static enum err new_snapshot(uint64_t version, const float *first, size_t n, const float *others,
                             size_t more, struct params_snapshot **out)
{
    struct counted *s = mem_calloc(1, sizeof *s);
    float *flat = s ? mem_aligned(n + more, sizeof *flat) : NULL;
    if (!flat) {
        mem_free(s);
        return ERR_NOMEM;
    }
    memcpy(flat, first, n * sizeof *flat);
    if (more > 0) {
        memcpy(flat + n, others, more * sizeof *flat);
    }
    s->pub = (struct params_snapshot){.version = version, .count = n + more, .flat = flat};
    hash_xxh128(flat, (n + more) * sizeof *flat, s->pub.digest);
    atomic_init(&s->references, 1);
    *out = &s->pub;
    return OK;
}

enum err params_snapshot(const struct params *p, struct params_snapshot **out)
{
    return new_snapshot(p->version, p->adam.p, p->adam.count, NULL, 0, out);
}

enum err params_snapshot_with(const struct params_snapshot *s, uint64_t version,
                              const float *others, size_t n, struct params_snapshot **out)
{
    return new_snapshot(version, s->flat, s->count, others, n, out);
}

struct params_snapshot *params_snapshot_hold(struct params_snapshot *s)
{
    struct counted *c = (struct counted *)s;
    unsigned before = atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    CHECK(before > 0);
    return s;
}

void params_snapshot_release(struct params_snapshot *s)
{
    struct counted *c = (struct counted *)s;
    if (!c) {
        return;
    }
    unsigned before = atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1) {
        mem_free(s->flat);
        mem_free(c);
    }
}
