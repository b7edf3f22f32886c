/* judge_score.h - a score from 0 to 10: how far an answer in words shows a value. Two scorers
 * behind one interface: a model behind an OpenAI-compatible endpoint, or the words alone. Owns:
 * prompts, the reading of replies, the cache. Never: statistics. The words' scorer is no LLM judge,
 * and says so by its name. Blocks. */
#ifndef PFT_JUDGE_SCORE_H
#define PFT_JUDGE_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/judge_http.h"
#include "common/base/quote.h"
#include "coordinator/values.h"

struct judge_question {
    const struct values *values;
    uint32_t axis, side; /* the value it should show */
    const char *prompt, *answer;
};

struct judge_scorer {
    const char *name; /* "words", or the judge's model */
    /* *known: false when the reply held no score. */
    enum err (*score)(struct judge_scorer *s, const struct judge_question *q, double *score,
                      bool *known, struct errbuf *e);
    void (*free)(struct judge_scorer *s);
    uint64_t from_cache, unparsable, cut_off; /* cut_off: of the unparsable ones */
    char unscored[QUOTE_BYTES];               /* the last reply without a score; "": none */
    struct judge_http *http;                  /* NULL: the words */
};

struct judge_llm_config {
    struct judge_http_config http; /* url: without /chat/completions */
    const char *model;
    const char *cache; /* folder of replies, by SHA-256 of address and request */
};

/* Answers are judged by a model at temperature 0; replies are kept and not asked for again. */
MUST_USE enum err judge_llm_new(const struct judge_llm_config *cfg, struct judge_scorer **out,
                                struct errbuf *e);

/* Fixed: 10 times the probability of the value against its opposite by naive Bayes over the words
 * of the training file's options (coordinator/bag_of_words.h), the evidence divided by the root of
 * the answer's words so that long answers do not all end at 0 or 10. */
MUST_USE enum err judge_words_new(const char *train, const struct values *values,
                                  struct judge_scorer **out, struct errbuf *e);

/* The score in a reply: {"score": n}, or the only whole number from 0 to 10 (as "7", "7/10",
 * "Score: 7"), behind </think> where
 * there is one. False when there is none, or more than one. Pure. */
bool judge_read_score(const char *reply, double *score);

#endif
