/* trial_json.c - the report of trials as JSON. */
#include <math.h>
#include <string.h>

#include "coordinator/trial.h"

static void add_share(const struct bootstrap_share *s, struct str *json)
{
    str_addf(json, "{\"share\":%.6f,\"ci95\":[%.6f,%.6f]}", s->share, s->lo, s->hi);
}

static void add_values(const struct trial_shot *shot, const struct values *values, struct str *json)
{
    const char *comma = "";
    str_add(json, ",\"per_value\":{");
    for (uint32_t v = 0; v < 2 * values->n_axes; v++) {
        const struct trial_value *value = &shot->values[v];
        const char *name = values->axes[v / 2].poles[v % 2].name;
        if (value->n > 0) {
            str_add(json, comma);
            str_add_json(json, name, strlen(name));
            str_addf(json, ":{\"n\":%u,\"inferred\":%.6f,\"accuracy\":%.6f}", value->n,
                     value->inferred, value->accuracy);
            comma = ",";
        }
    }
    str_add(json, "}");
}

static void add_shot(const struct trial_shot *shot, const struct values *values, struct str *json)
{
    str_addf(json, "{\"k\":%u,\"n\":%u", shot->k, shot->n);
    if (shot->n > 0) {
        str_add(json, ",\"inferred\":");
        add_share(&shot->inferred, json);
        str_addf(json, ",\"probability\":%.6f,\"log_loss\":%.6f,\"accuracy\":", shot->probability,
                 shot->log_loss);
        add_share(&shot->accuracy, json);
        str_add(json, ",\"told\":");
        add_share(&shot->told, json);
        str_add(json, ",\"gap\":");
        add_share(&shot->gap, json);
        if (shot->n_all > 0) {
            str_addf(json, ",\"all_values\":{\"n\":%u,\"inferred\":%.6f,\"probability\":%.6f}",
                     shot->n_all, shot->inferred_all, shot->probability_all);
        } else {
            str_add(json, ",\"all_values\":null");
        }
        add_values(shot, values, json);
    }
    str_add(json, "}");
}

static void add_asked(const char *name, const struct trial_asked *a, struct str *json)
{
    str_addf(json,
             "\"%s\":{\"n\":%u,\"reached\":%.6f,\"mean\":%.6f,\"median\":%.1f,\"right\":%.6f}",
             name, a->n, a->reached, a->mean, a->median, a->right);
}

void trial_json(const struct trial_report *r, const struct values *values, struct str *json)
{
    str_add(json, "\"shots\":[");
    for (uint32_t i = 0; i < r->n_shots; i++) {
        str_add(json, i > 0 ? "," : "");
        add_shot(&r->shots[i], values, json);
    }
    str_addf(json, "],\"calibration_error\":%.6f,\"calibration\":[", r->calibration_error);
    for (uint32_t i = 0; i < TRIAL_BINS; i++) {
        const struct trial_bin *bin = &r->bins[i];
        str_addf(json, "%s{\"from\":%.3f,\"n\":%u,\"predicted\":%.6f,\"observed\":%.6f}",
                 i > 0 ? "," : "", bin->from, bin->n, bin->predicted, bin->observed);
    }
    str_add(json, "],\"questions\":{");
    add_asked("chosen", &r->chosen, json);
    str_add(json, ",");
    add_asked("random", &r->random, json);
    const struct trial_change *c = &r->change;
    str_addf(json, "},\"change\":{\"n\":%u,\"delay\":", c->n);
    if (isfinite(c->delay)) {
        str_addf(json, "%.1f", c->delay);
    } else {
        str_add(json, "null");
    }
    str_addf(json,
             ",\"within_3\":%.6f,\"early\":%.6f,\"missed\":%.6f,\"stable_flagged\":%.6f},"
             "\"mixed\":[",
             c->within_3, c->early, c->missed, c->stable_flagged);
    for (uint32_t i = 0; i < TRIAL_MIXES; i++) {
        const struct trial_mix *m = &r->mixes[i];
        str_addf(json,
                 "%s{\"share\":%.2f,\"n\":%u,\"estimate\":%.6f,\"error\":%.6f,\"lambda\":%.6f}",
                 i > 0 ? "," : "", m->share, m->n, m->estimate, m->error, m->lambda);
    }
    str_add(json, "]");
}
