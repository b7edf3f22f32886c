/* capture_command.c - pft capture: the control vector of an axis, through a coordinator and workers
 * of its own. Owns: nothing. Never: activations; the workers sum them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/asking.h"
#include "cli/cli.h"
#include "cli/sweep.h"
#include "common/base/file.h"
#include "common/base/limits.h"

enum { CAPTURE_OPTIONS = (int)ASKING_MODEL + 8 }; /* at least ASKING_ALL */

struct capture_command {
    struct asking asking;
    struct talk talk;
    const char *axis, *out, *scenarios;
    const char *sweep, *multipliers, *limit; /* layers: many captures and a choice (sweep.h) */
    char path[FILE_PATH_BYTES];              /* of out, for a coordinator in another folder */
    long most;
    bool json;
    json_t *answer;
};

static void begin(struct talk *talk)
{
    struct capture_command *c = talk->context;
    asking_say(&c->asking, talk, "capture",
               json_pack("{s:s,s:s,s:I}", "axis", c->axis, "out", c->path, "scenarios",
                         (json_int_t)c->most));
    talk_end(talk);
}

static void answered(struct talk *talk, const char *line)
{
    struct capture_command *c = talk->context;
    json_decref(c->answer);
    c->answer = json_loads(line, 0, NULL);
}

static enum err print_answer(const struct capture_command *c, struct errbuf *e)
{
    const json_t *norms = json_object_get(c->answer, "norms");
    const json_t *rows = json_object_get(c->answer, "rows");
    const char *why = json_string_value(json_object_get(c->answer, "error"));
    size_t i;
    const json_t *norm;
    if (!json_is_array(norms)) {
        return err_set(e, ERR_PARSE, "%s", why ? why : "the coordinator gave no answer");
    }
    if (c->json) {
        (void)json_dumpf(c->answer, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        (void)puts("");
        return OK;
    }
    (void)printf("%s: %lld scenarios, %lld and %lld tokens\nlayer   length of the vector\n", c->out,
                 (long long)json_integer_value(json_object_get(c->answer, "scenarios")),
                 (long long)json_integer_value(json_array_get(rows, 0)),
                 (long long)json_integer_value(json_array_get(rows, 1)));
    json_array_foreach(norms, i, norm)
    {
        (void)printf("%5zu   %.4f\n", i, json_number_value(norm));
    }
    return OK;
}

static enum err check_sweep(const struct capture_command *c, struct errbuf *e)
{
    const struct local_served *served = &c->asking.served;
    if (!c->out || !served->data || !served->values) {
        return err_set(e, ERR_USAGE,
                       "--sweep needs --data FILE (training scenarios), --values FILE and --out "
                       "FOLDER");
    }
    return c->axis || c->scenarios || served->n_steers > 0 || c->asking.bare
               ? err_set(e, ERR_USAGE,
                         "--sweep captures every axis of the first --limit scenarios: --axis, "
                         "--scenarios, --steer and --base do not go with it")
               : OK;
}

static enum err read_options(struct capture_command *c, int argc, char **argv, struct errbuf *e)
{
    struct args_option options[CAPTURE_OPTIONS];
    asking_options(&c->asking, options);
    options[ASKING_MODEL] = (struct args_option){
        "--data", "FILE", "data file (default with a run: its data.test)", &c->asking.served.data,
        NULL,     NULL};
    options[ASKING_MODEL + 1] = (struct args_option){
        "--axis", "NAME", "whose two values are told apart", &c->axis, NULL, NULL};
    options[ASKING_MODEL + 2] =
        (struct args_option){"--out", "FILE", "the control vector, GGUF", &c->out, NULL, NULL};
    options[ASKING_MODEL + 3] = (struct args_option){
        "--scenarios", "N", "the first N of the axis (default: all)", &c->scenarios, NULL, NULL};
    options[ASKING_MODEL + 4] =
        (struct args_option){"--json", NULL, "print JSON", NULL, NULL, &c->json};
    options[ASKING_MODEL + 5] = (struct args_option){
        "--sweep", "LAYERS", "every axis, into the folder --out; chooses one of these layers",
        &c->sweep, NULL,     NULL};
    options[ASKING_MODEL + 6] = (struct args_option){
        "--multipliers", "LIST", "with --sweep: and one of these (default 1,2,4)",
        &c->multipliers, NULL,   NULL};
    options[ASKING_MODEL + 7] =
        (struct args_option){"--limit",
                             "N",
                             "with --sweep: chosen on the first N scenarios, captured from the N "
                             "behind them (default 60)",
                             &c->limit,
                             NULL,
                             NULL};
    struct args a = {.usage = "pft capture RUN|--model FILE --data FILE --values FILE --axis NAME "
                              "--out FILE [options]",
                     .what = "Writes the mean difference of activations between the answers of an "
                             "axis's two values, a vector per layer.",
                     .options = options,
                     .n_options = CAPTURE_OPTIONS};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK) {
        error = asking_take(&c->asking, &a, e);
    }
    if (error == OK && c->sweep) {
        return check_sweep(c, e);
    }
    if (error == OK && (c->multipliers || c->limit)) {
        error = err_set(e, ERR_USAGE, "--multipliers and --limit go with --sweep LAYERS");
    }
    if (error == OK && (!c->axis || !c->out)) {
        error = err_set(e, ERR_USAGE, "--axis NAME and --out FILE are needed; usage: %s", a.usage);
    }
    if (error == OK && c->asking.served.model &&
        (!c->asking.served.data || !c->asking.served.values)) {
        error = err_set(e, ERR_USAGE, "--model needs --data FILE and --values FILE; usage: %s",
                        a.usage);
    }
    if (error == OK && c->scenarios) {
        error = args_number("--scenarios", c->scenarios, 1, LIMIT_GROUPS, &c->most, e);
    }
    return error == OK ? asking_place(c->out, c->path, e) : error;
}

int cli_capture(int argc, char **argv)
{
    struct capture_command c = {.json = false};
    struct errbuf e = {0};
    int code = CLI_OK;
    enum err error = read_options(&c, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK && c.sweep) {
        const struct sweep_request r = {.asking = &c.asking,
                                        .layers = c.sweep,
                                        .multipliers = c.multipliers,
                                        .limit = c.limit ? c.limit : "60",
                                        .folder = c.out,
                                        .json = c.json};
        error = sweep_run(&r, &code, &e);
        return error == OK ? code : cli_explain("pft capture", error, &e);
    }
    if (error == OK) {
        c.talk = (struct talk){.begin = begin, .answered = answered, .context = &c};
        error = asking_run(&c.asking, &c.talk, false, &code, &e);
    }
    if (error == OK && code == CLI_OK) {
        error = print_answer(&c, &e);
    }
    json_decref(c.answer);
    return error == OK ? code : cli_explain("pft capture", error, &e);
}
