/* tokenizer_source.h - between the two loaders and the tokenizer: plain arrays and settings.
 * Owns: the arrays (the texts they point to belong to the file that was read). Used by tokenizer.c,
 * tokenizer_json.c, tokenizer_gguf.c and tests; nobody else needs it. */
#ifndef PFT_TOKENIZER_SOURCE_H
#define PFT_TOKENIZER_SOURCE_H

#include "common/text/bpe.h"
#include "common/text/pretokenizer.h"

struct gguf;

struct tokenizer_source {
    struct token_source *tokens; /* [tokens_count], index = id */
    struct merge_source *merges; /* [merges_count], index = rank */
    size_t tokens_count;
    size_t merges_count;
    enum pretokenizer pre;
    bool ignore_merges;
    bool nfc;            /* the file's normalizer is NFC: text that NFC might change is refused */
    bool unknown_tokens; /* a byte without a token would give the unknown token in the original */
};
void tokenizer_source_free(struct tokenizer_source *source);

/* Splits "left right" at its only space; false when there is none, or two, or nothing beside it. */
bool merge_split(const char *text, size_t bytes, struct merge_source *merge);

/* Makes a tokenizer from arrays; copies what it needs. vocab: ids beyond it are refused. */
MUST_USE enum err tokenizer_new(const struct tokenizer_source *source, uint32_t vocab,
                                struct tokenizer **out, struct errbuf *e);

/* From the text of a tokenizer.json. The text must stay until the source is used up: call
 * tokenizer_json_free after tokenizer_new. */
struct tokenizer_json; /* the parsed document */
MUST_USE enum err tokenizer_json_read(const char *text, size_t bytes, uint32_t vocab,
                                      struct tokenizer_json **json, struct tokenizer_source *source,
                                      struct errbuf *e);
void tokenizer_json_free(struct tokenizer_json **json);

/* From the metadata of a GGUF; the source points into it. */
MUST_USE enum err tokenizer_gguf_read(const struct gguf *gguf, uint32_t vocab,
                                      struct tokenizer_source *source, struct errbuf *e);

/* A ready-made tokenizer from the text of a tokenizer.json: the two steps above in one. */
MUST_USE enum err tokenizer_from_json(const char *text, size_t bytes, uint32_t vocab,
                                      struct tokenizer **out, struct errbuf *e);

/* Once, by who opens it. */
void tokenizer_note(struct tokenizer *tok, struct tokenizer_notes notes);

#endif
