/* eval_all.h - what the kinds share that pick every option of a value: answers of select-all, and
 * those of the bag of words. Owns: nothing. Loop thread. */
#ifndef PFT_EVAL_ALL_H
#define PFT_EVAL_ALL_H

#include "coordinator/bag_of_words.h"
#include "coordinator/eval_kind.h"
#include "coordinator/select_all.h"

/* Adds score, precision, recall and F1 of one question; the last three are shares of options. */
MUST_USE enum err eval_all_add(const struct eval_input *in, uint32_t scenario, uint32_t side,
                               const struct select_all_counts *c, struct eval_shares *all,
                               struct errbuf *e);

/* The bag's answers to all questions, its threshold 0; none without a bag. */
MUST_USE enum err eval_all_bag(const struct eval_input *in, const struct bag_of_words *bag,
                               struct eval_shares *all, struct errbuf *e);

#endif
