/* json_stream.h - reads the items of a JSON array, or of JSON Lines, one by one.
 * Owns: the position in a text that the caller keeps. Never: reads files, builds the whole
 * document. Strict JSON (RFC 8259): no duplicate keys, no lone surrogates, no bad UTF-8, no NUL,
 * nesting up to LIMIT_JSON_DEPTH (found by a scan without recursion). A UTF-8 byte order mark and
 * CRLF are fine. Every message begins with "name:line:column: "; both count from 1, columns in
 * bytes. */
#ifndef PFT_JSON_STREAM_H
#define PFT_JSON_STREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct json_place {
    uint32_t line, column;
};

struct json_stream {
    const char *name; /* borrowed; stands in messages */
    const char *text; /* borrowed */
    size_t bytes;
    bool array;   /* the file is one array; else an item a line */
    size_t at;    /* next byte to read */
    size_t items; /* read so far */
    size_t begin; /* of the item read last */
    size_t end;
    size_t counted; /* line and column are known up to here */
    uint32_t line;
    size_t line_begin;
};

/* A step into a value: a member when key is set, else the element index. */
struct json_step {
    const char *key;
    size_t index;
};

/* Begins at the start of a text, which must outlive the stream. An empty text, or one that begins
 * neither with '[' nor with '{', is refused. */
MUST_USE enum err json_stream_open(struct json_stream *s, const char *name, const char *text,
                                   size_t bytes, struct errbuf *e);

/* The next item, an object (anything else is refused); NULL at the end, after which nothing but
 * space stood. The caller releases it (json_decref). place may be NULL. */
MUST_USE enum err json_stream_next(struct json_stream *s, json_t **item, struct json_place *place,
                                   struct errbuf *e);

/* Where a value of the item read last begins: path of n steps from the item. When the last step
 * does not exist it is the place of the value that should have held it. */
struct json_place json_stream_locate(const struct json_stream *s, const struct json_step *path,
                                     size_t n);

/* err_set with "name:line:column: " of that place in front. */
enum err json_stream_fail(const struct json_stream *s, const struct json_step *path, size_t n,
                          struct errbuf *e, enum err code, const char *fmt, ...) PRINTF_LIKE(6, 7);

#endif
