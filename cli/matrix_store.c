/* matrix_store.c - JSON files, written whole. */
#include "cli/matrix_store.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"

enum { DIGITS = 9 };

enum err matrix_store_read(const char *path, json_t **out, struct errbuf *e)
{
    return json_doc_load(path, MATRIX_RESULT_BYTES, out, e);
}

enum err matrix_store_write(const char *path, const json_t *value, struct errbuf *e)
{
    char *text = json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS));
    if (!text) {
        return err_set(e, ERR_NOMEM, "%s: no memory to write it", path);
    }
    enum err error = file_write_atomic(path, text, strlen(text), e);
    mem_free(text);
    return error;
}

enum err matrix_store_get(const char *path, const char *key, json_t **out, struct errbuf *e)
{
    json_t *found = NULL;
    *out = NULL;
    if (!file_exists(path)) {
        return OK;
    }
    enum err error = matrix_store_read(path, &found, e);
    if (error != OK) {
        return err_set(e, ERR_REFUSED, "%s is damaged; remove it and the cell is computed anew",
                       path);
    }
    const char *had = json_string_value(json_object_get(found, "key"));
    if (key && (!had || strcmp(had, key) != 0)) {
        json_decref(found);
        return OK;
    }
    *out = found;
    return OK;
}

enum err matrix_store_put(const char *path, const char *key, double seconds, int attempts,
                          json_t *result, struct errbuf *e)
{
    json_t *value = json_pack("{s:s,s:f,s:i,s:o}", "key", key, "seconds", seconds, "attempts",
                              attempts, "result", result);
    enum err error = value ? matrix_store_write(path, value, e)
                           : err_set(e, ERR_NOMEM, "no memory for a result");
    json_decref(value);
    return error;
}
