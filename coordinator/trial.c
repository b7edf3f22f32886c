/* trial.c - users who hold one pole: what is inferred after k choices, and which question to ask.
 */
#include "coordinator/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/posterior.h"
#include "coordinator/trial_spread.h"
#include "coordinator/trial_state.h"

static const double bin_from[TRIAL_BINS] = {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999};

static enum err see_scored(struct trial *t)
{
    uint32_t n = t->data->n_scenarios;
    t->asked = *t->data;
    t->scenarios = mem_calloc(n, sizeof *t->scenarios);
    if (!t->scenarios) {
        return ERR_NOMEM;
    }
    memcpy(t->scenarios, t->data->scenarios, n * sizeof *t->scenarios);
    t->asked.scenarios = t->scenarios;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t axis = t->scenarios[i].axis;
        if (axis != DATASET_NO_AXIS && !(value_scores_has(t->scores, i, 2 * axis) &&
                                         value_scores_has(t->scores, i, 2 * axis + 1))) {
            t->scenarios[i].axis = DATASET_NO_AXIS;
        }
    }
    return OK;
}

enum err trial_open(struct trial *t, const struct dataset *data, const struct value_scores *scores,
                    const struct trial_settings *settings, struct errbuf *e)
{
    CHECK(scores->n_rows == data->n_scenarios && settings->users > 0 &&
          settings->n_shots <= TRIAL_SHOTS);
    *t = (struct trial){
        .data = data, .scores = scores, .settings = settings, .n_axes = scores->n_values / 2};
    enum err error = value_scores_choices(scores, settings->temperature, &t->choices);
    if (error == OK) {
        error = see_scored(t);
    }
    if (error == OK) {
        error = users_new(&t->asked, t->n_axes, settings->seed, &t->users);
    }
    if (error != OK) {
        trial_close(t);
        return err_set(e, error, "no memory for simulated users");
    }
    uint32_t most = 0;
    for (uint32_t axis = 0; axis < t->n_axes; axis++) {
        uint32_t n = trial_questions(t, axis);
        most = n > most ? n : most;
    }
    if (most < 2) {
        trial_close(t);
        return err_set(e, ERR_REFUSED,
                       "%s: simulated users need an axis with 2 scenarios that offer both poles; "
                       "there are %u",
                       data->path ? data->path : "data", most);
    }
    return OK;
}

void trial_close(struct trial *t)
{
    value_scores_free(&t->choices);
    users_free(&t->users);
    mem_free(t->scenarios);
    t->scenarios = NULL;
}

uint32_t trial_questions(const struct trial *t, uint32_t axis)
{
    uint32_t n = 0;
    (void)users_scenarios(t->users, axis, &n);
    return n;
}

void trial_evidence(const struct trial *t, uint32_t axis, const struct user_choice *c,
                    double log_p[2])
{
    log_p[0] = value_scores_at(t->choices, c->scenario, 2 * axis)[c->option];
    log_p[1] = value_scores_at(t->choices, c->scenario, 2 * axis + 1)[c->option];
}

