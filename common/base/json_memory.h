/* json_memory.h - jansson's parser on the project's memory, which tells "no memory" apart.
 * Owns: jansson's allocator, for the whole process. Never: keeps what it parsed. Any thread. */
#ifndef PFT_JSON_MEMORY_H
#define PFT_JSON_MEMORY_H

#include <jansson.h>

#include "common/base/err.h"

/* json_loadb. ERR_NOMEM when any allocation failed, also one that jansson passes over (it shortens
 * a string or loses a key then); ERR_PARSE with why. The caller releases *out (json_decref). */
MUST_USE enum err json_memory_load(const char *text, size_t n, size_t flags, json_t **out,
                                   json_error_t *why);

#endif
