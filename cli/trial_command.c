/* trial_command.c - pft eval RUN --task history --readout inferred: the preference vector tried on
 * simulated users, beside the bag of words. One scoring of the data file, then arithmetic.
 * Owns: the options and the printing. Never: scores (workers), figures (coordinator/trial.h). */
#include "cli/trial_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/calibrate.h"
#include "cli/cli.h"
#include "cli/scoring.h"
#include "common/base/mem.h"
#include "coordinator/eval_ask.h"
#include "coordinator/score_table.h"
#include "coordinator/trial.h"

enum { FOLDS = 5, USERS_MAX = 10000 };

struct trial_options {
    const char *run, *task, *readout, *shots, *users, *seed, *forget, *scores, *data, *limit,
        *workers, *out;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool own_axis, calibrate, json;
};

/* The same trials on two kinds of scores. */
struct trials {
    struct run_info info;
    struct dataset *test, *train;
    enum readout readout;
    uint32_t limit;
    struct trial_settings settings; /* but for what is calibrated */
    struct calibration model, words;
    struct trial_report by_model, by_words;
};

static bool is_readout(const char *name)
{
    return strcmp(name, "inferred") == 0 || strcmp(name, "history") == 0;
}

bool trial_asked_for(int argc, char **argv)
{
    static const char joined[] = "--readout=";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--readout") == 0 && i + 1 < argc && is_readout(argv[i + 1])) {
            return true;
        }
        if (strncmp(argv[i], joined, sizeof joined - 1) == 0 &&
            is_readout(argv[i] + sizeof joined - 1)) {
            return true;
        }
    }
    return false;
}

static enum err read_options(struct trial_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--task", "NAME", "history", &o->task, NULL, NULL},
        {"--readout", "NAME",
         "inferred: values from choices, by Bayes' rule; history: the same without --task",
         &o->readout, NULL, NULL},
        {"--shots", "LIST", "choices known, rising (default 0,1,2,3,5,10)", &o->shots, NULL, NULL},
        {"--users", "N", "simulated users of each value (default 200)", &o->users, NULL, NULL},
        {"--seed", "N", "of the simulated users (default 0)", &o->seed, NULL, NULL},
        {"--forget", "F", "weight left to a choice by each later one, 0 < F <= 1 (default 1)",
         &o->forget, NULL, NULL},
        {"--scores", "NAME", "contrast (default) or likelihood", &o->scores, NULL, NULL},
        {"--data", "FILE", "held-out scenarios (default: the run's data.test)", &o->data, NULL,
         NULL},
        {"--limit", "N", "the first scenarios only", &o->limit, NULL, NULL},
        {"--own-axis", NULL,
         "score the values of each scenario's axis alone: faster, without the "
         "posterior over all values",
         NULL, NULL, &o->own_axis},
        {"--calibrate", NULL, "calibrate anew (it is done on first use)", NULL, NULL,
         &o->calibrate},
        {"--out", "FOLDER", "keep what is scored there; the same command goes on after a kill",
         &o->out, NULL, NULL},
        {"--workers", "N", "one-slot workers to start (default: one per core)", &o->workers, NULL,
         NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--json", NULL, "print JSON", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft eval RUN --task history --readout inferred [options]",
                     .what = "Tries the inference of values on simulated users: known, mixed, "
                             "changing.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    o->run = a.positional[0];
    o->scores = o->scores ? o->scores : "contrast";
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one RUN is needed; usage: %s", a.usage);
    }
    if (error == OK && !o->task && strcmp(o->readout, "history") == 0) {
        o->task = "history";
    }
    if (error == OK && (!o->task || strcmp(o->task, "history") != 0)) {
        error = err_set(e, ERR_USAGE, "--readout %s goes with --task history; usage: %s",
                        o->readout, a.usage);
    }
    return error;
}

static enum err settle(const struct trial_options *o, struct trials *t, struct errbuf *e)
{
    int readout = readout_from(o->scores);
    long users = CALIBRATION_USERS;
    long seed = 0;
    long limit = 0;
    t->settings = (struct trial_settings){.forget = 1.0, .hazard = CALIBRATION_HAZARD, .sure = 0.9};
    if (readout != READOUT_CONTRAST && readout != READOUT_LIKELIHOOD) {
        return err_set(e, ERR_USAGE,
                       "--scores: '%s' is unknown; contrast and likelihood are possible",
                       o->scores);
    }
    t->readout = (enum readout)readout;
    enum err error = eval_ask_rising(o->shots ? o->shots : "0,1,2,3,5,10", TRIAL_SHOTS,
                                     TRIAL_SHOTS_MAX, t->settings.shots, &t->settings.n_shots, e);
    if (error == OK && o->users) {
        error = args_number("--users", o->users, 1, USERS_MAX, &users, e);
    }
    if (error == OK && o->seed) {
        error = args_number("--seed", o->seed, 0, INT32_MAX, &seed, e);
    }
    if (error == OK && o->limit) {
        error = args_number("--limit", o->limit, 1, LIMIT_GROUPS, &limit, e);
    }
    if (error == OK && o->forget) {
        error = args_positive("--forget", o->forget, 1.0, &t->settings.forget, e);
    }
    t->settings.users = (uint32_t)users;
    t->settings.seed = (uint64_t)seed;
    t->limit = (uint32_t)limit;
    return error;
}

