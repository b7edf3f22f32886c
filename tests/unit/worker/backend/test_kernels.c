/* test_kernels.c - every kernel of every level that this CPU runs, against double; backward kernels
 * against finite differences of the double forward. Sizes include odd ones and tails. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "worker/backend/kernels.h"

enum { ROWS = 5, MOST = 77, SEED = 4711 };

static const size_t widths[] = {1, 6, 15, 16, 17, 48, MOST};

#define FOR_LEVELS(k)                                                                              \
    for (int level_ = 0; level_ < KERNELS_LEVELS; level_++)                                        \
        for (const struct kernels *k = kernels_level_runs_here((enum kernels_level)level_)         \
                                           ? kernels_of((enum kernels_level)level_)                \
                                           : NULL;                                                 \
             k; k = NULL)

#define FOR_WIDTHS(n)                                                                              \
    for (size_t w_ = 0, n = widths[0]; w_ < sizeof widths / sizeof widths[0];                      \
         w_++, n = widths[w_ < 7 ? w_ : 0])

static void fill(float *x, size_t n, uint64_t key, float scale)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (2.0f * rng_unit(SEED + key, i) - 1.0f) * scale;
    }
}

static void near(float got, double expected, double bound, const char *what)
{
    if (!(fabs((double)got - expected) <= bound * (1 + fabs(expected)))) {
        fail_msg("%s: %.9g, %.9g expected", what, (double)got, expected);
    }
}

static void test_rmsnorm_and_its_gradient(void **state)
{
    (void)state;
    FOR_LEVELS(k)
    FOR_WIDTHS(n)
    {
        float x[ROWS * MOST], w[MOST], y[ROWS * MOST], rstd[ROWS], dy[ROWS * MOST], dx[ROWS * MOST];
        fill(x, ROWS * n, 1, 2);
        fill(w, n, 2, 1);
        fill(dy, ROWS * n, 3, 1);
        fill(dx, ROWS * n, 4, 1);
        float before[ROWS * MOST];
        memcpy(before, dx, sizeof before);
        k->rmsnorm(ROWS, n, 1e-5f, x, w, y, rstd);
        k->rmsnorm_backward(ROWS, n, x, w, rstd, dy, dx, 1);
        for (size_t row = 0; row < ROWS; row++) {
            double sum = 0;
            double pull = 0;
            for (size_t i = 0; i < n; i++) {
                double v = (double)x[row * n + i];
                sum += v * v;
                pull += (double)dy[row * n + i] * (double)w[i] * v;
            }
            double scale = 1 / sqrt(sum / (double)n + 1e-5);
            for (size_t i = 0; i < n; i++) {
                size_t at = row * n + i;
                near(y[at], (double)x[at] * scale * (double)w[i], 1e-6, "rmsnorm");
                near(dx[at],
                     (double)before[at] + scale * (double)dy[at] * (double)w[i] -
                         (double)x[at] * scale * scale * scale * pull / (double)n,
                     1e-5, "rmsnorm_backward");
            }
        }
        memcpy(before, dx, sizeof before);
        k->rmsnorm_backward(ROWS, n, x, w, rstd, dy, before, 0);
        k->rmsnorm_backward(ROWS, n, x, w, rstd, dy, before, 1);
        k->rmsnorm_backward(ROWS, n, x, w, rstd, dy, dx, 0);
        for (size_t i = 0; i < ROWS * n; i++) {
            near(before[i], 2 * (double)dx[i], 1e-6, "accumulate");
        }
    }
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static void test_swiglu_and_its_gradient(void **state)
{
    (void)state;
    FOR_LEVELS(k)
    FOR_WIDTHS(n)
    {
        float gu[2 * ROWS * MOST], h[ROWS * MOST], dh[ROWS * MOST], d[2 * ROWS * MOST];
        fill(gu, 2 * ROWS * n, 1, 6);
        gu[0] = 120.0f; /* saturated both ways */
        gu[2 * n] = -120.0f;
        fill(dh, ROWS * n, 2, 1);
        memcpy(d, gu, sizeof d);
        k->swiglu(ROWS, n, gu, h);
        k->swiglu_backward(ROWS, n, d, dh);
        for (size_t row = 0; row < ROWS; row++) {
            for (size_t i = 0; i < n; i++) {
                double g = (double)gu[row * 2 * n + i];
                double u = (double)gu[row * 2 * n + n + i];
                double out = (double)dh[row * n + i];
                double slope = (silu(g + 1e-5) - silu(g - 1e-5)) / 2e-5;
                near(h[row * n + i], silu(g) * u, 1e-6, "swiglu");
                near(d[row * 2 * n + i], out * u * slope, 1e-5, "swiglu_backward gate");
                near(d[row * 2 * n + n + i], out * silu(g), 1e-6, "swiglu_backward up");
            }
        }
    }
}

