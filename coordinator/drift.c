/* drift.c - the forward recursion of a user who may turn to another value. */
#include "coordinator/drift.h"

#include <math.h>

#include "common/base/check.h"

void drift_init(struct drift *d, uint32_t n, const double *log_prior, double hazard)
{
    CHECK(n > 0 && n <= POSTERIOR_VALUES && hazard > 0.0 && hazard < 1.0);
    *d = (struct drift){.n = n};
    d->log_stay = log(1.0 - hazard);
    d->log_turn = n > 1 ? log(hazard / (double)(n - 1)) : -INFINITY;
    for (uint32_t v = 0; v < n; v++) {
        d->same[v] = log_prior[v];
        d->moved[v] = -INFINITY;
    }
}

double drift_take(struct drift *d, const double *log_p)
{
    double next[POSTERIOR_VALUES];
    double from[2 * POSTERIOR_VALUES];
    for (uint32_t v = 0; v < d->n && d->taken > 0; v++) {
        uint32_t n = 0;
        from[n++] = d->moved[v] + d->log_stay;
        for (uint32_t u = 0; u < d->n; u++) {
            if (u != v) {
                from[n++] = d->same[u] + d->log_turn;
                from[n++] = d->moved[u] + d->log_turn;
            }
        }
        next[v] = posterior_log_sum(from, n);
    }
    for (uint32_t v = 0; v < d->n; v++) {
        if (d->taken > 0) {
            d->same[v] += d->log_stay;
            d->moved[v] = next[v] + log_p[v];
        }
        d->same[v] += log_p[v];
    }
    d->taken++;
    return drift_statistic(d);
}

double drift_statistic(const struct drift *d)
{
    return posterior_log_sum(d->moved, d->n) - posterior_log_sum(d->same, d->n);
}

void drift_shares(const struct drift *d, double *shares)
{
    for (uint32_t v = 0; v < d->n; v++) {
        const double both[2] = {d->same[v], d->moved[v]};
        shares[v] = posterior_log_sum(both, 2);
    }
    double all = posterior_log_sum(shares, d->n);
    for (uint32_t v = 0; v < d->n; v++) {
        shares[v] = exp(shares[v] - all);
    }
}
