/* infer_command.c - pft infer: a user's past choices to a posterior over the values of a run.
 * Owns: the options and the printing. Never: scores (workers), posteriors (coordinator/infer.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/calibrate.h"
#include "cli/cli.h"
#include "cli/scoring.h"
#include "coordinator/infer.h"
#include "coordinator/posterior.h"
#include "coordinator/score_table.h"

struct infer_options {
    const char *run, *history, *pool, *axis, *forget, *prior, *scores, *temperature, *data,
        *workers;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool calibrate, json;
};

/* What the command works with; freed together. */
struct inference {
    struct run_info info;
    struct dataset *history, *pool;
    enum readout readout;
    struct calibration calibration;
    double prior[2 * LIMIT_AXES];
    struct infer_settings settings;
    struct infer_result result;
    struct infer_next next;
};

static enum err read_options(struct infer_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--history", "FILE",
         "past choices: [{scenario, options, choice}] or VCD items with choice", &o->history, NULL,
         NULL},
        {"--pool", "FILE", "questions that could be asked next; names the best one", &o->pool, NULL,
         NULL},
        {"--axis", "NAME", "look at this axis alone (default: all values of the run)", &o->axis,
         NULL, NULL},
        {"--forget", "F", "weight left to a choice by each later one, 0 < F <= 1 (default 1)",
         &o->forget, NULL, NULL},
        {"--prior", "LIST", "NAME=WEIGHT, comma-separated; other values have 1", &o->prior, NULL,
         NULL},
        {"--scores", "NAME", "contrast (default) or likelihood", &o->scores, NULL, NULL},
        {"--temperature", "T", "instead of the run's calibrated one", &o->temperature, NULL, NULL},
        {"--calibrate", NULL, "calibrate anew (it is done on first use)", NULL, NULL,
         &o->calibrate},
        {"--data", "FILE",
         "with --calibrate: scenarios with known values (default: the run's "
         "data.train)",
         &o->data, NULL, NULL},
        {"--workers", "N", "one-slot workers to start (default: one per core)", &o->workers, NULL,
         NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--json", NULL, "print JSON", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft infer RUN --history FILE [--pool FILE] [options]",
                     .what = "Infers which values a user holds from past choices, and what to ask "
                             "next.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    o->run = a.positional[0];
    o->scores = o->scores ? o->scores : "contrast";
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one RUN is needed; usage: %s", a.usage);
    }
    if (error == OK && !o->history && !o->calibrate) {
        error =
            err_set(e, ERR_USAGE, "--history FILE (or --calibrate) is needed; usage: %s", a.usage);
    }
    if (error == OK && o->data && !o->calibrate) {
        error = err_set(e, ERR_USAGE, "--data goes with --calibrate; usage: %s", a.usage);
    }
    if (error == OK && o->calibrate && o->temperature) {
        error = err_set(e, ERR_USAGE, "--calibrate and --temperature: only one of them");
    }
    return error;
}

/* Every wrong word is found before anything is started. */
static enum err settle(const struct infer_options *o, struct inference *n, struct errbuf *e)
{
    const struct values *values = n->info.values;
    enum config_group grouping = (enum config_group)n->info.cfg->data_group;
    int readout = readout_from(o->scores);
    enum err error = OK;
    n->settings = (struct infer_settings){
        .forget = 1.0, .hazard = CALIBRATION_HAZARD, .axis = DATASET_NO_AXIS};
    if (readout != READOUT_CONTRAST && readout != READOUT_LIKELIHOOD) {
        return err_set(e, ERR_USAGE,
                       "--scores: '%s' is unknown; contrast and likelihood are "
                       "possible",
                       o->scores);
    }
    n->readout = (enum readout)readout;
    if (o->forget) {
        error = args_positive("--forget", o->forget, 1.0, &n->settings.forget, e);
    }
    if (error == OK && o->axis) {
        error = values_find_axis(values, o->axis, &n->settings.axis, e);
        error = error == OK ? OK : err_prefix(e, ERR_USAGE, "--axis");
    }
    if (error == OK && o->prior) {
        n->settings.prior = n->prior;
        error = infer_prior(values, o->prior, n->prior, e);
    }
    if (error == OK && o->history) {
        error = dataset_load(o->history, values, grouping, &n->history, e);
    }
    if (error == OK && o->history) {
        error = infer_check(n->history, e);
    }
    if (error == OK && o->pool) {
        error = dataset_load(o->pool, values, grouping, &n->pool, e);
    }
    return error;
}

