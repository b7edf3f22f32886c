/* kernels_gemm.h - the product of kernels.h, for kernels_impl.c alone: thin and small matrices,
 * where packing both sides, as a BLAS does, costs more than it saves.
 *
 * C is cut into strips of up to 4 registers of columns and tiles of rows that fill the register
 * file. A tile walks once along k: a row of B is loaded, each element of A is spread over a
 * register, every sum stays in its own register. So an element of C is a plain sum over k in order,
 * whatever tile it falls into, and its bits do not depend on m, n or on who computes its
 * neighbours. The sums are named one by one (SUM_ROWS): an array walked by a loop would go to
 * memory. */
#ifndef PFT_KERNELS_GEMM_H
#define PFT_KERNELS_GEMM_H

#include "worker/backend/kernels.h"
#include "worker/backend/kernels_lanes.h"

enum { STRIP_VECS = 4 };

#define STRIP_COLS(X) X(0) X(1) X(2) X(3)
#define SUM_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

/* Rows of a tile for strips of 1 to 4 registers: 24 of 32 registers are sums, or 12 of 16. */
#if VEC_BYTES == 64
enum { TILE_1 = 12, TILE_2 = 12, TILE_3 = 8, TILE_4 = 6, TILE_REST = 4 };
#else
enum { TILE_1 = 8, TILE_2 = 6, TILE_3 = 4, TILE_4 = 3, TILE_REST = 4 };
#endif

struct strip {
    vec v[STRIP_VECS];
};

LANES_INLINE void strip_add(struct strip *sum, int vecs, float a, const struct strip *b)
{
    const vec spread = vec_of(a);
#define X(j)                                                                                       \
    if (j < vecs) {                                                                                \
        sum->v[j] += spread * b->v[j];                                                             \
    }
    STRIP_COLS(X)
#undef X
}

/* c (+)= v, of which `left` columns count. */
LANES_INLINE void put_vec(float *c, vec v, size_t left, bool onto)
{
    if (left >= VEC) {
        vec_store(c, onto ? vec_load(c) + v : v);
        return;
    }
    float part[VEC];
    vec_store(part, v);
    for (size_t i = 0; i < VEC && i < left; i++) {
        c[i] = onto ? c[i] + part[i] : part[i];
    }
}

LANES_INLINE void strip_put(const struct strip *sum, int vecs, const struct kernel_gemm *g,
                            float *c, size_t cols)
{
    const vec alpha = vec_of(g->alpha);
#define X(j)                                                                                       \
    if (j < vecs) {                                                                                \
        put_vec(c + (size_t)j * VEC, alpha * sum->v[j], cols - (size_t)j * VEC, g->onto);          \
    }
    STRIP_COLS(X)
#undef X
}

/* rows and vecs are constants at every call. */
LANES_INLINE void gemm_tile(int rows, int vecs, const struct kernel_gemm *g, const float *a,
                            const float *b, float *c, size_t cols)
{
    const struct strip zero = {{{0}}};
    struct strip sum[TILE_1];
    const size_t last = cols - (size_t)(vecs - 1) * VEC; /* columns of the last register */
#define X(i)                                                                                       \
    if (i < rows) {                                                                                \
        sum[i] = zero;                                                                             \
    }
    SUM_ROWS(X)
#undef X
    for (uint32_t k = g->k; k > 0; k--, a += g->a_col, b += g->ldb) {
        struct strip line;
#define X(j)                                                                                       \
    if (j < vecs - 1) {                                                                            \
        line.v[j] = vec_load(b + (size_t)j * VEC);                                                 \
    } else if (j == vecs - 1) {                                                                    \
        line.v[j] = vec_load_first(b + (size_t)j * VEC, last);                                     \
    }
        STRIP_COLS(X)
#undef X
#define X(i)                                                                                       \
    if (i < rows) {                                                                                \
        strip_add(&sum[i], vecs, a[i * g->a_row], &line);                                          \
    }
        SUM_ROWS(X)
#undef X
    }
#define X(i)                                                                                       \
    if (i < rows) {                                                                                \
        strip_put(&sum[i], vecs, g, c + i * g->ldc, cols);                                         \
    }
    SUM_ROWS(X)
#undef X
}

#define GEMM_STRIP(name, vecs, tile)                                                               \
    static void name(const struct kernel_gemm *g, const float *a, const float *b, float *c,        \
                     size_t cols)                                                                  \
    {                                                                                              \
        uint32_t i = 0;                                                                            \
        for (; i + (tile) <= g->m; i += (tile)) {                                                  \
            gemm_tile(tile, vecs, g, a + i * g->a_row, b, c + i * g->ldc, cols);                   \
        }                                                                                          \
        for (; (tile) > TILE_REST && i + TILE_REST <= g->m; i += TILE_REST) {                      \
            gemm_tile(TILE_REST, vecs, g, a + i * g->a_row, b, c + i * g->ldc, cols);              \
        }                                                                                          \
        for (; i < g->m; i++) {                                                                    \
            gemm_tile(1, vecs, g, a + i * g->a_row, b, c + i * g->ldc, cols);                      \
        }                                                                                          \
    }
GEMM_STRIP(gemm_strip_1, 1, TILE_1)
GEMM_STRIP(gemm_strip_2, 2, TILE_2)
GEMM_STRIP(gemm_strip_3, 3, TILE_3)
GEMM_STRIP(gemm_strip_4, 4, TILE_4)
#undef GEMM_STRIP
#undef SUM_ROWS
#undef STRIP_COLS

static void gemm(const struct kernel_gemm *g, const float *a, const float *b, float *c)
{
    for (size_t col = 0; col < g->n; col += STRIP_VECS * VEC) {
        size_t cols = g->n - col < STRIP_VECS * VEC ? g->n - col : STRIP_VECS * VEC;
        switch ((cols + VEC - 1) / VEC) {
        case 1:
            gemm_strip_1(g, a, b + col, c + col, cols);
            break;
        case 2:
            gemm_strip_2(g, a, b + col, c + col, cols);
            break;
        case 3:
            gemm_strip_3(g, a, b + col, c + col, cols);
            break;
        default:
            gemm_strip_4(g, a, b + col, c + col, cols);
        }
    }
}

#endif
