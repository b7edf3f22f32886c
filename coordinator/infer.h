/* infer.h - the preference vector of one user: what a list of choices says about the values of a
 * run, axis by axis and over all values at once, and which question to ask next
 * (docs/preference-vector.md).
 *
 * Over all values: one posterior, as if the user held a single value. Axis by axis: the user holds
 * one pole of each; a choice whose axis is known speaks about that axis, one without about all.
 * Owns: the joining of posterior.h and drift.h. Never: models, jobs, files. Pure. */
#ifndef PFT_INFER_H
#define PFT_INFER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"
#include "common/base/str.h"
#include "coordinator/dataset.h"
#include "coordinator/value_scores.h"
#include "coordinator/values.h"

struct infer_settings {
    double temperature;
    double forget;       /* posterior.h */
    double hazard;       /* drift.h */
    double threshold;    /* drift.h: flagged above it */
    const double *prior; /* [2 * axes] weights; NULL: even */
    uint32_t axis;       /* the only one to look at; DATASET_NO_AXIS: all */
};

struct infer_axis {
    uint32_t n;       /* choices that speak about it */
    double shares[2]; /* posterior of its poles */
    double lambda;    /* for decoding p(.|a)^lambda p(.|b)^(1 - lambda): the share of pole a */
    double mix;       /* share of questions answered as pole a, if the user is mixed */
    double entropy;   /* nats */
    double statistic; /* of change after the last choice; -infinity: fewer than two choices */
    uint32_t flagged; /* the choice, from 1, at which change was flagged first; 0: never */
};

struct infer_result {
    uint32_t n_axes;
    uint32_t n_choices;
    double shares[2 * LIMIT_AXES]; /* over all values, or the two poles of settings.axis */
    double entropy;                /* of them, nats */
    struct infer_axis axes[LIMIT_AXES];
};

struct infer_next {
    uint32_t item;      /* of the pool */
    double information; /* expected, nats */
    bool about_axis;    /* about the poles of the item's axis; else about all values */
};

/* ERR_REFUSED: an item of the history does not say what was picked; names file and line. */
MUST_USE enum err infer_check(const struct dataset *history, struct errbuf *e);

/* choices: log p(option | value) for history (value_scores_choices). ERR_REFUSED: an item without a
 * choice, or not scored; the text names file and line. */
MUST_USE enum err infer_run(const struct values *values, const struct dataset *history,
                            const struct value_scores *choices,
                            const struct infer_settings *settings, struct infer_result *out,
                            struct errbuf *e);

/* The item of greatest expected information in a pool; the first one on a tie. What the history has
 * answered (same text, same options) is not asked again. choices: of the pool. ERR_REFUSED: no item
 * is left, or none was scored. */
MUST_USE enum err infer_ask(const struct dataset *pool, const struct dataset *history,
                            const struct value_scores *choices,
                            const struct infer_settings *settings, const struct infer_result *r,
                            struct infer_next *out, struct errbuf *e);

/* Appends the members of a JSON object, without the braces. next and pool: NULL without a pool. */
void infer_json(const struct values *values, const struct infer_settings *settings,
                const struct infer_result *r, const struct dataset *pool,
                const struct infer_next *next, struct str *json);

/* Prior weights from "NAME=WEIGHT,NAME=WEIGHT,...": values that are not named have 1. ERR_USAGE
 * names the value and the nearest known one, or the axis of which no value is possible. */
MUST_USE enum err infer_prior(const struct values *values, const char *text,
                              double prior[2 * LIMIT_AXES], struct errbuf *e);

#endif
