/* test_model_file.c - models from a folder and from a GGUF: tensors equal to those the Python
 * packages give, each refusal with its message, every failing allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/format/gguf.h"
#include "common/format/model_file.h"
#include "common/format/model_tensors.h"
#include "common/format/safetensors.h"
#include "common/text/tokenizer.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"

static struct temp_folder temp;

static struct model_file *open_golden(const char *name)
{
    char path[FILE_PATH_BYTES];
    struct model_file *mf = NULL;
    struct errbuf e = {0};
    (void)snprintf(path, sizeof path, "tests/golden/%s", name);
    if (model_open(path, &mf, &e) != OK) {
        fail_msg("%s", e.text);
    }
    return mf;
}

/* Reads a tensor in pieces of `step` rows and compares the SHA-256 of its bytes. */
static void assert_tensor(const struct model_file *mf, const char *name, uint32_t step,
                          const char *sha256)
{
    uint32_t rows = 0;
    uint32_t cols = 0;
    char hex[HASH_SHA256_HEX];
    struct errbuf e = {0};
    assert_true(model_tensor_shape(mf, name, &rows, &cols));
    float *out = mem_calloc((size_t)rows * cols, sizeof *out);
    assert_non_null(out);
    for (uint32_t row = 0; row < rows; row += step) {
        uint32_t n = rows - row < step ? rows - row : step;
        assert_int_equal(model_tensor_read(mf, name, row, n, out + (size_t)row * cols, &e), OK);
    }
    hash_sha256_hex(out, (size_t)rows * cols * sizeof *out, hex);
    mem_free(out);
    if (strcmp(hex, sha256) != 0) {
        fail_msg("%s: %s in pieces of %u rows is %s", model_path(mf), name, step, hex);
    }
}

static void test_every_tensor_of_every_golden_model_is_the_reference_bit_for_bit(void **state)
{
    (void)state;
    json_error_t why;
    json_t *all = json_load_file("tests/golden/weights.json", 0, &why);
    const char *model;
    const char *name;
    json_t *tensors;
    json_t *sum;
    size_t compared = 0;
    assert_non_null(all);
    json_object_foreach(all, model, tensors)
    {
        struct model_file *mf = open_golden(model);
        json_object_foreach(tensors, name, sum)
        {
            assert_tensor(mf, name, UINT32_MAX, json_string_value(sum));
            assert_tensor(mf, name, 3, json_string_value(sum));
            compared++;
        }
        model_close(&mf);
        assert_null(mf);
    }
    json_decref(all);
    assert_true(compared >= 350);
}

static void test_shape_tokenizer_and_description_are_known_after_opening(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name, *quantisation;
        uint64_t parameters;
        bool gguf, tied;
    } rows[] = {{"tiny", "tiny", "F32", 38112, false, true},
                {"tiny-f16", "tiny-f16", "F16", 38112, false, true},
                {"tiny-bf16/", "tiny-bf16", "BF16", 38112, false, true},
                {"tiny-sharded", "tiny-sharded", "F32", 38112, false, true},
                {"tiny-untied", "tiny-untied", "F32", 48352, false, false},
                {"gguf/tiny.Q4_1.gguf", NULL, "Q4_1", 38112, true, true},
                {"gguf/tiny-untied.Q8_0.gguf", NULL, "Q8_0", 48352, true, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_file *mf = open_golden(rows[i].path);
        const struct model_shape *s = model_shape(mf);
        struct model_description d = model_describe(mf);
        assert_int_equal(s->layers, 3);
        assert_int_equal(s->hidden, 32);
        assert_int_equal(s->ff, 64);
        assert_int_equal(s->heads, 4);
        assert_int_equal(s->kv_heads, 2);
        assert_int_equal(s->head_dim, 8);
        assert_int_equal(s->vocab, 320);
        assert_true(s->rope_theta == (rows[i].tied ? 1e4f : 1e5f) && s->rms_eps == 1e-5f);
        assert_int_equal(s->tied_head, rows[i].tied);
        assert_int_equal(d.parameters, rows[i].parameters);
        assert_string_equal(d.quantisation, rows[i].quantisation);
        if (rows[i].name) {
            assert_string_equal(d.name, rows[i].name);
        }
        assert_int_equal(model_kind(mf), rows[i].gguf ? MODEL_GGUF_FILE : MODEL_HF_FOLDER);
        assert_int_equal(model_gguf(mf) != NULL, rows[i].gguf);
        assert_int_equal(model_tokenizer_json(mf) == NULL, rows[i].gguf);
        model_close(&mf);
    }
}

