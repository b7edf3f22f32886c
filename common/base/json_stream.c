/* json_stream.c - items of a JSON array or of JSON Lines, with their places. */
#include "common/base/json_stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json_memory.h"
#include "common/base/limits.h"
#include "common/base/quote.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct json_stream *s)
{
    while (s->at < s->bytes && is_space(s->text[s->at])) {
        s->at++;
    }
}

/* Place of a byte at or after the last one asked for through this (struct is advanced). */
static struct json_place advance_to(struct json_stream *s, size_t offset)
{
    for (; s->counted < offset && s->counted < s->bytes; s->counted++) {
        if (s->text[s->counted] == '\n') {
            s->line++;
            s->line_begin = s->counted + 1;
        }
    }
    return (struct json_place){s->line, (uint32_t)(offset - s->line_begin) + 1};
}

/* Place of any byte from the last item's begin on. */
static struct json_place place_of(const struct json_stream *s, size_t offset)
{
    struct json_stream copy = *s;
    return advance_to(&copy, offset);
}

static enum err fail_at(const struct json_stream *s, size_t offset, struct errbuf *e, enum err code,
                        const char *fmt, ...) PRINTF_LIKE(5, 6);

static enum err fail_at(const struct json_stream *s, size_t offset, struct errbuf *e, enum err code,
                        const char *fmt, ...)
{
    char text[ERRBUF_BYTES];
    struct json_place place = place_of(s, offset);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(e, code, "%s:%u:%u: %s", s->name, place.line, place.column, text);
}

/* "the end of the file" or the character at an offset, for messages. */
static const char *found_at(const struct json_stream *s, size_t offset, char out[40])
{
    if (offset >= s->bytes) {
        (void)snprintf(out, 40, "the end of the file");
        return out;
    }
    unsigned char c = (unsigned char)s->text[offset];
    (void)snprintf(out, 40, c >= 0x20 && c < 0x7F ? "'%c'" : "byte 0x%02X", c);
    return out;
}

enum err json_stream_open(struct json_stream *s, const char *name, const char *text, size_t bytes,
                          struct errbuf *e)
{
    *s = (struct json_stream){.name = name, .text = text, .bytes = bytes, .line = 1};
    if (bytes >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0)) {
        return fail_at(s, 0, e, ERR_PARSE, "is UTF-16; save it as UTF-8");
    }
    if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        s->at = s->counted = s->line_begin = 3;
    }
    skip_space(s);
    if (s->at == bytes) {
        return fail_at(s, s->at, e, ERR_PARSE,
                       "the file is empty; expected a JSON array of items, or an item a line");
    }
    char found[40];
    if (text[s->at] != '[' && text[s->at] != '{') {
        return fail_at(s, s->at, e, ERR_PARSE,
                       "expected '[' (a JSON array of items) or '{' (an item a line), found %s",
                       found_at(s, s->at, found));
    }
    s->array = text[s->at] == '[';
    s->at += s->array;
    return OK;
}

/* Finds the end of the value that begins at s->begin by counting brackets outside strings. */
static enum err find_end(struct json_stream *s, struct errbuf *e)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = s->begin; i < s->bytes; i++) {
        char c = s->text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > LIMIT_JSON_DEPTH) {
                return fail_at(s, i, e, ERR_RANGE, "is nested more than %d deep", LIMIT_JSON_DEPTH);
            }
        } else if ((c == '}' || c == ']') && --depth == 0) {
            s->end = i + 1;
            return OK;
        }
    }
    s->end = s->bytes;
    return OK; /* truncated: the parser says what is missing */
}

static enum err parser_error(const struct json_stream *s, const json_error_t *error,
                             struct errbuf *e)
{
    size_t at = s->begin + (error->position > 0 ? (size_t)error->position : 0);
    at = at > s->end ? s->end : at;
    enum json_error_code code = json_error_code(error);
    char quoted[QUOTE_BYTES];
    struct json_place begin = place_of(s, s->begin);
    if (code == json_error_out_of_memory) {
        return fail_at(s, at, e, ERR_NOMEM, "no memory for this item");
    }
    if (s->end == s->bytes && at >= s->bytes) {
        return fail_at(s, s->bytes, e, ERR_PARSE,
                       "the file ends inside item %zu, which begins at %u:%u", s->items + 1,
                       begin.line, begin.column);
    }
    if (code == json_error_null_character || code == json_error_null_byte_in_key) {
        return fail_at(s, at, e, ERR_PARSE, "a text holds the NUL character");
    }
    if (code == json_error_numeric_overflow) {
        return fail_at(s, at, e, ERR_RANGE, "a number is too large");
    }
    (void)quote(error->text, strlen(error->text), quoted);
    return fail_at(s, at, e, ERR_PARSE, "is no JSON: %.*s%s", (int)strlen(quoted) - 2, quoted + 1,
                   code == json_error_invalid_utf8 ? "; the file must be UTF-8 throughout" : "");
}

