/* test_probe.c - the probe's digest is the same for the same arithmetic and changes with it. */
#include "tests/unit/worker/tiny_model.h"
#include "worker/probe.h"

static void probe(const struct weights *w, const struct engine_config *config,
                  uint8_t digest[HASH_XXH128_BYTES])
{
    struct engine *engine;
    struct engine_slot *slot;
    struct errbuf e = {0};
    uint8_t again[HASH_XXH128_BYTES];
    assert_int_equal(engine_new(config, w, &engine, &e), OK);
    assert_int_equal(engine_slot_new(engine, 0, &slot, &e), OK);
    assert_int_equal(engine_probe(slot, digest, &e), OK);
    assert_int_equal(engine_probe(slot, again, &e), OK);
    assert_memory_equal(digest, again, sizeof again);
    engine_slot_free(&slot);
    engine_free(&engine);
}

static void test_digest_repeats_and_sees_weights_and_tiles(void **state)
{
    (void)state;
    struct weights w;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    uint8_t first[HASH_XXH128_BYTES];
    uint8_t other[HASH_XXH128_BYTES];
    tiny_weights(&w, &tiny_shape, 1);
    probe(&w, &config, first);
    config.seed++; /* no dropout, no difference */
    probe(&w, &config, other);
    assert_memory_equal(first, other, sizeof first);
    w.layers[1].down[5] *= 1.001f;
    probe(&w, &config, other);
    assert_memory_not_equal(first, other, sizeof first);
    w.layers[1].down[5] /= 1.001f;
    const uint32_t tiles[] = {64, 1};
    for (size_t i = 0; i < sizeof tiles / sizeof tiles[0]; i++) {
        config.tile_rows = tiles[i];
        probe(&w, &config, other);
        assert_memory_not_equal(first, other, sizeof first);
    }
    weights_free(&w);
}

static void test_it_works_without_an_adapter(void **state)
{
    (void)state;
    struct weights w;
    const struct lora_config none = {0};
    struct engine_config config = tiny_config(&tiny_shape, &none);
    uint8_t digest[HASH_XXH128_BYTES];
    tiny_weights(&w, &tiny_shape, 1);
    probe(&w, &config, digest);
    weights_free(&w);
}

static void test_settings_out_of_range_are_refused(void **state)
{
    (void)state;
    struct weights w;
    struct engine *engine = NULL;
    struct errbuf e = {0};
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    tiny_weights(&w, &tiny_shape, 1);
    config.lora.dropout = 1.0f;
    assert_int_equal(engine_new(&config, &w, &engine, &e), ERR_RANGE);
    assert_null(engine);
    assert_non_null(strstr(e.text, "dropout 1"));
    config = tiny_config(&tiny_shape, &tiny_lora);
    config.shape.ff++;
    assert_int_equal(engine_new(&config, &w, &engine, &e), ERR_STATE);
    weights_free(&w);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct weights w;
    struct tree t;
    struct engine_config config = tiny_config(&tiny_shape, &tiny_lora);
    tiny_weights(&w, &tiny_shape, 1);
    tiny_tree(&t, &tiny_shape, 5, 6, 3);
    const struct unit unit = tiny_unit(&t, 1);
    float *flat = tiny_adapter(&tiny_shape, &tiny_lora, 1);
    int64_t *sum = mem_calloc(lora_count(&tiny_shape, &tiny_lora), sizeof *sum);
    bool through = false;
    for (unsigned long n = 1; !through && n < 200; n++) {
        struct engine *engine = NULL;
        struct engine_slot *slot = NULL;
        struct unit_result result;
        struct errbuf e = {0};
        mem_fail_after(n);
        enum err error = engine_new(&config, &w, &engine, &e);
        if (error == OK) {
            error = engine_slot_new(engine, 30, &slot, &e);
        }
        if (error == OK) {
            error = engine_gradient(slot, &unit, flat, 0, sum, &result, &e);
        }
        mem_fail_after(0);
        through = error == OK;
        assert_true(through || (error == ERR_NOMEM && e.text[0]));
        if (slot) { /* what failed once works the next time */
            assert_int_equal(engine_gradient(slot, &unit, flat, 0, sum, &result, &e), OK);
        }
        engine_slot_free(&slot);
        engine_free(&engine);
    }
    assert_true(through);
    mem_free(flat);
    mem_free(sum);
    tree_free(&t);
    weights_free(&w);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_repeats_and_sees_weights_and_tiles),
        cmocka_unit_test(test_it_works_without_an_adapter),
        cmocka_unit_test(test_settings_out_of_range_are_refused),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
