/* test_kernels_gemm.c - the thin product and the transpose of every level that this CPU runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "worker/backend/kernels.h"

enum { SEED = 815, SIDE_MAX = 131, GUARD = 4, CASES = 400 };

struct problem {
    struct kernel_gemm g;
    bool a_transposed;
    float *a, *b, *c;
    size_t c_floats;
};

static float *numbers(size_t n, uint64_t key)
{
    float *x = mem_aligned(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = 2.0f * rng_unit(SEED + key, i) - 1.0f;
    }
    return x;
}

/* Random sides, leading dimensions and flags of a case; b ends right behind its last element. */
static struct problem problem(uint64_t number)
{
    struct problem p = {0};
    uint64_t key = rng_key(SEED, number, 0, 0);
    struct kernel_gemm *g = &p.g;
    g->m = 1 + (uint32_t)rng_below(key, 0, SIDE_MAX);
    g->n = 1 + (uint32_t)rng_below(key, 1, SIDE_MAX);
    g->k = (uint32_t)rng_below(key, 2, SIDE_MAX);
    p.a_transposed = rng_below(key, 3, 2) == 1;
    size_t lda = (p.a_transposed ? g->m : g->k) + rng_below(key, 4, 3);
    g->a_row = p.a_transposed ? 1 : lda;
    g->a_col = p.a_transposed ? lda : 1;
    g->ldb = g->n + rng_below(key, 5, 3);
    g->ldc = g->n + rng_below(key, 6, GUARD);
    g->alpha = 0.5f;
    g->onto = rng_below(key, 7, 2) == 1;
    p.a = numbers(1 + lda * (p.a_transposed ? g->k : g->m), key + 1);
    p.b = numbers((g->k > 0 ? g->ldb * (g->k - 1) + g->n : 0) + 1, key + 2);
    p.c_floats = g->ldc * g->m + GUARD;
    p.c = numbers(p.c_floats, key + 3);
    return p;
}

static void done(struct problem *p)
{
    mem_free(p->a);
    mem_free(p->b);
    mem_free(p->c);
}

static double expected(const struct problem *p, const float *before, size_t row, size_t col)
{
    double sum = 0;
    for (size_t k = 0; k < p->g.k; k++) {
        sum += (double)p->a[row * p->g.a_row + k * p->g.a_col] * (double)p->b[k * p->g.ldb + col];
    }
    return (p->g.onto ? (double)before[row * p->g.ldc + col] : 0.0) + (double)p->g.alpha * sum;
}

static void check(const struct kernels *k, struct problem *p)
{
    float *before = mem_aligned(p->c_floats, sizeof *before);
    assert_non_null(before);
    memcpy(before, p->c, p->c_floats * sizeof *before);
    k->gemm(&p->g, p->a, p->b, p->c);
    for (size_t i = 0; i < p->c_floats; i++) {
        size_t row = i / p->g.ldc;
        size_t col = i % p->g.ldc;
        if (row >= p->g.m || col >= p->g.n) {
            assert_memory_equal(&p->c[i], &before[i], sizeof *before);
        } else if (!(fabs((double)p->c[i] - expected(p, before, row, col)) <= 2e-5)) {
            fail_msg("%u x %u x %u, element %zu, %zu: %g, %g expected", p->g.m, p->g.n, p->g.k, row,
                     col, (double)p->c[i], expected(p, before, row, col));
        }
    }
    mem_free(before);
}

static void test_products_of_any_size_are_right_and_write_nothing_else(void **state)
{
    (void)state;
    for (int level = 0; level < KERNELS_LEVELS; level++) {
        if (!kernels_level_runs_here((enum kernels_level)level)) {
            continue;
        }
        for (uint64_t number = 0; number < CASES; number++) {
            struct problem p = problem(number);
            check(kernels_of((enum kernels_level)level), &p);
            done(&p);
        }
    }
}

/* What lets a team cut a product anywhere. */
static void test_an_element_has_the_same_bits_in_any_part_of_the_product(void **state)
{
    (void)state;
    for (int level = 0; level < KERNELS_LEVELS; level++) {
        if (!kernels_level_runs_here((enum kernels_level)level)) {
            continue;
        }
        const struct kernels *k = kernels_of((enum kernels_level)level);
        for (uint64_t number = 0; number < CASES; number++) {
            struct problem p = problem(number);
            p.g.onto = false;
            k->gemm(&p.g, p.a, p.b, p.c);
            uint32_t row = (uint32_t)rng_below(SEED, number, p.g.m);
            uint32_t col = (uint32_t)rng_below(SEED + 1, number, p.g.n);
            float *part = numbers((size_t)p.g.m * p.g.n, 9);
            struct kernel_gemm g = p.g;
            g.m -= row;
            g.n -= col;
            g.ldc = p.g.n;
            k->gemm(&g, p.a + row * g.a_row, p.b + col, part);
            for (size_t i = 0; i < g.m; i++) {
                assert_memory_equal(part + i * g.ldc, p.c + (i + row) * p.g.ldc + col,
                                    g.n * sizeof *part);
            }
            mem_free(part);
            done(&p);
        }
    }
}

static void test_a_transpose_turns_every_element_and_leaves_the_rest(void **state)
{
    (void)state;
    for (size_t rows = 1; rows <= 35; rows += 2) {
        const size_t cols = 36 - rows;
        const size_t ld = rows + 2;
        float *from = numbers(rows * cols, 1);
        float *to = numbers(cols * ld, 2);
        float *before = numbers(cols * ld, 2);
        kernels_of(kernels_level_native())->transpose(rows, cols, ld, from, to);
        for (size_t i = 0; i < cols * ld; i++) {
            size_t row = i % ld;
            const float *want = row < rows ? &from[row * cols + i / ld] : &before[i];
            assert_memory_equal(&to[i], want, sizeof *to);
        }
        mem_free(from);
        mem_free(to);
        mem_free(before);
    }
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_of_any_size_are_right_and_write_nothing_else),
        cmocka_unit_test(test_an_element_has_the_same_bits_in_any_part_of_the_product),
        cmocka_unit_test(test_a_transpose_turns_every_element_and_leaves_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
