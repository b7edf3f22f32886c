/* report_doc.h - a report as one JSON document, before it is a page: sections of blocks. Built
 * here, rendered by report_html and report_md, which know nothing of runs. Owns: the shape. Never:
 * files, wording. Any thread, one at a time.
 *
 *   {"title", "lead", "sections": [{"title", "blocks": [BLOCK, ...]}, ...]}
 *   BLOCK = {"kind": "text" | "note" | "code", "text"}
 *         | {"kind": "table", "caption", "columns": [TEXT], "rows": [[TEXT]]}
 *         | {"kind": "bars", "title", "y_title", "line", "categories": [TEXT],
 *            "series": [{"name", "points": [POINT or null, one per category]}]}
 *         | {"kind": "lines", "title", "x_title", "y_title",
 *            "series": [{"name", "points": [POINT]}]}
 *   POINT = [x, y] or [x, y, lo, hi]; a bar's x is the index of its category. "line": a value that
 *   is marked across the bars (chance), or absent. Bars run from 0 to 1.
 *
 * Builders that run out of memory leave a hole and mark the document; ask report_doc_ok at the end.
 * Texts may hold anything: bytes that are no UTF-8 become '?'. */
#ifndef PFT_REPORT_DOC_H
#define PFT_REPORT_DOC_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/err.h"

enum { REPORT_SERIES = 8, REPORT_TEXT_BYTES = 4096 };

/* The caller's (json_decref). */
json_t *report_doc_new(const char *title, const char *lead);
/* These are borrowed from what they are put into. */
json_t *report_doc_section(json_t *doc, const char *title);
json_t *report_doc_table(json_t *section, const char *caption, const char *const *columns,
                         size_t n);
json_t *report_doc_plot(json_t *section, const char *kind, const char *title, const char *x_title,
                        const char *y_title);
json_t *report_doc_series(json_t *plot, const char *name);

/* kind: "text", "note" or "code". At most REPORT_TEXT_BYTES - 1 bytes come out of the format. */
void report_doc_say(json_t *section, const char *kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same for a text of any length. */
void report_doc_put(json_t *section, const char *kind, const char *text);
/* Begins a row; cells are added one by one. */
json_t *report_doc_row(json_t *table);
void report_doc_cell(json_t *row, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* lo > hi: no interval. Numbers that are not finite make a hole. */
void report_doc_point(json_t *series, double x, double y, double lo, double hi);
void report_doc_hole(json_t *series); /* a category without a bar */

/* A JSON string of any bytes; NULL only without memory. The caller's. */
json_t *report_doc_string(const char *text);

/* Whole: nothing was lost for want of memory. */
bool report_doc_ok(const json_t *doc);

#endif
