/* judge_file.c - answers from JSON. */
#include "cli/judge_file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json_stream.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/format/json_doc.h"

enum { ANSWERS_BYTES = 256 << 20, ANSWERS_MAX = 1 << 20 };

/* Any axis that has the value. */
static enum err find_value(const struct values *v, const char *name, struct judge_answer *out,
                           const char *path, size_t index, struct errbuf *e)
{
    char quoted[QUOTE_BYTES];
    for (uint32_t axis = 0; axis < v->n_axes; axis++) {
        for (uint32_t side = 0; side < 2; side++) {
            if (strcmp(v->axes[axis].poles[side].name, name) == 0) {
                out->axis = axis;
                out->side = side;
                return OK;
            }
        }
    }
    return err_set(e, ERR_NOT_FOUND, "%s: answer %zu: the values file has no value %s", path,
                   index + 1, quote(name, strlen(name), quoted));
}

/* A field of an answer: its own, or that of the prompt it answers; "text" is an answer too. */
static const json_t *field_of(const json_t *item, const json_t *asked, const char *field)
{
    const json_t *own = json_object_get(item, field);
    if (!own && strcmp(field, "answer") == 0) {
        return json_object_get(item, "text");
    }
    return own ? own : json_object_get(asked, field);
}

static enum err read_item(const json_t *item, const json_t *asked, const struct values *v,
                          const char *path, size_t index, struct judge_answer *out,
                          struct errbuf *e)
{
    static const char *const fields[] = {"value", "prompt", "answer"};
    const char *texts[3];
    for (int i = 0; i < 3; i++) {
        texts[i] = json_string_value(field_of(item, asked, fields[i]));
        if (!texts[i] || strlen(texts[i]) > LIMIT_TEXT_BYTES) {
            return err_set(e, ERR_PARSE,
                           "%s: answer %zu: '%s' must be a text of at most %d bytes, it is %s",
                           path, index + 1, fields[i], LIMIT_TEXT_BYTES,
                           json_doc_kind(field_of(item, asked, fields[i])));
        }
    }
    out->prompt = texts[1];
    out->answer = texts[2];
    return find_value(v, texts[0], out, path, index, e);
}

static int by_prompt(const void *left, const void *right)
{
    const struct judge_answer *a = left;
    const struct judge_answer *b = right;
    int order = strcmp(a->prompt, b->prompt);
    return order != 0           ? order
           : a->axis != b->axis ? (a->axis > b->axis) - (a->axis < b->axis)
           : a->side != b->side ? (a->side > b->side) - (a->side < b->side)
                                : strcmp(a->answer, b->answer);
}

/* The items of a JSON array, or of JSON Lines, as one list. */
static enum err read_stream(const char *path, const char *text, size_t bytes, json_t *list,
                            struct errbuf *e)
{
    struct json_stream stream;
    json_t *item = NULL;
    enum err error = json_stream_open(&stream, path, text, bytes, e);
    do {
        error = error == OK ? json_stream_next(&stream, &item, NULL, e) : error;
        if (error == OK && item && json_array_append_new(list, item) != 0) {
            error = err_set(e, ERR_NOMEM, "no memory for the answers");
        }
    } while (error == OK && item);
    return error;
}

static enum err load(const char *path, json_t **list, struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    json_t *doc = NULL;
    enum err error = file_read(path, ANSWERS_BYTES, &text, &bytes, e);
    if (error != OK) {
        return error;
    }
    size_t first = strspn(text, " \t\r\n");
    bool whole = text[first] == '{' && json_doc_parse(text, bytes, &doc, NULL) == OK &&
                 json_is_array(json_object_get(doc, "answers"));
    *list = whole ? json_incref(json_object_get(doc, "answers")) : json_array();
    json_decref(doc);
    if (!*list) {
        error = err_set(e, ERR_NOMEM, "no memory for the answers");
    } else if (!whole) {
        error = read_stream(path, text, bytes, *list, e);
    }
    mem_free(text);
    return error;
}

/* The prompts of the answers, as many as there are answers; held by the answers' root. */
static enum err read_prompts(const char *path, struct judge_answers *out, json_t **asked,
                             struct errbuf *e)
{
    enum err error = load(path, asked, e);
    size_t n = json_array_size(json_object_get(out->root, "answers"));
    if (error == OK && json_array_size(*asked) != n) {
        error = err_set(e, ERR_REFUSED, "%s has %zu prompts, but there are %zu answers", path,
                        json_array_size(*asked), n);
    }
    if (json_object_set_new(out->root, "prompts", *asked) != 0 && error == OK) {
        error = err_set(e, ERR_NOMEM, "no memory for the prompts");
    }
    return error;
}

enum err judge_file_read(const char *path, const char *prompts, const struct values *values,
                         struct judge_answers *out, struct errbuf *e)
{
    size_t i;
    json_t *item;
    json_t *list = NULL;
    json_t *asked = NULL;
    *out = (struct judge_answers){0};
    enum err error = load(path, &list, e);
    out->root = json_pack("{s:o}", "answers", list);
    if (error == OK && !out->root) {
        error = err_set(e, ERR_NOMEM, "no memory for the answers");
    }
    if (error == OK && prompts) {
        error = read_prompts(prompts, out, &asked, e);
    }
    if (error != OK) {
        judge_file_free(out);
        return error;
    }
    if (json_array_size(list) == 0 || json_array_size(list) > ANSWERS_MAX) {
        judge_file_free(out);
        return err_set(e, ERR_PARSE,
                       "%s: expected an array of 1 to %d answers {\"value\", \"prompt\", "
                       "\"answer\"}, or an object that has one as \"answers\"",
                       path, ANSWERS_MAX);
    }
    out->items = mem_calloc(json_array_size(list), sizeof *out->items);
    error = out->items ? OK : err_set(e, ERR_NOMEM, "no memory for the answers");
    json_array_foreach(list, i, item)
    {
        error = error == OK ? read_item(item, json_array_get(asked, i), values, path, i,
                                        &out->items[out->n++], e)
                            : error;
    }
    if (error != OK) {
        judge_file_free(out);
        return error;
    }
    qsort(out->items, out->n, sizeof *out->items, by_prompt);
    for (uint32_t k = 1; k < out->n; k++) {
        bool same = strcmp(out->items[k].prompt, out->items[k - 1].prompt) == 0;
        out->items[k].cluster = out->items[k - 1].cluster + !same;
    }
    return OK;
}

void judge_file_free(struct judge_answers *a)
{
    mem_free(a->items);
    json_decref(a->root);
    *a = (struct judge_answers){0};
}