static enum err load(const struct trial_options *o, struct trials *t, struct errbuf *e)
{
    const struct run_config *cfg = t->info.cfg;
    enum config_group grouping = (enum config_group)cfg->data_group;
    const char *path = o->data ? o->data : cfg->data_test;
    if (path[0] == '\0') {
        return err_set(e, ERR_USAGE, "--data FILE is needed: the run names no test file");
    }
    enum err error = dataset_load(path, t->info.values, grouping, &t->test, e);
    if (error == OK && t->test->format != DATA_VCD) {
        error = err_set(e, ERR_REFUSED,
                        "%s: simulated users need scenarios whose options carry values (a 'vcd' "
                        "file)",
                        t->test->path);
    }
    if (error == OK && cfg->data_train[0] != '\0') {
        error = dataset_load(cfg->data_train, t->info.values, grouping, &t->train, e);
    }
    return error;
}

static enum err try_scores(struct trials *t, const struct value_scores *scores,
                           const struct calibration *c, struct trial_report *out, struct errbuf *e)
{
    struct trial_settings settings = t->settings;
    settings.temperature = c->temperature;
    settings.threshold = c->threshold;
    return trial_run(t->test, scores, &settings, out, e);
}

static enum err try_model(const struct trial_options *o, struct trials *t, int *code,
                          struct errbuf *e)
{
    const struct scoring s = {.run = o->run,
                              .info = &t->info,
                              .workers = o->workers,
                              .sets = o->sets,
                              .n_sets = o->n_sets,
                              .keep = o->out};
    const struct calibrate_options how = {.anew = o->calibrate};
    struct value_scores *scores = NULL;
    json_t *table = NULL;
    enum err error = calibrate_run(&s, &how, t->readout, &t->model, code, e);
    if (error == OK && *code == CLI_OK && calibration_is_of(&t->model, t->test->path)) {
        (void)fprintf(stderr,
                      "pft eval: temperature and threshold were fitted on %s, the file that is "
                      "tried: --calibrate fits them anew on the run's own\n",
                      t->test->path);
    }
    if (error == OK && *code == CLI_OK) {
        error = scoring_run(&s, "test", t->test->path, t->limit, o->own_axis, &table, code, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = score_table_read(table, t->test, t->info.values->n_axes, t->readout, &scores, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = try_scores(t, scores, &t->model, &t->by_model, e);
    }
    value_scores_free(&scores);
    json_decref(table);
    return error;
}

/* The bag's temperature and threshold come of scenarios that it was not fitted on. */
static enum err try_words(struct trials *t, struct errbuf *e)
{
    uint32_t n_axes = t->info.values->n_axes;
    struct value_scores *held_out = NULL;
    struct value_scores *scores = NULL;
    enum err error = value_scores_of_words_held_out(t->train, FOLDS, n_axes, &held_out);
    if (error == OK) {
        error = value_scores_of_words(t->train, t->test, n_axes, &scores);
    }
    if (error != OK) {
        error = err_set(e, error, "bag of words: %s", err_text(error));
    }
    if (error == OK) {
        error = calibration_fit(t->train, held_out, 0, &t->words, e);
        t->words.scenarios = t->train->n_scenarios;
        (void)snprintf(t->words.data, sizeof t->words.data, "%s", t->train->path);
    }
    if (error == OK) {
        value_scores_keep(scores, t->limit);
        error = try_scores(t, scores, &t->words, &t->by_words, e);
    }
    value_scores_free(&held_out);
    value_scores_free(&scores);
    return error;
}

static void add_trials(const struct trials *t, const struct calibration *c,
                       const struct trial_report *r, struct str *json)
{
    str_addf(json, "\"temperature\":%.9g,\"threshold\":%.9g,", c->temperature, c->threshold);
    calibration_add_source(c, json);
    str_add(json, ",");
    trial_json(r, t->info.values, json);
}

static enum err print_json(const struct trials *t, struct errbuf *e)
{
    struct str json = {0};
    str_addf(&json,
             "{\"task\":\"history\",\"readout\":\"inferred\",\"scores\":\"%s\",\"users\":%u,"
             "\"seed\":%llu,\"forget\":%.9g,",
             readout_name(t->readout), t->settings.users, (unsigned long long)t->settings.seed,
             t->settings.forget);
    add_trials(t, &t->model, &t->by_model, &json);
    str_add(&json, ",\"bag_of_words\":");
    if (t->train) {
        str_add(&json, "{");
        add_trials(t, &t->words, &t->by_words, &json);
        str_add(&json, "}");
    } else {
        str_add(&json, "null");
    }
    str_add(&json, "}");
    enum err error = str_ok(&json);
    if (error == OK) {
        (void)puts(json.data);
    }
    str_free(&json);
    return error == OK ? OK : err_set(e, error, "no memory to print");
}

static void print_shots(const struct trial_report *r)
{
    (void)printf("  %3s %6s   %-24s %6s   %-24s %6s   %-24s %s\n", "k", "users", "inferred", "P",
                 "accuracy", "told", "gap", "first of all values");
    for (uint32_t i = 0; i < r->n_shots; i++) {
        const struct trial_shot *s = &r->shots[i];
        if (s->n == 0) {
            (void)printf("  %3u      -   too few scenarios of one axis\n", s->k);
            continue;
        }
        (void)printf("  %3u %6u   %.3f [%.3f, %.3f]     %.3f   %.3f [%.3f, %.3f]     %.3f   %+.3f "
                     "[%+.3f, %+.3f]  ",
                     s->k, s->n, s->inferred.share, s->inferred.lo, s->inferred.hi, s->probability,
                     s->accuracy.share, s->accuracy.lo, s->accuracy.hi, s->told.share, s->gap.share,
                     s->gap.lo, s->gap.hi);
        if (s->n_all > 0) {
            (void)printf(" %.3f", s->inferred_all);
        }
        (void)puts("");
    }
}

static void print_report(const char *name, const struct calibration *c,
                         const struct trial_report *r)
{
    (void)printf("%s (temperature %.4g)\n", name, c->temperature);
    print_shots(r);
    (void)printf("  posterior   users   predicted   so      (mean distance %.3f)\n",
                 r->calibration_error);
    for (uint32_t i = 0; i < TRIAL_BINS; i++) {
        const struct trial_bin *b = &r->bins[i];
        if (b->n > 0) {
            (void)printf("  from %.3f %6u   %.3f       %.3f\n", b->from, b->n, b->predicted,
                         b->observed);
        }
    }
    (void)printf("  questions until one pole has 90 %%: chosen %.2f (median %.1f, right %.3f), "
                 "random %.2f (median %.1f, right %.3f)\n",
                 r->chosen.mean, r->chosen.median, r->chosen.right, r->random.mean,
                 r->random.median, r->random.right);
    (void)printf("  change after choice %d: seen %.1f choices later (median), within 3: %.3f, too "
                 "early %.3f, missed %.3f; stable users flagged in %d choices: %.3f\n",
                 TRIAL_TURN, r->change.delay, r->change.within_3, r->change.early, r->change.missed,
                 TRIAL_HORIZON, r->change.stable_flagged);
    for (uint32_t i = 0; i < TRIAL_MIXES; i++) {
        (void)printf("  mixed, %.0f %% first pole: mix %.3f (mean distance %.3f), lambda %.3f\n",
                     100.0 * r->mixes[i].share, r->mixes[i].estimate, r->mixes[i].error,
                     r->mixes[i].lambda);
    }
}

static enum err work(const struct trial_options *o, struct trials *t, int *code, struct errbuf *e)
{
    enum err error = run_info_open(o->run, o->sets, o->n_sets, &t->info, e);
    if (error == OK) {
        error = settle(o, t, e);
    }
    if (error == OK) {
        error = load(o, t, e);
    }
    if (error == OK) {
        error = try_model(o, t, code, e);
    }
    if (error == OK && *code == CLI_OK && t->train) {
        error = try_words(t, e);
    }
    if (error != OK || *code != CLI_OK) {
        return error;
    }
    if (o->json) {
        return print_json(t, e);
    }
    print_report(readout_name(t->readout), &t->model, &t->by_model);
    if (t->train) {
        (void)puts("");
        print_report("bag-of-words", &t->words, &t->by_words);
    }
    return OK;
}

int cli_trial(int argc, char **argv)
{
    struct trial_options o = {0};
    struct errbuf e = {0};
    int code = CLI_OK;
    struct trials *t = mem_calloc(1, sizeof *t);
    enum err error = t ? read_options(&o, argc, argv, &e) : ERR_NOMEM;
    bool helped = error == ERR_STATE;
    if (error == OK) {
        error = work(&o, t, &code, &e);
    }
    if (t) {
        dataset_free(&t->test);
        dataset_free(&t->train);
        run_info_close(&t->info);
        mem_free(t);
    }
    return error == OK || helped ? code : cli_explain("pft eval", error, &e);
}
