/* local_words.c - a temporary folder and the words that go with it. */
#include "cli/local_words.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_default.h"
#include "coordinator/journal.h"

enum { FTW_FDS = 16 };

enum err local_words_check(const struct local_served *served, const char *usage, struct errbuf *e)
{
    return (served->run != NULL) != (served->model != NULL)
               ? OK
               : err_set(e, ERR_USAGE, "one RUN or --model FILE is needed; usage: %s", usage);
}

enum err local_words_make(struct local_words *w, struct errbuf *e)
{
    *w = (struct local_words){.folder = "/tmp/pft-local-XXXXXX"};
    if (!mkdtemp(w->folder)) {
        w->folder[0] = '\0';
        return err_set(e, ERR_IO, "/tmp: no folder can be made there");
    }
    w->local.words = w->words;
    w->local.out = w->folder;
    w->local.model = w->model;
    return file_join(w->config, w->folder, "config.yaml", e);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void local_words_free(struct local_words *w)
{
    if (w->folder[0] != '\0') {
        (void)nftw(w->folder, remove_entry, FTW_FDS, FTW_DEPTH | FTW_PHYS);
    }
}

static void add(struct local_words *w, const char *word)
{
    if (w->local.n_words < LOCAL_WORDS) {
        w->words[w->local.n_words++] = word;
    }
}

void local_words_set(struct local_words *w, const char *set)
{
    add(w, "--set");
    add(w, set);
}

/* The model that a run was made with. */
static enum err model_of_run(const char *run, char model[FILE_PATH_BYTES], struct errbuf *e)
{
    struct journal *j = NULL;
    struct str text = {0};
    enum err error = journal_open_reader(run, &j, e);
    if (error == OK) {
        error = journal_meta_get(j, "model_path", &text, e);
    }
    if (error == OK) {
        error = model_resolve(text.data ? text.data : "", model, e);
    }
    str_free(&text);
    journal_close(&j);
    return error;
}

static enum err set_path(struct local_words *w, char out[LOCAL_SET_BYTES], const char *key,
                         const char *path, struct errbuf *e)
{
    char *real = realpath(path, NULL);
    if (!real) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", path);
    }
    int n = snprintf(out, LOCAL_SET_BYTES, "%s=%s", key, real);
    mem_free(real);
    local_words_set(w, out);
    return n < LOCAL_SET_BYTES ? OK : err_set(e, ERR_RANGE, "%s: the path is too long", path);
}

/* A bare model gets an empty config, all defaults. */
static enum err fill_model(struct local_words *w, const struct local_served *served,
                           struct errbuf *e)
{
    if (served->run) {
        add(w, "--from");
        add(w, served->run);
        return model_of_run(served->run, w->model, e);
    }
    add(w, w->config);
    enum err error = file_write_atomic(w->config, "# defaults\n", 11, e);
    if (error == OK) {
        error = model_resolve(served->model, w->model, e);
    }
    return error == OK ? set_path(w, w->set_model, "model.path", w->model, e) : error;
}

enum err local_words_fill(struct local_words *w, const char *mode,
                          const struct local_served *served, struct errbuf *e)
{
    add(w, mode);
    enum err error = fill_model(w, served, e);
    if (error == OK && served->data && served->data[0] == '\0') { /* none, whatever the run has */
        local_words_set(w, "data.test=");
        local_words_set(w, "data.train=");
    } else if (error == OK && served->data) {
        error = set_path(w, w->set_data, "data.test", served->data, e);
    }
    if (error == OK && served->values) {
        error = set_path(w, w->set_values, "data.values", served->values, e);
    }
    for (int i = 0; i < served->n_steers; i++) {
        add(w, "--steer");
        add(w, served->steers[i]);
    }
    for (int i = 0; i < served->n_sets; i++) {
        local_words_set(w, served->sets[i]);
    }
    return error;
}
