/* value_scores.h - how well each option of a scenario goes with each value, as one number: the
 * common ground of the model's readouts and the bag of words, on which posteriors are computed.
 * Value 2 * axis + side is the pole `side` of an axis.
 *
 * Owns: the numbers. Never: models, choices. Single-threaded. */
#ifndef PFT_VALUE_SCORES_H
#define PFT_VALUE_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/dataset.h"
#include "coordinator/temperature.h"

struct value_row {
    uint32_t n_options;
    double *x; /* [n_values][n_options]; NaN: not scored */
};

struct value_scores {
    uint32_t n_values; /* 2 * axes */
    uint32_t n_rows;   /* scenarios of the dataset */
    struct value_row *rows;
};

/* A table for every scenario of data, all NaN. */
MUST_USE enum err value_scores_new(const struct dataset *data, uint32_t n_axes,
                                   struct value_scores **out);
void value_scores_free(struct value_scores **s); /* NULL inside is fine */

/* The row of a value: [n_options], to read or to fill. */
double *value_scores_at(const struct value_scores *s, uint32_t scenario, uint32_t value);
/* Is every option of the scenario scored under that value? */
bool value_scores_has(const struct value_scores *s, uint32_t scenario, uint32_t value);

/* Forgets the scores of all but the first `limit` scenarios; 0 keeps all. */
void value_scores_keep(struct value_scores *s, uint32_t limit);

/* A table of log p(option | value) = log softmax(score / temperature). */
MUST_USE enum err value_scores_choices(const struct value_scores *s, double temperature,
                                       struct value_scores **out);

/* The likeliest temperature for users who hold a pole of a scenario's own axis and pick evenly
 * among its options; scenarios that offer one pole, or are not scored, are left out. */
MUST_USE enum err value_scores_fit(const struct value_scores *s, const struct dataset *data,
                                   struct temperature_fit *out, struct errbuf *e);

/* The bag of words fitted on train: its score for side a of an axis, the negative one for side b,
 * for every axis. data: what to score. */
MUST_USE enum err value_scores_of_words(const struct dataset *train, const struct dataset *data,
                                        uint32_t n_axes, struct value_scores **out);

/* The same for the training file itself, each of `folds` parts scored by a bag fitted on the
 * others: what a temperature for the bag is to be calibrated on. */
MUST_USE enum err value_scores_of_words_held_out(const struct dataset *train, uint32_t folds,
                                                 uint32_t n_axes, struct value_scores **out);

#endif
