/* matrix_field.c - nodes to values. */
#include "cli/matrix_field.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/base/str.h"

enum { WORDS_MAX = 256, COMMANDS_MAX = 16 };

void matrix_words_free(struct matrix_words *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        mem_free(w->items[i]);
    }
    mem_free(w->items);
    *w = (struct matrix_words){0};
}

bool matrix_words_have(const struct matrix_words *w, const char *word)
{
    for (uint32_t i = 0; w && i < w->n; i++) {
        if (strcmp(w->items[i], word) == 0) {
            return true;
        }
    }
    return false;
}

enum err matrix_words_add(struct matrix_words *w, const char *word, struct errbuf *e)
{
    if (w->n >= WORDS_MAX) {
        return err_set(e, ERR_FULL, "more than %d words", WORDS_MAX);
    }
    char **items = mem_realloc(w->items, (size_t)w->n + 1, sizeof *items);
    char *copy = mem_strdup(word);
    w->items = items ? items : w->items;
    if (!items || !copy) {
        mem_free(copy);
        return err_set(e, ERR_NOMEM, "no memory for the word %.40s", word);
    }
    w->items[w->n++] = copy;
    return OK;
}

static enum err need_text(const struct yaml_tree *t, const struct yaml_node *node, const char *what,
                          struct errbuf *e)
{
    return node->kind == YAML_NODE_TEXT
               ? OK
               : yaml_tree_fail(t, node, e, "%s: expected a text, found a %s", what,
                                node->kind == YAML_NODE_LIST ? "list" : "mapping");
}

static enum err copy_text(const char *text, char **out, struct errbuf *e)
{
    *out = mem_strdup(text);
    return *out ? OK : err_set(e, ERR_NOMEM, "no memory for a text");
}

/* $CELL and $RUN are known only when a cell runs. */
static bool stays(const char *name)
{
    return strcmp(name, "CELL") == 0 || strcmp(name, "RUN") == 0;
}

/* Where the file lies, however its path was given: words are parts of keys. */
static enum err folder_of_file(const struct yaml_tree *t, char out[FILE_PATH_BYTES],
                               struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_absolute(path, t->name, e);
    if (error == OK) {
        file_folder_of(out, path);
    }
    return error;
}

/* out = the word with its leading variable or folder replaced. */
static enum err expand(const struct yaml_tree *t, const struct yaml_node *node, const char *word,
                       struct str *out, struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    char name[64];
    str_clear(out);
    if (strncmp(word, "./", 2) == 0 || strncmp(word, "../", 3) == 0) {
        enum err error = folder_of_file(t, folder, e);
        str_addf(out, "%s/%s", folder, word + (word[1] == '/' ? 2 : 0));
        return error == OK ? str_ok(out) : error;
    }
    size_t n = word[0] == '$' ? strcspn(word + 1, "/") : 0;
    if (n == 0 || n >= sizeof name) {
        str_add(out, word);
        return str_ok(out);
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)n, word + 1);
    if (stays(name)) {
        str_add(out, word);
        return str_ok(out);
    }
    const char *value = getenv(name);
    if (!value || value[0] == '\0') {
        return yaml_tree_fail(t, node, e, "%.80s: the variable %s is not set", word, name);
    }
    str_addf(out, "%s%s", value, word + 1 + n);
    return str_ok(out);
}

static enum err add_word(const struct yaml_tree *t, const struct yaml_node *node, const char *word,
                         bool paths, struct matrix_words *out, struct errbuf *e)
{
    struct str text = {0};
    enum err error = OK;
    if (paths) {
        error = expand(t, node, word, &text, e);
    } else {
        str_add(&text, word);
        error = str_ok(&text);
    }
    if (error == OK) {
        error = matrix_words_add(out, text.data, e);
    }
    str_free(&text);
    return error;
}

static enum err read_words(const struct yaml_tree *t, const struct yaml_node *node,
                           const char *what, bool paths, struct matrix_words *out, struct errbuf *e)
{
    enum err error = OK;
    if (node->kind == YAML_NODE_LIST) {
        for (uint32_t i = 0; i < node->n && error == OK; i++) {
            error = need_text(t, &node->items[i], what, e);
            if (error == OK) {
                error = add_word(t, &node->items[i], node->items[i].text, paths, out, e);
            }
        }
        return error;
    }
    error = need_text(t, node, what, e);
    for (const char *at = node->text; error == OK && *at != '\0';) {
        char word[FILE_PATH_BYTES];
        size_t n = strcspn(at, " \n");
        if (n >= sizeof word) {
            return yaml_tree_fail(t, node, e, "%s: a word of %zu bytes, at most %zu are possible",
                                  what, n, sizeof word - 1);
        }
        (void)snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (n > 0) {
            error = add_word(t, node, word, paths, out, e);
        }
        at += n + (at[n] != '\0');
    }
    return error;
}

