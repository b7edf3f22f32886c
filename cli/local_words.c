/* local_words.c - a folder and the words that go with it. */
#include "cli/local_words.h"

#include <stdio.h>

#include "cli/run_info.h"
#include "common/base/check.h"
#include "common/format/model_default.h"

enum err local_words_check(const struct local_served *served, const char *usage, struct errbuf *e)
{
    return (served->run != NULL) != (served->model != NULL)
               ? OK
               : err_set(e, ERR_USAGE, "one RUN or --model FILE is needed; usage: %s", usage);
}

static enum err choose_folder(struct local_words *w, const char *keep, struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    if (!keep) {
        enum err error = scratch_make(&w->scratch, e);
        (void)snprintf(w->folder, sizeof w->folder, "%s", w->scratch.folder);
        return error;
    }
    enum err error = file_make_folder(keep, e);
    if (error == OK) {
        error = file_join(db, keep, "run.db", e);
    }
    if (error == OK) {
        (void)snprintf(w->folder, sizeof w->folder, "%s", keep);
        w->goes_on = file_exists(db);
    }
    return error;
}

enum err local_words_make(struct local_words *w, const char *keep, struct errbuf *e)
{
    *w = (struct local_words){.n_paths = 0};
    w->local.words = w->words;
    w->local.out = w->folder;
    w->local.model = w->model;
    enum err error = choose_folder(w, keep, e);
    if (error == OK) {
        error = file_join(w->config, w->folder, "config.yaml", e);
    }
    return error == OK ? file_join(w->result, w->folder, "result.json", e) : error;
}

void local_words_free(struct local_words *w)
{
    scratch_remove(&w->scratch);
}

void local_words_add(struct local_words *w, const char *word)
{
    CHECK(w->local.n_words < LOCAL_WORDS);
    w->words[w->local.n_words++] = word;
}

void local_words_option(struct local_words *w, const char *option, const char *value)
{
    if (value) {
        local_words_add(w, option);
        local_words_add(w, value);
    }
}

void local_words_set(struct local_words *w, const char *set)
{
    local_words_option(w, "--set", set);
}

enum err local_words_path(struct local_words *w, const char *key, const char *path,
                          struct errbuf *e)
{
    char full[FILE_PATH_BYTES];
    CHECK(w->n_paths < LOCAL_PATHS);
    enum err error = file_absolute(full, path, e);
    if (error == OK) {
        char *set = w->paths[w->n_paths++];
        CHECK(snprintf(set, LOCAL_SET_BYTES, "%s=%s", key, full) < LOCAL_SET_BYTES);
        local_words_set(w, set);
    }
    return error;
}

/* The model that a run was made with. */
static enum err model_of_run(const struct local_served *served, char model[FILE_PATH_BYTES],
                             struct errbuf *e)
{
    struct journal *j = NULL;
    enum err error = journal_open_reader(served->run, &j, e);
    if (error == OK) {
        error = run_info_model(j, served->sets, served->n_sets, model, e);
    }
    journal_close(&j);
    return error;
}

/* A bare model gets an empty config, all defaults. */
static enum err fill_model(struct local_words *w, const struct local_served *served,
                           struct errbuf *e)
{
    if (served->run) {
        local_words_option(w, "--from", served->run);
        return model_of_run(served, w->model, e);
    }
    local_words_add(w, w->config);
    enum err error = file_write_atomic(w->config, "# defaults\n", 11, e);
    if (error == OK) {
        error = model_resolve(served->model, w->model, e);
    }
    return error == OK ? local_words_path(w, "model.path", w->model, e) : error;
}

enum err local_words_fill(struct local_words *w, const char *mode,
                          const struct local_served *served, struct errbuf *e)
{
    local_words_add(w, mode);
    enum err error = fill_model(w, served, e);
    if (error == OK && served->no_data) {
        local_words_set(w, "data.test=");
        local_words_set(w, "data.train=");
    } else if (error == OK && served->data) {
        error = local_words_path(w, "data.test", served->data, e);
    }
    if (error == OK && served->values) {
        error = local_words_path(w, "data.values", served->values, e);
    }
    for (int i = 0; i < served->n_steers; i++) {
        local_words_option(w, "--steer", served->steers[i]);
    }
    for (int i = 0; i < served->n_sets; i++) {
        local_words_set(w, served->sets[i]);
    }
    return error;
}
