/* eval_mix.c - picks of mixes, and whether they follow the share. */
#include "coordinator/eval_mix.h"

#include <math.h>
#include <string.h>

#include "coordinator/dataset.h"
#include "coordinator/eval_named.h"

enum err eval_mix_add(const struct eval_input *in, const struct eval_scores *scores, double lambda,
                      struct eval_results *out, struct errbuf *e)
{
    struct eval_result *result = NULL;
    enum err error = eval_results_add(out, "mix", -1, &result, e);
    if (error == OK) {
        result->lambda = lambda;
    }
    for (uint32_t i = 0; i < scores->n && error == OK; i++) {
        const struct readout_scores own = eval_scores_of(scores, i);
        if (own.n_options > 0) {
            error = eval_named_answer(in, i, READOUT_A, readout_mix_pick(&own, lambda),
                                      &result->parts[EVAL_ONE], e);
        }
    }
    return error;
}

/* Picks that carry the first pole of `axis`, or of any (-1); *asked = questions. The same questions
 * are asked at every lambda, so counts compare as shares do. */
static double picks(const struct eval_result *result, int axis, uint32_t *asked)
{
    const struct eval_series *series = &result->parts[EVAL_ONE].series[0];
    double sum = 0.0;
    *asked = 0;
    for (uint32_t i = 0; i < series->n; i++) {
        if (axis < 0 || series->items[i].axis == (uint32_t)axis) {
            sum += series->items[i].gain;
            (*asked)++;
        }
    }
    return sum;
}

static bool rises(const struct eval_results *r, int axis, uint32_t *asked)
{
    double before = -1.0;
    bool fine = true;
    for (uint32_t i = 0; i < r->n; i++) {
        if (!isnan(r->items[i].lambda)) {
            double now = picks(&r->items[i], axis, asked);
            fine = fine && now >= before;
            before = now;
        }
    }
    return fine;
}

void eval_mix_json(const struct eval_results *r, struct str *json)
{
    const char *comma = "";
    uint32_t asked = 0;
    bool monotone = rises(r, -1, &asked);
    if (asked == 0) {
        return;
    }
    str_addf(json, ",\"mix\":{\"monotone\":%s,\"values\":{", monotone ? "true" : "false");
    for (uint32_t i = 0; i < r->n_names; i += 2) {
        monotone = rises(r, (int)(i / 2), &asked);
        if (asked > 0 && r->names[i]) {
            str_add(json, comma);
            str_add_json(json, r->names[i], strlen(r->names[i]));
            str_addf(json, ":%s", monotone ? "true" : "false");
            comma = ",";
        }
    }
    str_add(json, "}}");
}
