/* test_truncations.c - every file that is read, cut after every byte: each cut is an error with a
 * text, nothing is read past the end (the copies are exactly so long) and nothing stays behind.
 * Messages and units frames: test_message.c, test_units_frame.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/gguf.h"
#include "common/format/hf_config.h"
#include "common/format/safetensors.h"
#include "common/text/tokenizer.h"
#include "common/wire/status_message.h"
#include "coordinator/checkpoint.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/values.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"
#include "tests/unit/common/text/tiny_tokenizer.h"

/* Reads bytes of a format and frees what came out. */
typedef enum err (*reader)(const char *data, size_t bytes, struct errbuf *e);

static enum err read_copy(reader read, const char *data, size_t bytes, struct errbuf *e)
{
    char *copy = mem_calloc(bytes, 1);
    assert_non_null(copy);
    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    e->text[0] = '\0';
    enum err error = read(copy, bytes, e);
    mem_free(copy);
    return error;
}

static void check_cut(reader read, const char *data, size_t bytes)
{
    struct errbuf e;
    if (read_copy(read, data, bytes, &e) == OK) {
        fail_msg("the first %zu bytes are taken for a whole file", bytes);
    }
    assert_string_not_equal(e.text, "");
}

/* Whole it is read; cut after byte 0, 1, ... it is refused. */
static void check_every_cut(reader read, const char *data, size_t bytes)
{
    struct errbuf e;
    if (read_copy(read, data, bytes, &e) != OK) {
        fail_msg("%s", e.text);
    }
    for (size_t n = 0; n < bytes; n++) {
        check_cut(read, data, n);
    }
}

static enum err read_safetensors(const char *data, size_t bytes, struct errbuf *e)
{
    struct safetensors *st = NULL;
    enum err error = safetensors_open_memory(data, bytes, &st, e);
    safetensors_close(&st);
    return error;
}

static void test_every_cut_of_safetensors_is_refused(void **state)
{
    static const float numbers[6] = {1, 2, 3, 4, 5, 6};
    const struct safetensors_item items[] = {
        {.name = "a", .dtype = SAFETENSORS_F32, .n_dims = 2, .dims = {2, 3}, .data = numbers},
        {.name = "b", .dtype = SAFETENSORS_BF16, .n_dims = 1, .dims = {4}, .data = numbers}};
    const struct safetensors_text note = {"format", "pt"};
    struct temp_folder temp;
    struct errbuf e;
    char *data = NULL;
    size_t bytes = 0;
    (void)state;
    temp_folder_make(&temp);
    const char *path = temp_folder_file(&temp, "x.safetensors");
    assert_int_equal(safetensors_write(path, items, 2, &note, 1, &e), OK);
    assert_int_equal(file_read(path, 1 << 20, &data, &bytes, &e), OK);
    check_every_cut(read_safetensors, data, bytes);
    mem_free(data);
    temp_folder_clear(temp.path);
}

static enum err read_gguf(const char *data, size_t bytes, struct errbuf *e)
{
    struct gguf *g = NULL;
    enum err error = gguf_open_memory(data, bytes, &g, e);
    gguf_close(&g);
    return error;
}

static void test_every_cut_of_gguf_is_refused(void **state)
{
    struct str s = {0};
    (void)state;
    gguf_build_every_type(&s);
    assert_int_equal(str_ok(&s), OK);
    check_every_cut(read_gguf, s.data, s.len);
    str_free(&s);
}

static enum err read_tokenizer(const char *data, size_t bytes, struct errbuf *e)
{
    struct tokenizer *tok = NULL;
    enum err error = tokenizer_from_json(data, bytes, TINY_VOCAB, &tok, e);
    tokenizer_close(&tok);
    return error;
}

static void test_every_cut_of_tokenizer_json_is_refused(void **state)
{
    struct str s = tiny_json(TINY_PRE_SMOLLM, "");
    (void)state;
    check_every_cut(read_tokenizer, s.data, s.len);
    str_free(&s);
}

static enum err read_hf_config(const char *data, size_t bytes, struct errbuf *e)
{
    struct model_shape shape;
    return hf_config_parse(data, bytes, &shape, e);
}

