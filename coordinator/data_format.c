/* data_format.c - the formats of data files as tables, and the check of one item. */
#include "coordinator/data_format.h"

#include <stdio.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/limits.h"
#include "common/base/quote.h"
#include "common/base/str.h"

static const struct data_format_info formats[DATA_FORMATS] = {
    [DATA_VCD] = {"vcd",
                  "scenarios with options",
                  {{.name = "scenario", .required = true},
                   {.name = "preference domain", .required = true},
                   {.name = "scene"},
                   {.name = "options", .required = true, .options = true},
                   {.name = "choice", .choice = true}}},
    [DATA_PAIRS] = {"pairs",
                    "pairs of answers",
                    {{.name = "instruction", .required = true},
                     {.name = "extra_a", .required = true, .may_be_empty = true},
                     {.name = "response_a", .required = true},
                     {.name = "extra_b", .required = true, .may_be_empty = true},
                     {.name = "response_b", .required = true}}},
    [DATA_DPO] = {"dpo",
                  "chosen and rejected answers",
                  {{.name = "prompt", .required = true},
                   {.name = "chosen", .required = true},
                   {.name = "rejected", .required = true}}},
    [DATA_SFT] = {"sft",
                  "instructions and responses",
                  {{.name = "instruction", .required = true},
                   {.name = "response", .required = true},
                   {.name = "context", .unread = "instruction"},
                   {.name = "input", .unread = "instruction"}}},
    [DATA_SFT_IO] = {"sft-io",
                     "inputs and outputs",
                     {{.name = "instruction", .unread = "input"},
                      {.name = "input", .required = true},
                      {.name = "output", .required = true}}},
    [DATA_BQD] = {"bqd",
                  "behaviour questions",
                  {{.name = "question", .required = true},
                   {.name = "answer_matching_behavior", .required = true},
                   {.name = "answer_not_matching_behavior", .required = true}}},
    [DATA_RETENTION] = {"retention",
                        "two-choice questions",
                        {{.name = "prompt", .required = true},
                         {.name = "correct", .required = true},
                         {.name = "incorrect", .required = true},
                         {.name = "category"}}},
    [DATA_QUESTIONS] = {"questions", "open questions", {{.name = "question", .required = true}}},
    [DATA_HISTORY] = {"history",
                      "a user's choices",
                      {{.name = "scenario", .required = true},
                       {.name = "options", .required = true, .options = true, .plain = true},
                       {.name = "choice", .choice = true},
                       {.name = "preference domain"}}},
};

const struct data_format_info *data_format_info(enum data_format format)
{
    return &formats[format];
}

