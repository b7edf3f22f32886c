/* values.c - reads a values file: axes: [{name, poles: [{name, sentence}, {name, sentence}]}]. */
#include "coordinator/values.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/base/yaml_reader.h"
#include "common/text/utf8.h"

enum { NAME_BYTES = 200, SENTENCE_BYTES = 2000 };

struct reading {
    struct yaml_reader *yaml;
    struct values *v;
    size_t capacity;               /* of v->axes */
    uint32_t lines[LIMIT_AXES][3]; /* of an axis's name and of its poles' names */
};

/* The next item, which must be of a kind; what says what is expected. */
static enum err expect(struct reading *r, enum yaml_item_kind kind, const char *what,
                       struct yaml_item *item, struct errbuf *e)
{
    char found[96];
    enum err error = yaml_reader_next(r->yaml, item, e);
    if (error != OK || item->kind == kind) {
        return error;
    }
    return yaml_reader_fail(r->yaml, item, e, "expected %s, found %s", what,
                            yaml_item_describe(item, found));
}

static bool is(const struct yaml_item *item, const char *word)
{
    return strcmp(item->text, word) == 0;
}

/* Reads a text value into *out, once. */
static enum err read_text(struct reading *r, const struct yaml_item *key, const char *what,
                          size_t limit, char **out, uint32_t *line, struct errbuf *e)
{
    struct yaml_item item;
    if (*out) {
        return yaml_reader_fail(r->yaml, key, e, "%s is given twice", what);
    }
    enum err error = expect(r, YAML_ITEM_SCALAR, what, &item, e);
    if (error != OK) {
        return error;
    }
    if (item.bytes == 0 || item.bytes > limit) {
        return yaml_reader_fail(r->yaml, &item, e, "%s has %zu bytes, 1 to %zu are possible", what,
                                item.bytes, limit);
    }
    for (size_t i = 0; i < item.bytes; i++) {
        if ((unsigned char)item.text[i] < 0x20) {
            return yaml_reader_fail(r->yaml, &item, e,
                                    "%s holds a line end or another control character", what);
        }
    }
    *line = item.line;
    *out = mem_strndup(item.text, item.bytes);
    return *out ? OK : err_set(e, ERR_NOMEM, "no memory for %s", what);
}

static enum err unknown(struct reading *r, const struct yaml_item *item, const char *const *names,
                        size_t n, struct errbuf *e)
{
    char quoted[QUOTE_BYTES];
    const char *near = conf_nearest(item->text, names, n);
    return yaml_reader_fail(r->yaml, item, e, "unknown key %s; did you mean '%s'?",
                            quote(item->text, item->bytes, quoted), near ? near : names[0]);
}

static enum err read_pole(struct reading *r, struct values_pole *pole, uint32_t *line,
                          const struct yaml_item *begin, struct errbuf *e)
{
    static const char *const names[] = {"name", "sentence"};
    for (;;) {
        struct yaml_item item;
        uint32_t at = 0;
        enum err error = yaml_reader_next(r->yaml, &item, e);
        if (error == OK && item.kind == YAML_ITEM_MAP_END) {
            break;
        }
        if (error == OK && item.kind != YAML_ITEM_SCALAR) {
            error = yaml_reader_fail(r->yaml, &item, e, "expected 'name' or 'sentence'");
        } else if (error == OK && is(&item, "name")) {
            error = read_text(r, &item, "the value's name", NAME_BYTES, &pole->name, line, e);
        } else if (error == OK && is(&item, "sentence")) {
            error = read_text(r, &item, "the value's sentence", SENTENCE_BYTES, &pole->sentence,
                              &at, e);
        } else if (error == OK) {
            error = unknown(r, &item, names, 2, e);
        }
        if (error != OK) {
            return error;
        }
    }
    if (!pole->name || !pole->sentence) {
        return yaml_reader_fail(r->yaml, begin, e, "the value has no '%s'",
                                pole->name ? "sentence" : "name");
    }
    return OK;
}

static enum err read_poles(struct reading *r, struct values_axis *axis, uint32_t lines[3],
                           struct errbuf *e)
{
    struct yaml_item item;
    enum err error = expect(r, YAML_ITEM_LIST, "a list of two values", &item, e);
    for (size_t n = 0; error == OK; n++) {
        error = yaml_reader_next(r->yaml, &item, e);
        if (error == OK && item.kind == YAML_ITEM_LIST_END && n == 2) {
            return OK;
        }
        if (error == OK && (item.kind != YAML_ITEM_MAP || n == 2)) {
            char found[96];
            return yaml_reader_fail(r->yaml, &item, e,
                                    "'poles' of an axis are two values ({name, sentence} "
                                    "each); after %zu comes %s",
                                    n, yaml_item_describe(&item, found));
        }
        if (error == OK) {
            error = read_pole(r, &axis->poles[n], &lines[1 + n], &item, e);
        }
    }
    return error;
}

