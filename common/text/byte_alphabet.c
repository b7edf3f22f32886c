/* byte_alphabet.c - bytes as readable characters. */
#include "common/text/byte_alphabet.h"

#include <string.h>

#include "common/base/check.h"
#include "common/text/utf8.h"

static bool stands_for_itself(uint32_t code)
{
    return (code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xFF && code != 0xAD);
}

void byte_alphabet_fill(int16_t byte_of[BYTE_ALPHABET_POINTS])
{
    uint32_t next = 256;
    memset(byte_of, 0xFF, BYTE_ALPHABET_POINTS * sizeof *byte_of);
    for (uint32_t byte = 0; byte < 256; byte++) {
        byte_of[stands_for_itself(byte) ? byte : next++] = (int16_t)byte;
    }
    CHECK(next == BYTE_ALPHABET_POINTS);
}

bool byte_alphabet_read(const int16_t byte_of[BYTE_ALPHABET_POINTS], const char *text, size_t n,
                        char *out, size_t *length)
{
    *length = 0;
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t step = utf8_get(text + i, n - i, &code);
        if (step == 0 || code >= BYTE_ALPHABET_POINTS || byte_of[code] < 0) {
            return false;
        }
        out[(*length)++] = (char)byte_of[code];
        i += step;
    }
    return n > 0;
}

const char *token_show(char out[TOKEN_SHOW_BYTES], const char *text, size_t bytes)
{
    size_t n = bytes < 40 ? bytes : 40;
    while (n < bytes && n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        out[i] = c < 0x20 || c == 0x7F ? '?' : text[i];
    }
    memcpy(out + n, n < bytes ? "..." : "", n < bytes ? 4 : 1);
    return out;
}
