/* hash.h - the two digests of the project: SHA-256 (libsodium) for what is named for good (models,
 * adapters), XXH3-128 (libxxhash) for payloads in flight. Pure; safe from any thread. */
#ifndef PFT_HASH_H
#define PFT_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { HASH_SHA256_BYTES = 32, HASH_SHA256_HEX = 65, HASH_XXH128_BYTES = 16 };

/* Lower-case hex of SHA-256 of n bytes, NUL-terminated. */
void hash_sha256_hex(const void *data, size_t n, char hex[HASH_SHA256_HEX]);

/* SHA-256 of a whole regular file, read in pieces; blocks on the disk. */
MUST_USE enum err hash_file_sha256_hex(const char *path, char hex[HASH_SHA256_HEX],
                                       struct errbuf *e);

/* XXH3-128 of n bytes in canonical (big-endian) byte order. */
void hash_xxh128(const void *data, size_t n, uint8_t digest[HASH_XXH128_BYTES]);

/* out[bytes] from 2 * bytes lower-case hex digits at hex; false, out undefined, for anything else.
 */
bool hash_from_hex(const char *hex, size_t bytes, uint8_t *out);

#endif
