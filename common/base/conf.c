/* conf.c - settings from YAML and from --set, by one table. */
#include "common/base/conf.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/conf_value.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/base/yaml_reader.h"

struct reading {
    const struct conf_schema *schema;
    struct yaml_reader *yaml;
    const char *name;
    const char *folder;
    void *block;
    struct conf_origins *origins;
    uint32_t lines[CONF_KEYS_MAX]; /* where a key was given; 0 = not yet */
    const char *const *sets;       /* what overrides it */
    int n_sets;
};

int conf_find(const struct conf_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        if (strcmp(schema->keys[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_section(const struct conf_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->n_sections; i++) {
        if (strcmp(schema->sections[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* ", did you mean 'x'?" or ", valid are ..." for a name that no key and no section has. */
static const char *suggest(const struct conf_schema *schema, const char *name, bool sections,
                           char out[200])
{
    const char *names[CONF_KEYS_MAX + 32];
    size_t n = 0;
    for (size_t i = 0; i < schema->n_keys; i++) {
        names[n++] = schema->keys[i].name;
    }
    for (size_t i = 0; sections && i < schema->n_sections; i++) {
        names[n++] = schema->sections[i].name;
    }
    const char *near = conf_nearest(name, names, n);
    if (near) {
        (void)snprintf(out, 200, "did you mean '%s'?", near);
    } else {
        (void)snprintf(out, 200, "docs/config.md lists the keys");
    }
    return out;
}

static enum err unknown_key(const struct reading *r, const struct yaml_item *item, const char *name,
                            bool sections, struct errbuf *e)
{
    char hint[200];
    char quoted[QUOTE_BYTES];
    return yaml_reader_fail(r->yaml, item, e, "unknown key %s; %s",
                            quote(name, strlen(name), quoted),
                            suggest(r->schema, name, sections, hint));
}

static enum err wrong_kind(const struct reading *r, const struct conf_key *key,
                           const struct yaml_item *item, struct errbuf *e)
{
    char what[96];
    struct str expected = {0};
    conf_expected(key, &expected);
    enum err error = yaml_reader_fail(r->yaml, item, e, "%s: expected %s, found %s", key->name,
                                      expected.data ? expected.data : "another value",
                                      yaml_item_describe(item, what));
    str_free(&expected);
    return error;
}

/* Puts the place in front of a message that conf_value_set wrote. */
static enum err at_place(const struct reading *r, const struct yaml_item *item, enum err error,
                         struct errbuf *e)
{
    return error == OK ? OK : err_prefix(e, error, "%s:%u:%u", r->name, item->line, item->column);
}

static enum err read_list(struct reading *r, const struct conf_key *key, struct errbuf *e)
{
    struct yaml_item item;
    uint32_t mask = 0;
    struct yaml_item first = {0};
    for (;;) {
        enum err error = yaml_reader_next(r->yaml, &item, e);
        if (error != OK) {
            return error;
        }
        if (first.line == 0) {
            first = item;
        }
        if (item.kind == YAML_ITEM_LIST_END) {
            return at_place(r, &first, conf_value_mask(key, r->block, mask, e), e);
        }
        if (item.kind != YAML_ITEM_SCALAR) {
            return wrong_kind(r, key, &item, e);
        }
        error = at_place(r, &item, conf_value_choice(key, item.text, item.bytes, &mask, e), e);
        if (error != OK) {
            return error;
        }
    }
}

/* A path that --set replaces is not looked at: it may name a variable that is set nowhere. */
static bool is_replaced(const struct conf_key *key, const char *const *sets, int n_sets)
{
    const size_t n = strlen(key->name);
    for (int i = 0; i < n_sets && key->type == CONF_PATH; i++) {
        if (strncmp(sets[i], key->name, n) == 0 && sets[i][n] == '=') {
            return true;
        }
    }
    return false;
}

static enum err read_value(struct reading *r, int index, const struct yaml_item *at,
                           struct errbuf *e)
{
    const struct conf_key *key = &r->schema->keys[index];
    if (r->lines[index] != 0) {
        return yaml_reader_fail(r->yaml, at, e, "%s is given twice, first in line %u", key->name,
                                r->lines[index]);
    }
    r->lines[index] = at->line;
    struct yaml_item item;
    enum err error = yaml_reader_next(r->yaml, &item, e);
    if (error != OK) {
        return error;
    }
    const char *slash = strrchr(r->name, '/');
    (void)snprintf(r->origins->place[index], sizeof r->origins->place[index], "%.60s:%u:%u",
                   slash ? slash + 1 : r->name, item.line, item.column);
    if (item.kind == YAML_ITEM_LIST && key->type == CONF_SET) {
        return read_list(r, key, e);
    }
    bool empty = item.kind == YAML_ITEM_SCALAR && item.plain && item.bytes == 0;
    if (item.kind != YAML_ITEM_SCALAR ||
        (empty && key->type != CONF_TEXT && key->type != CONF_PATH)) {
        return wrong_kind(r, key, &item, e);
    }
    if (is_replaced(key, r->sets, r->n_sets)) {
        return OK;
    }
    return at_place(r, &item, conf_value_set(key, r->block, item.text, item.bytes, r->folder, e),
                    e);
}

static enum err read_section(struct reading *r, const char *section, struct errbuf *e)
{
    struct yaml_item item;
    enum err error = yaml_reader_next(r->yaml, &item, e);
    if (error == OK && item.kind == YAML_ITEM_SCALAR && item.plain && item.bytes == 0) {
        return OK; /* "lora:" with every key commented out */
    }
    if (error == OK && item.kind != YAML_ITEM_MAP) {
        char what[96];
        return yaml_reader_fail(r->yaml, &item, e, "%s: expected a mapping of its keys, found %s",
                                section, yaml_item_describe(&item, what));
    }
    while (error == OK) {
        error = yaml_reader_next(r->yaml, &item, e);
        if (error != OK || item.kind == YAML_ITEM_MAP_END) {
            break;
        }
        if (item.kind != YAML_ITEM_SCALAR) {
            return yaml_reader_fail(r->yaml, &item, e, "%s: expected the name of a key", section);
        }
        char name[160];
        (void)snprintf(name, sizeof name, "%s.%.*s", section,
                       item.bytes < 100 ? (int)item.bytes : 100, item.text);
        int index = conf_find(r->schema, name);
        error = index >= 0 ? read_value(r, index, &item, e) : unknown_key(r, &item, name, false, e);
    }
    return error;
}

static enum err read_root(struct reading *r, struct errbuf *e)
{
    struct yaml_item item;
    bool sections[32] = {false};
    enum err error = yaml_reader_next(r->yaml, &item, e);
    if (error == OK && item.kind == YAML_ITEM_END) {
        return OK;
    }
    if (error == OK && item.kind != YAML_ITEM_MAP) {
        char what[96];
        return yaml_reader_fail(r->yaml, &item, e,
                                "expected a mapping of settings (\"lora:\" ...), found %s",
                                yaml_item_describe(&item, what));
    }
    while (error == OK) {
        error = yaml_reader_next(r->yaml, &item, e);
        if (error != OK || item.kind == YAML_ITEM_MAP_END) {
            break;
        }
        if (item.kind != YAML_ITEM_SCALAR) {
            return yaml_reader_fail(r->yaml, &item, e, "expected the name of a key or section");
        }
        int index = conf_find(r->schema, item.text);
        if (index >= 0) {
            error = read_value(r, index, &item, e);
        } else if (is_section(r->schema, item.text)) {
            size_t s = 0;
            while (strcmp(r->schema->sections[s].name, item.text) != 0) {
                s++;
            }
            if (sections[s]) {
                return yaml_reader_fail(r->yaml, &item, e, "the section '%s' is given twice",
                                        item.text);
            }
            sections[s] = true;
            error = read_section(r, r->schema->sections[s].name, e);
        } else {
            char name[160];
            (void)snprintf(name, sizeof name, "%.150s", item.text);
            error = unknown_key(r, &item, name, true, e);
        }
    }
    return error == OK ? yaml_reader_next(r->yaml, &item, e) : error;
}

static enum err read_defaults(const struct conf_schema *schema, void *block,
                              struct conf_origins *origins, struct errbuf *e)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct conf_key *key = &schema->keys[i];
        enum err error = conf_value_set(key, block, key->fallback, strlen(key->fallback), ".", e);
        CHECK(error == OK || error == ERR_NOMEM);
        if (error != OK) {
            return error;
        }
        (void)snprintf(origins->place[i], sizeof origins->place[i], "default");
    }
    return OK;
}

/* The first of the sets; the others override it. */
static enum err apply_set(const struct conf_schema *schema, void *block, const char *const *sets,
                          int n_sets, struct conf_origins *origins, struct errbuf *e)
{
    char quoted[QUOTE_BYTES];
    const char *set = sets[0];
    const char *equals = strchr(set, '=');
    if (!equals) {
        return err_set(e, ERR_USAGE, "--set %s: expected KEY=VALUE",
                       quote(set, strlen(set), quoted));
    }
    char name[160];
    size_t n = (size_t)(equals - set);
    (void)snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, set);
    int index = conf_find(schema, name);
    if (index < 0) {
        char hint[200];
        return err_set(e, ERR_NOT_FOUND, "--set: unknown key %s; %s",
                       quote(name, strlen(name), quoted), suggest(schema, name, false, hint));
    }
    if (is_replaced(&schema->keys[index], sets + 1, n_sets - 1)) {
        return OK;
    }
    (void)snprintf(origins->place[index], sizeof origins->place[index], "--set %.80s", name);
    enum err error =
        conf_value_set(&schema->keys[index], block, equals + 1, strlen(equals + 1), ".", e);
    return error == OK ? OK : err_prefix(e, error, "--set");
}

enum err conf_read(const struct conf_schema *schema, void *block, const char *text, size_t bytes,
                   const char *name, const char *folder, const char *const *sets, int n_sets,
                   struct conf_origins *origins, struct errbuf *e)
{
    CHECK(schema->n_keys <= CONF_KEYS_MAX && schema->n_sections <= 32);
    enum err error = read_defaults(schema, block, origins, e);
    if (error == OK && bytes > 0) {
        struct reading r = {.schema = schema,
                            .name = name,
                            .folder = folder,
                            .block = block,
                            .origins = origins,
                            .sets = sets,
                            .n_sets = n_sets};
        error = yaml_reader_open(name, text, bytes, &r.yaml, e);
        if (error == OK) {
            error = read_root(&r, e);
        }
        yaml_reader_close(&r.yaml);
    }
    for (int i = 0; i < n_sets && error == OK; i++) {
        error = apply_set(schema, block, sets + i, n_sets - i, origins, e);
    }
    return error;
}

void conf_free(const struct conf_schema *schema, void *block)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct conf_key *key = &schema->keys[i];
        if (key->type == CONF_TEXT || key->type == CONF_PATH) {
            char **text = (char **)(void *)((char *)block + key->offset);
            mem_free(*text);
            *text = NULL;
        }
    }
}