static void test_a_tied_head_is_the_embedding_and_unknown_names_are_refused(void **state)
{
    (void)state;
    struct model_file *mf = open_golden("tiny");
    struct errbuf e = {0};
    uint32_t rows;
    uint32_t cols;
    float a[64];
    float b[64];
    assert_true(model_tensor_shape(mf, "lm_head.weight", &rows, &cols));
    assert_true(rows == 320 && cols == 32);
    assert_int_equal(model_tensor_read(mf, "lm_head.weight", 7, 2, a, &e), OK);
    assert_int_equal(model_tensor_read(mf, "model.embed_tokens.weight", 7, 2, b, &e), OK);
    assert_memory_equal(a, b, sizeof a);
    assert_false(model_tensor_shape(mf, "model.layers.3.self_attn.q_proj.weight", &rows, &cols));
    assert_int_equal(model_tensor_read(mf, "blk.0.attn_q.weight", 0, 1, a, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "the model has no tensor blk.0.attn_q.weight"));
    assert_int_equal(model_tensor_read(mf, "lm_head.weight", 319, 2, a, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "has 320 rows; 2 from row 319 on are not there"));
    assert_int_equal(model_tensor_read(mf, "lm_head.weight", 320, 0, a, &e), OK);
    model_close(&mf);
}

static void test_rows_of_a_head_go_from_halves_to_pairs(void **state)
{
    (void)state;
    static const uint32_t pairs[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    for (uint32_t i = 0; i < 24; i++) {
        assert_int_equal(model_tensors_gguf_row(i, 8), i / 8 * 8 + pairs[i % 8]);
    }
}

static void assert_refused(const char *path, enum err code, const char *message)
{
    struct model_file *mf = NULL;
    struct errbuf e = {0};
    enum err error = model_open(path, &mf, &e);
    if (error != code || !strstr(e.text, message) || mf) {
        fail_msg("%s: got %d \"%s\", wanted \"%s\"", path, (int)error, e.text, message);
    }
}

static const struct {
    struct gguf_build_model model;
    enum err error;
    const char *message;
} gguf_faults[] = {
    {{.matrix = QUANT_Q4_0}, OK, ""},
    {{.matrix = QUANT_BF16, .untied = true}, OK, ""},
    {{.skip = "blk.0.ffn_up.weight"},
     ERR_NOT_FOUND,
     "tensor blk.0.ffn_up.weight (model.layers.0.mlp.up_proj.weight) is missing"},
    {{.skip = "token_embd.weight"}, ERR_NOT_FOUND, "tensor token_embd.weight is missing"},
    {{.misshapen = "blk.0.attn_k.weight"},
     ERR_RANGE,
     "tensor blk.0.attn_k.weight has 17 rows of 32 in 2 dimensions; the model needs 16 of 32"},
    {{.extra = "blk.0.attn_q.bias"}, ERR_UNSUPPORTED, "tensor blk.0.attn_q.bias is no part of"},
    {{.extra = "rope_freqs.weight"}, ERR_UNSUPPORTED, "tensor rope_freqs.weight scales RoPE"},
    {{.extra = "blk.0.attn_rot_embd.weight"}, OK, ""},
    {{.other = "blk.0.attn_v.weight"},
     ERR_UNSUPPORTED,
     "tensor blk.0.attn_v.weight is Q4_K; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are supported"},
    {{.skip = "blk.0.ffn_up.weight", .key = "split.count", .type_of_key = GGUF_U32, .value = 3},
     ERR_UNSUPPORTED,
     "is part 1 of 3 of a split GGUF; one file is needed: llama-gguf-split --merge"},
    {{.key = "split.count", .type_of_key = GGUF_U32, .value = 1}, OK, ""},
    {{.key = "general.architecture", .type_of_key = GGUF_STRING, .text = "qwen2"},
     ERR_UNSUPPORTED,
     "general.architecture is \"qwen2\"; \"llama\" is supported"},
    {{.key = "general.type", .type_of_key = GGUF_STRING, .text = "adapter"},
     ERR_UNSUPPORTED,
     "general.type is \"adapter\""},
    {{.key = "llama.rope.scaling.type", .type_of_key = GGUF_STRING, .text = "yarn"},
     ERR_UNSUPPORTED,
     "llama.rope.scaling.type is \"yarn\"; \"none\" is supported"},
    {{.key = "llama.rope.scaling.factor", .type_of_key = GGUF_F32, .value = 4},
     ERR_UNSUPPORTED,
     "llama.rope.scaling.factor is 4"},
    {{.key = "llama.expert_count", .type_of_key = GGUF_U32, .value = 8},
     ERR_UNSUPPORTED,
     "llama.expert_count is 8"},
    {{.key = "llama.rope.dimension_count", .type_of_key = GGUF_U32, .value = 8},
     ERR_UNSUPPORTED,
     "rope.dimension_count 8 differ"},
    {{.key = "llama.vocab_size", .type_of_key = GGUF_U32, .value = 41},
     ERR_RANGE,
     "llama.vocab_size is 41, token_embd.weight has 40 rows"},
    {{.key = "llama.attention.head_count", .type_of_key = GGUF_U32, .value = 5},
     ERR_RANGE,
     "llama.embedding_length 32 is no multiple of llama.attention.head_count 5"},
    {{.key = "llama.attention.head_count", .type_of_key = GGUF_STRING, .text = "2"},
     ERR_PARSE,
     "llama.attention.head_count is a value of type string, an integer is needed"},
    {{.key = "llama.block_count", .type_of_key = GGUF_U32, .value = 2},
     ERR_NOT_FOUND,
     "tensor blk.1.attn_norm.weight"},
    {{.key = "llama.block_count", .type_of_key = GGUF_U32, .value = 0},
     ERR_RANGE,
     "llama.block_count is 0"},
    {{.key = "llama.block_count", .type_of_key = GGUF_U32, .value = 100000},
     ERR_RANGE,
     "layers is 100000, 1 to 512"},
    {{.key = "llama.rope.freq_base", .type_of_key = GGUF_F32, .value = 0},
     ERR_RANGE,
     "rope_theta is 0"},
};

static void test_each_fault_of_a_gguf_model_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof gguf_faults / sizeof gguf_faults[0]; i++) {
        struct str s = {0};
        struct model_file *mf = NULL;
        struct errbuf e = {0};
        gguf_build_tiny_model(&s, &gguf_faults[i].model);
        assert_int_equal(str_ok(&s), OK);
        const char *path = temp_folder_write(&temp, "fault.gguf", s.data, s.len);
        if (gguf_faults[i].error != OK) {
            assert_refused(path, gguf_faults[i].error, gguf_faults[i].message);
        } else if (model_open(path, &mf, &e) != OK) {
            fail_msg("row %zu: %s", i, e.text);
        }
        model_close(&mf);
        str_free(&s);
    }
}

