/* report_plot.h - a plot block of a report's document (report_doc.h) as inline SVG: grouped bars
 * with intervals, from 0 to 1 or to the largest score, or lines. No scripts, no fonts of its own;
 * colours are the page's variables --c0 to --c7, and lines differ by dashes too, so that a plot
 * reads in black and white.
 * Pure: the same block always gives the same text. Only what is finite is drawn. */
#ifndef PFT_REPORT_PLOT_H
#define PFT_REPORT_PLOT_H

#include <jansson.h>

#include "common/base/str.h"

/* Appends text with everything that HTML could take for markup escaped; control characters but line
 * ends and tabs become U+FFFD. */
void report_plot_escape(const char *text, struct str *out);

/* Appends <figure>...</figure>. At most REPORT_SERIES series are drawn; the caption says so. */
void report_plot_svg(const json_t *plot, struct str *out);

#endif
