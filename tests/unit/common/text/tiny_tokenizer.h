/* tiny_tokenizer.h - a complete tokenizer.json of 269 ids, made in the test: three control tokens,
 * the 256 bytes, ten merged tokens. Test-only. */
#ifndef PFT_TINY_TOKENIZER_H
#define PFT_TINY_TOKENIZER_H

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/text/tokenizer_source.h"
#include "common/text/utf8.h"

enum { TINY_BYTES_FIRST = 3, TINY_MERGED_FIRST = 259, TINY_VOCAB = 269 };

#define TINY_SPACE "\xC4\xA0" /* U+0120, the space of the byte alphabet */

static const char *const TINY_SPECIALS[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
/* rank r makes id 259 + r */
static const char *const TINY_MERGES[][2] = {
    {"h", "e"},    {"t", "he"}, {TINY_SPACE, "the"}, {"l", "l"}, {"he", "ll"},
    {"hell", "o"}, {"1", "2"},  {TINY_SPACE, "1"},   {"'", "s"}, {TINY_SPACE, TINY_SPACE},
};
enum { TINY_MERGES_COUNT = sizeof TINY_MERGES / sizeof TINY_MERGES[0] };

#define TINY_PRE_SMOLLM                                                                            \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"  \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}" \
    "]}"

static inline uint32_t tiny_code_of_byte(unsigned byte)
{
    uint32_t next = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
        uint32_t code = itself ? b : next++;
        if (b == byte) {
            return code;
        }
    }
    abort();
}

static inline void tiny_add_vocab(struct str *s)
{
    char text[4];
    for (unsigned i = 0; i < 3; i++) {
        str_addf(s, "%s\"%s\":%u", i > 0 ? "," : "", TINY_SPECIALS[i], i);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        str_add(s, ",");
        str_add_json(s, text, utf8_put(text, tiny_code_of_byte(byte)));
        str_addf(s, ":%u", TINY_BYTES_FIRST + byte);
    }
    for (unsigned i = 0; i < TINY_MERGES_COUNT; i++) {
        str_addf(s, ",\"%s%s\":%u", TINY_MERGES[i][0], TINY_MERGES[i][1], TINY_MERGED_FIRST + i);
    }
}

/* The document; pre and model_extra ("\"ignore_merges\":true,") go in as they are. */
static inline struct str tiny_json(const char *pre, const char *model_extra)
{
    struct str s = {0};
    str_add(&s, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (unsigned i = 0; i < 3; i++) {
        str_addf(&s, "%s{\"id\":%u,\"content\":\"%s\",\"special\":true}", i > 0 ? "," : "", i,
                 TINY_SPECIALS[i]);
    }
    str_addf(&s, "],\"normalizer\":null,\"pre_tokenizer\":%s,", pre);
    str_addf(&s, "\"model\":{\"type\":\"BPE\",%s\"unk_token\":null,\"vocab\":{", model_extra);
    tiny_add_vocab(&s);
    str_add(&s, "},\"merges\":[");
    for (unsigned i = 0; i < TINY_MERGES_COUNT; i++) {
        str_add(&s, i > 0 ? "," : "");
        if (i % 2 == 1) {
            str_addf(&s, "[\"%s\",\"%s\"]", TINY_MERGES[i][0], TINY_MERGES[i][1]);
        } else {
            str_addf(&s, "\"%s %s\"", TINY_MERGES[i][0], TINY_MERGES[i][1]);
        }
    }
    str_add(&s, "]}}");
    return s;
}

/* The same with the first `from` replaced by `to`; from must be there. */
static inline struct str tiny_json_with(const char *from, const char *to)
{
    struct str whole = tiny_json(TINY_PRE_SMOLLM, "\"dropout\":null,\"byte_fallback\":false,");
    struct str s = {0};
    const char *at = strstr(whole.data, from);
    if (!at) {
        abort();
    }
    str_append(&s, whole.data, (size_t)(at - whole.data));
    str_add(&s, to);
    str_add(&s, at + strlen(from));
    str_free(&whole);
    return s;
}

static inline struct tokenizer *tiny_open(const char *pre, const char *model_extra)
{
    struct errbuf e = {0};
    struct tokenizer *tok = NULL;
    struct str json = tiny_json(pre, model_extra);
    enum err error = tokenizer_from_json(json.data, json.len, TINY_VOCAB, &tok, &e);
    str_free(&json);
    if (error != OK) {
        abort();
    }
    return tok;
}

#endif
