/* tensor_read.c - weights from an open file to fp32 in bounded pieces. */
#include "common/format/tensor_read.h"

#include "common/base/check.h"
#include "common/base/file.h"

enum { PIECE_BYTES = 32 << 10 }; /* on the stack; fits the first-level cache */

enum err tensor_read_f32(int fd, const char *path, uint64_t offset, enum quant_type type,
                         uint64_t first, uint64_t count, float *out, struct errbuf *e)
{
    uint8_t piece[PIECE_BYTES];
    uint64_t elements = quant_block_elements(type);
    uint64_t bytes = quant_block_bytes(type);
    CHECK(first % elements == 0 && count % elements == 0);
    uint64_t at = offset + first / elements * bytes;
    if (type == QUANT_F32) {
        return file_read_at(fd, path, at, out, count * sizeof *out, e);
    }
    uint64_t most = PIECE_BYTES / bytes;
    for (uint64_t blocks = count / elements; blocks > 0;) {
        uint64_t n = blocks < most ? blocks : most;
        enum err error = file_read_at(fd, path, at, piece, n * bytes, e);
        if (error != OK) {
            return error;
        }
        quant_to_f32(type, piece, n * elements, out);
        out += n * elements;
        at += n * bytes;
        blocks -= n;
    }
    return OK;
}
