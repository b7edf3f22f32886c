/* gguf_keys.c - the metadata of a GGUF: parsing, and typed getters as the only way to a value. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/format/gguf_parts.h"

enum {
    KEYS_MAX = 1 << 16,
    KEY_BYTES_MAX = 65535,
    KEY_RECORD_BYTES = 8 + 4 + 1, /* the least a key can take: length, type, a u8 */
    STRING_RECORD_BYTES = 8,
};

static const struct {
    const char *name;
    uint8_t bytes; /* 0: not of fixed size */
} types[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

enum err gguf_cut_short(const struct gguf_cursor *c, const char *what, struct errbuf *e)
{
    return err_set(e, ERR_CORRUPT,
                   "the file ends at byte %" PRIu64 " inside %s that begins before "
                   "byte %" PRIu64,
                   c->file_bytes, what, c->at);
}

static bool known_type(uint32_t type)
{
    return type < GGUF_TYPES;
}

/* For messages: at most 100 bytes of a key. */
static int shown(const struct gguf_key *key)
{
    return key->bytes < 100 ? (int)key->bytes : 100;
}

static enum err parse_array(struct gguf_key *key, struct gguf_cursor *c, struct errbuf *e)
{
    uint32_t element = 0;
    if (!gguf_take_u32(c, &element) || !gguf_take_u64(c, &key->count)) {
        return gguf_cut_short(c, "an array", e);
    }
    if (!known_type(element) || element == GGUF_ARRAY) {
        return err_set(e, ERR_UNSUPPORTED, "key %.*s: an array of %s is not supported", shown(key),
                       key->name, known_type(element) ? "arrays" : "an unknown type");
    }
    key->element = (enum gguf_type)element;
    uint64_t least = element == GGUF_STRING ? STRING_RECORD_BYTES : types[element].bytes;
    if (key->count > gguf_left(c) / least) {
        return err_set(e, ERR_CORRUPT,
                       "key %.*s: an array of %" PRIu64 " x %s does not fit into the %" PRIu64
                       " bytes left of the file",
                       shown(key), key->name, key->count, types[element].name, gguf_left(c));
    }
    if (element != GGUF_STRING) {
        key->value = gguf_take(c, key->count * least);
        return key->value ? OK : gguf_cut_short(c, "an array", e);
    }
    key->value = c->data + c->at;
    for (uint64_t i = 0; i < key->count; i++) {
        const char *text;
        uint64_t bytes;
        if (!gguf_take_string(c, &text, &bytes)) {
            return gguf_cut_short(c, "a string of an array", e);
        }
    }
    return OK;
}

static enum err parse_value(struct gguf_key *key, struct gguf_cursor *c, struct errbuf *e)
{
    uint32_t type = 0;
    const char *text;
    uint64_t bytes;
    if (!gguf_take_u32(c, &type)) {
        return gguf_cut_short(c, "a key", e);
    }
    if (!known_type(type)) {
        return err_set(e, ERR_PARSE, "key %.*s: value type %u is not known (0 to %d are)",
                       shown(key), key->name, type, GGUF_TYPES - 1);
    }
    key->type = (enum gguf_type)type;
    key->element = key->type;
    key->count = 1;
    if (type == GGUF_ARRAY) {
        return parse_array(key, c, e);
    }
    key->value = c->data + c->at;
    bool whole = type == GGUF_STRING ? gguf_take_string(c, &text, &bytes)
                                     : gguf_take(c, types[type].bytes) != NULL;
    if (!whole) {
        return gguf_cut_short(c, "a value", e);
    }
    if (type == GGUF_BOOL && key->value[0] > 1) {
        return err_set(e, ERR_PARSE, "key %.*s: a bool is %u, 0 or 1 are possible", shown(key),
                       key->name, key->value[0]);
    }
    return OK;
}

static enum err parse_key(struct gguf_key *key, struct gguf_cursor *c, struct errbuf *e)
{
    if (!gguf_take_string(c, &key->name, &key->bytes)) {
        return gguf_cut_short(c, "a key", e);
    }
    if (key->bytes == 0 || key->bytes > KEY_BYTES_MAX ||
        memchr(key->name, '\0', (size_t)key->bytes)) {
        return err_set(e, ERR_PARSE,
                       "a key before byte %" PRIu64 " has %" PRIu64
                       " bytes or holds a NUL; 1 to %d "
                       "bytes without one are possible",
                       c->at, key->bytes, KEY_BYTES_MAX);
    }
    return parse_value(key, c, e);
}

static int compare(const char *a, uint64_t a_bytes, const char *b, uint64_t b_bytes)
{
    uint64_t n = a_bytes < b_bytes ? a_bytes : b_bytes;
    int order = memcmp(a, b, (size_t)n);
    return order != 0 ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

static int by_name(const void *left, const void *right)
{
    const struct gguf_key *a = left;
    const struct gguf_key *b = right;
    return compare(a->name, a->bytes, b->name, b->bytes);
}

enum err gguf_keys_parse(struct gguf *g, struct gguf_cursor *c, uint64_t n_keys, struct errbuf *e)
{
    if (n_keys > KEYS_MAX || n_keys > gguf_left(c) / KEY_RECORD_BYTES) {
        return err_set(e, ERR_CORRUPT,
                       "the file says it has %" PRIu64 " keys; at most %d are read and %" PRIu64
                       " fit into its %" PRIu64 " bytes",
                       n_keys, KEYS_MAX, gguf_left(c) / KEY_RECORD_BYTES, c->file_bytes);
    }
    g->keys = mem_calloc((size_t)n_keys, sizeof *g->keys);
    if (!g->keys) {
        return err_set(e, ERR_NOMEM, "no memory for %" PRIu64 " keys", n_keys);
    }
    for (uint64_t i = 0; i < n_keys; i++) {
        enum err error = parse_key(&g->keys[i], c, e);
        if (error != OK) {
            return error;
        }
        g->n_keys++;
    }
    if (n_keys > 0) {
        qsort(g->keys, g->n_keys, sizeof *g->keys, by_name);
    }
    for (size_t i = 1; i < g->n_keys; i++) {
        if (by_name(&g->keys[i - 1], &g->keys[i]) == 0) {
            return err_set(e, ERR_PARSE, "key %.*s is there twice", shown(&g->keys[i]),
                           g->keys[i].name);
        }
    }
    return OK;
}

static const struct gguf_key *find(const struct gguf *g, const char *name)
{
    struct gguf_key key = {.name = name, .bytes = strlen(name)};
    return g->n_keys > 0 ? bsearch(&key, g->keys, g->n_keys, sizeof key, by_name) : NULL;
}

bool gguf_has(const struct gguf *g, const char *key)
{
    return find(g, key) != NULL;
}

static enum err missing(const struct gguf *g, const char *key, struct errbuf *e)
{
    return err_set(e, ERR_NOT_FOUND, "%s: key %s is missing", g->path, key);
}

static enum err wrong_type(const struct gguf *g, const struct gguf_key *found, const char *key,
                           const char *wanted, struct errbuf *e)
{
    bool array = found->type == GGUF_ARRAY;
    return err_set(e, ERR_PARSE, "%s: key %s is %s%s, %s is needed", g->path, key,
                   array ? "an array of " : "a value of type ", types[found->element].name, wanted);
}

enum err gguf_get_string(const struct gguf *g, const char *key, const char **text, size_t *bytes,
                         struct errbuf *e)
{
    const struct gguf_key *found = find(g, key);
    if (!found) {
        return missing(g, key, e);
    }
    if (found->type != GGUF_STRING) {
        return wrong_type(g, found, key, "a string", e);
    }
    *bytes = (size_t)bytes_get_u64(found->value);
    *text = (const char *)found->value + 8;
    return OK;
}

static bool is_integer(enum gguf_type type)
{
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

/* An integer of any width; *negative tells that value is to be read as int64. */
static uint64_t integer_at(enum gguf_type type, const uint8_t *p, bool *negative)
{
    int64_t value = 0;
    *negative = false;
    switch (type) {
    case GGUF_U8:
        return p[0];
    case GGUF_U16:
        return bytes_get_u16(p);
    case GGUF_U32:
        return bytes_get_u32(p);
    case GGUF_U64:
        return bytes_get_u64(p);
    case GGUF_I8:
        value = p[0] < 128 ? p[0] : p[0] - 256;
        break;
    case GGUF_I16:
        value = (int16_t)bytes_get_u16(p);
        break;
    case GGUF_I32:
        value = (int32_t)bytes_get_u32(p);
        break;
    case GGUF_I64:
        value = (int64_t)bytes_get_u64(p);
        break;
    case GGUF_F32:
    case GGUF_BOOL:
    case GGUF_STRING:
    case GGUF_ARRAY:
    case GGUF_F64:
    case GGUF_TYPES:
    default:
        CHECK(is_integer(type));
    }
    *negative = value < 0;
    return (uint64_t)value;
}

enum err gguf_get_uint(const struct gguf *g, const char *key, uint64_t *value, struct errbuf *e)
{
    const struct gguf_key *found = find(g, key);
    bool negative = false;
    if (!found) {
        return missing(g, key, e);
    }
    if (!is_integer(found->type)) {
        return wrong_type(g, found, key, "an integer", e);
    }
    *value = integer_at(found->type, found->value, &negative);
    if (negative) {
        return err_set(e, ERR_PARSE, "%s: key %s is %" PRId64 ", a count is needed", g->path, key,
                       (int64_t)*value);
    }
    return OK;
}

static double f64_at(const uint8_t *p)
{
    uint64_t bits = bytes_get_u64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

enum err gguf_get_float(const struct gguf *g, const char *key, double *value, struct errbuf *e)
{
    const struct gguf_key *found = find(g, key);
    if (!found) {
        return missing(g, key, e);
    }
    if (found->type != GGUF_F32 && found->type != GGUF_F64) {
        return wrong_type(g, found, key, "a number (f32, f64)", e);
    }
    *value = found->type == GGUF_F32 ? (double)bytes_get_f32(found->value) : f64_at(found->value);
    return OK;
}

enum err gguf_get_bool(const struct gguf *g, const char *key, bool *value, struct errbuf *e)
{
    const struct gguf_key *found = find(g, key);
    if (!found) {
        return missing(g, key, e);
    }
    if (found->type != GGUF_BOOL) {
        return wrong_type(g, found, key, "a bool", e);
    }
    *value = found->value[0] != 0;
    return OK;
}

enum err gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type,
                        struct gguf_array *array, struct errbuf *e)
{
    const struct gguf_key *found = find(g, key);
    if (!found) {
        return missing(g, key, e);
    }
    CHECK(type == GGUF_STRING || type == GGUF_F32 || type == GGUF_BOOL || type == GGUF_I32);
    bool fits = found->element == type || (type == GGUF_I32 && is_integer(found->element));
    if (found->type != GGUF_ARRAY || !fits) {
        return wrong_type(g, found, key,
                          type == GGUF_STRING ? "an array of strings"
                          : type == GGUF_F32  ? "an array of f32"
                          : type == GGUF_BOOL ? "an array of bools"
                                              : "an array of integers",
                          e);
    }
    *array = (struct gguf_array){.type = found->element, .count = found->count, .at = found->value};
    return OK;
}

bool gguf_array_next_string(struct gguf_array *array, const char **text, size_t *bytes)
{
    CHECK(array->type == GGUF_STRING);
    if (array->count == 0) {
        return false;
    }
    *bytes = (size_t)bytes_get_u64(array->at);
    *text = (const char *)array->at + 8;
    array->at += 8 + *bytes;
    array->count--;
    return true;
}

bool gguf_array_next_int(struct gguf_array *array, int64_t *value)
{
    bool negative = false;
    CHECK(array->type == GGUF_BOOL || is_integer(array->type));
    if (array->count == 0) {
        return false;
    }
    enum gguf_type type = array->type == GGUF_BOOL ? GGUF_U8 : array->type;
    uint64_t bits = integer_at(type, array->at, &negative);
    *value = !negative && bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    array->at += types[type].bytes;
    array->count--;
    return true;
}

bool gguf_array_next_float(struct gguf_array *array, float *value)
{
    CHECK(array->type == GGUF_F32);
    if (array->count == 0) {
        return false;
    }
    *value = bytes_get_f32(array->at);
    array->at += sizeof *value;
    array->count--;
    return true;
}
