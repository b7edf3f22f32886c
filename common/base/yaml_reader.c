/* yaml_reader.c - libyaml's event parser behind a narrow door. */
#include "common/base/yaml_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/quote.h"

struct yaml_reader {
    const char *name;
    const char *text;
    size_t bytes;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    bool ended;
    int documents;
    int depth;
};

enum err yaml_reader_open(const char *name, const char *text, size_t bytes,
                          struct yaml_reader **out, struct errbuf *e)
{
    if (bytes > LIMIT_YAML_BYTES) {
        return err_set(e, ERR_RANGE, "%s: has %zu bytes, at most %d are read", name, bytes,
                       LIMIT_YAML_BYTES);
    }
    struct yaml_reader *r = mem_calloc(1, sizeof *r);
    if (!r || !yaml_parser_initialize(&r->parser)) {
        mem_free(r);
        return err_set(e, ERR_NOMEM, "%s: no memory for a YAML parser", name);
    }
    r->name = name;
    r->text = text;
    r->bytes = bytes;
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, bytes);
    *out = r;
    return OK;
}

void yaml_reader_close(struct yaml_reader **r)
{
    if (!*r) {
        return;
    }
    if ((*r)->has_event) {
        yaml_event_delete(&(*r)->event);
    }
    yaml_parser_delete(&(*r)->parser);
    mem_free(*r);
    *r = NULL;
}

enum err yaml_reader_fail(const struct yaml_reader *r, const struct yaml_item *item,
                          struct errbuf *e, const char *fmt, ...)
{
    char text[ERRBUF_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(e, ERR_PARSE, "%s:%u:%u: %s", r->name, item->line, item->column, text);
}

/* Whether a line of the text (1, 2, ...) has a tab before its first word. */
static bool tab_indents(const struct yaml_reader *r, uint32_t line)
{
    size_t at = 0;
    while (line > 1 && at < r->bytes) {
        line -= r->text[at++] == '\n';
    }
    while (at < r->bytes && r->text[at] == ' ') {
        at++;
    }
    return at < r->bytes && r->text[at] == '\t';
}

/* libyaml gives a mark for grammar errors, but only a byte offset for bytes it cannot read. */
static enum err parser_error(const struct yaml_reader *r, struct errbuf *e)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        return err_set(e, ERR_NOMEM, "%s: no memory to read it", r->name);
    }
    struct yaml_item at = {.line = (uint32_t)p->problem_mark.line + 1,
                           .column = (uint32_t)p->problem_mark.column + 1};
    if (p->error == YAML_READER_ERROR) {
        at = (struct yaml_item){.line = 1, .column = 1};
        size_t offset = p->problem_offset < r->bytes ? p->problem_offset : r->bytes;
        for (size_t i = 0; i < offset; i++) {
            at.column = r->text[i] == '\n' ? 1 : at.column + 1;
            at.line += r->text[i] == '\n';
        }
    }
    bool tab = tab_indents(r, at.line);
    return yaml_reader_fail(r, &at, e, "is no YAML: %s%s%s%s",
                            tab ? "a tab (indent with spaces): " : "",
                            p->problem ? p->problem : "unreadable", p->context ? ", " : "",
                            p->context ? p->context : "");
}

static enum err check_names(const struct yaml_reader *r, const struct yaml_item *item,
                            const yaml_char_t *anchor, const yaml_char_t *tag, struct errbuf *e)
{
    if (anchor) {
        return yaml_reader_fail(r, item, e, "the anchor '&%.40s' is refused: write the value out",
                                (const char *)anchor);
    }
    if (tag) {
        return yaml_reader_fail(r, item, e, "the tag '%.40s' is refused: leave it out",
                                (const char *)tag);
    }
    return OK;
}

static enum err open_level(struct yaml_reader *r, struct yaml_item *item, enum yaml_item_kind kind,
                           struct errbuf *e)
{
    item->kind = kind;
    if (++r->depth > YAML_READER_DEPTH) {
        return yaml_reader_fail(r, item, e, "is nested more than %d deep", YAML_READER_DEPTH);
    }
    return OK;
}

