/* matrix_cell.h - the cells of a matrix: every training and every evaluation with its folder, the
 * file that keeps its result, and the words of the pft commands that make it.
 * Owns: names, words. Never: starts a process. Pure but for reading run configs.
 *
 * Under the folder of a matrix:
 *   cells/VARIANT-seedN    run folder of a trained variant
 *   work/VARIANT[-seedN]   what its "before" commands leave ($CELL), and its evaluations' folders
 *   work/NAME.eval[.key]   an evaluation that was begun, and the key it was begun with
 *   results/NAME.json      one per cell: {"key", "seconds", "attempts", "result"}; written whole
 *   logs/NAME.log          stderr of its children
 * A result counts as long as its key does (matrix_key.h). */
#ifndef PFT_MATRIX_CELL_H
#define PFT_MATRIX_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/matrix.h"
#include "cli/matrix_field.h"

enum { MATRIX_TRAIN = UINT32_MAX, MATRIX_CELLS_MAX = 4096 };

struct matrix_cell {
    uint32_t variant;
    uint32_t evaluation; /* MATRIX_TRAIN: the training itself */
    uint64_t seed;
    char name[2 * MATRIX_NAME_BYTES + 32]; /* "pft-seed0.train", "base.select" */
    double estimate_s;                     /* 0: none */
};

/* Where a cell works. */
struct matrix_place {
    char run[FILE_PATH_BYTES], work[FILE_PATH_BYTES], result[FILE_PATH_BYTES], log[FILE_PATH_BYTES];
    char answer[FILE_PATH_BYTES];   /* stdout of its last command */
    char eval[FILE_PATH_BYTES];     /* folder in which an evaluation goes on after a kill */
    char eval_key[FILE_PATH_BYTES]; /* the key that it was begun with */
};

/* All cells in the order in which they run. The caller frees *out (mem_free). */
MUST_USE enum err matrix_cells(const struct matrix *m, struct matrix_cell **out, uint32_t *n,
                               struct errbuf *e);

MUST_USE enum err matrix_place(const struct matrix *m, const struct matrix_cell *c,
                               const char *folder, struct matrix_place *out, struct errbuf *e);

/* Appends the commands of a cell: "before" ones first, the one that gives the result last. resume:
 * of a training. workers: NULL, or the word behind --workers. */
MUST_USE enum err matrix_commands(const struct matrix *m, const struct matrix_cell *c,
                                  const struct matrix_place *p, bool resume, const char *workers,
                                  struct matrix_commands *out, struct errbuf *e);
void matrix_commands_free(struct matrix_commands *c);

/* Appends "eval" and its words for the bare model of a variant: the model, everything of its config
 * that an evaluation reads, the words of the evaluation (or those of instead, when not NULL) and of
 * the variant. --paired, which needs an adapter, is left out. c: an evaluation. */
MUST_USE enum err matrix_bare_evaluation(const struct matrix *m, const struct matrix_cell *c,
                                         const struct matrix_place *p,
                                         const struct matrix_words *instead,
                                         struct matrix_words *out, struct errbuf *e);

/* Appends an entry of `counts`, for the bare model too: a pft command with its words, or, when it
 * begins with an option, words of eval. */
MUST_USE enum err matrix_bare_command(const struct matrix *m, const struct matrix_cell *c,
                                      const struct matrix_place *p,
                                      const struct matrix_words *entry, struct matrix_words *out,
                                      struct errbuf *e);

#endif
