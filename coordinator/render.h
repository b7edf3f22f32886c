/* render.h - the prompts: scenario, preference and answer as the text and the tokens of a sequence.
 * Owns: every wording and both layouts (PAPER.md). Never: trees, weights. Place: dataset -> render
 * -> forest; export writes its template into the adapter, so that use matches training.
 *
 * preference_last (ChatML):  user: scenario, blank line, preference · assistant: answer <|im_end|>
 * paper (plain text):        "### Human: " preference "\n" scenario "\n### Assistant: " answer,
 * then
 *                            <|im_end|> as end of sequence
 * preference = "Answer as someone who values 'X'. " + its sentence, "Answer as you see fit." where
 * no value is named, or a pair file's extra_a / extra_b.
 * letters: scenario, blank line, one line "A. text" per option, blank line, preference, " Reply
 * with one letter."; the answer is the letter alone. json: the same with RENDER_JSON_ONE or
 * RENDER_JSON_ALL at the end; the answer is generated. A struct render is used by one thread at a
 * time (it keeps scratch memory). */
#ifndef PFT_RENDER_H
#define PFT_RENDER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/text/chat.h"
#include "common/text/tokenizer.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/readout.h"
#include "coordinator/values.h"

/* What a prompt asks for that lists the options, behind a space or a blank line. */
#define RENDER_JSON_ONE                                                                            \
    "Choose the one option that fits this best. Reply in JSON: {\"choice\": <one letter>, "        \
    "\"explanation\": <one sentence>}"
#define RENDER_JSON_ALL                                                                            \
    "Choose every option that fits this. Reply in JSON: {\"choices\": [<letters>], "               \
    "\"explanation\": <one sentence>}"

enum {
    RENDER_LETTERS = 26, /* options that have a letter */
    RENDER_TURNS = 256,  /* of a chat, without the system turn */
};

struct render {
    const struct run_config *cfg;
    const struct values *values; /* NULL: pair files only */
    const struct tokenizer *tok;
    uint32_t end_id; /* <|im_end|> */
    struct str user, prompt;
    struct token_list list;
};

/* What to render: the scenario from byte `cut` on, under a side, with one option as the answer. */
struct render_request {
    const struct data_scenario *scenario;
    size_t cut;             /* 0 = whole; else where a word begins */
    enum readout_side side; /* whose preference the prompt names */
    uint32_t option;
};

/* A sequence of token ids. The tokens from first_label on are predicted. */
struct render_sequence {
    uint32_t *tokens; /* the caller's: mem_free */
    uint32_t n;
    uint32_t first_label; /* == n: no label is left (paper layout, cut away) */
};

/* cfg, values and tok are borrowed. Refuses a model without the control tokens of ChatML. */
MUST_USE enum err render_init(struct render *r, const struct run_config *cfg,
                              const struct values *values, const struct tokenizer *tok,
                              struct errbuf *e);
void render_free(struct render *r);

/* Append one piece of wording to out; check str_ok. They need no tokenizer. */
void render_preference(const struct values *values, const struct data_scenario *s,
                       enum readout_side side, struct str *out);
/* The user turn (preference_last) or what stands behind "### Human: " (paper). */
void render_user(const struct run_config *cfg, const struct values *values,
                 const struct render_request *q, struct str *out);
/* The same with the options listed, at most RENDER_LETTERS, and `asks` at the end. */
void render_listed_user(const struct run_config *cfg, const struct values *values,
                        const struct render_request *q, const char *asks, struct str *out);
/* The same with one letter asked for. */
void render_letter_user(const struct run_config *cfg, const struct values *values,
                        const struct render_request *q, struct str *out);

/* Training sequence: rendered and tokenised whole, never cut but by q.cut; in the paper layout the
 * first answer token carries no label, as in the paper's code. */
MUST_USE enum err render_train(struct render *r, const struct render_request *q,
                               struct render_sequence *out, struct errbuf *e);

/* The same with every answer token labelled: for log-probabilities. */
MUST_USE enum err render_score(struct render *r, const struct render_request *q,
                               struct render_sequence *out, struct errbuf *e);

/* Sequence that ends with the letter of q.option, its only label. ERR_UNSUPPORTED when a scenario
 * has more than RENDER_LETTERS options or the letter is no single token. */
MUST_USE enum err render_letter(struct render *r, const struct render_request *q,
                                struct render_sequence *out, struct errbuf *e);

/* A chat of n turns, at most RENDER_TURNS, behind the system turn where one is set; the last turn
 * is the answer, all its tokens labelled, or with letter the one that is a letter. The contents may
 * lie in r->user. */
MUST_USE enum err render_turns(struct render *r, const struct chat_turn *turns, size_t n,
                               bool letter, struct render_sequence *out, struct errbuf *e);

/* Where the scenario begins once its first n whole words are gone (text.bytes when none is left);
 * render_words counts them. Words are what space, tab and line ends separate. */
size_t render_cut(const struct data_scenario *s, uint32_t n);
uint32_t render_words(const struct data_scenario *s);

#endif
