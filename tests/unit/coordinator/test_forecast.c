/* test_forecast.c - what must hold of any forecast: more workers are never slower on a wide link,
 * nothing is gained beyond a step's units, bytes are what the protocol says, a narrow link is the
 * bound, and the same question has the same answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "coordinator/forecast.h"

enum { STEPS = 4, UNITS = 24, FRAME = 4000 };

static uint32_t rows[STEPS][UNITS], even[UNITS], frames[UNITS];
static struct forecast_step uneven_steps[STEPS], even_steps[STEPS];

static int set_up(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < UNITS; u++) {
        even[u] = 400;
        frames[u] = FRAME;
        for (uint32_t s = 0; s < STEPS; s++) {
            rows[s][u] = 300 + (uint32_t)rng_below(s, u, 200);
        }
    }
    for (uint32_t s = 0; s < STEPS; s++) {
        uneven_steps[s] =
            (struct forecast_step){.n_units = UNITS, .rows = rows[s], .frame_bytes = frames};
        even_steps[s] =
            (struct forecast_step){.n_units = UNITS, .rows = even, .frame_bytes = frames};
    }
    return 0;
}

/* An adapter of a million floats over 10 Gbit/s; a token takes 2 ms. */
static struct forecast_config config(uint32_t workers, const struct forecast_step *steps)
{
    return (struct forecast_config){.workers = workers,
                                    .slots = 1,
                                    .n_steps = STEPS,
                                    .steps = steps,
                                    .floats = 1000000,
                                    .seconds_per_token = 2e-3,
                                    .link_bytes_per_s = 1.25e9,
                                    .latency_s = 1e-4,
                                    .message_s = 1e-5,
                                    .adding_bytes_per_s = 2e9,
                                    .finishing_bytes_per_s = 1e9};
}

static struct forecast made(const struct forecast_config *cfg)
{
    struct forecast f;
    struct errbuf e = {{0}};
    enum err error = forecast_make(cfg, &f, &e);
    if (error != OK) {
        print_message("%s\n", e.text);
    }
    assert_int_equal(error, OK);
    return f;
}

static void test_more_workers_are_never_slower_on_a_wide_link(void **state)
{
    (void)state;
    double before = INFINITY;
    for (uint32_t workers = 1; workers <= UNITS; workers++) {
        const struct forecast_config cfg = config(workers, even_steps);
        struct forecast f = made(&cfg);
        assert_false(f.stopped);
        /* Each worker's parameters are 4 MB more: 3.2 ms a step. */
        assert_true(f.total_s <= before + 3 * 0.004);
        before = f.total_s;
    }
}

static void test_one_worker_takes_what_its_tokens_cost(void **state)
{
    (void)state;
    const struct forecast_config cfg = config(1, uneven_steps);
    struct forecast f = made(&cfg);
    double least = 0.0;
    for (uint32_t s = 1; s < STEPS; s++) {
        for (uint32_t u = 0; u < UNITS; u++) {
            least += 2e-3 * rows[s][u];
        }
    }
    assert_true(fabs(f.compute_s - least) < 1e-6 * least);
    assert_true(f.total_s >= least && f.total_s <= 1.01 * least);
    assert_int_equal(f.slots_used, 1);
    double sum = f.seconds[1] + f.seconds[2] + f.seconds[3];
    assert_true(f.seconds[0] > 0.0 && fabs(sum - f.total_s) < 1e-6);
}

static void test_nothing_is_gained_beyond_the_units_of_a_step(void **state)
{
    (void)state;
    const struct forecast_config enough = config(UNITS, even_steps);
    const struct forecast_config many = config(1000, even_steps);
    struct forecast a = made(&enough);
    struct forecast b = made(&many);
    assert_int_equal(a.slots_used, UNITS);
    assert_int_equal(b.slots_used, UNITS);
    assert_true(b.total_s > 0.98 * a.total_s);
    struct forecast_config slots = config(UNITS / 2, even_steps);
    slots.slots = 2;
    struct forecast c = made(&slots);
    assert_int_equal(c.slots_used, UNITS);
    assert_true(c.params_sent < a.params_sent); /* once per worker, not per slot */
}

static void test_bytes_are_parameters_frames_and_gradients(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 8; workers *= 2) {
        const struct forecast_config cfg = config(workers, uneven_steps);
        struct forecast f = made(&cfg);
        assert_int_equal(f.backups + f.lost, 0);
        assert_int_equal(f.params_sent, workers * (STEPS - 1));
        assert_int_equal(f.gradients, f.jobs);
        assert_int_equal(f.bytes_in, f.jobs * 8 * cfg.floats);
        assert_int_equal(f.bytes_out, f.params_sent * 4 * cfg.floats + (STEPS - 1) * UNITS * FRAME);
        assert_true(f.link_busy_s <= f.total_s && f.out_busy_s <= f.link_busy_s);
    }
}

