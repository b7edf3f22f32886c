/* shape_digest.c - canonical bytes of a model_shape, hashed. */
#include "common/wire/shape_digest.h"

#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/hash.h"

void digest_hex(const uint8_t digest[WIRE_DIGEST_BYTES], char hex[WIRE_DIGEST_HEX])
{
    for (size_t i = 0; i < WIRE_DIGEST_BYTES; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
}

void shape_digest(const struct model_shape *shape, char hex[WIRE_DIGEST_HEX])
{
    uint32_t theta;
    uint32_t eps;
    memcpy(&theta, &shape->rope_theta, sizeof theta);
    memcpy(&eps, &shape->rms_eps, sizeof eps);
    const uint32_t fields[] = {
        shape->layers,   shape->hidden, shape->ff, shape->heads, shape->kv_heads,
        shape->head_dim, shape->vocab,  theta,     eps,          shape->tied_head};
    uint8_t bytes[sizeof fields];
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        bytes_put_u32(bytes + 4 * i, fields[i]);
    }
    uint8_t digest[HASH_XXH128_BYTES];
    hash_xxh128(bytes, sizeof bytes, digest);
    digest_hex(digest, hex);
}
