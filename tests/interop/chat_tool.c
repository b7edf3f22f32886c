/* chat_tool.c - chat turns in, rendered text out, for comparison with apply_chat_template.
 *
 *     chat_tool [--generation]
 *
 * A line of stdin is a JSON array of {"role", "content"}; its line on stdout is the rendered text
 * as a JSON string. --generation appends the assistant's header. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/str.h"
#include "common/text/chat.h"

enum { TURNS_MAX = 256 };

static enum err render_value(const json_t *value, bool generation, struct str *out,
                             struct errbuf *e)
{
    struct chat_turn turns[TURNS_MAX];
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > TURNS_MAX) {
        return err_set(e, ERR_PARSE, "an array of at most %d turns is needed", TURNS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *role = json_object_get(json_array_get(value, i), "role");
        const json_t *content = json_object_get(json_array_get(value, i), "content");
        if (!json_is_string(role) || !json_is_string(content)) {
            return err_set(e, ERR_PARSE, "turn %zu needs the strings role and content", i);
        }
        turns[i] = (struct chat_turn){.role = json_string_value(role),
                                      .content = json_string_value(content),
                                      .content_bytes = json_string_length(content)};
    }
    return chat_render(turns, n, generation, false, out, e);
}

static enum err render_line(const char *line, size_t n, bool generation, struct str *text,
                            struct str *out, struct errbuf *e)
{
    json_error_t at;
    json_t *value = json_loadb(line, n, JSON_ALLOW_NUL, &at);
    if (!value) {
        return err_set(e, ERR_PARSE, "%s", at.text);
    }
    str_clear(text);
    str_clear(out);
    enum err error = render_value(value, generation, text, e);
    json_decref(value);
    if (error == OK) {
        str_add_json(out, text->data, text->len);
        str_add(out, "\n");
        error = str_ok(out);
    }
    return error;
}

int main(int argc, char **argv)
{
    struct errbuf e = {0};
    struct str in = {.limit = LIMIT_JSON_BYTES};
    struct str text = {0};
    struct str out = {0};
    char block[1 << 16];
    size_t n;
    size_t number = 0;
    enum err error = OK;
    bool generation = argc == 2 && strcmp(argv[1], "--generation") == 0;
    if (argc != 1 && !generation) {
        (void)fprintf(stderr, "usage: chat_tool [--generation]\n");
        return 2;
    }
    while (error == OK && (n = fread(block, 1, sizeof block, stdin)) > 0) {
        str_append(&in, block, n);
        error = str_ok(&in);
    }
    for (size_t begin = 0; error == OK && begin < in.len;) {
        const char *newline = memchr(in.data + begin, '\n', in.len - begin);
        size_t end = newline ? (size_t)(newline - in.data) : in.len;
        number++;
        error = render_line(in.data + begin, end - begin, generation, &text, &out, &e);
        if (error == OK) {
            (void)fwrite(out.data, 1, out.len, stdout);
        }
        begin = end + 1;
    }
    if (error == OK && fflush(stdout) != 0) {
        error = err_set(&e, ERR_IO, "stdout cannot be written");
    }
    if (error != OK) {
        (void)fprintf(stderr, "chat_tool: line %zu: %s\n", number,
                      e.text[0] ? e.text : err_text(error));
    }
    str_free(&in);
    str_free(&text);
    str_free(&out);
    return error == OK ? 0 : 1;
}
