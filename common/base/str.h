/* str.h - a growable byte string with a maximum. Always NUL-terminated once it holds something.
 * An append that fails marks the string; check str_ok once at the end. Not shared between threads.
 */
#ifndef PFT_STR_H
#define PFT_STR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

struct str {
    char *data; /* NULL until the first append */
    size_t len; /* bytes, without the NUL */
    size_t capacity;
    size_t limit; /* bytes; 0 means STR_LIMIT_DEFAULT */
    enum err error;
};

enum { STR_LIMIT_DEFAULT = 256 << 20 };

void str_append(struct str *s, const char *data, size_t n);
void str_add(struct str *s, const char *text);
void str_addf(struct str *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Appends text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void str_add_json(struct str *s, const char *text, size_t n);
/* Keeps the memory, forgets the content and the error. */
void str_clear(struct str *s);
/* OK, or the first error of an append (ERR_NOMEM, ERR_FULL). */
MUST_USE enum err str_ok(const struct str *s);
void str_free(struct str *s);

#endif
