/* trial.h - trials of the preference vector on simulated users (users.h), from one table of scores:
 * how often the right pole is inferred after k choices, how well a pick for the user then is, how
 * far the posteriors can be believed, how many questions it takes, how soon a change is noticed.
 *
 * Owns: the figures. Never: models, jobs; a table of scores is all it reads, so that thousands of
 * users cost a moment. A pure function of (data, scores, settings). Single-threaded.
 *
 * History and question share an axis. "Inferred" = the pole the user holds has the larger share of
 * the posterior over the two poles of that axis; a tie counts half. */
#ifndef PFT_TRIAL_H
#define PFT_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"
#include "common/base/str.h"
#include "coordinator/bootstrap.h"
#include "coordinator/dataset.h"
#include "coordinator/value_scores.h"
#include "coordinator/values.h"

enum {
    TRIAL_SHOTS = 16,      /* numbers of choices that can be asked for at once */
    TRIAL_SHOTS_MAX = 100, /* choices */
    TRIAL_BINS = 8,
    TRIAL_TURN = 10,    /* a changing user turns after so many choices */
    TRIAL_HORIZON = 20, /* choices of the trials of change, and questions asked at most */
    TRIAL_MIXES = 3,
};

struct trial_settings {
    uint64_t seed;
    uint32_t users; /* of each value */
    uint32_t n_shots;
    uint32_t shots[TRIAL_SHOTS]; /* rising */
    double temperature;
    double forget;    /* of posteriors; posterior.h */
    double hazard;    /* drift.h */
    double threshold; /* drift.h: flagged above it */
    double sure;      /* questions are asked until a pole has that share */
};

struct trial_value {
    uint32_t n;
    double inferred, accuracy;
};

/* Users after k choices. Intervals are over the scenarios that a figure rests on (trial_spread.h):
 * the choices, the question that comes next, or both. */
struct trial_shot {
    uint32_t k;
    uint32_t n; /* users whose axis has more than k questions; 0 leaves the rest 0 */
    struct bootstrap_share inferred;
    double probability; /* mean posterior of the pole held */
    double log_loss;    /* mean -log of it, nats */
    struct bootstrap_share
        accuracy;                /* picks by posterior-weighted scores that carry the pole held */
    struct bootstrap_share told; /* picks by the scores of the pole held */
    struct bootstrap_share gap;  /* accuracy - told, paired */
    uint32_t n_all;              /* users whose scenarios are scored under every value */
    double inferred_all;         /* the pole held leads among all values; ties split */
    double probability_all;      /* mean posterior of it among all values */
    struct trial_value values[2 * LIMIT_AXES];
};

/* Posteriors of users after 1 choice and more, by the share of the leading pole. */
struct trial_bin {
    double from; /* up to the next bin's */
    uint32_t n;
    double predicted; /* mean share of the leading pole */
    double observed;  /* how often it is the pole held */
};

struct trial_asked {
    uint32_t n;
    double reached; /* share of users with a pole at `sure` within the horizon */
    double mean;    /* questions; the horizon where not reached */
    double median;
    double right; /* of those reached: the pole held leads */
};

struct trial_change {
    uint32_t n;            /* users of each kind */
    double delay;          /* median choices from the turn to the flag, of users not flagged before;
                            * HORIZON: hardly ever; NaN: all were flagged before */
    double within_3;       /* share flagged at most three choices after the turn */
    double early;          /* changing users flagged before they turn */
    double missed;         /* not flagged within the horizon */
    double stable_flagged; /* users who never change, within the horizon */
};

/* Mixed users after the largest number of shots. */
struct trial_mix {
    double share; /* of questions answered as the first pole */
    uint32_t n;
    double estimate; /* mean of posterior_mix_share */
    double error;    /* mean distance of it from share */
    double lambda;   /* mean posterior of the first pole */
};

struct trial_report {
    uint32_t n_shots;
    struct trial_shot shots[TRIAL_SHOTS];
    struct trial_bin bins[TRIAL_BINS];
    double calibration_error; /* mean distance of predicted and observed, weighted by n */
    struct trial_asked chosen, random;
    struct trial_change change;
    struct trial_mix mixes[TRIAL_MIXES];
};

/* scores: of data's scenarios. ERR_REFUSED when no axis has two scored scenarios. */
MUST_USE enum err trial_run(const struct dataset *data, const struct value_scores *scores,
                            const struct trial_settings *settings, struct trial_report *out,
                            struct errbuf *e);

/* The threshold above which a share of at most `rate` of the users who never change is flagged
 * within the horizon, on these data and scores. */
MUST_USE enum err trial_threshold(const struct dataset *data, const struct value_scores *scores,
                                  const struct trial_settings *settings, double rate,
                                  double *threshold, struct errbuf *e);

/* Appends the report as the members of a JSON object ("shots": ...), without the braces. */
void trial_json(const struct trial_report *r, const struct values *values, struct str *json);

#endif
