/* test_plan.c - steps, shuffles, weights, packing, sizes of jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/plan.h"

enum { GROUPS = 21 };

static struct plan *planned(const struct plan_config *cfg, struct plan_group groups[GROUPS])
{
    struct plan *p = NULL;
    struct errbuf e = {{0}};
    for (uint32_t i = 0; i < GROUPS; i++) {
        groups[i] = (struct plan_group){
            .rows = 100 + 40 * i, .pairs = 1, .labels_a = 5 + i, .labels_b = 9 + i % 4};
    }
    if (plan_new(cfg, groups, GROUPS, &p, &e) != OK) {
        fail_msg("%s", e.text);
    }
    return p;
}

static void test_every_epoch_is_a_shuffle_of_its_own_with_every_group_once(void **state)
{
    (void)state;
    struct plan_group groups[GROUPS];
    const struct plan_config cfg = {.seed = 4, .epochs = 3, .batch_groups = 8, .unit_tokens = 512};
    struct plan *p = planned(&cfg, groups);
    uint32_t first[GROUPS] = {0};
    assert_int_equal(plan_epoch_steps(p), 3);
    assert_int_equal(plan_steps(p), 9);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        uint32_t seen[GROUPS] = {0};
        uint32_t at = 0;
        bool differs = false;
        for (uint64_t s = 0; s < 3; s++) {
            struct plan_item items[8];
            uint32_t n;
            plan_step(p, epoch * 3 + s, items, &n);
            assert_int_equal(n, s < 2 ? 8 : 5);
            for (uint32_t i = 0; i < n; i++, at++) {
                seen[items[i].group]++;
                differs = differs || (epoch > 0 && first[at] != items[i].group);
                first[at] = epoch == 0 ? items[i].group : first[at];
                assert_true(items[i].w_a == (float)(1.0 / n) && items[i].w_b == items[i].w_a);
            }
        }
        assert_true(epoch == 0 || differs);
        for (uint32_t i = 0; i < GROUPS; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    plan_free(&p);
}

static void test_a_step_is_the_same_whatever_was_asked_before(void **state)
{
    (void)state;
    struct plan_group groups[GROUPS];
    const struct plan_config cfg = {
        .seed = 4, .max_steps = 40, .batch_groups = 8, .unit_tokens = 512};
    struct plan *p = planned(&cfg, groups);
    struct plan *q = planned(&cfg, groups);
    struct plan_item a[8];
    struct plan_item b[8];
    uint32_t n;
    uint32_t m;
    assert_int_equal(plan_steps(p), 40);
    for (uint64_t s = 40; s-- > 0;) {
        plan_step(p, s, a, &n);
        plan_step(q, 39 - s, b, &m);
        plan_step(q, s, b, &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n * sizeof *a);
    }
    plan_free(&p);
    plan_free(&q);
}

static void test_paper_weights_are_means_over_tokens_of_a_micro_batch(void **state)
{
    (void)state;
    struct plan_group groups[GROUPS];
    const struct plan_config cfg = {.seed = 1,
                                    .epochs = 1,
                                    .batch_groups = 10,
                                    .unit_tokens = 512,
                                    .micro_groups = 4,
                                    .normalisation = PLAN_PAPER};
    struct plan *p = planned(&cfg, groups);
    struct plan_item items[10];
    uint32_t n;
    plan_step(p, 0, items, &n);
    assert_int_equal(n, 10);
    for (uint32_t at = 0; at < n; at += 4) {
        uint32_t end = at + 4 < n ? at + 4 : n;
        double labels = 0.0;
        double weights = 0.0;
        for (uint32_t i = at; i < end; i++) {
            labels += groups[items[i].group].labels_a;
            weights += (double)items[i].w_a;
        }
        assert_true(fabs(weights - 1.0 / 3.0) < 1e-6);
        for (uint32_t i = at; i < end; i++) {
            double want = groups[items[i].group].labels_a / labels / 3.0;
            assert_true(fabs((double)items[i].w_a - want) < 1e-7);
        }
    }
    plan_free(&p);
}

static void test_settings_out_of_bounds_are_named(void **state)
{
    (void)state;
    struct plan_group groups[2] = {{.pairs = 1}, {.pairs = 3}};
    struct plan *p = NULL;
    struct errbuf e;
    struct plan_config cfg = {.epochs = 1, .batch_groups = 1, .unit_tokens = 1, .micro_groups = 4};
    assert_int_equal(plan_new(&cfg, groups, 0, &p, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "data.train"));
    cfg.normalisation = PLAN_PAPER;
    assert_int_equal(plan_new(&cfg, groups, 2, &p, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "data.group: pair"));
    cfg.normalisation = PLAN_MEAN;
    cfg.batch_groups = 0;
    assert_int_equal(plan_new(&cfg, groups, 2, &p, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "train.batch_groups"));
    cfg.batch_groups = 1;
    cfg.epochs = 0;
    assert_int_equal(plan_new(&cfg, groups, 2, &p, &e), ERR_RANGE);
    cfg.max_steps = (uint64_t)1 << 40;
    assert_int_equal(plan_new(&cfg, groups, 2, &p, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "train.max_steps"));
}

static void test_trees_are_packed_in_order_and_a_large_one_stands_alone(void **state)
{
    (void)state;
    const uint32_t rows[] = {200, 300, 12, 1, 900, 100, 400, 13};
    const uint32_t first[] = {0, 3, 4, 5, 7};
    const uint32_t count[] = {3, 1, 1, 2, 1};
    struct plan_unit *units = NULL;
    uint32_t n;
    assert_int_equal(plan_pack(rows, 8, 8, 512, 77, &units, &n, NULL), OK);
    assert_int_equal(n, 5);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(units[i].first, first[i]);
        assert_int_equal(units[i].count, count[i]);
        assert_true(units[i].id == ((uint64_t)77 << 32 | i));
    }
    assert_int_equal(units[0].rows, 512);
    assert_int_equal(units[2].rows, 900);
    mem_free(units);
}

static void test_no_unit_has_trees_on_both_sides_of_the_edge(void **state)
{
    (void)state;
    const uint32_t rows[] = {100, 100, 100, 100, 100};
    const uint32_t firsts[][2] = {{0, 1}, {0, 2}, {0, 3}, {0, 4}};
    for (uint32_t edge = 1; edge < 5; edge++) {
        struct plan_unit *units = NULL;
        uint32_t n;
        assert_int_equal(plan_pack(rows, 5, edge, 512, 1, &units, &n, NULL), OK);
        assert_int_equal(n, 2);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(units[i].first, firsts[edge - 1][i]);
            assert_true(units[i].id == (1ull << 32 | i));
        }
        assert_int_equal(units[0].count + units[1].count, 5);
        mem_free(units);
    }
}

static void test_too_many_units_of_a_step_are_refused_with_the_setting(void **state)
{
    (void)state;
    uint32_t rows[LIMIT_STEP_UNITS + 1];
    struct plan_unit *units = NULL;
    uint32_t n;
    struct errbuf e;
    for (uint32_t i = 0; i <= LIMIT_STEP_UNITS; i++) {
        rows[i] = 10;
    }
    assert_int_equal(
        plan_pack(rows, LIMIT_STEP_UNITS + 1, LIMIT_STEP_UNITS + 1, 10, 3, &units, &n, &e),
        ERR_RANGE);
    assert_non_null(strstr(e.text, "unit_tokens"));
    assert_int_equal(plan_pack(rows, LIMIT_STEP_UNITS, LIMIT_STEP_UNITS, 10, 3, &units, &n, &e),
                     OK);
    mem_free(units);
    assert_int_equal(plan_pack(rows, LIMIT_STEP_UNITS + 1, LIMIT_STEP_UNITS + 1, 10, PLAN_EVAL_TAG,
                               &units, &n, &e),
                     OK);
    mem_free(units);
}

static void test_useful_slots_are_the_units_of_the_fullest_step(void **state)
{
    (void)state;
    struct plan_group groups[GROUPS];
    const struct plan_config cfg = {.seed = 4, .epochs = 1, .batch_groups = 8, .unit_tokens = 1};
    struct plan *p = planned(&cfg, groups);
    assert_int_equal(plan_useful_slots(p), 8);
    plan_free(&p);
}

/* A load of equal units of 100 tokens, of which `busy` are being computed. */
static uint64_t units_of(uint32_t left, uint32_t busy, uint32_t slots, uint64_t unit_ms,
                         uint64_t way_ms)
{
    const struct plan_load load = {.units_left = left,
                                   .rows_left = 100 * (uint64_t)left,
                                   .rows_open = 100 * (uint64_t)(left + busy),
                                   .left_ns = left * unit_ms * 1000000,
                                   .slots = slots,
                                   .target_ns = 2000000000,
                                   .way_ns = way_ms * 1000000};
    uint64_t rows = plan_job_rows(&load);
    return rows < 100 ? 1 : rows / 100;
}