int data_format_from(const char *name)
{
    for (int i = 0; i < DATA_FORMATS; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

const json_t *data_format_option(const json_t *option)
{
    return json_is_object(option) ? json_object_get(option, "text") : option;
}

bool data_format_choice(const json_t *item, uint32_t *choice)
{
    const json_t *value = json_object_get(item, "choice");
    const json_t *options = json_object_get(item, "options");
    for (uint32_t i = 0; value && i < json_array_size(options); i++) {
        const json_t *text = data_format_option(json_array_get(options, i));
        if (json_is_integer(value) ? json_integer_value(value) == i : json_equal(value, text)) {
            *choice = i;
            return true;
        }
    }
    return false;
}

/* A VCD item that lacks something is no history: that has a choice, or options without values. */
static bool is_history(const json_t *item)
{
    const json_t *first = json_array_get(json_object_get(item, "options"), 0);
    if (json_object_get(first, "bias")) {
        return false;
    }
    return json_object_get(item, "choice") || json_is_string(first) || json_is_object(first);
}

enum err data_format_recognise(const struct json_stream *s, const json_t *item,
                               enum data_format *format, struct errbuf *e)
{
    int best = 0;
    int best_missing = 0;
    for (int i = 0; i < DATA_FORMATS; i++) {
        int found = 0;
        int missing = 0;
        for (const struct data_field *f = formats[i].fields; f->name; f++) {
            bool has = json_object_get(item, f->name) != NULL;
            found += f->required && has;
            missing += f->required && !has;
        }
        if (found > best || (found == best && found > 0 && missing < best_missing)) {
            best = found;
            best_missing = missing;
            *format = (enum data_format)i;
        }
    }
    if (best > 0 && *format == DATA_HISTORY && !is_history(item)) {
        *format = DATA_VCD;
    } else if (best > 0 && *format == DATA_VCD && json_object_get(item, "choice") &&
               is_history(item)) {
        *format = DATA_HISTORY;
    }
    if (best > 0) {
        return OK;
    }
    struct str known = {0};
    for (int i = 0; i < DATA_FORMATS; i++) {
        str_addf(&known, "%s%s (", i > 0 ? ", " : "", formats[i].name);
        const char *comma = "";
        for (const struct data_field *f = formats[i].fields; f->name; f++) {
            if (!f->unread) {
                str_addf(&known, "%s%s", comma, f->name);
                comma = ", ";
            }
        }
        str_add(&known, ")");
    }
    enum err error = json_stream_fail(s, NULL, 0, e, ERR_PARSE,
                                      "the first item has no field of a known format: %s",
                                      known.data ? known.data : "");
    str_free(&known);
    return error;
}

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {"an object",      "an array", "a string",
                                        "a whole number", "a number", "true or false",
                                        "true or false",  "null"};
    return names[json_typeof(value)];
}

/* A member that is there but has another name: the likely slip of a missing field. */
static const char *nearest_member(const json_t *object, const char *name,
                                  const struct data_field *known)
{
    const char *names[64];
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool taken = false;
        for (const struct data_field *f = known; f && f->name; f++) {
            taken = taken || strcmp(f->name, key) == 0;
        }
        if (!taken && n < 64) {
            names[n++] = key;
        }
    }
    return conf_nearest(name, names, n);
}

/* The string `name` of object, at path[0 .. n-1]; path has room for one more step. */
static enum err check_string(const struct json_stream *s, struct json_step *path, size_t n,
                             const json_t *object, const struct data_field *field,
                             const struct data_field *known, struct errbuf *e)
{
    const json_t *value = json_object_get(object, field->name);
    path[n] = (struct json_step){.key = field->name};
    if (!value && !field->required) {
        return OK;
    }
    if (!value) {
        const char *near = nearest_member(object, field->name, known);
        char quoted[QUOTE_BYTES];
        return json_stream_fail(s, path, n, e, ERR_PARSE,
                                "field '%s' is missing: expected a %s%s%s", field->name,
                                field->options ? "list" : "string", near ? "; there is " : "",
                                near ? quote(near, strlen(near), quoted) : "");
    }
    if (field->options || field->choice) {
        return OK;
    }
    if (!json_is_string(value)) {
        return json_stream_fail(s, path, n + 1, e, ERR_PARSE,
                                "field '%s': expected a string, found %s", field->name,
                                type_name(value));
    }
    size_t bytes = json_string_length(value);
    if (bytes > LIMIT_TEXT_BYTES) {
        return json_stream_fail(s, path, n + 1, e, ERR_RANGE,
                                "field '%s' has %zu bytes, at most %d are possible", field->name,
                                bytes, LIMIT_TEXT_BYTES);
    }
    const char *text = json_string_value(value);
    if (!field->may_be_empty && field->required && strspn(text, " \t\r\n") == bytes) {
        return json_stream_fail(s, path, n + 1, e, ERR_PARSE,
                                "field '%s' is empty: expected a text", field->name);
    }
    return OK;
}

/* An option of a history: a text, or an object with one. */
static enum err check_plain(const struct json_stream *s, struct json_step *path,
                            const json_t *option, struct errbuf *e)
{
    static const struct data_field text[] = {{.name = "text", .required = true}, {.name = NULL}};
    char quoted[QUOTE_BYTES];
    if (json_is_object(option)) {
        return check_string(s, path, 2, option, text, text, e);
    }
    size_t bytes = json_string_length(option);
    if (!json_is_string(option) || bytes > LIMIT_TEXT_BYTES ||
        strspn(json_string_value(option), " \t\r\n") == bytes) {
        return json_stream_fail(s, path, 2, e, ERR_PARSE,
                                "option %zu: expected a text of at most %d bytes, or {text}, found "
                                "%s",
                                path[1].index + 1, LIMIT_TEXT_BYTES,
                                json_is_string(option)
                                    ? quote(json_string_value(option), bytes, quoted)
                                    : type_name(option));
    }
    return OK;
}

