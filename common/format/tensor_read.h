/* tensor_read.h - weights from an open file to fp32 in bounded pieces. */
#ifndef PFT_TENSOR_READ_H
#define PFT_TENSOR_READ_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/format/quant.h"

/* Elements [first, first + count) of the tensor that starts at offset; both are multiples of the
 * type's block. path is for the message. Safe from any thread at once on one fd. */
MUST_USE enum err tensor_read_f32(int fd, const char *path, uint64_t offset, enum quant_type type,
                                  uint64_t first, uint64_t count, float *out, struct errbuf *e);

#endif
