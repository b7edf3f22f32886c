/* quant.c - blocks of stored weights to fp32, in plain loops the compiler can vectorise. */
#include "common/format/quant.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/check.h"

static const struct {
    const char *name;
    size_t elements, bytes;
} types[QUANT_TYPES] = {
    [QUANT_F32] = {"F32", 1, 4},     [QUANT_F16] = {"F16", 1, 2},
    [QUANT_BF16] = {"BF16", 1, 2},   [QUANT_Q8_0] = {"Q8_0", 32, 34},
    [QUANT_Q4_0] = {"Q4_0", 32, 18}, [QUANT_Q4_1] = {"Q4_1", 32, 20},
};

enum { BLOCK = 32, HALF = BLOCK / 2 };

const char *quant_name(enum quant_type type)
{
    CHECK(type < QUANT_TYPES);
    return types[type].name;
}

size_t quant_block_elements(enum quant_type type)
{
    CHECK(type < QUANT_TYPES);
    return types[type].elements;
}

size_t quant_block_bytes(enum quant_type type)
{
    CHECK(type < QUANT_TYPES);
    return types[type].bytes;
}

static inline float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Exact for every half. Exponent and mantissa move to their fp32 places; the multiplication by
 * 2^112 corrects the bias and makes subnormals normal without a branch; Inf and NaN (sixteen bits
 * of exponent 31, 2^16 and above after it) get their exponent back. A signalling NaN stays one. */
static inline float from_half(uint32_t half)
{
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t rest = (half & 0x7FFFu) << 13;
    uint32_t finite = to_bits(from_bits(rest) * 0x1p112f);
    uint32_t special = rest | 0x7F800000u;
    return from_bits(sign | ((half & 0x7C00u) == 0x7C00u ? special : finite));
}

static void from_f16(const uint8_t *p, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = from_half(bytes_get_u16(p + 2 * i));
    }
}

static void from_bf16(const uint8_t *p, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = from_bits((uint32_t)bytes_get_u16(p + 2 * i) << 16);
    }
}

static void from_q8_0(const uint8_t *p, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i += BLOCK, p += 34) {
        float d = from_half(bytes_get_u16(p));
        for (size_t j = 0; j < BLOCK; j++) {
            out[i + j] = d * (float)(int8_t)p[2 + j];
        }
    }
}

static void from_q4_0(const uint8_t *p, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i += BLOCK, p += 18) {
        float d = from_half(bytes_get_u16(p));
        for (size_t j = 0; j < HALF; j++) {
            out[i + j] = d * (float)((int)(p[2 + j] & 15) - 8);
            out[i + HALF + j] = d * (float)((int)(p[2 + j] >> 4) - 8);
        }
    }
}

static void from_q4_1(const uint8_t *p, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i += BLOCK, p += 20) {
        float d = from_half(bytes_get_u16(p));
        float m = from_half(bytes_get_u16(p + 2));
        for (size_t j = 0; j < HALF; j++) {
            out[i + j] = d * (float)(p[4 + j] & 15) + m;
            out[i + HALF + j] = d * (float)(p[4 + j] >> 4) + m;
        }
    }
}

void quant_to_f32(enum quant_type type, const void *data, size_t count, float *out)
{
    CHECK(type < QUANT_TYPES && count % types[type].elements == 0);
    switch (type) {
    case QUANT_F32:
        memcpy(out, data, count * sizeof *out);
        break;
    case QUANT_F16:
        from_f16(data, count, out);
        break;
    case QUANT_BF16:
        from_bf16(data, count, out);
        break;
    case QUANT_Q8_0:
        from_q8_0(data, count, out);
        break;
    case QUANT_Q4_0:
        from_q4_0(data, count, out);
        break;
    case QUANT_Q4_1:
        from_q4_1(data, count, out);
        break;
    case QUANT_TYPES:
    default:
        CHECK(type < QUANT_TYPES);
    }
}
