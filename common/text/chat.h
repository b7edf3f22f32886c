/* chat.h - an explicit list of turns to the text and the tokens of a chat model (ChatML).
 * Each turn is "<|im_start|>role\ncontent<|im_end|>\n". No turn is ever added: no system line by
 * itself. Control tokens come from the template alone; content that spells one stays plain text.
 * The family is known by its control tokens; a model without them is refused by name. Pure. */
#ifndef PFT_CHAT_H
#define PFT_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/text/tokenizer.h"

#define CHAT_START "<|im_start|>"
#define CHAT_END "<|im_end|>"

struct chat_turn {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* UTF-8, not NUL-terminated; taken as it is, never trimmed */
    size_t content_bytes;
};

/* How a text ends. add_generation appends "<|im_start|>assistant\n" for a model to go on from.
 * end_last stops right after the last turn's "<|im_end|>", without the newline: a trained answer.
 * Both at once is ERR_USAGE; neither gives every turn whole, newline included. */

/* Appends the text of n turns to out. A role other than the three is ERR_UNSUPPORTED, no turn at
 * all ERR_USAGE. */
MUST_USE enum err chat_render(const struct chat_turn *turns, size_t n, bool add_generation,
                              bool end_last, struct str *out, struct errbuf *e);

/* Appends the tokens of that text to out: what Hugging Face gives when the template's control
 * tokens are cut out first and each stretch between is encoded by itself. Byte ranges count from
 * the start of the rendered text. On an error out is as it was. */
MUST_USE enum err chat_encode(const struct tokenizer *tok, const struct chat_turn *turns, size_t n,
                              bool add_generation, bool end_last, struct token_list *out,
                              struct errbuf *e);

/* Where the content of turns[i] begins in the rendered text, in bytes; it is content_bytes long. */
size_t chat_content_begin(const struct chat_turn *turns, size_t i);

/* OK when the tokenizer has the control tokens of ChatML; ERR_UNSUPPORTED names what is missing. */
MUST_USE enum err chat_check(const struct tokenizer *tok, struct errbuf *e);

#endif
