/* eval_command.c - pft eval: one evaluation through a coordinator and workers of its own.
 * Owns: the table it prints. Never: scores; the workers do. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/local_words.h"
#include "coordinator/readout.h"

enum { READOUTS_BYTES = 256 };

struct eval_options {
    struct local_served served;
    const char *readout, *workers;
    const char *sets[ARGS_REPEATS], *steers[ARGS_REPEATS];
    bool json;
};

static enum err read_options(struct eval_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--model", "FILE", "a bare model instead of a run (\"default\": the fetched one)",
         &o->served.model, NULL, NULL},
        {"--data", "FILE", "data file (default with a run: its data.test)", &o->served.data, NULL,
         NULL},
        {"--values", "FILE", "values file, with --model", &o->served.values, NULL, NULL},
        {"--readout", "NAMES", "likelihood, lift, contrast (default), letter; comma-separated",
         &o->readout, NULL, NULL},
        {"--workers", "N", "one-slot workers to start (default: one per core)", &o->workers, NULL,
         NULL},
        {"--steer", "SPEC", "FILE=MULTIPLIER[@LAYER]: add a control vector", o->steers,
         &o->served.n_steers, NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->served.n_sets, NULL},
        {"--json", NULL, "print JSON", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft eval RUN|--model FILE --data FILE --values FILE [options]",
                     .what = "Scores select-one questions with an adapter or a bare model.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    o->served.run = a.positional[0];
    o->served.steers = o->steers;
    o->served.sets = o->sets;
    o->readout = o->readout ? o->readout : "contrast";
    if (error == OK && a.n_positional > 1) {
        error = err_set(e, ERR_USAGE, "one RUN is wanted; usage: %s", a.usage);
    }
    if (error == OK) {
        error = local_words_check(&o->served, a.usage, e);
    }
    if (error == OK && o->served.model && (!o->served.data || !o->served.values)) {
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

static enum err evaluate(const struct eval_options *o, struct local_words *w, int *code,
                         struct errbuf *e)
{
    char result[FILE_PATH_BYTES];
    char readouts[READOUTS_BYTES];
    enum err error = local_words_make(w, e);
    if (error == OK) {
        error = local_words_fill(w, "--eval-only", &o->served, e);
    }
    if (error == OK) {
        error = file_join(result, w->folder, "result.json", e);
    }
    if (error == OK) {
        (void)snprintf(readouts, sizeof readouts, "eval.readouts=[%s]", o->readout);
        local_words_set(w, readouts);
        w->local.capture = result;
        error = local_shape(o->workers, NULL, NULL, &w->local, e);
    }
    if (error == OK) {
        error = local_run(&w->local, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = show(o, result, e);
    }
    return error;
}

int cli_eval(int argc, char **argv)
{
    struct eval_options o = {0};
    struct local_words w = {0};
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
        error = evaluate(&o, &w, &code, &e);
    }
    local_words_free(&w);
    return error == OK ? code : cli_explain("pft eval", error, &e);
}
