/* trial_change.c - users who turn to the other pole, users who never do, users who are mixed. */
#include <math.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/drift.h"
#include "coordinator/posterior.h"
#include "coordinator/trial_state.h"

static const double mix_shares[TRIAL_MIXES] = {0.25, 0.5, 0.75};

/* statistic[i]: after choice i of the horizon. */
static enum err watch(const struct trial *t, const struct user *who,
                      double statistic[TRIAL_HORIZON])
{
    static const double even[2] = {0.0, 0.0};
    struct user_choice choices[TRIAL_HORIZON];
    struct drift d;
    enum err error = users_choose(t->users, who, TRIAL_HORIZON, choices);
    drift_init(&d, 2, even, t->settings->hazard);
    for (uint32_t i = 0; i < TRIAL_HORIZON && error == OK; i++) {
        double log_p[2];
        trial_evidence(t, who->axis, &choices[i], log_p);
        statistic[i] = drift_take(&d, log_p);
    }
    return error;
}

/* Choices until the flag; HORIZON + 1 without one. */
static uint32_t flagged_after(const double statistic[TRIAL_HORIZON], double threshold)
{
    for (uint32_t i = 0; i < TRIAL_HORIZON; i++) {
        if (statistic[i] > threshold) {
            return i + 1;
        }
    }
    return TRIAL_HORIZON + 1;
}

enum err trial_changes(const struct trial *t, struct trial_change *out)
{
    size_t room = (size_t)2 * t->n_axes * t->settings->users;
    double *delays = mem_calloc(room, sizeof *delays);
    uint32_t index = 0;
    uint32_t n = 0;
    struct user who;
    enum err error = delays ? OK : ERR_NOMEM;
    *out = (struct trial_change){0};
    while (error == OK && trial_next(t, 2, &index, &who)) {
        double statistic[TRIAL_HORIZON];
        error = watch(t, &who, statistic);
        uint32_t stable = flagged_after(statistic, t->settings->threshold);
        who.turn = TRIAL_TURN;
        if (error == OK) {
            error = watch(t, &who, statistic);
        }
        uint32_t after = flagged_after(statistic, t->settings->threshold);
        out->n++;
        out->stable_flagged += stable <= TRIAL_HORIZON ? 1.0 : 0.0;
        out->missed += after > TRIAL_HORIZON ? 1.0 : 0.0;
        out->early += after <= TRIAL_TURN ? 1.0 : 0.0;
        if (after > TRIAL_TURN) {
            uint32_t delay = after > TRIAL_HORIZON ? TRIAL_HORIZON : after - TRIAL_TURN;
            delays[n++] = (double)delay;
            out->within_3 += delay <= 3 ? 1.0 : 0.0;
        }
    }
    if (error == OK && out->n > 0) {
        out->delay = n > 0 ? trial_median(delays, n) : (double)NAN;
        out->within_3 /= n > 0 ? (double)n : 1.0;
        out->early /= (double)out->n;
        out->missed /= (double)out->n;
        out->stable_flagged /= (double)out->n;
    }
    mem_free(delays);
    return error;
}

enum err trial_threshold(const struct dataset *data, const struct value_scores *scores,
                         const struct trial_settings *settings, double rate, double *threshold,
                         struct errbuf *e)
{
    struct trial t;
    CHECK(rate > 0.0 && rate < 1.0);
    enum err error = trial_open(&t, data, scores, settings, e);
    if (error != OK) {
        return error;
    }
    size_t room = (size_t)2 * t.n_axes * settings->users;
    double *most = mem_calloc(room, sizeof *most);
    uint32_t n = 0;
    uint32_t index = 0;
    struct user who;
    error = most ? OK : ERR_NOMEM;
    while (error == OK && trial_next(&t, 2, &index, &who)) {
        double statistic[TRIAL_HORIZON];
        error = watch(&t, &who, statistic);
        most[n] = -INFINITY;
        for (uint32_t i = 0; i < TRIAL_HORIZON && error == OK; i++) {
            most[n] = statistic[i] > most[n] ? statistic[i] : most[n];
        }
        n++;
    }
    if (error == OK) {
        (void)trial_median(most, n); /* sorts */
        *threshold = most[n - 1 - (uint32_t)(rate * (double)n)];
    }
    mem_free(most);
    trial_close(&t);
    return error == OK ? OK : err_set(e, error, "change threshold: %s", err_text(error));
}

static enum err mix_of(const struct trial *t, const struct user *who, uint32_t shots,
                       struct trial_mix *out)
{
    struct user_choice choices[TRIAL_SHOTS_MAX];
    struct posterior p;
    struct posterior_mix m;
    double shares[2];
    uint32_t there = trial_questions(t, who->axis);
    uint32_t asked = shots < there ? shots : there;
    enum err error = users_choose(t->users, who, asked, choices);
    if (error == OK) {
        error = posterior_init(&p, 2, NULL, t->settings->forget, NULL);
    }
    posterior_mix_init(&m, t->settings->forget);
    for (uint32_t i = 0; i < asked && error == OK; i++) {
        double log_p[2];
        trial_evidence(t, who->axis, &choices[i], log_p);
        posterior_take(&p, log_p);
        posterior_mix_take(&m, log_p[0], log_p[1]);
    }
    if (error == OK) {
        posterior_shares(&p, shares);
        double estimate = posterior_mix_share(&m);
        out->n++;
        out->estimate += estimate;
        out->error += fabs(estimate - out->share);
        out->lambda += shares[0];
    }
    return error;
}

enum err trial_mixes(const struct trial *t, uint32_t shots, struct trial_mix *out)
{
    enum err error = OK;
    for (uint32_t i = 0; i < TRIAL_MIXES; i++) {
        uint32_t index = 0;
        struct user who;
        out[i] = (struct trial_mix){.share = mix_shares[i]};
        while (error == OK && trial_next(t, 2, &index, &who)) {
            if (who.side == 0) { /* the share is that of the first pole */
                who.share = mix_shares[i];
                error = mix_of(t, &who, shots, &out[i]);
            }
        }
        double n = out[i].n > 0 ? (double)out[i].n : 1.0;
        out[i].estimate /= n;
        out[i].error /= n;
        out[i].lambda /= n;
    }
    return error;
}
