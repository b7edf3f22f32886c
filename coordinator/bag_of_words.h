/* bag_of_words.h - the scorer that every accuracy table carries: how far do the words alone get?
 * Two-class naive Bayes per axis over lower-cased \w+ words and adjacent pairs of words, add-0.1
 * smoothing over the axis's vocabulary, no prior (PAPER.md, "Bag-of-words").
 * Owns: counts. Never: a model's scores. Single-threaded; fit first, then score. */
#ifndef PFT_BAG_OF_WORDS_H
#define PFT_BAG_OF_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct bag_of_words;

MUST_USE enum err bag_new(uint32_t n_axes, struct bag_of_words **out);

/* Counts the features of one option's text for side 0 or 1 of an axis. */
MUST_USE enum err bag_fit(struct bag_of_words *bag, uint32_t axis, uint32_t side, const char *text,
                          size_t bytes);

/* *score = sum over the text's features of log p(f|side 0) - log p(f|side 1): > 0 speaks for side
 * 0. Features never seen on the axis are left out. */
MUST_USE enum err bag_score(const struct bag_of_words *bag, uint32_t axis, const char *text,
                            size_t bytes, double *score);

void bag_free(struct bag_of_words **bag);

#endif