/* A folder of its own with the config and tokenizer of tiny; gives its path. */
static const char *new_folder(const char *name, const char *config)
{
    static char path[FILE_PATH_BYTES];
    char inner[FILE_PATH_BYTES + 32];
    struct errbuf e = {0};
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(file_read("tests/golden/tiny/config.json", 1 << 20, &text, &n, &e), OK);
    (void)snprintf(path, sizeof path, "%s/%s", temp.path, name);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(inner, sizeof inner, "%s/config.json", path);
    config = config ? config : text;
    assert_int_equal(file_write_atomic(inner, config, strlen(config), &e), OK);
    (void)snprintf(inner, sizeof inner, "%s/tokenizer.json", path);
    assert_int_equal(file_write_atomic(inner, "{}", 2, &e), OK);
    mem_free(text);
    return path;
}

static void put(const char *folder, const char *name, const void *data, size_t n)
{
    char path[FILE_PATH_BYTES + 256];
    struct errbuf e = {0};
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write_atomic(path, data, n, &e), OK);
}

/* Writes tiny's weights with one tensor left out, renamed or with another dtype. */
static void put_weights(const char *folder, const char *chosen, const char *new_name,
                        enum safetensors_dtype dtype)
{
    struct safetensors *st = NULL;
    struct safetensors_item items[64];
    struct errbuf e = {0};
    char path[FILE_PATH_BYTES + 32];
    static float zeros[320 * 32];
    size_t n = 0;
    assert_int_equal(safetensors_open("tests/golden/tiny/model.safetensors", &st, &e), OK);
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct safetensors_tensor *t = safetensors_at(st, i);
        bool is_chosen = strcmp(t->name, chosen) == 0;
        if (is_chosen && !new_name) {
            continue;
        }
        items[n] = (struct safetensors_item){
            is_chosen ? new_name : t->name, is_chosen ? dtype : t->dtype, t->n_dims, {0}, zeros};
        memcpy(items[n++].dims, t->dims, sizeof t->dims);
    }
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(safetensors_write(path, items, n, NULL, 0, &e), OK);
    safetensors_close(&st);
}

