/* values.h - the axes of a run: pairs of opposite values and the sentence that describes each, read
 * from a values file (configs/values/vcd.yaml). Data, never a table in C.
 * Owns: struct values and the file's text (kept for run.db and the adapter). Never: data files.
 * Side a of an axis = its first pole. Read-only once loaded. */
#ifndef PFT_VALUES_H
#define PFT_VALUES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct values_pole {
    char *name;
    char *sentence;
};

struct values_axis {
    char *name;
    struct values_pole poles[2];
};

struct values {
    uint32_t n_axes;
    struct values_axis *axes; /* [n_axes] in file order */
    char *text;               /* the file as it was, NUL-terminated */
    size_t text_bytes;
};

/* Reads and checks a values file; a wrong one is refused with file, line, column and what was
 * expected, a name given twice with both lines. The caller frees it. Blocks on the disk. */
MUST_USE enum err values_load(const char *path, struct values **out, struct errbuf *e);

/* The same from text in memory; name stands in messages. */
MUST_USE enum err values_parse(const char *text, size_t bytes, const char *name,
                               struct values **out, struct errbuf *e);

/* Axis and side of a value by its name alone, letter by letter. ERR_NOT_FOUND names the nearest
 * value of any axis. */
MUST_USE enum err values_find(const struct values *v, const char *name, uint32_t *axis,
                              uint32_t *side, struct errbuf *e);

/* Index of an axis by name, letter by letter. ERR_NOT_FOUND names the nearest one. */
MUST_USE enum err values_find_axis(const struct values *v, const char *name, uint32_t *axis,
                                   struct errbuf *e);

/* Side (0 or 1) of a value on an axis. ERR_NOT_FOUND names the nearest value of the axis, or the
 * axis that the value belongs to. */
MUST_USE enum err values_find_pole(const struct values *v, uint32_t axis, const char *name,
                                   uint32_t *side, struct errbuf *e);

void values_free(struct values **v); /* NULL inside is fine */

#endif
