/* blob.c - reference-counted bytes. */
#include "common/net/blob.h"

#include <stdatomic.h>

#include "common/base/check.h"
#include "common/base/mem.h"

struct blob {
    uint8_t *data;
    size_t bytes;
    atomic_uint references;
    void (*release)(void *hint);
    void *hint;
};

struct blob *blob_wrap(void *data, size_t bytes, void (*release)(void *hint), void *hint)
{
    struct blob *blob = mem_calloc(1, sizeof *blob);
    if (blob) {
        blob->data = data;
        blob->bytes = bytes;
        blob->release = release;
        blob->hint = hint;
        atomic_init(&blob->references, 1);
    }
    return blob;
}

struct blob *blob_new(size_t bytes)
{
    void *data = mem_aligned(bytes, 1);
    struct blob *blob = data ? blob_wrap(data, bytes, mem_free, data) : NULL;
    if (!blob) {
        mem_free(data);
    }
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    unsigned before = atomic_fetch_add_explicit(&blob->references, 1, memory_order_relaxed);
    CHECK(before > 0 && before < UINT32_MAX);
    return blob;
}

void blob_free(struct blob **blob)
{
    struct blob *b = *blob;
    *blob = NULL;
    if (b && atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1) {
        b->release(b->hint);
        mem_free(b);
    }
}

const uint8_t *blob_data(const struct blob *blob)
{
    return blob->data;
}

uint8_t *blob_data_mut(struct blob *blob)
{
    CHECK(atomic_load_explicit(&blob->references, memory_order_relaxed) == 1);
    return blob->data;
}

size_t blob_bytes(const struct blob *blob)
{
    return blob->bytes;
}
