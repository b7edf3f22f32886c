/* test_weights.c - a model's tensors in the places where the layers want them, whatever the number
 * of threads; refusal of NaN; the default model when it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/format/model_default.h"
#include "common/format/model_file.h"
#include "tests/support/gguf_build.h"
#include "tests/support/temp_folder.h"
#include "worker/model/weights.h"

static void assert_same(const struct model_file *mf, const char *name, const float *got)
{
    uint32_t rows = 0;
    uint32_t cols = 0;
    struct errbuf e = {0};
    assert_true(model_tensor_shape(mf, name, &rows, &cols));
    float *wanted = mem_calloc((size_t)rows * cols, sizeof *wanted);
    assert_non_null(wanted);
    assert_int_equal(model_tensor_read(mf, name, 0, rows, wanted, &e), OK);
    assert_memory_equal(got, wanted, (size_t)rows * cols * sizeof *wanted);
    mem_free(wanted);
}

static void assert_places(const struct model_file *mf, const struct weights *w)
{
    const struct model_shape *s = &w->shape;
    size_t q = (size_t)s->heads * s->head_dim * s->hidden;
    size_t kv = (size_t)s->kv_heads * s->head_dim * s->hidden;
    assert_same(mf, "model.embed_tokens.weight", w->embed);
    assert_same(mf, "lm_head.weight", w->head);
    assert_same(mf, "model.norm.weight", w->final_norm);
    assert_int_equal(w->head == w->embed, s->tied_head);
    for (uint32_t i = 0; i < s->layers; i++) {
        const struct weights_layer *l = &w->layers[i];
        const struct {
            const char *name;
            const float *place;
        } rows[] = {{"input_layernorm", l->attn_norm},
                    {"self_attn.q_proj", l->qkv},
                    {"self_attn.k_proj", l->qkv + q},
                    {"self_attn.v_proj", l->qkv + q + kv},
                    {"self_attn.o_proj", l->o},
                    {"post_attention_layernorm", l->mlp_norm},
                    {"mlp.gate_proj", l->gate_up},
                    {"mlp.up_proj", l->gate_up + (size_t)s->ff * s->hidden},
                    {"mlp.down_proj", l->down}};
        for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++) {
            char name[64];
            (void)snprintf(name, sizeof name, "model.layers.%u.%s.weight", i, rows[j].name);
            assert_same(mf, name, rows[j].place);
            assert_int_equal((uintptr_t)l->qkv % MEM_ALIGNMENT, 0);
        }
    }
}

static void test_every_tensor_is_in_its_place_for_any_number_of_threads(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "tests/golden/tiny", "tests/golden/tiny-untied", "tests/golden/tiny-sharded",
        "tests/golden/gguf/tiny.Q4_1.gguf", "tests/golden/gguf/tiny-untied.Q8_0.gguf"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        for (unsigned threads = 0; threads < 6; threads += 1 + threads) {
            struct model_file *mf = NULL;
            struct weights w = {0};
            struct errbuf e = {0};
            assert_int_equal(model_open(paths[i], &mf, &e), OK);
            assert_int_equal(weights_load(&w, mf, threads, &e), OK);
            assert_places(mf, &w);
            weights_free(&w);
            assert_null(w.block);
            model_close(&mf);
        }
    }
}

static void test_a_weight_that_is_not_finite_is_refused_by_name(void **state)
{
    (void)state;
    struct temp_folder temp;
    struct str s = {0};
    struct model_file *mf = NULL;
    struct weights w = {0};
    struct errbuf e = {0};
    const struct gguf_build_model model = {.not_a_number = "blk.0.ffn_gate.weight"};
    temp_folder_make(&temp);
    gguf_build_tiny_model(&s, &model);
    const char *path = temp_folder_write(&temp, "nan.gguf", s.data, s.len);
    assert_int_equal(model_open(path, &mf, &e), OK);
    assert_int_equal(weights_load(&w, mf, 2, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "nan.gguf: tensor model.layers.0.mlp.gate_proj.weight, row 0, "
                                   "column 5 is "));
    assert_non_null(strstr(e.text, "nan; weights must be finite"));
    assert_null(w.block);
    model_close(&mf);
    str_free(&s);
    temp_folder_clear(temp.path);
}

static void test_a_file_cut_short_meanwhile_is_an_error(void **state)
{
    (void)state;
    struct temp_folder temp;
    struct str s = {0};
    struct model_file *mf = NULL;
    struct weights w = {0};
    struct errbuf e = {0};
    const struct gguf_build_model model = {.matrix = QUANT_Q8_0};
    temp_folder_make(&temp);
    gguf_build_tiny_model(&s, &model);
    const char *path = temp_folder_write(&temp, "cut.gguf", s.data, s.len);
    assert_int_equal(model_open(path, &mf, &e), OK);
    assert_int_equal(truncate(path, (off_t)s.len / 2), 0);
    assert_int_equal(weights_load(&w, mf, 2, &e), ERR_IO);
    assert_non_null(strstr(e.text, "cut.gguf: ends at byte"));
    assert_null(w.block);
    model_close(&mf);
    str_free(&s);
    temp_folder_clear(temp.path);
}

static void test_every_failing_allocation_gives_an_error(void **state)
{
    (void)state;
    struct model_file *mf = NULL;
    struct errbuf e = {0};
    enum err error = ERR_NOMEM;
    assert_int_equal(model_open("tests/golden/tiny", &mf, &e), OK);
    for (unsigned long n = 1; error != OK; n++) {
        struct weights w = {0};
        mem_fail_after(n);
        error = weights_load(&w, mf, 1, &e);
        mem_fail_after(0);
        assert_true(n < 100 && (error == OK || error == ERR_NOMEM));
        assert_true((error == OK) == (w.block != NULL));
        weights_free(&w);
    }
    model_close(&mf);
}

static void test_the_default_model_is_read_whole(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    const char *chosen = getenv("PFT_MODEL");
    struct model_file *mf = NULL;
    struct weights w = {0};
    struct errbuf e = {0};
    if (model_resolve(chosen ? chosen : "", path, &e) != OK || !file_exists(path)) {
        print_message("skipped: %s (scripts/fetch-model, or PFT_MODEL)\n",
                      e.text[0] ? e.text : path);
        skip();
    }
    if (model_open(path, &mf, &e) != OK) {
        fail_msg("%s", e.text);
    }
    struct model_description d = model_describe(mf);
    uint64_t start = clock_now_ms();
    if (weights_load(&w, mf, 2, &e) != OK) {
        fail_msg("%s", e.text);
    }
    print_message("%s, %s, %.0f M parameters: ready in %u ms on two threads\n", d.name,
                  d.quantisation, (double)d.parameters * 1e-6, (unsigned)(clock_now_ms() - start));
    if (!chosen) {
        char hex[HASH_SHA256_HEX];
        const struct model_shape *s = &w.shape;
        assert_true(s->layers == 30 && s->hidden == 576 && s->ff == 1536 && s->heads == 9);
        assert_true(s->kv_heads == 3 && s->head_dim == 64 && s->vocab == 49152 && s->tied_head);
        assert_true(s->rope_theta == 1e5f && s->rms_eps == 1e-5f);
        assert_string_equal(d.quantisation, "Q4_1");
        assert_int_equal(d.parameters, 134515008);
        assert_int_equal(model_hash(mf, hex, &e), OK);
        assert_string_equal(hex,
                            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    }
    weights_free(&w);
    model_close(&mf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor_is_in_its_place_for_any_number_of_threads),
        cmocka_unit_test(test_a_weight_that_is_not_finite_is_refused_by_name),
        cmocka_unit_test(test_a_file_cut_short_meanwhile_is_an_error),
        cmocka_unit_test(test_every_failing_allocation_gives_an_error),
        cmocka_unit_test(test_the_default_model_is_read_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
