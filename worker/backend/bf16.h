/* bf16.h - products with frozen weights in bfloat16 through oneDNN: both factors rounded to bf16
 * (nearest even), sums in fp32. For CPUs with AVX512_BF16, where it is twice as fast as fp32.
 * Owns: packed weights, per team the rounded input and the primitives its lanes have made.
 * Never: threads of its own, an instruction set beyond AVX512_BF16 even where there is one: bits
 * agree between such CPUs. A product is cut into tiles of columns; each is one call on one thread.
 */
#ifndef PFT_BF16_H
#define PFT_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct bf16_matrix; /* W [out, in] packed for x W^T and for y W */
struct bf16_room;   /* of one team */

/* Whether this CPU multiplies bf16 in hardware. */
bool bf16_runs_here(void);

/* Packs W by tiles of tile_cols columns of a result, or somewhat less (backend_cpu.h,
 * tile_width); the fp32 original is not needed afterwards. */
MUST_USE enum err bf16_pack(const float *w, uint32_t out, uint32_t in, uint32_t tile_cols,
                            struct bf16_matrix **m);
void bf16_matrix_free(struct bf16_matrix **m); /* NULL inside is fine */

/* Room for `lanes` threads and inputs of up to `elements` numbers; grows an older one of as many
 * lanes in place. */
MUST_USE enum err bf16_reserve(struct bf16_room **room, uint32_t lanes, size_t elements);
void bf16_room_free(struct bf16_room **room); /* NULL inside is fine */

/* Where the rounded input [rows, in], or backward [rows, out], is put before its tiles run. */
uint16_t *bf16_input(struct bf16_room *room, size_t elements);

uint32_t bf16_tiles(const struct bf16_matrix *m, bool backward);

/* One tile of y [rows, out] = input W^T; or backward: y [rows, in] = input W. onto = add to y.
 * Different lanes may run at once. */
void bf16_tile(struct bf16_room *room, uint32_t lane, const struct bf16_matrix *m, bool backward,
               uint32_t tile, uint32_t rows, float *y, bool onto);

#endif
