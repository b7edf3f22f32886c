/* ask_request.c - a request's fields, each checked by name. */
#include "coordinator/ask_request.h"

#include <math.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/format/json_doc.h"
#include "coordinator/render_prompt.h"

/* Whose preference a prompt names: nobody's, one value's, or both of an axis. */
struct wish {
    bool one, mixed;
    uint32_t axis, side;
    double lambda; /* of side a */
};

static enum err find_mix(const struct values *v, const json_t *mix, struct wish *w,
                         struct errbuf *e)
{
    const char *axis = json_string_value(json_object_get(mix, "axis"));
    const json_t *lambda = json_object_get(mix, "lambda");
    if (!axis || !json_is_number(lambda)) {
        return err_set(e, ERR_PARSE, "mix: an \"axis\" and a number \"lambda\" are wanted");
    }
    w->mixed = true;
    w->lambda = json_number_value(lambda);
    if (!(w->lambda >= (double)ANSWER_WEIGHT_MIN && w->lambda <= (double)ANSWER_WEIGHT_MAX)) {
        return err_set(e, ERR_RANGE, "mix: lambda %g, %g to %g are possible", w->lambda,
                       (double)ANSWER_WEIGHT_MIN, (double)ANSWER_WEIGHT_MAX);
    }
    return values_find_axis(v, axis, &w->axis, e);
}

/* A misspelt field would be answered as if it were not there. */
static enum err check_names(const json_t *request, struct errbuf *e)
{
    static const char *const names[] = {"prompt",      "history", "value",          "mix",
                                        "temperature", "top_p",   "max_new_tokens", "seed"};
    const size_t n = sizeof names / sizeof names[0];
    const char *name;
    json_t *field;
    json_object_foreach((json_t *)(uintptr_t)request, name, field)
    {
        bool known = false;
        for (size_t i = 0; i < n; i++) {
            known = known || strcmp(names[i], name) == 0;
        }
        if (!known) {
            char quoted[QUOTE_BYTES];
            const char *near = conf_nearest(name, names, n);
            return err_set(e, ERR_PARSE, "unknown field %s%s%s%s",
                           quote(name, strlen(name), quoted), near ? "; did you mean '" : "",
                           near ? near : "", near ? "'?" : "");
        }
    }
    return OK;
}

static enum err read_wish(const struct render *r, const json_t *request, struct wish *w,
                          struct errbuf *e)
{
    const json_t *value = json_object_get(request, "value");
    const json_t *mix = json_object_get(request, "mix");
    *w = (struct wish){.one = false};
    if (!value && !mix) {
        return OK;
    }
    if ((value && mix) || (value && !json_is_string(value)) || (mix && !json_is_object(mix))) {
        return err_set(e, ERR_PARSE, "\"value\" (a name) or \"mix\" (an object), not both");
    }
    if (!r->values) {
        return err_set(e, ERR_REFUSED, "no values file is known: set data.values");
    }
    w->one = value != NULL;
    return value ? values_find(r->values, json_string_value(value), &w->axis, &w->side, e)
                 : find_mix(r->values, mix, w, e);
}

static enum err read_number(const json_t *request, const char *name, double *out, struct errbuf *e)
{
    const json_t *value = json_object_get(request, name);
    if (value && !json_is_number(value)) {
        return err_set(e, ERR_PARSE, "\"%s\" is %s, not a number", name, json_doc_kind(value));
    }
    *out = value ? json_number_value(value) : *out;
    return OK;
}

