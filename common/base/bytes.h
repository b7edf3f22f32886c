/* bytes.h - explicit little-endian loads and stores; no alignment asked, no struct copies. */
#ifndef PFT_BYTES_H
#define PFT_BYTES_H

#include <stdint.h>

static inline uint16_t bytes_get_u16(const void *p)
{
    const unsigned char *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t bytes_get_u32(const void *p)
{
    const unsigned char *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t bytes_get_u64(const void *p)
{
    const unsigned char *b = p;
    return (uint64_t)bytes_get_u32(b) | (uint64_t)bytes_get_u32(b + 4) << 32;
}

static inline void bytes_put_u32(void *p, uint32_t v)
{
    unsigned char *b = p;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
    b[2] = (unsigned char)(v >> 16);
    b[3] = (unsigned char)(v >> 24);
}

static inline void bytes_put_u64(void *p, uint64_t v)
{
    unsigned char *b = p;
    bytes_put_u32(b, (uint32_t)v);
    bytes_put_u32(b + 4, (uint32_t)(v >> 32));
}

static inline float bytes_get_f32(const void *p)
{
    union {
        uint32_t u;
        float f;
    } pun = {.u = bytes_get_u32(p)};
    return pun.f;
}

#endif
