/* bf16.h - products with frozen weights in bfloat16 through oneDNN: both factors rounded to bf16
 * (nearest even), sums in fp32. For CPUs with AVX512_BF16, where it is twice as fast as fp32.
 * Owns: packed weights, per team the rounded input and the primitives it has made.
 * Never: more than one thread a call, an instruction set
 * beyond AVX512_BF16 even where there is one: bits agree between such CPUs. */
#ifndef PFT_BF16_H
#define PFT_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct bf16_matrix; /* W [out, in] packed for x W^T and for y W */
struct bf16_room;   /* of one team */
struct kernels;     /* worker/backend/kernels.h */

/* Whether this CPU multiplies bf16 in hardware. */
bool bf16_runs_here(void);

/* Packs W; the fp32 original is not needed afterwards. */
MUST_USE enum err bf16_pack(const float *w, uint32_t out, uint32_t in, struct bf16_matrix **m);
void bf16_matrix_free(struct bf16_matrix **m); /* NULL inside is fine */

/* Room for inputs of up to `elements` numbers; grows an older one in place. */
MUST_USE enum err bf16_reserve(struct bf16_room **room, size_t elements);
void bf16_room_free(struct bf16_room **room); /* NULL inside is fine */

/* y = x W^T, x [rows, in]; or backward: y = x W, x [rows, out]. onto = add to y. */
void bf16_product(struct bf16_room *room, const struct kernels *kernels,
                  const struct bf16_matrix *m, bool backward, uint32_t rows, const float *x,
                  float *y, bool onto);

#endif
