/* bpe.h - the core of byte-level BPE: a vocabulary, ranked merges, the merging of one piece.
 * Owns: the bytes of every token, the tables. Never: cuts text into pieces (pretokenizer.c), reads
 * files (the two loaders give plain arrays). Read-only once made: safe from any thread; what a call
 * needs to write lies in the caller's scratch. */
#ifndef PFT_BPE_H
#define PFT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/text/tokenizer.h"

enum token_kind {
    TOKEN_ABSENT,  /* a gap in the ids: refused */
    TOKEN_TEXT,    /* made of characters of the byte alphabet */
    TOKEN_SPECIAL, /* known by its name only */
    TOKEN_UNUSED,  /* an id without a meaning (padding of the embedding) */
};

/* What a loader gives; everything is borrowed for the call. */
struct token_source {
    const char *text; /* as in the file: byte alphabet, or a special's name */
    size_t bytes;
    enum token_kind kind;
};
struct merge_source {
    const char *left;
    const char *right;
    size_t left_bytes;
    size_t right_bytes;
};
struct bpe_source {
    const struct token_source *tokens; /* [tokens_count], the index is the id */
    const struct merge_source *merges; /* [merges_count], the index is the rank */
    size_t tokens_count;
    size_t merges_count;
    bool ignore_merges; /* a piece that is a token as a whole is taken whole */
};

struct bpe;

/* Checks and builds. Refused, by id and name: more than LIMIT_VOCAB tokens, absent ids, duplicates,
 * text outside the byte alphabet, merges of tokens or into a token that is not there, an alphabet
 * without all of printable ASCII. A byte outside ASCII or a control character may lack a token
 * (real vocabularies lack those no training text had): it then encodes to nothing, as in Hugging
 * Face. */
MUST_USE enum err bpe_new(const struct bpe_source *source, struct bpe **out, struct errbuf *e);
void bpe_free(struct bpe **bpe);

/* Memory of one thread's merging; zero it before first use. pushes and pops of the heap are counted
 * so that a test can bound the work. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    struct bpe_candidate *heap;
    size_t symbols_capacity;
    size_t heap_capacity;
    size_t heap_count;
    uint64_t pushes;
};
void bpe_scratch_free(struct bpe_scratch *scratch);

/* Appends the tokens of one piece text[begin, end) to out; O(n log n) in the piece's bytes. */
MUST_USE enum err bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *text,
                             size_t begin, size_t end, struct token_list *out);

uint32_t bpe_count(const struct bpe *bpe);
/* Bytes of a token, name of a special; NULL for an unused or unknown id. */
const char *bpe_text(const struct bpe *bpe, uint32_t id, size_t *bytes);
bool bpe_special(const struct bpe *bpe, const char *name, size_t bytes, uint32_t *id);
/* Bytes of the alphabet that have a token: 256 when it is complete. */
uint32_t bpe_alphabet(const struct bpe *bpe);

#endif
