/* gguf_model.c - llama.* metadata of a GGUF to a model shape. */
#include "common/format/gguf_model.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/format/gguf.h"

/* An integer from 1 to 2^31 - 1; fallback when absent, 0 as fallback means it must be there. */
static enum err get_size(const struct gguf *g, const char *key, uint32_t fallback, uint32_t *out,
                         struct errbuf *e)
{
    uint64_t value = 0;
    *out = fallback;
    if (fallback > 0 && !gguf_has(g, key)) {
        return OK;
    }
    enum err error = gguf_get_uint(g, key, &value, e);
    if (error != OK) {
        return error;
    }
    if (value < 1 || value > INT32_MAX) {
        return err_set(e, ERR_RANGE, "%s is %" PRIu64 "; 1 to %d are possible", key, value,
                       INT32_MAX);
    }
    *out = (uint32_t)value;
    return OK;
}

static enum err get_number(const struct gguf *g, const char *key, double fallback, double *out,
                           struct errbuf *e)
{
    *out = fallback;
    return gguf_has(g, key) ? gguf_get_float(g, key, out, e) : OK;
}

static enum err check_text(const struct gguf *g, const char *key, const char *wanted, bool needed,
                           struct errbuf *e)
{
    const char *text = NULL;
    size_t n = 0;
    if (!needed && !gguf_has(g, key)) {
        return OK;
    }
    enum err error = gguf_get_string(g, key, &text, &n, e);
    if (error == OK && (n != strlen(wanted) || memcmp(text, wanted, n) != 0)) {
        return err_set(e, ERR_UNSUPPORTED, "%s is \"%.*s\"; \"%s\" is supported", key,
                       (int)(n < 60 ? n : 60), text, wanted);
    }
    return error;
}

/* Anything that changes the angles of RoPE. Old files carry scale_linear, new ones scaling.*. */
static enum err check_rope(const struct gguf *g, struct errbuf *e)
{
    static const char *const factors[] = {"llama.rope.scaling.factor", "llama.rope.scale_linear"};
    enum err error = check_text(g, "llama.rope.scaling.type", "none", false, e);
    if (error != OK) {
        return error;
    }
    for (size_t i = 0; i < 2; i++) {
        double factor = 1.0;
        error = get_number(g, factors[i], 1.0, &factor, e);
        if (error != OK) {
            return error;
        }
        if (factor != 1.0) {
            return err_set(e, ERR_UNSUPPORTED, "%s is %g; 1 (no scaling) is supported", factors[i],
                           factor);
        }
    }
    if (gguf_tensor_find(g, "rope_freqs.weight")) {
        return err_set(e, ERR_UNSUPPORTED,
                       "tensor rope_freqs.weight scales RoPE (Llama 3.1 and "
                       "later); models without it are supported");
    }
    return OK;
}

static enum err get_heads(const struct gguf *g, struct model_shape *s, struct errbuf *e)
{
    uint32_t value_length = 0;
    uint32_t rotated = 0;
    enum err error = get_size(g, "llama.attention.head_count", 0, &s->heads, e);
    error = error == OK ? get_size(g, "llama.attention.head_count_kv", s->heads, &s->kv_heads, e)
                        : error;
    if (error != OK) {
        return error;
    }
    CHECK(s->heads > 0);
    if (!gguf_has(g, "llama.attention.key_length") && s->hidden % s->heads != 0) {
        return err_set(e, ERR_RANGE,
                       "llama.embedding_length %u is no multiple of llama.attention.head_count %u",
                       s->hidden, s->heads);
    }
    uint32_t fallback = s->hidden / s->heads > 0 ? s->hidden / s->heads : 1;
    error = get_size(g, "llama.attention.key_length", fallback, &s->head_dim, e);
    error = error == OK ? get_size(g, "llama.attention.value_length", s->head_dim, &value_length, e)
                        : error;
    error =
        error == OK ? get_size(g, "llama.rope.dimension_count", s->head_dim, &rotated, e) : error;
    if (error == OK && (value_length != s->head_dim || rotated != s->head_dim)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "llama.attention.key_length %u, value_length %u and rope.dimension_count %u "
                       "differ; equal ones are supported",
                       s->head_dim, value_length, rotated);
    }
    return error;
}

static enum err get_vocab(const struct gguf *g, struct model_shape *s, struct errbuf *e)
{
    const struct gguf_tensor *embed = gguf_tensor_find(g, "token_embd.weight");
    uint32_t said = 0;
    if (!embed) {
        return err_set(e, ERR_NOT_FOUND, "tensor token_embd.weight is missing");
    }
    if (embed->n_dims != 2 || embed->dims[1] > INT32_MAX) {
        return err_set(e, ERR_RANGE,
                       "tensor token_embd.weight has %u dimensions and %" PRIu64
                       " rows; 2 and at most %d are possible",
                       embed->n_dims, embed->dims[1], INT32_MAX);
    }
    s->vocab = (uint32_t)embed->dims[1];
    enum err error = get_size(g, "llama.vocab_size", s->vocab, &said, e);
    if (error == OK && said != s->vocab) {
        return err_set(e, ERR_RANGE, "llama.vocab_size is %u, token_embd.weight has %u rows", said,
                       s->vocab);
    }
    return error;
}

static enum err check_experts(const struct gguf *g, struct errbuf *e)
{
    static const char key[] = "llama.expert_count";
    uint64_t experts = 0;
    if (!gguf_has(g, key)) {
        return OK;
    }
    enum err error = gguf_get_uint(g, key, &experts, e);
    if (error == OK && experts > 0) {
        return err_set(e, ERR_UNSUPPORTED, "%s is %" PRIu64 "; 0 is supported", key, experts);
    }
    return error;
}

enum err gguf_model_shape(const struct gguf *g, struct model_shape *shape, struct errbuf *e)
{
    struct model_shape s = {0};
    double theta = 0;
    double eps = 0;
    enum err error = check_text(g, "general.architecture", "llama", true, e);
    error = error == OK ? check_text(g, "general.type", "model", false, e) : error;
    error = error == OK ? check_experts(g, e) : error;
    error = error == OK ? check_rope(g, e) : error;
    error = error == OK ? get_size(g, "llama.block_count", 0, &s.layers, e) : error;
    error = error == OK ? get_size(g, "llama.embedding_length", 0, &s.hidden, e) : error;
    error = error == OK ? get_size(g, "llama.feed_forward_length", 0, &s.ff, e) : error;
    error = error == OK ? get_heads(g, &s, e) : error;
    error = error == OK ? get_vocab(g, &s, e) : error;
    error = error == OK ? get_number(g, "llama.rope.freq_base", 10000.0, &theta, e) : error;
    error =
        error == OK ? gguf_get_float(g, "llama.attention.layer_norm_rms_epsilon", &eps, e) : error;
    if (error != OK) {
        return error;
    }
    s.rope_theta = (float)theta;
    s.rms_eps = (float)eps;
    s.tied_head = !gguf_tensor_find(g, "output.weight");
    error = shape_check(&s, e);
    if (error == OK) {
        *shape = s;
    }
    return error;
}