static enum err read_sampling(const struct render *r, const json_t *request,
                              struct answer_request *how, struct errbuf *e)
{
    const json_t *seed = json_object_get(request, "seed");
    double temperature = 0.0;
    double top_p = 1.0;
    double most = ASK_NEW_TOKENS;
    enum err error = read_number(request, "temperature", &temperature, e);
    if (error == OK) {
        error = read_number(request, "top_p", &top_p, e);
    }
    if (error == OK) {
        error = read_number(request, "max_new_tokens", &most, e);
    }
    if (error == OK && !(most >= 1 && most <= LIMIT_ANSWER_TOKENS && most == floor(most))) {
        error = err_set(e, ERR_RANGE, "max_new_tokens %g: 1 to %d are possible", most,
                        LIMIT_ANSWER_TOKENS);
    }
    if (error == OK && seed && (!json_is_integer(seed) || json_integer_value(seed) < 0)) {
        error = err_set(e, ERR_PARSE, "\"seed\": a whole number from 0 on is wanted");
    }
    if (error == OK) {
        *how = (struct answer_request){.seed = (uint64_t)json_integer_value(seed),
                                       .temperature = (float)temperature,
                                       .top_p = (float)top_p,
                                       .max_new_tokens = (uint32_t)most};
        how->n_stops = render_stops(r, how->stops);
    }
    return error;
}

static enum err read_history(const json_t *history, struct render_turn *turns, struct errbuf *e)
{
    size_t i;
    const json_t *item;
    json_array_foreach(history, i, item)
    {
        const char *role = json_string_value(json_object_get(item, "role"));
        const json_t *content = json_object_get(item, "content");
        bool user = role && strcmp(role, "user") == 0;
        if (!role || (!user && strcmp(role, "assistant") != 0) || !json_is_string(content)) {
            return err_set(e, ERR_PARSE,
                           "history: turn %zu needs a \"role\", user or assistant, and a "
                           "\"content\"",
                           i);
        }
        turns[i] = (struct render_turn){
            .user = user, .text = json_string_value(content), .bytes = json_string_length(content)};
    }
    return OK;
}

/* One branch, or the two of a mix. */
static enum err add(struct generate *g, struct render *r, struct render_talk *talk,
                    const struct wish *w, const struct answer_request *how, struct errbuf *e)
{
    const uint32_t n = w->mixed ? 2 : 1;
    struct render_sequence sequences[2] = {{.tokens = NULL}};
    struct generate_branch branches[2];
    enum err error = OK;
    talk->preferred = w->one || w->mixed;
    talk->axis = w->axis;
    for (uint32_t b = 0; error == OK && b < n; b++) {
        talk->side = w->mixed ? b : w->side;
        error = render_prompt(r, talk, &sequences[b], e);
        double weight = !w->mixed ? 1.0 : b == 0 ? w->lambda : 1.0 - w->lambda;
        branches[b] = (struct generate_branch){
            .tokens = sequences[b].tokens, .n = sequences[b].n, .weight = (float)weight};
    }
    if (error == OK) {
        error = generate_add(g, branches, n, how, e);
    }
    mem_free(sequences[0].tokens);
    mem_free(sequences[1].tokens);
    return error;
}

enum err ask_request_add(struct generate *g, struct render *r, const json_t *request,
                         struct errbuf *e)
{
    const json_t *prompt = json_object_get(request, "prompt");
    const json_t *history = json_object_get(request, "history");
    const size_t n = json_array_size(history);
    struct wish wish;
    struct answer_request how;
    if (!json_is_string(prompt) || (history && !json_is_array(history)) || n > ASK_HISTORY_TURNS) {
        return err_set(e, ERR_PARSE,
                       "request %u: a text \"prompt\" is needed, \"history\" is an array of at "
                       "most %d turns",
                       generate_count(g), ASK_HISTORY_TURNS);
    }
    struct render_turn *turns = mem_calloc(n, sizeof *turns);
    enum err error =
        turns ? read_history(history, turns, e) : err_set(e, ERR_NOMEM, "no memory for a history");
    if (error == OK) {
        error = check_names(request, e);
    }
    if (error == OK) {
        error = read_wish(r, request, &wish, e);
    }
    if (error == OK) {
        error = read_sampling(r, request, &how, e);
    }
    if (error == OK) {
        struct render_talk talk = {.history = turns,
                                   .n_history = n,
                                   .text = json_string_value(prompt),
                                   .bytes = json_string_length(prompt)};
        error = add(g, r, &talk, &wish, &how, e);
    } else {
        error = err_prefix(e, error, "request %u", generate_count(g));
    }
    mem_free(turns);
    return error;
}