static void test_each_fault_of_a_folder_is_named(void **state)
{
    (void)state;
    static const char up[] = "model.layers.1.mlp.up_proj.weight";
    const char *folder = new_folder("faults", NULL);
    assert_refused(folder, ERR_NOT_FOUND, "neither model.safetensors nor model.safetensors.index");
    put_weights(folder, up, NULL, SAFETENSORS_F32);
    assert_refused(folder, ERR_NOT_FOUND, "tensor model.layers.1.mlp.up_proj.weight is missing");
    put_weights(folder, up, up, SAFETENSORS_I32);
    assert_refused(folder, ERR_UNSUPPORTED, "up_proj.weight is I32; F32, F16 and BF16 are");
    put_weights(folder, "none", "", SAFETENSORS_F32);
    struct model_file *mf = NULL;
    struct errbuf e = {0};
    assert_int_equal(model_open(folder, &mf, &e), OK);
    model_close(&mf);
    put_weights(folder, "model.norm.weight", "model.norm.bias", SAFETENSORS_F32);
    assert_refused(folder, ERR_NOT_FOUND, "tensor model.norm.weight is missing");
    put(folder, "model.safetensors", "text", 4);
    assert_refused(folder, ERR_CORRUPT, "model.safetensors: has 4 bytes");
    put(folder, "config.json", "{\"model_type\":\"mistral\"}", 24);
    assert_refused(folder, ERR_UNSUPPORTED, "config.json: model_type is \"mistral\"; \"llama\"");
    put(folder, "config.json", "{", 1);
    assert_refused(folder, ERR_PARSE, "config.json: line 1 column 1");
    assert_refused(temp_folder_file(&temp, "absent"), ERR_NOT_FOUND, "absent: No such file");
    assert_refused("tests/golden/tiny/model.safetensors", ERR_PARSE, "does not begin with GGUF");
    assert_int_equal(mkfifo(temp_folder_file(&temp, "fifo"), 0600), 0);
    assert_refused(temp_folder_file(&temp, "fifo"), ERR_UNSUPPORTED, "not a regular file");
}

static void test_extra_tensors_are_refused_unless_harmless(void **state)
{
    (void)state;
    static const struct {
        const char *name, *message;
    } rows[] = {{"model.layers.0.self_attn.rotary_emb.inv_freq", NULL},
                {"lm_head.weight", NULL}, /* tied: transformers ignores it too */
                {"model.layers.0.self_attn.q_proj.bias", "q_proj.bias is no part of a plain Llama"},
                {"model.layers.0.self_attn.q_proj.lora_A.weight", "lora_A.weight is no part of"}};
    const float zero[32] = {0};
    const char *folder = new_folder("extra", NULL);
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    assert_int_equal(safetensors_open("tests/golden/tiny/model.safetensors", &st, &e), OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static float zeros[320 * 32];
        struct safetensors_item items[64];
        char path[FILE_PATH_BYTES + 32];
        size_t n = 0;
        for (; n < safetensors_count(st); n++) {
            const struct safetensors_tensor *t = safetensors_at(st, n);
            items[n] = (struct safetensors_item){t->name, t->dtype, t->n_dims, {0}, zeros};
            memcpy(items[n].dims, t->dims, sizeof t->dims);
        }
        items[n++] = (struct safetensors_item){rows[i].name, SAFETENSORS_F32, 1, {32}, zero};
        (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
        assert_int_equal(safetensors_write(path, items, n, NULL, 0, &e), OK);
        if (rows[i].message) {
            assert_refused(folder, ERR_UNSUPPORTED, rows[i].message);
        } else {
            struct model_file *mf = NULL;
            assert_int_equal(model_open(folder, &mf, &e), OK);
            model_close(&mf);
        }
    }
    safetensors_close(&st);
}

static void test_an_index_names_plain_files_that_hold_what_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        enum err error;
        const char *message;
    } rows[] = {
        {"{}", ERR_PARSE, "weight_map is nothing"},
        {"{\"weight_map\":{}}", ERR_PARSE, "weight_map is empty"},
        {"{\"weight_map\":{\"a\":1}}", ERR_REFUSED, "tensor a lies in an integer; a plain file"},
        {"{\"weight_map\":{\"a\":\"../tiny/model.safetensors\"}}", ERR_REFUSED,
         "a plain file name"},
        {"{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", ERR_REFUSED, "a plain file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", ERR_REFUSED, "a plain file name"},
        {"{\"weight_map\":{\"a\":\".safetensors\"}}", ERR_REFUSED, "a plain file name"},
        {"{\"weight_map\":{\"a\":\"weights.bin\"}}", ERR_REFUSED, "ends in .safetensors"},
        {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", ERR_NOT_FOUND, "absent.safetensors"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\"}}", ERR_NOT_FOUND,
         "weight_map: tensor a is not in one.safetensors"},
        {"{\"weight_map\":{\"b\":\"one.safetensors\"}}", ERR_CORRUPT,
         "tensor c is in one.safetensors, weight_map says nothing of it"},
        {"{\"weight_map\":{\"b\":\"one.safetensors\",\"c\":\"two.safetensors\"}}", ERR_CORRUPT,
         "tensor c is in one.safetensors, weight_map says two.safetensors"},
        {"[]", ERR_PARSE, "model.safetensors.index.json: the top is an array"},
    };
    const float zero[4] = {0};
    const struct safetensors_item items[] = {{"b", SAFETENSORS_F32, 1, {4}, zero},
                                             {"c", SAFETENSORS_F32, 1, {4}, zero}};
    const char *folder = new_folder("index", NULL);
    char path[FILE_PATH_BYTES + 32];
    struct errbuf e = {0};
    (void)snprintf(path, sizeof path, "%s/one.safetensors", folder);
    assert_int_equal(safetensors_write(path, items, 2, NULL, 0, &e), OK);
    (void)snprintf(path, sizeof path, "%s/two.safetensors", folder);
    assert_int_equal(safetensors_write(path, items + 1, 1, NULL, 0, &e), OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put(folder, "model.safetensors.index.json", rows[i].index, strlen(rows[i].index));
        assert_refused(folder, rows[i].error, rows[i].message);
    }
}

