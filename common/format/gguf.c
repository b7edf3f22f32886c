/* gguf.c - opening a GGUF: header, tensor list, data through pread. */
#include "common/format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/gguf_parts.h"
#include "common/format/tensor_read.h"

enum {
    VERSION_LEAST = 2,
    VERSION_MOST = 3,
    TENSOR_RECORD_BYTES = 8 + 4 + 4 + 8, /* the least a tensor's entry can take */
    TENSOR_NAME_BYTES_MAX = 63,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 1 << 20,
    FRONT_BYTES = 4 << 20,       /* read at once; most metadata fit */
    FRONT_BYTES_MAX = 512 << 20, /* the most metadata that are read */
};

const char *gguf_ggml_type_name(uint32_t ggml_type)
{
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",      [2] = "Q4_0",   [3] = "Q4_1",    [6] = "Q5_0",
        [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
        [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
        [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [30] = "BF16",   [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4",
    };
    return ggml_type < sizeof names / sizeof names[0] ? names[ggml_type] : NULL;
}

static enum quant_type quant_from_ggml(uint32_t ggml_type)
{
    const char *name = gguf_ggml_type_name(ggml_type);
    for (int i = 0; name && i < QUANT_TYPES; i++) {
        if (strcmp(name, quant_name((enum quant_type)i)) == 0) {
            return (enum quant_type)i;
        }
    }
    return QUANT_TYPES;
}

static enum err parse_dims(struct gguf_tensor *t, struct gguf_cursor *c, struct errbuf *e)
{
    if (!gguf_take_u32(c, &t->n_dims)) {
        return gguf_cut_short(c, "a tensor's entry", e);
    }
    if (t->n_dims < 1 || t->n_dims > GGUF_DIMS) {
        return err_set(e, ERR_RANGE, "tensor %s has %u dimensions, 1 to %d are possible", t->name,
                       t->n_dims, GGUF_DIMS);
    }
    t->elements = 1;
    for (uint32_t i = 0; i < GGUF_DIMS; i++) {
        t->dims[i] = 1;
        if (i < t->n_dims && !gguf_take_u64(c, &t->dims[i])) {
            return gguf_cut_short(c, "a tensor's entry", e);
        }
        if (t->dims[i] == 0) {
            return err_set(e, ERR_RANGE, "tensor %s: size %u is 0", t->name, i);
        }
        if (__builtin_mul_overflow(t->elements, t->dims[i], &t->elements) ||
            t->elements > INT64_MAX) {
            return err_set(e, ERR_RANGE, "tensor %s: its sizes hold 2^63 elements or more",
                           t->name);
        }
    }
    return OK;
}

/* bytes from type and sizes; offset stays relative to the data until place_all. */
static enum err parse_layout(struct gguf_tensor *t, struct gguf_cursor *c, struct errbuf *e)
{
    if (!gguf_take_u32(c, &t->ggml_type) || !gguf_take_u64(c, &t->offset)) {
        return gguf_cut_short(c, "a tensor's entry", e);
    }
    t->type = quant_from_ggml(t->ggml_type);
    if (t->type == QUANT_TYPES) {
        return OK;
    }
    uint64_t block = quant_block_elements(t->type);
    if (t->dims[0] % block != 0) {
        return err_set(e, ERR_CORRUPT,
                       "tensor %s: rows of %" PRIu64 " are no multiple of the %" PRIu64
                       " elements of a %s block",
                       t->name, t->dims[0], block, quant_name(t->type));
    }
    if (__builtin_mul_overflow(t->elements / block, (uint64_t)quant_block_bytes(t->type),
                               &t->bytes)) {
        return err_set(e, ERR_RANGE, "tensor %s: has 2^64 bytes or more", t->name);
    }
    return OK;
}

static enum err parse_tensor(struct gguf *g, size_t i, struct gguf_cursor *c, struct errbuf *e)
{
    struct gguf_tensor *t = &g->tensors[i];
    const char *name;
    uint64_t bytes;
    if (!gguf_take_string(c, &name, &bytes)) {
        return gguf_cut_short(c, "a tensor's name", e);
    }
    if (bytes < 1 || bytes > TENSOR_NAME_BYTES_MAX || memchr(name, '\0', (size_t)bytes)) {
        return err_set(e, ERR_PARSE,
                       "tensor %zu: its name has %" PRIu64 " bytes or holds a NUL; 1 "
                       "to %d bytes without one are possible",
                       i, bytes, TENSOR_NAME_BYTES_MAX);
    }
    memcpy(g->names[i], name, (size_t)bytes);
    t->name = g->names[i];
    enum err error = parse_dims(t, c, e);
    return error == OK ? parse_layout(t, c, e) : error;
}

/* qsort has no argument for the table, so the keys that are sorted carry what is compared. */
struct sort_key {
    const char *name;
    uint64_t begin, end;
    uint32_t index;
};

static int by_name(const void *left, const void *right)
{
    const struct sort_key *a = left;
    const struct sort_key *b = right;
    return strcmp(a->name, b->name);
}

static int by_begin(const void *left, const void *right)
{
    const struct sort_key *a = left;
    const struct sort_key *b = right;
    return a->begin < b->begin ? -1 : a->begin > b->begin;
}

static enum err check_names(struct gguf *g, struct sort_key *keys, struct errbuf *e)
{
    qsort(keys, g->n_tensors, sizeof *keys, by_name);
    for (size_t i = 0; i < g->n_tensors; i++) {
        g->by_name[i] = keys[i].index;
        if (i > 0 && by_name(&keys[i - 1], &keys[i]) == 0) {
            return err_set(e, ERR_PARSE, "tensor %s is there twice", keys[i].name);
        }
    }
    return OK;
}

static enum err check_overlap(const struct gguf *g, struct sort_key *keys, struct errbuf *e)
{
    qsort(keys, g->n_tensors, sizeof *keys, by_begin);
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (keys[i].begin < keys[i - 1].end) {
            return err_set(e, ERR_CORRUPT, "tensors %s and %s overlap at byte %" PRIu64,
                           keys[i - 1].name, keys[i].name, keys[i].begin);
        }
    }
    return OK;
}

static enum err place(struct gguf_tensor *t, uint64_t start, uint64_t alignment,
                      uint64_t file_bytes, struct errbuf *e)
{
    uint64_t relative = t->offset;
    uint64_t end = 0;
    if (relative % alignment != 0) {
        return err_set(e, ERR_CORRUPT,
                       "tensor %s: offset %" PRIu64 " is no multiple of the "
                       "alignment %" PRIu64,
                       t->name, relative, alignment);
    }
    if (__builtin_add_overflow(start, relative, &t->offset) ||
        __builtin_add_overflow(t->offset, t->bytes, &end) || end > file_bytes) {
        return err_set(e, ERR_CORRUPT,
                       "tensor %s: %" PRIu64 " bytes at offset %" PRIu64 " of the data do not fit "
                       "into the file of %" PRIu64 " bytes: it was cut short",
                       t->name, t->bytes, relative, file_bytes);
    }
    return OK;
}

static enum err place_all(struct gguf *g, uint64_t infos_end, uint64_t alignment,
                          uint64_t file_bytes, struct errbuf *e)
{
    uint64_t start = (infos_end + alignment - 1) / alignment * alignment;
    if (g->n_tensors == 0) {
        return OK;
    }
    struct sort_key *keys = mem_calloc(g->n_tensors, sizeof *keys);
    if (!keys) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tensors", g->n_tensors);
    }
    enum err error = OK;
    for (size_t i = 0; i < g->n_tensors && error == OK; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        error = place(t, start, alignment, file_bytes, e);
        keys[i] = (struct sort_key){
            .name = t->name, .begin = t->offset, .end = t->offset + t->bytes, .index = (uint32_t)i};
    }
    error = error == OK ? check_names(g, keys, e) : error;
    error = error == OK ? check_overlap(g, keys, e) : error;
    mem_free(keys);
    return error;
}

static enum err get_alignment(const struct gguf *g, uint64_t *alignment, struct errbuf *e)
{
    static const char key[] = "general.alignment";
    *alignment = ALIGNMENT_DEFAULT;
    if (!gguf_has(g, key)) {
        return OK;
    }
    enum err error = gguf_get_uint(g, key, alignment, e);
    if (error != OK) {
        return error;
    }
    if (*alignment == 0 || *alignment > ALIGNMENT_MAX || (*alignment & (*alignment - 1)) != 0) {
        return err_set(e, ERR_RANGE, "%s is %" PRIu64 ", a power of two up to %d is needed", key,
                       *alignment, ALIGNMENT_MAX);
    }
    return OK;
}

static enum err parse_counts(struct gguf_cursor *c, uint64_t *n_tensors, uint64_t *n_keys,
                             struct errbuf *e)
{
    uint32_t version = 0;
    const uint8_t *magic = gguf_take(c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) {
        return err_set(e, ERR_PARSE,
                       "does not begin with GGUF: a .gguf file, or the folder of a Hugging Face "
                       "model, is needed");
    }
    if (!gguf_take_u32(c, &version)) {
        return gguf_cut_short(c, "the header", e);
    }
    if (version < VERSION_LEAST || version > VERSION_MOST) {
        return err_set(e, ERR_UNSUPPORTED, "GGUF version %u is not supported, %d and %d are%s",
                       version, VERSION_LEAST, VERSION_MOST,
                       version > 0xFFFFFFu ? " (a big-endian file?)" : "");
    }
    if (!gguf_take_u64(c, n_tensors) || !gguf_take_u64(c, n_keys)) {
        return gguf_cut_short(c, "the header", e);
    }
    if (*n_tensors > LIMIT_TENSORS || *n_tensors > gguf_left(c) / TENSOR_RECORD_BYTES) {
        return err_set(e, ERR_CORRUPT,
                       "the file says it has %" PRIu64 " tensors; at most %d are read and %" PRIu64
                       " fit into its %" PRIu64 " bytes",
                       *n_tensors, LIMIT_TENSORS, gguf_left(c) / TENSOR_RECORD_BYTES,
                       c->file_bytes);
    }
    return OK;
}

static enum err parse(struct gguf *g, struct gguf_cursor *c, struct errbuf *e)
{
    uint64_t n_tensors = 0;
    uint64_t n_keys = 0;
    uint64_t alignment = 0;
    enum err error = parse_counts(c, &n_tensors, &n_keys, e);
    error = error == OK ? gguf_keys_parse(g, c, n_keys, e) : error;
    error = error == OK ? get_alignment(g, &alignment, e) : error;
    if (error != OK) {
        return error;
    }
    g->tensors = mem_calloc((size_t)n_tensors, sizeof *g->tensors);
    g->names = mem_calloc((size_t)n_tensors, sizeof *g->names);
    g->by_name = mem_calloc((size_t)n_tensors, sizeof *g->by_name);
    if (!g->tensors || !g->names || !g->by_name) {
        return err_set(e, ERR_NOMEM, "no memory for %" PRIu64 " tensors", n_tensors);
    }
    for (uint64_t i = 0; i < n_tensors && error == OK; i++) {
        error = parse_tensor(g, (size_t)i, c, e);
        g->n_tensors++;
    }
    return error == OK ? place_all(g, c->at, alignment, c->file_bytes, e) : error;
}

static void forget(struct gguf *g)
{
    mem_free(g->keys);
    mem_free(g->tensors);
    mem_free(g->names);
    mem_free(g->by_name);
    mem_free(g->front);
    *g = (struct gguf){.fd = g->fd, .path = g->path};
}

/* Parses a growing front of the file until the metadata fit into it. */
static enum err parse_file(struct gguf *g, uint64_t file_bytes, struct errbuf *e)
{
    uint64_t want = FRONT_BYTES;
    for (;;) {
        uint64_t have = want < file_bytes ? want : file_bytes;
        g->front = mem_calloc((size_t)have, 1);
        if (!g->front) {
            return err_set(e, ERR_NOMEM, "%s: no memory for %" PRIu64 " bytes", g->path, have);
        }
        enum err error = file_read_at(g->fd, g->path, 0, g->front, (size_t)have, e);
        if (error != OK) {
            return error;
        }
        struct gguf_cursor c = {.data = g->front, .have = have, .file_bytes = file_bytes};
        error = parse(g, &c, e);
        if (error == OK || !c.need_more) {
            return error == OK ? OK : err_prefix(e, error, "%s", g->path);
        }
        if (want >= FRONT_BYTES_MAX) {
            return err_set(e, ERR_RANGE, "%s: more than %d MiB of metadata", g->path,
                           FRONT_BYTES_MAX >> 20);
        }
        forget(g);
        want *= 4;
    }
}

static struct gguf *new_reader(const char *path)
{
    struct gguf *g = mem_calloc(1, sizeof *g);
    char *copy = mem_strdup(path);
    if (!g || !copy) {
        mem_free(g);
        mem_free(copy);
        return NULL;
    }
    g->fd = -1;
    g->path = copy;
    return g;
}

enum err gguf_open(const char *path, struct gguf **out, struct errbuf *e)
{
    struct gguf *g = new_reader(path);
    size_t bytes = 0;
    *out = NULL;
    if (!g) {
        return err_set(e, ERR_NOMEM, "%s: no memory to open it", path);
    }
    enum err error = file_open(path, &g->fd, &bytes, e);
    error = error == OK ? parse_file(g, bytes, e) : error;
    if (error != OK) {
        gguf_close(&g);
        return error;
    }
    *out = g;
    return OK;
}

enum err gguf_open_memory(const void *data, size_t bytes, struct gguf **out, struct errbuf *e)
{
    struct gguf *g = new_reader("memory");
    *out = NULL;
    if (!g) {
        return err_set(e, ERR_NOMEM, "no memory to read a header");
    }
    struct gguf_cursor c = {.data = data, .have = bytes, .file_bytes = bytes};
    enum err error = parse(g, &c, e);
    if (error != OK) {
        gguf_close(&g);
        return error;
    }
    *out = g;
    return OK;
}

void gguf_close(struct gguf **gguf)
{
    struct gguf *g = *gguf;
    *gguf = NULL;
    if (g) {
        if (g->fd >= 0) {
            (void)close(g->fd);
        }
        forget(g);
        mem_free(g->path);
        mem_free(g);
    }
}

size_t gguf_tensor_count(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    CHECK(i < g->n_tensors);
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    size_t low = 0;
    size_t high = g->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct gguf_tensor *t = &g->tensors[g->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0) {
            return t;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

enum err gguf_tensor_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t first,
                          uint64_t count, float *out, struct errbuf *e)
{
    CHECK(g->fd >= 0);
    if (t->type == QUANT_TYPES) {
        const char *name = gguf_ggml_type_name(t->ggml_type);
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: tensor %s is %s; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are supported",
                       g->path, t->name, name ? name : "of an unknown type");
    }
    if (first > t->elements || count > t->elements - first) {
        return err_set(e, ERR_RANGE, "%s: tensor %s has %" PRIu64 " elements", g->path, t->name,
                       t->elements);
    }
    return tensor_read_f32(g->fd, g->path, t->offset, t->type, first, count, out, e);
}