static uint64_t job_units(uint32_t left, uint32_t slots, uint64_t unit_ms, uint64_t way_ms)
{
    return units_of(left, 0, slots, unit_ms, way_ms);
}

static void test_jobs_shrink_to_single_units_towards_the_end(void **state)
{
    (void)state;
    assert_int_equal(job_units(1000, 2, 0, 0), 1);
    assert_int_equal(job_units(1000, 2, 100, 0), 20);
    assert_int_equal(job_units(24, 2, 100, 0), 6);
    assert_int_equal(job_units(4, 2, 100, 0), 1);
    assert_int_equal(job_units(1000, 2, 5000, 0), 1);
    assert_int_equal(job_units(0, 2, 100, 0), 1);
    assert_int_equal(job_units(1000, 0, 100, 0), 1);
}

static void test_jobs_last_as_long_as_the_results_of_all_slots_need_on_their_way(void **state)
{
    (void)state;
    assert_int_equal(job_units(1000, 2, 1000, 100), 2);    /* 0.2 s: nothing waits */
    assert_int_equal(job_units(1000, 2, 1000, 5000), 10);  /* 10 s of computing for 2 x 5 s */
    assert_int_equal(job_units(256, 64, 1000, 200), 4);    /* one job a slot, not 2 + 1 + 1 */
    assert_int_equal(units_of(16, 240, 64, 1000, 200), 4); /* the last slot gets as much */
    assert_int_equal(job_units(64, 64, 1000, 5000), 1);    /* never more than an even share */
}