static void test_every_failing_allocation_gives_an_error(void **state)
{
    (void)state;
    static const char *const paths[] = {"tests/golden/tiny-sharded",
                                        "tests/golden/gguf/tiny.F16.gguf"};
    for (size_t i = 0; i < 2; i++) {
        enum err error = ERR_NOMEM;
        for (unsigned long n = 1; error != OK; n++) {
            struct model_file *mf = NULL;
            struct errbuf e = {0};
            mem_fail_after(n);
            error = model_open(paths[i], &mf, &e);
            mem_fail_after(0);
            if (n > 10000 || (error != OK && (error != ERR_NOMEM || e.text[0] == '\0' || mf))) {
                fail_msg("%s: allocation %lu: %d \"%s\"", paths[i], n, (int)error, e.text);
            }
            model_close(&mf);
        }
    }
}

static int set_up(void **state)
{
    (void)state;
    temp_folder_make(&temp);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_folder_clear(temp.path);
    return 0;
}

static void test_context_and_bos_flag_are_read_where_files_say_them(void **state)
{
    (void)state;
    static const char config[] = "{\"add_bos_token\": true}";
    struct model_file *mf = open_golden("tiny");
    assert_int_equal(model_context(mf), 256);
    assert_false(model_wants_bos(mf));
    model_close(&mf);
    mf = open_golden("gguf/tiny.Q4_1.gguf");
    assert_int_equal(model_context(mf), 256);
    model_close(&mf);
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    const char *folder = new_folder("bos", NULL);
    put_weights(folder, "none", "", SAFETENSORS_F32);
    put(folder, "tokenizer_config.json", config, sizeof config - 1);
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(file_read("tests/golden/tiny/tokenizer.json", 1 << 24, &text, &n, &e), OK);
    put(folder, "tokenizer.json", text, n);
    mem_free(text);
    assert_int_equal(model_open(folder, &mf, &e), OK);
    assert_true(model_wants_bos(mf));
    assert_int_equal(tokenizer_open(mf, &tok, &e), OK);
    assert_true(tokenizer_notes(tok).wants_bos);
    assert_int_equal(tokenizer_notes(tok).context, 256);
    tokenizer_close(&tok);
    model_close(&mf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor_of_every_golden_model_is_the_reference_bit_for_bit),
        cmocka_unit_test(test_context_and_bos_flag_are_read_where_files_say_them),
        cmocka_unit_test(test_shape_tokenizer_and_description_are_known_after_opening),
        cmocka_unit_test(test_a_tied_head_is_the_embedding_and_unknown_names_are_refused),
        cmocka_unit_test(test_rows_of_a_head_go_from_halves_to_pairs),
        cmocka_unit_test(test_each_fault_of_a_gguf_model_is_named),
        cmocka_unit_test(test_each_fault_of_a_folder_is_named),
        cmocka_unit_test(test_extra_tensors_are_refused_unless_harmless),
        cmocka_unit_test(test_an_index_names_plain_files_that_hold_what_it_says),
        cmocka_unit_test(test_every_failing_allocation_gives_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
