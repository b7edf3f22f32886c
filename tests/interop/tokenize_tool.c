/* tokenize_tool.c - JSON strings in, token ids out, for comparison with other tokenizers.
 *
 *     tokenize_tool --model FILE|FOLDER      or      tokenize_tool --json tokenizer.json
 *
 * A line of stdin is one JSON string; its line on stdout is the array of ids of that text, plain,
 * without control tokens. With --offsets each id becomes [id, begin, end]. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_file.h"
#include "common/text/tokenizer.h"
#include "common/text/tokenizer_source.h"

static enum err open_tokenizer(const char *option, const char *path, struct tokenizer **tok,
                               struct errbuf *e)
{
    if (strcmp(option, "--json") == 0) {
        char *text = NULL;
        size_t bytes = 0;
        enum err error = file_read(path, LIMIT_JSON_BYTES, &text, &bytes, e);
        if (error == OK) {
            error = tokenizer_from_json(text, bytes, LIMIT_VOCAB, tok, e);
            mem_free(text);
        }
        return error;
    }
    struct model_file *model = NULL;
    enum err error = model_open(path, &model, e);
    if (error == OK) {
        error = tokenizer_open(model, tok, e);
    }
    model_close(&model);
    return error;
}

static enum err encode_line(const struct tokenizer *tok, const char *line, size_t n, bool offsets,
                            struct token_list *list, struct str *out, struct errbuf *e)
{
    json_error_t at;
    json_t *value = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
    if (!value || !json_is_string(value)) {
        json_decref(value);
        return err_set(e, ERR_PARSE, "a JSON string is needed: %s", value ? "other type" : at.text);
    }
    list->count = 0;
    enum err error =
        tokenizer_encode(tok, json_string_value(value), json_string_length(value), list, e);
    json_decref(value);
    str_add(out, "[");
    for (size_t i = 0; error == OK && i < list->count; i++) {
        const struct token *t = &list->items[i];
        const char *comma = i > 0 ? "," : "";
        if (offsets) {
            str_addf(out, "%s[%" PRIu32 ",%" PRIu32 ",%" PRIu32 "]", comma, t->id, t->begin,
                     t->end);
        } else {
            str_addf(out, "%s%" PRIu32, comma, t->id);
        }
    }
    str_add(out, "]\n");
    return error == OK ? str_ok(out) : error;
}

static enum err encode_all(const struct tokenizer *tok, const struct str *in, bool offsets,
                           struct errbuf *e)
{
    struct token_list list = {0};
    struct str out = {0};
    enum err error = OK;
    size_t number = 1;
    for (size_t begin = 0; error == OK && begin < in->len; number++) {
        const char *newline = memchr(in->data + begin, '\n', in->len - begin);
        size_t end = newline ? (size_t)(newline - in->data) : in->len;
        str_clear(&out);
        error = encode_line(tok, in->data + begin, end - begin, offsets, &list, &out, e);
        if (error == OK) {
            (void)fwrite(out.data, 1, out.len, stdout);
        } else {
            (void)err_prefix(e, error, "line %zu", number);
        }
        begin = end + 1;
    }
    token_list_free(&list);
    str_free(&out);
    return error;
}

int main(int argc, char **argv)
{
    struct errbuf e = {0};
    struct str in = {.limit = LIMIT_JSON_BYTES};
    struct tokenizer *tok = NULL;
    char block[1 << 16];
    size_t n;
    bool offsets = argc == 4 && strcmp(argv[3], "--offsets") == 0;
    if ((argc != 3 && !offsets) ||
        (strcmp(argv[1], "--model") != 0 && strcmp(argv[1], "--json") != 0)) {
        (void)fprintf(stderr, "usage: tokenize_tool --model FILE | --json FILE [--offsets]\n");
        return 2;
    }
    enum err error = open_tokenizer(argv[1], argv[2], &tok, &e);
    while (error == OK && (n = fread(block, 1, sizeof block, stdin)) > 0) {
        str_append(&in, block, n);
        error = str_ok(&in);
    }
    if (error == OK) {
        error = encode_all(tok, &in, offsets, &e);
    }
    if (error == OK && fflush(stdout) != 0) {
        error = err_set(&e, ERR_IO, "stdout cannot be written");
    }
    if (error != OK) {
        (void)fprintf(stderr, "tokenize_tool: %s\n", e.text[0] ? e.text : err_text(error));
    }
    tokenizer_close(&tok);
    str_free(&in);
    return error == OK ? 0 : 1;
}
