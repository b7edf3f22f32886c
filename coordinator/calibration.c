/* calibration.c - fitted numbers, to and from RUN/inference.json. */
#include "coordinator/calibration.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/base/file.h"
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
    } else if (!read_one(root, readout, out)) {
        error = err_set(e, ERR_CORRUPT,
                        "%s: the numbers of '%s' are wrong; --calibrate makes it "
                        "anew",
                        path, readout_name(readout));
    }
    json_decref(root);
    mem_free(text);
    return error;
}

enum err calibration_save(const char *run, const char *adapter, const char *data,
                          uint32_t scenarios, const struct calibration both[2], struct errbuf *e)
{
    static const enum readout readouts[2] = {READOUT_CONTRAST, READOUT_LIKELIHOOD};
    char path[FILE_PATH_BYTES];
    struct str json = {0};
    str_add(&json, "{\n \"adapter\": ");
    str_add_json(&json, adapter, strlen(adapter));
    str_add(&json, ",\n \"data\": ");
    str_add_json(&json, data, strlen(data));
    str_addf(&json, ",\n \"scenarios\": %u", scenarios);
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
