/* generate_command.c - pft generate: prompts in, answers out, through a coordinator and workers of
 * its own. Owns: the requests of one question. Never: wording, tokens. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/asking.h"
#include "cli/cli.h"
#include "cli/prompt_data.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

struct generate_command {
    struct asking asking;
    struct talk talk;
    const char *prompts_file, *limit, *out;
    const char *prompts[ARGS_REPEATS];
    int n_prompts;
    bool json;
    char path[FILE_PATH_BYTES]; /* of out */
    json_t *common;             /* a request as the options have it */
    json_t *requests;           /* array */
    json_t *answers;            /* what came back */
};

/* An item of --prompts: a text, or a request that says more than the options do. */
static enum err add_item(struct generate_command *c, json_t *item, struct errbuf *e)
{
    json_t *request = json_copy(c->common);
    enum err error = OK;
    if (json_is_string(item)) {
        json_object_set(request, "prompt", item);
    } else if (json_is_object(item)) {
        if (json_object_get(item, "value") || json_object_get(item, "mix")) {
            json_object_del(request, "value");
            json_object_del(request, "mix");
        }
        json_object_update(request, item);
    } else {
        error = err_set(e, ERR_PARSE, "%s: item %zu is neither a text nor an object",
                        c->prompts_file, json_array_size(c->requests));
    }
    if (error == OK) {
        json_array_append_new(c->requests, request);
    } else {
        json_decref(request);
    }
    return error;
}

/* The scenarios of --data, each under both of its values. */
static enum err read_data(struct generate_command *c, struct errbuf *e)
{
    size_t i;
    json_t *item;
    long limit = 0;
    json_t *list = json_array();
    enum err error = c->limit ? args_number("--limit", c->limit, 1, LIMIT_GROUPS, &limit, e) : OK;
    if (error == OK) {
        error = prompt_data_read(&c->asking.served, (uint32_t)limit, list, e);
    }
    json_array_foreach(list, i, item)
    {
        error = error == OK ? add_item(c, item, e) : error;
    }
    json_decref(list);
    return error;
}

static enum err read_file(struct generate_command *c, struct errbuf *e)
{
    json_error_t where;
    size_t i;
    json_t *item;
    char *text = NULL;
    size_t n = 0;
    enum err error = file_read(c->prompts_file, LIMIT_JSON_BYTES, &text, &n, e);
    if (error != OK) {
        return error;
    }
    json_t *list = json_loadb(text, n, 0, &where);
    mem_free(text);
    if (!json_is_array(list)) {
        error =
            err_set(e, ERR_PARSE, "%s:%d: a JSON array of prompts is wanted%s%s", c->prompts_file,
                    list ? 1 : where.line, list ? "" : ": ", list ? "" : where.text);
    }
    json_array_foreach(list, i, item)
    {
        error = error == OK ? add_item(c, item, e) : error;
    }
    json_decref(list);
    return error;
}

static enum err read_prompts(struct generate_command *c, struct errbuf *e)
{
    enum err error = asking_request(&c->asking, &c->common, e);
    c->requests = json_array();
    if (error == OK && c->asking.served.data) {
        error = read_data(c, e);
    }
    for (int k = 0; error == OK && k < c->n_prompts; k++) {
        json_t *text = json_string(c->prompts[k]);
        error =
            text ? add_item(c, text, e) : err_set(e, ERR_PARSE, "--prompt %d is no UTF-8", k + 1);
        json_decref(text);
    }
    return error == OK && c->prompts_file ? read_file(c, e) : error;
}

static void begin(struct talk *talk)
{
    struct generate_command *c = talk->context;
    asking_say(&c->asking, talk, "generate", json_incref(c->requests));
    talk_end(talk);
}

static void answered(struct talk *talk, const char *line)
{
    struct generate_command *c = talk->context;
    json_decref(c->answers);
    c->answers = json_loads(line, 0, NULL);
}

/* Nobody else has the prompts of a data file: they stand beside their answers. */
static void add_questions(const struct generate_command *c, json_t *answers)
{
    static const char *const keys[] = {"prompt", "value"};
    size_t i;
    json_t *answer;
    json_array_foreach(answers, i, answer)
    {
        const json_t *request = json_array_get(c->requests, i);
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            json_t *text = json_object_get(request, keys[k]);
            (void)(text ? json_object_set(answer, keys[k], text) : 0);
        }
    }
}

static enum err write_answers(const struct generate_command *c, struct errbuf *e)
{
    char *text = json_dumps(c->answers, JSON_INDENT(1));
    enum err error = text ? file_write_atomic(c->path, text, strlen(text), e)
                          : err_set(e, ERR_NOMEM, "no memory for the answers");
    mem_free(text);
    return error;
}

/* One line, as pft eval --count prints it. */
static enum err print_count(const struct generate_command *c, struct errbuf *e)
{
    const char *why = json_string_value(json_object_get(c->answers, "error"));
    if (!json_object_get(c->answers, "decoded")) {
        return err_set(e, ERR_PARSE, "%s", why ? why : "the coordinator gave no answer");
    }
    (void)json_dumpf(c->answers, stdout, JSON_COMPACT);
    (void)puts("");
    return OK;
}