bool trial_next(const struct trial *t, uint32_t least, uint32_t *index, struct user *who)
{
    uint32_t users = t->settings->users;
    for (; *index < 2 * t->n_axes * users; (*index)++) {
        uint32_t axis = *index / (2 * users);
        if (trial_questions(t, axis) >= least) {
            *who = (struct user){.axis = axis,
                                 .side = *index / users % 2,
                                 .number = *index % users,
                                 .share = 1.0,
                                 .turn = UINT32_MAX};
            (*index)++;
            return true;
        }
        *index = (axis + 1) * 2 * users - 1;
    }
    return false;
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double trial_median(double *x, uint32_t n)
{
    if (n == 0) {
        return 0.0;
    }
    qsort(x, n, sizeof *x, by_size);
    return (x[(n - 1) / 2] + x[n / 2]) / 2.0;
}

/* ------------------------------------------------------------------ what is inferred after k */

/* One user after k choices. */
struct outcome {
    uint32_t value;
    uint32_t question; /* the scenario that comes next */
    double inferred, probability, lead;
    bool picked, told;
    bool all; /* the two numbers after it are there */
    double inferred_all, probability_all;
};

static double share_of_lead(const double *shares, uint32_t n, uint32_t value)
{
    uint32_t ahead = 0;
    uint32_t level = 0;
    for (uint32_t v = 0; v < n; v++) {
        ahead += shares[v] > shares[value];
        level += shares[v] == shares[value];
    }
    return ahead > 0 ? 0.0 : 1.0 / (double)level;
}

/* The option whose scores, weighted by the shares of the two poles, are highest; the first one on a
 * tie. */
static uint32_t pick(const struct trial *t, uint32_t axis, uint32_t scenario,
                     const double shares[2])
{
    const double *a = value_scores_at(t->scores, scenario, 2 * axis);
    const double *b = value_scores_at(t->scores, scenario, 2 * axis + 1);
    uint32_t best = 0;
    for (uint32_t o = 1; o < t->data->scenarios[scenario].n_options; o++) {
        double gain = shares[0] * (a[o] - a[best]) + shares[1] * (b[o] - b[best]);
        best = gain > 0.0 ? o : best;
    }
    return best;
}

static void measure(const struct trial *t, const struct user *who, uint32_t question,
                    const struct posterior *own, const struct posterior *all, bool has_all,
                    struct outcome *out)
{
    double shares[POSTERIOR_VALUES];
    const struct data_option *options = t->data->scenarios[question].options;
    const double told[2] = {who->side == 0 ? 1.0 : 0.0, who->side == 1 ? 1.0 : 0.0};
    *out = (struct outcome){.question = question, .value = 2 * who->axis + who->side};
    posterior_shares(own, shares);
    out->probability = shares[who->side];
    out->inferred = share_of_lead(shares, 2, who->side);
    out->lead = shares[0] > shares[1] ? shares[0] : shares[1];
    out->picked = options[pick(t, who->axis, question, shares)].side == who->side;
    out->told = options[pick(t, who->axis, question, told)].side == who->side;
    out->all = has_all;
    if (has_all) {
        posterior_shares(all, shares);
        out->probability_all = shares[out->value];
        out->inferred_all = share_of_lead(shares, all->n, out->value);
    }
}

/* The outcomes of one user at the shots that leave a question over; *n of them. scenarios: of the
 * choices, in order. */
static enum err follow(const struct trial *t, const struct user *who, struct outcome *out,
                       uint32_t *n, uint32_t scenarios[TRIAL_SHOTS_MAX + 1])
{
    struct user_choice choices[TRIAL_SHOTS_MAX + 1];
    const struct trial_settings *s = t->settings;
    struct posterior own;
    struct posterior all;
    bool has_all = true;
    uint32_t there = trial_questions(t, who->axis);
    uint32_t last = s->shots[s->n_shots - 1];
    uint32_t asked = last + 1 < there ? last + 1 : there;
    enum err error = users_choose(t->users, who, asked, choices);
    if (error == OK) {
        error = posterior_init(&own, 2, NULL, s->forget, NULL);
    }
    if (error == OK) {
        error = posterior_init(&all, t->scores->n_values, NULL, s->forget, NULL);
    }
    *n = 0;
    for (uint32_t k = 0; k < asked && error == OK; k++) {
        double log_p[POSTERIOR_VALUES];
        scenarios[k] = choices[k].scenario;
        if (*n < s->n_shots && s->shots[*n] == k) {
            measure(t, who, choices[asked - 1].scenario, &own, &all, has_all, &out[*n]);
            (*n)++;
        }
        trial_evidence(t, who->axis, &choices[k], log_p);
        posterior_take(&own, log_p);
        for (uint32_t v = 0; v < t->scores->n_values && has_all; v++) {
            has_all = value_scores_has(t->choices, choices[k].scenario, v);
            log_p[v] = value_scores_at(t->choices, choices[k].scenario, v)[choices[k].option];
        }
        if (has_all) {
            posterior_take(&all, log_p);
        }
    }
    return error;
}

static void add_up(const struct outcome *o, uint32_t n, struct trial_shot *shot)
{
    for (uint32_t i = 0; i < n; i++) {
        struct trial_value *v = &shot->values[o[i].value];
        v->n++;
        v->inferred += o[i].inferred;
        v->accuracy += o[i].picked ? 1.0 : 0.0;
        shot->probability += o[i].probability / (double)n;
        shot->log_loss -= log(o[i].probability > 1e-300 ? o[i].probability : 1e-300) / (double)n;
        shot->n_all += o[i].all;
        shot->inferred_all += o[i].all ? o[i].inferred_all : 0.0;
        shot->probability_all += o[i].all ? o[i].probability_all : 0.0;
    }
    for (uint32_t v = 0; v < 2 * LIMIT_AXES; v++) {
        if (shot->values[v].n > 0) {
            shot->values[v].inferred /= (double)shot->values[v].n;
            shot->values[v].accuracy /= (double)shot->values[v].n;
        }
    }
    if (shot->n_all > 0) {
        shot->inferred_all /= (double)shot->n_all;
        shot->probability_all /= (double)shot->n_all;
    }
}

/* Figures with an interval, and the scenarios that each rests on: the history comes first, the
 * question behind it. */
enum { INFERRED, ACCURACY, TOLD, GAP, FIGURES };

static void take_spreads(const struct outcome *o, const uint32_t *scenarios, uint32_t k,
                         struct trial_spread *spreads[FIGURES])
{
    const uint32_t axis = o->value / 2;
    const double picked = o->picked ? 1.0 : 0.0;
    const double told = o->told ? 1.0 : 0.0;
    trial_spread_take(spreads[INFERRED], axis, o->inferred, scenarios, k);
    trial_spread_take(spreads[ACCURACY], axis, picked, scenarios, k + 1);
    trial_spread_take(spreads[TOLD], axis, told, scenarios + k, 1);
    trial_spread_take(spreads[GAP], axis, picked - told, scenarios, k + 1);
}

static void summarise(const struct outcome *o, uint32_t n, struct trial_spread *spreads[FIGURES],
                      struct trial_shot *shot)
{
    trial_spread_share(spreads[INFERRED], 0.0, &shot->inferred);
    trial_spread_share(spreads[ACCURACY], 0.0, &shot->accuracy);
    trial_spread_share(spreads[TOLD], 0.0, &shot->told);
    trial_spread_share(spreads[GAP], -1.0, &shot->gap);
    shot->n = n;
    add_up(o, n, shot);
}

static void fill_bins(const struct outcome *o, uint32_t n, struct trial_bin *bins)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bin = TRIAL_BINS - 1;
        while (bin > 0 && o[i].lead < bin_from[bin]) {
            bin--;
        }
        bins[bin].n++;
        bins[bin].predicted += o[i].lead;
        bins[bin].observed += o[i].inferred;
    }
}

