/* quote.h - somebody else's text inside one of our messages: short, on one line, printable. Pure.
 */
#ifndef PFT_QUOTE_H
#define PFT_QUOTE_H

#include <stddef.h>

enum { QUOTE_BYTES = 72 };

/* Writes 'text' with its quotes into out; control bytes become '?', what does not fit becomes
 * "...", cut between UTF-8 characters. Returns out. */
const char *quote(const char *text, size_t bytes, char out[QUOTE_BYTES]);

#endif
