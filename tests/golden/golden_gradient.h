/* golden_gradient.h - compares every adapter matrix of an exact gradient with the fixture's
 * (README.md). For cmocka programs. */
#ifndef PFT_GOLDEN_GRADIENT_H
#define PFT_GOLDEN_GRADIENT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "tests/golden/golden_case.h"

static inline void must(enum err error, const struct errbuf *e)
{
    if (error != OK) {
        fail_msg("%s", e->text[0] ? e->text : err_text(error));
    }
}

static inline void golden_lora(const json_t *json, struct lora_config *lora)
{
    const json_t *targets = json_object_get(json, "targets");
    *lora = (struct lora_config){.r = golden_number(json, "r"),
                                 .alpha = (float)json_number_value(json_object_get(json, "alpha"))};
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        int module = lora_module_from(name, strlen(name));
        assert_true(module >= 0);
        lora->targets |= 1u << module;
    }
}

/* A tensor of a fixture; the caller frees it. */
static inline float *golden_tensor(const struct safetensors *st, const char *name, size_t count)
{
    struct errbuf e = {0};
    float *data = mem_calloc(count, sizeof *data);
    assert_non_null(data);
    must(golden_matrix(st, name, count, data, &e), &e);
    return data;
}

struct golden_worst {
    double cosine, error;
};

static inline void golden_compare(const struct safetensors *st, const char *name,
                                  const int64_t *sum, size_t count, struct golden_worst *worst)
{
    float *values = golden_tensor(st, name, count);
    double ab = 0;
    double aa = 0;
    double bb = 0;
    double dd = 0;
    for (size_t i = 0; i < count; i++) {
        double a = (double)sum[i] * 0x1p-40;
        double b = (double)values[i];
        ab += a * b;
        aa += a * a;
        bb += b * b;
        dd += (a - b) * (a - b);
    }
    mem_free(values);
    if (bb == 0) {
        assert_true(aa == 0);
        return;
    }
    double cosine = ab / sqrt(aa * bb);
    double error = sqrt(dd / bb);
    if (!(cosine >= 0.99999) || !(error <= 1e-3)) {
        fail_msg("%s: cosine %.8f, relative error %.2e", name, cosine, error);
    }
    worst->cosine = worst->cosine <= cosine ? worst->cosine : cosine;
    worst->error = worst->error >= error ? worst->error : error;
}

/* Every matrix of the flat gradient at scale 2^40. */
static inline struct golden_worst golden_gradients(const struct safetensors *st,
                                                   const struct model_shape *shape,
                                                   const struct lora_config *lora,
                                                   const int64_t *sum)
{
    struct golden_worst worst = {1.0, 0.0};
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            char name[GOLDEN_NAME_BYTES];
            if (!lora_place(shape, lora, layer, (enum lora_module)m, &place)) {
                continue;
            }
            golden_name(name, layer, (enum lora_module)m, 'A', ".grad");
            golden_compare(st, name, sum + place.a, (size_t)lora->r * place.in, &worst);
            golden_name(name, layer, (enum lora_module)m, 'B', ".grad");
            golden_compare(st, name, sum + place.b, (size_t)lora->r * place.out, &worst);
        }
    }
    return worst;
}

#endif
