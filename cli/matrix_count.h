/* matrix_count.h - what the cells of a matrix compute, as the commands themselves tell with
 * --count. Owns: which words are counted for a cell. Never: measures, knows what a second is.
 * Blocks: starts children, which open model and data. */
#ifndef PFT_MATRIX_COUNT_H
#define PFT_MATRIX_COUNT_H

#include "cli/matrix_cell.h"
#include "coordinator/tree_work.h"

struct matrix_counter {
    const struct matrix *m;
    const char *folder, *log, *answer; /* of the matrix; files for the children */
};

struct matrix_count {
    struct tree_work read; /* trees that are scored, prompts that are read */
    double decoded;        /* tokens of answers, at their longest */
    uint32_t starts;       /* commands that load the model */
    bool known;            /* all of it could be counted */
};

/* Adds what a command tells with --count, which is appended to its words; *known: it told. */
MUST_USE enum err matrix_count_words(const struct matrix_counter *c, struct matrix_words *words,
                                     struct matrix_count *sum, bool *known, struct errbuf *e);

/* Entries of an evaluation that are counted: its `counts`, or its own words. 0: there are none, it
 * is no eval. */
uint32_t matrix_count_entries(const struct matrix *m, uint32_t evaluation);
/* Appends the words of an entry for the bare model of the cell's variant. */
MUST_USE enum err matrix_count_entry(const struct matrix_counter *c, const struct matrix_cell *cell,
                                     uint32_t entry, struct matrix_words *out, struct errbuf *e);

/* A cell's evaluation; a trained variant is scored with and without its adapter where --paired asks
 * for it. */
MUST_USE enum err matrix_count_evaluation(const struct matrix_counter *c,
                                          const struct matrix_cell *cell, struct matrix_count *out,
                                          struct errbuf *e);
/* Adds what the commands before a variant's evaluations compute, once. */
MUST_USE enum err matrix_count_before(const struct matrix_counter *c,
                                      const struct matrix_cell *cell, struct matrix_count *sum,
                                      struct errbuf *e);

/* Have the two cells the same evaluation, of the same words? Then it counts the same. */
bool matrix_count_same(const struct matrix_counter *c, const struct matrix_cell *one,
                       const struct matrix_cell *two);

#endif
