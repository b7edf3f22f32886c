/* infer.c - posteriors by axis and over all values, and the next question. */
#include "coordinator/infer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "coordinator/drift.h"
#include "coordinator/posterior.h"

/* Values looked at: from .. from + n - 1. */
static void range_of(const struct infer_settings *s, uint32_t n_axes, uint32_t *from, uint32_t *n)
{
    *from = s->axis == DATASET_NO_AXIS ? 0 : 2 * s->axis;
    *n = s->axis == DATASET_NO_AXIS ? 2 * n_axes : 2;
}

static bool looked_at(const struct infer_settings *s, uint32_t axis)
{
    return s->axis == DATASET_NO_AXIS || s->axis == axis;
}

/* Does the item speak about the axis? */
static bool speaks(const struct data_scenario *item, uint32_t axis)
{
    return item->axis == DATASET_NO_AXIS || item->axis == axis;
}

static enum err check_item(const struct dataset *d, uint32_t i, const struct value_scores *choices,
                           const struct infer_settings *s, struct errbuf *e)
{
    uint32_t from;
    uint32_t n;
    range_of(s, choices->n_values / 2, &from, &n);
    for (uint32_t v = from; v < from + n; v++) {
        if (!value_scores_has(choices, i, v)) {
            return err_set(e, ERR_REFUSED, "%s:%u: the item was not scored under value %u", d->path,
                           d->scenarios[i].line, v);
        }
    }
    return OK;
}

/* log p(the choice of item i | v) for the values from .. from + n - 1. */
static void evidence(const struct dataset *d, const struct value_scores *choices, uint32_t i,
                     uint32_t from, uint32_t n, double *log_p)
{
    for (uint32_t v = 0; v < n; v++) {
        log_p[v] = value_scores_at(choices, i, from + v)[d->scenarios[i].choice];
    }
}

static enum err infer_all(const struct dataset *history, const struct value_scores *choices,
                          const struct infer_settings *s, struct infer_result *out,
                          struct errbuf *e)
{
    double log_p[POSTERIOR_VALUES];
    struct posterior p;
    uint32_t from;
    uint32_t n;
    range_of(s, out->n_axes, &from, &n);
    enum err error = posterior_init(&p, n, s->prior ? s->prior + from : NULL, s->forget, e);
    for (uint32_t i = 0; i < history->n_scenarios && error == OK; i++) {
        if (s->axis == DATASET_NO_AXIS || speaks(&history->scenarios[i], s->axis)) {
            evidence(history, choices, i, from, n, log_p);
            posterior_take(&p, log_p);
        }
    }
    if (error == OK) {
        posterior_shares(&p, out->shares + from);
        out->entropy = posterior_entropy(out->shares + from, n);
    }
    return error;
}

static enum err infer_one(const struct dataset *history, const struct value_scores *choices,
                          const struct infer_settings *s, uint32_t axis, struct infer_axis *out,
                          struct errbuf *e)
{
    struct posterior p;
    struct posterior_mix mix;
    struct drift drift;
    enum err error =
        posterior_init(&p, 2, s->prior ? s->prior + (size_t)2 * axis : NULL, s->forget, e);
    if (error != OK) {
        return err_prefix(e, error, "axis %u", axis);
    }
    posterior_mix_init(&mix, s->forget);
    drift_init(&drift, 2, p.log_prior, s->hazard);
    *out = (struct infer_axis){.statistic = -INFINITY};
    for (uint32_t i = 0; i < history->n_scenarios; i++) {
        double log_p[2];
        if (!speaks(&history->scenarios[i], axis)) {
            continue;
        }
        evidence(history, choices, i, 2 * axis, 2, log_p);
        posterior_take(&p, log_p);
        posterior_mix_take(&mix, log_p[0], log_p[1]);
        out->statistic = drift_take(&drift, log_p);
        out->n++;
        if (out->flagged == 0 && out->statistic > s->threshold) {
            out->flagged = i + 1;
        }
    }
    posterior_shares(&p, out->shares);
    out->lambda = out->shares[0];
    out->mix = posterior_mix_share(&mix);
    out->entropy = posterior_entropy(out->shares, 2);
    return OK;
}

enum err infer_check(const struct dataset *history, struct errbuf *e)
{
    for (uint32_t i = 0; i < history->n_scenarios; i++) {
        if (!history->scenarios[i].chosen) {
            return err_set(e, ERR_REFUSED,
                           "%s:%u: the item has no 'choice': every item of a history needs the "
                           "option that was picked, as its number from 0 or as its text",
                           history->path, history->scenarios[i].line);
        }
    }
    return OK;
}

