/* calibration.c - fitted numbers, to and from RUN/inference.json. */
#include "coordinator/calibration.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "coordinator/trial.h"

enum { FILE_BYTES = 1 << 16 };

static const char name[] = "inference.json";

enum err calibration_fit(const struct dataset *data, const struct value_scores *scores,
                         uint64_t seed, struct calibration *out, struct errbuf *e)
{
    struct temperature_fit fit;
    enum err error = value_scores_fit(scores, data, &fit, e);
    if (error != OK) {
        return err_prefix(e, error, "%s", data->path);
    }
    const struct trial_settings settings = {.seed = seed,
                                            .users = CALIBRATION_USERS,
                                            .temperature = fit.temperature,
                                            .forget = 1.0,
                                            .hazard = CALIBRATION_HAZARD};
    *out = (struct calibration){
        .temperature = fit.temperature, .log_likelihood = fit.log_likelihood, .even = fit.even};
    return trial_threshold(data, scores, &settings, CALIBRATION_FALSE_RATE, &out->threshold, e);
}

static bool read_one(const json_t *root, enum readout readout, struct calibration *out)
{
    const json_t *of = json_object_get(root, readout_name(readout));
    const char *const keys[] = {"temperature", "threshold", "log_likelihood", "even"};
    double *into[] = {&out->temperature, &out->threshold, &out->log_likelihood, &out->even};
    bool fine = json_is_object(of);
    for (int i = 0; i < 4 && fine; i++) {
        const json_t *x = json_object_get(of, keys[i]);
        *into[i] = json_number_value(x);
        fine = json_is_number(x) && isfinite(*into[i]);
    }
    return fine && out->temperature > 0.0;
}

static bool read_source(const json_t *root, struct calibration *out)
{
    const char *data = json_string_value(json_object_get(root, "data"));
    const json_t *n = json_object_get(root, "scenarios");
    if (!data || strlen(data) >= sizeof out->data || !json_is_integer(n) ||
        json_integer_value(n) < 1 || json_integer_value(n) > LIMIT_GROUPS) {
        return false;
    }
    memcpy(out->data, data, strlen(data) + 1);
    out->scenarios = (uint32_t)json_integer_value(n);
    return true;
}

void calibration_add_source(const struct calibration *c, struct str *json)
{
    str_add(json, "\"calibrated_on\":");
    if (c->scenarios == 0) {
        str_add(json, "null");
        return;
    }
    str_add(json, "{\"data\":");
    str_add_json(json, c->data, strlen(c->data));
    str_addf(json, ",\"scenarios\":%u}", c->scenarios);
}

bool calibration_is_of(const struct calibration *c, const char *path)
{
    char full[FILE_PATH_BYTES];
    return c->scenarios > 0 && file_absolute(full, path, NULL) == OK && strcmp(full, c->data) == 0;
}

enum err calibration_load(const char *run, const char *adapter, enum readout readout,
                          struct calibration *out, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    enum err error = file_join(path, run, name, e);
    if (error == OK && !file_exists(path)) {
        error = err_set(e, ERR_NOT_FOUND, "%s: is not there yet", path);
    }
    if (error == OK) {
        error = file_read(path, FILE_BYTES, &text, &bytes, e);
    }
    if (error != OK) {
        return error;
    }
    json_t *root = json_loadb(text, bytes, 0, NULL);
    const char *made_for = json_string_value(json_object_get(root, "adapter"));
    if (!made_for) {
        error = err_set(e, ERR_CORRUPT, "%s: is no calibration; --calibrate makes it anew", path);
    } else if (strcmp(made_for, adapter) != 0) {
        error = err_set(e, ERR_NOT_FOUND, "%s: is of another adapter", path);
    } else if (!read_source(root, out) || !read_one(root, readout, out)) {
        error = err_set(e, ERR_CORRUPT,
                        "%s: the numbers of '%s' are wrong; --calibrate makes it "
                        "anew",
                        path, readout_name(readout));
    }
    json_decref(root);
    mem_free(text);
    return error;
}

enum err calibration_save(const char *run, const char *adapter, const struct calibration both[2],
                          struct errbuf *e)
{
    static const enum readout readouts[2] = {READOUT_CONTRAST, READOUT_LIKELIHOOD};
    char path[FILE_PATH_BYTES];
    struct str json = {0};
    str_add(&json, "{\n \"adapter\": ");
    str_add_json(&json, adapter, strlen(adapter));
    str_add(&json, ",\n \"data\": ");
    str_add_json(&json, both[0].data, strlen(both[0].data));
    str_addf(&json, ",\n \"scenarios\": %u", both[0].scenarios);
    for (int i = 0; i < 2; i++) {
        str_addf(&json,
                 ",\n \"%s\": {\"temperature\": %.9g, \"threshold\": %.9g, \"log_likelihood\": "
                 "%.9g, \"even\": %.9g}",
                 readout_name(readouts[i]), both[i].temperature, both[i].threshold,
                 both[i].log_likelihood, both[i].even);
    }
    str_add(&json, "\n}\n");
    enum err error = str_ok(&json);
    if (error == OK) {
        error = file_join(path, run, name, e);
    }
    if (error == OK) {
        error = file_write_atomic(path, json.data, json.len, e);
    }
    str_free(&json);
    return error;
}
