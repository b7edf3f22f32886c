/* matrix_store.h - the results of a matrix's cells on the disk (matrix_cell.h says where).
 * Owns: those files. Never: interprets a result. A file is written whole or not at all, so that a
 * kill leaves a cell either done or to be done. */
#ifndef PFT_MATRIX_STORE_H
#define PFT_MATRIX_STORE_H

#include <jansson.h>

#include "common/base/err.h"

enum { MATRIX_RESULT_BYTES = 256 << 20 };

/* The file's content when it is there and its key is this one, else NULL in *out (key NULL: any).
 * ERR_REFUSED names a file that is damaged. The caller's (json_decref). */
MUST_USE enum err matrix_store_get(const char *path, const char *key, json_t **out,
                                   struct errbuf *e);

/* Writes {"key", "seconds", "attempts", "result"}; result is taken. */
MUST_USE enum err matrix_store_put(const char *path, const char *key, double seconds, int attempts,
                                   json_t *result, struct errbuf *e);

/* Any JSON file of an object. */
MUST_USE enum err matrix_store_read(const char *path, json_t **out, struct errbuf *e);
MUST_USE enum err matrix_store_write(const char *path, const json_t *value, struct errbuf *e);

#endif