enum err infer_run(const struct values *values, const struct dataset *history,
                   const struct value_scores *choices, const struct infer_settings *settings,
                   struct infer_result *out, struct errbuf *e)
{
    enum err error = infer_check(history, e);
    CHECK(choices->n_values == 2 * values->n_axes && choices->n_rows == history->n_scenarios);
    *out = (struct infer_result){.n_axes = values->n_axes, .n_choices = history->n_scenarios};
    for (uint32_t i = 0; i < history->n_scenarios && error == OK; i++) {
        error = check_item(history, i, choices, settings, e);
    }
    if (error == OK) {
        error = infer_all(history, choices, settings, out, e);
    }
    for (uint32_t axis = 0; axis < values->n_axes && error == OK; axis++) {
        if (looked_at(settings, axis)) {
            error = infer_one(history, choices, settings, axis, &out->axes[axis], e);
        }
    }
    return error;
}

static bool same_text(struct data_text a, struct data_text b)
{
    return a.bytes == b.bytes && memcmp(a.text, b.text, a.bytes) == 0;
}

static bool has_option(const struct data_scenario *item, struct data_text text)
{
    for (uint32_t i = 0; i < item->n_options; i++) {
        if (same_text(item->options[i].text, text)) {
            return true;
        }
    }
    return false;
}

/* Does the history hold this question: its text and its options, in whatever order? */
static bool is_answered(const struct dataset *history, const struct data_scenario *item)
{
    for (uint32_t i = 0; i < history->n_scenarios; i++) {
        const struct data_scenario *old = &history->scenarios[i];
        bool same = old->n_options == item->n_options && same_text(old->text, item->text);
        for (uint32_t k = 0; same && k < item->n_options; k++) {
            same = has_option(old, item->options[k].text);
        }
        if (same) {
            return true;
        }
    }
    return false;
}

enum err infer_ask(const struct dataset *pool, const struct dataset *history,
                   const struct value_scores *choices, const struct infer_settings *settings,
                   const struct infer_result *r, struct infer_next *out, struct errbuf *e)
{
    uint32_t from;
    uint32_t n;
    uint32_t answered = 0;
    range_of(settings, r->n_axes, &from, &n);
    *out = (struct infer_next){.information = -1.0};
    for (uint32_t i = 0; i < pool->n_scenarios; i++) {
        const struct data_scenario *item = &pool->scenarios[i];
        enum err error = check_item(pool, i, choices, settings, e);
        if (error != OK) {
            return error;
        }
        if (item->axis != DATASET_NO_AXIS && !looked_at(settings, item->axis)) {
            continue;
        }
        if (is_answered(history, item)) {
            answered++;
            continue;
        }
        bool axis = item->axis != DATASET_NO_AXIS;
        double nats =
            axis ? posterior_information(r->axes[item->axis].shares, 2,
                                         value_scores_at(choices, i, 2 * item->axis),
                                         item->n_options)
                 : posterior_information(r->shares + from, n, value_scores_at(choices, i, from),
                                         item->n_options);
        if (nats > out->information) {
            *out = (struct infer_next){.item = i, .information = nats, .about_axis = axis};
        }
    }
    if (out->information >= 0.0) {
        return OK;
    }
    return answered > 0
               ? err_set(e, ERR_REFUSED,
                         "%s: all %u items of the pool that could be asked are answered "
                         "in the history already",
                         pool->path, answered)
               : err_set(e, ERR_REFUSED, "%s: no item of the pool is about the axis asked for",
                         pool->path);
}

static void add_name(struct str *json, const char *name)
{
    str_add_json(json, name, strlen(name));
}

static void add_entropy(struct str *json, const char *name, double nats)
{
    str_addf(json, "\"%s\":{\"nats\":%.6f,\"bits\":%.6f}", name, nats,
             nats / POSTERIOR_NATS_PER_BIT);
}

