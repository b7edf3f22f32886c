/* matrix_field.h - the fields of a matrix file's mappings as tables: key, kind, place in a struct.
 * Owns: conversion of nodes to C values, with messages that name key, bound and mend.
 * Never: knows which keys there are. Texts are the struct's own (matrix_field_free). */
#ifndef PFT_MATRIX_FIELD_H
#define PFT_MATRIX_FIELD_H

#include <stddef.h>

#include "cli/matrix.h"
#include "cli/yaml_tree.h"

enum matrix_field_kind {
    FIELD_TEXT,     /* char *: any text; absent: "" */
    FIELD_NAME,     /* char *: names files and columns; must be there */
    FIELD_PATH,     /* char *: absolute; counts from the file's folder; absent: "" */
    FIELD_FLAG,     /* bool: absent: as it was */
    FIELD_NUMBER,   /* double; absent: NaN */
    FIELD_WORDS,    /* struct matrix_words: a list, or one text that is split at spaces */
    FIELD_NAMES,    /* struct matrix_words: the same, without paths and variables */
    FIELD_SETTINGS, /* struct matrix_words: a mapping of config keys to values */
    FIELD_COMMANDS, /* struct matrix_commands: a list of texts or lists */
    FIELD_SEEDS,    /* struct matrix_seeds */
    FIELD_OTHER,    /* read by the caller */
};

struct matrix_field {
    const char *key;
    enum matrix_field_kind kind;
    size_t offset;
};

struct matrix_seeds { /* laid out as n_seeds and seeds of struct matrix and matrix_variant */
    uint32_t n;
    uint64_t seeds[MATRIX_SEEDS];
};

/* Fills *block from a mapping; what says which one it is ("variant"). */
MUST_USE enum err matrix_field_read(const struct yaml_tree *t, const struct yaml_node *node,
                                    const char *what, const struct matrix_field *fields, size_t n,
                                    void *block, struct errbuf *e);
void matrix_field_free(const struct matrix_field *fields, size_t n, void *block);

void matrix_words_free(struct matrix_words *w);
/* NULL has none. */
bool matrix_words_have(const struct matrix_words *w, const char *word);
/* Appends a copy. */
MUST_USE enum err matrix_words_add(struct matrix_words *w, const char *word, struct errbuf *e);

#endif
