/* temperature.c - golden section on log T. */
#include "coordinator/temperature.h"

#include <math.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "coordinator/posterior.h"

enum { STEPS = 100 };
static const double decades = 4.0;
#define NO_DOUBT 1e-6 /* nats a choice: the likelihood has risen to 0 */

static double likelihood_of(const struct temperature_choice *c, double temperature)
{
    double log_p[LIMIT_OPTIONS];
    double sum = 0.0;
    uint32_t held = 0;
    CHECK(c->n_options <= LIMIT_OPTIONS);
    posterior_choice(c->scores, c->n_options, temperature, log_p);
    for (uint32_t o = 0; o < c->n_options; o++) {
        if (c->sides[o] == c->side) {
            sum += log_p[o];
            held++;
        }
    }
    CHECK(held > 0);
    return sum / (double)held;
}

static double even_likelihood(const struct temperature_choice *c, double temperature)
{
    double log_p[LIMIT_OPTIONS];
    double sum = 0.0;
    posterior_choice(c->scores, c->n_options, temperature, log_p);
    for (uint32_t o = 0; o < c->n_options; o++) {
        sum += log_p[o];
    }
    return sum / (double)c->n_options;
}

/* made_up: users who pick evenly, spread over all questions. */
static double likelihood(const struct temperature_choice *choices, uint32_t n, double made_up,
                         double temperature)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += likelihood_of(&choices[i], temperature);
        if (made_up > 0.0) {
            sum += made_up / (double)n * even_likelihood(&choices[i], temperature);
        }
    }
    return sum / (double)n;
}

/* Mean distance of the scores of a question from their mean; NaN where one is not finite. */
static double spread(const struct temperature_choice *choices, uint32_t n, double *even)
{
    double sum = 0.0;
    uint64_t count = 0;
    *even = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const struct temperature_choice *c = &choices[i];
        double mean = 0.0;
        for (uint32_t o = 0; o < c->n_options; o++) {
            mean += c->scores[o] / (double)c->n_options;
        }
        for (uint32_t o = 0; o < c->n_options; o++) {
            sum += fabs(c->scores[o] - mean);
            count++;
        }
        *even -= log((double)c->n_options) / (double)n;
    }
    return sum / (double)count;
}

/* The T of the greatest likelihood between the logs lo and hi. */
static double search(const struct temperature_choice *choices, uint32_t n, double made_up,
                     double lo, double hi)
{
    static const double ratio = 0.61803398874989484820;
    double x[2] = {hi - ratio * (hi - lo), lo + ratio * (hi - lo)};
    double y[2] = {likelihood(choices, n, made_up, exp(x[0])),
                   likelihood(choices, n, made_up, exp(x[1]))};
    for (int i = 0; i < STEPS && hi - lo > 1e-10; i++) {
        if (y[0] > y[1]) {
            hi = x[1];
            x[1] = x[0];
            y[1] = y[0];
            x[0] = hi - ratio * (hi - lo);
            y[0] = likelihood(choices, n, made_up, exp(x[0]));
        } else {
            lo = x[0];
            x[0] = x[1];
            y[0] = y[1];
            x[1] = lo + ratio * (hi - lo);
            y[1] = likelihood(choices, n, made_up, exp(x[1]));
        }
    }
    return exp((lo + hi) / 2.0);
}

enum err temperature_fit(const struct temperature_choice *choices, uint32_t n,
                         struct temperature_fit *out, struct errbuf *e)
{
    *out = (struct temperature_fit){0};
    if (n == 0) {
        return err_set(e, ERR_RANGE, "temperature: there are no choices to calibrate on");
    }
    double unit = spread(choices, n, &out->even);
    if (!(unit > 0.0) || !isfinite(unit)) {
        return err_set(e, ERR_RANGE,
                       "temperature: the scores of %u choices %s, so that no temperature fits them",
                       n, unit == 0.0 ? "never differ between options" : "are not all finite");
    }
    const double lo = log(unit) - decades * log(10.0);
    const double hi = log(unit) + decades * log(10.0);
    out->temperature = search(choices, n, 0.0, lo, hi);
    out->separated = likelihood(choices, n, 0.0, out->temperature) > -NO_DOUBT;
    if (out->separated) {
        out->temperature = search(choices, n, 1.0, lo, hi);
    }
    out->log_likelihood = likelihood(choices, n, 0.0, out->temperature);
    out->at_bound = log(out->temperature) - lo < 1e-6 || hi - log(out->temperature) < 1e-6;
    return OK;
}
