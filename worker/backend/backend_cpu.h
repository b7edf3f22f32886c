/* backend_cpu.h - what the parts of the CPU backend share: where a span lies, how work is cut among
 * the lanes of a team. Private to worker/backend. */
#ifndef PFT_BACKEND_CPU_H
#define PFT_BACKEND_CPU_H

#include <stddef.h>
#include <stdint.h>

#include "worker/backend/backend.h"

struct buffer {
    float *data;
    size_t words;
    bool owned;
};

static inline float *cpu_at(struct span s)
{
    return s.buffer->data + s.at;
}

static inline const uint32_t *cpu_index_at(struct span s)
{
    return (const uint32_t *)(const void *)cpu_at(s);
}

/* Columns of a tile of a product n wide: at most `most`, a multiple of 16 that cuts n evenly where
 * one is found, so that few shapes occur. A function of n and the run's setting alone. */
uint32_t tile_width(uint32_t n, uint32_t most);

/* Calls fn(ctx, lane, first, count) for ranges that cover 0..items-1, on the team's lanes; ranges
 * begin at multiples of grain. For work whose bits do not depend on the cut. */
typedef void range_fn(void *ctx, uint32_t lane, size_t first, size_t count);
void cpu_ranges(struct team *t, size_t items, size_t grain, range_fn *fn, void *ctx);

/* Calls fn(ctx, lane, item) for each item, on whichever lane is free. */
typedef void item_fn(void *ctx, uint32_t lane, uint32_t item);
void cpu_items(struct team *t, uint32_t items, item_fn *fn, void *ctx);

/* The operations row by row (backend_cpu_rows.c). */
void cpu_rmsnorm(struct team *t, uint32_t rows, uint32_t cols, float eps, struct span x,
                 struct span w, struct span y, struct span rstd);
void cpu_rmsnorm_backward(struct team *t, uint32_t rows, uint32_t cols, struct span x,
                          struct span w, struct span rstd, struct span dy, struct span dx,
                          bool accumulate);
void cpu_heads_split(struct team *t, const struct heads *h, struct span flat, struct span packed);
void cpu_heads_merge(struct team *t, const struct heads *h, struct span packed, struct span flat);
void cpu_heads_dot(struct team *t, const struct heads *h, struct span a, struct span b,
                   struct span dots);
void cpu_swiglu(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up, struct span h);
void cpu_swiglu_backward(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up,
                         struct span dh);
void cpu_head_block(struct team *t, const struct head_block *b);
void cpu_anchor_block(struct team *t, const struct anchor_block *b);
void cpu_pick(struct team *t, const struct head_block *b, uint32_t count, struct span row,
              struct span target, struct span out);

#endif
