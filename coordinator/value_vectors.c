/* value_vectors.c - a file of specs to vectors of either sign. */
#include "coordinator/value_vectors.h"

#include <jansson.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"
#include "coordinator/control_vector.h"
#include "coordinator/dataset.h"
#include "coordinator/values.h"

enum { FILE_BYTES = 1 << 20 };

static enum err load_axis(struct value_vectors *v, uint32_t axis, const char *folder,
                          const char *spec, const struct model_shape *shape, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    const char *specs[1] = {path};
    float *first = v->flat + (size_t)(2 * axis) * v->floats;
    float *second = first + v->floats;
    enum err error = OK;
    if (spec[0] == '/') {
        specs[0] = spec;
    } else {
        error = file_join(path, folder, spec, e);
    }
    if (error == OK) {
        error = control_vector_load(specs, 1, shape, first, e);
    }
    for (size_t i = 0; error == OK && i < v->floats; i++) {
        second[i] = -first[i];
    }
    for (uint32_t side = 0; error == OK && side < 2; side++) {
        const uint32_t code = value_vectors_code(axis, side);
        hash_xxh128(value_vectors_of(v, code), v->floats * sizeof *first, v->digests[code]);
    }
    return error;
}

static bool is_asked(const struct dataset *data, uint32_t axis)
{
    for (uint32_t i = 0; data && i < data->n_scenarios; i++) {
        if (data->scenarios[i].axis == axis && dataset_offers_both(&data->scenarios[i])) {
            return true;
        }
    }
    return false;
}

static enum err load_axes(struct value_vectors *v, const char *path, const json_t *axes,
                          const struct values *values, const struct dataset *data,
                          const struct dataset *more, const struct model_shape *shape,
                          struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    enum err error = OK;
    file_folder_of(folder, path);
    for (uint32_t axis = 0; axis < values->n_axes && error == OK; axis++) {
        const char *name = values->axes[axis].name;
        const char *spec = json_string_value(json_object_get(axes, name));
        if (spec) {
            error = load_axis(v, axis, folder, spec, shape, e);
        } else if (is_asked(data, axis) || is_asked(more, axis)) {
            error = err_set(e, ERR_NOT_FOUND,
                            "%s: \"axes\" has no vectors for '%s', which %s asks about", path, name,
                            is_asked(data, axis) ? data->path : more->path);
        }
    }
    return error;
}

enum err value_vectors_load(const char *path, const struct values *values,
                            const struct dataset *data, const struct dataset *more,
                            const struct model_shape *shape, struct value_vectors **out,
                            struct errbuf *e)
{
    json_t *doc = NULL;
    *out = NULL;
    if (!values || !data) {
        return err_set(e, ERR_REFUSED,
                       "vectors of values need scenarios with values: set data.test and "
                       "data.values");
    }
    struct value_vectors *v = mem_calloc(1, sizeof *v);
    if (v) {
        const size_t codes = (size_t)2 * values->n_axes;
        v->floats = (size_t)shape->layers * shape->hidden;
        v->flat = mem_calloc(codes * v->floats, sizeof *v->flat);
        v->digests = mem_calloc(codes + 1, sizeof *v->digests);
    }
    enum err error = v && v->flat && v->digests ? json_doc_load(path, FILE_BYTES, &doc, e)
                                                : err_set(e, ERR_NOMEM, "no memory for vectors");
    if (error == OK) {
        error = load_axes(v, path, json_object_get(doc, "axes"), values, data, more, shape, e);
    }
    json_decref(doc);
    if (error != OK) {
        value_vectors_free(&v);
    }
    *out = v;
    return error;
}

const float *value_vectors_of(const struct value_vectors *v, uint32_t code)
{
    return code > 0 ? v->flat + (size_t)(code - 1) * v->floats : NULL;
}

void value_vectors_free(struct value_vectors **vectors)
{
    struct value_vectors *v = *vectors;
    *vectors = NULL;
    if (v) {
        mem_free(v->flat);
        mem_free(v->digests);
        mem_free(v);
    }
}
