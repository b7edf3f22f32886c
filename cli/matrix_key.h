/* matrix_key.h - what a cell's result depends on, as one digest: a result counts as long as its key
 * does. SHA-256 over
 *   the words of its commands (--resume and --workers do not count),
 *   the content of every regular file among them, but for what the cell itself makes,
 *   for a training: the settings of its run config that decide the bits (coordinator/setup.h),
 *   for a trained variant: the content of its training data, values and anchor texts,
 *   for an evaluation of one: the adapter.
 * A model folder counts by its path alone. Blocks on the disk. */
#ifndef PFT_MATRIX_KEY_H
#define PFT_MATRIX_KEY_H

#include "cli/matrix_cell.h"
#include "common/base/hash.h"

MUST_USE enum err matrix_key(const struct matrix *m, const struct matrix_cell *c,
                             const struct matrix_place *p, char key[HASH_SHA256_HEX],
                             struct errbuf *e);

#endif
