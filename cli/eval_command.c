/* eval_command.c - pft eval: one evaluation through a coordinator and workers of its own.
 * Owns: a temporary run folder, removed at the end. Never: scores; the workers do. */
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/local.h"
#include "cli/trial_command.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_default.h"
#include "coordinator/config.h"
#include "coordinator/journal.h"
#include "coordinator/readout.h"

enum { WORDS = ARGS_REPEATS * 2 + 32, RESULT_BYTES = 256 << 20, FTW_FDS = 16 };

struct eval_options {
    const char *run, *model, *data, *values, *readout, *workers;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool json;
};

/* Texts that words point to, and the folder. */
struct eval_room {
    char folder[64], config[FILE_PATH_BYTES], result[FILE_PATH_BYTES], model[FILE_PATH_BYTES];
    char set_model[FILE_PATH_BYTES + 32], set_data[FILE_PATH_BYTES + 32];
    char set_values[FILE_PATH_BYTES + 32], set_readouts[256];
};

static enum err read_options(struct eval_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--model", "FILE", "a bare model instead of a run (\"default\": the fetched one)",
         &o->model, NULL, NULL},
        {"--data", "FILE", "data file (default with a run: its data.test)", &o->data, NULL, NULL},
        {"--values", "FILE", "values file, with --model", &o->values, NULL, NULL},
        {"--readout", "NAMES", "likelihood, lift, contrast (default), letter; comma-separated",
         &o->readout, NULL, NULL},
        {"--workers", "N", "one-slot workers to start (default: one per core)", &o->workers, NULL,
         NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--json", NULL, "print JSON", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft eval RUN|--model FILE --data FILE --values FILE [options]",
                     .what = "Scores select-one questions with an adapter or a bare model.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    o->run = a.positional[0];
    o->readout = o->readout ? o->readout : "contrast";
    if (error == OK && (a.n_positional > 1 || (o->run != NULL) == (o->model != NULL))) {
        error = err_set(e, ERR_USAGE, "one RUN or --model FILE is needed; usage: %s", a.usage);
    }
    if (error == OK && o->model && (!o->data || !o->values)) {
        error = err_set(e, ERR_USAGE, "--model needs --data FILE and --values FILE; usage: %s",
                        a.usage);
    }
    return error;
}

static enum err check_readouts(const char *list, struct errbuf *e)
{
    char name[32];
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, list);
        if (readout_from(name) < 0) {
            return err_set(e, ERR_USAGE,
                           "--readout: '%s' is unknown; likelihood, lift, contrast and letter are "
                           "possible, comma-separated",
                           name);
        }
        list += n + (list[n] == ',');
    }
    return OK;
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

static enum err absolute(const char *path, char out[FILE_PATH_BYTES], struct errbuf *e)
{
    char *real = realpath(path, NULL);
    if (!real) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", path);
    }
    int n = snprintf(out, FILE_PATH_BYTES, "%s", real);
    mem_free(real);
    return n < FILE_PATH_BYTES ? OK : err_set(e, ERR_RANGE, "%s: the path is too long", path);
}

static enum err set_path(char *out, size_t room, const char *key, const char *path,
                         struct errbuf *e)
{
    char full[FILE_PATH_BYTES];
    enum err error = absolute(path, full, e);
    if (error == OK) {
        (void)snprintf(out, room, "%s=%s", key, full);
    }
    return error;
}

static void add_set(struct local_options *local, const char **words, const char *set)
{
    words[local->n_words++] = "--set";
    words[local->n_words++] = set;
}

static enum err make_room(struct eval_room *room, struct errbuf *e)
{
    (void)snprintf(room->folder, sizeof room->folder, "/tmp/pft-eval-XXXXXX");
    if (!mkdtemp(room->folder)) {
        return err_set(e, ERR_IO, "/tmp: no folder can be made there");
    }
    enum err error = file_join(room->result, room->folder, "result.json", e);
    if (error == OK) {
        error = file_join(room->config, room->folder, "config.yaml", e);
    }
    return error;
}