static enum err print_answers(const struct generate_command *c, struct errbuf *e)
{
    json_t *list = json_object_get(c->answers, "answers");
    const char *why = json_string_value(json_object_get(c->answers, "error"));
    size_t i;
    json_t *answer;
    if (!json_is_array(list)) {
        return err_set(e, ERR_PARSE, "%s", why ? why : "the coordinator gave no answer");
    }
    if (c->asking.served.data) {
        add_questions(c, list);
    }
    if (c->out) {
        return write_answers(c, e);
    }
    if (c->json) {
        (void)json_dumpf(c->answers, stdout, JSON_INDENT(1));
        (void)puts("");
        return OK;
    }
    json_array_foreach(list, i, answer)
    {
        if (json_array_size(list) > 1) {
            (void)printf("%s--- %zu\n", i > 0 ? "\n" : "", i + 1);
        }
        (void)printf("%s%s\n", json_string_value(json_object_get(answer, "text")),
                     strcmp(json_string_value(json_object_get(answer, "end")), "length") == 0
                         ? " [...]"
                         : "");
    }
    return OK;
}

static enum err read_options(struct generate_command *c, int argc, char **argv, struct errbuf *e)
{
    struct args_option options[ASKING_ALL + 7];
    asking_options(&c->asking, options);
    options[ASKING_ALL] = (struct args_option){
        "--prompt", "TEXT",        "what is to be answered; may come several times",
        c->prompts, &c->n_prompts, NULL};
    options[ASKING_ALL + 1] = (struct args_option){
        "--prompts",      "FILE", "a JSON array of texts or of requests (docs/generate.md)",
        &c->prompts_file, NULL,   NULL};
    options[ASKING_ALL + 2] =
        (struct args_option){"--data",
                             "FILE",
                             "the scenarios of a data file, each under both values of its axis",
                             &c->asking.served.data,
                             NULL,
                             NULL};
    options[ASKING_ALL + 3] =
        (struct args_option){"--limit", "N", "the first N scenarios of it", &c->limit, NULL, NULL};
    options[ASKING_ALL + 4] =
        (struct args_option){"--out", "FILE", "write the JSON there", &c->out, NULL, NULL};
    options[ASKING_ALL + 5] =
        (struct args_option){"--json", NULL, "print JSON", NULL, NULL, &c->json};
    options[ASKING_ALL + 6] =
        (struct args_option){"--count", NULL, "print how much there is to compute, compute nothing",
                             NULL,      NULL, &c->asking.count};
    struct args a = {.usage =
                         "pft generate RUN|--model FILE --prompt TEXT|--prompts FILE|--data FILE "
                         "[options]",
                     .what = "Answers prompts with an adapter or a bare model, worded as in "
                             "training.",
                     .options = options,
                     .n_options = ASKING_ALL + 7};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK) {
        error = asking_take(&c->asking, &a, e);
    }
    bool data = c->asking.served.data != NULL;
    if (error == OK && c->n_prompts == 0 && !c->prompts_file && !data) {
        error =
            err_set(e, ERR_USAGE,
                    "--prompt TEXT, --prompts FILE or --data FILE is needed; usage: %s", a.usage);
    }
    if (error == OK && data && (c->asking.value || c->asking.mix)) {
        error = err_set(e, ERR_USAGE,
                        "--data asks every scenario under both values of its axis: leave --value "
                        "and --mix out");
    }
    if (error == OK && c->asking.inferred && (!c->asking.mix || strchr(c->asking.mix, '='))) {
        error = err_set(e, ERR_USAGE,
                        "--inferred FILE goes with --mix AXIS, without a LAMBDA: the file has it");
    }
    if (error == OK && c->limit && !data) {
        error = err_set(e, ERR_USAGE, "--limit goes with --data FILE");
    }
    if (error == OK && c->out) {
        error = asking_place(c->out, c->path, e);
    }
    if (error == OK && c->asking.count) {
        c->asking.workers = "1"; /* it has nothing to do */
    }
    c->asking.served.no_data = true; /* of the coordinator */
    return error;
}

int cli_generate(int argc, char **argv)
{
    struct generate_command c = {.json = false};
    struct errbuf e = {0};
    int code = CLI_OK;
    enum err error = read_options(&c, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = read_prompts(&c, &e);
    }
    if (error == OK) {
        c.talk = (struct talk){.begin = begin, .answered = answered, .context = &c};
        error = asking_run(&c.asking, &c.talk, false, &code, &e);
    }
    if (error == OK && code == CLI_OK) {
        error = c.asking.count ? print_count(&c, &e) : print_answers(&c, &e);
    }
    json_decref(c.common);
    json_decref(c.requests);
    json_decref(c.answers);
    asking_free(&c.asking);
    return error == OK ? code : cli_explain("pft generate", error, &e);
}
