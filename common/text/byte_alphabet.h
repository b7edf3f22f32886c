/* byte_alphabet.h - how files of byte-level BPE write bytes: printable Latin-1 stands for itself,
 * the other 68 bytes for U+0100 and up in their order, so that every token is readable text. Pure.
 */
#ifndef PFT_BYTE_ALPHABET_H
#define PFT_BYTE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BYTE_ALPHABET_POINTS = 256 + 68 };

/* byte_of[code point] for the whole alphabet; -1 elsewhere. */
void byte_alphabet_fill(int16_t byte_of[BYTE_ALPHABET_POINTS]);

/* The bytes that a token's text stands for; false when it is empty or a character is outside the
 * alphabet. out needs n bytes. */
bool byte_alphabet_read(const int16_t byte_of[BYTE_ALPHABET_POINTS], const char *text, size_t n,
                        char *out, size_t *length);

/* text as it may stand in a message: cut after 40 bytes, control characters as '?'. */
enum { TOKEN_SHOW_BYTES = 48 };
const char *token_show(char out[TOKEN_SHOW_BYTES], const char *text, size_t bytes);

#endif
