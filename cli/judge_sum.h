/* judge_sum.h - what scores say: means with intervals, the swap test, the length control.
 * Owns: the statistics and their JSON. Never: scores themselves. Pure.
 *
 *   score       mean under the value that an answer was given for, 0 to 10; interval over prompts
 *   swap        the same answers scored for the opposite value: "opposite" (mean), "difference"
 *               with interval, "lower" (share of answers that score lower there). A scorer that
 *               cannot tell the two apart gives a difference of 0.
 *   length      Pearson correlation of score and number of words, and the mean score when all
 *               answers are cut to one number of words ("cut_words"; shorter answers are left out)
 */
#ifndef PFT_JUDGE_SUM_H
#define PFT_JUDGE_SUM_H

#include <jansson.h>

#include "cli/judge_file.h"
#include "cli/judge_score.h"

struct judge_marks {
    double own, opposite, cut; /* NaN: no score */
    uint32_t words;
};

struct judge_sum_input {
    const struct values *values;
    const struct judge_answers *answers;
    const struct judge_marks *marks; /* [answers->n] */
    uint32_t cut_words;
    const struct judge_scorer *scorer;
    bool is_llm;
};

uint32_t judge_words_in(const char *text);

/* The number of words that all answers but the shortest tenth have. */
uint32_t judge_cut_words(const struct judge_marks *marks, uint32_t n);

/* The first `words` words of a text; the caller's (mem_free), NULL without memory. */
char *judge_cut(const char *text, uint32_t words);

/* *out: the caller's (json_decref). */
MUST_USE enum err judge_sum(const struct judge_sum_input *in, json_t **out, struct errbuf *e);

#endif