static enum err read_commands(const struct yaml_tree *t, const struct yaml_node *node,
                              const char *what, struct matrix_commands *out, struct errbuf *e)
{
    if (node->kind != YAML_NODE_LIST || node->n > COMMANDS_MAX) {
        return yaml_tree_fail(t, node, e, "%s: expected a list of at most %d commands", what,
                              COMMANDS_MAX);
    }
    out->items = mem_calloc(node->n, sizeof *out->items);
    enum err error = out->items ? OK : err_set(e, ERR_NOMEM, "no memory for %s", what);
    for (uint32_t i = 0; i < node->n && error == OK; i++) {
        out->n = i + 1;
        error = read_words(t, &node->items[i], what, true, &out->items[i], e);
    }
    return error;
}

/* The value of a setting as --set would have it: a text, or "[a, b]". */
static enum err add_value(const struct yaml_tree *t, const struct yaml_node *value,
                          struct str *text, struct errbuf *e)
{
    struct str word = {0};
    enum err error = OK;
    if (value->kind == YAML_NODE_TEXT) {
        error = value->text[0] == '$' ? OK : expand(t, value, value->text, &word, e);
        str_add(text, value->text[0] == '$' || !word.data ? value->text : word.data);
    } else if (value->kind == YAML_NODE_LIST) {
        str_add(text, "[");
        for (uint32_t i = 0; i < value->n && error == OK; i++) {
            error = need_text(t, &value->items[i], value->key, e);
            str_addf(text, "%s%s", i > 0 ? ", " : "", error == OK ? value->items[i].text : "");
        }
        str_add(text, "]");
    } else {
        error =
            yaml_tree_fail(t, value, e, "%s: write settings with dots (\"lora.r: 8\")", value->key);
    }
    str_free(&word);
    return error == OK ? str_ok(text) : error;
}

static enum err read_settings(const struct yaml_tree *t, const struct yaml_node *node,
                              const char *what, struct matrix_words *out, struct errbuf *e)
{
    enum err error = OK;
    if (node->kind != YAML_NODE_MAP) {
        return yaml_tree_fail(t, node, e, "%s: expected a mapping of config keys to values", what);
    }
    for (uint32_t i = 0; i < node->n && error == OK; i++) {
        struct str text = {0};
        str_addf(&text, "%s=", node->items[i].key);
        error = add_value(t, &node->items[i], &text, e);
        if (error == OK) {
            error = matrix_words_add(out, text.data, e);
        }
        str_free(&text);
    }
    return error;
}

static enum err read_number(const struct yaml_tree *t, const struct yaml_node *node,
                            const char *what, double *out, struct errbuf *e)
{
    char *end = NULL;
    enum err error = need_text(t, node, what, e);
    if (error != OK) {
        return error;
    }
    *out = strtod(node->text, &end);
    return end != node->text && *end == '\0' && isfinite(*out)
               ? OK
               : yaml_tree_fail(t, node, e, "%s: '%.40s' is no number", what, node->text);
}

static enum err read_seed(const struct yaml_tree *t, const struct yaml_node *node, uint64_t *out,
                          struct errbuf *e)
{
    char *end = NULL;
    errno = 0;
    enum err error = need_text(t, node, "seeds", e);
    if (error != OK) {
        return error;
    }
    unsigned long long value = strtoull(node->text, &end, 10);
    if (errno != 0 || end == node->text || *end != '\0' || node->text[0] == '-' ||
        value > 1ull << 53) {
        return yaml_tree_fail(t, node, e, "seeds: '%.40s' is no whole number from 0 to 2^53",
                              node->text);
    }
    *out = value;
    return OK;
}

static enum err read_seeds(const struct yaml_tree *t, const struct yaml_node *node,
                           struct matrix_seeds *out, struct errbuf *e)
{
    enum err error = OK;
    if (node->kind != YAML_NODE_LIST || node->n == 0 || node->n > MATRIX_SEEDS) {
        return yaml_tree_fail(t, node, e, "seeds: expected a list of 1 to %d numbers",
                              MATRIX_SEEDS);
    }
    out->n = 0;
    for (uint32_t i = 0; i < node->n && error == OK; i++) {
        error = read_seed(t, &node->items[i], &out->seeds[i], e);
        for (uint32_t k = 0; k < i && error == OK; k++) {
            if (out->seeds[k] == out->seeds[i]) {
                error = yaml_tree_fail(t, &node->items[i], e, "seeds: %s comes twice",
                                       node->items[i].text);
            }
        }
        out->n = i + 1;
    }
    return error;
}

static enum err read_name(const struct yaml_tree *t, const struct yaml_node *node, char **out,
                          struct errbuf *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-_.";
    enum err error = need_text(t, node, "name", e);
    if (error != OK) {
        return error;
    }
    size_t n = strlen(node->text);
    if (n == 0 || n >= MATRIX_NAME_BYTES || strspn(node->text, allowed) != n ||
        node->text[0] == '.' || node->text[0] == '-') {
        return yaml_tree_fail(t, node, e,
                              "name: '%.60s' must be 1 to %d letters, digits, '-', '_' and '.', "
                              "and begin with none of the last three",
                              node->text, MATRIX_NAME_BYTES - 1);
    }
    return copy_text(node->text, out, e);
}

