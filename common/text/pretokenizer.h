/* pretokenizer.h - cuts plain text into the pieces that BPE merges stay inside.
 * Owns: the hand-written walkers of the four known pre-tokenizers and their names in files.
 * Never: compiles a pattern from a file (what it says is compared with the known ones as text),
 * allocates. Each walker gives what the pattern gives in Hugging Face `tokenizers`, in one pass and
 * without going back, so a hostile text costs no more than a tame one. Pure. */
#ifndef PFT_PRETOKENIZER_H
#define PFT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/text/unicode_class.h"

enum pretokenizer {
    PRE_GPT2,       /* ByteLevel alone */
    PRE_DIGIT_GPT2, /* each digit by itself, then ByteLevel on what is between (SmolLM2) */
    PRE_LLAMA3,     /* Llama 3's pattern: digits by up to three */
    PRE_QWEN2,      /* Qwen 2's: the same with single digits; its normalizer is NFC */
};

/* The patterns a tokenizer.json may name, as text. */
extern const char PRETOKENIZER_LLAMA3_PATTERN[];
extern const char PRETOKENIZER_QWEN2_PATTERN[];

/* Where the piece that begins at text[begin] ends. text is valid UTF-8 up to n; begin < n is where
 * the piece before ended. */
size_t pretokenizer_next(enum pretokenizer kind, const struct unicode_classes *classes,
                         const char *text, size_t begin, size_t n);

/* The value of tokenizer.ggml.pre in a GGUF; false when the name is unknown. */
bool pretokenizer_from_gguf(const char *name, size_t length, enum pretokenizer *kind);

/* "gpt-2, smollm, ..." for messages. */
const char *pretokenizer_gguf_names(void);

#endif
