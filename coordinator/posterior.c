/* posterior.c - Bayes' rule in the log domain. */
#include "coordinator/posterior.h"

#include <math.h>
#include <stddef.h>

#include "common/base/check.h"

double posterior_log_sum(const double *x, uint32_t n)
{
    double most = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    if (!isfinite(most)) {
        return most;
    }
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += exp(x[i] - most);
    }
    return most + log(sum);
}

enum err posterior_init(struct posterior *p, uint32_t n, const double *prior, double forget,
                        struct errbuf *e)
{
    double sum = 0.0;
    if (n == 0 || n > POSTERIOR_VALUES) {
        return err_set(e, ERR_RANGE, "a posterior over %u values: 1 to %d are possible", n,
                       POSTERIOR_VALUES);
    }
    if (!(forget > 0.0 && forget <= 1.0)) {
        return err_set(e, ERR_RANGE,
                       "the forgetting factor is %g: expected above 0 and at most 1 (1 forgets "
                       "nothing)",
                       forget);
    }
    *p = (struct posterior){.n = n, .forget = forget};
    for (uint32_t v = 0; v < n; v++) {
        double weight = prior ? prior[v] : 1.0;
        if (!(weight >= 0.0 && isfinite(weight))) {
            return err_set(e, ERR_RANGE, "the prior weight of value %u is %g: expected 0 or more",
                           v, weight);
        }
        sum += weight;
        p->log_prior[v] = weight > 0.0 ? log(weight) : -INFINITY;
    }
    if (!(sum > 0.0)) {
        return err_set(e, ERR_RANGE, "the prior rules out every value: one weight must be above 0");
    }
    return OK;
}

void posterior_take(struct posterior *p, const double *log_p)
{
    for (uint32_t v = 0; v < p->n; v++) {
        p->evidence[v] = p->forget * p->evidence[v] + log_p[v];
    }
}

void posterior_shares(const struct posterior *p, double *shares)
{
    for (uint32_t v = 0; v < p->n; v++) {
        shares[v] = p->log_prior[v] + p->evidence[v];
    }
    double all = posterior_log_sum(shares, p->n);
    for (uint32_t v = 0; v < p->n; v++) {
        shares[v] = exp(shares[v] - all);
    }
}

void posterior_choice(const double *scores, uint32_t n_options, double temperature, double *log_p)
{
    CHECK(temperature > 0.0 && n_options > 0);
    for (uint32_t o = 0; o < n_options; o++) {
        log_p[o] = scores[o] / temperature;
    }
    double all = posterior_log_sum(log_p, n_options);
    for (uint32_t o = 0; o < n_options; o++) {
        log_p[o] -= all;
    }
}

double posterior_entropy(const double *shares, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t v = 0; v < n; v++) {
        sum -= shares[v] > 0.0 ? shares[v] * log(shares[v]) : 0.0;
    }
    return sum;
}

/* As the mean over values of KL(p(.|v) || mean over values): never below 0 by rounding alone. */
double posterior_information(const double *shares, uint32_t n, const double *log_p,
                             uint32_t n_options)
{
    double sum = 0.0;
    for (uint32_t o = 0; o < n_options; o++) {
        double mean = 0.0;
        for (uint32_t v = 0; v < n; v++) {
            mean += shares[v] * exp(log_p[(size_t)v * n_options + o]);
        }
        for (uint32_t v = 0; v < n && mean > 0.0; v++) {
            double own = log_p[(size_t)v * n_options + o];
            double p = shares[v] * exp(own);
            sum += p > 0.0 ? p * (own - log(mean)) : 0.0;
        }
    }
    return sum > 0.0 ? sum : 0.0;
}

void posterior_mix_init(struct posterior_mix *m, double forget)
{
    CHECK(forget > 0.0 && forget <= 1.0);
    *m = (struct posterior_mix){.forget = forget};
}

void posterior_mix_take(struct posterior_mix *m, double log_p_a, double log_p_b)
{
    for (uint32_t i = 0; i < POSTERIOR_MIX_POINTS; i++) {
        double share = (double)i / (POSTERIOR_MIX_POINTS - 1);
        const double parts[2] = {share > 0.0 ? log(share) + log_p_a : -INFINITY,
                                 share < 1.0 ? log(1.0 - share) + log_p_b : -INFINITY};
        m->log_p[i] = m->forget * m->log_p[i] + posterior_log_sum(parts, 2);
    }
}

double posterior_mix_share(const struct posterior_mix *m)
{
    double all = posterior_log_sum(m->log_p, POSTERIOR_MIX_POINTS);
    double sum = 0.0;
    for (uint32_t i = 0; i < POSTERIOR_MIX_POINTS; i++) {
        sum += exp(m->log_p[i] - all) * (double)i / (POSTERIOR_MIX_POINTS - 1);
    }
    return sum;
}
