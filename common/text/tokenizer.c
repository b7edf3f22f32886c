/* tokenizer.c - making one from plain arrays, text to tokens, tokens to bytes. */
#include "common/text/tokenizer.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/text/tokenizer_source.h"
#include "common/text/utf8.h"

enum { TOKEN_LIST_LIMIT = 1 << 26 }; /* tokens of one list */

struct tokenizer {
    struct bpe *bpe;
    struct unicode_classes classes;
    enum pretokenizer pre;
    bool nfc;
    struct tokenizer_notes notes;
};

enum err token_list_append(struct token_list *list, struct token token)
{
    void *items = list->items;
    enum err error =
        mem_grow(&items, &list->capacity, list->count + 1, sizeof *list->items, TOKEN_LIST_LIMIT);
    list->items = items;
    if (error == OK) {
        list->items[list->count++] = token;
    }
    return error;
}

void token_list_free(struct token_list *list)
{
    mem_free(list->items);
    *list = (struct token_list){0};
}

void tokenizer_source_free(struct tokenizer_source *source)
{
    mem_free(source->tokens);
    mem_free(source->merges);
    *source = (struct tokenizer_source){0};
}

bool merge_split(const char *text, size_t bytes, struct merge_source *merge)
{
    const char *space = memchr(text, ' ', bytes);
    if (!space) {
        return false;
    }
    size_t left = (size_t)(space - text);
    size_t right = bytes - left - 1;
    *merge = (struct merge_source){
        .left = text, .right = space + 1, .left_bytes = left, .right_bytes = right};
    return left > 0 && right > 0 && !memchr(space + 1, ' ', right);
}

enum err tokenizer_new(const struct tokenizer_source *source, uint32_t vocab,
                       struct tokenizer **out, struct errbuf *e)
{
    *out = NULL;
    if (source->tokens_count > vocab) {
        return err_set(e, ERR_RANGE,
                       "the tokenizer has %zu ids, the model's embedding only %u rows; they do not "
                       "belong together",
                       source->tokens_count, vocab);
    }
    struct tokenizer *tok = mem_calloc(1, sizeof *tok);
    if (!tok) {
        return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    }
    const struct bpe_source core = {.tokens = source->tokens,
                                    .merges = source->merges,
                                    .tokens_count = source->tokens_count,
                                    .merges_count = source->merges_count,
                                    .ignore_merges = source->ignore_merges};
    tok->pre = source->pre;
    tok->nfc = source->nfc;
    enum err error = bpe_new(&core, &tok->bpe, e);
    if (error == OK && source->unknown_tokens && bpe_alphabet(tok->bpe) < 256) {
        error = err_set(e, ERR_UNSUPPORTED,
                        "model.unk_token is set and %u of the 256 byte tokens are missing; such "
                        "bytes would become the unknown token, which is not supported",
                        256 - bpe_alphabet(tok->bpe));
    }
    if (error == OK) {
        error = unicode_classes_init(&tok->classes, e);
    }
    if (error != OK) {
        tokenizer_close(&tok);
    }
    *out = tok;
    return error;
}

enum err tokenizer_from_json(const char *text, size_t bytes, uint32_t vocab, struct tokenizer **out,
                             struct errbuf *e)
{
    struct tokenizer_source source = {0};
    struct tokenizer_json *json = NULL;
    *out = NULL;
    enum err error = tokenizer_json_read(text, bytes, vocab, &json, &source, e);
    if (error == OK) {
        error = tokenizer_new(&source, vocab, out, e);
    }
    tokenizer_source_free(&source);
    tokenizer_json_free(&json);
    return error;
}

void tokenizer_note(struct tokenizer *tok, struct tokenizer_notes notes)
{
    tok->notes = notes;
}

struct tokenizer_notes tokenizer_notes(const struct tokenizer *tok)
{
    return tok->notes;
}

void tokenizer_close(struct tokenizer **tok)
{
    struct tokenizer *t = *tok;
    if (t) {
        bpe_free(&t->bpe);
        unicode_classes_free(&t->classes);
        mem_free(t);
    }
    *tok = NULL;
}

/* Valid UTF-8 throughout, and nothing that a normalizer we do not have would touch. */
static enum err check_text(const struct tokenizer *tok, const char *text, size_t n,
                           struct errbuf *e)
{
    if (n > LIMIT_TEXT_BYTES) {
        return err_set(e, ERR_RANGE, "a text of %zu bytes; at most %d are tokenized at once", n,
                       LIMIT_TEXT_BYTES);
    }
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t step = utf8_get(text + i, n - i, &code);
        if (step == 0) {
            return err_set(e, ERR_PARSE, "byte %zu (0x%02X) of the text begins no UTF-8 character",
                           i, (unsigned)(unsigned char)text[i]);
        }
        if (tok->nfc && (tok->classes.of[code] & CLASS_NFC_UNSURE)) {
            return err_set(e, ERR_UNSUPPORTED,
                           "U+%04X at byte %zu: this tokenizer normalises to NFC, which is not "
                           "supported for combining and decomposable characters; normalise the "
                           "text and leave such characters out",
                           (unsigned)code, i);
        }
        i += step;
    }
    return OK;
}

enum err tokenizer_encode(const struct tokenizer *tok, const char *text, size_t n,
                          struct token_list *out, struct errbuf *e)
{
    struct bpe_scratch scratch = {0};
    size_t count = out->count;
    enum err error = check_text(tok, text, n, e);
    if (error != OK) {
        return error;
    }
    for (size_t begin = 0; error == OK && begin < n;) {
        size_t end = pretokenizer_next(tok->pre, &tok->classes, text, begin, n);
        error = bpe_encode(tok->bpe, &scratch, text, begin, end, out);
        begin = end;
    }
    bpe_scratch_free(&scratch);
    if (error != OK) {
        out->count = count;
        return err_set(e, error, "cannot tokenize a text of %zu bytes: %s", n, err_text(error));
    }
    return OK;
}

enum err tokenizer_decode(const struct tokenizer *tok, const uint32_t *ids, size_t n,
                          struct str *out, struct errbuf *e)
{
    for (size_t i = 0; i < n; i++) {
        size_t bytes;
        const char *text = bpe_text(tok->bpe, ids[i], &bytes);
        if (!text) {
            return err_set(e, ERR_RANGE, "token %zu is id %u; the tokenizer has no text for it", i,
                           ids[i]);
        }
        str_append(out, text, bytes);
    }
    return str_ok(out) == OK ? OK : err_set(e, str_ok(out), "no memory for the decoded text");
}

const char *tokenizer_text(const struct tokenizer *tok, uint32_t id, size_t *bytes)
{
    return bpe_text(tok->bpe, id, bytes);
}

bool tokenizer_special(const struct tokenizer *tok, const char *name, uint32_t *id)
{
    return bpe_special(tok->bpe, name, strlen(name), id);
}

uint32_t tokenizer_count(const struct tokenizer *tok)
{
    return bpe_count(tok->bpe);
}

const char *tokenizer_unicode_version(const struct tokenizer *tok)
{
    return tok->classes.version;
}
