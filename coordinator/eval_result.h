/* eval_result.h - the answers of an evaluation, and their JSON: shares with intervals, per value,
 * beside the base model's and the paired difference.
 * Owns: the answers, the shape of the JSON. Never: how an answer came about. Loop thread.
 *
 * One result as JSON (docs/evaluation.md):
 *   "readout", "shots" (history), "lambda" (mix), SHARE, "bag_of_words": {SHARE} or null,
 *   "select_all": {SHARE, "threshold", "bag_of_words", "scores": [one per question]} (select),
 *   "questions": [[scenario, axis, side, pick, correct], ...]; of what has no right and wrong the
 *   question's own figure in place of correct
 *   "margins": [of each question, nats a token] (contrast)
 * SHARE = "n", MEASURE, "ci95": [lo, hi], further measures (of a tally "NAME_n" too, the number of
 * questions), "per_value": {name: {...}}, and with a base pass "base": {SHARE} and "paired":
 * {"difference", "ci95", of a margin "margin_difference" with "margin_difference_ci95" too,
 * "per_value"}. */
#ifndef PFT_EVAL_RESULT_H
#define PFT_EVAL_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct values;

/* A question = (scenario, a value, or category with side 0). A share of answers is sum gain / sum
 * weight: right answers have gain 1, all weight 1. */
#define EVAL_NO_PICK UINT32_MAX

/* The second measure of the contrast readout: nats a token by which naming a value moves its
 * options (readout_margin). A result that has it lists "margins", one a question. */
#define EVAL_MARGIN "margin"

struct eval_answer {
    uint32_t scenario; /* index into the data file; answers of one stand together */
    uint32_t axis, side;
    uint32_t pick; /* option, or EVAL_NO_PICK: -1 in JSON */
    double gain, weight;
};

struct eval_series {
    const char *measure; /* "accuracy", "score", ... */
    bool tally;          /* the number of gains is of interest too */
    uint32_t n;
    size_t capacity;
    struct eval_answer *items;
};

enum eval_part { EVAL_ONE, EVAL_ONE_BAG, EVAL_ALL, EVAL_ALL_BAG, EVAL_PARTS };
enum { EVAL_MEASURES = 5 };

/* The first series leads: n, interval and paired difference are its own; the rest go with it. */
struct eval_shares {
    uint32_t n;
    struct eval_series series[EVAL_MEASURES];
};

struct eval_result {
    const char *readout;
    int shots;                            /* -1: no history */
    double lambda;                        /* share of the first pole; NaN: not a mix */
    double threshold;                     /* of select-all; NaN: it needs none */
    struct eval_shares parts[EVAL_PARTS]; /* n 0: none */
};

struct eval_results {
    uint32_t n;
    size_t capacity, name_capacity;
    struct eval_result *items;
    const char *per; /* "per_value", "per_category"; NULL: no parts */
    bool has_bag;    /* the kind has a bag of words, if null for want of a training file */
    bool has_all;    /* the kind has select-all */
    uint32_t n_names;
    const char **names; /* [n_names], of (axis, side) at 2 * axis + side; borrowed, NULL: unused */
};

/* Names the values of every axis, and "side a", "side b" of scenarios without one, which count as
 * axis n_axes. */
MUST_USE enum err eval_results_values(struct eval_results *r, const struct values *values,
                                      struct errbuf *e);
MUST_USE enum err eval_results_name(struct eval_results *r, uint32_t axis, uint32_t side,
                                    const char *name, struct errbuf *e);
/* A new empty result, the last of r->items. */
MUST_USE enum err eval_results_add(struct eval_results *r, const char *readout, int shots,
                                   struct eval_result **out, struct errbuf *e);
/* Adds an answer to the series of a measure, which is made when it is new. */
MUST_USE enum err eval_shares_add(struct eval_shares *s, const char *measure,
                                  const struct eval_answer *answer, struct errbuf *e);

/* The same to a measure that is a tally: gain 1 or 0. */
MUST_USE enum err eval_shares_tally(struct eval_shares *s, const char *measure,
                                    const struct eval_answer *answer, struct errbuf *e);

/* Appends the list of results. base: the same questions asked of the base model, or NULL. */
MUST_USE enum err eval_results_json(const struct eval_results *r, const struct eval_results *base,
                                    struct str *json);
void eval_results_free(struct eval_results *r);

#endif
