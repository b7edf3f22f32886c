/* report_md.h - a report's document (report_doc.h) as Markdown; plots become tables of their
 * points. Pure: the same document always gives the same bytes. */
#ifndef PFT_REPORT_MD_H
#define PFT_REPORT_MD_H

#include <jansson.h>

#include "common/base/str.h"

/* Appends the page; check str_ok. */
void report_md(const json_t *doc, struct str *out);

#endif