/* Before an item: the comma, bracket or line end that must stand there. *end = no item follows. */
static enum err separator(struct json_stream *s, bool *end, struct errbuf *e)
{
    char found[40];
    size_t from = s->at;
    skip_space(s);
    *end = false;
    if (!s->array) {
        *end = s->at == s->bytes;
        if (!*end && s->items > 0 && !memchr(s->text + from, '\n', s->at - from)) {
            return fail_at(s, s->at, e, ERR_PARSE, "expected a line end behind item %zu, found %s",
                           s->items, found_at(s, s->at, found));
        }
        return OK;
    }
    bool close = s->at < s->bytes && s->text[s->at] == ']';
    bool comma = s->at < s->bytes && s->text[s->at] == ',';
    if (close) {
        s->at++;
        skip_space(s);
        *end = true;
        return s->at == s->bytes
                   ? OK
                   : fail_at(s, s->at, e, ERR_PARSE, "expected nothing behind the array, found %s",
                             found_at(s, s->at, found));
    }
    if (s->items > 0 && !comma) {
        return fail_at(s, s->at, e, ERR_PARSE, "expected ',' or ']' behind item %zu, found %s",
                       s->items, found_at(s, s->at, found));
    }
    s->at += s->items > 0;
    skip_space(s);
    return OK;
}

enum err json_stream_next(struct json_stream *s, json_t **item, struct json_place *place,
                          struct errbuf *e)
{
    bool end = false;
    char found[40];
    *item = NULL;
    enum err error = separator(s, &end, e);
    if (error != OK || end) {
        return error;
    }
    if (s->at == s->bytes || s->text[s->at] != '{') {
        return fail_at(s, s->at, e, ERR_PARSE, "expected item %zu, an object '{...}', found %s",
                       s->items + 1, found_at(s, s->at, found));
    }
    s->begin = s->at;
    struct json_place at = advance_to(s, s->begin);
    error = find_end(s, e);
    if (error != OK) {
        return error;
    }
    json_error_t detail;
    error = json_memory_load(s->text + s->begin, s->end - s->begin,
                             JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, item, &detail);
    if (error == ERR_NOMEM) {
        return fail_at(s, s->begin, e, ERR_NOMEM, "no memory for item %zu", s->items + 1);
    }
    if (error != OK) {
        return parser_error(s, &detail, e);
    }
    s->end = s->begin + (size_t)detail.position;
    s->at = s->end;
    s->items++;
    if (place) {
        *place = at;
    }
    return OK;
}

/* Behind a string that begins at i (JSON that parsed). */
static size_t behind_string(const struct json_stream *s, size_t i)
{
    for (i++; i < s->end && s->text[i] != '"'; i++) {
        i += s->text[i] == '\\';
    }
    return i + 1;
}

static size_t behind_space(const struct json_stream *s, size_t i)
{
    while (i < s->end && is_space(s->text[i])) {
        i++;
    }
    return i;
}

/* Behind a whole value that begins at i. */
static size_t behind_value(const struct json_stream *s, size_t i)
{
    size_t depth = 0;
    do {
        char c = i < s->end ? s->text[i] : '\0';
        if (c == '"') {
            i = behind_string(s, i);
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= (c == '}' || c == ']') && depth > 0;
        i++;
        while (depth == 0 && c != '}' && c != ']' && i < s->end && !is_space(s->text[i]) &&
               !strchr(",]}", s->text[i])) {
            i++; /* the rest of a number or of true, false, null */
        }
    } while (depth > 0 && i < s->end);
    return i;
}

/* Does the string at i spell key? Escapes are resolved by the parser that read it before. */
static bool is_key(const struct json_stream *s, size_t i, const char *key)
{
    size_t end = behind_string(s, i);
    json_t *text = json_loadb(s->text + i, end - i, JSON_DECODE_ANY, NULL);
    bool same = text && strcmp(json_string_value(text), key) == 0;
    json_decref(text);
    return same;
}

/* One step into the object or array at i; false when it has no such member. */
static bool step_into(const struct json_stream *s, size_t *i, const struct json_step *step)
{
    size_t at = *i;
    if (at >= s->end || s->text[at] != (step->key ? '{' : '[')) {
        return false;
    }
    at = behind_space(s, at + 1);
    for (size_t n = 0; at < s->end && s->text[at] != '}' && s->text[at] != ']'; n++) {
        bool wanted = step->key ? is_key(s, at, step->key) : n == step->index;
        if (step->key) {
            at = behind_space(s, behind_string(s, at));
            at = behind_space(s, at + 1); /* the colon */
        }
        if (wanted) {
            *i = at;
            return true;
        }
        at = behind_space(s, behind_value(s, at));
        at = at < s->end && s->text[at] == ',' ? behind_space(s, at + 1) : at;
    }
    return false;
}

struct json_place json_stream_locate(const struct json_stream *s, const struct json_step *path,
                                     size_t n)
{
    size_t at = s->begin;
    for (size_t i = 0; i < n && step_into(s, &at, &path[i]); i++) {
    }
    return place_of(s, at);
}

enum err json_stream_fail(const struct json_stream *s, const struct json_step *path, size_t n,
                          struct errbuf *e, enum err code, const char *fmt, ...)
{
    char text[ERRBUF_BYTES];
    struct json_place place = json_stream_locate(s, path, n);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(e, code, "%s:%u:%u: %s", s->name, place.line, place.column, text);
}
