/* json_doc.c - JSON documents through jansson, depth checked first. */
#include "common/format/json_doc.h"

#include <stdbool.h>

#include "common/base/file.h"
#include "common/base/json_memory.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

/* Offset of the bracket that goes too deep, or n. Strings are skipped; nothing else is judged. */
static size_t too_deep_at(const char *text, size_t n)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > LIMIT_JSON_DEPTH) {
                return i;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return n;
}

enum err json_doc_parse(const char *text, size_t n, json_t **doc, struct errbuf *e)
{
    size_t deep = too_deep_at(text, n);
    if (deep < n) {
        return err_set(e, ERR_RANGE, "JSON nests deeper than %d at byte %zu", LIMIT_JSON_DEPTH,
                       deep);
    }
    json_error_t why;
    json_t *parsed = NULL;
    if (json_memory_load(text, n, JSON_REJECT_DUPLICATES, &parsed, &why) == ERR_NOMEM) {
        return err_set(e, ERR_NOMEM, "no memory for JSON of %zu bytes", n);
    }
    if (!parsed) {
        return err_set(e, ERR_PARSE, "line %d column %d: %s", why.line, why.column, why.text);
    }
    if (!json_is_object(parsed)) {
        enum err error =
            err_set(e, ERR_PARSE, "the top is %s, an object is needed", json_doc_kind(parsed));
        json_decref(parsed);
        return error;
    }
    *doc = parsed;
    return OK;
}

enum err json_doc_load(const char *path, size_t limit, json_t **doc, struct errbuf *e)
{
    char *text = NULL;
    size_t n = 0;
    enum err error = file_read(path, limit, &text, &n, e);
    if (error != OK) {
        return error;
    }
    error = json_doc_parse(text, n, doc, e);
    mem_free(text);
    return error == OK ? OK : err_prefix(e, error, "%s", path);
}

const char *json_doc_kind(const json_t *value)
{
    if (!value) {
        return "nothing";
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
    default:
        return "null";
    }
}

const char *json_doc_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}
