/* matrix_report.h - the report of a matrix: from its file and the results of its cells to a
 * document (report_doc.h). Owns: sections and wording. Never: files; figures come from
 * matrix_table, verdicts from matrix_claim. The same results always give the same document. */
#ifndef PFT_MATRIX_REPORT_H
#define PFT_MATRIX_REPORT_H

#include <jansson.h>

#include "cli/matrix_cell.h"
#include "common/base/str.h"

struct matrix_report_input {
    const struct matrix *m;
    const struct matrix_cell *cells; /* with estimates */
    uint32_t n;
    json_t *const *results; /* [n] content of results/NAME.json, NULL where there is none */
    const json_t *machine;  /* of matrix_cost */
    const char *files;      /* the matrix file and the run configs as text */
};

/* *doc: the caller's (json_decref). *table: a short text for the terminal, appended. */
MUST_USE enum err matrix_report(const struct matrix_report_input *in, json_t **doc,
                                struct str *table, struct errbuf *e);

#endif
