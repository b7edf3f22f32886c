/* report_md.c - the page as Markdown. */
#include "cli/report_md.h"

#include <stdbool.h>
#include <string.h>

#include "common/format/json_doc.h"

enum { LINE_POINTS = 24 }; /* a longer curve is thinned out to about so many rows */

/* Text as Markdown shows it, on one line where it has to be (cells, headings). */
static void escape(const char *text, bool one_line, struct str *out)
{
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        if (strchr("\\`*_[]<>|#&", *c)) {
            str_addf(out, "\\%c", *c);
        } else if ((unsigned char)*c < 0x20 && (one_line || *c != '\n')) {
            str_add(out, " ");
        } else {
            str_append(out, c, 1);
        }
    }
}

static void add_rule(size_t columns, struct str *out)
{
    str_add(out, "\n|");
    for (size_t i = 0; i < columns; i++) {
        str_add(out, "---|");
    }
    str_add(out, "\n");
}

static void add_table(const json_t *block, struct str *out)
{
    const json_t *columns = json_object_get(block, "columns");
    size_t i;
    size_t k;
    json_t *row;
    json_t *cell;
    if (json_doc_text(block, "caption")[0] != '\0') {
        escape(json_doc_text(block, "caption"), true, out);
        str_add(out, "\n\n");
    }
    str_add(out, "|");
    json_array_foreach(columns, i, cell)
    {
        str_add(out, " ");
        escape(json_string_value(cell), true, out);
        str_add(out, " |");
    }
    add_rule(json_array_size(columns), out);
    json_array_foreach(json_object_get(block, "rows"), i, row)
    {
        str_add(out, "|");
        json_array_foreach(row, k, cell)
        {
            str_add(out, " ");
            escape(json_string_value(cell), true, out);
            str_add(out, " |");
        }
        str_add(out, "\n");
    }
    str_add(out, "\n");
}

static void add_point(const json_t *point, struct str *out)
{
    if (json_array_size(point) == 4) {
        str_addf(out, " %.3f [%.3f, %.3f] |", json_number_value(json_array_get(point, 1)),
                 json_number_value(json_array_get(point, 2)),
                 json_number_value(json_array_get(point, 3)));
    } else if (json_array_size(point) == 2) {
        str_addf(out, " %.4g |", json_number_value(json_array_get(point, 1)));
    } else {
        str_add(out, " - |");
    }
}

/* The point of a series at x, NULL when it has none. */
static const json_t *find_x(const json_t *series, double x)
{
    size_t i;
    json_t *point;
    json_array_foreach(json_object_get(series, "points"), i, point)
    {
        double here = json_number_value(json_array_get(point, 0));
        if (!(here < x) && !(here > x)) {
            return point;
        }
    }
    return NULL;
}

static const json_t *longest(const json_t *list)
{
    const json_t *best = NULL;
    size_t most = 0;
    size_t i;
    json_t *series;
    json_array_foreach(list, i, series)
    {
        size_t n = json_array_size(json_object_get(series, "points"));
        if (n > most) {
            most = n;
            best = json_object_get(series, "points");
        }
    }
    return best;
}

/* Rows are categories, or the x of the longest series. */
static void add_plot(const json_t *block, struct str *out)
{
    bool bars = strcmp(json_doc_text(block, "kind"), "bars") == 0;
    const json_t *list = json_object_get(block, "series");
    const json_t *xs = bars ? json_object_get(block, "categories") : longest(list);
    size_t n = json_array_size(xs);
    size_t stride = bars || n <= LINE_POINTS ? 1 : (n + LINE_POINTS - 1) / LINE_POINTS;
    size_t i;
    json_t *series;
    escape(json_doc_text(block, "title"), true, out);
    str_add(out, "\n\n| ");
    escape(json_doc_text(block, "x_title"), true, out);
    str_add(out, " |");
    json_array_foreach(list, i, series)
    {
        str_add(out, " ");
        escape(json_doc_text(series, "name"), true, out);
        str_add(out, " |");
    }
    add_rule(json_array_size(list) + 1, out);
    for (size_t row = 0; row < n; row += stride) {
        double x = json_number_value(json_array_get(json_array_get(xs, row), 0));
        str_add(out, "| ");
        if (bars) {
            escape(json_string_value(json_array_get(xs, row)), true, out);
        } else {
            str_addf(out, "%.6g", x);
        }
        str_add(out, " |");
        json_array_foreach(list, i, series)
        {
            add_point(bars ? json_array_get(json_object_get(series, "points"), row)
                           : find_x(series, x),
                      out);
        }
        str_add(out, "\n");
    }
    str_add(out, "\n");
}

/* A fence longer than any run of backticks inside. */
static void add_code(const char *text, struct str *out)
{
    size_t longest_run = 2;
    size_t run = 0;
    for (const char *c = text; *c != '\0'; c++) {
        run = *c == '`' ? run + 1 : 0;
        longest_run = run > longest_run ? run : longest_run;
    }
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i <= longest_run; i++) {
            str_add(out, "`");
        }
        str_add(out, "\n");
        if (side == 0) {
            str_add(out, text);
            str_add(out, text[0] != '\0' && text[strlen(text) - 1] == '\n' ? "" : "\n");
        }
    }
    str_add(out, "\n");
}

static void add_block(const json_t *block, struct str *out)
{
    const char *kind = json_doc_text(block, "kind");
    if (strcmp(kind, "text") == 0 || strcmp(kind, "note") == 0) {
        str_add(out, kind[0] == 'n' ? "> " : "");
        escape(json_doc_text(block, "text"), kind[0] == 'n', out);
        str_add(out, "\n\n");
    } else if (strcmp(kind, "code") == 0) {
        add_code(json_doc_text(block, "text"), out);
    } else if (strcmp(kind, "table") == 0) {
        add_table(block, out);
    } else if (kind[0] != '\0') {
        add_plot(block, out);
    }
}

void report_md(const json_t *doc, struct str *out)
{
    size_t i;
    size_t k;
    json_t *section;
    json_t *block;
    str_add(out, "# ");
    escape(json_doc_text(doc, "title"), true, out);
    str_add(out, "\n\n");
    escape(json_doc_text(doc, "lead"), false, out);
    str_add(out, "\n");
    json_array_foreach(json_object_get(doc, "sections"), i, section)
    {
        str_add(out, "\n## ");
        escape(json_doc_text(section, "title"), true, out);
        str_add(out, "\n\n");
        json_array_foreach(json_object_get(section, "blocks"), k, block)
        {
            add_block(block, out);
        }
    }
}