static void test_softmax_sees_its_limit_and_its_gradient_follows(void **state)
{
    (void)state;
    enum { QUERIES = 3, PER = 2, LD = 80, ALL = QUERIES * PER };
    FOR_LEVELS(k)
    FOR_WIDTHS(n)
    {
        float s[ALL * LD], p[ALL * LD], ds[ALL * LD], most[ALL], inverse[ALL], delta[ALL];
        float out[ALL * LD];
        uint32_t limits[QUERIES];
        for (uint32_t i = 0; i < QUERIES; i++) {
            limits[i] = (uint32_t)(n > i ? n - i : 1);
        }
        const struct kernel_softmax b = {QUERIES, PER, (uint32_t)n, LD, limits};
        fill(s, ALL * LD, 1, 9);
        fill(ds, ALL * LD, 2, 1);
        fill(delta, ALL, 3, 1);
        memcpy(p, s, sizeof p);
        memcpy(out, ds, sizeof out);
        k->softmax(&b, p, most, inverse);
        float again[ALL * LD];
        memcpy(again, s, sizeof again);
        k->softmax_backward(&b, again, out, most, inverse, delta);
        for (size_t row = 0; row < ALL; row++) {
            uint32_t seen = limits[row / PER];
            double sum = 0;
            for (uint32_t i = 0; i < seen; i++) {
                sum += exp((double)s[row * LD + i]);
            }
            for (uint32_t i = 0; i < n; i++) {
                size_t at = row * LD + i;
                double v = i < seen ? exp((double)s[at]) / sum : 0;
                near(p[at] * inverse[row], v, 2e-6, "softmax");
                near(again[at], v, 2e-6, "softmax again");
                near(out[at], v * ((double)ds[at] - (double)delta[row]), 2e-6, "softmax_backward");
            }
        }
    }
}

static void test_heads_turn_by_position_and_back(void **state)
{
    (void)state;
    enum { N = 4, GROUPS = 2, PER = 3, E = 6, LD = 50, COL = 7, POSITIONS = 9 };
    float table[POSITIONS * E];
    for (size_t p = 0; p < POSITIONS; p++) {
        for (size_t i = 0; i < E / 2; i++) {
            double angle = (double)p * pow(100.0, -2.0 * (double)i / E);
            table[p * E + i] = (float)cos(angle);
            table[p * E + E / 2 + i] = (float)sin(angle);
        }
    }
    const uint32_t positions[N] = {0, 5, 8, 1};
    FOR_LEVELS(k)
    {
        float flat[N * LD], packed[GROUPS * N * PER * E], back[N * LD], dots[GROUPS * N * PER];
        fill(flat, N * LD, 1, 1);
        memset(back, 0, sizeof back);
        struct kernel_heads h = {.rows = N,
                                 .groups = GROUPS,
                                 .per = PER,
                                 .head_dim = E,
                                 .ld = LD,
                                 .col = COL,
                                 .table = table,
                                 .positions = positions,
                                 .scale = 1.0f};
        k->heads_split(&h, flat, packed);
        k->heads_merge(&h, packed, back);
        k->heads_dot(&h, flat, flat, dots);
        for (size_t row = 0; row < N; row++) {
            for (size_t head = 0; head < GROUPS * PER; head++) {
                size_t at = ((head / PER * N + row) * PER + head % PER);
                double dot = 0;
                for (size_t i = 0; i < E; i++) {
                    size_t other = i < E / 2 ? i + E / 2 : i - E / 2;
                    const float *x = flat + row * LD + COL + head * E;
                    double angle = positions[row] * pow(100.0, -2.0 * (double)(i % (E / 2)) / E);
                    double turned = (double)x[i] * cos(angle) +
                                    (i < E / 2 ? -1 : 1) * (double)x[other] * sin(angle);
                    near(packed[at * E + i], turned, 1e-6, "heads_split");
                    near(back[row * LD + COL + head * E + i], (double)x[i], 1e-6, "heads_merge");
                    dot += (double)x[i] * (double)x[i];
                }
                near(dots[at], dot, 1e-6, "heads_dot");
            }
        }
    }
}

