/* scoring.c - one run of the coordinator and its workers for a table of scores. */
#include "cli/scoring.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/local_words.h"

struct part {
    const char *data;
    uint32_t limit;
    bool own_axis;
    char limit_text[16];
};

static enum err fill_words(const struct scoring *s, struct part *part, struct local_words *w,
                           struct errbuf *e)
{
    local_words_add(w, "--eval-only");
    local_words_option(w, "--from", s->run);
    local_words_option(w, "--task", "values");
    enum err error = local_words_path(w, "data.test", part->data, e);
    /* The training file is not looked at: it may be elsewhere by now. */
    local_words_set(w, "data.train=");
    if (part->limit > 0) {
        (void)snprintf(part->limit_text, sizeof part->limit_text, "%u", part->limit);
        local_words_option(w, "--limit", part->limit_text);
    }
    if (part->own_axis) {
        local_words_add(w, "--own-axis");
    }
    if (w->goes_on) {
        local_words_add(w, "--resume");
    }
    for (int i = 0; i < s->n_sets; i++) {
        local_words_set(w, s->sets[i]);
    }
    return error;
}

static enum err score(const struct scoring *s, struct local_words *w, json_t **table, int *code,
                      struct errbuf *e)
{
    json_error_t where;
    w->local.model = s->info->model;
    w->local.capture = w->result;
    w->local.goes_on = s->keep ? "the same command goes on" : "nothing is kept";
    enum err error = local_shape(s->workers, NULL, NULL, &w->local, e);
    if (error == OK) {
        error = local_run(&w->local, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        *table = json_load_file(w->result, 0, &where);
        error = *table ? OK
                       : err_set(e, ERR_PARSE, "the coordinator printed no scores: %s", where.text);
    }
    return error;
}

enum err scoring_run(const struct scoring *s, const char *part, const char *data, uint32_t limit,
                     bool own_axis, json_t **table, int *code, struct errbuf *e)
{
    char keep[FILE_PATH_BYTES];
    struct part what = {.data = data, .limit = limit, .own_axis = own_axis};
    struct local_words w = {.goes_on = false};
    *table = NULL;
    enum err error = s->keep ? file_join(keep, s->keep, part, e) : OK;
    if (error == OK) {
        error = local_words_make(&w, s->keep ? keep : NULL, e);
    }
    if (error == OK) {
        error = fill_words(s, &what, &w, e);
    }
    if (error == OK) {
        error = score(s, &w, table, code, e);
    }
    local_words_free(&w);
    return error;
}
