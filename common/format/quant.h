/* quant.h - the stored number types of weights and their exact conversion to fp32.
 * Owns: block layouts. Never: files, names. Pure; safe from any thread.
 *
 *  type   elements  bytes  layout                       value
 *  F32           1      4  fp32                         itself
 *  F16           1      2  IEEE half                    itself, exact
 *  BF16          1      2  high half of an fp32         itself, exact
 *  Q8_0         32     34  f16 d, i8 q[32]              d * q
 *  Q4_0         32     18  f16 d, u8 qs[16]             d * (q - 8)
 *  Q4_1         32     20  f16 d, f16 m, u8 qs[16]      d * q + m, rounded after each step
 *
 * In a Q4 block the low nibble of byte j is element j, the high nibble element j + 16. All numbers
 * are little-endian. The bits are those of ggml's and of the gguf package's own conversion. */
#ifndef PFT_QUANT_H
#define PFT_QUANT_H

#include <stddef.h>
#include <stdint.h>

enum quant_type {
    QUANT_F32,
    QUANT_F16,
    QUANT_BF16,
    QUANT_Q8_0,
    QUANT_Q4_0,
    QUANT_Q4_1,
    QUANT_TYPES
};

/* "F32" ... "Q4_1". */
const char *quant_name(enum quant_type type);
/* Elements and bytes of one block. */
size_t quant_block_elements(enum quant_type type);
size_t quant_block_bytes(enum quant_type type);

/* Converts count elements (a multiple of the block) from data, which may lie at any address. */
void quant_to_f32(enum quant_type type, const void *data, size_t count, float *out);

#endif