static enum err read_axis(struct reading *r, const struct yaml_item *begin, struct errbuf *e)
{
    static const char *const names[] = {"name", "poles"};
    struct values *v = r->v;
    if (v->n_axes >= LIMIT_AXES) {
        return yaml_reader_fail(r->yaml, begin, e, "there are more than %d axes", LIMIT_AXES);
    }
    void *axes = v->axes;
    if (mem_grow(&axes, &r->capacity, v->n_axes + 1, sizeof *v->axes, LIMIT_AXES) != OK) {
        return err_set(e, ERR_NOMEM, "no memory for %u axes", v->n_axes + 1);
    }
    v->axes = axes;
    struct values_axis *axis = &v->axes[v->n_axes];
    uint32_t *lines = r->lines[v->n_axes++];
    *axis = (struct values_axis){0};
    for (;;) {
        struct yaml_item item;
        enum err error = yaml_reader_next(r->yaml, &item, e);
        if (error == OK && item.kind == YAML_ITEM_MAP_END) {
            break;
        }
        if (error == OK && item.kind != YAML_ITEM_SCALAR) {
            error = yaml_reader_fail(r->yaml, &item, e, "expected 'name' or 'poles'");
        } else if (error == OK && is(&item, "name")) {
            error = read_text(r, &item, "the axis's name", NAME_BYTES, &axis->name, &lines[0], e);
        } else if (error == OK && is(&item, "poles")) {
            error = axis->poles[0].name ? yaml_reader_fail(r->yaml, &item, e, "'poles' comes twice")
                                        : read_poles(r, axis, lines, e);
        } else if (error == OK) {
            error = unknown(r, &item, names, 2, e);
        }
        if (error != OK) {
            return error;
        }
    }
    if (!axis->name || !axis->poles[0].name) {
        return yaml_reader_fail(r->yaml, begin, e, "the axis has no '%s'",
                                axis->name ? "poles" : "name");
    }
    return OK;
}

static enum err read_file(struct reading *r, struct errbuf *e)
{
    struct yaml_item item;
    enum err error = expect(r, YAML_ITEM_MAP, "a mapping with 'axes'", &item, e);
    if (error == OK) {
        error = expect(r, YAML_ITEM_SCALAR, "the key 'axes'", &item, e);
    }
    if (error == OK && !is(&item, "axes")) {
        char quoted[QUOTE_BYTES];
        return yaml_reader_fail(r->yaml, &item, e, "expected the key 'axes', found %s",
                                quote(item.text, item.bytes, quoted));
    }
    if (error == OK) {
        error = expect(r, YAML_ITEM_LIST, "a list of axes", &item, e);
    }
    while (error == OK) {
        error = yaml_reader_next(r->yaml, &item, e);
        if (error != OK || item.kind == YAML_ITEM_LIST_END) {
            break;
        }
        error = item.kind == YAML_ITEM_MAP
                    ? read_axis(r, &item, e)
                    : yaml_reader_fail(r->yaml, &item, e, "expected an axis: {name, poles}");
    }
    if (error == OK && r->v->n_axes == 0) {
        return yaml_reader_fail(r->yaml, &item, e, "there is no axis");
    }
    if (error == OK) {
        error = expect(r, YAML_ITEM_MAP_END, "nothing but 'axes'", &item, e);
    }
    return error == OK ? expect(r, YAML_ITEM_END, "the end of the file", &item, e) : error;
}

/* Axis names and, over the whole file, value names must be unique: prompts name a value alone. */
static enum err check_unique(const struct reading *r, const char *file, struct errbuf *e)
{
    const struct values *v = r->v;
    for (uint32_t i = 0; i < v->n_axes * 3; i++) {
        for (uint32_t j = 0; j < i; j++) {
            bool axis = i % 3 == 0;
            if (axis != (j % 3 == 0)) {
                continue;
            }
            const struct values_axis *a = &v->axes[i / 3];
            const struct values_axis *b = &v->axes[j / 3];
            const char *name = axis ? a->name : a->poles[i % 3 - 1].name;
            const char *other = axis ? b->name : b->poles[j % 3 - 1].name;
            if (strcmp(name, other) == 0) {
                return err_set(e, ERR_PARSE, "%s:%u: the %s '%s' is given twice, first in line %u",
                               file, r->lines[i / 3][i % 3], axis ? "axis" : "value", name,
                               r->lines[j / 3][j % 3]);
            }
        }
    }
    return OK;
}

enum err values_parse(const char *text, size_t bytes, const char *name, struct values **out,
                      struct errbuf *e)
{
    struct reading r = {.v = mem_calloc(1, sizeof *r.v)};
    enum err error = r.v ? yaml_reader_open(name, text, bytes, &r.yaml, e)
                         : err_set(e, ERR_NOMEM, "%s: no memory", name);
    if (error == OK) {
        error = read_file(&r, e);
    }
    if (error == OK) {
        error = check_unique(&r, name, e);
    }
    if (error == OK) {
        r.v->text = mem_strndup(text, bytes);
        r.v->text_bytes = bytes;
        error = r.v->text ? OK : err_set(e, ERR_NOMEM, "%s: no memory", name);
    }
    yaml_reader_close(&r.yaml);
    if (error != OK) {
        values_free(&r.v);
        return error;
    }
    *out = r.v;
    return OK;
}

