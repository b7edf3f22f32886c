/* safetensors.h - reader and writer of safetensors files.
 *
 * Owns: a private copy of the header, the checked list of tensors, the open file. Never: what the
 * tensors mean, weights in memory.
 *
 * The format:
 *  1. u64 N, length of the header: at most 100,000,000 and inside the file
 *  2. N bytes of JSON beginning with "{", perhaps ending in spaces: name -> {dtype, shape,
 *     data_offsets [begin, end)}, and __metadata__, an object of strings
 *  3. data; offsets count from here. In order of offset the tensors cover it exactly: no hole, no
 *     overlap, nothing behind. A tensor of size zero is legal.
 * Read-only after opening: safe from any thread. */
#ifndef PFT_SAFETENSORS_H
#define PFT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"

enum safetensors_dtype {
    SAFETENSORS_F64,
    SAFETENSORS_I64,
    SAFETENSORS_U64,
    SAFETENSORS_F32,
    SAFETENSORS_I32,
    SAFETENSORS_U32,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_I16,
    SAFETENSORS_U16,
    SAFETENSORS_F8_E4M3,
    SAFETENSORS_F8_E5M2,
    SAFETENSORS_I8,
    SAFETENSORS_U8,
    SAFETENSORS_BOOL,
    SAFETENSORS_DTYPES,
};

struct safetensors_tensor {
    const char *name; /* valid until safetensors_close */
    enum safetensors_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[LIMIT_TENSOR_DIMS]; /* slowest first, as in Hugging Face; 1 beyond n_dims */
    uint64_t elements;
    uint64_t offset; /* from the start of the file */
    uint64_t bytes;
};

struct safetensors;

/* Opens and checks a file; the message names file, tensor, value and bound. Blocks on the disk; the
 * caller closes it. */
MUST_USE enum err safetensors_open(const char *path, struct safetensors **out, struct errbuf *e);
void safetensors_close(struct safetensors **st); /* NULL inside is fine */

/* As safetensors_open over bytes in memory, which may be freed at once: for tests. Tensors can be
 * listed, not read. */
MUST_USE enum err safetensors_open_memory(const void *data, size_t bytes, struct safetensors **out,
                                          struct errbuf *e);

/* Tensors sorted by name; find gives NULL when there is none. */
size_t safetensors_count(const struct safetensors *st);
const struct safetensors_tensor *safetensors_at(const struct safetensors *st, size_t i);
const struct safetensors_tensor *safetensors_find(const struct safetensors *st, const char *name);

/* A text of __metadata__, or NULL. Valid until safetensors_close. */
const char *safetensors_metadata(const struct safetensors *st, const char *key);

/* "F32" ...; bytes of one element. */
const char *safetensors_dtype_name(enum safetensors_dtype dtype);
size_t safetensors_dtype_bytes(enum safetensors_dtype dtype);

/* Elements [first, first + count) of an F32, F16 or BF16 tensor as fp32; another dtype is
 * ERR_UNSUPPORTED. */
MUST_USE enum err safetensors_read_f32(const struct safetensors *st,
                                       const struct safetensors_tensor *t, uint64_t first,
                                       uint64_t count, float *out, struct errbuf *e);

/* The tensor's bytes as they are, little-endian: t->bytes into out. */
MUST_USE enum err safetensors_read_raw(const struct safetensors *st,
                                       const struct safetensors_tensor *t, void *out,
                                       struct errbuf *e);

/* One tensor to write; data holds the elements, little-endian. */
struct safetensors_item {
    const char *name;
    enum safetensors_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[LIMIT_TENSOR_DIMS];
    const void *data;
};
struct safetensors_text {
    const char *key, *text;
};

/* Writes a file whole or not at all (file_write_atomic): tensors by width of their dtype
 * descending, then name, header padded with spaces to 8 bytes, metadata (may be none) first. The
 * bytes depend on nothing but the arguments. Names must differ. */
MUST_USE enum err safetensors_write(const char *path, const struct safetensors_item *items,
                                    size_t n_items, const struct safetensors_text *metadata,
                                    size_t n_metadata, struct errbuf *e);

#endif