static enum err check_options(const struct json_stream *s, const json_t *options, bool plain,
                              struct errbuf *e)
{
    static const struct data_field fields[] = {
        {.name = "text", .required = true}, {.name = "bias", .required = true}, {.name = NULL}};
    struct json_step path[3] = {{.key = "options"}};
    const char *wanted = plain ? "texts" : "{text, bias}";
    if (!json_is_array(options)) {
        return json_stream_fail(s, path, 1, e, ERR_PARSE,
                                "field 'options': expected a list of %s, found %s", wanted,
                                type_name(options));
    }
    size_t n = json_array_size(options);
    if (n < 2 || n > LIMIT_OPTIONS) {
        return json_stream_fail(s, path, 1, e, ERR_RANGE,
                                "field 'options' has %zu options, 2 to %d are possible", n,
                                LIMIT_OPTIONS);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *option = json_array_get(options, i);
        enum err error = OK;
        path[1] = (struct json_step){.index = i};
        if (!plain && !json_is_object(option)) {
            return json_stream_fail(s, path, 2, e, ERR_PARSE,
                                    "option %zu: expected {text, bias}, found %s", i + 1,
                                    type_name(option));
        }
        error = plain ? check_plain(s, path, option, e) : OK;
        for (const struct data_field *f = fields; !plain && f->name && error == OK; f++) {
            error = check_string(s, path, 2, option, f, fields, e);
        }
        if (error != OK) {
            return error;
        }
    }
    return OK;
}

/* "choice" names one of the options, which have been checked. */
static enum err check_choice(const struct json_stream *s, const json_t *item, struct errbuf *e)
{
    const json_t *value = json_object_get(item, "choice");
    const struct json_step path[1] = {{.key = "choice"}};
    size_t n = json_array_size(json_object_get(item, "options"));
    uint32_t choice;
    char found[QUOTE_BYTES + 24];
    char quoted[QUOTE_BYTES];
    if (!value || data_format_choice(item, &choice)) {
        return OK;
    }
    if (json_is_integer(value)) {
        (void)snprintf(found, sizeof found, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else {
        (void)snprintf(found, sizeof found, "%s",
                       json_is_string(value)
                           ? quote(json_string_value(value), json_string_length(value), quoted)
                           : type_name(value));
    }
    return json_stream_fail(s, path, 1, e, ERR_RANGE,
                            "field 'choice': expected the number of an option, 0 to %zu, or its "
                            "text letter by letter, found %s",
                            n - 1, found);
}

/* What other readers put in front of the text would be left out without a word. */
static enum err check_unread(const struct json_stream *s, const json_t *item,
                             const struct data_field *field, struct errbuf *e)
{
    const json_t *value = json_object_get(item, field->name);
    const struct json_step path[1] = {{.key = field->name}};
    if (!value || json_is_null(value) ||
        (json_is_string(value) && json_string_length(value) == 0)) {
        return OK;
    }
    return json_stream_fail(s, path, 1, e, ERR_REFUSED,
                            "field '%s' is not read and would be left out: join its text with '%s'",
                            field->name, field->unread);
}

enum err data_format_check(const struct json_stream *s, enum data_format format, const json_t *item,
                           struct errbuf *e)
{
    const struct data_field *fields = formats[format].fields;
    for (const struct data_field *f = fields; f->name; f++) {
        struct json_step path[3];
        enum err error =
            f->unread ? check_unread(s, item, f, e) : check_string(s, path, 0, item, f, fields, e);
        if (error == OK && f->options) {
            error = check_options(s, json_object_get(item, f->name), f->plain, e);
        }
        if (error == OK && f->choice) {
            error = check_choice(s, item, e);
        }
        if (error != OK) {
            return error;
        }
    }
    return OK;
}