static void test_every_cut_of_config_json_is_refused(void **state)
{
    static const char text[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,\"vocab_size\":8,"
        "\"num_hidden_layers\":1,\"intermediate_size\":96,\"max_position_embeddings\":64}";
    (void)state;
    check_every_cut(read_hf_config, text, sizeof text - 1);
}

static enum err read_data(const char *data, size_t bytes, struct errbuf *e)
{
    struct dataset *d = NULL;
    enum err error = dataset_parse(data, bytes, "d", NULL, GROUP_SCENARIO, &d, e);
    dataset_free(&d);
    return error;
}

static void test_every_cut_of_scenarios_is_refused(void **state)
{
    static const char text[] =
        "[{\"scenario\": \"S\\u00e9\", \"preference domain\": \"Risk\", \"scene\": \"x\", "
        "\"options\": [{\"text\": \"b\", \"bias\": \"Bold\"}, {\"text\": \"c\xC3\xA9\", \"bias\": "
        "\"Careful\"}]}]";
    static const char values[] = "{axes: [{name: Risk, poles: [{name: Bold, sentence: b.}, {name: "
                                 "Careful, sentence: c.}]}]}";
    (void)state;
    struct values *v = NULL;
    struct errbuf e;
    assert_int_equal(values_parse(values, sizeof values - 1, "v", &v, &e), OK);
    for (size_t n = 0; n < sizeof text; n++) {
        struct dataset *d = NULL;
        enum err error = dataset_parse(text, n, "d", v, GROUP_SCENARIO, &d, &e);
        assert_int_equal(error == OK, n == sizeof text - 1);
        dataset_free(&d);
    }
    values_free(&v);
}

/* A line by itself is a whole file: a cut there is another file, every other one is refused. */
static void test_every_cut_of_pairs_a_line_each_is_refused(void **state)
{
    static const char line[] = "{\"instruction\": \"I\", \"extra_a\": \"\", \"response_a\": \"a\", "
                               "\"extra_b\": \"e\", \"response_b\": \"b\"}\n";
    (void)state;
    struct str two = {0};
    str_add(&two, line);
    str_add(&two, line);
    const size_t length = sizeof line - 1;
    struct errbuf e;
    for (size_t n = 0; n <= two.len; n++) {
        if (n == length - 1 || n == length || n >= two.len - 1) {
            assert_int_equal(read_copy(read_data, two.data, n, &e), OK);
        } else {
            check_cut(read_data, two.data, n);
        }
    }
    str_free(&two);
}

static enum err read_settings(const char *data, size_t bytes, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    enum err error = config_parse(data, bytes, "c.yaml", "/", NULL, 0, &cfg, e);
    config_free(&cfg);
    return error;
}

static enum err read_values(const char *data, size_t bytes, struct errbuf *e)
{
    struct values *v = NULL;
    enum err error = values_parse(data, bytes, "v.yaml", &v, e);
    values_free(&v);
    return error;
}

/* In brackets, so that a cut cannot be another whole file; in block style it often is. */
static void test_every_cut_of_settings_and_values_is_refused(void **state)
{
    static const char settings[] = "{data: {train: \"a.json\"}, train: {seed: 3}, lora: {r: 4}}";
    static const char values[] = "{axes: [{name: R, poles: [{name: A, sentence: x}, {name: B, "
                                 "sentence: \"z\\u00e9\"}]}]}";
    (void)state;
    struct errbuf e;
    assert_int_equal(read_copy(read_settings, settings, sizeof settings - 1, &e), OK);
    for (size_t n = 1; n < sizeof settings - 1; n++) { /* no text at all is all defaults */
        check_cut(read_settings, settings, n);
    }
    check_every_cut(read_values, values, sizeof values - 1);
}

static void test_every_cut_of_checkpoints_is_refused(void **state)
{
    enum { COUNT = 3 };
    const uint8_t fixed[CHECKPOINT_CONFIG_BYTES] = {1};
    const struct adamw_config cfg = {0};
    struct temp_folder temp;
    struct params *p = NULL;
    struct errbuf e;
    char *data = NULL;
    size_t bytes = 0;
    uint64_t oldest;
    (void)state;
    temp_folder_make(&temp);
    assert_int_equal(params_new_empty(COUNT, &cfg, &p), OK);
    assert_int_equal(checkpoint_write(temp.path, p, fixed, &oldest, &e), OK);
    const char name[] = "checkpoints/step-0000000000.ckpt";
    char path[FILE_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s", temp_folder_file(&temp, name));
    assert_int_equal(file_read(path, 1 << 20, &data, &bytes, &e), OK);
    for (size_t n = 0; n < bytes; n++) {
        (void)temp_folder_write(&temp, name, data, n);
        e.text[0] = '\0';
        assert_int_equal(checkpoint_load(temp.path, fixed, UINT64_MAX, p, NULL, &e), ERR_CORRUPT);
        assert_string_not_equal(e.text, "");
    }
    (void)temp_folder_write(&temp, name, data, bytes);
    assert_int_equal(checkpoint_load(temp.path, fixed, UINT64_MAX, p, NULL, &e), OK);
    mem_free(data);
    params_free(&p);
    temp_folder_clear(temp.path);
}

/* Fields of a reply may be left out, so that a cut may be another reply; it never harms. */
static void test_no_cut_of_a_status_reply_harms(void **state)
{
    struct status_worker worker = {.id = "w", .host = "h", .slots = 1, .state = "ready"};
    const struct status s = {.schema = STATUS_SCHEMA,
                             .run = "r",
                             .state = "running",
                             .n_workers = 1,
                             .workers = &worker};
    uint8_t *reply;
    size_t bytes;
    (void)state;
    assert_int_equal(status_encode(&s, &reply, &bytes), OK);
    for (size_t n = 0; n <= bytes; n++) {
        struct status out;
        struct errbuf e = {{0}};
        uint8_t *copy = mem_calloc(n, 1);
        assert_non_null(copy);
        if (n > 0) {
            memcpy(copy, reply, n);
        }
        if (status_decode(copy, n, &out, &e) == OK) {
            assert_true(out.n_workers <= 1);
            status_free(&out);
        } else {
            assert_string_not_equal(e.text, "");
        }
        mem_free(copy);
    }
    mem_free(reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut_of_safetensors_is_refused),
        cmocka_unit_test(test_every_cut_of_gguf_is_refused),
        cmocka_unit_test(test_every_cut_of_tokenizer_json_is_refused),
        cmocka_unit_test(test_every_cut_of_config_json_is_refused),
        cmocka_unit_test(test_every_cut_of_scenarios_is_refused),
        cmocka_unit_test(test_every_cut_of_pairs_a_line_each_is_refused),
        cmocka_unit_test(test_every_cut_of_settings_and_values_is_refused),
        cmocka_unit_test(test_every_cut_of_checkpoints_is_refused),
        cmocka_unit_test(test_no_cut_of_a_status_reply_harms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