static void test_the_head_block_by_block_equals_the_whole(void **state)
{
    (void)state;
    enum { V = 100, BLOCK = 37, D = 5 };
    FOR_LEVELS(k)
    {
        float logits[ROWS * V], w[V * D], most[ROWS], sum[ROWS], mix[ROWS * D], picked[ROWS];
        uint32_t targets[ROWS] = {0, 36, 37, 99, 50};
        uint32_t rows[ROWS] = {0, 1, 2, 3, 4};
        fill(logits, ROWS * V, 1, 8);
        fill(w, V * D, 2, 1);
        logits[1 * V + 36] = 60.0f; /* a confident row */
        for (size_t i = 0; i < ROWS; i++) {
            most[i] = -INFINITY;
            sum[i] = 0;
        }
        memset(mix, 0, sizeof mix);
        for (uint32_t first = 0; first < V; first += BLOCK) {
            float block[ROWS * BLOCK];
            uint32_t cols = V - first < BLOCK ? V - first : BLOCK;
            for (size_t r = 0; r < ROWS; r++) {
                memcpy(block + r * BLOCK, logits + r * V + first, cols * sizeof(float));
            }
            const struct kernel_head_block b = {ROWS,    cols, first, D,  BLOCK,
                                                targets, most, sum,   mix};
            k->pick(&b, block, ROWS, rows, targets, picked);
            k->head_block(&b, block);
            for (size_t r = 0; r < ROWS; r++) {
                for (size_t c = 0; c < cols; c++) {
                    for (size_t d = 0; d < D; d++) {
                        mix[r * D + d] += block[r * BLOCK + c] * w[(first + c) * D + d];
                    }
                }
            }
        }
        for (size_t r = 0; r < ROWS; r++) {
            double rest = 0;
            double mixed[D] = {0};
            for (size_t v = 0; v < V; v++) {
                double e = v == targets[r] ? 0 : exp((double)logits[r * V + v] - (double)most[r]);
                rest += e;
                for (size_t d = 0; d < D; d++) {
                    mixed[d] += e * (double)w[v * D + d];
                }
            }
            near(picked[r], (double)logits[r * V + targets[r]], 0, "pick");
            assert_true(fabs((double)sum[r] - rest) <= 2e-6 * rest);
            for (size_t d = 0; d < D; d++) {
                assert_true(fabs((double)mix[r * D + d] - mixed[d]) <= 3e-6 * rest);
            }
        }
    }
}

