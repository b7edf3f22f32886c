/* fuzz_tokenizer.c - what text and vocabulary files can do to the tokenizer. The first byte of an
 * input says what the rest is: a tokenizer.json, a GGUF, plain text, the content of a chat turn. */
#include <string.h>

#include "common/base/check.h"
#include "common/format/gguf.h"
#include "common/text/chat.h"
#include "tests/fuzz/driver.h"
#include "tests/unit/common/text/tiny_tokenizer.h"

enum { AS_JSON, AS_GGUF, AS_TEXT, AS_CHAT, AS_COUNT };
enum { VOCAB = 512, KINDS = 4 };

/* One of each pre-tokenizer, made at the first use and kept. */
static struct tokenizer *tokenizer_of(enum pretokenizer kind)
{
    static struct tokenizer *made[KINDS];
    if (!made[kind]) {
        struct errbuf e = {0};
        struct tokenizer_source source = {0};
        struct tokenizer_json *json = NULL;
        struct str text = tiny_json(TINY_PRE_SMOLLM, "");
        CHECK(tokenizer_json_read(text.data, text.len, VOCAB, &json, &source, &e) == OK);
        source.pre = kind;
        CHECK(tokenizer_new(&source, VOCAB, &made[kind], &e) == OK);
        tokenizer_source_free(&source);
        tokenizer_json_free(&json);
        str_free(&text);
    }
    return made[kind];
}

/* Merges a piece with whatever vocabulary came out: ranges rise, every id has a text. */
static void use_source(const struct tokenizer_source *source, struct errbuf *e)
{
    static const char PIECE[] = "the hello 12 \xC3\xA9'sxxxxxxxx";
    struct bpe *bpe = NULL;
    struct bpe_scratch scratch = {0};
    struct token_list list = {0};
    const struct bpe_source core = {.tokens = source->tokens,
                                    .merges = source->merges,
                                    .tokens_count = source->tokens_count,
                                    .merges_count = source->merges_count,
                                    .ignore_merges = source->ignore_merges};
    enum err error = bpe_new(&core, &bpe, e);
    CHECK((error == OK) == (bpe != NULL));
    if (bpe) {
        uint32_t at = 0;
        CHECK(bpe_encode(bpe, &scratch, PIECE, 0, sizeof PIECE - 1, &list) == OK);
        CHECK(scratch.pushes <= 3 * (sizeof PIECE - 1));
        for (size_t i = 0; i < list.count; i++) {
            size_t bytes;
            CHECK(bpe_text(bpe, list.items[i].id, &bytes) && bytes > 0);
            CHECK(list.items[i].begin >= at && list.items[i].end > list.items[i].begin);
            at = list.items[i].end;
        }
        CHECK(at <= sizeof PIECE - 1);
    }
    bpe_scratch_free(&scratch);
    token_list_free(&list);
    bpe_free(&bpe);
}

static void run_json(const char *text, size_t n)
{
    struct errbuf e = {0};
    struct tokenizer_source source = {0};
    struct tokenizer_json *json = NULL;
    enum err error = tokenizer_json_read(text, n, VOCAB, &json, &source, &e);
    CHECK(error == OK || e.text[0] != '\0');
    if (error == OK) {
        use_source(&source, &e);
    }
    tokenizer_source_free(&source);
    tokenizer_json_free(&json);
}

static void run_gguf(const char *bytes, size_t n)
{
    struct errbuf e = {0};
    struct gguf *gguf = NULL;
    struct tokenizer_source source = {0};
    if (gguf_open_memory(bytes, n, &gguf, &e) == OK) {
        enum err error = tokenizer_gguf_read(gguf, VOCAB, &source, &e);
        CHECK(error == OK || e.text[0] != '\0');
        if (error == OK) {
            use_source(&source, &e);
        }
    }
    tokenizer_source_free(&source);
    gguf_close(&gguf);
}

/* Every pre-tokenizer: ranges tile the text and the tokens' bytes are the text. */
static void run_text(const char *text, size_t n)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct errbuf e = {0};
        struct token_list list = {0};
        const struct tokenizer *tok = tokenizer_of((enum pretokenizer)kind);
        enum err error = tokenizer_encode(tok, text, n, &list, &e);
        uint32_t at = 0;
        CHECK(error == OK || (e.text[0] != '\0' && list.count == 0));
        for (size_t i = 0; i < list.count; i++) {
            size_t bytes;
            const char *piece = tokenizer_text(tok, list.items[i].id, &bytes);
            CHECK(list.items[i].id >= TINY_BYTES_FIRST && list.items[i].begin == at);
            CHECK(bytes == list.items[i].end - at && memcmp(piece, text + at, bytes) == 0);
            at += (uint32_t)bytes;
        }
        CHECK(error != OK || at == n);
        token_list_free(&list);
    }
}

static void run_chat(const char *text, size_t n)
{
    struct errbuf e = {0};
    struct token_list list = {0};
    struct str rendered = {0};
    const struct chat_turn turns[] = {{"user", text, n}, {"assistant", text, n}};
    const struct tokenizer *tok = tokenizer_of(PRE_DIGIT_GPT2);
    enum err error = chat_encode(tok, turns, 2, false, true, &list, &e);
    size_t controls = 0;
    CHECK(chat_render(turns, 2, false, true, &rendered, &e) == OK);
    for (size_t i = 0; i < list.count; i++) {
        controls += list.items[i].id < TINY_BYTES_FIRST;
    }
    CHECK(error != OK || (controls == 4 && list.items[list.count - 1].end == rendered.len));
    token_list_free(&list);
    str_free(&rendered);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    const char *rest = (const char *)data + 1;
    switch (data[0] % AS_COUNT) {
    case AS_JSON:
        run_json(rest, bytes - 1);
        break;
    case AS_GGUF:
        run_gguf(rest, bytes - 1);
        break;
    case AS_TEXT:
        run_text(rest, bytes - 1);
        break;
    default:
        run_chat(rest, bytes - 1);
        break;
    }
    return 0;
}

static struct fuzz_seed seed_of(char mode, const void *data, size_t bytes)
{
    struct str s = {0};
    str_append(&s, &mode, 1);
    str_append(&s, data, bytes);
    CHECK(str_ok(&s) == OK);
    struct fuzz_seed seed = fuzz_seed_text(s.data, s.len);
    str_free(&s);
    return seed;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char *const TEXTS[] = {
        "the hello's 12 345  \n\n\t x  ",
        "<|im_start|>user\n\xC3\xA9\xCC\x81\xE4\xBD\xA0\xF0\x9F\x98\x80\xC2\xA0\xE2\x80\xA8 'LL 'd",
        "hellohellohello1212        1  1''s..!?\r\n",
    };
    size_t n = 0;
    struct str json = tiny_json(TINY_PRE_SMOLLM, "\"ignore_merges\":true,");
    seeds[n++] = seed_of(AS_JSON, json.data, json.len);
    str_free(&json);
    json = tiny_json("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}", "");
    seeds[n++] = seed_of(AS_JSON, json.data, json.len);
    str_free(&json);
    struct fuzz_seed gguf = fuzz_seed_file("tests/golden/gguf/tiny.Q4_1.gguf");
    seeds[n++] = seed_of(AS_GGUF, gguf.data, gguf.bytes);
    mem_free(gguf.data);
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        seeds[n++] = seed_of(AS_TEXT, TEXTS[i], strlen(TEXTS[i]));
        seeds[n++] = seed_of(AS_CHAT, TEXTS[i], strlen(TEXTS[i]));
    }
    return n;
}
