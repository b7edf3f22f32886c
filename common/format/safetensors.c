/* safetensors.c - reading: header rules, tensor list, data through pread. */
#include "common/format/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"
#include "common/format/tensor_read.h"

enum { LENGTH_BYTES = 8, HEADER_BYTES_MAX = 100000000 };
static const char metadata_key[] = "__metadata__";

struct safetensors {
    int fd; /* -1 for bytes in memory */
    char *path;
    json_t *header; /* owns names and metadata */
    size_t count;
    struct safetensors_tensor *tensors; /* [count] by name */
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[SAFETENSORS_DTYPES] = {
    [SAFETENSORS_F64] = {"F64", 8},         [SAFETENSORS_I64] = {"I64", 8},
    [SAFETENSORS_U64] = {"U64", 8},         [SAFETENSORS_F32] = {"F32", 4},
    [SAFETENSORS_I32] = {"I32", 4},         [SAFETENSORS_U32] = {"U32", 4},
    [SAFETENSORS_F16] = {"F16", 2},         [SAFETENSORS_BF16] = {"BF16", 2},
    [SAFETENSORS_I16] = {"I16", 2},         [SAFETENSORS_U16] = {"U16", 2},
    [SAFETENSORS_F8_E4M3] = {"F8_E4M3", 1}, [SAFETENSORS_F8_E5M2] = {"F8_E5M2", 1},
    [SAFETENSORS_I8] = {"I8", 1},           [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_BOOL] = {"BOOL", 1},
};

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    CHECK(dtype < SAFETENSORS_DTYPES);
    return dtypes[dtype].name;
}

size_t safetensors_dtype_bytes(enum safetensors_dtype dtype)
{
    CHECK(dtype < SAFETENSORS_DTYPES);
    return dtypes[dtype].bytes;
}

/* A count in the header: an integer that is not negative. */
static bool get_count(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static enum err parse_dtype(struct safetensors_tensor *t, const json_t *entry, struct errbuf *e)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    for (int i = 0; name && i < SAFETENSORS_DTYPES; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            t->dtype = (enum safetensors_dtype)i;
            return OK;
        }
    }
    return err_set(e, ERR_UNSUPPORTED, "tensor %.200s: dtype %.40s is not known", t->name,
                   name ? name : "(no string)");
}

static enum err parse_shape(struct safetensors_tensor *t, const json_t *entry, struct errbuf *e)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > LIMIT_TENSOR_DIMS) {
        return err_set(e, ERR_RANGE, "tensor %.200s: shape must be an array of 0 to %d sizes",
                       t->name, LIMIT_TENSOR_DIMS);
    }
    t->n_dims = (uint32_t)n;
    t->elements = 1;
    for (size_t i = 0; i < LIMIT_TENSOR_DIMS; i++) {
        t->dims[i] = 1;
        if (i < n && !get_count(json_array_get(shape, i), &t->dims[i])) {
            return err_set(e, ERR_PARSE, "tensor %.200s: size %zu of the shape is no count",
                           t->name, i);
        }
        if (__builtin_mul_overflow(t->elements, t->dims[i], &t->elements)) {
            return err_set(e, ERR_RANGE, "tensor %.200s: its shape holds 2^64 elements or more",
                           t->name);
        }
    }
    return OK;
}

/* offset is relative to the data until place_all moves it. */
static enum err parse_offsets(struct safetensors_tensor *t, const json_t *entry, struct errbuf *e)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t end = 0;
    uint64_t need = 0;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !get_count(json_array_get(offsets, 0), &t->offset) ||
        !get_count(json_array_get(offsets, 1), &end)) {
        return err_set(e, ERR_PARSE, "tensor %.200s: data_offsets must be two counts", t->name);
    }
    if (end < t->offset) {
        return err_set(e, ERR_RANGE,
                       "tensor %.200s: ends at %" PRIu64 ", before it begins at %" PRIu64, t->name,
                       end, t->offset);
    }
    t->bytes = end - t->offset;
    if (__builtin_mul_overflow(t->elements, (uint64_t)dtypes[t->dtype].bytes, &need) ||
        need != t->bytes) {
        return err_set(e, ERR_RANGE,
                       "tensor %.200s: data_offsets hold %" PRIu64 " bytes, its shape and dtype %s "
                       "need %" PRIu64,
                       t->name, t->bytes, dtypes[t->dtype].name, need);
    }
    return OK;
}

static enum err parse_tensor(struct safetensors_tensor *t, const char *name, json_t *entry,
                             struct errbuf *e)
{
    *t = (struct safetensors_tensor){.name = name};
    if (!json_is_object(entry)) {
        return err_set(e, ERR_PARSE, "tensor %.200s: is %s, an object is needed", name,
                       json_doc_kind(entry));
    }
    const char *key;
    json_t *value;
    json_object_foreach(entry, key, value)
    {
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0) {
            return err_set(e, ERR_PARSE, "tensor %.200s: key %.100s is not known", name, key);
        }
    }
    enum err error = parse_dtype(t, entry, e);
    error = error == OK ? parse_shape(t, entry, e) : error;
    return error == OK ? parse_offsets(t, entry, e) : error;
}

