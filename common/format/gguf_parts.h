/* gguf_parts.h - what gguf.c (tensors, files) and gguf_keys.c (metadata) share: the cursor, the one
 * way to look at bytes of a GGUF, and struct gguf. Nobody else includes it. */
#ifndef PFT_GGUF_PARTS_H
#define PFT_GGUF_PARTS_H

#include "common/base/bytes.h"
#include "common/format/gguf.h"

/* The front of a file: have bytes of file_bytes are in memory. When a parse runs past have but not
 * past file_bytes, need_more is set: read more and start again. */
struct gguf_cursor {
    const uint8_t *data;
    uint64_t have;
    uint64_t file_bytes;
    uint64_t at;
    bool need_more;
};

struct gguf_key {
    const char *name; /* points into the metadata, not NUL-terminated */
    uint64_t bytes;
    enum gguf_type type;
    enum gguf_type element; /* of an array */
    uint64_t count;         /* of an array; 1 otherwise */
    const uint8_t *value;
};

struct gguf {
    int fd; /* -1 for bytes in memory */
    char *path;
    uint8_t *front; /* private copy of the metadata; NULL for bytes in memory */
    size_t n_keys;
    struct gguf_key *keys; /* [n_keys] by name */
    size_t n_tensors;
    struct gguf_tensor *tensors; /* [n_tensors] in file order */
    char (*names)[64];           /* [n_tensors] */
    uint32_t *by_name;           /* [n_tensors] indices of tensors by name */
};

static inline uint64_t gguf_left(const struct gguf_cursor *c)
{
    return c->file_bytes - c->at;
}

/* The next n bytes, or NULL when the file (or what is in memory of it) ends before. */
static inline const uint8_t *gguf_take(struct gguf_cursor *c, uint64_t n)
{
    if (n > gguf_left(c)) {
        return NULL;
    }
    if (n > c->have - c->at) {
        c->need_more = true;
        return NULL;
    }
    const uint8_t *p = c->data + c->at;
    c->at += n;
    return p;
}

static inline bool gguf_take_u32(struct gguf_cursor *c, uint32_t *value)
{
    const uint8_t *p = gguf_take(c, 4);
    *value = p ? bytes_get_u32(p) : 0;
    return p != NULL;
}

static inline bool gguf_take_u64(struct gguf_cursor *c, uint64_t *value)
{
    const uint8_t *p = gguf_take(c, 8);
    *value = p ? bytes_get_u64(p) : 0;
    return p != NULL;
}

static inline bool gguf_take_string(struct gguf_cursor *c, const char **text, uint64_t *bytes)
{
    const uint8_t *p = gguf_take_u64(c, bytes) ? gguf_take(c, *bytes) : NULL;
    *text = (const char *)p;
    return p != NULL;
}

/* The file ends inside what is being read; names what and where. */
MUST_USE enum err gguf_cut_short(const struct gguf_cursor *c, const char *what, struct errbuf *e);

/* Parses n_keys keys at the cursor into g->keys: sorted, unique, every value inside the file. */
MUST_USE enum err gguf_keys_parse(struct gguf *g, struct gguf_cursor *c, uint64_t n_keys,
                                  struct errbuf *e);

#endif
