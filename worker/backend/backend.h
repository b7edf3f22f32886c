/* backend.h - the small table of operations the model is written in, on opaque buffers. The CPU
 * with OpenBLAS is the first backend; a GPU fits behind the same table.
 *
 * Owns: struct span, struct team, the table. Never: knows layers, trees or adapters.
 * A span is a place in a buffer, counted in words of 4 bytes (floats or uint32; uint64 keys take
 * two). Spans of one operation do not overlap unless it says "in place". Operations of a team run
 * in the order they are called; view waits for them.
 *
 * A team is the threads of a slot. Nothing outside a backend may assume that one thread makes a
 * whole product: the backend cuts it into output tiles of tile_rows x tile_cols, each one
 * single-threaded library call, and the bits depend on the tiles, never on the number of threads.
 */
#ifndef PFT_BACKEND_H
#define PFT_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/backend/kernels_level.h"
#include "worker/backend/profile.h"

struct buffer;

struct span {
    struct buffer *buffer;
    size_t at; /* words */
};

static inline struct span span_at(struct span s, size_t words)
{
    return (struct span){s.buffer, s.at + words};
}

/* c (+)= alpha * op(a) b; op(a) [m, k], b [k, n], c [m, n], row-major: thin and small products of
 * numbers that change. */
struct gemm {
    bool a_transposed, onto; /* onto = add to c */
    uint32_t m, n, k;
    float alpha;
    struct span a, b, c;
    size_t lda, ldb, ldc;
};

/* How frozen weights are multiplied. */
enum precision {
    PRECISION_FP32_PRODUCTS,
    PRECISION_BF16_PRODUCTS, /* bf16.h; sums in fp32 */
};

struct bf16_matrix;
struct bf16_room;

/* A frozen matrix W [out, in], and what a precision makes of it. */
struct frozen {
    struct span w;
    uint32_t out, in;
    struct bf16_matrix *bf16; /* NULL: fp32 */
};

/* y = x W^T, x [rows, in]; or backward: y = x W, x [rows, out]. Dense. */
struct product {
    const struct frozen *w;
    bool backward, onto; /* onto = add to y */
    uint32_t rows;
    struct span x, y;
};

/* As in kernels.h, with spans. */
struct heads {
    uint32_t rows, groups, per, head_dim;
    size_t ld, col;
    bool rotated;          /* RoPE, by table and positions */
    struct span table;     /* [positions][E] */
    struct span positions; /* uint32 [rows] */
    float scale;
    bool scaled_rows;      /* merge only: by row_scale */
    struct span row_scale; /* [groups][rows][per] */
};

struct softmax {
    uint32_t queries, per, cols;
    size_t ld;
    struct span limits;        /* uint32 [queries] */
    struct span s;             /* [queries * per, ld] in place */
    struct span most, inverse; /* [queries * per] */
};

struct head_block {
    uint32_t rows, cols, first, hidden;
    size_t ld;
    struct span logits;  /* [rows, ld] in place */
    struct span targets; /* uint32 [rows] */
    struct span most, sum;
    bool mixing;
    struct span mix; /* [rows, hidden] in place */
};

/* As anchor_block in kernels.h, with spans. */
struct anchor_block {
    uint32_t rows, cols;
    struct span norms; /* struct kernel_anchor_row [rows] */
    struct span base;
    struct span logits; /* in place */
    struct span kl;     /* [rows] in place */
};

struct dropout {
    uint32_t rows, cols;
    struct span keys; /* uint64 [rows] */
    uint64_t salt;
    float keep;
    bool accumulate;
};

struct team;

/* One of many pieces of work that know nothing of each other: `alone` runs operations one after
 * another, lane < team.threads tells it from those that run beside it. */
typedef void team_item_fn(void *ctx, struct team *alone, uint32_t lane, uint32_t item);

struct backend_ops {
    const char *name;
    bool on_host; /* view never needs room */
    void (*each)(struct team *t, uint32_t count, team_item_fn *fn, void *ctx);
    /* Memory. import makes a read-only view of host memory (no copy on a CPU), which must stay as
     * long as the buffer. release takes the buffer; NULL inside is fine. */
    enum err (*alloc)(size_t words, struct buffer **out);
    enum err (*import)(const void *host, size_t words, struct buffer **out);
    void (*release)(struct buffer **buffer);
    void (*upload)(struct span to, const void *from, size_t words);
    /* The words on the host: their own place where the host can read it, else a copy in room. */
    const void *(*view)(struct team *t, struct span from, size_t words, void *room);

