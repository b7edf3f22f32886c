/* unicode_class.h - which code points are letters, numbers, spaces, or unsure under NFC.
 * Owns: one byte per code point, filled from PCRE2's Unicode tables with four patterns of our own.
 * Never: matches text (pretokenizer.c walks it by hand), so nothing can run away at match time.
 * Read-only once made: safe from any thread. */
#ifndef PFT_UNICODE_CLASS_H
#define PFT_UNICODE_CLASS_H

#include <stdint.h>

#include "common/base/err.h"

enum unicode_class {
    CLASS_LETTER = 1, /* \p{L} */
    CLASS_NUMBER = 2, /* \p{N} */
    CLASS_SPACE = 4,  /* the White_Space property: \p{Z}, TAB to CR, U+0085 */
    /* Normalisation form C may change it or what stands around it: \p{M}, conjoining Hangul, what
     * decomposes to one other character. Text without any is in NFC already. */
    CLASS_NFC_UNSURE = 8,
};

enum { UNICODE_VERSION_BYTES = 24 };
struct unicode_classes {
    uint8_t *of;                         /* [UTF8_CODE_POINTS], bits of enum unicode_class */
    char version[UNICODE_VERSION_BYTES]; /* Unicode version of the tables, "14.0.0" */
};

/* Fills the table (some 20 ms); unicode_classes_free gives it back. */
MUST_USE enum err unicode_classes_init(struct unicode_classes *classes, struct errbuf *e);
void unicode_classes_free(struct unicode_classes *classes);

#endif
