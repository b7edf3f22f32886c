/* eval_command.c - pft eval: one evaluation through a coordinator and workers of its own.
 * Owns: a temporary run folder, removed at the end, or the one of --out, in which an evaluation
 * that was killed goes on. Never: scores; the workers do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/eval_show.h"
#include "cli/local.h"
#include "cli/scratch.h"
#include "cli/trial_command.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_default.h"
#include "coordinator/config.h"
#include "coordinator/eval_ask.h"
#include "coordinator/journal.h"
#include "coordinator/readout.h"

enum { WORDS = ARGS_REPEATS * 4 + 64 };

struct eval_options {
    const char *run, *model, *data, *values, *train, *readout, *workers, *out;
    const char *task, *shots, *limit, *fit, *seed; /* as given; checked into ask */
    struct eval_request ask;
    const char *sets[ARGS_REPEATS], *steers[ARGS_REPEATS];
    int n_sets, n_steers;
    bool json, paired, count;
};

/* Texts that words point to, and the folder. */
struct eval_room {
    char scratch[SCRATCH_BYTES]; /* "": the folder is that of --out */
    char folder[FILE_PATH_BYTES], config[FILE_PATH_BYTES], result[FILE_PATH_BYTES],
        model[FILE_PATH_BYTES];
    char set_model[FILE_PATH_BYTES + 32], set_data[FILE_PATH_BYTES + 32];
    char set_values[FILE_PATH_BYTES + 32], set_train[FILE_PATH_BYTES + 32], set_readouts[256];
    char readouts[sizeof "likelihood,lift,contrast,letter" * 4];
    bool goes_on; /* there is a run in the folder of --out */
};

static enum err check_words(struct eval_options *o, const struct args *a, struct errbuf *e)
{
    o->run = a->positional[0];
    if (a->n_positional > 1 || (o->run != NULL) == (o->model != NULL)) {
        return err_set(e, ERR_USAGE, "one RUN or --model FILE is needed; usage: %s", a->usage);
    }
    if (o->model && (!o->data || (!o->values && o->ask.task != EVAL_RETENTION))) {
        return err_set(e, ERR_USAGE, "--model needs --data FILE and --values FILE; usage: %s",
                       a->usage);
    }
    if (o->model && o->paired) {
        return err_set(e, ERR_USAGE,
                       "--paired compares a RUN with its base; --model FILE has no "
                       "adapter to switch off");
    }
    return OK;
}

/* Takes an option that only the tasks of `mask` know. */
static enum err check_one(struct eval_options *o, const char *name, const char *value,
                          enum err (*take)(struct eval_request *, const char *, struct errbuf *),
                          uint32_t mask, struct errbuf *e)
{
    if (!value) {
        return OK;
    }
    if (!(mask & 1u << o->ask.task)) {
        return err_set(e, ERR_USAGE, "%s says nothing to --task %s", name,
                       eval_kind(o->ask.task)->name);
    }
    return take(&o->ask, value, e);
}

static enum err check_asked(struct eval_options *o, struct errbuf *e)
{
    const uint32_t all = (1u << EVAL_TASKS) - 1;
    o->ask = eval_ask_usual();
    enum err error = check_one(o, "--task", o->task, eval_ask_task, all, e);
    if (error == OK && o->ask.task == EVAL_VALUES) {
        error = err_set(e, ERR_USAGE, "--task values is for pft infer and --readout inferred");
    }
    if (error == OK) {
        error = check_one(o, "--shots", o->shots, eval_ask_shots, 1u << EVAL_HISTORY, e);
    }
    if (error == OK) {
        error = check_one(o, "--limit", o->limit, eval_ask_limit, all, e);
    }
    if (error == OK) {
        error = check_one(o, "--fit", o->fit, eval_ask_fit, 1u << EVAL_SELECT, e);
    }
    if (error == OK) {
        error = check_one(o, "--seed", o->seed, eval_ask_seed, 1u << EVAL_HISTORY, e);
    }
    return error;
}

