/* eval_command.c - pft eval: one evaluation through a coordinator and workers of its own.
 * Owns: the words that ask for it. Never: scores; the workers do. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/eval_show.h"
#include "cli/local_words.h"
#include "cli/trial_command.h"
#include "coordinator/eval_ask.h"
#include "coordinator/readout.h"

static const char MIX[] = "mix"; /* the readout that has a share in place of a value */
static const char LAMBDAS[] = "0,.25,.5,.75,1";

enum { READOUTS_BYTES = sizeof "likelihood,lift,contrast,letter" * 4 };

struct eval_options {
    struct local_served served;
    const char *train, *readout, *workers, *out, *steer_values;
    const char *task, *shots, *limit, *fit, *seed, *lambda; /* as given; checked into ask */
    struct eval_request ask;
    char readouts[READOUTS_BYTES]; /* a list for the config, "" where the task has its own */
    const char *sets[ARGS_REPEATS], *steers[ARGS_REPEATS];
    bool json, paired, count, mix;
};

static enum err check_words(struct eval_options *o, const struct args *a, struct errbuf *e)
{
    o->served.run = a->positional[0];
    o->served.sets = o->sets;
    o->served.steers = o->steers;
    if (a->n_positional > 1) {
        return err_set(e, ERR_USAGE, "one RUN or --model FILE is needed; usage: %s", a->usage);
    }
    enum err error = local_words_check(&o->served, a->usage, e);
    if (error != OK) {
        return error;
    }
    if (o->served.model &&
        (!o->served.data ||
         (!o->served.values && o->ask.task != EVAL_RETENTION && o->ask.task != EVAL_DIVERGENCE))) {
        return err_set(e, ERR_USAGE, "--model needs --data FILE and --values FILE; usage: %s",
                       a->usage);
    }
    if (o->steer_values && (o->ask.task != EVAL_SELECT || o->served.n_steers > 0)) {
        return err_set(e, ERR_USAGE, "--steer-values goes with --task select and without --steer");
    }
    if (o->served.model && o->paired) {
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
    if (error == OK && o->ask.task == EVAL_GENERATED) {
        error = err_set(e, ERR_USAGE, "--task generated is --task select --readout generated");
    }
    if (error == OK && o->ask.task == EVAL_SELECT && o->readout &&
        strcmp(o->readout, eval_kind(EVAL_GENERATED)->name) == 0) {
        o->ask.task = EVAL_GENERATED;
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
        error = check_one(o, "--lambda", o->lambda, eval_ask_mix, 1u << EVAL_SELECT, e);
    }
    if (error == OK) {
        error = check_one(o, "--seed", o->seed, eval_ask_seed, 1u << EVAL_HISTORY, e);
    }
    return error;
}

static enum err read_options(struct eval_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--task", "NAME", "select (default), behaviour, retention, history or divergence",
         &o->task, NULL, NULL},
        {"--model", "FILE", "a bare model instead of a run (\"default\": the fetched one)",
         &o->served.model, NULL, NULL},
        {"--data", "FILE", "data file (default with a run: its data.test)", &o->served.data, NULL,
         NULL},
        {"--values", "FILE", "values file, with --model", &o->served.values, NULL, NULL},
        {"--train", "FILE",
         "training file, for bag-of-words and thresholds (default with a run: its "
         "data.train, unless --values or behaviour ask for other ones)",
         &o->train, NULL, NULL},
        {"--readout", "NAMES",
         "likelihood, lift, contrast, letter; comma-separated (docs/evaluation.md); select "
         "also: mix, or alone: generated (answers in JSON); history also, alone: inferred (with "
         "options of its own)",
         &o->readout, NULL, NULL},
        {"--shots", "LIST", "history: earlier choices shown (default 0,1,3)", &o->shots, NULL,
         NULL},
        {"--lambda", "LIST",
         "readout mix: shares of the first value, -2 to 3 (default 0,.25,.5,.75,1)", &o->lambda,
         NULL, NULL},
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
         &o->served.n_steers, NULL},
        {"--steer-values", "FILE",
         "select: a vector per axis in place of the value's name (pft capture --sweep)",
         &o->steer_values, NULL, NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->served.n_sets, NULL},
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
                   "--readout: --task %s has no '%s'; %s%s are possible, "
                   "comma-separated%s",
                   kind->name, name, known, kind == eval_kind(EVAL_SELECT) ? ", mix" : "",
                   kind == eval_kind(EVAL_SELECT) ? ", or 'generated' alone" : "");
}

