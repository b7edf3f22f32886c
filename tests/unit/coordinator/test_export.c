/* test_export.c - the exported PEFT folder, read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/safetensors.h"
#include "coordinator/config.h"
#include "coordinator/export.h"
#include "coordinator/values.h"

static const char values_text[] =
    "axes:\n  - name: \"Pace\"\n    poles:\n"
    "      - {name: \"Fast\", sentence: \"Such a person is quick.\"}\n"
    "      - {name: \"Slow\", sentence: \"Such a person is \\\"calm\\\".\"}\n";

static const struct model_shape shape = {.layers = 2,
                                         .hidden = 8,
                                         .ff = 12,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 4,
                                         .vocab = 16,
                                         .rope_theta = 1e4f,
                                         .rms_eps = 1e-5f};
static const struct lora_config lora = {
    .r = 2, .alpha = 4.0f, .targets = 1u << LORA_Q | 1u << LORA_DOWN};

static json_t *load_json(const char *folder, const char *name)
{
    char path[FILE_PATH_BYTES];
    json_error_t where;
    assert_int_equal(file_join(path, folder, name, NULL), OK);
    json_t *root = json_load_file(path, 0, &where);
    if (!root) {
        print_message("%s: %s at %d\n", name, where.text, where.line);
    }
    assert_non_null(root);
    return root;
}

static void check_weights(const char *folder, const float *flat)
{
    char path[FILE_PATH_BYTES];
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    float read[64];
    struct lora_place place;
    assert_int_equal(file_join(path, folder, "adapter_model.safetensors", &e), OK);
    assert_int_equal(safetensors_open(path, &st, &e), OK);
    assert_int_equal(safetensors_count(st), 2 * 2 * 2);
    const struct safetensors_tensor *t =
        safetensors_find(st, "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[0], 8);
    assert_int_equal(t->dims[1], 2);
    assert_true(lora_place(&shape, &lora, 1, LORA_DOWN, &place));
    assert_int_equal(safetensors_read_f32(st, t, 0, 16, read, &e), OK);
    assert_memory_equal(read, flat + place.b, 16 * sizeof *read);
    assert_non_null(
        safetensors_find(st, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"));
    safetensors_close(&st);
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_config.json",
                                        "pft.json", "chat_template.jinja", "README.md"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[FILE_PATH_BYTES];
        assert_int_equal(file_join(path, folder, names[i], NULL), OK);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void test_the_folder_holds_what_peft_reads_and_how_it_was_trained(void **state)
{
    (void)state;
    char folder[] = "/tmp/pft-export-XXXXXX";
    struct errbuf e = {0};
    struct run_config *cfg = NULL;
    struct values *values = NULL;
    size_t count = lora_count(&shape, &lora);
    float *flat = mem_calloc(count, sizeof *flat);
    assert_non_null(flat);
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < count; i++) {
        flat[i] = (float)i * 0.25f;
    }
    static const char dpo[] = "train.objective: dpo";
    assert_int_equal(config_parse(dpo, sizeof dpo - 1, "test", ".", NULL, 0, &cfg, &e), OK);
    assert_int_equal(values_parse(values_text, sizeof values_text - 1, "test", &values, &e), OK);
    const struct export_input in = {.cfg = cfg,
                                    .values = values,
                                    .shape = &shape,
                                    .lora = &lora,
                                    .flat = flat,
                                    .version = 3,
                                    .base_name = "Tiny \"quoted\"",
                                    .base_quantisation = "F32",
                                    .base_hash = "00ff"};
    char first[65];
    char second[65];
    assert_int_equal(export_peft(folder, &in, &e), OK);
    assert_int_equal(export_hash(folder, first, &e), OK);
    assert_int_equal(export_peft(folder, &in, &e), OK);
    assert_int_equal(export_hash(folder, second, &e), OK);
    assert_string_equal(first, second);
    check_weights(folder, flat);

    json_t *config = load_json(folder, "adapter_config.json");
    assert_string_equal(json_string_value(json_object_get(config, "peft_type")), "LORA");
    assert_int_equal(json_integer_value(json_object_get(config, "r")), 2);
    json_t *targets = json_object_get(config, "target_modules");
    assert_int_equal(json_array_size(targets), 2);
    assert_string_equal(json_string_value(json_array_get(targets, 1)), "down_proj");
    json_decref(config);

    json_t *about = load_json(folder, "pft.json");
    json_t *example = json_object_get(about, "example");
    const char *prompt = json_string_value(json_object_get(example, "prompt"));
    assert_non_null(strstr(prompt, "Answer as someone who values 'Fast'. Such a person is quick."));
    assert_non_null(strstr(prompt, "<|im_end|>\n<|im_start|>assistant\n"));
    assert_int_equal(json_array_size(json_object_get(about, "values")), 1);
    json_decref(about);

    char path[FILE_PATH_BYTES];
    char *readme = NULL;
    size_t bytes = 0;
    assert_int_equal(file_join(path, folder, "README.md", NULL), OK);
    assert_int_equal(file_read(path, 1 << 20, &readme, &bytes, &e), OK);
    assert_non_null(strstr(readme, "conflicting preferences, objective dpo\n"));
    mem_free(readme);

    remove_folder(folder);
    values_free(&values);
    config_free(&cfg);
    mem_free(flat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_folder_holds_what_peft_reads_and_how_it_was_trained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
