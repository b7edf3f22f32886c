/* gguf.h - reader of GGUF files, version 2 and 3, little-endian.
 *
 * Owns: a private copy of the metadata, the checked list of tensors, the open file. Never: the
 * meaning of keys and tensor names (gguf_model.c, the tokenizer), weights in memory.
 *
 * The format:
 *  1. "GGUF", u32 version, u64 number of tensors, u64 number of keys
 *  2. per key: string (u64 bytes, text), u32 type, value; an array is u32 type, u64 count, values
 *  3. per tensor: string, u32 dims (<= 4), u64 sizes (fastest first), u32 type, u64 offset
 *  4. zeros up to a multiple of general.alignment (32 unless set), then tensor data; offsets count
 *     from here
 *
 * Every count is compared with the bytes left before anything is allocated, sums and products are
 * checked, keys and tensor names are unique, tensors lie inside the file and do not overlap.
 * Read-only after gguf_open: safe from any thread. */
#ifndef PFT_GGUF_H
#define PFT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/format/quant.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES,
};

enum { GGUF_DIMS = 4 };

struct gguf_tensor {
    const char *name; /* NUL-terminated */
    uint32_t n_dims;
    uint64_t dims[GGUF_DIMS]; /* fastest first; 1 beyond n_dims */
    uint64_t elements;
    uint32_t ggml_type;   /* as in the file */
    enum quant_type type; /* QUANT_TYPES when this reader has no such type */
    uint64_t offset;      /* from the start of the file */
    uint64_t bytes;       /* 0 when the type is not supported */
};

struct gguf;

/* Opens and checks a file. A tensor of an unsupported type is listed (type QUANT_TYPES), since it
 * matters only to who wants to read it. Blocks on the disk; the caller closes it. */
MUST_USE enum err gguf_open(const char *path, struct gguf **out, struct errbuf *e);
void gguf_close(struct gguf **g); /* NULL inside is fine */

/* As gguf_open, over bytes in memory that stay the caller's until gguf_close: for tests. Tensors
 * can be listed, not read. */
MUST_USE enum err gguf_open_memory(const void *data, size_t bytes, struct gguf **out,
                                   struct errbuf *e);

/* Metadata by key. ERR_NOT_FOUND when there is no such key, ERR_PARSE when it has another type or
 * does not fit; both name the key. Texts point into the metadata, are not NUL-terminated and live
 * until gguf_close. */
bool gguf_has(const struct gguf *g, const char *key);
MUST_USE enum err gguf_get_string(const struct gguf *g, const char *key, const char **text,
                                  size_t *bytes, struct errbuf *e);
/* Any integer type with a value >= 0. */
MUST_USE enum err gguf_get_uint(const struct gguf *g, const char *key, uint64_t *value,
                                struct errbuf *e);
MUST_USE enum err gguf_get_float(const struct gguf *g, const char *key, double *value,
                                 struct errbuf *e); /* f32 or f64 */
MUST_USE enum err gguf_get_bool(const struct gguf *g, const char *key, bool *value,
                                struct errbuf *e);

/* An array of metadata, walked from front to back by value: copy the struct to walk it again. */
struct gguf_array {
    enum gguf_type type; /* of the elements */
    uint64_t count;      /* elements left */
    const uint8_t *at;
};
/* type GGUF_STRING, GGUF_F32, GGUF_BOOL or, for integers of any width, GGUF_I32. */
MUST_USE enum err gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type,
                                 struct gguf_array *array, struct errbuf *e);
/* The next element; false at the end. Strings were checked at open. The integer is clamped to
 * int64. */
bool gguf_array_next_string(struct gguf_array *array, const char **text, size_t *bytes);
bool gguf_array_next_int(struct gguf_array *array, int64_t *value);
bool gguf_array_next_float(struct gguf_array *array, float *value);

/* Tensors, in file order and by name. */
size_t gguf_tensor_count(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name);

/* Name of a ggml type number ("Q4_K"); "type 99" is left to the caller: NULL when unknown. */
const char *gguf_ggml_type_name(uint32_t ggml_type);

/* Elements [first, first + count) as fp32; first and count are multiples of the type's block. */
MUST_USE enum err gguf_tensor_read(const struct gguf *g, const struct gguf_tensor *t,
                                   uint64_t first, uint64_t count, float *out, struct errbuf *e);

#endif
