/* test_hf_config.c - config.json: both generations of keys, defaults, and each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/format/hf_config.h"

#define SIZES                                                                                      \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":"  \
    "2,"                                                                                           \
    "\"num_attention_heads\":4,\"vocab_size\":100"

static enum err parse(const char *text, struct model_shape *shape, struct errbuf *e)
{
    e->text[0] = '\0';
    return hf_config_parse(text, strlen(text), shape, e);
}

static void test_defaults_are_those_of_transformers(void **state)
{
    (void)state;
    struct model_shape s;
    struct errbuf e;
    assert_int_equal(parse("{" SIZES "}", &s, &e), OK);
    assert_int_equal(s.layers, 2);
    assert_int_equal(s.hidden, 64);
    assert_int_equal(s.ff, 96);
    assert_int_equal(s.heads, 4);
    assert_int_equal(s.kv_heads, 4);
    assert_int_equal(s.head_dim, 16);
    assert_int_equal(s.vocab, 100);
    assert_true(s.rope_theta == 10000.0f);
    assert_true(s.rms_eps == 1e-6f);
    assert_false(s.tied_head);
}

static void test_both_generations_of_keys_are_read(void **state)
{
    (void)state;
    struct model_shape s;
    struct errbuf e;
    assert_int_equal(parse("{" SIZES ",\"rope_theta\":5e5,\"rope_scaling\":null,\"head_dim\":32,"
                           "\"num_key_value_heads\":2,\"tie_word_embeddings\":true,"
                           "\"rms_norm_eps\":1e-05,\"torch_dtype\":\"bfloat16\"}",
                           &s, &e),
                     OK);
    assert_true(s.rope_theta == 500000.0f && s.rms_eps == 1e-5f && s.tied_head);
    assert_int_equal(s.head_dim, 32);
    assert_int_equal(s.kv_heads, 2);
    assert_int_equal(parse("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"default\","
                           "\"rope_theta\":100000.0},\"dtype\":\"float32\"}",
                           &s, &e),
                     OK);
    assert_true(s.rope_theta == 100000.0f);
    assert_int_equal(parse("{" SIZES ",\"rope_theta\":1e5,\"rope_parameters\":{\"rope_type\":"
                           "\"default\",\"rope_theta\":100000}}",
                           &s, &e),
                     OK);
}

static void test_each_refusal_names_key_value_and_what_is_supported(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "line 1 column 0"},
        {"[]", "the top is an array, an object is needed"},
        {"{}", "model_type is nothing; \"llama\" is supported"},
        {"{\"model_type\":\"qwen2\"}", "model_type is \"qwen2\"; \"llama\" is supported"},
        {"{" SIZES ",\"vocab_size\":7}", "duplicate"},
        {"{" SIZES ",\"hidden_act\":\"gelu\"}", "hidden_act is \"gelu\"; silu is supported"},
        {"{" SIZES ",\"attention_bias\":true}", "attention_bias is true; false is supported"},
        {"{" SIZES ",\"mlp_bias\":true}", "mlp_bias is true; false is supported"},
        {"{" SIZES ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0}}",
         "rope_scaling.rope_type is \"llama3\"; \"default\""},
        {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}",
         "rope_scaling.type is \"linear\""},
        {"{" SIZES ",\"rope_scaling\":{\"factor\":2.0}}", "the factor of rope scaling is 2"},
        {"{" SIZES ",\"rope_scaling\":\"linear\"}", "rope_scaling is \"linear\"; null or"},
        {"{" SIZES ",\"rope_parameters\":{\"rope_type\":\"yarn\"}}",
         "rope_parameters.rope_type is \"yarn\""},
        {"{" SIZES
         ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}",
         "partial_rotary_factor is 0.5; 1 is supported"},
        {"{" SIZES ",\"partial_rotary_factor\":0.25}", "partial_rotary_factor is 0.25"},
        {"{" SIZES ",\"rope_theta\":1e4,\"rope_parameters\":{\"rope_theta\":2e4}}", "which?"},
        {"{" SIZES ",\"rope_theta\":\"big\"}", "rope_theta is a string; a number is needed"},
        {"{" SIZES ",\"rope_theta\":0}", "rope_theta is 0"},
        {"{" SIZES ",\"rms_norm_eps\":-1}", "rms_norm_eps is -1"},
        {"{" SIZES ",\"quantization_config\":{}}", "quantization_config is set"},
        {"{" SIZES ",\"tie_word_embeddings\":1}", "tie_word_embeddings is 1; true or false"},
        {"{" SIZES ",\"num_key_value_heads\":3}", "4 heads are no multiple of 3 kv heads"},
        {"{" SIZES ",\"num_key_value_heads\":0}", "num_key_value_heads is 0; an integer from 1"},
        {"{" SIZES ",\"head_dim\":15}", "head size 15 is odd"},
        {"{" SIZES ",\"head_dim\":\"x\"}", "head_dim is \"x\"; an integer"},
        {"{\"model_type\":\"llama\",\"hidden_size\":64}", "key num_hidden_layers is missing"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":99999}", "key hidden_size is missing"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":65,\"vocab_size\":9,"
         "\"intermediate_size\":8,\"num_attention_heads\":4}",
         "hidden_size 65 is no multiple of num_attention_heads 4"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":99999999,"
         "\"vocab_size\":9,\"intermediate_size\":8,\"num_attention_heads\":1}",
         "hidden size is 99999999, 1 to 65536"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":2.5}",
         "num_hidden_layers is 2.5; an integer"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_shape s = {0};
        struct errbuf e;
        enum err error = parse(rows[i].text, &s, &e);
        if (error == OK || !strstr(e.text, rows[i].message)) {
            fail_msg("row %zu: got %d \"%s\"", i, (int)error, e.text);
        }
        assert_int_equal(s.layers, 0);
    }
}

static void test_every_failing_allocation_gives_an_error(void **state)
{
    (void)state;
    enum err error = ERR_NOMEM;
    for (unsigned long n = 1; error != OK; n++) {
        struct model_shape s;
        struct errbuf e;
        mem_fail_after(n);
        error = parse("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"default\"}}", &s, &e);
        mem_fail_after(0);
        if (n >= 1000 || (error != OK && error != ERR_NOMEM)) {
            fail_msg("allocation %lu: %d \"%s\"", n, (int)error, e.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_transformers),
        cmocka_unit_test(test_both_generations_of_keys_are_read),
        cmocka_unit_test(test_each_refusal_names_key_value_and_what_is_supported),
        cmocka_unit_test(test_every_failing_allocation_gives_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
