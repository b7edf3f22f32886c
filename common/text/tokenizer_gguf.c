/* tokenizer_gguf.c - the tokenizer in the metadata of a GGUF: tokenizer.ggml.{model,pre,tokens,
 * token_type,merges}. The chat template and the BOS flags are not used: turns are explicit. */
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/gguf.h"
#include "common/text/byte_alphabet.h"
#include "common/text/tokenizer_source.h"

/* Values of tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static enum err read_settings(const struct gguf *g, struct tokenizer_source *s, struct errbuf *e)
{
    char show[TOKEN_SHOW_BYTES];
    const char *text = NULL;
    size_t bytes = 0;
    enum err error = gguf_get_string(g, "tokenizer.ggml.model", &text, &bytes, e);
    if (error != OK) {
        return error;
    }
    if (bytes != 4 || memcmp(text, "gpt2", 4) != 0) {
        return err_set(e, ERR_UNSUPPORTED,
                       "tokenizer.ggml.model is '%s'; only 'gpt2' (byte-level BPE) is supported",
                       token_show(show, text, bytes));
    }
    error = gguf_get_string(g, "tokenizer.ggml.pre", &text, &bytes, e);
    if (error != OK) {
        return error;
    }
    if (!pretokenizer_from_gguf(text, bytes, &s->pre)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "tokenizer.ggml.pre is '%s'; supported pre-tokenizers: %s",
                       token_show(show, text, bytes), pretokenizer_gguf_names());
    }
    s->ignore_merges = s->pre == PRE_LLAMA3;
    s->nfc = s->pre == PRE_QWEN2;
    return OK;
}

static enum err kind_of(int64_t type, size_t id, enum token_kind *kind, struct errbuf *e)
{
    switch (type) {
    case TYPE_NORMAL:
        *kind = TOKEN_TEXT;
        return OK;
    case TYPE_UNKNOWN:
    case TYPE_CONTROL:
    case TYPE_USER:
        *kind = TOKEN_SPECIAL;
        return OK;
    case TYPE_UNUSED:
        *kind = TOKEN_UNUSED;
        return OK;
    default:
        return err_set(e, ERR_UNSUPPORTED,
                       "tokenizer.ggml.token_type of token %zu is %lld; 1 to 5 are supported in a "
                       "byte-level vocabulary",
                       id, (long long)type);
    }
}

static enum err read_tokens(const struct gguf *g, uint32_t vocab, struct tokenizer_source *s,
                            struct errbuf *e)
{
    struct gguf_array texts;
    struct gguf_array types;
    enum err error = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &texts, e);
    if (error == OK) {
        error = gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &types, e);
    }
    if (error != OK) {
        return error;
    }
    if (texts.count != types.count || texts.count > vocab) {
        return err_set(e, ERR_RANGE,
                       "tokenizer.ggml.tokens has %llu entries, tokenizer.ggml.token_type %llu; "
                       "they must agree and not exceed the model's vocabulary of %u",
                       (unsigned long long)texts.count, (unsigned long long)types.count, vocab);
    }
    s->tokens_count = (size_t)texts.count;
    s->tokens = mem_calloc(s->tokens_count, sizeof *s->tokens);
    if (!s->tokens) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tokens", s->tokens_count);
    }
    for (size_t id = 0; error == OK && id < s->tokens_count; id++) {
        struct token_source *t = &s->tokens[id];
        int64_t type = 0;
        if (!gguf_array_next_string(&texts, &t->text, &t->bytes) ||
            !gguf_array_next_int(&types, &type)) {
            return err_set(e, ERR_CORRUPT, "tokenizer.ggml.tokens ends at token %zu", id);
        }
        error = kind_of(type, id, &t->kind, e);
    }
    return error;
}

static enum err read_merges(const struct gguf *g, struct tokenizer_source *s, struct errbuf *e)
{
    char show[TOKEN_SHOW_BYTES];
    struct gguf_array merges;
    const char *text;
    size_t bytes;
    enum err error = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, &merges, e);
    if (error != OK) {
        return error;
    }
    if (merges.count > 4 * (uint64_t)LIMIT_VOCAB) {
        return err_set(e, ERR_RANGE, "tokenizer.ggml.merges has %llu entries; at most %d are read",
                       (unsigned long long)merges.count, 4 * LIMIT_VOCAB);
    }
    s->merges_count = (size_t)merges.count;
    s->merges = mem_calloc(s->merges_count, sizeof *s->merges);
    if (!s->merges) {
        return err_set(e, ERR_NOMEM, "no memory for %zu merges", s->merges_count);
    }
    for (size_t i = 0; i < s->merges_count && gguf_array_next_string(&merges, &text, &bytes); i++) {
        if (!merge_split(text, bytes, &s->merges[i])) {
            return err_set(e, ERR_PARSE,
                           "tokenizer.ggml.merges[%zu] is '%s'; two tokens with one space between "
                           "are needed",
                           i, token_show(show, text, bytes));
        }
    }
    return OK;
}

enum err tokenizer_gguf_read(const struct gguf *gguf, uint32_t vocab,
                             struct tokenizer_source *source, struct errbuf *e)
{
    enum err error = read_settings(gguf, source, e);
    if (error == OK) {
        error = read_tokens(gguf, vocab, source, e);
    }
    if (error == OK) {
        error = read_merges(gguf, source, e);
    }
    return error;
}
