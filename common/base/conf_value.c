/* conf_value.c - one value of one key, from text. */
#include "common/base/conf_value.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/quote.h"

static void *slot(const struct conf_key *key, void *block)
{
    return (char *)block + key->offset;
}

static bool is_number(const struct conf_key *key)
{
    return key->type == CONF_U32 || key->type == CONF_U64 || key->type == CONF_F32 ||
           key->type == CONF_F64;
}

void conf_expected(const struct conf_key *key, struct str *out)
{
    if (is_number(key)) {
        bool whole = key->type == CONF_U32 || key->type == CONF_U64;
        str_addf(out, "%s, %s%.17g %s %.17g", whole ? "a whole number" : "a number",
                 key->open_min ? "above " : "", key->min, key->open_max ? "to below" : "to",
                 key->max);
    } else if (key->type == CONF_BOOL) {
        str_add(out, "true or false");
    } else if (key->type == CONF_CHOICE || key->type == CONF_SET) {
        str_add(out, key->type == CONF_SET ? "a list out of " : "one of ");
        for (size_t i = 0; key->choices[i]; i++) {
            str_addf(out, "%s%s", i > 0 ? ", " : "", key->choices[i]);
        }
        str_add(out, key->type == CONF_SET ? ", or all" : "");
    } else {
        str_addf(out, "%s of at most %.0f bytes", key->type == CONF_PATH ? "a path" : "a text",
                 key->max);
    }
}

/* "lora.r: '9999' is out of range: expected a whole number, 1 to 512; hint" */
static enum err refuse(const struct conf_key *key, enum err code, const char *text, size_t bytes,
                       const char *why, struct errbuf *e)
{
    char quoted[QUOTE_BYTES];
    struct str expected = {0};
    conf_expected(key, &expected);
    const char *near = NULL;
    if (code == ERR_NOT_FOUND && key->choices) {
        char word[64];
        size_t n = 0;
        while (key->choices[n]) {
            n++;
        }
        (void)snprintf(word, sizeof word, "%.*s", bytes < 63 ? (int)bytes : 63, text);
        near = conf_nearest(word, key->choices, n);
    }
    (void)err_set(e, code, "%s: %s %s: expected %s%s%s%s%s%s", key->name,
                  quote(text, bytes, quoted), why, expected.data ? expected.data : "another value",
                  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
                  key->hint ? "; " : "", key->hint ? key->hint : "");
    str_free(&expected);
    return code;
}

/* Digits only, so that signs, spaces, hexadecimal and "1e3" are no whole numbers. */
static bool whole_number(const char *text, size_t bytes, uint64_t *value)
{
    if (bytes == 0 || strspn(text, "0123456789") != bytes) {
        return false;
    }
    errno = 0;
    *value = strtoull(text, NULL, 10);
    if (errno == ERANGE) {
        *value = UINT64_MAX;
    }
    return true;
}

static bool decimal_number(const char *text, size_t bytes, double *value)
{
    char *end = NULL;
    if (bytes == 0 || strspn(text, "0123456789+-.eE") != bytes) {
        return false;
    }
    *value = strtod(text, &end);
    return end == text + bytes;
}

static enum err set_number(const struct conf_key *key, void *at, const char *text, size_t bytes,
                           struct errbuf *e)
{
    bool whole = key->type == CONF_U32 || key->type == CONF_U64;
    uint64_t count = 0;
    double value = 0;
    if (whole ? !whole_number(text, bytes, &count) : !decimal_number(text, bytes, &value)) {
        return refuse(key, ERR_PARSE, text, bytes, whole ? "is no whole number" : "is no number",
                      e);
    }
    value = whole ? (double)count : value;
    bool above = key->open_min ? value > key->min : value >= key->min;
    bool below = key->open_max ? value < key->max : value <= key->max;
    if (!above || !below) {
        return refuse(key, ERR_RANGE, text, bytes, "is out of range", e);
    }
    if (key->type == CONF_U32) {
        *(uint32_t *)at = (uint32_t)count;
    } else if (key->type == CONF_U64) {
        *(uint64_t *)at = count;
    } else if (key->type == CONF_F32) {
        *(float *)at = (float)value;
    } else {
        *(double *)at = value;
    }
    return OK;
}

static int find_choice(const struct conf_key *key, const char *text, size_t bytes)
{
    for (size_t i = 0; key->choices[i]; i++) {
        if (strlen(key->choices[i]) == bytes && memcmp(key->choices[i], text, bytes) == 0) {
            return (int)i;
        }
    }
    return -1;
}

enum err conf_value_choice(const struct conf_key *key, const char *text, size_t bytes,
                           uint32_t *mask, struct errbuf *e)
{
    if (bytes == 3 && memcmp(text, "all", 3) == 0) {
        for (size_t i = 0; key->choices[i]; i++) {
            *mask |= 1u << i;
        }
        return OK;
    }
    int i = find_choice(key, text, bytes);
    if (i < 0) {
        return refuse(key, ERR_NOT_FOUND, text, bytes, "is unknown", e);
    }
    *mask |= 1u << i;
    return OK;
}

enum err conf_value_mask(const struct conf_key *key, void *block, uint32_t mask, struct errbuf *e)
{
    if (mask == 0) {
        return refuse(key, ERR_RANGE, "[]", 2, "is empty", e);
    }
    *(uint32_t *)slot(key, block) = mask;
    return OK;
}

