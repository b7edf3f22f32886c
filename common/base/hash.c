/* hash.c - SHA-256 and XXH3-128 behind two plain calls. */
#include "common/base/hash.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static void to_hex(const unsigned char digest[HASH_SHA256_BYTES], char hex[HASH_SHA256_HEX])
{
    (void)sodium_bin2hex(hex, HASH_SHA256_HEX, digest, HASH_SHA256_BYTES);
}

void hash_sha256_hex(const void *data, size_t n, char hex[HASH_SHA256_HEX])
{
    unsigned char digest[HASH_SHA256_BYTES];
    (void)crypto_hash_sha256(digest, data, n);
    to_hex(digest, hex);
}

enum err hash_file_sha256_hex(const char *path, char hex[HASH_SHA256_HEX], struct errbuf *e)
{
    static _Thread_local unsigned char piece[1 << 16];
    FILE *file = fopen(path, "rb");
    if (!file) {
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    crypto_hash_sha256_state state;
    (void)crypto_hash_sha256_init(&state);
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, file)) > 0) {
        (void)crypto_hash_sha256_update(&state, piece, n);
    }
    enum err error = ferror(file) ? err_set(e, ERR_IO, "%s: cannot be read", path) : OK;
    (void)fclose(file);
    unsigned char digest[HASH_SHA256_BYTES];
    (void)crypto_hash_sha256_final(&state, digest);
    to_hex(digest, hex);
    return error;
}

void hash_xxh128(const void *data, size_t n, uint8_t digest[HASH_XXH128_BYTES])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, n));
    memcpy(digest, canonical.digest, HASH_XXH128_BYTES);
}

bool hash_from_hex(const char *hex, size_t bytes, uint8_t *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 2 * bytes; i++) {
        const char *digit = hex[i] != '\0' ? strchr(digits, hex[i]) : NULL;
        if (!digit) {
            return false;
        }
        uint8_t value = (uint8_t)(digit - digits);
        out[i / 2] = (uint8_t)(i % 2 == 0 ? value << 4 : out[i / 2] | value);
    }
    return true;
}
