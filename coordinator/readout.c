/* readout.c - scores and picks. */
#include "coordinator/readout.h"

#include <string.h>

#include "common/base/check.h"

static const char *const names[READOUTS] = {"likelihood", "lift", "contrast", "letter"};

const char *readout_name(enum readout r)
{
    return names[r];
}

int readout_from(const char *name)
{
    for (int i = 0; i < READOUTS; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

bool readout_needs(enum readout r, enum readout_side side)
{
    return r != READOUT_LETTER && (side != READOUT_NONE || r == READOUT_LIFT);
}

double readout_score(enum readout r, const struct readout_scores *s, enum readout_side side,
                     uint32_t option)
{
    enum readout_side opposite = side == READOUT_A ? READOUT_B : READOUT_A;
    if (r == READOUT_LETTER) {
        return s->letter[side][option];
    }
    double own = s->logp[side][option];
    if (r == READOUT_LIKELIHOOD) {
        return own / (double)s->tokens[option];
    }
    return own - s->logp[r == READOUT_LIFT ? READOUT_NONE : opposite][option];
}

uint32_t readout_pick(enum readout r, const struct readout_scores *s, enum readout_side side)
{
    CHECK(s->n_options > 0 && (side == READOUT_A || side == READOUT_B));
    uint32_t best = 0;
    double best_score = readout_score(r, s, side, 0);
    for (uint32_t option = 1; option < s->n_options; option++) {
        double value = readout_score(r, s, side, option);
        if (value > best_score) {
            best = option;
            best_score = value;
        }
    }
    return best;
}

double readout_margin(const struct readout_scores *s, enum readout_side side, const bool *right)
{
    double sum = 0.0;
    uint32_t n = 0;
    for (uint32_t option = 0; option < s->n_options; option++) {
        if (right[option]) {
            sum += readout_score(READOUT_CONTRAST, s, side, option) / (double)s->tokens[option];
            n++;
        }
    }
    CHECK(n > 0);
    return sum / (double)n;
}

static double mix_score(const struct readout_scores *s, double lambda, uint32_t option)
{
    return (lambda * s->logp[READOUT_A][option] + (1.0 - lambda) * s->logp[READOUT_B][option]) /
           (double)s->tokens[option];
}

uint32_t readout_mix_pick(const struct readout_scores *s, double lambda)
{
    CHECK(s->n_options > 0);
    uint32_t best = 0;
    double best_score = mix_score(s, lambda, 0);
    for (uint32_t option = 1; option < s->n_options; option++) {
        double value = mix_score(s, lambda, option);
        if (value > best_score) {
            best = option;
            best_score = value;
        }
    }
    return best;
}
