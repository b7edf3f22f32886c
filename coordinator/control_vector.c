/* control_vector.c - GGUF control vectors, written and read. */
#include "coordinator/control_vector.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/gguf.h"

enum { VERSION = 3, ALIGNMENT = 32, TYPE_F32 = 0, NAME_BYTES = 32 };

static void put_u32(struct str *s, uint32_t value)
{
    uint8_t bytes[4];
    bytes_put_u32(bytes, value);
    str_append(s, (const char *)bytes, sizeof bytes);
}

static void put_u64(struct str *s, uint64_t value)
{
    uint8_t bytes[8];
    bytes_put_u64(bytes, value);
    str_append(s, (const char *)bytes, sizeof bytes);
}

static void put_text(struct str *s, const char *text)
{
    put_u64(s, strlen(text));
    str_add(s, text);
}

static void put_key(struct str *s, const char *key, enum gguf_type type)
{
    put_text(s, key);
    put_u32(s, (uint32_t)type);
}

static void put_padding(struct str *s)
{
    while (s->len % ALIGNMENT != 0 && str_ok(s) == OK) {
        str_append(s, "", 1);
    }
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void write_file(struct str *s, const struct model_shape *shape, const float *vectors)
{
    const uint64_t bytes = (uint64_t)shape->hidden * 4;
    str_add(s, "GGUF");
    put_u32(s, VERSION);
    put_u64(s, shape->layers - 1);
    put_u64(s, 3);
    put_key(s, "general.architecture", GGUF_STRING);
    put_text(s, "controlvector");
    put_key(s, "controlvector.model_hint", GGUF_STRING);
    put_text(s, "llama");
    put_key(s, "controlvector.layer_count", GGUF_I32);
    put_u32(s, shape->layers - 1);
    for (uint32_t layer = 1; layer < shape->layers; layer++) {
        char name[NAME_BYTES];
        (void)snprintf(name, sizeof name, "direction.%u", layer);
        put_text(s, name);
        put_u32(s, 1);
        put_u64(s, shape->hidden);
        put_u32(s, TYPE_F32);
        put_u64(s, (layer - 1) * padded(bytes));
    }
    for (uint32_t layer = 1; layer < shape->layers; layer++) {
        put_padding(s);
        for (uint32_t i = 0; i < shape->hidden; i++) {
            uint32_t bits;
            memcpy(&bits, &vectors[(size_t)layer * shape->hidden + i], sizeof bits);
            put_u32(s, bits);
        }
    }
}

enum err control_vector_write(const char *path, const struct model_shape *shape,
                              const float *vectors, struct errbuf *e)
{
    struct str s = {0};
    if (shape->layers < 2) {
        return err_set(e, ERR_UNSUPPORTED,
                       "a control vector has no direction for layer 0, and the model has no other");
    }
    write_file(&s, shape, vectors);
    enum err error = str_ok(&s) == OK ? file_write_atomic(path, s.data, s.len, e)
                                      : err_set(e, ERR_NOMEM, "%s: no memory to write it", path);
    str_free(&s);
    return error;
}

struct spec {
    char path[FILE_PATH_BYTES];
    double multiplier;
    uint32_t first, last; /* layers */
    bool named;           /* layers were */
};

static bool read_layers(const char *text, struct spec *out)
{
    char *end;
    out->named = true;
    unsigned long first = strtoul(text, &end, 10);
    unsigned long last = first;
    bool good = end != text && text[0] != '-';
    if (good && *end == '-') {
        const char *from = end + 1;
        last = strtoul(from, &end, 10);
        good = end != from;
    }
    out->first = (uint32_t)first;
    out->last = (uint32_t)last;
    return good && *end == '\0' && first <= last && last <= UINT32_MAX;
}

static enum err read_spec(const char *text, const struct model_shape *shape, struct spec *out,
                          struct errbuf *e)
{
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    *out = (struct spec){.first = 1, .last = shape->layers - 1};
    if (equals && equals != text && (size_t)(equals - text) < sizeof out->path) {
        memcpy(out->path, text, (size_t)(equals - text));
        out->multiplier = strtod(equals + 1, &end);
    }
    if (!end || end == equals + 1 || !isfinite(out->multiplier) ||
        (*end != '\0' && (*end != '@' || !read_layers(end + 1, out)))) {
        return err_set(e, ERR_USAGE,
                       "%s: FILE=MULTIPLIER, FILE=MULTIPLIER@LAYER or FILE=MULTIPLIER@FIRST-LAST "
                       "is wanted",
                       text);
    }
    if (out->first < 1 || out->last >= shape->layers) {
        return err_set(e, ERR_RANGE, "%s: layers 1 to %u have a direction", text,
                       shape->layers - 1);
    }
    return OK;
}

static enum err add_layer(const struct gguf *g, const struct spec *spec, uint32_t layer,
                          const struct model_shape *shape, float *room, float *vectors,
                          uint32_t *found, struct errbuf *e)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "direction.%u", layer);
    const struct gguf_tensor *t = gguf_tensor_find(g, name);
    if (!t) {
        return spec->named ? err_set(e, ERR_NOT_FOUND, "%s: has no %s", spec->path, name) : OK;
    }
    if (t->n_dims != 1 || t->elements != shape->hidden || t->type != QUANT_F32) {
        return err_set(e, ERR_RANGE, "%s: %s has %llu elements, %u of F32 are wanted", spec->path,
                       name, (unsigned long long)t->elements, shape->hidden);
    }
    (*found)++;
    enum err error = gguf_tensor_read(g, t, 0, shape->hidden, room, e);
    float *to = vectors + (size_t)layer * shape->hidden;
    for (uint32_t i = 0; error == OK && i < shape->hidden; i++) {
        to[i] += (float)spec->multiplier * room[i];
        if (!isfinite(to[i])) {
            error = err_set(e, ERR_RANGE, "%s: %s times %g is not finite", spec->path, name,
                            spec->multiplier);
        }
    }
    return error;
}

enum err control_vector_load(const char *const *specs, int n, const struct model_shape *shape,
                             float *vectors, struct errbuf *e)
{
    enum err error = OK;
    float *room = mem_calloc(shape->hidden, sizeof *room);
    if (!room) {
        return err_set(e, ERR_NOMEM, "no memory for a vector");
    }
    for (int i = 0; error == OK && i < n; i++) {
        struct spec spec;
        struct gguf *g = NULL;
        error = read_spec(specs[i], shape, &spec, e);
        if (error == OK) {
            error = gguf_open(spec.path, &g, e);
        }
        uint32_t found = 0;
        for (uint32_t layer = spec.first; error == OK && layer <= spec.last; layer++) {
            error = add_layer(g, &spec, layer, shape, room, vectors, &found, e);
        }
        if (error == OK && found == 0) {
            error = err_set(e, ERR_NOT_FOUND,
                            "%s: has no direction.1 to direction.%u: is it a control vector?",
                            spec.path, shape->layers - 1);
        }
        gguf_close(&g);
    }
    mem_free(room);
    return error;
}
