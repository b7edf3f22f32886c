/* test_adamw.c - the update against PyTorch's numbers and a long-double reference; the norm's tree;
 * parameters by version; the schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/params.h"
#include "coordinator/schedule.h"

enum { SMALL = 12, LARGE = 50001 };

/* p, m, v after 6 steps of torch.optim.AdamW 2.13 (foreach=False) with weight decay 0.1 and clip 1:
 * p0[i] = ((5 i mod 7) - 3) / 4, g[i] = ((37 i + 11 s mod 17) - 8) / 16, lr = 0.01 (s + 1). */
static const float torch_p[SMALL] = {-0x1.6dd8a2p-1f, 0x1.fe36f4p-2f,  0x1.a01fe4p-5f,
                                     -0x1.f5ff22p-2f, 0x1.8113b0p-1f,  0x1.7d8b64p-3f,
                                     -0x1.46edf4p-3f, -0x1.880b42p-1f, 0x1.2bb7bep-1f,
                                     -0x1.612756p-5f, -0x1.e16bf8p-2f, 0x1.490dd8p-1f};
static const float torch_m[SMALL] = {-0x1.f28466p-9f, 0x1.dd61d4p-11f, 0x1.075feep-6f,
                                     0x1.b6a00cp-8f,  0x1.e89bf0p-7f,  -0x1.4d3818p-9f,
                                     -0x1.bb5ad4p-5f, 0x1.d1bb66p-6f,  -0x1.8bfc56p-5f,
                                     0x1.183c30p-5f,  -0x1.d7a3dap-5f, 0x1.992958p-6f};
static const float torch_v[SMALL] = {0x1.1aa49cp-11f, 0x1.b5c63cp-12f, 0x1.20c5a2p-11f,
                                     0x1.cccc86p-12f, 0x1.2e604cp-11f, 0x1.fd925cp-12f,
                                     0x1.02bafap-11f, 0x1.cec024p-12f, 0x1.0d2336p-11f,
                                     0x1.e6e152p-12f, 0x1.1d7770p-11f, 0x1.0fdaf0p-11f};

/* PyTorch fuses multiply and add where it can: sums that cancel keep the error of their terms. */
static void assert_close(const float *got, const float *want, size_t n, float term)
{
    const float bound = 5e-7f;
    for (size_t i = 0; i < n; i++) {
        float off = fabsf(got[i] - want[i]);
        if (!(off <= bound * fmaxf(fabsf(want[i]), term))) {
            fail_msg("value %zu: %a, PyTorch has %a", i, (double)got[i], (double)want[i]);
        }
    }
}

static void test_six_steps_follow_pytorch(void **state)
{
    (void)state;
    const struct adamw_config cfg = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 1.0};
    float p[SMALL];
    float m[SMALL] = {0};
    float v[SMALL] = {0};
    float g[SMALL];
    struct adamw_state s = {.count = SMALL, .p = p, .m = m, .v = v, .beta1_t = 1.0, .beta2_t = 1.0};
    double norm = 0.0;
    for (int i = 0; i < SMALL; i++) {
        p[i] = (float)(i * 5 % 7 - 3) / 4.0f;
    }
    for (int step = 0; step < 6; step++) {
        for (int i = 0; i < SMALL; i++) {
            g[i] = (float)((i * 37 + step * 11) % 17 - 8) / 16.0f;
        }
        norm = adamw_step(&cfg, &s, g, 0.01 * (step + 1));
    }
    assert_true(norm == 1.0625);
    assert_close(p, torch_p, SMALL, 0.05f);
    assert_close(m, torch_m, SMALL, 0.05f);
    assert_close(v, torch_v, SMALL, 1e-4f);
}

static void test_update_agrees_with_long_double(void **state)
{
    (void)state;
    const struct adamw_config cfg = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 0.0};
    float p = 0.3f;
    float m = 0.0f;
    float v = 0.0f;
    struct adamw_state s = {.count = 1, .p = &p, .m = &m, .v = &v, .beta1_t = 1.0, .beta2_t = 1.0};
    long double lp = (long double)p;
    long double lm = 0.0L;
    long double lv = 0.0L;
    for (uint32_t t = 1; t <= 500; t++) {
        float g = rng_unit(5, t) - 0.5f;
        (void)adamw_step(&cfg, &s, &g, 1e-3);
        lm = 0.9L * lm + 0.1L * (long double)g;
        lv = 0.999L * lv + 0.001L * (long double)g * (long double)g;
        long double hat_m = lm / (1.0L - powl(0.9L, t));
        long double hat_v = lv / (1.0L - powl(0.999L, t));
        lp = lp * (1.0L - 1e-3L * 0.01L) - 1e-3L * hat_m / (sqrtl(hat_v) + 1e-8L);
    }
    assert_true(fabsl(lp - (long double)p) <= 1e-5L);
}

