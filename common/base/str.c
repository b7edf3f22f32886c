/* str.c - a growable byte string. */
#include "common/base/str.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

static bool reserve(struct str *s, size_t extra)
{
    size_t limit = s->limit ? s->limit : (size_t)STR_LIMIT_DEFAULT;
    if (s->error != OK) {
        return false;
    }
    if (extra > limit || s->len > limit - extra) {
        s->error = ERR_FULL;
        return false;
    }
    void *data = s->data;
    s->error = mem_grow(&data, &s->capacity, s->len + extra + 1, 1, limit + 1);
    s->data = data;
    return s->error == OK;
}

void str_append(struct str *s, const char *data, size_t n)
{
    if (!reserve(s, n)) {
        return;
    }
    if (n > 0) {
        memcpy(s->data + s->len, data, n);
    }
    s->len += n;
    s->data[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
    str_append(s, text, strlen(text));
}

void str_addf(struct str *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (need < 0) {
        s->error = ERR_PARSE;
    } else if (reserve(s, (size_t)need)) {
        (void)vsnprintf(s->data + s->len, (size_t)need + 1, fmt, again);
        s->len += (size_t)need;
    }
    va_end(again);
}

/* Length of the valid UTF-8 sequence at p (1..4), or 0. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) {
        return 1;
    }
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || left < n) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F)) {
        return 0;
    }
    return n;
}

void str_add_json(struct str *s, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    str_append(s, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t step = utf8_length(p + i, n - i);
        if (step == 0) {
            str_add(s, "\\ufffd");
            i++;
            continue;
        }
        if (p[i] == '"' || p[i] == '\\') {
            str_addf(s, "\\%c", p[i]);
        } else if (p[i] == '\n') {
            str_add(s, "\\n");
        } else if (p[i] < 0x20 || p[i] == 0x7F) {
            str_addf(s, "\\u%04x", p[i]);
        } else {
            str_append(s, text + i, step);
        }
        i += step;
    }
    str_append(s, "\"", 1);
}

void str_clear(struct str *s)
{
    s->len = 0;
    s->error = OK;
    if (s->data) {
        s->data[0] = '\0';
    }
}

enum err str_ok(const struct str *s)
{
    return s->error;
}

void str_free(struct str *s)
{
    mem_free(s->data);
    *s = (struct str){0};
}
