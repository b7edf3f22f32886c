/* scoring.c - one run of the coordinator and its workers for a table of scores. */
#include "cli/scoring.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/local.h"
#include "cli/scratch.h"
#include "common/base/file.h"
#include "common/base/mem.h"

enum { WORDS = ARGS_REPEATS * 2 + 32 };

/* Texts that words point to. */
struct texts {
    char scratch[SCRATCH_BYTES], folder[FILE_PATH_BYTES], result[FILE_PATH_BYTES];
    bool goes_on; /* the folder holds scores of an earlier start */
    char data[FILE_PATH_BYTES + 32], limit[16];
};

static enum err name_data(const char *data, struct texts *t, struct errbuf *e)
{
    char *real = realpath(data, NULL);
    if (!real) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", data);
    }
    int n = snprintf(t->data, sizeof t->data, "data.test=%s", real);
    mem_free(real);
    return n < (int)sizeof t->data ? OK : err_set(e, ERR_RANGE, "%s: the path is too long", data);
}

static void fill_words(const struct scoring *s, uint32_t limit, bool own_axis, struct texts *t,
                       const char **words, struct local_options *local)
{
    /* The training file is not looked at: it may be elsewhere by now. */
    const char *const always[] = {"--eval-only", "--from", s->run,  "--task",     "values",
                                  "--set",       t->data,  "--set", "data.train="};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        words[local->n_words++] = always[i];
    }
    if (limit > 0) {
        (void)snprintf(t->limit, sizeof t->limit, "%u", limit);
        words[local->n_words++] = "--limit";
        words[local->n_words++] = t->limit;
    }
    if (own_axis) {
        words[local->n_words++] = "--own-axis";
    }
    if (t->goes_on) {
        words[local->n_words++] = "--resume";
    }
    for (int i = 0; i < s->n_sets; i++) {
        words[local->n_words++] = "--set";
        words[local->n_words++] = s->sets[i];
    }
}

static enum err score(const struct scoring *s, uint32_t limit, bool own_axis, struct texts *t,
                      json_t **table, int *code, struct errbuf *e)
{
    const char *words[WORDS];
    json_error_t where;
    struct local_options local = {.words = words,
                                  .out = t->folder,
                                  .model = s->info->model,
                                  .capture = t->result,
                                  .goes_on =
                                      s->keep ? "the same command goes on" : "nothing is kept"};
    fill_words(s, limit, own_axis, t, words, &local);
    enum err error = file_join(t->result, t->folder, "result.json", e);
    if (error == OK) {
        error = local_shape(s->workers, NULL, NULL, &local, e);
    }
    if (error == OK) {
        error = local_run(&local, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        *table = json_load_file(t->result, 0, &where);
        error = *table ? OK
                       : err_set(e, ERR_PARSE, "the coordinator printed no scores: %s", where.text);
    }
    return error;
}

static enum err make_folder(const struct scoring *s, const char *part, struct texts *t,
                            struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    if (!s->keep) {
        enum err error = scratch_make(t->scratch, e);
        return error == OK ? file_join(t->folder, t->scratch, part, e) : error;
    }
    enum err error = file_join(t->folder, s->keep, part, e);
    if (error == OK) {
        error = file_join(db, t->folder, "run.db", e);
    }
    t->goes_on = error == OK && file_exists(db);
    return error;
}

enum err scoring_run(const struct scoring *s, const char *part, const char *data, uint32_t limit,
                     bool own_axis, json_t **table, int *code, struct errbuf *e)
{
    struct texts t = {.scratch = ""};
    *table = NULL;
    enum err error = name_data(data, &t, e);
    if (error == OK) {
        error = make_folder(s, part, &t, e);
    }
    if (error == OK) {
        error = file_make_folder(t.folder, e);
    }
    if (error == OK) {
        error = score(s, limit, own_axis, &t, table, code, e);
    }
    scratch_remove(t.scratch);
    return error;
}
