/* trial_state.h - what trial.c and trial_change.c share. Private to them. */
#ifndef PFT_TRIAL_STATE_H
#define PFT_TRIAL_STATE_H

#include "coordinator/trial.h"
#include "coordinator/users.h"

struct trial {
    const struct dataset *data;
    struct dataset asked; /* data, but scenarios that are not scored have no axis */
    struct data_scenario *scenarios;
    const struct value_scores *scores;
    struct value_scores *choices; /* log p(option | value) */
    const struct trial_settings *settings;
    struct users *users;
    uint32_t n_axes;
};

MUST_USE enum err trial_open(struct trial *t, const struct dataset *data,
                             const struct value_scores *scores,
                             const struct trial_settings *settings, struct errbuf *e);
void trial_close(struct trial *t);

/* Scenarios of an axis that offer both poles and are scored under both. */
uint32_t trial_questions(const struct trial *t, uint32_t axis);

/* log p(the choice | a), log p(the choice | b) for the two poles of an axis. */
void trial_evidence(const struct trial *t, uint32_t axis, const struct user_choice *c,
                    double log_p[2]);

/* *next: the key of the next user, over axes with `least` questions, both sides and all numbers;
 * false when all have come. Begin with *index 0. */
bool trial_next(const struct trial *t, uint32_t least, uint32_t *index, struct user *who);

/* trial_change.c: users who turn, users who never do, and mixed users. */
MUST_USE enum err trial_changes(const struct trial *t, struct trial_change *out);
MUST_USE enum err trial_mixes(const struct trial *t, uint32_t shots, struct trial_mix *out);

/* The median of n numbers, which are sorted on the way; 0 of none. */
double trial_median(double *x, uint32_t n);

#endif