static enum err read_path(const struct yaml_tree *t, const struct yaml_node *node, char **out,
                          struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    struct str word = {0};
    enum err error = need_text(t, node, node->key, e);
    if (error == OK) {
        error = expand(t, node, node->text, &word, e);
    }
    if (error == OK && node->text[0] != '.' && node->text[0] != '$') {
        error = folder_of_file(t, folder, e);
        error = error == OK ? file_join(path, folder, word.data, e) : error;
    } else if (error == OK) {
        (void)snprintf(path, sizeof path, "%s", word.data);
    }
    char *real = error == OK ? realpath(path, NULL) : NULL;
    if (error == OK && !real) {
        error = yaml_tree_fail(t, node, e, "%s: there is no file %s", node->key, path);
    }
    if (error == OK) {
        error = copy_text(real, out, e);
    }
    mem_free(real);
    str_free(&word);
    return error;
}

static enum err read_flag(const struct yaml_tree *t, const struct yaml_node *node, bool *out,
                          struct errbuf *e)
{
    enum err error = need_text(t, node, node->key, e);
    if (error != OK) {
        return error;
    }
    *out = strcmp(node->text, "true") == 0;
    return *out || strcmp(node->text, "false") == 0
               ? OK
               : yaml_tree_fail(t, node, e, "%s: '%.40s' is neither true nor false", node->key,
                                node->text);
}

static enum err read_field(const struct yaml_tree *t, const struct yaml_node *node,
                           const struct matrix_field *f, void *at, struct errbuf *e)
{
    enum err error = OK;
    switch (f->kind) {
    case FIELD_TEXT:
        error = need_text(t, node, f->key, e);
        return error == OK ? copy_text(node->text, at, e) : error;
    case FIELD_NAME:
        return read_name(t, node, at, e);
    case FIELD_PATH:
        return read_path(t, node, at, e);
    case FIELD_FLAG:
        return read_flag(t, node, at, e);
    case FIELD_NUMBER:
        return read_number(t, node, f->key, at, e);
    case FIELD_WORDS:
        return read_words(t, node, f->key, true, at, e);
    case FIELD_NAMES:
        return read_words(t, node, f->key, false, at, e);
    case FIELD_SETTINGS:
        return read_settings(t, node, f->key, at, e);
    case FIELD_COMMANDS:
        return read_commands(t, node, f->key, at, e);
    case FIELD_SEEDS:
        return read_seeds(t, node, at, e);
    case FIELD_OTHER:
        return OK;
    }
    return error;
}

/* What an absent key stands for. */
static enum err leave_out(const struct yaml_tree *t, const struct yaml_node *node, const char *what,
                          const struct matrix_field *f, void *at, struct errbuf *e)
{
    if (f->kind == FIELD_NAME) {
        return yaml_tree_fail(t, node, e, "%s: has no '%s'", what, f->key);
    }
    if (f->kind == FIELD_TEXT || f->kind == FIELD_PATH) {
        return copy_text("", at, e);
    }
    if (f->kind == FIELD_NUMBER) {
        *(double *)at = (double)NAN;
    }
    return OK;
}

enum err matrix_field_read(const struct yaml_tree *t, const struct yaml_node *node,
                           const char *what, const struct matrix_field *fields, size_t n,
                           void *block, struct errbuf *e)
{
    const char *names[32] = {NULL};
    for (size_t i = 0; i < n; i++) {
        names[i] = fields[i].key;
    }
    enum err error = yaml_tree_check(t, node, what, names, n, e);
    for (size_t i = 0; i < n && error == OK; i++) {
        const struct yaml_node *value = yaml_tree_get(node, fields[i].key);
        void *at = (char *)block + fields[i].offset;
        error = value ? read_field(t, value, &fields[i], at, e)
                      : leave_out(t, node, what, &fields[i], at, e);
    }
    return error;
}

void matrix_field_free(const struct matrix_field *fields, size_t n, void *block)
{
    for (size_t i = 0; i < n; i++) {
        void *at = (char *)block + fields[i].offset;
        enum matrix_field_kind kind = fields[i].kind;
        if (kind == FIELD_TEXT || kind == FIELD_NAME || kind == FIELD_PATH) {
            mem_free(*(char **)at);
        } else if (kind == FIELD_WORDS || kind == FIELD_NAMES || kind == FIELD_SETTINGS) {
            matrix_words_free(at);
        } else if (kind == FIELD_COMMANDS) {
            struct matrix_commands *commands = at;
            for (uint32_t k = 0; k < commands->n; k++) {
                matrix_words_free(&commands->items[k]);
            }
            mem_free(commands->items);
        }
    }
}