static void test_a_narrow_link_is_what_a_step_takes(void **state)
{
    (void)state;
    struct forecast_config cfg = config(16, even_steps);
    cfg.link_bytes_per_s = 2e7;
    struct forecast f = made(&cfg);
    assert_false(f.stopped);
    assert_true(f.link_busy_s > 0.75 * f.total_s);
    assert_true(f.total_s >= (double)(f.bytes_in > f.bytes_out ? f.bytes_in : f.bytes_out) /
                                 cfg.link_bytes_per_s * 0.99);
    struct forecast_config wide = config(16, even_steps);
    struct forecast g = made(&wide);
    assert_true(g.link_busy_s < 0.3 * g.total_s && g.total_s < f.total_s);
}

static void test_where_the_link_is_the_bound_jobs_are_larger(void **state)
{
    (void)state;
    struct forecast_config cfg = config(8, even_steps);
    struct forecast wide = made(&cfg);
    cfg.link_bytes_per_s = 2e7; /* 0.4 s a gradient: eight take four units' time */
    struct forecast narrow = made(&cfg);
    double every_unit_s = (STEPS - 1) * UNITS * 8.0 * (double)cfg.floats / cfg.link_bytes_per_s;
    assert_int_equal(wide.jobs, (STEPS - 1) * UNITS);
    assert_true(narrow.jobs <= wide.jobs / 2);
    assert_true(narrow.total_s < every_unit_s);
}

static void test_latency_and_a_slow_reducer_cost_time(void **state)
{
    (void)state;
    struct forecast_config cfg = config(8, even_steps);
    struct forecast quick = made(&cfg);
    cfg.latency_s = 0.05;
    struct forecast far = made(&cfg);
    /* Want, job, fetch and parameters, announcement, credit and gradient: six ways at least. */
    assert_true(far.total_s > quick.total_s + 6 * 0.05);
    cfg.latency_s = 1e-4;
    cfg.adding_bytes_per_s = 2e7; /* 0.4 s a gradient */
    struct forecast slow = made(&cfg);
    assert_true(slow.total_s > 0.4 * (double)slow.gradients);
}

static void test_the_same_question_has_the_same_answer(void **state)
{
    (void)state;
    struct forecast_config cfg = config(13, uneven_steps);
    cfg.slots = 2;
    cfg.link_bytes_per_s = 3e7;
    struct forecast a = made(&cfg);
    struct forecast b = made(&cfg);
    assert_memory_equal(a.seconds, b.seconds, sizeof a.seconds);
    assert_memory_equal(&a.link_busy_s, &b.link_busy_s, sizeof a.link_busy_s);
    assert_true(a.bytes_out == b.bytes_out && a.bytes_in == b.bytes_in && a.jobs == b.jobs);
}

static void test_what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct forecast f;
    struct errbuf e = {{0}};
    struct forecast_config cfg = config(0, even_steps);
    assert_int_equal(forecast_make(&cfg, &f, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "0 workers of 1 slots: 1 to 4096 workers"));
    cfg = config(1, even_steps);
    cfg.seconds_per_token = NAN;
    assert_int_equal(forecast_make(&cfg, &f, &e), ERR_RANGE);
    cfg = config(1, even_steps);
    cfg.link_bytes_per_s = 0.0;
    assert_int_equal(forecast_make(&cfg, &f, &e), ERR_RANGE);
    cfg = config(1, even_steps);
    cfg.n_steps = 1;
    assert_int_equal(forecast_make(&cfg, &f, &e), ERR_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_workers_are_never_slower_on_a_wide_link),
        cmocka_unit_test(test_one_worker_takes_what_its_tokens_cost),
        cmocka_unit_test(test_nothing_is_gained_beyond_the_units_of_a_step),
        cmocka_unit_test(test_bytes_are_parameters_frames_and_gradients),
        cmocka_unit_test(test_a_narrow_link_is_what_a_step_takes),
        cmocka_unit_test(test_where_the_link_is_the_bound_jobs_are_larger),
        cmocka_unit_test(test_latency_and_a_slow_reducer_cost_time),
        cmocka_unit_test(test_the_same_question_has_the_same_answer),
        cmocka_unit_test(test_what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
