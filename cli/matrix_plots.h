/* matrix_plots.h - the plots of a matrix's report: shares by value as bars, lines over whatever an
 * evaluation runs over (length of a history, lambda), learning curves.
 * Owns: which figures go into a plot. Never: how it is drawn (report_plot.h). */
#ifndef PFT_MATRIX_PLOTS_H
#define PFT_MATRIX_PLOTS_H

#include "cli/matrix_table.h"

/* Adds the plots of an evaluation to its section; only variants with plot: true. ERR_NOMEM only. */
MUST_USE enum err matrix_plots_evaluation(const struct matrix_table *t, uint32_t evaluation,
                                          json_t *section);

/* Adds a section with the learning curves, when there are any. */
void matrix_plots_curves(const struct matrix_table *t, json_t *doc);

#endif
