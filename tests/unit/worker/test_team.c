/* test_team.c - slots of several threads: the crew runs every lane once, and a unit's gradient and
 * scores have the same bits for 1, 2, 3 and 4 threads, in fp32 and bf16, with dropout, with tiles
 * that cut every product. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/worker/tiny_model.h"
#include "worker/backend/bf16.h"
#include "worker/backend/crew.h"

enum { SEED = 29, THREADS_MAX = 4, CALLS = 2000 };

static const struct model_shape shape = {.layers = 3,
                                         .hidden = 96,
                                         .ff = 160,
                                         .heads = 6,
                                         .kv_heads = 3,
                                         .head_dim = 16,
                                         .vocab = 512,
                                         .rope_theta = 1e4f,
                                         .rms_eps = 1e-5f,
                                         .tied_head = true};

static void count_lane(void *ctx, uint32_t lane)
{
    atomic_uint *counts = ctx;
    atomic_fetch_add(&counts[lane], 1);
}

static void test_every_lane_runs_once_a_call(void **state)
{
    (void)state;
    for (uint32_t threads = 2; threads <= THREADS_MAX; threads++) {
        struct crew *crew;
        atomic_uint counts[THREADS_MAX] = {0};
        assert_int_equal(crew_new(threads, &crew), OK);
        for (unsigned call = 1; call <= CALLS; call++) {
            crew_run(crew, count_lane, counts);
            for (uint32_t lane = 0; lane < threads; lane++) {
                assert_int_equal(atomic_load(&counts[lane]), call);
            }
        }
        crew_free(&crew);
        assert_null(crew);
    }
}

struct outcome {
    int64_t *sum;
    struct unit_result result;
    double scores[64];
};

static struct outcome outcome(const struct engine_config *config, const struct weights *w,
                              const struct unit *unit, const float *flat)
{
    struct errbuf e = {0};
    struct engine *engine;
    struct engine_slot *slot;
    struct outcome o = {0};
    if (engine_new(config, w, &engine, &e) != OK || engine_slot_new(engine, 0, &slot, &e) != OK) {
        fail_msg("%s", e.text);
    }
    o.sum = mem_calloc(engine_lora_count(engine), sizeof *o.sum);
    assert_non_null(o.sum);
    assert_int_equal(engine_gradient(slot, unit, flat, 3, o.sum, &o.result, &e), OK);
    assert_int_equal(engine_score(slot, unit, flat, o.scores, &e), OK);
    engine_slot_free(&slot);
    engine_free(&engine);
    return o;
}

static void compare(struct engine_config config)
{
    struct weights w;
    struct tree trees[2];
    tiny_weights(&w, &shape, SEED);
    float *flat = tiny_adapter(&shape, &config.lora, SEED);
    tiny_tree(&trees[0], &shape, 9, 30, 11);
    tiny_tree(&trees[1], &shape, 7, 20, 12);
    const struct unit unit = tiny_unit(trees, 2);
    const size_t count = lora_count(&shape, &config.lora);
    config.threads = 1;
    struct outcome alone = outcome(&config, &w, &unit, flat);
    assert_true(alone.result.sumsq > 0.0);
    for (config.threads = 2; config.threads <= THREADS_MAX; config.threads++) {
        struct outcome team = outcome(&config, &w, &unit, flat);
        assert_memory_equal(alone.sum, team.sum, count * sizeof *alone.sum);
        assert_memory_equal(&alone.result, &team.result, sizeof alone.result);
        assert_memory_equal(alone.scores, team.scores, sizeof alone.scores);
        mem_free(team.sum);
    }
    mem_free(alone.sum);
    tree_free(&trees[0]);
    tree_free(&trees[1]);
    mem_free(flat);
    weights_free(&w);
}

static struct engine_config team_config(void)
{
    struct lora_config lora = tiny_lora;
    lora.r = 8;
    struct engine_config config = tiny_config(&shape, &lora);
    config.tile_rows = 48;
    config.tile_cols = 32;
    return config;
}

static void test_bits_do_not_depend_on_the_threads_of_a_slot(void **state)
{
    (void)state;
    compare(team_config());
}

static void test_nor_with_dropout(void **state)
{
    (void)state;
    struct engine_config config = team_config();
    config.lora.dropout = 0.25f;
    compare(config);
}

static void test_nor_in_bf16(void **state)
{
    (void)state;
    struct engine_config config = team_config();
    if (!bf16_runs_here() || test_level() != KERNELS_V4) {
        print_message("SKIPPED: bf16 with threads: wants x86-64-v4 and AVX512_BF16\n");
        skip();
    }
    config.precision = ENGINE_BF16;
    compare(config);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_lane_runs_once_a_call),
        cmocka_unit_test(test_bits_do_not_depend_on_the_threads_of_a_slot),
        cmocka_unit_test(test_nor_with_dropout),
        cmocka_unit_test(test_nor_in_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
