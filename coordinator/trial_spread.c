/* trial_spread.c - sums by scenario and by axis. */
#include "coordinator/trial_spread.h"

#include <math.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

struct seen {
    uint32_t axis, users;
    double sum;
};

struct trial_spread {
    uint32_t n_scenarios;
    struct seen *scenarios;
    struct {
        uint32_t users;
        double sum;
    } axes[LIMIT_AXES];
};

static const double z95 = 1.959963984540054;

enum err trial_spread_new(uint32_t n_scenarios, struct trial_spread **out)
{
    struct trial_spread *s = mem_calloc(1, sizeof *s);
    *out = s;
    if (s) {
        s->n_scenarios = n_scenarios;
        s->scenarios = mem_calloc(n_scenarios, sizeof *s->scenarios);
    }
    if (!s || !s->scenarios) {
        trial_spread_free(out);
        return ERR_NOMEM;
    }
    return OK;
}

void trial_spread_free(struct trial_spread **s)
{
    if (*s) {
        mem_free((*s)->scenarios);
        mem_free(*s);
    }
    *s = NULL;
}

void trial_spread_take(struct trial_spread *s, uint32_t axis, double x, const uint32_t *scenarios,
                       uint32_t n)
{
    s->axes[axis].users++;
    s->axes[axis].sum += x;
    for (uint32_t i = 0; i < n; i++) {
        struct seen *one = &s->scenarios[scenarios[i]];
        one->axis = axis;
        one->users++;
        one->sum += x;
    }
}

void trial_spread_share(const struct trial_spread *s, double least, struct bootstrap_share *out)
{
    double squares[LIMIT_AXES] = {0.0};
    uint32_t count[LIMIT_AXES] = {0};
    double sum = 0.0;
    double variance = 0.0;
    *out = (struct bootstrap_share){0};
    for (uint32_t i = 0; i < s->n_scenarios; i++) {
        const struct seen *one = &s->scenarios[i];
        if (one->users > 0) {
            double mean = s->axes[one->axis].sum / (double)s->axes[one->axis].users;
            double d = one->sum - (double)one->users * mean;
            squares[one->axis] += d * d;
            count[one->axis]++;
        }
    }
    for (uint32_t axis = 0; axis < LIMIT_AXES; axis++) {
        out->n += s->axes[axis].users;
        sum += s->axes[axis].sum;
        variance +=
            count[axis] > 1 ? squares[axis] * (double)count[axis] / (double)(count[axis] - 1) : 0.0;
    }
    if (out->n > 0) {
        double half = z95 * sqrt(variance) / (double)out->n;
        out->share = sum / (double)out->n;
        out->lo = out->share - half > least ? out->share - half : least;
        out->hi = out->share + half < 1.0 ? out->share + half : 1.0;
    }
}