static int by_offset(const void *left, const void *right)
{
    const struct safetensors_tensor *a = left;
    const struct safetensors_tensor *b = right;
    if (a->offset != b->offset) {
        return a->offset < b->offset ? -1 : 1;
    }
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static int by_name(const void *left, const void *right)
{
    const struct safetensors_tensor *a = left;
    const struct safetensors_tensor *b = right;
    return strcmp(a->name, b->name);
}

/* The tensors in order of offset must cover the data; then offsets become those of the file. */
static enum err place_all(struct safetensors *st, uint64_t data_start, uint64_t data_bytes,
                          struct errbuf *e)
{
    uint64_t covered = 0;
    if (st->count > 0) {
        qsort(st->tensors, st->count, sizeof *st->tensors, by_offset);
    }
    for (size_t i = 0; i < st->count; i++) {
        struct safetensors_tensor *t = &st->tensors[i];
        if (t->offset != covered) {
            return err_set(e, ERR_CORRUPT,
                           "tensor %.200s begins at %" PRIu64 " of the data, the one before ends "
                           "at %" PRIu64 ": %s",
                           t->name, t->offset, covered,
                           t->offset > covered ? "a hole" : "an overlap");
        }
        covered = t->offset + t->bytes;
        if (covered > data_bytes) {
            return err_set(e, ERR_CORRUPT,
                           "tensor %.200s ends at %" PRIu64 " of the data, which has %" PRIu64
                           " bytes: the file was cut short",
                           t->name, covered, data_bytes);
        }
        t->offset += data_start;
    }
    if (covered != data_bytes) {
        return err_set(e, ERR_CORRUPT, "the tensors cover %" PRIu64 " of %" PRIu64 " bytes of data",
                       covered, data_bytes);
    }
    if (st->count > 0) {
        qsort(st->tensors, st->count, sizeof *st->tensors, by_name);
    }
    return OK;
}

static enum err check_metadata(json_t *metadata, struct errbuf *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) {
        return err_set(e, ERR_PARSE, "%s is %s, an object is needed", metadata_key,
                       json_doc_kind(metadata));
    }
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value)) {
            return err_set(e, ERR_PARSE, "%s: %.200s is %s, a string is needed", metadata_key, key,
                           json_doc_kind(value));
        }
    }
    return OK;
}

static enum err parse_header(struct safetensors *st, const char *text, size_t n,
                             uint64_t file_bytes, struct errbuf *e)
{
    if (text[0] != '{') {
        return err_set(e, ERR_PARSE, "the header must begin with '{', not with byte 0x%02x",
                       (unsigned char)text[0]);
    }
    enum err error = json_doc_parse(text, n, &st->header, e);
    if (error != OK) {
        return err_prefix(e, error, "header");
    }
    size_t entries = json_object_size(st->header);
    if (entries > LIMIT_TENSORS) {
        return err_set(e, ERR_RANGE, "the header has %zu entries, at most %d are possible", entries,
                       LIMIT_TENSORS);
    }
    st->tensors = mem_calloc(entries, sizeof *st->tensors);
    if (!st->tensors) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tensors", entries);
    }
    const char *name;
    json_t *entry;
    json_object_foreach(st->header, name, entry)
    {
        if (strcmp(name, metadata_key) == 0) {
            error = check_metadata(entry, e);
        } else {
            error = parse_tensor(&st->tensors[st->count++], name, entry, e);
        }
        if (error != OK) {
            return error;
        }
    }
    uint64_t start = LENGTH_BYTES + (uint64_t)n;
    return place_all(st, start, file_bytes - start, e);
}

static enum err check_length(uint64_t n, uint64_t file_bytes, struct errbuf *e)
{
    if (n > HEADER_BYTES_MAX) {
        return err_set(e, ERR_RANGE,
                       "the header says it has %" PRIu64 " bytes, at most %d are "
                       "possible: is this a safetensors file?",
                       n, HEADER_BYTES_MAX);
    }
    if (n < 2 || n > file_bytes - LENGTH_BYTES) {
        return err_set(e, ERR_CORRUPT,
                       "the header says it has %" PRIu64 " bytes, the file has %" PRIu64, n,
                       file_bytes);
    }
    return OK;
}

static enum err too_short(uint64_t file_bytes, struct errbuf *e)
{
    return err_set(e, ERR_CORRUPT, "has %" PRIu64 " bytes, a safetensors file has at least 10",
                   file_bytes);
}

