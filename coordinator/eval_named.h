/* eval_named.h - what the kinds share that name a value in the prompt and ask which option carries
 * it: trees, tables of scores, select-one answers, and those of the bag of words.
 * Owns: nothing. Loop thread. */
#ifndef PFT_EVAL_NAMED_H
#define PFT_EVAL_NAMED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/bag_of_words.h"
#include "coordinator/eval_kind.h"
#include "coordinator/eval_scores.h"

struct data_scenario;

/* Axis of a scenario; those without one count as axis n_axes of the values. */
uint32_t eval_axis(const struct eval_input *in, const struct data_scenario *s);

/* Is the scenario of the test file asked about? */
bool eval_named_asks(const struct eval_input *in, uint32_t scenario);

/* Adds the trees of n scenarios of data, evenly spread over its first `of`, for the readouts. */
MUST_USE enum err eval_named_build(const struct eval_input *in, const struct dataset *data,
                                   uint32_t part, uint32_t n, uint32_t of, uint32_t readouts,
                                   struct eval_trees *trees, struct errbuf *e);

/* The scores of a part, a slot per scenario of data; the caller frees them. */
MUST_USE enum err eval_named_scores(const struct dataset *data, uint32_t part,
                                    const struct eval_trees *trees, enum eval_pass pass,
                                    struct eval_scores *out, struct errbuf *e);

/* Adds to `one` the answer of a pick, EVAL_NO_PICK included. */
MUST_USE enum err eval_named_answer(const struct eval_input *in, uint32_t scenario, uint32_t side,
                                    uint32_t pick, struct eval_shares *one, struct errbuf *e);

/* Select-one answers of a readout. */
MUST_USE enum err eval_named_one(const struct eval_input *in, const struct eval_scores *scores,
                                 enum readout readout, struct eval_shares *one, struct errbuf *e);

/* Fitted on in->train; *out NULL without such a file. */
MUST_USE enum err eval_bag_fit(const struct eval_input *in, struct bag_of_words **out,
                               struct errbuf *e);
/* Scores of a scenario's options, > 0 for side 0. */
MUST_USE enum err eval_bag_scores(const struct eval_input *in, const struct bag_of_words *bag,
                                  const struct data_scenario *s, double *scores, struct errbuf *e);
/* Select-one answers of the bag; none without one. */
MUST_USE enum err eval_bag_one(const struct eval_input *in, const struct bag_of_words *bag,
                               struct eval_shares *one, struct errbuf *e);

#endif
