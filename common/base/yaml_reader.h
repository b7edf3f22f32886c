/* yaml_reader.h - the events of one YAML document, by libyaml, with everything refused that a
 * settings file has no use for: aliases, anchors, tags, a second document, depth, NUL.
 * Owns: the parser. Never: builds a tree, recurses. Every message begins "name:line:column: ". */
#ifndef PFT_YAML_READER_H
#define PFT_YAML_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { YAML_READER_DEPTH = 16 };

enum yaml_item_kind {
    YAML_ITEM_SCALAR,
    YAML_ITEM_MAP, /* key and value items follow, then YAML_ITEM_MAP_END */
    YAML_ITEM_MAP_END,
    YAML_ITEM_LIST,
    YAML_ITEM_LIST_END,
    YAML_ITEM_END, /* of the document; an empty file has nothing but this */
};

struct yaml_item {
    enum yaml_item_kind kind;
    const char *text; /* scalars: NUL-terminated, valid until the next yaml_reader_next */
    size_t bytes;
    bool plain;            /* not quoted, no block scalar; null and ~ are "" */
    uint32_t line, column; /* from 1 */
};

struct yaml_reader;

/* Reads text, which must outlive the reader, of at most LIMIT_YAML_BYTES; name stands in messages.
 */
MUST_USE enum err yaml_reader_open(const char *name, const char *text, size_t bytes,
                                   struct yaml_reader **out, struct errbuf *e);
MUST_USE enum err yaml_reader_next(struct yaml_reader *r, struct yaml_item *item, struct errbuf *e);
void yaml_reader_close(struct yaml_reader **r); /* NULL inside is fine */

/* err_set with "name:line:column: " of the item in front. */
enum err yaml_reader_fail(const struct yaml_reader *r, const struct yaml_item *item,
                          struct errbuf *e, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* "a list", "a mapping", "the text 'x'", "the end of the file": for messages. Valid until the next
 * call from this thread. */
const char *yaml_item_describe(const struct yaml_item *item, char out[96]);

#endif
