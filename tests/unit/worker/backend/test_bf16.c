/* test_bf16.c - bfloat16 products against double over the rounded factors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "worker/backend/bf16.h"
#include "worker/backend/kernels.h"

enum { SEED = 5, OUT = 40, IN = 72, ROWS = 19, TILE = 16 };

static float rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void fill(float *x, size_t n, uint64_t key)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = rng_unit(SEED + key, i) - 0.5f;
    }
}

static void product(struct bf16_room *room, const struct bf16_matrix *m, bool backward,
                    uint32_t rows, const float *x, float *y, bool onto)
{
    size_t elements = (size_t)rows * (backward ? OUT : IN);
    kernels_v4.to_bf16(elements, x, bf16_input(room, elements));
    for (uint32_t i = 0; i < bf16_tiles(m, backward); i++) {
        bf16_tile(room, 0, m, backward, i, rows, y, onto);
    }
}

static void test_products_are_those_of_rounded_factors(void **state)
{
    (void)state;
    static float w[OUT * IN], x[ROWS * IN], y[ROWS * OUT], dy[ROWS * OUT], dx[ROWS * IN];
    struct bf16_matrix *m = NULL;
    struct bf16_room *room = NULL;
    fill(w, OUT * IN, 1);
    fill(x, ROWS * IN, 2);
    fill(dy, ROWS * OUT, 3);
    assert_int_equal(bf16_pack(w, OUT, IN, TILE, &m), OK);
    assert_int_equal(bf16_reserve(&room, 1, 10), OK);
    assert_int_equal(bf16_reserve(&room, 1, ROWS * IN), OK);
    for (uint32_t rows = 1; rows <= ROWS; rows += 6) {
        product(room, m, false, rows, x, y, false);
        product(room, m, false, rows, x, y, true);
        product(room, m, true, rows, dy, dx, false);
        for (size_t r = 0; r < rows; r++) {
            for (size_t o = 0; o < OUT; o++) {
                double sum = 0;
                for (size_t i = 0; i < IN; i++) {
                    sum += (double)rounded(x[r * IN + i]) * (double)rounded(w[o * IN + i]);
                }
                assert_true(fabs((double)y[r * OUT + o] - 2 * sum) <= 1e-5);
            }
            for (size_t i = 0; i < IN; i++) {
                double sum = 0;
                for (size_t o = 0; o < OUT; o++) {
                    sum += (double)rounded(dy[r * OUT + o]) * (double)rounded(w[o * IN + i]);
                }
                assert_true(fabs((double)dx[r * IN + i] - sum) <= 1e-5);
            }
        }
    }
    x[3] = NAN;
    product(room, m, false, 1, x, y, false);
    assert_true(isnan(y[0]));
    bf16_matrix_free(&m);
    bf16_room_free(&room);
}

/* More shapes than a room keeps primitives for. */
static void test_many_row_counts_pass_through_one_room(void **state)
{
    (void)state;
    enum { MOST = 150 };
    static float w[OUT * IN], x[MOST * IN], y[MOST * OUT], again[MOST * OUT];
    struct bf16_matrix *m = NULL;
    struct bf16_room *room = NULL;
    fill(w, OUT * IN, 1);
    fill(x, MOST * IN, 2);
    assert_int_equal(bf16_pack(w, OUT, IN, TILE, &m), OK);
    assert_int_equal(bf16_reserve(&room, 1, MOST * IN), OK);
    product(room, m, false, 7, x, y, false);
    for (uint32_t rows = 1; rows <= MOST; rows++) {
        product(room, m, false, rows, x, again, false);
    }
    product(room, m, false, 7, x, again, false);
    assert_memory_equal(y, again, 7 * OUT * sizeof(float));
    bf16_matrix_free(&m);
    bf16_room_free(&room);
}

int main(void)
{
    if (!bf16_runs_here()) {
        print_message("this CPU has no AVX512_BF16: nothing tested\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_are_those_of_rounded_factors),
        cmocka_unit_test(test_many_row_counts_pass_through_one_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
