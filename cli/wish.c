/* wish.c - names are looked up here where the values are known, so that a wrong one is answered at
 * once. */
#include "cli/wish.h"

#include <stdlib.h>
#include <string.h>

#include "common/format/json_doc.h"
#include "common/wire/answers.h"

enum { INFERRED_BYTES = 4 << 20 };

enum err wish_number(const char *option, const char *text, double least, double most, double *out,
                     struct errbuf *e)
{
    char *end = NULL;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !(*out >= least && *out <= most)) {
        return err_set(e, ERR_USAGE, "%s: '%.64s' is not a number from %g to %g", option, text,
                       least, most);
    }
    return OK;
}

enum err wish_value(const struct wish_source *s, json_t *request, const char *name,
                    struct errbuf *e)
{
    uint32_t axis;
    uint32_t side;
    enum err error = OK;
    if (s->values && values_find(s->values, name, &axis, &side, e) != OK) {
        error = ERR_USAGE;
    }
    json_t *text = error == OK ? json_string(name) : NULL;
    if (text) {
        json_object_del(request, "mix");
        json_object_set_new(request, "value", text);
    } else if (error == OK) {
        error = err_set(e, ERR_USAGE, "the name of the value is no UTF-8");
    }
    return error;
}

/* What the posterior of a user says about an axis. */
static enum err inferred_lambda(const char *path, const char *axis, double *lambda,
                                struct errbuf *e)
{
    json_t *doc = NULL;
    enum err error = json_doc_load(path, INFERRED_BYTES, &doc, e);
    if (error != OK) {
        return error;
    }
    const json_t *axes = json_object_get(doc, "axes");
    const json_t *number = json_object_get(json_object_get(axes, axis), "lambda");
    *lambda = json_number_value(number);
    if (!json_is_object(axes)) {
        error = err_set(e, ERR_PARSE,
                        "%s: there is no 'axes': the output of pft infer --json is "
                        "wanted",
                        path);
    } else if (!json_is_number(number) || !(*lambda >= 0.0 && *lambda <= 1.0)) {
        error = err_set(e, ERR_PARSE,
                        "%s: axes: '%.128s' has no 'lambda' from 0 to 1; was another axis looked "
                        "at?",
                        path, axis);
    }
    json_decref(doc);
    return error;
}

enum err wish_mix(const struct wish_source *s, json_t *request, const char *text, struct errbuf *e)
{
    const char *equals = strrchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    json_t *name = n > 0 ? json_stringn(text, n) : NULL;
    double lambda = 0.0;
    uint32_t axis;
    enum err error = OK;
    if (!name || (!equals && !s->inferred)) {
        error =
            err_set(e, ERR_USAGE,
                    "mix '%.128s': AXIS=LAMBDA is wanted (AXIS alone with --inferred FILE)", text);
    } else if (equals) {
        error = wish_number("mix: LAMBDA", equals + 1, (double)ANSWER_WEIGHT_MIN,
                            (double)ANSWER_WEIGHT_MAX, &lambda, e);
    }
    if (error == OK && s->values &&
        values_find_axis(s->values, json_string_value(name), &axis, e) != OK) {
        error = ERR_USAGE;
    }
    if (error == OK && !equals) {
        error = inferred_lambda(s->inferred, json_string_value(name), &lambda, e);
    }
    if (error == OK) {
        json_object_del(request, "value");
        json_object_set_new(request, "mix", json_pack("{s:O,s:f}", "axis", name, "lambda", lambda));
    }
    json_decref(name);
    return error;
}