static enum err read_options(struct eval_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--task", "NAME", "select (default), behaviour, retention or history", &o->task, NULL,
         NULL},
        {"--model", "FILE", "a bare model instead of a run (\"default\": the fetched one)",
         &o->model, NULL, NULL},
        {"--data", "FILE", "data file (default with a run: its data.test)", &o->data, NULL, NULL},
        {"--values", "FILE", "values file, with --model", &o->values, NULL, NULL},
        {"--train", "FILE",
         "training file, for bag-of-words and thresholds (default with a run: its "
         "data.train, unless --values or behaviour ask for other ones)",
         &o->train, NULL, NULL},
        {"--readout", "NAMES",
         "likelihood, lift, contrast, letter; comma-separated (docs/evaluation.md); history "
         "also: inferred, with options of its own",
         &o->readout, NULL, NULL},
        {"--shots", "LIST", "history: earlier choices shown (default 0,1,3)", &o->shots, NULL,
         NULL},
        {"--seed", "N", "history: of the simulated users (default 0)", &o->seed, NULL, NULL},
        {"--fit", "N", "select: training scenarios that thresholds are fitted on (default 60)",
         &o->fit, NULL, NULL},
        {"--limit", "N", "the first N scenarios of the data file", &o->limit, NULL, NULL},
        {"--paired", NULL, "score with the adapter off too and print the paired difference", NULL,
         NULL, &o->paired},
        {"--out", "FOLDER", "keep what is scored there; the same command goes on after a kill",
         &o->out, NULL, NULL},
        {"--workers", "N", "one-slot workers to start (default: one per core)", &o->workers, NULL,
         NULL},
        {"--steer", "SPEC", "FILE=MULTIPLIER[@LAYER]: add a control vector", o->steers,
         &o->n_steers, NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--count", NULL, "print how much there is to score, score nothing", NULL, NULL, &o->count},
        {"--json", NULL, "print JSON", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft eval RUN|--model FILE --data FILE --values FILE [--task NAME] "
                              "[options]",
                     .what = "Asks an adapter or a bare model and prints shares with intervals.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK) {
        error = check_asked(o, e);
    }
    return error == OK ? check_words(o, &a, e) : error;
}

static enum err unknown_readout(const struct eval_kind *kind, const char *name, struct errbuf *e)
{
    char known[128] = "";
    size_t n = 0;
    for (int r = 0; r < READOUTS; r++) {
        if (kind->readouts & 1u << r) {
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "",
                                  readout_name((enum readout)r));
        }
    }
    return err_set(e, ERR_USAGE,
                   "--readout: --task %s has no '%s'; %s are possible, "
                   "comma-separated",
                   kind->name, name, known);
}

