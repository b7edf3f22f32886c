/* matrix_key.c - keys of results. */
#include "cli/matrix_key.h"

#include <string.h>
#include <sys/stat.h>

#include "common/base/str.h"
#include "common/format/model_hash.h"
#include "coordinator/config.h"
#include "coordinator/export.h"
#include "coordinator/setup.h"

enum { READ_WHOLE = 64 << 20 }; /* bytes; a larger file is a model, whose hash is kept */

static bool is_under(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Appends the hash of a regular file; of anything else nothing. */
static enum err add_content(const char *path, struct str *text, struct errbuf *e)
{
    char hex[HASH_SHA256_HEX];
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        return OK;
    }
    enum err error = st.st_size > READ_WHOLE ? model_hash_file(path, hex, e)
                                             : hash_file_sha256_hex(path, hex, e);
    if (error == OK) {
        str_addf(text, "content %s\n", hex);
    }
    return error;
}

/* A word, and what it names: a file, or the value of KEY=FILE. */
static enum err add_word(const char *word, const struct matrix_place *p, struct str *text,
                         struct errbuf *e)
{
    const char *equals = strchr(word, '=');
    const char *path = equals ? equals + 1 : word;
    str_addf(text, "%s\n", word);
    bool made = is_under(path, p->work) || is_under(path, p->run) || is_under(path, p->eval);
    return made ? OK : add_content(path, text, e);
}

/* A training counts by what its config says; comments in it do not matter. */
static enum err add_commands(const struct matrix_commands *list, bool training,
                             const struct matrix_place *p, struct str *text, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < list->n; i++) {
        for (uint32_t k = 0; k < list->items[i].n && error == OK; k++) {
            if (training) {
                str_addf(text, "%s\n", list->items[i].items[k]);
            } else {
                error = add_word(list->items[i].items[k], p, text, e);
            }
        }
        str_add(text, "\n");
    }
    return error;
}

static enum err add_config(const struct matrix_variant *v, bool training, struct str *text,
                           struct errbuf *e)
{
    struct run_config *cfg = NULL;
    enum err error =
        config_load(v->config, (const char *const *)v->set.items, (int)v->set.n, &cfg, e);
    if (error != OK) {
        return error;
    }
    const char *const files[] = {cfg->data_train, cfg->data_values, cfg->anchor_data};
    if (training) {
        setup_fixed_keys(cfg, text);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0] && error == OK; i++) {
        error = add_content(files[i], text, e);
    }
    config_free(&cfg);
    return error;
}

static enum err add_adapter(const struct matrix_place *p, struct str *text, struct errbuf *e)
{
    char adapter[FILE_PATH_BYTES];
    char hash[HASH_SHA256_HEX];
    enum err error = file_join(adapter, p->run, "adapter", e);
    if (error == OK) {
        error = export_hash(adapter, hash, e);
    }
    if (error == OK) {
        str_add(text, hash);
    }
    return error;
}

enum err matrix_key(const struct matrix *m, const struct matrix_cell *c,
                    const struct matrix_place *p, char key[HASH_SHA256_HEX], struct errbuf *e)
{
    const struct matrix_variant *v = &m->variants[c->variant];
    bool training = c->evaluation == MATRIX_TRAIN;
    struct matrix_commands list = {0};
    struct str text = {0};
    enum err error = matrix_commands(m, c, p, false, NULL, &list, e);
    if (error == OK) {
        error = add_commands(&list, training, p, &text, e);
    }
    if (error == OK && v->trained) {
        error = add_config(v, training, &text, e);
    }
    if (error == OK && v->trained && !training) {
        error = add_adapter(p, &text, e);
    }
    if (error == OK && str_ok(&text) != OK) {
        error = err_set(e, ERR_NOMEM, "no memory for the key of %s", c->name);
    }
    if (error == OK) {
        hash_sha256_hex(text.data, text.len, key);
    }
    matrix_commands_free(&list);
    str_free(&text);
    return error;
}
