/* value_scores.c - tables of scores by scenario, value and option. */
#include "coordinator/value_scores.h"

#include <math.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/bag_of_words.h"
#include "coordinator/posterior.h"

static enum err make(uint32_t n_rows, uint32_t n_values, struct value_scores **out)
{
    struct value_scores *s = mem_calloc(1, sizeof *s);
    if (!s) {
        return ERR_NOMEM;
    }
    *s = (struct value_scores){.n_values = n_values, .n_rows = n_rows};
    s->rows = mem_calloc(n_rows, sizeof *s->rows);
    if (!s->rows) {
        mem_free(s);
        return ERR_NOMEM;
    }
    *out = s;
    return OK;
}

static enum err make_row(struct value_scores *s, uint32_t i, uint32_t n_options)
{
    size_t cells = (size_t)s->n_values * n_options;
    struct value_row *row = &s->rows[i];
    row->n_options = n_options;
    row->x = mem_calloc(cells, sizeof *row->x);
    for (size_t k = 0; row->x && k < cells; k++) {
        row->x[k] = (double)NAN;
    }
    return row->x ? OK : ERR_NOMEM;
}

enum err value_scores_new(const struct dataset *data, uint32_t n_axes, struct value_scores **out)
{
    struct value_scores *s = NULL;
    enum err error = make(data->n_scenarios, 2 * n_axes, &s);
    for (uint32_t i = 0; i < data->n_scenarios && error == OK; i++) {
        error = make_row(s, i, data->scenarios[i].n_options);
    }
    if (error != OK) {
        value_scores_free(&s);
        return error;
    }
    *out = s;
    return OK;
}

void value_scores_free(struct value_scores **scores)
{
    struct value_scores *s = *scores;
    for (uint32_t i = 0; s && i < s->n_rows; i++) {
        mem_free(s->rows[i].x);
    }
    if (s) {
        mem_free(s->rows);
        mem_free(s);
    }
    *scores = NULL;
}

double *value_scores_at(const struct value_scores *s, uint32_t scenario, uint32_t value)
{
    CHECK(scenario < s->n_rows && value < s->n_values);
    return s->rows[scenario].x + (size_t)value * s->rows[scenario].n_options;
}

bool value_scores_has(const struct value_scores *s, uint32_t scenario, uint32_t value)
{
    const double *x = value_scores_at(s, scenario, value);
    for (uint32_t o = 0; o < s->rows[scenario].n_options; o++) {
        if (!isfinite(x[o])) {
            return false;
        }
    }
    return true;
}

void value_scores_keep(struct value_scores *s, uint32_t limit)
{
    for (uint32_t i = limit; i < s->n_rows && limit > 0; i++) {
        for (size_t k = 0; k < (size_t)s->n_values * s->rows[i].n_options; k++) {
            s->rows[i].x[k] = (double)NAN;
        }
    }
}

enum err value_scores_choices(const struct value_scores *s, double temperature,
                              struct value_scores **out)
{
    struct value_scores *choices = NULL;
    enum err error = make(s->n_rows, s->n_values, &choices);
    for (uint32_t i = 0; i < s->n_rows && error == OK; i++) {
        uint32_t n = s->rows[i].n_options;
        error = make_row(choices, i, n);
        for (uint32_t v = 0; v < s->n_values && error == OK; v++) {
            if (value_scores_has(s, i, v)) {
                posterior_choice(value_scores_at(s, i, v), n, temperature,
                                 value_scores_at(choices, i, v));
            }
        }
    }
    if (error != OK) {
        value_scores_free(&choices);
        return error;
    }
    *out = choices;
    return OK;
}

