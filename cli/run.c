/* run.c - pft run: the whole job on this machine.
 * Owns: the words of the command. Never: trains; the coordinator and the workers do.
 * The coordinator prints the closing table to stdout; logs go to RUN/logs/. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/local.h"
#include "common/base/file.h"
#include "common/format/model_default.h"
#include "coordinator/config.h"

enum { WORDS = ARGS_REPEATS * 2 + 4 };

struct run_options {
    const char *config, *out, *workers, *slots, *threads, *from_step;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool resume, checkpointing;
};

static enum err read_options(struct run_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--workers", "N", "workers to start (default: so many that every core is used)",
         &o->workers, NULL, NULL},
        {"--slots", "S", "jobs at a time of each worker (default 1)", &o->slots, NULL, NULL},
        {"--threads", "T", "threads of each slot (default 1)", &o->threads, NULL, NULL},
        {"--gradient-checkpointing", NULL, "workers with less memory, a third slower, same bits",
         NULL, NULL, &o->checkpointing},
        {"--out", "RUN", "folder of the run (default: runs/<name of the config>)", &o->out, NULL,
         NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--resume", NULL, "go on with the unfinished run in RUN", NULL, NULL, &o->resume},
        {"--from-step", "N", "with --resume: forget step N and later ones, compute them again",
         &o->from_step, NULL, NULL},
    };
    struct args a = {.usage = "pft run CONFIG [--workers N] [--slots S] [--threads T] "
                              "[--set KEY=VALUE]... [--out RUN] [--resume [--from-step N]]",
                     .what = "Evaluates, trains, evaluates again and exports, on local workers.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one CONFIG is needed, %d words were given; usage: %s",
                        a.n_positional, a.usage);
    }
    if (error == OK && o->from_step && !o->resume) {
        error = err_set(e, ERR_USAGE, "--from-step goes with --resume");
    }
    o->config = a.positional[0];
    return error;
}

/* runs/<config name without .yaml> when --out is not given. */
static enum err choose_out(char out[FILE_PATH_BYTES], const struct run_options *o, struct errbuf *e)
{
    const char *slash = strrchr(o->config, '/');
    const char *name = slash ? slash + 1 : o->config;
    const char *dot = strrchr(name, '.');
    int length = (int)(dot && dot != name ? (size_t)(dot - name) : strlen(name));
    int n = o->out ? snprintf(out, FILE_PATH_BYTES, "%s", o->out)
                   : snprintf(out, FILE_PATH_BYTES, "runs/%.*s", length, name);
    return n < FILE_PATH_BYTES ? OK : err_set(e, ERR_RANGE, "--out: the path is too long");
}

static enum err check_out(const char *out, bool resume, struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    char report[FILE_PATH_BYTES];
    enum err error = file_join(db, out, "run.db", e);
    if (error == OK) {
        error = file_join(report, out, "report.md", e);
    }
    if (error != OK || resume == file_exists(db)) {
        return error;
    }
    if (resume && errno != ENOENT) {
        return err_set(e, err_from_errno(errno), "%s: cannot be read: %s", db, strerror(errno));
    }
    if (resume) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no run to resume; leave --resume out", out);
    }
    return err_set(e, ERR_REFUSED,
                   file_exists(report) ? "%s holds a finished run; choose another --out"
                                       : "%s holds an unfinished run; add --resume to go on with "
                                         "it, or choose another --out",
                   out);
}

/* Reads the config here too, so that a mistake in it is told before anything is started. */
static enum err find_model(const struct run_options *o, char model[FILE_PATH_BYTES],
                           struct errbuf *e)
{
    struct run_config *cfg = NULL;
    enum err error = config_load(o->config, o->sets, o->n_sets, &cfg, e);
    if (error == OK) {
        error = model_resolve(cfg->model_path, model, e);
    }
    config_free(&cfg);
    return error;
}

static enum err run(const struct run_options *o, int *code, struct errbuf *e)
{
    char out[FILE_PATH_BYTES];
    char model[FILE_PATH_BYTES];
    const char *words[WORDS];
    struct local_options local = {
        .words = words, .out = out, .model = model, .goes_on = "go on later with --resume"};
    words[local.n_words++] = o->config;
    for (int i = 0; i < o->n_sets; i++) {
        words[local.n_words++] = "--set";
        words[local.n_words++] = o->sets[i];
    }
    if (o->resume) {
        words[local.n_words++] = "--resume";
    }
    if (o->from_step) {
        words[local.n_words++] = "--from-step";
        words[local.n_words++] = o->from_step;
    }
    local.checkpointing = o->checkpointing;
    enum err error = local_shape(o->workers, o->slots, o->threads, &local, e);
    if (error == OK) {
        error = find_model(o, model, e);
    }
    if (error == OK) {
        error = choose_out(out, o, e);
    }
    if (error == OK) {
        error = check_out(out, o->resume, e);
    }
    return error == OK ? local_run(&local, code, e) : error;
}

int cli_run(int argc, char **argv)
{
    struct run_options o = {0};
    struct errbuf e = {0};
    int code = CLI_OK;
    enum err error = read_options(&o, argc, argv, &e);
    if (error == OK) {
        error = run(&o, &code, &e);
    } else if (error == ERR_STATE) {
        return CLI_OK;
    }
    return error == OK ? code : cli_explain("pft run", error, &e);
}
