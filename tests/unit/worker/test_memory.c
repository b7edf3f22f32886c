/* test_memory.c - what a slot needs is told beforehand; gradient checkpointing changes no bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/temp_folder.h"
#include "tests/unit/worker/tiny_model.h"
#include "worker/memory.h"

enum { SEED = 61 };

static const struct model_shape deep = {.layers = 8,
                                        .hidden = 48,
                                        .ff = 96,
                                        .heads = 4,
                                        .kv_heads = 2,
                                        .head_dim = 12,
                                        .vocab = 300,
                                        .rope_theta = 1e4f,
                                        .rms_eps = 1e-5f,
                                        .tied_head = true};

static void write_file(const struct temp_folder *t, const char *folder, const char *name,
                       const char *text)
{
    char path[FILE_PATH_BYTES];
    struct errbuf e = {0};
    assert_true(snprintf(path, sizeof path, "%s%s", t->path, folder) < FILE_PATH_BYTES);
    assert_int_equal(file_make_folder(path, &e), OK);
    assert_true(snprintf(path, sizeof path, "%s%s/%s", t->path, folder, name) < FILE_PATH_BYTES);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

struct outcome {
    int64_t *sum;
    struct unit_result result;
    size_t bytes;
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
    for (int i = 0; i < 2; i++) { /* the second time memory has been used before */
        memset(o.sum, 0, engine_lora_count(engine) * sizeof *o.sum);
        assert_int_equal(engine_gradient(slot, unit, flat, 3, o.sum, &o.result, &e), OK);
    }
    o.bytes = engine_slot_bytes(slot);
    engine_slot_free(&slot);
    engine_free(&engine);
    return o;
}

static void compare(struct engine_config config)
{
    struct weights w;
    struct tree tree;
    tiny_weights(&w, &deep, SEED);
    float *flat = tiny_adapter(&deep, &config.lora, SEED);
    tiny_tree(&tree, &deep, 9, 40, 11);
    const struct unit unit = tiny_unit(&tree, 1);
    struct outcome kept = outcome(&config, &w, &unit, flat);
    config.checkpointing = true;
    struct outcome again = outcome(&config, &w, &unit, flat);
    assert_true(kept.result.sumsq > 0.0);
    assert_memory_equal(kept.sum, again.sum, lora_count(&deep, &config.lora) * sizeof *kept.sum);
    assert_memory_equal(&kept.result, &again.result, sizeof kept.result);
    assert_true(again.bytes < kept.bytes);
    mem_free(kept.sum);
    mem_free(again.sum);
    tree_free(&tree);
    mem_free(flat);
    weights_free(&w);
}

static void test_checkpointing_changes_no_bit_and_needs_less(void **state)
{
    (void)state;
    compare(tiny_config(&deep, &tiny_lora));
}

static void test_nor_with_dropout_or_few_targets(void **state)
{
    (void)state;
    struct lora_config lora = tiny_lora;
    lora.dropout = 0.3f;
    compare(tiny_config(&deep, &lora));
    lora.targets = 1u << LORA_O | 1u << LORA_GATE;
    compare(tiny_config(&deep, &lora));
}

static void test_what_a_slot_takes_is_what_was_predicted(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct engine_config config = tiny_config(&deep, &tiny_lora);
        const struct engine_rows rows = {.train = 200, .score = 100};
        struct engine_need need;
        struct errbuf e = {0};
        struct weights w;
        struct engine *engine;
        struct engine_slot *slot;
        config.checkpointing = i % 2 == 1;
        config.threads = i < 2 ? 1 : 3;
        assert_int_equal(engine_need(&config, &rows, &need, &e), OK);
        tiny_weights(&w, &deep, SEED);
        assert_int_equal(need.weights, w.floats * sizeof(float));
        assert_int_equal(need.resident, need.weights);
        assert_int_equal(need.packed, 0);
        assert_int_equal(engine_new(&config, &w, &engine, &e), OK);
        assert_int_equal(engine_slot_new(engine, 200, &slot, &e), OK);
        const size_t sums = 2 * engine_lora_count(engine) * sizeof(int64_t);
        assert_true(engine_slot_bytes(slot) + sums <= need.slot);
        assert_true(need.slot - sums - engine_slot_bytes(slot) < need.slot / 4);
        engine_slot_free(&slot);
        engine_free(&engine);
        weights_free(&w);
    }
}

static const struct model_shape smollm2 = {.layers = 30,
                                           .hidden = 576,
                                           .ff = 1536,
                                           .heads = 9,
                                           .kv_heads = 3,
                                           .head_dim = 64,
                                           .vocab = 49152,
                                           .rope_theta = 1e5f,
                                           .rms_eps = 1e-5f,
                                           .tied_head = true};

static void test_an_anchor_is_predicted_too(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&deep, &tiny_lora);
    struct engine_rows rows = {.train = 16, .anchor = 40};
    struct engine_need need;
    struct errbuf e = {0};
    struct weights w;
    struct tree tree;
    tiny_weights(&w, &deep, SEED);
    tiny_tree(&tree, &deep, 1, 150, 11);
    rows.anchor = tree.n_rows;
    float *flat = tiny_adapter(&deep, &config.lora, SEED);
    struct unit unit = tiny_unit(&tree, 1);
    unit.anchor = true;
    assert_int_equal(engine_need(&config, &rows, &need, &e), OK);
    struct outcome o = outcome(&config, &w, &unit, flat);
    const size_t rest = need.slot - 2 * lora_count(&deep, &config.lora) * sizeof(int64_t);
    assert_true(o.bytes <= rest);
    assert_true(rest - o.bytes < rest / 2);
    mem_free(o.sum);
    tree_free(&tree);
    mem_free(flat);
    weights_free(&w);
}