enum err value_scores_fit(const struct value_scores *s, const struct dataset *data,
                          struct temperature_fit *out, struct errbuf *e)
{
    CHECK(s->n_rows == data->n_scenarios);
    uint32_t n = 0;
    size_t cells = 0;
    for (uint32_t i = 0; i < data->n_scenarios; i++) {
        cells += data->scenarios[i].n_options;
    }
    struct temperature_choice *choices = mem_calloc((size_t)data->n_scenarios * 2, sizeof *choices);
    uint32_t *sides = mem_calloc(cells, sizeof *sides);
    enum err error = choices && sides ? OK : err_set(e, ERR_NOMEM, "temperature: no memory");
    uint32_t *next = sides;
    for (uint32_t i = 0; i < data->n_scenarios && error == OK; i++) {
        const struct data_scenario *d = &data->scenarios[i];
        uint32_t there[2] = {0, 0};
        for (uint32_t o = 0; o < d->n_options; o++) {
            next[o] = d->options[o].side;
            there[d->options[o].side]++;
        }
        for (uint32_t side = 0; side < 2 && there[0] > 0 && there[1] > 0; side++) {
            if (d->axis != DATASET_NO_AXIS && value_scores_has(s, i, 2 * d->axis + side)) {
                choices[n++] =
                    (struct temperature_choice){.n_options = d->n_options,
                                                .scores = value_scores_at(s, i, 2 * d->axis + side),
                                                .sides = next,
                                                .side = side};
            }
        }
        next += d->n_options;
    }
    if (error == OK) {
        error = temperature_fit(choices, n, out, e);
    }
    mem_free(choices);
    mem_free(sides);
    return error;
}

/* Fits on the scenarios of train whose number is not `fold` modulo `folds` (0 folds: on all). */
static enum err fit_bag(const struct dataset *train, uint32_t folds, uint32_t fold, uint32_t n_axes,
                        struct bag_of_words **out)
{
    enum err error = bag_new(n_axes, out);
    for (uint32_t i = 0; i < train->n_scenarios && error == OK; i++) {
        const struct data_scenario *s = &train->scenarios[i];
        if ((folds > 0 && i % folds == fold) || s->axis == DATASET_NO_AXIS) {
            continue;
        }
        for (uint32_t o = 0; o < s->n_options && error == OK; o++) {
            error = bag_fit(*out, s->axis, s->options[o].side, s->options[o].text.text,
                            s->options[o].text.bytes);
        }
    }
    return error;
}

static enum err score_words(const struct bag_of_words *bag, const struct data_scenario *d,
                            struct value_scores *s, uint32_t i)
{
    enum err error = OK;
    for (uint32_t axis = 0; axis < s->n_values / 2; axis++) {
        double *a = value_scores_at(s, i, 2 * axis);
        double *b = value_scores_at(s, i, 2 * axis + 1);
        for (uint32_t o = 0; o < d->n_options && error == OK; o++) {
            error = bag_score(bag, axis, d->options[o].text.text, d->options[o].text.bytes, &a[o]);
            b[o] = -a[o];
        }
    }
    return error;
}

enum err value_scores_of_words(const struct dataset *train, const struct dataset *data,
                               uint32_t n_axes, struct value_scores **out)
{
    struct bag_of_words *bag = NULL;
    struct value_scores *s = NULL;
    enum err error = fit_bag(train, 0, 0, n_axes, &bag);
    if (error == OK) {
        error = value_scores_new(data, n_axes, &s);
    }
    for (uint32_t i = 0; i < data->n_scenarios && error == OK; i++) {
        error = score_words(bag, &data->scenarios[i], s, i);
    }
    bag_free(&bag);
    if (error != OK) {
        value_scores_free(&s);
        return error;
    }
    *out = s;
    return OK;
}

enum err value_scores_of_words_held_out(const struct dataset *train, uint32_t folds,
                                        uint32_t n_axes, struct value_scores **out)
{
    CHECK(folds > 1);
    struct value_scores *s = NULL;
    enum err error = value_scores_new(train, n_axes, &s);
    for (uint32_t fold = 0; fold < folds && error == OK; fold++) {
        struct bag_of_words *bag = NULL;
        error = fit_bag(train, folds, fold, n_axes, &bag);
        for (uint32_t i = fold; i < train->n_scenarios && error == OK; i += folds) {
            error = score_words(bag, &train->scenarios[i], s, i);
        }
        bag_free(&bag);
    }
    if (error != OK) {
        value_scores_free(&s);
        return error;
    }
    *out = s;
    return OK;
}