static void test_an_anchor_gives_the_difference_of_two_distributions_and_their_kl(void **state)
{
    (void)state;
    FOR_LEVELS(k)
    FOR_WIDTHS(n)
    {
        float l[ROWS * MOST], b[ROWS * MOST], kl[ROWS];
        struct kernel_anchor_row row[ROWS];
        double p[ROWS * MOST], q[ROWS * MOST], wanted[ROWS];
        fill(l, ROWS * n, 1, 4);
        fill(b, ROWS * n, 2, 4);
        memcpy(b, l, n * sizeof *b); /* the first row has nothing to say */
        for (size_t r = 0; r < ROWS; r++) {
            const float *const at[2] = {l + r * n, b + r * n};
            double *const out[2] = {p + r * n, q + r * n};
            double sum[2] = {0, 0};
            for (size_t i = 0; i < 2 * n; i++) {
                out[i / n][i % n] = exp((double)at[i / n][i % n] - 4.0);
                sum[i / n] += out[i / n][i % n];
            }
            row[r] = (struct kernel_anchor_row){.most = 4.0f,
                                                .base_most = 4.0f,
                                                .inverse = (float)(1 / sum[1]),
                                                .ratio = (float)(sum[1] / sum[0]),
                                                .between = (float)(log(sum[0]) - log(sum[1])),
                                                .weight = 0.5f + (float)r};
            kl[r] = 1.0f;
            wanted[r] = 1.0;
            for (size_t i = 0; i < n; i++) {
                p[r * n + i] /= sum[0];
                q[r * n + i] /= sum[1];
                wanted[r] += q[r * n + i] * log(q[r * n + i] / p[r * n + i]);
            }
        }
        k->anchor_block(ROWS, (uint32_t)n, row, b, l, kl);
        for (size_t i = 0; i < ROWS * n; i++) {
            near(l[i], (double)row[i / n].weight * (p[i] - q[i]), 2e-6, "anchor_block");
            assert_true(i >= n || l[i] == 0.0f);
        }
        for (size_t r = 0; r < ROWS; r++) {
            near(kl[r], wanted[r], 2e-6, "kl");
        }
    }
}

static void test_nan_is_never_hidden(void **state)
{
    (void)state;
    FOR_LEVELS(k)
    {
        float x[40];
        float most = -INFINITY;
        float sum = 0;
        uint32_t target = 39;
        uint32_t limit = 40;
        float inverse;
        const struct kernel_softmax s = {1, 1, 40, 40, &limit};
        const struct kernel_head_block b = {1, 40, 0, 1, 40, &target, &most, &sum, NULL};
        fill(x, 40, 1, 1);
        x[20] = NAN;
        k->head_block(&b, x);
        assert_true(isnan(sum));
        fill(x, 40, 1, 1);
        x[3] = NAN;
        k->softmax(&s, x, &most, &inverse);
        assert_true(isnan(inverse));
    }
}

static void test_rows_are_gathered_scattered_and_scaled(void **state)
{
    (void)state;
    FOR_LEVELS(k)
    {
        float src[4 * 3], dst[2 * 3], sum[4 * 3];
        const uint32_t index[2] = {3, 1};
        const uint32_t to[2] = {2, 2};
        const float coefficient[2] = {0.5f, -2.0f};
        fill(src, 12, 1, 1);
        memcpy(sum, src, sizeof sum);
        k->gather_rows(2, 3, index, src, dst);
        assert_memory_equal(dst, src + 9, 3 * sizeof(float));
        k->scatter_add_rows(2, 3, index, dst, sum);
        near(sum[9], 2 * (double)src[9], 0, "scatter_add_rows");
        memcpy(sum, src, sizeof sum);
        k->add_scaled_rows(2, 3, to, index, coefficient, src, sum);
        near(sum[7], (double)src[7] + 0.5 * (double)src[10] - 2 * (double)src[4], 1e-6,
             "add_scaled_rows");
        k->scale_rows(2, 3, coefficient, dst);
        near(dst[4], -2 * (double)src[4], 0, "scale_rows");
    }
}

static void test_dropout_keeps_the_right_share_and_depends_on_its_key_alone(void **state)
{
    (void)state;
    enum { N = 64, COLS = 200 };
    static float x[N * COLS], y[N * COLS], z[N * COLS];
    uint64_t keys[N];
    for (size_t i = 0; i < N; i++) {
        keys[i] = rng_key(SEED, i, 0, 0);
    }
    for (size_t i = 0; i < N * COLS; i++) {
        x[i] = 1.0f;
    }
    FOR_LEVELS(k)
    {
        size_t kept = 0;
        k->dropout(N, COLS, keys, 5, 0.7f, x, y, 0);
        for (size_t i = 0; i < N * COLS; i++) {
            assert_true(y[i] == 0.0f || fabsf(y[i] - 1.0f / 0.7f) <= 1e-6f);
            kept += y[i] != 0.0f;
        }
        assert_true(fabs((double)kept / (N * COLS) - 0.7) <= 0.02);
        /* the same row elsewhere, and twice as accumulation */
        k->dropout(1, COLS, keys + 9, 5, 0.7f, x, z, 0);
        assert_memory_equal(z, y + 9 * COLS, COLS * sizeof(float));
        k->dropout(1, COLS, keys + 9, 5, 0.7f, x, z, 1);
        assert_true(fabsf(z[0] - 2 * y[9 * COLS]) <= 1e-6f);
        k->dropout(N, COLS, keys, 6, 0.7f, x, z, 0);
        assert_memory_not_equal(z, y, sizeof z);
    }
}

