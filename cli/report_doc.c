/* report_doc.c - builders of a report's document. A hole anywhere is found by report_doc_ok,
 * because every list and object counts what was put into it. */
#include "cli/report_doc.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

json_t *report_doc_string(const char *text)
{
    json_t *made = json_string(text);
    if (made) {
        return made;
    }
    char *clean = mem_strdup(text);
    if (!clean) {
        return NULL;
    }
    for (char *c = clean; *c != '\0'; c++) {
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    }
    made = json_string(clean);
    mem_free(clean);
    return made;
}

/* Puts a fresh value into a list; a failure leaves null there, or marks the list's owner. */
static json_t *append(json_t *list, json_t *value)
{
    if (!value || json_array_append_new(list, value) != 0) {
        (void)json_array_append_new(list, json_false());
        return NULL;
    }
    return value;
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_t *value = report_doc_string(text);
    (void)json_object_set_new(object, key, value ? value : json_false());
}

json_t *report_doc_new(const char *title, const char *lead)
{
    json_t *doc = json_pack("{s:[]}", "sections");
    if (doc) {
        set_text(doc, "title", title);
        set_text(doc, "lead", lead);
    }
    return doc;
}

json_t *report_doc_section(json_t *doc, const char *title)
{
    json_t *section = append(json_object_get(doc, "sections"), json_pack("{s:[]}", "blocks"));
    if (section) {
        set_text(section, "title", title);
    }
    return section;
}

static json_t *add_block(json_t *section, const char *kind)
{
    return append(json_object_get(section, "blocks"), json_pack("{s:s}", "kind", kind));
}

void report_doc_put(json_t *section, const char *kind, const char *text)
{
    json_t *block = add_block(section, kind);
    if (block) {
        set_text(block, "text", text);
    }
}

void report_doc_say(json_t *section, const char *kind, const char *fmt, ...)
{
    char text[REPORT_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    report_doc_put(section, kind, text);
}

json_t *report_doc_table(json_t *section, const char *caption, const char *const *columns, size_t n)
{
    json_t *table = add_block(section, "table");
    if (table) {
        set_text(table, "caption", caption);
        (void)json_object_set_new(table, "columns", json_array());
        (void)json_object_set_new(table, "rows", json_array());
    }
    for (size_t i = 0; i < n && table; i++) {
        (void)append(json_object_get(table, "columns"), report_doc_string(columns[i]));
    }
    return table;
}

json_t *report_doc_row(json_t *table)
{
    return append(json_object_get(table, "rows"), json_array());
}

void report_doc_cell(json_t *row, const char *fmt, ...)
{
    char text[REPORT_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)append(row, report_doc_string(text));
}

json_t *report_doc_plot(json_t *section, const char *kind, const char *title, const char *x_title,
                        const char *y_title)
{
    json_t *plot = add_block(section, kind);
    if (plot) {
        set_text(plot, "title", title);
        set_text(plot, "x_title", x_title);
        set_text(plot, "y_title", y_title);
        (void)json_object_set_new(plot, "series", json_array());
        (void)json_object_set_new(plot, "categories", json_array());
    }
    return plot;
}

json_t *report_doc_series(json_t *plot, const char *name)
{
    json_t *series = append(json_object_get(plot, "series"), json_pack("{s:[]}", "points"));
    if (series) {
        set_text(series, "name", name);
    }
    return series;
}

void report_doc_point(json_t *series, double x, double y, double lo, double hi)
{
    json_t *points = json_object_get(series, "points");
    if (!isfinite(x) || !isfinite(y)) {
        report_doc_hole(series);
        return;
    }
    (void)append(points,
                 lo <= hi ? json_pack("[f,f,f,f]", x, y, lo, hi) : json_pack("[f,f]", x, y));
}

void report_doc_hole(json_t *series)
{
    (void)append(json_object_get(series, "points"), json_null());
}

/* No false anywhere within reach: the shape is four levels deep at most. */
static bool whole(const json_t *value, int depth)
{
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_false(value) || depth > 10) {
        return false;
    }
    json_array_foreach(value, i, member)
    {
        if (!whole(member, depth + 1)) {
            return false;
        }
    }
    void *at = json_object_iter((json_t *)(uintptr_t)value);
    for (; at; at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        key = json_object_iter_key(at);
        if (!key || !whole(json_object_iter_value(at), depth + 1)) {
            return false;
        }
    }
    return true;
}

bool report_doc_ok(const json_t *doc)
{
    return doc && json_is_array(json_object_get(doc, "sections")) && whole(doc, 0);
}
