/* export_command.c - pft export: the adapter of a run as of its last committed step, as a PEFT
 * folder. Owns: nothing. The run is only read; it may be under way. */
#include "coordinator/export.h"

#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/run_info.h"
#include "common/base/str.h"
#include "common/format/model_default.h"
#include "common/format/model_file.h"
#include "coordinator/config.h"
#include "coordinator/journal.h"
#include "coordinator/params.h"
#include "coordinator/recover.h"
#include "coordinator/values.h"

struct export_options {
    const char *run, *format, *out;
    const char *sets[ARGS_REPEATS];
    int n_sets;
};

/* What a run keeps of itself. */
struct kept {
    struct journal *journal;
    struct run_config *cfg;
    struct values *values;
    struct model_file *model;
    struct params *params;
    struct str name, quantisation, hash;
};

static enum err read_options(struct export_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--format", "peft", "format of the adapter", &o->format, NULL, NULL},
        {"--out", "DIR", "folder to write; made when absent", &o->out, NULL, NULL},
        {"--set", "KEY=VALUE", "model.path=FILE: where the run's base model is now", o->sets,
         &o->n_sets, NULL},
    };
    struct args a = {.usage = "pft export RUN --format peft --out DIR",
                     .what = "Writes the adapter of a run as of its last committed step.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    o->run = a.positional[0];
    if (error == OK && (a.n_positional != 1 || !o->out)) {
        error = err_set(e, ERR_USAGE, "one RUN and --out DIR are needed; usage: %s", a.usage);
    }
    for (int i = 0; error == OK && i < o->n_sets; i++) {
        if (strncmp(o->sets[i], "model.path=", strlen("model.path=")) != 0) {
            error = err_set(e, ERR_USAGE,
                            "--set %.60s: a run is exported as it was trained; only model.path can "
                            "be set",
                            o->sets[i]);
        }
    }
    if (error == OK && o->format && strcmp(o->format, "peft") != 0) {
        error = err_set(e, ERR_USAGE, "--format is '%s', only peft is possible", o->format);
    }
    return error;
}

static enum err open_settings(const struct export_options *o, struct kept *k, struct errbuf *e)
{
    struct str text = {0};
    enum err error = journal_open_reader(o->run, &k->journal, e);
    if (error == OK) {
        error = journal_meta_get(k->journal, "config", &text, e);
    }
    if (error == OK) {
        error = config_parse(text.data, text.len, "config of the run", o->run, NULL, 0, &k->cfg, e);
    }
    str_clear(&text);
    if (error == OK) {
        error = journal_meta_get(k->journal, "values", &text, e);
    }
    if (error == OK && text.len > 0) {
        error = values_parse(text.data, text.len, "values of the run", &k->values, e);
    }
    str_free(&text);
    return error;
}

static enum err open_model(const struct export_options *o, struct kept *k, struct errbuf *e)
{
    char hex[HASH_SHA256_HEX];
    char path[FILE_PATH_BYTES];
    enum err error = run_info_model(k->journal, o->sets, o->n_sets, path, e);
    if (error == OK) {
        error = model_open(path, &k->model, e);
    }
    if (error == OK) {
        error = journal_meta_get(k->journal, "model_name", &k->name, e);
    }
    if (error == OK) {
        error = journal_meta_get(k->journal, "model_quantisation", &k->quantisation, e);
    }
    if (error == OK) {
        error = journal_meta_get(k->journal, "model_hash", &k->hash, e);
    }
    if (error == OK) {
        error = model_hash(k->model, hex, e);
    }
    if (error == OK && strcmp(hex, k->hash.data) != 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s has changed since the run: its SHA-256 is %.16s..., the run's %.16s...",
                        model_path(k->model), hex, k->hash.data);
    }
    return error;
}

static enum err open_params(struct kept *k, const char *run, struct errbuf *e)
{
    struct str warnings = {0};
    const struct adamw_config adamw = {.beta1 = k->cfg->train_beta1,
                                       .beta2 = k->cfg->train_beta2,
                                       .eps = k->cfg->train_eps,
                                       .weight_decay = k->cfg->train_weight_decay,
                                       .clip = k->cfg->train_clip};
    enum err error =
        params_new(model_shape(k->model), &k->cfg->lora, k->cfg->train_seed, &adamw, &k->params);
    if (error != OK) {
        return err_set(e, error, "no memory for the parameters");
    }
    error = recover_params(run, k->journal, NULL, k->params, &warnings, e);
    if (warnings.len > 0) {
        (void)fprintf(stderr, "pft export: %s\n", warnings.data);
    }
    str_free(&warnings);
    return error;
}

static enum err export_run(const struct export_options *o, struct kept *k, struct errbuf *e)
{
    enum err error = open_settings(o, k, e);
    if (error == OK && journal_steps(k->journal) == 0) {
        error = err_set(e, ERR_STATE, "%s: no step is committed yet, there is no adapter", o->run);
    }
    if (error == OK) {
        error = open_model(o, k, e);
    }
    if (error == OK) {
        error = open_params(k, o->run, e);
    }
    if (error != OK) {
        return error;
    }
    const struct export_input in = {.cfg = k->cfg,
                                    .values = k->values,
                                    .shape = model_shape(k->model),
                                    .lora = &k->cfg->lora,
                                    .flat = k->params->adam.p,
                                    .version = k->params->version,
                                    .base_name = k->name.data,
                                    .base_quantisation = k->quantisation.data,
                                    .base_hash = k->hash.data};
    return export_peft(o->out, &in, e);
}

int cli_export(int argc, char **argv)
{
    struct export_options o = {0};
    struct kept k = {0};
    struct errbuf e = {0};
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = export_run(&o, &k, &e);
    }
    params_free(&k.params);
    model_close(&k.model);
    values_free(&k.values);
    config_free(&k.cfg);
    journal_close(&k.journal);
    str_free(&k.name);
    str_free(&k.quantisation);
    str_free(&k.hash);
    if (error != OK) {
        return cli_explain("pft export", error, &e);
    }
    (void)printf("%s\n", o.out);
    return CLI_OK;
}