/* The number of units of the fullest step of an epoch, whichever step that is. */
static void test_useful_slots_are_those_of_the_fullest_step(void **state)
{
    (void)state;
    struct plan_group groups[GROUPS];
    uint32_t later_is_fuller = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const struct plan_config cfg = {
            .seed = seed, .epochs = 1, .batch_groups = 5, .unit_tokens = 800};
        struct plan *p = planned(&cfg, groups);
        uint32_t most = 0;
        for (uint64_t s = 0; s < plan_steps(p); s++) {
            struct plan_item items[5];
            uint32_t rows[5];
            struct plan_unit *units;
            uint32_t n;
            uint32_t n_units;
            struct errbuf e;
            plan_step(p, s, items, &n);
            for (uint32_t i = 0; i < n; i++) {
                rows[i] = groups[items[i].group].rows;
            }
            assert_int_equal(plan_pack(rows, n, n, 800, 1, &units, &n_units, &e), OK);
            mem_free(units);
            later_is_fuller += s > 0 && n_units > most;
            most = n_units > most ? n_units : most;
        }
        assert_int_equal(plan_useful_slots(p), most);
        plan_free(&p);
    }
    assert_true(later_is_fuller > 0); /* else the first step would have done */
}

static enum err made(struct plan_config cfg, struct plan_group *groups, uint32_t n)
{
    struct plan *p = NULL;
    struct errbuf e = {{0}};
    enum err error = plan_new(&cfg, groups, n, &p, &e);
    assert_true(error == OK || error == ERR_NOMEM || e.text[0] != '\0');
    assert_int_equal(error == OK, p != NULL);
    plan_free(&p);
    assert_null(p);
    return error;
}

