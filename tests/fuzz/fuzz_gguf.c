/* fuzz_gguf.c - metadata and tensor list of a GGUF, then the Llama in it: every key is read with
 * every getter, every array walked, and the shape asked for. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/format/gguf.h"
#include "common/format/gguf_model.h"
#include "common/format/gguf_parts.h"
#include "tests/fuzz/driver.h"
#include "tests/support/gguf_build.h"

/* What was read, so that a sanitizer sees where it ends. */
static volatile uint64_t read_so_far;

static void walk_arrays(const struct gguf *g, const char *key)
{
    static const enum gguf_type asked[] = {GGUF_STRING, GGUF_F32, GGUF_BOOL, GGUF_I32};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct gguf_array array;
        const char *text;
        size_t bytes;
        int64_t number;
        float real;
        uint64_t sum = 0;
        if (gguf_get_array(g, key, asked[i], &array, NULL) != OK) {
            continue;
        }
        while (asked[i] == GGUF_STRING && gguf_array_next_string(&array, &text, &bytes)) {
            for (size_t j = 0; j < bytes; j++) {
                sum += (unsigned char)text[j];
            }
        }
        while (asked[i] == GGUF_F32 && gguf_array_next_float(&array, &real)) {
            sum += real > 0;
        }
        while ((asked[i] == GGUF_BOOL || asked[i] == GGUF_I32) &&
               gguf_array_next_int(&array, &number)) {
            sum += (uint64_t)number;
        }
        read_so_far = sum;
    }
}

static void read_keys(const struct gguf *g)
{
    for (size_t i = 0; i < g->n_keys; i++) {
        char *key = mem_strndup(g->keys[i].name, (size_t)g->keys[i].bytes);
        const char *text;
        size_t bytes;
        uint64_t number;
        double real;
        bool flag;
        CHECK(key && gguf_has(g, key));
        int answers = gguf_get_string(g, key, &text, &bytes, NULL) == OK;
        answers += gguf_get_uint(g, key, &number, NULL) == OK;
        answers += gguf_get_float(g, key, &real, NULL) == OK;
        answers += gguf_get_bool(g, key, &flag, NULL) == OK;
        CHECK(answers <= 1);
        walk_arrays(g, key);
        mem_free(key);
    }
}

static void check_tensors(const struct gguf *g, size_t file_bytes)
{
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        CHECK(t->offset <= file_bytes && t->bytes <= file_bytes - t->offset);
        CHECK(gguf_tensor_find(g, t->name) == t);
        if (t->type != QUANT_TYPES) {
            CHECK(t->elements / quant_block_elements(t->type) * quant_block_bytes(t->type) ==
                  t->bytes);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct gguf *g = NULL;
    struct errbuf e = {0};
    struct model_shape shape;
    enum err error = gguf_open_memory(data, bytes, &g, &e);
    CHECK((error == OK) == (g != NULL));
    CHECK(error == OK || e.text[0] != '\0');
    if (g) {
        read_keys(g);
        check_tensors(g, bytes);
        CHECK(gguf_model_shape(g, &shape, &e) == OK || e.text[0] != '\0');
    }
    gguf_close(&g);
    return 0;
}

static struct fuzz_seed built(struct str *s)
{
    CHECK(str_ok(s) == OK);
    struct fuzz_seed seed = fuzz_seed_text(s->data, s->len);
    str_free(s);
    return seed;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    struct str s = {0};
    size_t n = 0;
    gguf_build_every_type(&s);
    seeds[n++] = built(&s);
    for (int type = 0; type < QUANT_TYPES; type++) {
        struct gguf_build_model model = {.matrix = (enum quant_type)type};
        gguf_build_tiny_model(&s, &model);
        seeds[n++] = built(&s);
    }
    gguf_build_header(&s, 3, 0, 0);
    seeds[n++] = built(&s);
    return n;
}
