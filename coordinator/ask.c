/* ask.c - questions read, answers written. */
#include "coordinator/ask.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/format/json_doc.h"
#include "coordinator/adapter_kl.h"
#include "coordinator/ask_request.h"
#include "coordinator/capture.h"
#include "coordinator/control_vector.h"
#include "coordinator/generate.h"
#include "coordinator/work_count.h"

struct ask {
    const struct setup *s;
    bool bare, count;
    struct generate *generate; /* one of the three */
    struct capture *capture;
    struct adapter_kl *divergence;
    char *out; /* of a capture */
};

static enum err read_generate(struct ask *a, const json_t *list, struct errbuf *e)
{
    struct render r;
    size_t i;
    const json_t *item;
    enum err error = render_init(&r, a->s->cfg, a->s->values, a->s->tok, e);
    if (error == OK) {
        error = generate_new(a->s->tok, model_shape(a->s->model)->vocab, &a->generate, e);
    }
    json_array_foreach(list, i, item)
    {
        if (error == OK) {
            error = ask_request_add(a->generate, &r, item, e);
        }
    }
    render_free(&r);
    return error;
}

static enum err read_divergence(struct ask *a, const json_t *list, struct errbuf *e)
{
    struct render r;
    size_t i;
    const json_t *item;
    enum err error = render_init(&r, a->s->cfg, a->s->values, a->s->tok, e);
    if (error == OK) {
        error = adapter_kl_new(model_shape(a->s->model)->vocab, &a->divergence, e);
    }
    json_array_foreach(list, i, item)
    {
        if (error == OK && !json_is_string(item)) {
            error = err_set(e, ERR_PARSE, "divergence: text %zu is %s, not a string", i,
                            json_doc_kind(item));
        }
        if (error == OK) {
            error = adapter_kl_add(a->divergence, &r, json_string_value(item),
                                   json_string_length(item), e);
        }
    }
    render_free(&r);
    return error;
}

static enum err read_range(const json_t *capture, const char *name, uint32_t *out, struct errbuf *e)
{
    const json_t *value = json_object_get(capture, name);
    const json_int_t n = json_integer_value(value);
    if (value && (!json_is_integer(value) || n < 0 || n > LIMIT_GROUPS)) {
        return err_set(e, ERR_PARSE, "capture: \"%s\" is a number from 0 to %d", name,
                       LIMIT_GROUPS);
    }
    *out = (uint32_t)n;
    return OK;
}

static enum err read_capture(struct ask *a, const json_t *capture, struct errbuf *e)
{
    const char *axis = json_string_value(json_object_get(capture, "axis"));
    const char *out = json_string_value(json_object_get(capture, "out"));
    struct capture_range range = {0};
    if (!axis || !out) {
        return err_set(e, ERR_PARSE, "capture: \"axis\" and \"out\" are needed");
    }
    if (!a->s->test || !a->s->values) {
        return err_set(e, ERR_REFUSED,
                       "capture: data.test and data.values name the scenarios, they are not set");
    }
    enum err error = read_range(capture, "scenarios", &range.most, e);
    if (error == OK) {
        error = read_range(capture, "skip", &range.skip, e);
    }
    if (error == OK) {
        error = read_range(capture, "limit", &range.limit, e);
    }
    if (error == OK) {
        error = values_find_axis(a->s->values, axis, &range.axis, e);
    }
    a->out = mem_strdup(out);
    if (error == OK && !a->out) {
        error = err_set(e, ERR_NOMEM, "no memory for a path");
    }
    return error == OK ? capture_new(a->s, &range, &a->capture, e) : error;
}

static enum err read_line(struct ask *a, const json_t *doc, struct errbuf *e)
{
    const json_t *generate = json_object_get(doc, "generate");
    const json_t *capture = json_object_get(doc, "capture");
    const json_t *divergence = json_object_get(doc, "divergence");
    const json_t *adapter = json_object_get(doc, "adapter");
    const json_t *count = json_object_get(doc, "count");
    const int kinds = json_is_array(generate) + json_is_object(capture) + json_is_array(divergence);
    if (kinds != 1 || (adapter && !json_is_boolean(adapter))) {
        return err_set(
            e, ERR_PARSE,
            "one of \"generate\" (an array), \"capture\" (an object) and \"divergence\" (an "
            "array) is wanted, and \"adapter\" is true or false");
    }
    if (count && (!json_is_true(count) || !generate)) {
        return err_set(e, ERR_PARSE, "\"count\" is true, and goes with \"generate\" alone");
    }
    a->bare = json_is_false(adapter);
    a->count = count != NULL;
    return generate  ? read_generate(a, generate, e)
           : capture ? read_capture(a, capture, e)
                     : read_divergence(a, divergence, e);
}

enum err ask_new(const struct setup *s, const char *line, size_t bytes, struct ask **out,
                 struct errbuf *e)
{
    json_t *doc = NULL;
    struct ask *a = mem_calloc(1, sizeof *a);
    *out = NULL;
    if (!a) {
        return err_set(e, ERR_NOMEM, "no memory for a question");
    }
    a->s = s;
    enum err error = json_doc_parse(line, bytes, &doc, e);
    if (error == OK) {
        error = read_line(a, doc, e);
    }
    json_decref(doc);
    if (error != OK) {
        ask_free(&a);
    }
    *out = a;
    return error;
}