static enum err calibrate(const struct infer_options *o, const struct scoring *s,
                          struct inference *n, int *code, struct errbuf *e)
{
    const struct calibrate_options how = {.data = o->data, .anew = o->calibrate};
    enum err error = OK;
    *code = CLI_OK;
    if (o->temperature) { /* no users to fit a threshold on: odds of 19 to 1 */
        n->calibration.threshold = log(19.0);
        error = args_positive("--temperature", o->temperature, 1e9, &n->calibration.temperature, e);
    } else {
        error = calibrate_run(s, &how, n->readout, &n->calibration, code, e);
    }
    if (error == OK && *code == CLI_OK && !o->temperature &&
        n->calibration.log_likelihood <= n->calibration.even + 1e-6) {
        (void)fprintf(stderr, "pft infer: the scores of this model say nothing about values: every "
                              "posterior stays near the prior\n");
    }
    n->settings.temperature = n->calibration.temperature;
    n->settings.threshold = n->calibration.threshold;
    return error;
}

/* log p(option | value) of a file. */
static enum err choices_of(const struct scoring *s, const struct inference *n, const char *path,
                           const struct dataset *data, struct value_scores **out, int *code,
                           struct errbuf *e)
{
    json_t *table = NULL;
    struct value_scores *scores = NULL;
    enum err error = scoring_run(s, "choices", path, 0, false, &table, code, e);
    if (error == OK && *code == CLI_OK) {
        error = score_table_read(table, data, n->info.values->n_axes, n->readout, &scores, e);
    }
    if (error == OK && *code == CLI_OK &&
        value_scores_choices(scores, n->settings.temperature, out) != OK) {
        error = err_set(e, ERR_NOMEM, "%s: no memory for its scores", path);
    }
    value_scores_free(&scores);
    json_decref(table);
    return error;
}

static enum err infer(const struct infer_options *o, const struct scoring *s, struct inference *n,
                      int *code, struct errbuf *e)
{
    struct value_scores *choices = NULL;
    enum err error = choices_of(s, n, o->history, n->history, &choices, code, e);
    if (error == OK && *code == CLI_OK) {
        error = infer_run(n->info.values, n->history, choices, &n->settings, &n->result, e);
    }
    value_scores_free(&choices);
    if (error == OK && *code == CLI_OK && n->pool) {
        error = choices_of(s, n, o->pool, n->pool, &choices, code, e);
    }
    if (error == OK && *code == CLI_OK && n->pool) {
        error = infer_ask(n->pool, n->history, choices, &n->settings, &n->result, &n->next, e);
    }
    value_scores_free(&choices);
    return error;
}

static void add_head(const struct infer_options *o, const struct inference *n, struct str *json)
{
    str_addf(json, "{\"scores\":\"%s\",\"temperature\":%.9g,\"threshold\":%.9g,\"calibrated\":%s,",
             readout_name(n->readout), n->calibration.temperature, n->calibration.threshold,
             o->temperature ? "false" : "true");
    calibration_add_source(&n->calibration, json);
    str_addf(json, ",\"forget\":%.9g", n->settings.forget);
}

