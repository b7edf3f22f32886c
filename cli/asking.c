/* asking.c - options, requests and the fleet behind them. */
#include "cli/asking.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run_info.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/wire/answers.h"

#define LEAST_TOP_P 1e-6

void asking_options(struct asking *a, struct args_option list[ASKING_ALL])
{
    const struct args_option all[ASKING_ALL] = {
        {"--model", "FILE", "a bare model instead of a run (\"default\": the fetched one)",
         &a->served.model, NULL, NULL},
        {"--values", "FILE", "values file (default with a run: its own)", &a->served.values, NULL,
         NULL},
        {"--base", NULL, "the run's model without its adapter", NULL, NULL, &a->bare},
        {"--steer", "SPEC", "FILE=MULTIPLIER[@LAYER]: add a control vector", a->steers,
         &a->served.n_steers, NULL},
        {"--workers", "N", "one-slot workers to start (default: one per core)", &a->workers, NULL,
         NULL},
        {"--set", "KEY=VALUE", "override a key of the config", a->sets, &a->served.n_sets, NULL},
        {"--value", "NAME", "answer as someone who holds this value", &a->value, NULL, NULL},
        {"--mix", "AXIS=LAMBDA",
         "p(first value)^LAMBDA p(second)^(1-LAMBDA) of the axis, LAMBDA from -2 to 3", &a->mix,
         NULL, NULL},
        {"--inferred", "FILE",
         "output of pft infer --json: --mix AXIS then takes LAMBDA from there", &a->inferred, NULL,
         NULL},
        {"--temperature", "T", "0 (default): the likeliest token; up to 10", &a->temperature, NULL,
         NULL},
        {"--top-p", "P", "draw among the likeliest that have P together (default 1)", &a->top_p,
         NULL, NULL},
        {"--max-new-tokens", "N", "at most so many (default 256)", &a->max_new, NULL, NULL},
        {"--seed", "N", "of the draws (default 0)", &a->seed, NULL, NULL},
    };
    memcpy(list, all, sizeof all);
}

enum err asking_take(struct asking *a, const struct args *args, struct errbuf *e)
{
    a->served.run = args->positional[0];
    a->served.steers = a->steers;
    a->served.sets = a->sets;
    if (args->n_positional > 1) {
        return err_set(e, ERR_USAGE, "one RUN is wanted; usage: %s", args->usage);
    }
    if (a->value && a->mix) {
        return err_set(e, ERR_USAGE, "--value or --mix, not both");
    }
    return local_words_check(&a->served, args->usage, e);
}

enum err asking_place(const char *out, char path[FILE_PATH_BYTES], struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    char real[PATH_MAX];
    const char *slash = strrchr(out, '/');
    const char *name = slash ? slash + 1 : out;
    file_folder_of(folder, out);
    if (name[0] == '\0' || !realpath(folder, real)) {
        return err_set(e, ERR_NOT_FOUND, "--out %s: there is no such folder", out);
    }
    return file_join(path, real, name, e);
}

static enum err put_number(json_t *request, const char *key, const char *option, const char *text,
                           double least, double most, struct errbuf *e)
{
    double value = 0.0;
    enum err error = text ? wish_number(option, text, least, most, &value, e) : OK;
    if (error == OK && text) {
        json_object_set_new(request, key, json_real(value));
    }
    return error;
}

static enum err put_whole(json_t *request, const char *key, const char *option, const char *text,
                          long least, long most, struct errbuf *e)
{
    long value = 0;
    enum err error = text ? args_number(option, text, least, most, &value, e) : OK;
    if (error == OK && text) {
        json_object_set_new(request, key, json_integer(value));
    }
    return error;
}

struct wish_source asking_source(const struct asking *a)
{
    return (struct wish_source){.values = a->values, .inferred = a->inferred};
}

/* Names can be checked before anything starts where the values are at hand; what --set makes of
 * them is known to the coordinator alone. */
static enum err load_values(struct asking *a, struct errbuf *e)
{
    struct run_info info;
    struct errbuf unread;
    if (a->served.values) {
        return values_load(a->served.values, &a->values, e);
    }
    if (a->served.run && a->served.n_sets == 0 &&
        run_info_open(a->served.run, NULL, 0, &info, &unread) == OK) {
        a->values = info.values;
        info.values = NULL;
        run_info_close(&info);
    }
    return OK;
}

void asking_free(struct asking *a)
{
    values_free(&a->values);
}

enum err asking_request(struct asking *a, json_t **out, struct errbuf *e)
{
    json_t *r = json_object();
    enum err error = load_values(a, e);
    const struct wish_source source = asking_source(a);
    if (error == OK) {
        error = put_number(r, "temperature", "--temperature", a->temperature, 0.0,
                           (double)ANSWER_TEMPERATURE_MAX, e);
    }
    if (error == OK) {
        error = put_number(r, "top_p", "--top-p", a->top_p, LEAST_TOP_P, 1.0, e);
    }
    if (error == OK) {
        error = put_whole(r, "max_new_tokens", "--max-new-tokens", a->max_new, 1,
                          LIMIT_ANSWER_TOKENS, e);
    }
    if (error == OK) {
        error = put_whole(r, "seed", "--seed", a->seed, 0, LONG_MAX, e);
    }
    if (error == OK && a->value) {
        error = wish_value(&source, r, a->value, e);
    }
    if (error == OK && a->mix) {
        error = wish_mix(&source, r, a->mix, e);
    }
    *out = r;
    if (error != OK) {
        json_decref(r);
        *out = NULL;
    }
    return error;
}

void asking_say(const struct asking *a, struct talk *talk, const char *key, json_t *what)
{
    json_t *line = json_object();
    json_object_set_new(line, key, what);
    json_object_set_new(line, "adapter", json_boolean(!a->bare));
    if (a->count) {
        json_object_set_new(line, "count", json_true());
    }
    char *text = json_dumps(line, JSON_COMPACT);
    if (text) {
        talk_say(talk, text, strlen(text));
    }
    mem_free(text);
    json_decref(line);
}

enum err asking_run(const struct asking *a, struct talk *talk, bool quiet, int *code,
                    struct errbuf *e)
{
    struct local_words w;
    enum err error = local_words_make(&w, NULL, e);
    if (error == OK) {
        error = local_words_fill(&w, "--ask", &a->served, e);
    }
    if (error == OK) {
        w.local.talk = talk;
        w.local.quiet = quiet;
        error = local_shape(a->workers, NULL, NULL, &w.local, e);
    }
    if (error == OK) {
        error = local_run(&w.local, code, e);
    }
    talk_free(talk);
    local_words_free(&w);
    return error;
}
