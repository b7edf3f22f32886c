/* units_frame.c - byte form of a list of units. */
#include "common/wire/units_frame.h"

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

enum { UNIT_HEAD_BYTES = 16, TREE_BYTES_MIN = 40 };

size_t units_frame_bytes(const struct unit *const *units, uint32_t n)
{
    size_t bytes = 4;
    for (uint32_t i = 0; i < n; i++) {
        bytes += UNIT_HEAD_BYTES;
        for (uint32_t t = 0; t < units[i]->n_trees; t++) {
            bytes += tree_bytes(&units[i]->trees[t]);
        }
    }
    return bytes;
}

void units_frame_write(const struct unit *const *units, uint32_t n, uint8_t *out)
{
    bytes_put_u32(out, n);
    out += 4;
    for (uint32_t i = 0; i < n; i++) {
        bytes_put_u64(out, units[i]->id);
        bytes_put_u32(out + 8, units[i]->n_trees);
        bytes_put_u32(out + 12, units[i]->anchor);
        out += UNIT_HEAD_BYTES;
        for (uint32_t t = 0; t < units[i]->n_trees; t++) {
            tree_write(&units[i]->trees[t], out);
            out += tree_bytes(&units[i]->trees[t]);
        }
    }
}

void units_frame_free(struct unit *units, uint32_t n)
{
    for (uint32_t i = 0; units && i < n; i++) {
        for (uint32_t t = 0; units[i].trees && t < units[i].n_trees; t++) {
            tree_free(&units[i].trees[t]);
        }
        mem_free(units[i].trees);
    }
    mem_free(units);
}

static enum err read_unit(struct unit *unit, const uint8_t *data, size_t bytes, uint32_t vocab,
                          size_t *used, struct errbuf *e)
{
    if (bytes < UNIT_HEAD_BYTES) {
        return err_set(e, ERR_PARSE, "%zu bytes left, its head needs %d", bytes, UNIT_HEAD_BYTES);
    }
    unit->id = bytes_get_u64(data);
    uint32_t n_trees = bytes_get_u32(data + 8);
    uint32_t anchor = bytes_get_u32(data + 12);
    if (anchor > 1) {
        return err_set(e, ERR_RANGE, "anchor is %u; 0 and 1 are possible", anchor);
    }
    unit->anchor = anchor == 1;
    size_t at = UNIT_HEAD_BYTES;
    if (n_trees == 0 || n_trees > LIMIT_UNIT_TREES || n_trees > (bytes - at) / TREE_BYTES_MIN) {
        return err_set(e, ERR_RANGE, "%u trees in %zu bytes; 1 to %d are possible", n_trees,
                       bytes - at, LIMIT_UNIT_TREES);
    }
    unit->trees = mem_calloc(n_trees, sizeof *unit->trees);
    if (!unit->trees) {
        return err_set(e, ERR_NOMEM, "no memory for %u trees", n_trees);
    }
    unit->n_trees = n_trees;
    uint64_t rows = 0;
    for (uint32_t t = 0; t < n_trees; t++) {
        size_t tree_used = 0;
        enum err error = tree_read(&unit->trees[t], data + at, bytes - at, vocab, &tree_used, e);
        if (error != OK) {
            return err_prefix(e, error, "tree %u", t);
        }
        if (anchor && unit->trees[t].n_terms > 0) {
            return err_set(e, ERR_RANGE, "tree %u of an anchor has terms", t);
        }
        at += tree_used;
        rows += unit->trees[t].n_rows;
    }
    if (rows > LIMIT_TREE_TOKENS) {
        return err_set(e, ERR_RANGE, "%llu rows, at most %d", (unsigned long long)rows,
                       LIMIT_TREE_TOKENS);
    }
    unit->n_rows = (uint32_t)rows;
    *used = at;
    return OK;
}

enum err units_frame_read(const uint8_t *data, size_t bytes, uint32_t vocab, struct unit **units,
                          uint32_t *n, struct errbuf *e)
{
    *units = NULL;
    *n = 0;
    uint32_t count = bytes >= 4 ? bytes_get_u32(data) : 0;
    if (bytes > LIMIT_JOB_BYTES || count == 0 || count > LIMIT_JOB_UNITS) {
        return err_set(e, ERR_RANGE, "frame of %zu bytes with %u units; at most %d, 1 to %d", bytes,
                       count, LIMIT_JOB_BYTES, LIMIT_JOB_UNITS);
    }
    struct unit *list = mem_calloc(count, sizeof *list);
    if (!list) {
        return err_set(e, ERR_NOMEM, "no memory for %u units", count);
    }
    size_t at = 4;
    enum err error = OK;
    for (uint32_t i = 0; i < count && error == OK; i++) {
        size_t used = 0;
        error = read_unit(&list[i], data + at, bytes - at, vocab, &used, e);
        if (error != OK) {
            error = err_prefix(e, error, "unit %u", i);
        }
        at += used;
    }
    if (error == OK && at != bytes) {
        error = err_set(e, ERR_PARSE, "%zu bytes after the last unit", bytes - at);
    }
    if (error != OK) {
        units_frame_free(list, count);
        return error;
    }
    *units = list;
    *n = count;
    return OK;
}
