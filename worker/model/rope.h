/* rope.h - the table of rotary angles, as Hugging Face computes them: frequency and angle rounded
 * to fp32, sine and cosine of that fp32 angle. Deterministic everywhere (exact_math). Pure. */
#ifndef PFT_ROPE_H
#define PFT_ROPE_H

#include <stdint.h>

#include "common/tensor/shape.h"

/* table [positions][E/2 cosines, E/2 sines]. */
void rope_table(const struct model_shape *shape, uint32_t positions, float *table);

#endif
