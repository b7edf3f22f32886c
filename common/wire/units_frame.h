/* units_frame.h - the frame that carries a job's units: token ids, labels, tree shapes.
 * Byte form (little-endian): u32 n_units; per unit u64 id, u32 n_trees, u32 anchor (0 or 1), then
 * its trees in the byte form of tree.h. Every count is checked against its limit and the bytes left
 * before memory is taken. Pure, any thread. */
#ifndef PFT_UNITS_FRAME_H
#define PFT_UNITS_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/tree/tree.h"

/* Bytes of the frame for n units; writing into that much room. */
size_t units_frame_bytes(const struct unit *const *units, uint32_t n);
void units_frame_write(const struct unit *const *units, uint32_t n, uint8_t *out);

/* Reads a frame from anywhere. On OK *units is an array of *n units of the caller's
 * (units_frame_free); vocab bounds the token ids. Bytes after the last tree are refused. */
MUST_USE enum err units_frame_read(const uint8_t *data, size_t bytes, uint32_t vocab,
                                   struct unit **units, uint32_t *n, struct errbuf *e);
void units_frame_free(struct unit *units, uint32_t n);

#endif