static void test_norm_is_exact_to_double_and_keeps_its_bits(void **state)
{
    (void)state;
    float *x = mem_calloc(LARGE, sizeof *x);
    assert_non_null(x);
    for (uint32_t i = 0; i < LARGE; i++) {
        x[i] = rng_unit(3, i) - 0.5f;
    }
    const size_t counts[] = {0, 1, 7, 8, 9, 4095, 4096, 4097, 12288, LARGE};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        long double sum = 0.0L;
        for (size_t i = 0; i < counts[c]; i++) {
            sum += (long double)x[i] * (long double)x[i];
        }
        double want = (double)sqrtl(sum);
        double got = adamw_norm(x, counts[c]);
        assert_true(fabs(got - want) <= 1e-14 * want);
        assert_true(got == adamw_norm(x, counts[c]));
    }
    mem_free(x);
}

static void test_clip_scales_only_what_is_too_long(void **state)
{
    (void)state;
    struct adamw_config cfg = {.beta1 = 0.0, .beta2 = 0.999, .eps = 1e-8, .clip = 1.0};
    const float g[2] = {3.0f, 4.0f};
    float p[2] = {0};
    float m[2] = {0};
    float v[2] = {0};
    struct adamw_state s = {.count = 2, .p = p, .m = m, .v = v, .beta1_t = 1.0, .beta2_t = 1.0};
    assert_true(adamw_step(&cfg, &s, g, 0.1) == 5.0);
    assert_true(fabsf(m[0] - 0.6f) < 1e-6f && fabsf(m[1] - 0.8f) < 1e-6f);
    cfg.clip = 10.0;
    assert_true(adamw_step(&cfg, &s, g, 0.1) == 5.0);
    assert_true(m[0] == 3.0f && m[1] == 4.0f);
}

static void test_snapshot_stays_as_it_was_while_steps_go_on(void **state)
{
    (void)state;
    const struct model_shape shape = {.layers = 1,
                                      .hidden = 8,
                                      .ff = 8,
                                      .heads = 2,
                                      .kv_heads = 1,
                                      .head_dim = 4,
                                      .vocab = 16,
                                      .rope_theta = 1e4f,
                                      .rms_eps = 1e-5f};
    const struct lora_config lora = {.r = 2, .alpha = 4, .targets = 1u << LORA_Q | 1u << LORA_V};
    const struct adamw_config cfg = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    struct params *p = NULL;
    struct params *again = NULL;
    struct params_snapshot *s = NULL;
    assert_int_equal(params_new(&shape, &lora, 7, &cfg, &p), OK);
    assert_int_equal(params_new(&shape, &lora, 7, &cfg, &again), OK);
    size_t bytes = p->adam.count * sizeof(float);
    assert_int_equal(p->adam.count, lora_count(&shape, &lora));
    assert_memory_equal(p->adam.p, again->adam.p, bytes);
    assert_int_equal(params_snapshot(p, &s), OK);
    assert_true(params_snapshot_hold(s) == s);
    params_step(p, again->adam.p, 0.1, NULL);
    assert_int_equal(p->version, 1);
    assert_int_equal(s->version, 0);
    assert_memory_equal(s->flat, again->adam.p, bytes);
    assert_memory_not_equal(p->adam.p, s->flat, bytes);
    params_snapshot_release(s);
    params_snapshot_release(s);
    params_free(&p);
    params_free(&again);
}

static void test_rates_are_those_of_the_golden_run(void **state)
{
    (void)state;
    json_t *run = json_load_file("tests/golden/training/run.json", 0, NULL);
    assert_non_null(run);
    json_t *recipe = json_object_get(run, "recipe");
    json_t *steps = json_object_get(run, "steps");
    double rate = json_number_value(json_object_get(recipe, "learning_rate"));
    const struct schedule s = {
        .steps = (uint64_t)json_integer_value(json_object_get(recipe, "steps")),
        .warmup = (uint64_t)json_integer_value(json_object_get(recipe, "warmup_steps"))};
    assert_int_equal(schedule_warmup(s.steps), s.warmup);
    assert_int_equal(json_array_size(steps), s.steps);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *want = json_object_get(json_array_get(steps, i), "learning_rate");
        assert_true(fabs(rate * schedule_factor(&s, i) - json_number_value(want)) < 1e-15);
    }
    json_decref(run);
}

static void test_schedule_ends(void **state)
{
    (void)state;
    const struct schedule s = {.steps = 50, .warmup = 3};
    assert_int_equal(schedule_warmup(0), 0);
    assert_int_equal(schedule_warmup(1), 1);
    assert_int_equal(schedule_warmup(50), 3);
    assert_int_equal(schedule_warmup(100), 6);
    assert_int_equal(schedule_warmup(101), 7);
    assert_true(schedule_factor(&s, 2) == 1.0);
    assert_true(schedule_factor(&s, 3) == 1.0);
    assert_true(schedule_factor(&s, 49) == 1.0 / 47.0);
    assert_true(schedule_factor(&s, 50) == 0.0);
    const struct schedule warm = {.steps = 10, .warmup = 100};
    assert_true(schedule_factor(&warm, 9) == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_six_steps_follow_pytorch),
        cmocka_unit_test(test_update_agrees_with_long_double),
        cmocka_unit_test(test_norm_is_exact_to_double_and_keeps_its_bits),
        cmocka_unit_test(test_clip_scales_only_what_is_too_long),
        cmocka_unit_test(test_snapshot_stays_as_it_was_while_steps_go_on),
        cmocka_unit_test(test_rates_are_those_of_the_golden_run),
        cmocka_unit_test(test_schedule_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