/* The readouts as a list for the config, "" where the task has its own. */
static enum err choose_readouts(const struct eval_options *o, char *out, size_t room,
                                struct errbuf *e)
{
    const struct eval_kind *kind = eval_kind(o->ask.task);
    const char *list = o->readout;
    char name[32];
    size_t used = 0;
    out[0] = '\0';
    if (kind->readouts == 0) {
        return !list ? OK
                     : err_set(e, ERR_USAGE,
                               "--readout says nothing to --task %s, which sums and "
                               "averages log-probabilities",
                               kind->name);
    }
    for (int r = 0; !list && r < READOUTS; r++) {
        if (kind->usual & 1u << r) {
            used += (size_t)snprintf(out + used, room - used, "%s%s", used > 0 ? "," : "",
                                     readout_name((enum readout)r));
        }
    }
    for (const char *at = list; at && (at == list || *at != '\0');) {
        size_t n = strcspn(at, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, at);
        int r = readout_from(name);
        if (r < 0 || !(kind->readouts & 1u << r)) {
            return unknown_readout(kind, name, e);
        }
        at += n + (at[n] == ',');
    }
    if (list && (size_t)snprintf(out, room, "%s", list) >= room) {
        return err_set(e, ERR_USAGE, "--readout: the list is too long");
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

static enum err make_room(const struct eval_options *o, struct eval_room *room, struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    if (o->out) {
        enum err there = file_make_folder(o->out, e);
        if (there == OK) {
            there = file_join(db, o->out, "run.db", e);
        }
        if (there != OK) {
            return there;
        }
        room->goes_on = file_exists(db);
    }
    enum err error = o->out ? OK : scratch_make(room->scratch, e);
    if (error != OK) {
        return error;
    }
    (void)snprintf(room->folder, sizeof room->folder, "%s", o->out ? o->out : room->scratch);
    error = file_join(room->result, room->folder, "result.json", e);
    if (error == OK) {
        error = file_join(room->config, room->folder, "config.yaml", e);
    }
    return error;
}

static void add_word(struct local_options *local, const char **words, const char *option,
                     const char *value)
{
    if (value) {
        words[local->n_words++] = option;
        words[local->n_words++] = value;
    }
}

/* What is asked, as it was given. */
static void add_asked(const struct eval_options *o, const struct eval_room *room,
                      struct local_options *local, const char **words)
{
    add_word(local, words, "--task", o->task);
    add_word(local, words, "--shots", o->shots);
    add_word(local, words, "--limit", o->limit);
    add_word(local, words, "--fit", o->fit);
    add_word(local, words, "--seed", o->seed);
    if (o->paired) {
        words[local->n_words++] = "--paired";
    }
    if (o->count) {
        words[local->n_words++] = "--count";
    }
    if (room->goes_on) {
        words[local->n_words++] = "--resume";
    }
}

/* The words of the coordinator; the bare model gets an empty config, all defaults. */
static enum err fill_words(const struct eval_options *o, struct eval_room *room, const char **words,
                           struct local_options *local, struct errbuf *e)
{
    enum err error = OK;
    words[local->n_words++] = "--eval-only";
    add_asked(o, room, local, words);
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
    if (error == OK && o->train) {
        error = set_path(room->set_train, sizeof room->set_train, "data.train", o->train, e);
        add_set(local, words, room->set_train);
    } else if (error == OK && (o->values || o->ask.task == EVAL_BEHAVIOUR)) {
        add_set(local, words, "data.train="); /* the run's is about other values */
    }
    if (error == OK && room->readouts[0] != '\0') {
        (void)snprintf(room->set_readouts, sizeof room->set_readouts, "eval.readouts=[%s]",
                       room->readouts);
        add_set(local, words, room->set_readouts);
    }
    for (int i = 0; i < o->n_sets; i++) {
        add_set(local, words, o->sets[i]);
    }
    for (int i = 0; i < o->n_steers; i++) {
        add_word(local, words, "--steer", o->steers[i]);
    }
    return error;
}

static enum err evaluate(const struct eval_options *o, struct eval_room *room, int *code,
                         struct errbuf *e)
{
    const char *words[WORDS];
    struct local_options local = {.words = words,
                                  .out = room->folder,
                                  .model = room->model,
                                  .capture = room->result,
                                  .goes_on = o->out ? "the same command goes on"
                                                    : "nothing is kept without --out"};
    enum err error = fill_words(o, room, words, &local, e);
    if (error == OK) {
        error = local_shape(o->workers, NULL, NULL, &local, e);
    }
    if (error == OK) {
        error = local_run(&local, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = o->count ? eval_show_count(room->result, e) : eval_show(room->result, o->json, e);
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
        error = choose_readouts(&o, room.readouts, sizeof room.readouts, &e);
    }
    if (error == OK) {
        error = make_room(&o, &room, &e);
    }
    if (error == OK) {
        error = evaluate(&o, &room, &code, &e);
    }
    scratch_remove(room.scratch);
    return error == OK ? code : cli_explain("pft eval", error, &e);
}