/* YAML's own words for "nothing". */
static bool is_null(const char *text)
{
    return strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || strcmp(text, "Null") == 0 ||
           strcmp(text, "NULL") == 0;
}

static enum err take_scalar(struct yaml_reader *r, struct yaml_item *item, struct errbuf *e)
{
    item->kind = YAML_ITEM_SCALAR;
    item->text = (const char *)r->event.data.scalar.value;
    item->bytes = r->event.data.scalar.length;
    item->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (item->plain && is_null(item->text)) {
        item->text = "";
        item->bytes = 0;
    }
    if (memchr(item->text, '\0', item->bytes)) {
        return yaml_reader_fail(r, item, e, "the text holds a NUL character");
    }
    return check_names(r, item, r->event.data.scalar.anchor, r->event.data.scalar.tag, e);
}

/* Fills item from the event; *skip when the event is of no interest. */
static enum err take_event(struct yaml_reader *r, struct yaml_item *item, bool *skip,
                           struct errbuf *e)
{
    enum err error = OK;
    *skip = false;
    switch (r->event.type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        *skip = true;
        return OK;
    case YAML_DOCUMENT_START_EVENT:
        *skip = true;
        return r->documents++ == 0
                   ? OK
                   : yaml_reader_fail(r, item, e, "a second document begins; one is expected");
    case YAML_STREAM_END_EVENT:
        r->ended = true;
        item->kind = YAML_ITEM_END;
        return OK;
    case YAML_ALIAS_EVENT:
        return yaml_reader_fail(r, item, e, "the alias '*%.40s' is refused: write the value out",
                                (const char *)r->event.data.alias.anchor);
    case YAML_SCALAR_EVENT:
        return take_scalar(r, item, e);
    case YAML_SEQUENCE_START_EVENT:
        error = open_level(r, item, YAML_ITEM_LIST, e);
        return error != OK ? error
                           : check_names(r, item, r->event.data.sequence_start.anchor,
                                         r->event.data.sequence_start.tag, e);
    case YAML_MAPPING_START_EVENT:
        error = open_level(r, item, YAML_ITEM_MAP, e);
        return error != OK ? error
                           : check_names(r, item, r->event.data.mapping_start.anchor,
                                         r->event.data.mapping_start.tag, e);
    case YAML_SEQUENCE_END_EVENT:
        item->kind = YAML_ITEM_LIST_END;
        r->depth--;
        return OK;
    case YAML_MAPPING_END_EVENT:
        item->kind = YAML_ITEM_MAP_END;
        r->depth--;
        return OK;
    default:
        return yaml_reader_fail(r, item, e, "is no YAML that this program reads");
    }
}

enum err yaml_reader_next(struct yaml_reader *r, struct yaml_item *item, struct errbuf *e)
{
    bool skip = true;
    enum err error = OK;
    *item = (struct yaml_item){.kind = YAML_ITEM_END};
    while (skip && error == OK && !r->ended) {
        if (r->has_event) {
            yaml_event_delete(&r->event);
            r->has_event = false;
        }
        if (!yaml_parser_parse(&r->parser, &r->event)) {
            r->ended = true;
            return parser_error(r, e);
        }
        r->has_event = true;
        item->line = (uint32_t)r->event.start_mark.line + 1;
        item->column = (uint32_t)r->event.start_mark.column + 1;
        error = take_event(r, item, &skip, e);
    }
    r->ended = r->ended || error != OK;
    return error;
}

const char *yaml_item_describe(const struct yaml_item *item, char out[96])
{
    static const char *const names[] = {"a text", "a mapping",         "the end of a mapping",
                                        "a list", "the end of a list", "the end of the file"};
    if (item->kind == YAML_ITEM_SCALAR && item->plain && item->bytes == 0) {
        (void)snprintf(out, 96, "nothing");
    } else if (item->kind == YAML_ITEM_SCALAR) {
        char quoted[QUOTE_BYTES];
        (void)snprintf(out, 96, "the text %s", quote(item->text, item->bytes, quoted));
    } else {
        (void)snprintf(out, 96, "%s", names[item->kind]);
    }
    return out;
}
