/* yaml_tree.h - a small YAML file as a tree that remembers where everything stood, for files whose
 * lists hold mappings (settings files have conf.h).
 * Owns: the nodes and their texts. Never: knows a key. Refuses what yaml_reader refuses, and keys
 * given twice. Single-threaded. */
#ifndef PFT_YAML_TREE_H
#define PFT_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum yaml_node_kind { YAML_NODE_TEXT, YAML_NODE_LIST, YAML_NODE_MAP };

struct yaml_node {
    enum yaml_node_kind kind;
    char *key;  /* in a mapping, else NULL */
    char *text; /* of a text, else NULL */
    bool plain; /* a text without quotes */
    uint32_t line, column;
    uint32_t n;
    size_t capacity;
    struct yaml_node *items; /* [n] of a list or mapping */
};

struct yaml_tree {
    char *name; /* the file, for messages */
    struct yaml_node root;
};

/* Reads a file whose top is a mapping. The caller frees with yaml_tree_free. Blocks on the disk. */
MUST_USE enum err yaml_tree_read(const char *path, struct yaml_tree *out, struct errbuf *e);
void yaml_tree_free(struct yaml_tree *t); /* fine on a zeroed struct */

/* The value of a key of a mapping, NULL when it has none. */
const struct yaml_node *yaml_tree_get(const struct yaml_node *map, const char *key);

/* The value of a key of the top, for changes; NULL when it has none. */
struct yaml_node *yaml_tree_change(struct yaml_tree *t, const char *key);
/* Takes an item out of a list. */
void yaml_tree_drop(struct yaml_node *list, uint32_t i);

/* Refuses anything but a mapping whose keys are all among names, with the nearest one. */
MUST_USE enum err yaml_tree_check(const struct yaml_tree *t, const struct yaml_node *node,
                                  const char *what, const char *const *names, size_t n,
                                  struct errbuf *e);

/* err_set with "file:line:column: " of the node in front. */
enum err yaml_tree_fail(const struct yaml_tree *t, const struct yaml_node *node, struct errbuf *e,
                        const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif
