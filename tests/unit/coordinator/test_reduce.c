/* test_reduce.c - the sum is exact in any order and grouping, within its stated bound of the true
 * one; what must not be added is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/reduce.h"

enum { COUNT = 501, UNITS = 40 };

static float exact(uint32_t unit, uint32_t i)
{
    float scale = (float)(1 << (unit % 5)) * (i % 3 ? 0.01f : 100.0f);
    return (rng_unit(unit + 1, i) - 0.5f) * scale;
}

/* What a worker does: one rounding of each unit to fixed point. */
static int64_t fixed(uint32_t unit, uint32_t i)
{
    return (int64_t)llrintl((long double)exact(unit, i) * 0x1p40L);
}

struct payload {
    uint32_t units[UNITS], labels[UNITS];
    int64_t loss[UNITS];
    unsigned char bytes[COUNT * 8 + 1];
    struct reduce_job job;
};

/* A job of units first .. first + n - 1 of order; the payload lies unaligned. */
static void make_job(struct payload *p, const uint32_t *order, uint32_t first, uint32_t n)
{
    for (uint32_t u = 0; u < n; u++) {
        p->units[u] = order[first + u];
        p->labels[u] = 3;
        p->loss[u] = (int64_t)1 << 40;
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        int64_t sum = 0;
        for (uint32_t u = 0; u < n; u++) {
            sum += fixed(p->units[u], i);
        }
        memcpy(p->bytes + 1 + 8 * i, &sum, sizeof sum);
    }
    p->job = (struct reduce_job){.n_units = n,
                                 .units = p->units,
                                 .loss = p->loss,
                                 .labels = p->labels,
                                 .payload = p->bytes + 1,
                                 .bytes = COUNT * 8};
    hash_xxh128(p->bytes + 1, COUNT * 8, p->job.digest);
}

static void sum_in_random_groups(struct reduce *r, uint64_t seed, float *gradient)
{
    static struct payload p;
    uint32_t order[UNITS];
    struct reduce_total total;
    for (uint32_t i = 0; i < UNITS; i++) {
        order[i] = i;
    }
    rng_shuffle(seed, order, UNITS);
    assert_int_equal(reduce_begin(r, 9, UNITS, UNITS), OK);
    for (uint32_t at = 0, n; at < UNITS; at += n) {
        n = 1 + (uint32_t)rng_below(seed, 1000 + at, 5);
        n = n < UNITS - at ? n : UNITS - at;
        make_job(&p, order, at, n);
        assert_int_equal(reduce_add(r, 9, &p.job), OK);
    }
    assert_int_equal(reduce_finish(r, gradient, &total), OK);
    assert_true(total.loss == UNITS && total.labels == 3 * UNITS && total.units == UNITS);
}

static void test_order_and_grouping_change_no_bit(void **state)
{
    (void)state;
    struct reduce *r = NULL;
    float first[COUNT];
    float other[COUNT];
    assert_int_equal(reduce_new(COUNT, &r), OK);
    sum_in_random_groups(r, 1, first);
    for (uint64_t seed = 2; seed < 30; seed++) {
        sum_in_random_groups(r, seed, other);
        assert_memory_equal(first, other, sizeof first);
    }
    reduce_free(&r);
}

static void test_result_lies_within_the_stated_bound_of_the_long_double_sum(void **state)
{
    (void)state;
    struct reduce *r = NULL;
    float gradient[COUNT];
    assert_int_equal(reduce_new(COUNT, &r), OK);
    sum_in_random_groups(r, 3, gradient);
    for (uint32_t i = 0; i < COUNT; i++) {
        long double sum = 0.0L;
        for (uint32_t u = 0; u < UNITS; u++) {
            sum += (long double)exact(u, i);
        }
        long double off = fabsl((long double)gradient[i] - sum);
        long double bound = UNITS * 0x1p-41L + 0x1p-24L * fabsl((long double)gradient[i]);
        if (!(off <= bound)) {
            fail_msg("element %u is off by %Lg, at most %Lg is stated", i, off, bound);
        }
    }
    reduce_free(&r);
}