static void add_axis(const struct values_axis *axis, const struct infer_axis *a, struct str *json)
{
    add_name(json, axis->name);
    str_addf(json, ":{\"choices\":%u,\"shares\":{", a->n);
    for (uint32_t side = 0; side < 2; side++) {
        str_add(json, side > 0 ? "," : "");
        add_name(json, axis->poles[side].name);
        str_addf(json, ":%.6f", a->shares[side]);
    }
    str_addf(json, "},\"lambda\":%.6f,\"mix\":%.6f,", a->lambda, a->mix);
    add_entropy(json, "entropy", a->entropy);
    str_addf(json, ",\"change\":{\"flagged\":%s,\"at\":", a->flagged > 0 ? "true" : "false");
    if (a->flagged > 0) {
        str_addf(json, "%u", a->flagged);
    } else {
        str_add(json, "null");
    }
    str_add(json, ",\"log_odds\":");
    if (isfinite(a->statistic)) {
        str_addf(json, "%.6f}}", a->statistic);
    } else {
        str_add(json, "null}}");
    }
}

static void add_next(const struct values *values, const struct dataset *pool,
                     const struct infer_next *next, struct str *json)
{
    const struct data_scenario *item = &pool->scenarios[next->item];
    str_addf(json, ",\"next\":{\"item\":%u,\"line\":%u,\"about\":", next->item, item->line);
    if (next->about_axis) {
        add_name(json, values->axes[item->axis].name);
    } else {
        str_add(json, "\"all values\"");
    }
    str_add(json, ",");
    add_entropy(json, "information", next->information);
    str_add(json, ",\"scenario\":");
    str_add_json(json, item->text.text, item->text.bytes);
    str_add(json, ",\"options\":[");
    for (uint32_t o = 0; o < item->n_options; o++) {
        str_add(json, o > 0 ? "," : "");
        str_add_json(json, item->options[o].text.text, item->options[o].text.bytes);
    }
    str_add(json, "]}");
}

void infer_json(const struct values *values, const struct infer_settings *settings,
                const struct infer_result *r, const struct dataset *pool,
                const struct infer_next *next, struct str *json)
{
    uint32_t from;
    uint32_t n;
    const char *comma = "";
    range_of(settings, r->n_axes, &from, &n);
    str_addf(json, "\"choices\":%u,\"values\":{", r->n_choices);
    for (uint32_t v = from; v < from + n; v++) {
        str_add(json, v > from ? "," : "");
        add_name(json, values->axes[v / 2].poles[v % 2].name);
        str_addf(json, ":%.6f", r->shares[v]);
    }
    str_add(json, "},");
    add_entropy(json, "entropy", r->entropy);
    str_add(json, ",\"axes\":{");
    for (uint32_t axis = 0; axis < r->n_axes; axis++) {
        if (looked_at(settings, axis)) {
            str_add(json, comma);
            add_axis(&values->axes[axis], &r->axes[axis], json);
            comma = ",";
        }
    }
    str_add(json, "}");
    if (next) {
        add_next(values, pool, next, json);
    }
}

enum err infer_prior(const struct values *values, const char *text, double prior[2 * LIMIT_AXES],
                     struct errbuf *e)
{
    char name[256];
    for (uint32_t v = 0; v < 2 * values->n_axes; v++) {
        prior[v] = 1.0;
    }
    while (*text != '\0') {
        size_t n = strcspn(text, "=");
        char *end = NULL;
        uint32_t axis = 0;
        uint32_t side = 0;
        if (text[n] != '=' || n == 0 || n >= sizeof name) {
            return err_set(e, ERR_USAGE,
                           "--prior: expected NAME=WEIGHT, comma-separated, found '%.64s'", text);
        }
        memcpy(name, text, n);
        name[n] = '\0';
        double weight = strtod(text + n + 1, &end);
        if (end == text + n + 1 || (*end != ',' && *end != '\0') || !(weight >= 0.0) ||
            !isfinite(weight)) {
            return err_set(e, ERR_USAGE,
                           "--prior: the weight of '%s' must be a number of 0 or more, found "
                           "'%.64s'",
                           name, text + n + 1);
        }
        if (values_find(values, name, &axis, &side, e) != OK) {
            return err_prefix(e, ERR_USAGE, "--prior");
        }
        prior[2 * axis + side] = weight;
        text = *end == ',' ? end + 1 : end;
    }
    for (uint32_t axis = 0; axis < values->n_axes; axis++) {
        if (prior[2 * axis] + prior[2 * axis + 1] <= 0.0) {
            return err_set(e, ERR_USAGE,
                           "--prior: both values of the axis '%s' have weight 0; one of them must "
                           "be possible",
                           values->axes[axis].name);
        }
    }
    return OK;
}
