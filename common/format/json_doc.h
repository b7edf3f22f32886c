/* json_doc.h - a small JSON document (config.json, a safetensors header, an index) through jansson,
 * with what jansson does not guard: depth, before its recursive parser starts. Duplicate keys, bad
 * UTF-8, NUL and anything after the document are refused. */
#ifndef PFT_JSON_DOC_H
#define PFT_JSON_DOC_H

#include <jansson.h>
#include <stddef.h>

#include "common/base/err.h"

/* Parses n bytes whose top is an object; *doc is the caller's (json_decref). The message gives line
 * and column. */
MUST_USE enum err json_doc_parse(const char *text, size_t n, json_t **doc, struct errbuf *e);

/* Reads a file of at most limit bytes and parses it; the message begins with the path. */
MUST_USE enum err json_doc_load(const char *path, size_t limit, json_t **doc, struct errbuf *e);

/* What kind of value it is, for messages: "a string", "an array", "nothing" for NULL. */
const char *json_doc_kind(const json_t *value);

/* The text of a key; "" when there is none. Borrowed. */
const char *json_doc_text(const json_t *object, const char *key);

#endif