/* One more name of the list for the config. */
static enum err add_readout(struct eval_options *o, const char *name, struct errbuf *e)
{
    const size_t used = strlen(o->readouts);
    const int n =
        snprintf(o->readouts + used, sizeof o->readouts - used, "%s%s", used > 0 ? "," : "", name);
    return (size_t)n < sizeof o->readouts - used
               ? OK
               : err_set(e, ERR_USAGE, "--readout: the list is too long");
}

/* The readouts as a list for the config, "" where the task has its own. */
static enum err choose_readouts(struct eval_options *o, struct errbuf *e)
{
    const struct eval_kind *kind = eval_kind(o->ask.task);
    const char *list = o->readout;
    char name[32];
    enum err error = OK;
    if (o->ask.task == EVAL_GENERATED) {
        return OK;
    }
    if (kind->readouts == 0) {
        return !list
                   ? OK
                   : err_set(e, ERR_USAGE, "--readout says nothing to --task %s, which has its own",
                             kind->name);
    }
    for (int r = 0; !list && r < READOUTS && error == OK; r++) {
        if (kind->usual & 1u << r) {
            error = add_readout(o, readout_name((enum readout)r), e);
        }
    }
    for (const char *at = list; error == OK && at && (at == list || *at != '\0');) {
        size_t n = strcspn(at, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, at);
        int r = readout_from(name);
        bool mix = o->ask.task == EVAL_SELECT && strcmp(name, MIX) == 0;
        if (!mix && (r < 0 || !(kind->readouts & 1u << r))) {
            return unknown_readout(kind, name, e);
        }
        error = mix ? OK : add_readout(o, name, e);
        o->mix = o->mix || mix;
        at += n + (at[n] == ',');
    }
    if (error == OK && o->lambda && !o->mix) {
        error = err_set(e, ERR_USAGE, "--lambda says something to --readout mix alone");
    }
    return error;
}

/* What is asked, as it was given. */
static void add_asked(const struct eval_options *o, struct local_words *w)
{
    local_words_option(w, "--task",
                       o->ask.task == EVAL_GENERATED ? eval_kind(EVAL_GENERATED)->name : o->task);
    local_words_option(w, "--shots", o->shots);
    local_words_option(w, "--limit", o->limit);
    local_words_option(w, "--fit", o->fit);
    local_words_option(w, "--seed", o->seed);
    local_words_option(w, "--steer-values", o->steer_values);
    if (o->mix) {
        local_words_option(w, "--mix", o->lambda ? o->lambda : LAMBDAS);
    }
    if (o->mix && o->readouts[0] == '\0') {
        local_words_add(w, "--only-mix");
    }
    if (o->paired) {
        local_words_add(w, "--paired");
    }
    if (o->count) {
        local_words_add(w, "--count");
    }
    if (w->goes_on) {
        local_words_add(w, "--resume");
    }
}

/* readouts: "eval.readouts=[...]", or "". */
static enum err fill_words(const struct eval_options *o, const char *readouts,
                           struct local_words *w, struct errbuf *e)
{
    enum err error = OK;
    add_asked(o, w);
    if (o->train) {
        error = local_words_path(w, "data.train", o->train, e);
    } else if (o->served.values || o->ask.task == EVAL_BEHAVIOUR) {
        local_words_set(w, "data.train="); /* the run's is about other values */
    }
    if (readouts[0] != '\0') {
        local_words_set(w, readouts);
    }
    return error == OK ? local_words_fill(w, "--eval-only", &o->served, e) : error;
}

static enum err evaluate(const struct eval_options *o, struct local_words *w, int *code,
                         struct errbuf *e)
{
    char readouts[READOUTS_BYTES + sizeof "eval.readouts=[]"] = "";
    if (o->readouts[0] != '\0') {
        (void)snprintf(readouts, sizeof readouts, "eval.readouts=[%s]", o->readouts);
    }
    enum err error = fill_words(o, readouts, w, e);
    if (error == OK) {
        w->local.capture = w->result;
        w->local.goes_on = o->out ? "the same command goes on" : "nothing is kept without --out";
        error = local_shape(o->workers, NULL, NULL, &w->local, e);
    }
    if (error == OK) {
        error = local_run(&w->local, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = o->count ? eval_show_count(w->result, e) : eval_show(w->result, o->json, e);
    }
    return error;
}

int cli_eval(int argc, char **argv)
{
    if (trial_asked_for(argc, argv)) {
        return cli_trial(argc, argv);
    }
    struct eval_options o = {0};
    struct local_words w = {.goes_on = false};
    struct errbuf e = {0};
    int code = CLI_OK;
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = choose_readouts(&o, &e);
    }
    if (error == OK) {
        error = local_words_make(&w, o.out, &e);
    }
    if (error == OK) {
        error = evaluate(&o, &w, &code, &e);
    }
    local_words_free(&w);
    return error == OK ? code : cli_explain("pft eval", error, &e);
}
