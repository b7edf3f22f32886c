/* report_html.h - a report's document (report_doc.h) as one self-contained page: no scripts,
 * nothing fetched from elsewhere, readable in light, dark and print. Pure: the same document always
 * gives the same bytes. */
#ifndef PFT_REPORT_HTML_H
#define PFT_REPORT_HTML_H

#include <jansson.h>

#include "common/base/str.h"

/* Appends the page; check str_ok. */
void report_html(const json_t *doc, struct str *out);

#endif