static enum err open_file(struct safetensors *st, const char *path, struct errbuf *e)
{
    uint8_t length[LENGTH_BYTES];
    size_t bytes = 0;
    enum err error = file_open(path, &st->fd, &bytes, e);
    if (error != OK) {
        return error;
    }
    if (bytes < LENGTH_BYTES + 2) {
        return err_prefix(e, too_short(bytes, e), "%s", path);
    }
    error = file_read_at(st->fd, path, 0, length, sizeof length, e);
    if (error != OK) {
        return error;
    }
    uint64_t n = bytes_get_u64(length);
    error = check_length(n, bytes, e);
    if (error != OK) {
        return err_prefix(e, error, "%s", path);
    }
    char *text = mem_calloc(n, 1);
    if (!text) {
        return err_set(e, ERR_NOMEM, "%s: no memory for a header of %" PRIu64 " bytes", path, n);
    }
    error = file_read_at(st->fd, path, LENGTH_BYTES, text, n, e);
    if (error == OK) {
        error = parse_header(st, text, n, bytes, e);
        error = error == OK ? OK : err_prefix(e, error, "%s", path);
    }
    mem_free(text);
    return error;
}

static struct safetensors *new_reader(const char *path)
{
    struct safetensors *st = mem_calloc(1, sizeof *st);
    char *copy = mem_strdup(path);
    if (!st || !copy) {
        mem_free(st);
        mem_free(copy);
        return NULL;
    }
    st->fd = -1;
    st->path = copy;
    return st;
}

enum err safetensors_open(const char *path, struct safetensors **out, struct errbuf *e)
{
    struct safetensors *st = new_reader(path);
    *out = NULL;
    if (!st) {
        return err_set(e, ERR_NOMEM, "%s: no memory to open it", path);
    }
    enum err error = open_file(st, path, e);
    if (error != OK) {
        safetensors_close(&st);
        return error;
    }
    *out = st;
    return OK;
}

enum err safetensors_open_memory(const void *data, size_t bytes, struct safetensors **out,
                                 struct errbuf *e)
{
    *out = NULL;
    if (bytes < LENGTH_BYTES + 2) {
        return too_short(bytes, e);
    }
    uint64_t n = bytes_get_u64(data);
    enum err error = check_length(n, bytes, e);
    if (error != OK) {
        return error;
    }
    struct safetensors *st = new_reader("memory");
    if (!st) {
        return err_set(e, ERR_NOMEM, "no memory to read a header");
    }
    error = parse_header(st, (const char *)data + LENGTH_BYTES, n, bytes, e);
    if (error != OK) {
        safetensors_close(&st);
        return error;
    }
    *out = st;
    return OK;
}

void safetensors_close(struct safetensors **st)
{
    struct safetensors *s = *st;
    *st = NULL;
    if (s) {
        if (s->fd >= 0) {
            (void)close(s->fd);
        }
        json_decref(s->header);
        mem_free(s->tensors);
        mem_free(s->path);
        mem_free(s);
    }
}

size_t safetensors_count(const struct safetensors *st)
{
    return st->count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *st, size_t i)
{
    CHECK(i < st->count);
    return &st->tensors[i];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *st, const char *name)
{
    struct safetensors_tensor key = {.name = name};
    if (st->count == 0) {
        return NULL;
    }
    return bsearch(&key, st->tensors, st->count, sizeof key, by_name);
}

const char *safetensors_metadata(const struct safetensors *st, const char *key)
{
    return json_string_value(json_object_get(json_object_get(st->header, metadata_key), key));
}

enum err safetensors_read_f32(const struct safetensors *st, const struct safetensors_tensor *t,
                              uint64_t first, uint64_t count, float *out, struct errbuf *e)
{
    enum quant_type type;
    CHECK(st->fd >= 0);
    if (t->dtype == SAFETENSORS_F32) {
        type = QUANT_F32;
    } else if (t->dtype == SAFETENSORS_F16) {
        type = QUANT_F16;
    } else if (t->dtype == SAFETENSORS_BF16) {
        type = QUANT_BF16;
    } else {
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: tensor %.200s is %s; F32, F16 and BF16 are supported", st->path,
                       t->name, dtypes[t->dtype].name);
    }
    if (first > t->elements || count > t->elements - first) {
        return err_set(e, ERR_RANGE, "%s: tensor %.200s has %" PRIu64 " elements", st->path,
                       t->name, t->elements);
    }
    return tensor_read_f32(st->fd, st->path, t->offset, type, first, count, out, e);
}

enum err safetensors_read_raw(const struct safetensors *st, const struct safetensors_tensor *t,
                              void *out, struct errbuf *e)
{
    CHECK(st->fd >= 0);
    return file_read_at(st->fd, st->path, t->offset, out, t->bytes, e);
}