static void finish_bins(struct trial_report *out)
{
    uint32_t all = 0;
    for (uint32_t i = 0; i < TRIAL_BINS; i++) {
        struct trial_bin *bin = &out->bins[i];
        bin->from = bin_from[i];
        all += bin->n;
        out->calibration_error += fabs(bin->predicted - bin->observed);
        bin->predicted /= bin->n > 0 ? (double)bin->n : 1.0;
        bin->observed /= bin->n > 0 ? (double)bin->n : 1.0;
    }
    out->calibration_error /= all > 0 ? (double)all : 1.0;
}

/* Follows every user; n[k]: how many had a question left after shot k. */
static enum err follow_all(const struct trial *t, struct outcome *outcomes, size_t room,
                           struct trial_spread *spreads[][FIGURES], uint32_t n[TRIAL_SHOTS])
{
    const struct trial_settings *s = t->settings;
    uint32_t index = 0;
    struct user who;
    enum err error = OK;
    while (error == OK && trial_next(t, 2, &index, &who)) {
        struct outcome own[TRIAL_SHOTS];
        uint32_t scenarios[TRIAL_SHOTS_MAX + 1];
        uint32_t there = 0;
        error = follow(t, &who, own, &there, scenarios);
        for (uint32_t k = 0; k < there && error == OK; k++) {
            uint32_t rests[TRIAL_SHOTS_MAX + 1];
            memcpy(rests, scenarios, s->shots[k] * sizeof *rests);
            rests[s->shots[k]] = own[k].question;
            take_spreads(&own[k], rests, s->shots[k], spreads[k]);
            outcomes[k * room + n[k]++] = own[k];
        }
    }
    return error;
}

static enum err run_shots(const struct trial *t, struct trial_report *out)
{
    const struct trial_settings *s = t->settings;
    const size_t room = (size_t)2 * t->n_axes * s->users;
    struct outcome *outcomes = mem_calloc(room * s->n_shots, sizeof *outcomes);
    struct trial_spread *spreads[TRIAL_SHOTS][FIGURES] = {{NULL}};
    uint32_t n[TRIAL_SHOTS] = {0};
    enum err error = outcomes ? OK : ERR_NOMEM;
    for (uint32_t i = 0; i < s->n_shots * FIGURES && error == OK; i++) {
        error = trial_spread_new(t->data->n_scenarios, &spreads[i / FIGURES][i % FIGURES]);
    }
    if (error == OK) {
        error = follow_all(t, outcomes, room, spreads, n);
    }
    out->n_shots = s->n_shots;
    for (uint32_t k = 0; k < s->n_shots && error == OK; k++) {
        out->shots[k].k = s->shots[k];
        if (n[k] > 0) {
            summarise(outcomes + k * room, n[k], spreads[k], &out->shots[k]);
        }
        if (s->shots[k] > 0) {
            fill_bins(outcomes + k * room, n[k], out->bins);
        }
    }
    finish_bins(out);
    for (uint32_t i = 0; i < s->n_shots * FIGURES; i++) {
        trial_spread_free(&spreads[i / FIGURES][i % FIGURES]);
    }
    mem_free(outcomes);
    return error;
}

