/* calibrate.c - loads a calibration, or scores training scenarios and fits one. */
#include "cli/calibrate.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "coordinator/score_table.h"

static enum err fit_both(const struct scoring *s, const struct dataset *data, const json_t *table,
                         struct calibration both[2], struct errbuf *e)
{
    static const enum readout readouts[2] = {READOUT_CONTRAST, READOUT_LIKELIHOOD};
    enum err error = OK;
    for (int i = 0; i < 2 && error == OK; i++) {
        struct value_scores *scores = NULL;
        error = score_table_read(table, data, s->info->values->n_axes, readouts[i], &scores, e);
        if (error == OK) {
            error = calibration_fit(data, scores, 0, &both[i], e);
        }
        value_scores_free(&scores);
    }
    return error;
}

/* The first scenarios of the file that serve. Those of the run's own file that were trained on give
 * too high an opinion of the adapter: with none held out they are all there is. */
static uint32_t serving(const struct scoring *s, const char *path, struct dataset *data)
{
    const struct run_config *cfg = s->info->cfg;
    char full[FILE_PATH_BYTES];
    char trained[FILE_PATH_BYTES];
    const bool own =
        strcmp(path, cfg->data_train) == 0 ||
        (file_absolute(full, path, NULL) == OK &&
         file_absolute(trained, cfg->data_train, NULL) == OK && strcmp(full, trained) == 0);
    if (own) {
        dataset_hold_out(data, cfg->data_hold_out);
    }
    (void)fprintf(stderr, "pft: calibrating on %s%s\n", path,
                  !own                 ? ""
                  : data->held_out > 0 ? ", the scenarios that were held out"
                                       : ", which the adapter was trained on: data.hold_out of the "
                                         "run's config keeps scenarios for this");
    const uint32_t n = dataset_fitting(data);
    return n < CALIBRATION_SCENARIOS ? n : CALIBRATION_SCENARIOS;
}

static enum err make(const struct scoring *s, const char *path, struct calibration both[2],
                     int *code, struct errbuf *e)
{
    uint32_t n = 0;
    struct dataset *data = NULL;
    json_t *table = NULL;
    enum config_group grouping = (enum config_group)s->info->cfg->data_group;
    enum err error = dataset_load(path, s->info->values, grouping, &data, e);
    if (error == OK && data->format != DATA_VCD) {
        error = err_set(e, ERR_REFUSED,
                        "%s: a calibration needs scenarios whose options carry "
                        "values (a 'vcd' file)",
                        path);
    }
    if (error == OK) {
        n = serving(s, path, data);
        error = scoring_run(s, "calibration", path, n, true, &table, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = fit_both(s, data, table, both, e);
    }
    if (error == OK && *code == CLI_OK) {
        for (int i = 0; i < 2; i++) {
            both[i].scenarios = n;
            if (file_absolute(both[i].data, path, NULL) != OK) {
                (void)snprintf(both[i].data, sizeof both[i].data, "%s", path);
            }
        }
        error = calibration_save(s->run, s->info->adapter.data, both, e);
    }
    json_decref(table);
    dataset_free(&data);
    return error;
}

enum err calibrate_run(const struct scoring *s, const struct calibrate_options *o,
                       enum readout readout, struct calibration *out, int *code, struct errbuf *e)
{
    struct calibration both[2] = {{0}};
    const char *data = o->data ? o->data : s->info->cfg->data_train;
    *code = CLI_OK;
    enum err error = o->anew || o->data
                         ? ERR_NOT_FOUND
                         : calibration_load(s->run, s->info->adapter.data, readout, out, e);
    if (error != ERR_NOT_FOUND) {
        return error;
    }
    if (data[0] == '\0') {
        return err_set(e, ERR_REFUSED,
                       "the run has no data.train to calibrate on: name scenarios with --data FILE "
                       "or a temperature with --temperature T");
    }
    error = make(s, data, both, code, e);
    if (error == OK && *code == CLI_OK) {
        *out = both[readout == READOUT_LIKELIHOOD];
    }
    return error;
}