/* The words of the coordinator; the bare model gets an empty config, all defaults. */
static enum err fill_words(const struct eval_options *o, struct eval_room *room, const char **words,
                           struct local_options *local, struct errbuf *e)
{
    enum err error = OK;
    words[local->n_words++] = "--eval-only";
    if (o->run) {
        words[local->n_words++] = "--from";
        words[local->n_words++] = o->run;
        error = model_of_run(o->run, room->model, e);
    } else {
        words[local->n_words++] = room->config;
        error = file_write_atomic(room->config, "# defaults\n", 11, e);
        if (error == OK) {
            error = model_resolve(o->model, room->model, e);
        }
        if (error == OK) {
            error = set_path(room->set_model, sizeof room->set_model, "model.path", room->model, e);
            add_set(local, words, room->set_model);
        }
    }
    if (error == OK && o->data) {
        error = set_path(room->set_data, sizeof room->set_data, "data.test", o->data, e);
        add_set(local, words, room->set_data);
    }
    if (error == OK && o->values) {
        error = set_path(room->set_values, sizeof room->set_values, "data.values", o->values, e);
        add_set(local, words, room->set_values);
    }
    (void)snprintf(room->set_readouts, sizeof room->set_readouts, "eval.readouts=[%s]", o->readout);
    add_set(local, words, room->set_readouts);
    for (int i = 0; i < o->n_sets; i++) {
        add_set(local, words, o->sets[i]);
    }
    return error;
}

static void print_share(const char *name, json_t *share)
{
    json_t *ci = json_object_get(share, "ci95");
    (void)printf("  %-26s %6lld   %.3f   [%.3f, %.3f]\n", name,
                 (long long)json_integer_value(json_object_get(share, "n")),
                 json_number_value(json_object_get(share, "accuracy")),
                 json_number_value(json_array_get(ci, 0)),
                 json_number_value(json_array_get(ci, 1)));
}

static void print_table(json_t *results)
{
    size_t i;
    json_t *result;
    json_array_foreach(results, i, result)
    {
        const char *name;
        json_t *share;
        json_t *bag = json_object_get(result, "bag_of_words");
        (void)printf("%s%-28s %6s   %s   %s\n", i > 0 ? "\n" : "",
                     json_string_value(json_object_get(result, "readout")), "n", "right",
                     "95 % interval");
        print_share("all", result);
        if (json_is_object(bag)) {
            print_share("bag-of-words", bag);
        }
        json_object_foreach(json_object_get(result, "per_value"), name, share)
        {
            print_share(name, share);
        }
    }
}

static enum err show(const struct eval_options *o, const char *path, struct errbuf *e)
{
    json_error_t where;
    json_t *root = json_load_file(path, 0, &where);
    json_t *results = json_object_get(root, "results");
    if (json_array_size(results) == 0) {
        json_decref(root);
        return err_set(e, ERR_PARSE, "the coordinator printed no result: %s", where.text);
    }
    size_t i;
    json_t *result;
    json_array_foreach(results, i, result)
    {
        (void)json_object_del(result, "questions");
    }
    if (o->json) {
        json_t *shown = json_array_size(results) == 1 ? json_array_get(results, 0) : root;
        (void)json_dumpf(shown, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        (void)puts("");
    } else {
        print_table(results);
    }
    json_decref(root);
    return OK;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static enum err evaluate(const struct eval_options *o, struct eval_room *room, int *code,
                         struct errbuf *e)
{
    const char *words[WORDS];
    struct local_options local = {
        .words = words, .out = room->folder, .model = room->model, .capture = room->result};
    enum err error = fill_words(o, room, words, &local, e);
    if (error == OK) {
        error = local_shape(o->workers, NULL, NULL, &local, e);
    }
    if (error == OK) {
        error = local_run(&local, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = show(o, room->result, e);
    }
    return error;
}

int cli_eval(int argc, char **argv)
{
    if (trial_asked_for(argc, argv)) {
        return cli_trial(argc, argv);
    }
    struct eval_options o = {0};
    struct eval_room room = {0};
    struct errbuf e = {0};
    int code = CLI_OK;
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = check_readouts(o.readout, &e);
    }
    if (error == OK) {
        error = make_room(&room, &e);
    }
    if (error == OK) {
        error = evaluate(&o, &room, &code, &e);
    }
    if (room.config[0] != '\0') {
        (void)nftw(room.folder, remove_entry, FTW_FDS, FTW_DEPTH | FTW_PHYS);
    }
    return error == OK ? code : cli_explain("pft eval", error, &e);
}
