/* test_tokenizer_gguf.c - the tokenizer in a GGUF's metadata, and the message of each refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/format/gguf.h"
#include "tests/unit/common/text/tiny_tokenizer.h"

/* What to write differently from the good file; NULL or 0: as it is. */
struct change {
    const char *model, *pre, *token, *merge; /* token, merge: the first of their kind */
    int32_t type;                            /* of the last token */
    uint32_t types_less;                     /* entries left out of token_type */
    bool no_merges;
};

static void put_u32(struct str *s, uint32_t v)
{
    char b[4];
    bytes_put_u32(b, v);
    str_append(s, b, sizeof b);
}

static void put_u64(struct str *s, uint64_t v)
{
    char b[8];
    bytes_put_u64(b, v);
    str_append(s, b, sizeof b);
}

static void put_text(struct str *s, const char *text, size_t n)
{
    put_u64(s, n);
    str_append(s, text, n);
}

static void put_key(struct str *s, const char *key, enum gguf_type type)
{
    put_text(s, key, strlen(key));
    put_u32(s, type);
}

static void put_string(struct str *s, const char *key, const char *text)
{
    put_key(s, key, GGUF_STRING);
    put_text(s, text, strlen(text));
}

static void put_array(struct str *s, const char *key, enum gguf_type type, uint64_t count)
{
    put_key(s, key, GGUF_ARRAY);
    put_u32(s, type);
    put_u64(s, count);
}

static void put_tokens(struct str *s, const struct change *c)
{
    put_array(s, "tokenizer.ggml.tokens", GGUF_STRING, TINY_VOCAB);
    for (unsigned i = 0; i < 3; i++) {
        put_text(s, TINY_SPECIALS[i], strlen(TINY_SPECIALS[i]));
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        put_text(s, text, utf8_put(text, tiny_code_of_byte(byte)));
    }
    for (unsigned i = 0; i < TINY_MERGES_COUNT; i++) {
        struct str token = {0};
        str_addf(&token, "%s%s", TINY_MERGES[i][0], TINY_MERGES[i][1]);
        const char *text = i == 0 && c->token ? c->token : token.data;
        put_text(s, text, strlen(text));
        str_free(&token);
    }
    put_array(s, "tokenizer.ggml.token_type", GGUF_I32, TINY_VOCAB - c->types_less);
    for (uint32_t id = 0; id < TINY_VOCAB - c->types_less; id++) {
        int32_t last = c->type ? c->type : 1;
        put_u32(s, id < 3 ? 3 : id == TINY_VOCAB - 1 ? (uint32_t)last : 1);
    }
}

static struct str make_gguf(const struct change *c)
{
    struct str s = {0};
    str_add(&s, "GGUF");
    put_u32(&s, 3);
    put_u64(&s, 0);
    put_u64(&s, c->no_merges ? 4 : 5);
    put_string(&s, "tokenizer.ggml.model", c->model ? c->model : "gpt2");
    put_string(&s, "tokenizer.ggml.pre", c->pre ? c->pre : "smollm");
    put_tokens(&s, c);
    if (!c->no_merges) {
        put_array(&s, "tokenizer.ggml.merges", GGUF_STRING, TINY_MERGES_COUNT);
        for (unsigned i = 0; i < TINY_MERGES_COUNT; i++) {
            struct str merge = {0};
            str_addf(&merge, "%s %s", TINY_MERGES[i][0], TINY_MERGES[i][1]);
            const char *text = i == 0 && c->merge ? c->merge : merge.data;
            put_text(&s, text, strlen(text));
            str_free(&merge);
        }
    }
    assert_int_equal(str_ok(&s), OK);
    return s;
}

static enum err load(const struct change *c, uint32_t vocab, struct tokenizer **tok,
                     struct errbuf *e)
{
    struct gguf *gguf = NULL;
    struct tokenizer_source source = {0};
    struct str bytes = make_gguf(c);
    assert_int_equal(gguf_open_memory(bytes.data, bytes.len, &gguf, e), OK);
    enum err error = tokenizer_gguf_read(gguf, vocab, &source, e);
    if (error == OK) {
        error = tokenizer_new(&source, vocab, tok, e);
    }
    tokenizer_source_free(&source);
    gguf_close(&gguf);
    str_free(&bytes);
    return error;
}