static void test_each_setting_is_checked_by_itself_and_at_its_bounds(void **state)
{
    (void)state;
    struct plan_group groups[2] = {{.pairs = 1}, {.pairs = 1}};
    const struct plan_config good = {.epochs = 1, .batch_groups = 1, .unit_tokens = 1};
    struct plan_config cfg = good;
    assert_int_equal(made(cfg, groups, 2), OK);
    assert_int_equal(made(cfg, groups, 1), OK);
    assert_int_equal(made(cfg, groups, LIMIT_GROUPS + 1), ERR_RANGE);
    cfg.unit_tokens = 0;
    assert_int_equal(made(cfg, groups, 2), ERR_RANGE);
    cfg = good;
    cfg.epochs = 0;
    cfg.max_steps = 1;
    assert_int_equal(made(cfg, groups, 2), OK);
    cfg.max_steps = PLAN_STEPS_MAX;
    assert_int_equal(made(cfg, groups, 2), OK);
    cfg.max_steps = (uint64_t)PLAN_STEPS_MAX + 1;
    assert_int_equal(made(cfg, groups, 2), ERR_RANGE);
    cfg = good;
    cfg.normalisation = PLAN_PAPER; /* its micro-batch is 0 */
    assert_int_equal(made(cfg, groups, 2), ERR_RANGE);
    cfg.micro_groups = 1;
    assert_int_equal(made(cfg, groups, 2), OK);
    for (int odd = 0; odd < 2; odd++) {
        groups[odd].pairs = 2;
        assert_int_equal(made(cfg, groups, 2), ERR_RANGE);
        groups[odd].pairs = 1;
    }
    for (unsigned long n = 1; n <= 3; n++) {
        mem_fail_after(n);
        assert_int_equal(made(good, groups, 2), ERR_NOMEM);
        mem_fail_after(0);
    }
}

static void test_an_epoch_has_as_many_steps_as_its_groups_need(void **state)
{
    (void)state;
    static const uint32_t steps[][2] = {{1, 21}, {7, 3},  {8, 3}, {10, 3},
                                        {20, 2}, {21, 1}, {22, 1}};
    struct plan_group groups[GROUPS];
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        const struct plan_config cfg = {
            .seed = 4, .epochs = 2, .batch_groups = steps[i][0], .unit_tokens = 512};
        struct plan *p = planned(&cfg, groups);
        assert_int_equal(plan_epoch_steps(p), steps[i][1]);
        assert_int_equal(plan_steps(p), 2 * steps[i][1]);
        plan_free(&p);
    }
}

static void test_both_sides_have_weights_of_their_own_and_one_without_labels_has_none(void **state)
{
    (void)state;
    struct plan_group groups[4] = {{.rows = 9, .pairs = 1, .labels_a = 3, .labels_b = 0},
                                   {.rows = 9, .pairs = 1, .labels_a = 1, .labels_b = 0},
                                   {.rows = 9, .pairs = 1, .labels_a = 3, .labels_b = 0},
                                   {.rows = 9, .pairs = 1, .labels_a = 1, .labels_b = 0}};
    const struct plan_config cfg = {.seed = 1,
                                    .epochs = 1,
                                    .batch_groups = 4,
                                    .unit_tokens = 512,
                                    .micro_groups = 2,
                                    .normalisation = PLAN_PAPER};
    struct errbuf e;
    for (int swapped = 0; swapped < 2; swapped++) {
        struct plan *p = NULL;
        struct plan_item items[4];
        uint32_t n;
        for (int i = 0; swapped && i < 4; i++) {
            groups[i].labels_b = groups[i].labels_a;
            groups[i].labels_a = 0;
        }
        assert_int_equal(plan_new(&cfg, groups, 4, &p, &e), OK);
        plan_step(p, 0, items, &n);
        assert_int_equal(n, 4);
        for (uint32_t at = 0; at < 4; at += 2) {
            const struct plan_group *g = &groups[items[at].group];
            const struct plan_group *h = &groups[items[at + 1].group];
            uint64_t mine = g->labels_a + g->labels_b;
            uint64_t all = mine + h->labels_a + h->labels_b;
            float want = (float)((double)mine / (double)all / 2.0);
            assert_true((swapped ? items[at].w_b : items[at].w_a) == want);
            assert_true((swapped ? items[at].w_a : items[at].w_b) == 0.0f);
        }
        plan_free(&p);
    }
}