/* "q, k" or "[q, k]" or "all". */
static enum err set_mask(const struct conf_key *key, void *block, const char *text, size_t bytes,
                         struct errbuf *e)
{
    uint32_t mask = 0;
    if (bytes >= 2 && text[0] == '[' && text[bytes - 1] == ']') {
        text++;
        bytes -= 2;
    }
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        while (at < bytes && text[at] != ',') {
            at++;
        }
        size_t end = at++;
        while (begin < end && text[begin] == ' ') {
            begin++;
        }
        while (end > begin && text[end - 1] == ' ') {
            end--;
        }
        enum err error = conf_value_choice(key, text + begin, end - begin, &mask, e);
        if (error != OK) {
            return error;
        }
    }
    return conf_value_mask(key, block, mask, e);
}

static enum err store_text(const struct conf_key *key, void *at, const char *text, size_t bytes,
                           struct errbuf *e)
{
    char *copy = mem_strndup(text, bytes);
    if (!copy) {
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu bytes", key->name, bytes);
    }
    mem_free(*(char **)at);
    *(char **)at = copy;
    return OK;
}

/* A whole $NAME at the start of a path, from the environment. */
static enum err expand(const struct conf_key *key, char out[FILE_PATH_BYTES], const char *text,
                       struct errbuf *e)
{
    if (text[0] != '$') {
        (void)snprintf(out, FILE_PATH_BYTES, "%s", text);
        return OK;
    }
    char name[64];
    size_t n = strcspn(text + 1, "/");
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    if (n == 0 || n >= sizeof name || strspn(text + 1, letters) != n) {
        char quoted[QUOTE_BYTES];
        return err_set(e, ERR_PARSE,
                       "%s: %s: only a whole $NAME before the first '/' is replaced (letters, "
                       "digits, _)",
                       key->name, quote(text, strlen(text), quoted));
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)n, text + 1);
    const char *value = getenv(name);
    if (!value || value[0] == '\0') {
        return err_set(e, ERR_NOT_FOUND,
                       "%s: '%s' needs the environment variable %s, which is not set; say e.g. "
                       "export %s=/path/to/folder",
                       key->name, text, name, name);
    }
    int length = snprintf(out, FILE_PATH_BYTES, "%s%s", value, text + 1 + n);
    return length < FILE_PATH_BYTES
               ? OK
               : err_set(e, ERR_RANGE, "%s: '%s' gives a path longer than %d bytes", key->name,
                         text, FILE_PATH_BYTES - 1);
}

static enum err set_path(const struct conf_key *key, void *at, const char *text, size_t bytes,
                         const char *folder, struct errbuf *e)
{
    char expanded[FILE_PATH_BYTES];
    char base[FILE_PATH_BYTES];
    char here[FILE_PATH_BYTES];
    char full[FILE_PATH_BYTES];
    if (bytes == 0) {
        return store_text(key, at, "", 0, e);
    }
    enum err error = expand(key, expanded, text, e);
    if (error != OK) {
        return error;
    }
    if (!getcwd(here, sizeof here)) {
        return err_set(e, err_from_errno(errno), "%s: the current folder cannot be named: %s",
                       key->name, strerror(errno));
    }
    error = file_join(base, here, strcmp(folder, ".") == 0 ? "" : folder, e);
    if (error == OK) {
        size_t n = strlen(base);
        if (n > 1 && base[n - 1] == '/') {
            base[n - 1] = '\0';
        }
        error = file_join(full, base, strncmp(expanded, "./", 2) == 0 ? expanded + 2 : expanded, e);
    }
    return error == OK ? store_text(key, at, full, strlen(full), e)
                       : err_prefix(e, error, "%s", key->name);
}

static enum err set_text(const struct conf_key *key, void *at, const char *text, size_t bytes,
                         const char *folder, struct errbuf *e)
{
    if ((double)bytes > key->max) {
        return refuse(key, ERR_RANGE, text, bytes, "is too long", e);
    }
    if (key->type == CONF_PATH) {
        return set_path(key, at, text, bytes, folder, e);
    }
    json_t *utf8 = json_stringn(text, bytes); /* jansson refuses what is no UTF-8 */
    if (!utf8) {
        return refuse(key, ERR_PARSE, text, bytes, "is no UTF-8", e);
    }
    json_decref(utf8);
    return store_text(key, at, text, bytes, e);
}

/* As YAML 1.2 writes them. */
static enum err set_bool(const struct conf_key *key, bool *at, const char *text, size_t bytes,
                         struct errbuf *e)
{
    static const char *const words[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *at = i < 3;
            return OK;
        }
    }
    return refuse(key, ERR_PARSE, text, bytes, "is neither", e);
}

enum err conf_value_set(const struct conf_key *key, void *block, const char *text, size_t bytes,
                        const char *folder, struct errbuf *e)
{
    void *at = slot(key, block);
    switch (key->type) {
    case CONF_BOOL:
        return set_bool(key, at, text, bytes, e);
    case CONF_U32:
    case CONF_U64:
    case CONF_F32:
    case CONF_F64:
        return set_number(key, at, text, bytes, e);
    case CONF_CHOICE: {
        int i = find_choice(key, text, bytes);
        if (i < 0) {
            return refuse(key, ERR_NOT_FOUND, text, bytes, "is unknown", e);
        }
        *(uint32_t *)at = (uint32_t)i;
        return OK;
    }
    case CONF_SET:
        return set_mask(key, block, text, bytes, e);
    case CONF_TEXT:
    case CONF_PATH:
        return set_text(key, at, text, bytes, folder, e);
    }
    return ERR_UNSUPPORTED;
}
