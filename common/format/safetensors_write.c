/* safetensors_write.c - writing a safetensors file: same arguments, same bytes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/safetensors.h"

/* An item with its size and place. */
struct part {
    const struct safetensors_item *item;
    uint64_t bytes;
};

static int by_name(const void *left, const void *right)
{
    const struct part *a = left;
    const struct part *b = right;
    return strcmp(a->item->name, b->item->name);
}

static int by_width_then_name(const void *left, const void *right)
{
    const struct part *a = left;
    const struct part *b = right;
    size_t wide_a = safetensors_dtype_bytes(a->item->dtype);
    size_t wide_b = safetensors_dtype_bytes(b->item->dtype);
    if (wide_a != wide_b) {
        return wide_a > wide_b ? -1 : 1;
    }
    return strcmp(a->item->name, b->item->name);
}

static enum err measure(struct part *part, struct errbuf *e)
{
    const struct safetensors_item *item = part->item;
    uint64_t bytes = safetensors_dtype_bytes(item->dtype);
    if (item->n_dims > LIMIT_TENSOR_DIMS) {
        return err_set(e, ERR_RANGE, "tensor %s has %u dimensions, at most %d are possible",
                       item->name, item->n_dims, LIMIT_TENSOR_DIMS);
    }
    for (uint32_t i = 0; i < item->n_dims; i++) {
        if (__builtin_mul_overflow(bytes, item->dims[i], &bytes)) {
            return err_set(e, ERR_RANGE, "tensor %s has 2^64 bytes or more", item->name);
        }
    }
    part->bytes = bytes;
    return OK;
}

static void add_metadata(struct str *s, const struct safetensors_text *metadata, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        str_add(s, i == 0 ? "\"__metadata__\":{" : ",");
        str_add_json(s, metadata[i].key, strlen(metadata[i].key));
        str_add(s, ":");
        str_add_json(s, metadata[i].text, strlen(metadata[i].text));
    }
    if (n > 0) {
        str_add(s, "}");
    }
}

static void add_entry(struct str *s, const struct part *part, uint64_t begin)
{
    const struct safetensors_item *item = part->item;
    str_add_json(s, item->name, strlen(item->name));
    str_addf(s, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype_name(item->dtype));
    for (uint32_t i = 0; i < item->n_dims; i++) {
        str_addf(s, "%s%" PRIu64, i > 0 ? "," : "", item->dims[i]);
    }
    str_addf(s, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + part->bytes);
}

static enum err put_in_order(struct part *parts, size_t n, struct errbuf *e)
{
    if (n == 0) {
        return OK;
    }
    qsort(parts, n, sizeof *parts, by_name);
    for (size_t i = 1; i < n; i++) {
        if (by_name(&parts[i - 1], &parts[i]) == 0) {
            return err_set(e, ERR_REFUSED, "tensor %s is there twice", parts[i].item->name);
        }
    }
    qsort(parts, n, sizeof *parts, by_width_then_name);
    return OK;
}

/* The header with its length in front; total = bytes of data behind it. */
static enum err make_header(struct str *s, const struct part *parts, size_t n,
                            const struct safetensors_text *metadata, size_t n_metadata,
                            uint64_t *total, struct errbuf *e)
{
    static const char spaces[8] = "        ";
    str_append(s, spaces, 8);
    str_add(s, "{");
    add_metadata(s, metadata, n_metadata);
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 || n_metadata > 0) {
            str_add(s, ",");
        }
        add_entry(s, &parts[i], *total);
        if (__builtin_add_overflow(*total, parts[i].bytes, total)) {
            return err_set(e, ERR_RANGE, "the tensors have 2^64 bytes or more");
        }
    }
    str_add(s, "}");
    str_append(s, spaces, (8 - s->len % 8) % 8);
    if (str_ok(s) != OK) {
        return err_set(e, str_ok(s), "no memory for the header");
    }
    bytes_put_u64(s->data, s->len - 8);
    return OK;
}

static enum err write_parts(const char *path, const struct part *parts, size_t n,
                            const struct str *header, uint64_t total, struct errbuf *e)
{
    size_t bytes = 0;
    char *whole = NULL;
    if (!__builtin_add_overflow(header->len, total, &bytes)) {
        whole = mem_calloc(bytes, 1);
    }
    if (!whole) {
        return err_set(e, ERR_NOMEM, "%s: no memory for %" PRIu64 " bytes", path, total);
    }
    memcpy(whole, header->data, header->len);
    size_t at = header->len;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].bytes > 0) {
            memcpy(whole + at, parts[i].item->data, parts[i].bytes);
        }
        at += parts[i].bytes;
    }
    enum err error = file_write_atomic(path, whole, bytes, e);
    mem_free(whole);
    return error;
}

enum err safetensors_write(const char *path, const struct safetensors_item *items, size_t n_items,
                           const struct safetensors_text *metadata, size_t n_metadata,
                           struct errbuf *e)
{
    struct str header = {0};
    uint64_t total = 0;
    struct part *parts = mem_calloc(n_items, sizeof *parts);
    if (!parts) {
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu tensors", path, n_items);
    }
    enum err error = OK;
    for (size_t i = 0; i < n_items && error == OK; i++) {
        parts[i].item = &items[i];
        error = measure(&parts[i], e);
    }
    error = error == OK ? put_in_order(parts, n_items, e) : error;
    if (error == OK) {
        error = make_header(&header, parts, n_items, metadata, n_metadata, &total, e);
    }
    if (error != OK) {
        error = err_prefix(e, error, "%s", path);
    } else {
        error = write_parts(path, parts, n_items, &header, total, e);
    }
    str_free(&header);
    mem_free(parts);
    return error;
}