enum err ask_batch(const struct ask *a, uint32_t number, struct batch *b, struct errbuf *e)
{
    const uint32_t unit_tokens = a->s->cfg->unit_tokens;
    return a->generate  ? generate_batch(a->generate, number, b, e)
           : a->capture ? capture_batch(a->capture, unit_tokens, number, b, e)
                        : adapter_kl_batch(a->divergence, unit_tokens, number, b, e);
}

bool ask_bare(const struct ask *a)
{
    return a->bare;
}

bool ask_counts(const struct ask *a)
{
    return a->count;
}

enum err ask_count(const struct ask *a, struct str *out, struct errbuf *e)
{
    struct work_count work = {0};
    work_count_answers(&work, a->generate);
    work_count_json(&work, 1.0, out);
    return str_ok(out) == OK ? OK : err_set(e, str_ok(out), "no memory for an answer");
}

enum err ask_take(struct ask *a, const struct job *job, const struct blob *payload,
                  struct errbuf *e)
{
    return a->generate  ? generate_take_job(a->generate, job, payload, e)
           : a->capture ? capture_take(a->capture, job, payload, e)
                        : OK;
}

void ask_take_leaves(struct ask *a, uint32_t tree, const double *leaf)
{
    if (a->divergence) {
        adapter_kl_take(a->divergence, tree, leaf);
    }
}

void ask_restart(struct ask *a)
{
    if (a->capture) {
        capture_restart(a->capture);
    }
}

static void answer_generate(const struct ask *a, struct str *out)
{
    str_add(out, "{\"answers\":[");
    for (uint32_t i = 0; i < generate_count(a->generate); i++) {
        struct str text = {0};
        uint32_t n;
        enum answer_end end;
        (void)generate_tokens(a->generate, i, &n, &end);
        generate_text(a->generate, i, &text);
        size_t skip = text.len > 0 && text.data[0] == ' '; /* it belongs to the prompt's wording */
        str_add(out, i > 0 ? ",{\"text\":" : "{\"text\":");
        str_add_json(out, text.data ? text.data + skip : "", text.len - skip);
        str_addf(out, ",\"tokens\":%u,\"end\":\"%s\"}", n,
                 end == ANSWER_STOPPED ? "stop" : "length");
        out->error = out->error == OK ? text.error : out->error;
        str_free(&text);
    }
    str_add(out, "]}");
}

static void answer_divergence(const struct ask *a, struct str *out)
{
    uint64_t all = 0;
    uint32_t tokens;
    for (uint32_t i = 0; i < adapter_kl_count(a->divergence); i++) {
        (void)adapter_kl_text(a->divergence, i, &tokens);
        all += tokens;
    }
    str_addf(out, "{\"kl\":%.9g,\"tokens\":%llu,\"texts\":[", adapter_kl_mean(a->divergence),
             (unsigned long long)all);
    for (uint32_t i = 0; i < adapter_kl_count(a->divergence); i++) {
        str_addf(out, "%s%.9g", i > 0 ? "," : "", adapter_kl_text(a->divergence, i, &tokens));
    }
    str_add(out, "]}");
}

static enum err answer_capture(const struct ask *a, struct str *out, struct errbuf *e)
{
    const struct model_shape *shape = model_shape(a->s->model);
    float *vectors = mem_calloc((size_t)shape->layers * shape->hidden, sizeof *vectors);
    if (!vectors) {
        return err_set(e, ERR_NOMEM, "no memory for a vector per layer");
    }
    capture_vectors(a->capture, vectors);
    enum err error = control_vector_write(a->out, shape, vectors, e);
    str_add(out, "{\"out\":");
    str_add_json(out, a->out, strlen(a->out));
    str_addf(out, ",\"scenarios\":%u,\"rows\":[%llu,%llu],\"norms\":[",
             capture_scenarios(a->capture), (unsigned long long)capture_rows(a->capture, 0),
             (unsigned long long)capture_rows(a->capture, 1));
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        double squares = 0.0;
        for (uint32_t i = 0; i < shape->hidden; i++) {
            double x = (double)vectors[(size_t)layer * shape->hidden + i];
            squares += x * x;
        }
        str_addf(out, "%s%.6g", layer > 0 ? "," : "", sqrt(squares));
    }
    str_add(out, "]}");
    mem_free(vectors);
    return error;
}

enum err ask_answer(const struct ask *a, struct str *out, struct errbuf *e)
{
    enum err error = OK;
    if (a->generate) {
        answer_generate(a, out);
    } else if (a->divergence) {
        answer_divergence(a, out);
    } else {
        error = answer_capture(a, out, e);
    }
    if (error == OK && str_ok(out) != OK) {
        error = err_set(e, str_ok(out), "no memory for an answer");
    }
    return error;
}

void ask_free(struct ask **ask)
{
    struct ask *a = *ask;
    *ask = NULL;
    if (a) {
        generate_free(&a->generate);
        capture_free(&a->capture);
        adapter_kl_free(&a->divergence);
        mem_free(a->out);
        mem_free(a);
    }
}
