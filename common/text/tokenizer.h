/* tokenizer.h - text to token ids and back: byte-level BPE as Hugging Face `tokenizers` does it.
 * Owns: the vocabulary, the merges, the specials of one model. Never: reads a chat format (chat.h),
 * compiles a regular expression that came from a file, adds a BOS.
 * Control tokens are kept apart: no text, whatever it holds, encodes to one; ask for them by name.
 * A tokenizer is read-only once made: any number of threads may use it together. */
#ifndef PFT_TOKENIZER_H
#define PFT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct model_file;
struct tokenizer;

struct token {
    uint32_t id;
    uint32_t begin; /* byte range [begin, end) of the text it stands for; a character of several */
    uint32_t end;   /* bytes may be split between tokens */
};

/* Zero it before first use; reuse keeps the memory. */
struct token_list {
    struct token *items;
    size_t count;
    size_t capacity;
};
MUST_USE enum err token_list_append(struct token_list *list, struct token token);
void token_list_free(struct token_list *list);

/* Loads the tokenizer of a model: tokenizer.json of a folder or the metadata of a GGUF. Reads the
 * file at once, mf is not needed afterwards. A tokenizer with more ids than the model has rows,
 * gaps, duplicates, merges of absent tokens, or an unknown pre-tokenizer or normalizer is refused
 * by name. tokenizer_close takes it. Blocks on the disk. */
MUST_USE enum err tokenizer_open(const struct model_file *mf, struct tokenizer **out,
                                 struct errbuf *e);
void tokenizer_close(struct tokenizer **tok);

/* What the model's files say about texts and nothing here acts upon. */
struct tokenizer_notes {
    uint32_t context; /* tokens the model was made for; 0: not said */
    bool wants_bos;   /* the begin-of-text token in front of every text; it is not put there */
};
struct tokenizer_notes tokenizer_notes(const struct tokenizer *tok);

/* Appends the tokens of n bytes of plain text to out (not cleared before); byte ranges count from
 * the start of text. Bytes that are no UTF-8 give ERR_PARSE with their offset, more than
 * LIMIT_TEXT_BYTES ERR_RANGE; out is then as it was. */
MUST_USE enum err tokenizer_encode(const struct tokenizer *tok, const char *text, size_t n,
                                   struct token_list *out, struct errbuf *e);

/* Appends the bytes of n ids to out; a control token gives its name. An id that the tokenizer does
 * not have is ERR_RANGE. */
MUST_USE enum err tokenizer_decode(const struct tokenizer *tok, const uint32_t *ids, size_t n,
                                   struct str *out, struct errbuf *e);

/* The bytes of one token (not NUL-terminated, perhaps part of a character), or the name of a
 * control token; NULL and 0 for an id without one. Valid until tokenizer_close. */
const char *tokenizer_text(const struct tokenizer *tok, uint32_t id, size_t *bytes);

/* The id of a control (added) token by its exact name; false when there is none. */
bool tokenizer_special(const struct tokenizer *tok, const char *name, uint32_t *id);

/* Ids in the tokenizer: 1 + the largest. At most the model's vocabulary, which may be padded. */
uint32_t tokenizer_count(const struct tokenizer *tok);

/* Unicode version of the letter, number and space classes ("14.0.0"): PCRE2's. */
const char *tokenizer_unicode_version(const struct tokenizer *tok);

#endif
