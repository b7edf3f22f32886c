/* chat.c - ChatML from an explicit list of turns. Text and tokens come from one walk over the
 * template, so they cannot disagree. */
#include "common/text/chat.h"

#include <string.h>

#include "common/base/mem.h"

#define TURN_END "\n"
#define GENERATION_ROLE "assistant"

/* Where the walk goes: the text (out), the tokens (tok, list), or only a length. */
struct sink {
    struct str *text;
    const struct tokenizer *tok;
    struct token_list *list;
    struct str stretch; /* plain text since the last control token */
    size_t bytes;       /* rendered so far */
    uint32_t start_id, end_id;
};

static bool known_role(const char *role)
{
    return !strcmp(role, "system") || !strcmp(role, "user") || !strcmp(role, "assistant");
}

static enum err check_turns(const struct chat_turn *turns, size_t n, bool add_generation,
                            bool end_last, struct errbuf *e)
{
    if (n == 0) {
        return err_set(e, ERR_USAGE, "a chat needs at least one turn");
    }
    if (add_generation && end_last) {
        return err_set(e, ERR_USAGE,
                       "a text ends in a generation header or in its last answer, not in both");
    }
    for (size_t i = 0; i < n; i++) {
        if (!known_role(turns[i].role)) {
            return err_set(e, ERR_UNSUPPORTED,
                           "turn %zu: role '%.40s'; system, user and assistant are possible", i,
                           turns[i].role);
        }
    }
    return OK;
}

static void put_text(struct sink *s, const char *text, size_t n)
{
    if (s->text) {
        str_append(s->text, text, n);
    }
    if (s->list) {
        str_append(&s->stretch, text, n);
    }
    s->bytes += n;
}

/* Encodes the stretch by itself and moves its byte ranges to where it stands in the text. */
static enum err flush(struct sink *s, struct errbuf *e)
{
    if (!s->list || s->stretch.len == 0) {
        return OK;
    }
    enum err error = str_ok(&s->stretch);
    if (error != OK) {
        return err_set(e, error, "no memory for a turn of the chat");
    }
    if (s->bytes > UINT32_MAX) {
        return err_set(e, ERR_RANGE, "a chat of more than %u bytes", UINT32_MAX);
    }
    size_t first = s->list->count;
    uint32_t base = (uint32_t)(s->bytes - s->stretch.len);
    error = tokenizer_encode(s->tok, s->stretch.data, s->stretch.len, s->list, e);
    if (error != OK) {
        (void)err_prefix(e, error, "the chat's text from its byte %u on", base);
    }
    for (size_t i = first; error == OK && i < s->list->count; i++) {
        s->list->items[i].begin += base;
        s->list->items[i].end += base;
    }
    str_clear(&s->stretch);
    return error;
}

static enum err put_control(struct sink *s, const char *name, uint32_t id, struct errbuf *e)
{
    size_t n = strlen(name);
    enum err error = flush(s, e);
    if (error == OK && s->list) {
        error = token_list_append(s->list,
                                  (struct token){id, (uint32_t)s->bytes, (uint32_t)(s->bytes + n)});
        if (error != OK) {
            return err_set(e, error, "no memory for the tokens of a chat");
        }
    }
    if (s->text) {
        str_append(s->text, name, n);
    }
    s->bytes += n;
    return error;
}

static enum err put_header(struct sink *s, const char *role, struct errbuf *e)
{
    enum err error = put_control(s, CHAT_START, s->start_id, e);
    put_text(s, role, strlen(role));
    put_text(s, "\n", 1);
    return error;
}

static enum err walk(struct sink *s, const struct chat_turn *turns, size_t n, bool add_generation,
                     bool end_last, struct errbuf *e)
{
    enum err error = OK;
    for (size_t i = 0; error == OK && i < n; i++) {
        error = put_header(s, turns[i].role, e);
        put_text(s, turns[i].content, turns[i].content_bytes);
        if (error == OK) {
            error = put_control(s, CHAT_END, s->end_id, e);
        }
        if (i + 1 < n || !end_last) {
            put_text(s, TURN_END, strlen(TURN_END));
        }
    }
    if (error == OK && add_generation) {
        error = put_header(s, GENERATION_ROLE, e);
    }
    return error == OK ? flush(s, e) : error;
}

enum err chat_render(const struct chat_turn *turns, size_t n, bool add_generation, bool end_last,
                     struct str *out, struct errbuf *e)
{
    struct sink s = {.text = out};
    enum err error = check_turns(turns, n, add_generation, end_last, e);
    if (error == OK) {
        error = walk(&s, turns, n, add_generation, end_last, e);
    }
    if (error == OK && str_ok(out) != OK) {
        error = err_set(e, str_ok(out), "no memory for the text of a chat");
    }
    return error;
}

enum err chat_check(const struct tokenizer *tok, struct errbuf *e)
{
    static const char *const NAMES[] = {CHAT_START, CHAT_END};
    uint32_t id;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (!tokenizer_special(tok, NAMES[i], &id)) {
            return err_set(e, ERR_UNSUPPORTED,
                           "the tokenizer has no control token %s; only the ChatML format is "
                           "supported, take an instruction-tuned model that uses it",
                           NAMES[i]);
        }
    }
    return OK;
}

enum err chat_encode(const struct tokenizer *tok, const struct chat_turn *turns, size_t n,
                     bool add_generation, bool end_last, struct token_list *out, struct errbuf *e)
{
    struct sink s = {.tok = tok, .list = out};
    size_t count = out->count;
    enum err error = chat_check(tok, e);
    if (error == OK) {
        error = check_turns(turns, n, add_generation, end_last, e);
    }
    if (error == OK) {
        (void)tokenizer_special(tok, CHAT_START, &s.start_id);
        (void)tokenizer_special(tok, CHAT_END, &s.end_id);
        error = walk(&s, turns, n, add_generation, end_last, e);
    }
    str_free(&s.stretch);
    if (error != OK) {
        out->count = count;
    }
    return error;
}

size_t chat_content_begin(const struct chat_turn *turns, size_t i)
{
    size_t at = 0;
    for (size_t k = 0; k <= i; k++) {
        at += strlen(CHAT_START) + strlen(turns[k].role) + 1;
        if (k < i) {
            at += turns[k].content_bytes + strlen(CHAT_END) + strlen(TURN_END);
        }
    }
    return at;
}