static void test_a_gguf_gives_the_same_tokens_as_the_json(void **state)
{
    (void)state;
    static const char TEXT[] = "the hello 12's  \xC3\xA9<|im_end|>";
    struct errbuf e = {0};
    struct tokenizer *a = NULL;
    struct tokenizer *b = tiny_open(TINY_PRE_SMOLLM, "");
    struct token_list from_gguf = {0};
    struct token_list from_json = {0};
    const struct change none = {0};
    uint32_t id = 0;
    assert_int_equal(load(&none, TINY_VOCAB, &a, &e), OK);
    assert_int_equal(tokenizer_encode(a, TEXT, sizeof TEXT - 1, &from_gguf, &e), OK);
    assert_int_equal(tokenizer_encode(b, TEXT, sizeof TEXT - 1, &from_json, &e), OK);
    assert_int_equal(from_gguf.count, from_json.count);
    assert_memory_equal(from_gguf.items, from_json.items,
                        from_json.count * sizeof *from_json.items);
    assert_true(tokenizer_special(a, "<|im_start|>", &id));
    assert_int_equal(id, 1);
    token_list_free(&from_gguf);
    token_list_free(&from_json);
    tokenizer_close(&a);
    tokenizer_close(&b);
}

struct refusal {
    struct change change;
    uint32_t vocab;
    enum err code;
    const char *message;
};

static const struct refusal REFUSALS[] = {
    {{.model = "llama"}, TINY_VOCAB, ERR_UNSUPPORTED, "tokenizer.ggml.model is 'llama'; only"},
    {{.pre = "default"},
     TINY_VOCAB,
     ERR_UNSUPPORTED,
     "tokenizer.ggml.pre is 'default'; supported pre-tokenizers: gpt-2, smollm"},
    {{.pre = ""}, TINY_VOCAB, ERR_UNSUPPORTED, "tokenizer.ggml.pre is ''"},
    {{.types_less = 1},
     TINY_VOCAB,
     ERR_RANGE,
     "tokens has 269 entries, tokenizer.ggml.token_type 268"},
    {{.types_less = 0}, 200, ERR_RANGE, "not exceed the model's vocabulary of 200"},
    {{.type = 6}, TINY_VOCAB, ERR_UNSUPPORTED, "token_type of token 268 is 6"},
    {{.type = -1}, TINY_VOCAB, ERR_UNSUPPORTED, "token_type of token 268 is -1"},
    {{.type = 3}, TINY_VOCAB, ERR_PARSE, "the merged token is not among the vocabulary's text"},
    {{.token = "<0x-1>"}, TINY_VOCAB, ERR_PARSE, "merge 0 'h' + 'e': the merged token"},
    {{.token = "\xE2\x96\x81the"}, TINY_VOCAB, ERR_UNSUPPORTED, "token 259"},
    {{.token = "the"}, TINY_VOCAB, ERR_PARSE, "tokens 259 and 260 are the same: 'the'"},
    {{.merge = "h"}, TINY_VOCAB, ERR_PARSE, "tokenizer.ggml.merges[0] is 'h'; two tokens"},
    {{.merge = " e"}, TINY_VOCAB, ERR_PARSE, "tokenizer.ggml.merges[0] is ' e'"},
    {{.merge = "h zz"}, TINY_VOCAB, ERR_PARSE, "merge 0 'h' + 'zz': its second token"},
    {{.no_merges = true}, TINY_VOCAB, ERR_NOT_FOUND, "tokenizer.ggml.merges"},
};

static void test_each_thing_not_known_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        const struct refusal *r = &REFUSALS[i];
        struct errbuf e = {0};
        struct tokenizer *tok = NULL;
        enum err error = load(&r->change, r->vocab, &tok, &e);
        if (error != r->code || !strstr(e.text, r->message)) {
            fail_msg("row %zu: code %d, '%s'; expected %d, '%s'", i, error, e.text, r->code,
                     r->message);
        }
        assert_null(tok);
    }
}

static void test_rows_of_the_model_beyond_the_vocabulary_have_no_text(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    struct str out = {0};
    size_t bytes = 7;
    const uint32_t id = TINY_VOCAB;
    assert_int_equal(load(&(struct change){0}, TINY_VOCAB + 7, &tok, &e), OK);
    assert_int_equal(tokenizer_count(tok), TINY_VOCAB);
    assert_null(tokenizer_text(tok, id, &bytes));
    assert_int_equal(tokenizer_decode(tok, &id, 1, &out, &e), ERR_RANGE);
    str_free(&out);
    tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gguf_gives_the_same_tokens_as_the_json),
        cmocka_unit_test(test_each_thing_not_known_is_refused_by_name),
        cmocka_unit_test(test_rows_of_the_model_beyond_the_vocabulary_have_no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