static void test_each_unit_counts_once_and_bad_sums_are_refused_whole(void **state)
{
    (void)state;
    static struct payload p;
    static struct payload q;
    const uint32_t order[] = {0, 1, 2, 3};
    struct reduce *r = NULL;
    struct reduce_total total;
    float gradient[COUNT];
    float clean[COUNT];
    assert_int_equal(reduce_new(COUNT, &r), OK);
    assert_int_equal(reduce_begin(r, 5, 4, 4), OK);
    make_job(&p, order, 0, 2);
    make_job(&q, order, 2, 2);
    assert_int_equal(reduce_add(r, 4, &p.job), ERR_STALE);
    assert_int_equal(reduce_add(r, 5, &p.job), OK);
    assert_int_equal(reduce_add(r, 5, &p.job), ERR_STATE);
    assert_int_equal(reduce_finish(r, gradient, &total), ERR_STATE);
    q.bytes[77] ^= 1;
    assert_int_equal(reduce_add(r, 5, &q.job), ERR_CORRUPT);
    q.bytes[77] ^= 1;
    q.job.bytes -= 8;
    assert_int_equal(reduce_add(r, 5, &q.job), ERR_RANGE);
    q.job.bytes += 8;
    q.units[1] = 4;
    assert_int_equal(reduce_add(r, 5, &q.job), ERR_RANGE);
    q.units[1] = 2;
    assert_int_equal(reduce_add(r, 5, &q.job), ERR_STATE);
    q.units[1] = 3;
    assert_int_equal(reduce_add(r, 5, &q.job), OK);
    assert_int_equal(reduce_finish(r, gradient, &total), OK);
    assert_int_equal(reduce_begin(r, 6, 4, 4), OK);
    make_job(&p, order, 0, 4);
    assert_int_equal(reduce_add(r, 6, &p.job), OK);
    assert_int_equal(reduce_finish(r, clean, &total), OK);
    assert_memory_equal(clean, gradient, sizeof clean);
    /* The last of the four as an anchor: its loss is counted apart. */
    assert_int_equal(reduce_begin(r, 7, 4, 3), OK);
    assert_int_equal(reduce_add(r, 7, &p.job), OK);
    const double all = total.loss;
    assert_int_equal(reduce_finish(r, gradient, &total), OK);
    assert_true(total.loss > 0.0 && total.anchor > 0.0 && total.loss + total.anchor == all);
    assert_memory_equal(clean, gradient, sizeof clean);
    reduce_free(&r);
}

static void test_element_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    const uint32_t unit = 0;
    const uint32_t labels = 1;
    const int64_t loss = 0;
    int64_t sum = (int64_t)1 << 52;
    struct reduce *r = NULL;
    struct reduce_job job = {.n_units = 1,
                             .units = &unit,
                             .loss = &loss,
                             .labels = &labels,
                             .payload = &sum,
                             .bytes = sizeof sum};
    assert_int_equal(reduce_new(1, &r), OK);
    const int64_t beyond[] = {((int64_t)1 << 52) + 1, -((int64_t)1 << 52) - 1, INT64_MAX,
                              INT64_MIN};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        assert_int_equal(reduce_begin(r, 1, 1, 1), OK);
        sum = beyond[i];
        hash_xxh128(&sum, sizeof sum, job.digest);
        assert_int_equal(reduce_add(r, 1, &job), ERR_RANGE);
    }
    sum = -((int64_t)1 << 52);
    hash_xxh128(&sum, sizeof sum, job.digest);
    assert_int_equal(reduce_add(r, 1, &job), OK);
    assert_int_equal(reduce_begin(r, 1, LIMIT_STEP_UNITS + 1, LIMIT_STEP_UNITS + 1), ERR_RANGE);
    assert_int_equal(reduce_begin(r, 1, 0, 0), ERR_RANGE);
    reduce_free(&r);
}

static void test_no_memory_is_an_error(void **state)
{
    (void)state;
    struct reduce *r = NULL;
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(reduce_new(8, &r), ERR_NOMEM);
        mem_fail_after(0);
    }
}

