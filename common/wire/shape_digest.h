/* shape_digest.h - one short name for the sizes of a model, so that both ends of a wire can tell in
 * the first message whether they talk about the same network. Pure. */
#ifndef PFT_SHAPE_DIGEST_H
#define PFT_SHAPE_DIGEST_H

#include "common/tensor/shape.h"
#include "common/wire/message.h"

/* XXH3-128, as hex, of every field little-endian in the order of struct model_shape. */
void shape_digest(const struct model_shape *shape, char hex[WIRE_DIGEST_HEX]);

/* 16 bytes as 32 hex digits. */
void digest_hex(const uint8_t digest[WIRE_DIGEST_BYTES], char hex[WIRE_DIGEST_HEX]);

#endif