static void test_fixed_point_rounds_to_even_and_refuses_what_does_not_fit(void **state)
{
    (void)state;
    FOR_LEVELS(k)
    {
        const float g[] = {0.0f,        -0.0f, 0x1p-40f,   -0x1p-40f,      0x1.8p-40f, 0x1p-41f,
                           0x1.8p-41f,  1.0f,  -4095.999f, 0x1.fffffep11f, 0x1p-149f,  -0x1.4p-39f,
                           3.14159274f, 1e-9f, -1e-9f,     7.0f,           0x1.8p-40f, -0x1.8p-40f};
        enum { N = sizeof g / sizeof g[0] };
        int64_t sum[N];
        double squares = 0;
        for (size_t i = 0; i < N; i++) {
            sum[i] = (int64_t)i;
        }
        double got = k->add_fixed(N, g, sum);
        for (size_t i = 0; i < N; i++) {
            long double exact = (long double)g[i] * 0x1p40L;
            int64_t rounded = (int64_t)nearbyintl(exact);
            assert_int_equal(sum[i] - (int64_t)i, rounded);
            squares += (double)rounded * 0x1p-40 * ((double)rounded * 0x1p-40);
        }
        assert_true(fabs(got - squares) <= 1e-12 * squares);
        assert_int_equal(k->first_refused(N, g), N);
        static float many[10000];
        memset(many, 0, sizeof many);
        const float bad[] = {NAN, INFINITY, -INFINITY, 4096.0f, -4096.0f};
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            many[9001] = bad[i];
            assert_int_equal(k->first_refused(10000, many), 9001);
            many[7] = bad[i];
            assert_int_equal(k->first_refused(10000, many), 7);
            many[7] = 0;
        }
    }
}

/* Up to 2,047 units of a step add up to what a long double sum says, within the rounding bound of
 * half of 2^-40 a unit. */
static void test_the_sum_of_a_step_stays_within_its_bound(void **state)
{
    (void)state;
    enum { UNITS = 2047, N = 33 };
    FOR_LEVELS(k)
    {
        int64_t sum[N] = {0};
        long double exact[N] = {0};
        for (uint64_t unit = 0; unit < UNITS; unit++) {
            float g[N];
            fill(g, N, unit, unit % 3 == 0 ? 4000.0f : 1e-3f);
            (void)k->add_fixed(N, g, sum);
            for (size_t i = 0; i < N; i++) {
                exact[i] += (long double)g[i];
            }
        }
        for (size_t i = 0; i < N; i++) {
            long double gap = fabsl((long double)sum[i] * 0x1p-40L - exact[i]);
            assert_true(gap <= UNITS * 0x1p-41L);
        }
    }
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm_and_its_gradient),
        cmocka_unit_test(test_swiglu_and_its_gradient),
        cmocka_unit_test(test_softmax_sees_its_limit_and_its_gradient_follows),
        cmocka_unit_test(test_heads_turn_by_position_and_back),
        cmocka_unit_test(test_the_head_block_by_block_equals_the_whole),
        cmocka_unit_test(test_an_anchor_gives_the_difference_of_two_distributions_and_their_kl),
        cmocka_unit_test(test_nan_is_never_hidden),
        cmocka_unit_test(test_rows_are_gathered_scattered_and_scaled),
        cmocka_unit_test(test_dropout_keeps_the_right_share_and_depends_on_its_key_alone),
        cmocka_unit_test(test_fixed_point_rounds_to_even_and_refuses_what_does_not_fit),
        cmocka_unit_test(test_the_sum_of_a_step_stays_within_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
