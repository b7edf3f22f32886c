/* hf_config.c - config.json of a Hugging Face folder to a model shape. */
#include "common/format/hf_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/format/json_doc.h"

enum { SHOWN_BYTES = 64 };

/* A value as the file has it, for messages. */
static void show(const json_t *value, char out[SHOWN_BYTES])
{
    if (json_is_string(value)) {
        (void)snprintf(out, SHOWN_BYTES, "\"%.40s\"", json_string_value(value));
    } else if (json_is_integer(value)) {
        (void)snprintf(out, SHOWN_BYTES, "%" PRId64, (int64_t)json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(out, SHOWN_BYTES, "%g", json_real_value(value));
    } else {
        (void)snprintf(out, SHOWN_BYTES, "%s", json_doc_kind(value));
    }
}

static enum err unsupported(const char *key, const json_t *value, const char *supported,
                            struct errbuf *e)
{
    char shown[SHOWN_BYTES];
    show(value, shown);
    return err_set(e, ERR_UNSUPPORTED, "%s is %s; %s is supported", key, shown, supported);
}

/* A size of at least 1; absent or null gives fallback, and 0 as fallback means it must be there. */
static enum err get_size(const json_t *doc, const char *key, uint32_t fallback, uint32_t *out,
                         struct errbuf *e)
{
    const json_t *value = json_object_get(doc, key);
    *out = fallback;
    if (!value || json_is_null(value)) {
        return fallback > 0 ? OK : err_set(e, ERR_PARSE, "key %s is missing", key);
    }
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > INT32_MAX) {
        char shown[SHOWN_BYTES];
        show(value, shown);
        return err_set(e, ERR_RANGE, "%s is %s; an integer from 1 to %d is needed", key, shown,
                       INT32_MAX);
    }
    *out = (uint32_t)json_integer_value(value);
    return OK;
}

static enum err get_number(const json_t *value, const char *key, double fallback, double *out,
                           struct errbuf *e)
{
    *out = fallback;
    if (!value || json_is_null(value)) {
        return OK;
    }
    if (!json_is_number(value)) {
        return err_set(e, ERR_PARSE, "%s is %s; a number is needed", key, json_doc_kind(value));
    }
    *out = json_number_value(value);
    return OK;
}

/* Absent, null and false are fine. */
static enum err must_be_off(const json_t *doc, const char *key, struct errbuf *e)
{
    const json_t *value = json_object_get(doc, key);
    if (!value || json_is_null(value) || json_is_false(value)) {
        return OK;
    }
    return unsupported(key, value, "false", e);
}

/* Absent and null are fine, else it must be this text. */
static enum err must_be_text(const json_t *doc, const char *key, const char *text, struct errbuf *e)
{
    const json_t *value = json_object_get(doc, key);
    const char *found = json_string_value(value);
    if (!value || json_is_null(value) || (found && strcmp(found, text) == 0)) {
        return OK;
    }
    return unsupported(key, value, text, e);
}

/* rope_scaling or rope_parameters: nothing but {"rope_type": "default"} and theta. */
static enum err check_rope(const json_t *rope, const char *key, struct errbuf *e)
{
    static const char *const type_keys[] = {"rope_type", "type"};
    double partial = 1.0;
    if (!rope || json_is_null(rope)) {
        return OK;
    }
    if (!json_is_object(rope)) {
        return unsupported(key, rope, "null or {\"rope_type\": \"default\"}", e);
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *type = json_object_get(rope, type_keys[i]);
        const char *text = json_string_value(type);
        if (type && !(text && strcmp(text, "default") == 0)) {
            char name[SHOWN_BYTES];
            (void)snprintf(name, sizeof name, "%s.%s", key, type_keys[i]);
            return unsupported(name, type, "\"default\" (no scaling of positions)", e);
        }
    }
    const json_t *factor = json_object_get(rope, "factor");
    if (factor && !json_is_null(factor)) {
        return unsupported("the factor of rope scaling", factor, "none", e);
    }
    const json_t *part = json_object_get(rope, "partial_rotary_factor");
    enum err error = get_number(part, "partial_rotary_factor", 1.0, &partial, e);
    if (error == OK && partial != 1.0) {
        return unsupported("partial_rotary_factor", part, "1", e);
    }
    return error;
}