/* ------------------------------------------------------------------ which question to ask */

/* The question of greatest expected information among those not asked yet. */
static uint32_t best_question(const struct trial *t, const struct user *who, const bool *asked,
                              const double shares[2])
{
    uint32_t n = 0;
    uint32_t best = 0;
    double most = -1.0;
    const uint32_t *list = users_scenarios(t->users, who->axis, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (!asked[list[i]]) {
            double bits = posterior_information(shares, 2,
                                                value_scores_at(t->choices, list[i], 2 * who->axis),
                                                t->data->scenarios[list[i]].n_options);
            best = bits > most ? list[i] : best;
            most = bits > most ? bits : most;
        }
    }
    return best;
}

struct asking {
    uint32_t questions;
    bool reached, right;
};

/* order NULL: questions are chosen. asked: [n_scenarios], all false, scratch. A user answers a
 * scenario alike whenever it is asked. */
static enum err ask(const struct trial *t, const struct user *who, const struct user_choice *order,
                    uint32_t most, bool *asked, struct asking *out)
{
    struct posterior p;
    double shares[2];
    enum err error = posterior_init(&p, 2, NULL, t->settings->forget, NULL);
    *out = (struct asking){.questions = TRIAL_HORIZON};
    for (uint32_t i = 0; i < most && error == OK && !out->reached; i++) {
        double log_p[2];
        posterior_shares(&p, shares);
        uint32_t scenario = order ? order[i].scenario : best_question(t, who, asked, shares);
        asked[scenario] = true;
        struct user_choice c = users_answer(t->users, who, scenario, scenario);
        trial_evidence(t, who->axis, &c, log_p);
        posterior_take(&p, log_p);
        posterior_shares(&p, shares);
        if (shares[0] >= t->settings->sure || shares[1] >= t->settings->sure) {
            *out = (struct asking){
                .questions = i + 1, .reached = true, .right = shares[who->side] > 0.5};
        }
    }
    return error;
}

static void add_asking(const struct asking *a, double *questions, struct trial_asked *out)
{
    questions[out->n++] = (double)a->questions;
    out->mean += (double)a->questions;
    out->reached += a->reached ? 1.0 : 0.0;
    out->right += a->right ? 1.0 : 0.0;
}

static void finish_asked(double *questions, struct trial_asked *out)
{
    if (out->n > 0) {
        out->right /= out->reached > 0.0 ? out->reached : 1.0;
        out->mean /= (double)out->n;
        out->reached /= (double)out->n;
        out->median = trial_median(questions, out->n);
    }
}

static enum err run_questions(const struct trial *t, struct trial_report *out)
{
    size_t room = (size_t)2 * t->n_axes * t->settings->users;
    double *questions = mem_calloc(room * 2, sizeof *questions);
    bool *asked = mem_calloc(t->data->n_scenarios, sizeof *asked);
    uint32_t index = 0;
    struct user who;
    enum err error = questions && asked ? OK : ERR_NOMEM;
    while (error == OK && trial_next(t, 2, &index, &who)) {
        struct user_choice order[TRIAL_HORIZON];
        struct asking got;
        uint32_t there = trial_questions(t, who.axis);
        uint32_t most = there < TRIAL_HORIZON ? there : TRIAL_HORIZON;
        error = users_choose(t->users, &who, most, order);
        for (uint32_t random = 0; random < 2 && error == OK; random++) {
            memset(asked, 0, t->data->n_scenarios * sizeof *asked);
            error = ask(t, &who, random ? order : NULL, most, asked, &got);
            add_asking(&got, questions + random * room, random ? &out->random : &out->chosen);
        }
    }
    if (error == OK) {
        finish_asked(questions, &out->chosen);
        finish_asked(questions + room, &out->random);
    }
    mem_free(questions);
    mem_free(asked);
    return error;
}

enum err trial_run(const struct dataset *data, const struct value_scores *scores,
                   const struct trial_settings *settings, struct trial_report *out,
                   struct errbuf *e)
{
    struct trial t;
    *out = (struct trial_report){0};
    CHECK(settings->n_shots > 0);
    enum err error = trial_open(&t, data, scores, settings, e);
    if (error != OK) {
        return error;
    }
    error = run_shots(&t, out);
    if (error == OK) {
        error = run_questions(&t, out);
    }
    if (error == OK) {
        error = trial_changes(&t, &out->change);
    }
    if (error == OK) {
        error = trial_mixes(&t, settings->shots[settings->n_shots - 1], out->mixes);
    }
    trial_close(&t);
    return error == OK ? OK : err_set(e, error, "trials: %s", err_text(error));
}