static void test_every_unit_of_the_fullest_step_is_told_apart(void **state)
{
    (void)state;
    struct reduce *r = NULL;
    int64_t sum = 0;
    float gradient;
    struct reduce_total total;
    assert_int_equal(reduce_new(1, &r), OK);
    for (int round = 0; round < 2; round++) { /* a step begins without the units of the last */
        assert_int_equal(reduce_begin(r, 1, LIMIT_STEP_UNITS, LIMIT_STEP_UNITS), OK);
        for (uint32_t unit = 0; unit < LIMIT_STEP_UNITS; unit++) {
            const int64_t loss = -((int64_t)1 << 40);
            const uint32_t labels = unit;
            struct reduce_job job = {.n_units = 1,
                                     .units = &unit,
                                     .loss = &loss,
                                     .labels = &labels,
                                     .payload = &sum,
                                     .bytes = sizeof sum};
            sum = (int64_t)unit - 7;
            hash_xxh128(&sum, sizeof sum, job.digest);
            assert_int_equal(reduce_finish(r, &gradient, &total), ERR_STATE);
            assert_int_equal(reduce_add(r, 1, &job), OK);
            assert_int_equal(reduce_add(r, 1, &job), ERR_STATE);
        }
        assert_int_equal(reduce_finish(r, &gradient, &total), OK);
        const int64_t all = (int64_t)LIMIT_STEP_UNITS * (LIMIT_STEP_UNITS - 1) / 2;
        assert_true(gradient == (float)(all - 7 * LIMIT_STEP_UNITS) * 0x1p-40f);
        assert_true(total.loss == -(double)LIMIT_STEP_UNITS && total.anchor == 0.0);
        assert_int_equal(total.labels, all);
    }
    reduce_free(&r);
    assert_null(r);
}

static void test_nothing_is_added_before_a_step_begins_and_no_empty_job(void **state)
{
    (void)state;
    static struct payload p;
    const uint32_t order[] = {0, 1};
    struct reduce *r = NULL;
    struct reduce_total total;
    float gradient[COUNT];
    assert_int_equal(reduce_new(COUNT, &r), OK);
    make_job(&p, order, 0, 1);
    assert_int_equal(reduce_add(r, 0, &p.job), ERR_STALE);
    assert_int_equal(reduce_finish(r, gradient, &total), ERR_STATE);
    assert_int_equal(reduce_begin(r, 0, 1, 1), OK);
    p.job.n_units = 0;
    assert_int_equal(reduce_add(r, 0, &p.job), ERR_RANGE);
    p.job.n_units = 1;
    assert_int_equal(reduce_add(r, 0, &p.job), OK);
    reduce_free(&r);
}

/* So many units, so many times the bound of one. */
static void test_a_job_of_several_units_may_sum_to_several_times_the_limit(void **state)
{
    (void)state;
    const uint32_t units[] = {0, 1, 2};
    const uint32_t labels[] = {1, 1, 1};
    const int64_t loss[] = {0, 0, 0};
    for (int side = -1; side <= 1; side += 2) {
        for (int64_t beyond = 0; beyond < 2; beyond++) {
            int64_t sum = side * (3 * ((int64_t)1 << 52) + beyond);
            struct reduce *r = NULL;
            struct reduce_job job = {.n_units = 3,
                                     .units = units,
                                     .loss = loss,
                                     .labels = labels,
                                     .payload = &sum,
                                     .bytes = sizeof sum};
            hash_xxh128(&sum, sizeof sum, job.digest);
            assert_int_equal(reduce_new(1, &r), OK);
            assert_int_equal(reduce_begin(r, 1, 3, 3), OK);
            assert_int_equal(reduce_add(r, 1, &job), beyond ? ERR_RANGE : OK);
            reduce_free(&r);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_grouping_change_no_bit),
        cmocka_unit_test(test_result_lies_within_the_stated_bound_of_the_long_double_sum),
        cmocka_unit_test(test_each_unit_counts_once_and_bad_sums_are_refused_whole),
        cmocka_unit_test(test_element_beyond_the_limit_is_refused),
        cmocka_unit_test(test_no_memory_is_an_error),
        cmocka_unit_test(test_every_unit_of_the_fullest_step_is_told_apart),
        cmocka_unit_test(test_nothing_is_added_before_a_step_begins_and_no_empty_job),
        cmocka_unit_test(test_a_job_of_several_units_may_sum_to_several_times_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