/* transformers 4 keeps rope_theta at the top, transformers 5 in rope_parameters. */
static enum err get_rope(const json_t *doc, struct model_shape *shape, struct errbuf *e)
{
    const json_t *parameters = json_object_get(doc, "rope_parameters");
    const json_t *inner = json_object_get(parameters, "rope_theta");
    const json_t *outer = json_object_get(doc, "rope_theta");
    double theta = 0;
    enum err error = check_rope(json_object_get(doc, "rope_scaling"), "rope_scaling", e);
    error = error == OK ? check_rope(parameters, "rope_parameters", e) : error;
    error =
        error == OK ? get_number(inner ? inner : outer, "rope_theta", 10000.0, &theta, e) : error;
    if (error == OK && inner && outer && json_number_value(inner) != json_number_value(outer)) {
        return err_set(e, ERR_PARSE, "rope_theta is %g, rope_parameters.rope_theta is %g: which?",
                       json_number_value(outer), json_number_value(inner));
    }
    const json_t *part = json_object_get(doc, "partial_rotary_factor");
    if (error == OK && part && !json_is_null(part) && json_number_value(part) != 1.0) {
        return unsupported("partial_rotary_factor", part, "1", e);
    }
    shape->rope_theta = (float)theta;
    return error;
}

static enum err check_architecture(const json_t *doc, struct errbuf *e)
{
    const json_t *type = json_object_get(doc, "model_type");
    const char *name = json_string_value(type);
    if (!name || strcmp(name, "llama") != 0) {
        return unsupported("model_type", type, "\"llama\"", e);
    }
    const json_t *quantised = json_object_get(doc, "quantization_config");
    if (quantised && !json_is_null(quantised)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "quantization_config is set; safetensors of F32, F16 and "
                       "BF16 are supported, or a GGUF of Q8_0, Q4_0 or Q4_1");
    }
    enum err error = must_be_text(doc, "hidden_act", "silu", e);
    error = error == OK ? must_be_off(doc, "attention_bias", e) : error;
    return error == OK ? must_be_off(doc, "mlp_bias", e) : error;
}

static enum err get_head_dim(const json_t *doc, struct model_shape *s, struct errbuf *e)
{
    uint32_t fallback = s->hidden / s->heads;
    const json_t *value = json_object_get(doc, "head_dim");
    if ((!value || json_is_null(value)) && (fallback == 0 || s->hidden % s->heads != 0)) {
        return err_set(e, ERR_RANGE,
                       "hidden_size %u is no multiple of num_attention_heads %u and there is no "
                       "head_dim",
                       s->hidden, s->heads);
    }
    return get_size(doc, "head_dim", fallback > 0 ? fallback : 1, &s->head_dim, e);
}

static enum err get_shape(const json_t *doc, struct model_shape *s, struct errbuf *e)
{
    const struct {
        const char *key;
        uint32_t *out;
    } sizes[] = {{"num_hidden_layers", &s->layers},
                 {"hidden_size", &s->hidden},
                 {"intermediate_size", &s->ff},
                 {"num_attention_heads", &s->heads},
                 {"vocab_size", &s->vocab}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        enum err error = get_size(doc, sizes[i].key, 0, sizes[i].out, e);
        if (error != OK) {
            return error;
        }
    }
    double eps = 0;
    enum err error = get_size(doc, "num_key_value_heads", s->heads, &s->kv_heads, e);
    error = error == OK ? get_head_dim(doc, s, e) : error;
    error = error == OK
                ? get_number(json_object_get(doc, "rms_norm_eps"), "rms_norm_eps", 1e-6, &eps, e)
                : error;
    s->rms_eps = (float)eps;
    const json_t *tied = json_object_get(doc, "tie_word_embeddings");
    if (error == OK && tied && !json_is_boolean(tied) && !json_is_null(tied)) {
        return unsupported("tie_word_embeddings", tied, "true or false", e);
    }
    s->tied_head = json_is_true(tied);
    return error == OK ? get_rope(doc, s, e) : error;
}

enum err hf_config_parse(const char *text, size_t n, struct model_shape *shape, struct errbuf *e)
{
    json_t *doc = NULL;
    struct model_shape s = {0};
    enum err error = json_doc_parse(text, n, &doc, e);
    if (error != OK) {
        return error;
    }
    error = check_architecture(doc, e);
    error = error == OK ? get_shape(doc, &s, e) : error;
    error = error == OK ? shape_check(&s, e) : error;
    json_decref(doc);
    if (error == OK) {
        *shape = s;
    }
    return error;
}
