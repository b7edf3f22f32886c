/* quote.c - texts for messages. */
#include "common/base/quote.h"

#include <stdbool.h>
#include <string.h>

const char *quote(const char *text, size_t bytes, char out[QUOTE_BYTES])
{
    size_t room = QUOTE_BYTES - sizeof "'...'";
    bool cut = bytes > room;
    size_t n = cut ? room : bytes;
    while (cut && n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) {
        n--;
    }
    size_t at = 0;
    out[at++] = '\'';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        out[at++] = c < 0x20 || c == 0x7F ? '?' : text[i];
    }
    if (cut) {
        memcpy(out + at, "...", 3);
        at += 3;
    }
    out[at++] = '\'';
    out[at] = '\0';
    return out;
}