static void test_at_135m_checkpointing_needs_less_than_half(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&smollm2, &tiny_lora);
    const struct engine_rows rows = {.train = 512, .score = 512};
    struct engine_need kept, again;
    struct errbuf e = {0};
    assert_int_equal(engine_need(&config, &rows, &kept, &e), OK);
    config.checkpointing = true;
    assert_int_equal(engine_need(&config, &rows, &again, &e), OK);
    print_message("slot of 512 rows: %zu MiB, with checkpointing %zu MiB\n", kept.slot >> 20,
                  again.slot >> 20);
    assert_true(again.slot < kept.slot / 2);
    config.precision = ENGINE_BF16;
    assert_int_equal(engine_need(&config, &rows, &again, &e), OK);
    assert_true(again.resident < again.weights && again.packed > 0);
}

/* A machine of 1,000,000 KiB, of which a cgroup above the process's own grants less. */
static void test_what_is_free_is_the_least_of_machine_and_cgroups(void **state)
{
    (void)state;
    struct temp_folder t;
    temp_folder_make(&t);
    assert_true(memory_available(t.path) == SIZE_MAX);
    write_file(&t, "/proc", "meminfo", "MemTotal: 9 kB\nMemAvailable:    1000000 kB\n");
    assert_int_equal(memory_available(t.path), 1000000ull << 10);
    write_file(&t, "/proc/self", "cgroup", "0::/outer/inner\n");
    assert_int_equal(memory_available(t.path), 1000000ull << 10);
    write_file(&t, "/sys/fs/cgroup/outer/inner", "memory.max", "max\n");
    write_file(&t, "/sys/fs/cgroup/outer", "memory.max", "500000000\n");
    write_file(&t, "/sys/fs/cgroup/outer", "memory.current", "400000000\n");
    write_file(&t, "/sys/fs/cgroup/outer", "memory.stat", "anon 1\nfile 150000000\n");
    assert_int_equal(memory_available(t.path), 250000000);
    write_file(&t, "/sys/fs/cgroup/outer", "memory.current", "700000000\n");
    assert_int_equal(memory_available(t.path), 0);
    write_file(&t, "/sys/fs/cgroup/outer", "memory.max", "max\n");
    write_file(&t, "/proc/self", "status", "VmPeak: 9 kB\nVmSize:   300000 kB\n");
    write_file(&t, "/proc/self", "limits",
               "Limit             Soft Limit  Hard Limit  Units\n"
               "Max file locks    unlimited   unlimited   locks\n"
               "Max address space unlimited   unlimited   bytes\n");
    assert_int_equal(memory_available(t.path), 1000000ull << 10);
    write_file(&t, "/proc/self", "limits", "Max address space 409600000   unlimited   bytes\n");
    assert_int_equal(memory_available(t.path), 409600000 - 307200000);
    write_file(&t, "/proc/self", "limits", "Max address space 300000000   unlimited   bytes\n");
    assert_int_equal(memory_available(t.path), 0);
    temp_folder_clear(t.path);
}

static void test_what_does_not_fit_is_refused_with_what_to_change(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&smollm2, &tiny_lora);
    const struct engine_rows rows = {.train = 512, .score = 512};
    struct engine_need need;
    struct errbuf e = {0};
    assert_int_equal(memory_fits(&config, 4, &rows, SIZE_MAX, &need, &e), OK);
    const size_t least = need.resident + 4 * need.slot;
    assert_int_equal(memory_fits(&config, 4, &rows, least, &need, &e), OK);
    assert_int_equal(memory_fits(&config, 4, &rows, least - 1, &need, &e), ERR_NOMEM);
    assert_non_null(strstr(e.text, "4 slots"));
    assert_non_null(strstr(e.text, "--gradient-checkpointing"));
    config.checkpointing = true;
    assert_int_equal(memory_fits(&config, 4, &rows, least / 8, &need, &e), ERR_NOMEM);
    assert_null(strstr(e.text, "--gradient-checkpointing"));
}

static void test_scores_need_less_than_gradients_of_as_many_rows(void **state)
{
    (void)state;
    struct engine_config config = tiny_config(&deep, &tiny_lora);
    const struct engine_rows train = {.train = 500, .score = 16};
    const struct engine_rows score = {.train = 16, .score = 500};
    struct engine_need trains, scores;
    struct errbuf e = {0};
    assert_int_equal(engine_need(&config, &train, &trains, &e), OK);
    assert_int_equal(engine_need(&config, &score, &scores, &e), OK);
    assert_true(scores.slot < trains.slot / 2);
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
        cmocka_unit_test(test_checkpointing_changes_no_bit_and_needs_less),
        cmocka_unit_test(test_nor_with_dropout_or_few_targets),
        cmocka_unit_test(test_what_a_slot_takes_is_what_was_predicted),
        cmocka_unit_test(test_an_anchor_is_predicted_too),
        cmocka_unit_test(test_at_135m_checkpointing_needs_less_than_half),
        cmocka_unit_test(test_what_is_free_is_the_least_of_machine_and_cgroups),
        cmocka_unit_test(test_what_does_not_fit_is_refused_with_what_to_change),
        cmocka_unit_test(test_scores_need_less_than_gradients_of_as_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