static void test_a_unit_holds_what_fits_and_no_more_trees_than_it_may(void **state)
{
    (void)state;
    enum { N = 3 * LIMIT_UNIT_TREES + 5 };
    static uint32_t rows[N];
    struct plan_unit *units = NULL;
    uint32_t n;
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = 1;
    }
    assert_int_equal(plan_pack(rows, N, N, UINT32_MAX, 7, &units, &n, NULL), OK);
    assert_int_equal(n, 4);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(units[i].first, i * LIMIT_UNIT_TREES);
        assert_int_equal(units[i].count, i < 3 ? LIMIT_UNIT_TREES : 5);
        assert_int_equal(units[i].rows, units[i].count);
    }
    mem_free(units);
    assert_int_equal(plan_pack(rows, 10, 10, 4, 7, &units, &n, NULL), OK); /* 4, 4, 2 */
    assert_int_equal(n, 3);
    assert_int_equal(units[2].count, 2);
    mem_free(units);
    rows[0] = UINT32_MAX;
    assert_int_equal(plan_pack(rows, 2, 2, 4, 7, &units, &n, NULL), OK);
    assert_true(n == 2 && units[0].rows == UINT32_MAX && units[1].rows == 1);
    mem_free(units);
    assert_int_equal(plan_pack(rows, 0, 0, 4, 7, &units, &n, NULL), OK);
    assert_int_equal(n, 0);
    mem_free(units);
    mem_fail_after(1);
    assert_int_equal(plan_pack(rows, 2, 2, 4, 7, &units, &n, NULL), ERR_NOMEM);
    mem_fail_after(0);
}

static void test_useful_slots_are_those_of_the_steps_that_there_are(void **state)
{
    (void)state;
    struct plan_group groups[GROUPS];
    struct plan_config cfg = {
        .seed = 4, .max_steps = 1, .batch_groups = 100, .unit_tokens = 1}; /* one step of all */
    struct plan *p = planned(&cfg, groups);
    assert_int_equal(plan_useful_slots(p), GROUPS);
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(plan_useful_slots(p), 0);
        mem_fail_after(0);
    }
    plan_free(&p);
    cfg.batch_groups =
        20; /* the epoch's second step would be one group; its first is all there is */
    p = planned(&cfg, groups);
    assert_int_equal(plan_useful_slots(p), 20);
    plan_free(&p);
    cfg.max_steps = 100;
    p = planned(&cfg, groups);
    assert_int_equal(plan_useful_slots(p), 20);
    plan_free(&p);
}

static void test_a_job_is_a_token_at_least(void **state)
{
    (void)state;
    const struct plan_load load = {.units_left = 10,
                                   .rows_left = 10,
                                   .rows_open = 10,
                                   .left_ns = 1000000000,
                                   .slots = 100,
                                   .target_ns = 1};
    assert_int_equal(plan_job_rows(&load), 1);
    const struct plan_load none = {.rows_left = 10, .left_ns = 10, .slots = 2, .target_ns = 9};
    assert_int_equal(plan_job_rows(&none), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_epoch_is_a_shuffle_of_its_own_with_every_group_once),
        cmocka_unit_test(test_a_step_is_the_same_whatever_was_asked_before),
        cmocka_unit_test(test_paper_weights_are_means_over_tokens_of_a_micro_batch),
        cmocka_unit_test(test_settings_out_of_bounds_are_named),
        cmocka_unit_test(test_trees_are_packed_in_order_and_a_large_one_stands_alone),
        cmocka_unit_test(test_no_unit_has_trees_on_both_sides_of_the_edge),
        cmocka_unit_test(test_too_many_units_of_a_step_are_refused_with_the_setting),
        cmocka_unit_test(test_useful_slots_are_the_units_of_the_fullest_step),
        cmocka_unit_test(test_jobs_shrink_to_single_units_towards_the_end),
        cmocka_unit_test(test_jobs_last_as_long_as_the_results_of_all_slots_need_on_their_way),
        cmocka_unit_test(test_useful_slots_are_those_of_the_fullest_step),
        cmocka_unit_test(test_each_setting_is_checked_by_itself_and_at_its_bounds),
        cmocka_unit_test(test_an_epoch_has_as_many_steps_as_its_groups_need),
        cmocka_unit_test(test_both_sides_have_weights_of_their_own_and_one_without_labels_has_none),
        cmocka_unit_test(test_a_unit_holds_what_fits_and_no_more_trees_than_it_may),
        cmocka_unit_test(test_useful_slots_are_those_of_the_steps_that_there_are),
        cmocka_unit_test(test_a_job_is_a_token_at_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