enum err values_load(const char *path, struct values **out, struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    enum err error = file_read(path, LIMIT_YAML_BYTES, &text, &bytes, e);
    if (error == OK) {
        error = values_parse(text, bytes, path, out, e);
        mem_free(text);
    }
    return error;
}

/* Names that differ in how an accent is written look the same: where they differ beyond ASCII the
 * characters are told by number. */
static enum err nearest(const char *what, const char *quoted, const char *name, const char *near,
                        struct errbuf *e)
{
    uint32_t here = 0;
    uint32_t there = 0;
    size_t at = 0;
    unsigned character = 1;
    while (here == there) {
        const size_t n = utf8_get(name + at, strlen(name + at), &here);
        if (n == 0 || utf8_get(near + at, strlen(near + at), &there) == 0) {
            break;
        }
        character += here == there;
        at += here == there ? n : 0;
    }
    if (here == there || (here < 0x80 && there < 0x80)) {
        return err_set(e, ERR_NOT_FOUND, "unknown %s %s; the nearest known one is '%s'", what,
                       quoted, near);
    }
    return err_set(e, ERR_NOT_FOUND,
                   "unknown %s %s; the nearest known one is '%s' (character %u is U+%04X, not "
                   "U+%04X: an accent may be written in two ways)",
                   what, quoted, near, character, there, here);
}

enum err values_find(const struct values *v, const char *name, uint32_t *axis, uint32_t *side,
                     struct errbuf *e)
{
    const char *names[2 * LIMIT_AXES] = {NULL};
    const size_t n = (size_t)2 * v->n_axes;
    char quoted[QUOTE_BYTES];
    for (uint32_t i = 0; i < n; i++) {
        names[i] = v->axes[i / 2].poles[i % 2].name;
        if (strcmp(names[i], name) == 0) {
            *axis = i / 2;
            *side = i % 2;
            return OK;
        }
    }
    const char *near = conf_nearest(name, names, n);
    (void)quote(name, strlen(name), quoted);
    return near ? nearest("value", quoted, name, near, e)
                : err_set(e, ERR_NOT_FOUND, "unknown value %s; the first of %zu is '%s'", quoted, n,
                          names[0]);
}

enum err values_find_axis(const struct values *v, const char *name, uint32_t *axis,
                          struct errbuf *e)
{
    const char *names[LIMIT_AXES] = {NULL};
    for (uint32_t i = 0; i < v->n_axes; i++) {
        names[i] = v->axes[i].name;
        if (strcmp(names[i], name) == 0) {
            *axis = i;
            return OK;
        }
    }
    char quoted[QUOTE_BYTES];
    const char *near = conf_nearest(name, names, v->n_axes);
    (void)quote(name, strlen(name), quoted);
    return near ? nearest("axis", quoted, name, near, e)
                : err_set(e, ERR_NOT_FOUND,
                          "unknown axis %s; the values file has %u, the first "
                          "is '%s'",
                          quoted, v->n_axes, names[0]);
}

enum err values_find_pole(const struct values *v, uint32_t axis, const char *name, uint32_t *side,
                          struct errbuf *e)
{
    const struct values_axis *a = &v->axes[axis];
    const char *names[2] = {a->poles[0].name, a->poles[1].name};
    char quoted[QUOTE_BYTES];
    for (uint32_t i = 0; i < 2; i++) {
        if (strcmp(names[i], name) == 0) {
            *side = i;
            return OK;
        }
    }
    (void)quote(name, strlen(name), quoted);
    for (uint32_t i = 0; i < v->n_axes * 2; i++) {
        if (strcmp(v->axes[i / 2].poles[i % 2].name, name) == 0) {
            return err_set(e, ERR_NOT_FOUND,
                           "%s is a value of the axis '%s'; '%s' has '%s' and '%s'", quoted,
                           v->axes[i / 2].name, a->name, names[0], names[1]);
        }
    }
    const char *near = conf_nearest(name, names, 2);
    return near ? nearest("value", quoted, name, near, e)
                : err_set(e, ERR_NOT_FOUND, "unknown value %s; the axis '%s' has '%s' and '%s'",
                          quoted, a->name, names[0], names[1]);
}

void values_free(struct values **v)
{
    if (!*v) {
        return;
    }
    for (uint32_t i = 0; i < (*v)->n_axes; i++) {
        struct values_axis *a = &(*v)->axes[i];
        mem_free(a->name);
        for (int p = 0; p < 2; p++) {
            mem_free(a->poles[p].name);
            mem_free(a->poles[p].sentence);
        }
    }
    mem_free((*v)->axes);
    mem_free((*v)->text);
    mem_free(*v);
    *v = NULL;
}