static enum err print_json(const struct infer_options *o, const struct inference *n,
                           struct errbuf *e)
{
    struct str json = {0};
    add_head(o, n, &json);
    if (n->history) {
        str_add(&json, ",");
        infer_json(n->info.values, &n->settings, &n->result, n->pool, n->pool ? &n->next : NULL,
                   &json);
    }
    str_add(&json, "}");
    enum err error = str_ok(&json);
    if (error == OK) {
        (void)puts(json.data);
    }
    str_free(&json);
    return error == OK ? OK : err_set(e, error, "no memory to print");
}

static void print_axis(const struct values_axis *axis, const struct infer_axis *a)
{
    (void)printf("\n%s (%u choice%s)\n", axis->name, a->n, a->n == 1 ? "" : "s");
    for (uint32_t side = 0; side < 2; side++) {
        (void)printf("  %-28s %.3f\n", axis->poles[side].name, a->shares[side]);
    }
    (void)printf("  lambda %.3f   mix %.3f   entropy %.3f bits   ", a->lambda, a->mix,
                 a->entropy / POSTERIOR_NATS_PER_BIT);
    if (a->flagged > 0) {
        (void)printf("CHANGED, seen at choice %u\n", a->flagged);
    } else {
        (void)puts("no change seen");
    }
}

static void print_words(const struct inference *n)
{
    const struct values *values = n->info.values;
    uint32_t only = n->settings.axis;
    (void)printf("temperature %.4g, change threshold %.3f (%s)\n", n->calibration.temperature,
                 n->calibration.threshold, readout_name(n->readout));
    if (!n->history) {
        return;
    }
    (void)printf("\nvalue, of %u choice%s              posterior\n", n->result.n_choices,
                 n->result.n_choices == 1 ? "" : "s");
    for (uint32_t v = 0; v < 2 * values->n_axes; v++) {
        if (only == DATASET_NO_AXIS || only == v / 2) {
            (void)printf("  %-28s %.3f\n", values->axes[v / 2].poles[v % 2].name,
                         n->result.shares[v]);
        }
    }
    (void)printf("  entropy %.3f nats = %.3f bits\n", n->result.entropy,
                 n->result.entropy / POSTERIOR_NATS_PER_BIT);
    for (uint32_t axis = 0; axis < values->n_axes; axis++) {
        if (only == DATASET_NO_AXIS || only == axis) {
            print_axis(&values->axes[axis], &n->result.axes[axis]);
        }
    }
    if (n->pool) {
        const struct data_scenario *item = &n->pool->scenarios[n->next.item];
        (void)printf("\nask next (%.3f bits expected about %s), %s:%u\n  %s\n",
                     n->next.information / POSTERIOR_NATS_PER_BIT,
                     n->next.about_axis ? values->axes[item->axis].name : "all values",
                     n->pool->path, item->line, item->text.text);
        for (uint32_t i = 0; i < item->n_options; i++) {
            (void)printf("  %u  %s\n", i, item->options[i].text.text);
        }
    }
}

static enum err work(const struct infer_options *o, struct inference *n, int *code,
                     struct errbuf *e)
{
    enum err error = run_info_open(o->run, o->sets, o->n_sets, &n->info, e);
    if (error == OK) {
        error = settle(o, n, e);
    }
    const struct scoring s = {.run = o->run,
                              .info = &n->info,
                              .workers = o->workers,
                              .sets = o->sets,
                              .n_sets = o->n_sets};
    if (error == OK) {
        error = calibrate(o, &s, n, code, e);
    }
    if (error == OK && *code == CLI_OK && n->history) {
        error = infer(o, &s, n, code, e);
    }
    if (error == OK && *code == CLI_OK && o->json) {
        error = print_json(o, n, e);
    } else if (error == OK && *code == CLI_OK) {
        print_words(n);
    }
    return error;
}

int cli_infer(int argc, char **argv)
{
    struct infer_options o = {0};
    struct inference n = {0};
    struct errbuf e = {0};
    int code = CLI_OK;
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = work(&o, &n, &code, &e);
    }
    dataset_free(&n.history);
    dataset_free(&n.pool);
    run_info_close(&n.info);
    return error == OK ? code : cli_explain("pft infer", error, &e);
}