    /* Makes of w what products in this precision and with these tiles want; thaw gives it back. */
    enum err (*freeze)(struct frozen *w, enum precision precision, uint32_t tile_cols);
    void (*thaw)(struct frozen *w);
    /* Room for products whose input has up to so many elements. */
    enum err (*reserve)(struct team *t, size_t elements, enum precision precision);
    void (*product)(struct team *t, const struct product *p);
    void (*gemm)(struct team *t, const struct gemm *g);
    /* from [rows, cols] -> to [cols, ld]. */
    void (*transpose)(struct team *t, uint32_t rows, uint32_t cols, size_t ld, struct span from,
                      struct span to);
    void (*fill)(struct team *t, struct span x, size_t words, float value);
    void (*copy)(struct team *t, struct span from, struct span to, size_t words);
    void (*rmsnorm)(struct team *t, uint32_t rows, uint32_t cols, float eps, struct span x,
                    struct span w, struct span y, struct span rstd);
    void (*rmsnorm_backward)(struct team *t, uint32_t rows, uint32_t cols, struct span x,
                             struct span w, struct span rstd, struct span dy, struct span dx,
                             bool accumulate);
    void (*heads_split)(struct team *t, const struct heads *h, struct span flat,
                        struct span packed);
    void (*heads_merge)(struct team *t, const struct heads *h, struct span packed,
                        struct span flat);
    void (*heads_dot)(struct team *t, const struct heads *h, struct span a, struct span b,
                      struct span dots);
    void (*softmax)(struct team *t, const struct softmax *b);
    void (*softmax_backward)(struct team *t, const struct softmax *b, struct span ds,
                             struct span delta);
    void (*swiglu)(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up,
                   struct span h);
    void (*swiglu_backward)(struct team *t, uint32_t rows, uint32_t cols, struct span gate_up,
                            struct span dh);
    void (*head_block)(struct team *t, const struct head_block *b);
    void (*anchor_block)(struct team *t, const struct anchor_block *b);
    void (*pick)(struct team *t, const struct head_block *b, uint32_t count, struct span row,
                 struct span target, struct span out);
    void (*gather_rows)(struct team *t, uint32_t rows, uint32_t cols, struct span index,
                        struct span from, struct span to);
    void (*scatter_add_rows)(struct team *t, uint32_t rows, uint32_t cols, struct span index,
                             struct span from, struct span to);
    void (*add_scaled_rows)(struct team *t, uint32_t count, uint32_t cols, struct span row,
                            struct span index, struct span coefficient, struct span from,
                            struct span to);
    void (*scale_rows)(struct team *t, uint32_t rows, uint32_t cols, struct span factor,
                       struct span x);
    void (*dropout)(struct team *t, const struct dropout *d, struct span from, struct span to);
};

struct kernels;

struct team {
    const struct backend_ops *ops;
    const struct kernels *kernels; /* host kernels, also for what happens on the host (rounding) */
    struct crew *crew;             /* the threads beside the caller; NULL = none (crew.h) */
    uint32_t threads;
    uint32_t tile_rows, tile_cols;
    uint32_t even_rows;     /* tiles of so many rows compute every row alike, wherever it stands */
    struct bf16_room *bf16; /* made by reserve */
    enum profile_part part; /* what runs now */
    uint64_t part_since_ns;
    struct profile profile;
    struct profile *layer; /* of the layer at work, counted besides; NULL = none */
};

/* A team of one thread on the CPU with this level's kernels; the process must have passed
 * kernels_level_verify. */
void team_init_cpu(struct team *t, enum kernels_level level, uint32_t tile_rows,
                   uint32_t tile_cols);

/* Gives a new team threads - 1 threads more. ERR_NOMEM: it stays alone. */
MUST_USE enum err team_hire(struct team *t, uint32_t threads);

/* Frees what the team made for itself; fine on a zeroed struct. */
void team_deinit(struct team *t);

/* Charges the time since the last call to the part that ran; from now on `part` runs. */
void team_enter(struct team *t, enum profile_part part);

/* From now on everything is charged to this layer's profile too; NULL = to none. */
void team_layer(struct team *t, struct profile *layer);

/* Adds to the part that runs. */
void team_count(struct team *t, uint64_t flops, uint64_t bytes);

extern const struct backend_ops backend_cpu;

#endif
