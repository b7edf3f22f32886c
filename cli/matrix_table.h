/* matrix_table.h - the results of a matrix as a table: columns found in the results, figures of a
 * variant with intervals over its seeds, paired differences.
 * Owns: the statistics. Never: wording, files.
 *
 * A column is one readout of one evaluation (at one x, of one part), or a figure of its answer; its
 * label is "EVALUATION[ READOUT][ X][ PART]" or "EVALUATION FIGURE". With several seeds a question
 * counts the share of seeds that answer it rightly, and scenarios are resampled, so intervals say
 * how sure the questions are, not how much seeds scatter. */
#ifndef PFT_MATRIX_TABLE_H
#define PFT_MATRIX_TABLE_H

#include <jansson.h>

#include "cli/matrix.h"
#include "cli/matrix_cell.h"

enum { MATRIX_COLUMNS = 256, MATRIX_LABEL_BYTES = 160 };

struct matrix_column {
    char label[MATRIX_LABEL_BYTES];
    uint32_t evaluation;
    char readout[48], part[48], measure[48];
    char path[96]; /* of part and measure, as the matrix has it; "" for the result itself */
    bool figure;   /* a single number of the whole answer */
    bool has_x;
    double x;
};

struct matrix_figure {
    bool there;
    uint32_t n; /* questions */
    uint32_t seeds;
    double share;       /* or difference */
    double lo, hi;      /* lo > hi: no interval */
    double least, most; /* over seeds */
};

struct matrix_table {
    const struct matrix *m;
    const struct matrix_cell *cells;
    uint32_t n_cells;
    json_t *const *results; /* [n_cells], NULL where there is none; borrowed */
    uint32_t n_columns;
    struct matrix_column columns[MATRIX_COLUMNS];
};

/* Finds the columns. Everything given is borrowed. The caller frees *out (mem_free). */
MUST_USE enum err matrix_table_new(const struct matrix *m, const struct matrix_cell *cells,
                                   uint32_t n, json_t *const *results, struct matrix_table **out,
                                   struct errbuf *e);

/* Index by label, -1 when nothing was measured under it. */
int matrix_table_column(const struct matrix_table *t, const char *label);

/* side: "" for all questions, "a" or "b". ERR_NOMEM only; nothing measured: there = false. */
MUST_USE enum err matrix_table_figure(const struct matrix_table *t, uint32_t variant,
                                      uint32_t column, const char *side, struct matrix_figure *out);
/* better - than over the same questions. */
MUST_USE enum err matrix_table_difference(const struct matrix_table *t, uint32_t better,
                                          uint32_t than, uint32_t column, const char *side,
                                          struct matrix_figure *out);
/* What the words alone get. */
void matrix_table_words(const struct matrix_table *t, uint32_t column, struct matrix_figure *out);

/* The result objects of a variant, one per seed, at most MATRIX_SEEDS; borrowed. */
uint32_t matrix_table_results(const struct matrix_table *t, uint32_t variant, uint32_t column,
                              const json_t *out[MATRIX_SEEDS]);

/* Names in "per_value" of a column, NULL when it has none; and one's figure. */
const json_t *matrix_table_values(const struct matrix_table *t, uint32_t column);
MUST_USE enum err matrix_table_value(const struct matrix_table *t, uint32_t variant,
                                     uint32_t column, const char *name, struct matrix_figure *out);
void matrix_table_words_value(const struct matrix_table *t, uint32_t column, const char *name,
                              struct matrix_figure *out);

#endif
