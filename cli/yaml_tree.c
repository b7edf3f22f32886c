/* yaml_tree.c - events to nodes. */
#include "cli/yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/base/yaml_reader.h"

enum { CHILDREN = 4096 };

static void free_node(struct yaml_node *node, int depth)
{
    for (uint32_t i = 0; i < node->n && depth <= YAML_READER_DEPTH; i++) {
        free_node(&node->items[i], depth + 1);
    }
    mem_free(node->items);
    mem_free(node->key);
    mem_free(node->text);
}

void yaml_tree_free(struct yaml_tree *t)
{
    free_node(&t->root, 0);
    mem_free(t->name);
    *t = (struct yaml_tree){0};
}

static enum err add_child(struct yaml_node *parent, struct yaml_node **out, struct errbuf *e)
{
    void *items = parent->items;
    enum err error =
        mem_grow(&items, &parent->capacity, (size_t)parent->n + 1, sizeof *parent->items, CHILDREN);
    parent->items = items;
    if (error != OK) {
        return err_set(e, error, "line %u: a list or mapping holds at most %d entries",
                       parent->line, CHILDREN);
    }
    *out = &parent->items[parent->n++];
    **out = (struct yaml_node){0};
    return OK;
}

static enum err read_node(struct yaml_reader *r, const struct yaml_item *item,
                          struct yaml_node *out, struct errbuf *e);

/* The key of a mapping's next entry. */
static enum err read_key(struct yaml_reader *r, const struct yaml_item *item,
                         const struct yaml_node *map, char **key, struct errbuf *e)
{
    char found[96];
    if (item->kind != YAML_ITEM_SCALAR) {
        return yaml_reader_fail(r, item, e, "expected the name of a key, found %s",
                                yaml_item_describe(item, found));
    }
    for (uint32_t i = 0; i + 1 < map->n; i++) {
        if (strcmp(map->items[i].key, item->text) == 0) {
            return yaml_reader_fail(r, item, e, "%s is given twice, first in line %u",
                                    quote(item->text, item->bytes, found), map->items[i].line);
        }
    }
    *key = mem_strndup(item->text, item->bytes);
    return *key ? OK : err_set(e, ERR_NOMEM, "no memory for a key");
}

static enum err read_entries(struct yaml_reader *r, enum yaml_item_kind last, struct yaml_node *out,
                             struct errbuf *e)
{
    for (;;) {
        struct yaml_item item;
        struct yaml_node *child = NULL;
        enum err error = yaml_reader_next(r, &item, e);
        if (error != OK || item.kind == last) {
            return error;
        }
        error = add_child(out, &child, e);
        if (error == OK && out->kind == YAML_NODE_MAP) {
            error = read_key(r, &item, out, &child->key, e);
            if (error == OK) {
                error = yaml_reader_next(r, &item, e);
            }
        }
        if (error == OK) {
            error = read_node(r, &item, child, e);
        }
        if (error != OK) {
            return error;
        }
    }
}

static enum err read_node(struct yaml_reader *r, const struct yaml_item *item,
                          struct yaml_node *out, struct errbuf *e)
{
    char found[96];
    out->line = item->line;
    out->column = item->column;
    switch (item->kind) {
    case YAML_ITEM_SCALAR:
        out->kind = YAML_NODE_TEXT;
        out->plain = item->plain;
        out->text = mem_strndup(item->text, item->bytes);
        return out->text ? OK : err_set(e, ERR_NOMEM, "no memory for a text");
    case YAML_ITEM_MAP:
        out->kind = YAML_NODE_MAP;
        return read_entries(r, YAML_ITEM_MAP_END, out, e);
    case YAML_ITEM_LIST:
        out->kind = YAML_NODE_LIST;
        return read_entries(r, YAML_ITEM_LIST_END, out, e);
    case YAML_ITEM_MAP_END:
    case YAML_ITEM_LIST_END:
    case YAML_ITEM_END:
    default:
        return yaml_reader_fail(r, item, e, "expected a value, found %s",
                                yaml_item_describe(item, found));
    }
}

enum err yaml_tree_read(const char *path, struct yaml_tree *out, struct errbuf *e)
{
    struct yaml_reader *r = NULL;
    struct yaml_item item;
    char *text = NULL;
    size_t bytes = 0;
    char found[96];
    *out = (struct yaml_tree){.name = mem_strdup(path)};
    enum err error = out->name ? OK : err_set(e, ERR_NOMEM, "no memory to read %s", path);
    if (error == OK) {
        error = file_read(path, LIMIT_YAML_BYTES, &text, &bytes, e);
    }
    if (error == OK) {
        error = yaml_reader_open(path, text, bytes, &r, e);
    }
    if (error == OK) {
        error = yaml_reader_next(r, &item, e);
    }
    if (error == OK && item.kind != YAML_ITEM_MAP) {
        error = yaml_reader_fail(r, &item, e, "expected a mapping, found %s",
                                 yaml_item_describe(&item, found));
    }
    if (error == OK) {
        error = read_node(r, &item, &out->root, e);
    }
    if (error == OK) {
        error = yaml_reader_next(r, &item, e);
    }
    yaml_reader_close(&r);
    mem_free(text);
    if (error != OK) {
        yaml_tree_free(out);
    }
    return error;
}

/* Place of a key among the items, n when there is none. */
static uint32_t find(const struct yaml_node *map, const char *key)
{
    uint32_t i = map->kind == YAML_NODE_MAP ? 0 : map->n;
    while (i < map->n && strcmp(map->items[i].key, key) != 0) {
        i++;
    }
    return i;
}

const struct yaml_node *yaml_tree_get(const struct yaml_node *map, const char *key)
{
    uint32_t i = find(map, key);
    return i < map->n ? &map->items[i] : NULL;
}

struct yaml_node *yaml_tree_change(struct yaml_tree *t, const char *key)
{
    uint32_t i = find(&t->root, key);
    return i < t->root.n ? &t->root.items[i] : NULL;
}

void yaml_tree_drop(struct yaml_node *list, uint32_t i)
{
    free_node(&list->items[i], 0);
    list->n--;
    memmove(&list->items[i], &list->items[i + 1], (list->n - i) * sizeof *list->items);
}

enum err yaml_tree_check(const struct yaml_tree *t, const struct yaml_node *node, const char *what,
                         const char *const *names, size_t n, struct errbuf *e)
{
    char quoted[QUOTE_BYTES];
    if (node->kind != YAML_NODE_MAP) {
        return yaml_tree_fail(t, node, e, "%s: expected a mapping", what);
    }
    for (uint32_t i = 0; i < node->n; i++) {
        const char *key = node->items[i].key;
        size_t k = 0;
        while (k < n && strcmp(names[k], key) != 0) {
            k++;
        }
        if (k == n) {
            const char *near = conf_nearest(key, names, n);
            return yaml_tree_fail(t, &node->items[i], e, "%s: unknown key %s%s%s%s", what,
                                  quote(key, strlen(key), quoted), near ? "; did you mean '" : "",
                                  near ? near : "", near ? "'?" : "");
        }
    }
    return OK;
}

enum err yaml_tree_fail(const struct yaml_tree *t, const struct yaml_node *node, struct errbuf *e,
                        const char *fmt, ...)
{
    char text[ERRBUF_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(e, ERR_PARSE, "%s:%u:%u: %s", t->name, node->line, node->column, text);
}
