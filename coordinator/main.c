/* main.c - pft-coordinator: plans a run, serves its jobs to workers, sums, steps, keeps, reports.
 *
 * Exit codes: 0 finished; 1 error; 2 usage; 3 refused (folder in use or of another run, address
 * that would be open to others); 5 stopped by a signal before the end (go on with --resume). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/program.h"
#include "coordinator/address_file.h"
#include "coordinator/eval_ask.h"
#include "coordinator/eval_work.h"
#include "coordinator/fleet.h"
#include "coordinator/serving.h"
#include "coordinator/start.h"
#include "coordinator/summary.h"

enum exit_code {
    EXIT_FINISHED = 0,
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_REFUSED = 3,
    EXIT_STOPPED = 5,
};

enum { SETS_MAX = 128, DESCRIPTORS = 8 * LIMIT_WORKERS };

static const char USAGE[] =
    "usage: pft-coordinator CONFIG --out RUN [--bind ADDRESS] [--status ADDRESS] [--keys DIR]\n"
    "                       [--resume [--from-step N]] [--set KEY=VALUE]...\n"
    "       pft-coordinator [CONFIG] --eval-only [--from RUN] --out FOLDER [--bind ADDRESS]\n"
    "                       [--keys DIR] [--resume] [--steer SPEC]... [--steer-values FILE]\n"
    "                       [--set KEY=VALUE]...\n"
    "                       [--task NAME] [--shots LIST] [--mix LIST [--only-mix]] [--limit N] "
    "[--fit N] [--seed N]\n"
    "                       [--paired] [--own-axis] [--count]\n"
    "       pft-coordinator [CONFIG] --ask [--from RUN] --out FOLDER ...as with --eval-only\n"
    "       pft-coordinator --serve DIR [--bind ADDRESS] [--status ADDRESS] [--keys DIR]\n"
    "\n"
    "Serves the run that CONFIG describes to workers (pft-worker) until it is finished: "
    "evaluates,\n"
    "trains, evaluates again, exports RUN/adapter and writes RUN/report.md. RUN/address.json "
    "tells\n"
    "where it listens. SIGTERM stops it cleanly; --resume goes on.\n"
    "\n"
    "  --out RUN          folder of the run; made when absent\n"
    "  --bind ADDRESS     for workers: ipc://PATH or tcp://HOST:PORT, which also takes PORT + 1\n"
    "                     (default ipc://RUN/jobs.sock); beyond loopback only with --keys\n"
    "  --status ADDRESS   for pft status, drain, stop (default ipc://RUN/status.sock)\n"
    "  --keys DIR         folder that pft keys init made: every tcp socket asks for a key\n"
    "  --resume           go on with the run in RUN\n"
    "  --from-step N      with --resume: forget step N and later ones first, and compute them "
    "again\n"
    "  --set KEY=VALUE    override a key of the config\n"
    "  --serve DIR        keep a list of tasks in DIR and do them one after another on the "
    "workers\n"
    "                     that are there (pft submit, jobs, cancel, logs); sockets lie in DIR\n"
    "  --eval-only        score data.test once, print the result as JSON, train nothing\n"
    "  --from RUN         with --eval-only: the adapter of that run (and its config, when no "
    "CONFIG\n"
    "                     is given); without it the bare model is scored\n"
    "  --task NAME        with --eval-only: select (default), behaviour, retention, history,\n"
    "                     divergence, or\n"
    "                     values: the score of every option under every value (--own-axis: those\n"
    "                     of the scenario's axis), which pft infer reads;\n"
    "  --mix LIST         with --task select: shares of the first value, one more result each\n"
    "                     (--only-mix: and no other readout);\n"
    "  --shots, --limit, --fit, --seed, --paired: what is asked of it (pft eval --help)\n"
    "  --count            with --eval-only: print how much there is to score, score nothing\n"
    "  --ask              answer questions instead: a line of JSON from stdin each, to stdout;\n"
    "                     ends with stdin (docs/generate.md)\n"
    "  --steer SPEC       FILE=MULTIPLIER[@LAYER|@FIRST-LAST]: add a control vector; with\n"
    "                     --eval-only and --ask\n"
    "  --steer-values F   with --eval-only --task select: the vectors of every axis, added for "
    "its\n"
    "                     first value, subtracted for its second, in place of the value's name\n"
    "\n"
    "exit codes: 0 finished (--serve: stopped, nothing was left to do), 1 error, 2 usage,\n"
    "            3 refused, 5 stopped before the end\n";

struct options {
    struct start_options start;
    const char *sets[SETS_MAX];
    const char *steers[SETS_MAX];
    const char *bind, *status, *keys, *serve;
    bool asked; /* an option that says what an evaluation asks */
    struct key_file key;
};

enum {
    OPT_OUT = 1,
    OPT_BIND,
    OPT_STATUS,
    OPT_KEYS,
    OPT_RESUME,
    OPT_FROM_STEP,
    OPT_SET,
    OPT_EVAL,
    OPT_FROM,
    OPT_SERVE,
    OPT_TASK,
    OPT_SHOTS,
    OPT_MIX,
    OPT_ONLY_MIX,
    OPT_LIMIT,
    OPT_FIT,
    OPT_SEED,
    OPT_PAIRED,
    OPT_OWN_AXIS,
    OPT_COUNT,
    OPT_ASK,
    OPT_STEER,
    OPT_STEER_VALUES,
    OPT_HELP,
    OPT_VERSION
};

/* What an evaluation asks: OPT_TASK to OPT_COUNT. */
static enum err take_asked(struct options *o, int option, const char *value, struct errbuf *e)
{
    switch (option) {
    case OPT_TASK:
        return eval_ask_task(&o->start.ask, value, e);
    case OPT_SHOTS:
        return eval_ask_shots(&o->start.ask, value, e);
    case OPT_MIX:
        return eval_ask_mix(&o->start.ask, value, e);
    case OPT_ONLY_MIX:
        o->start.ask.only_mix = true;
        return OK;
    case OPT_LIMIT:
        return eval_ask_limit(&o->start.ask, value, e);
    case OPT_FIT:
        return eval_ask_fit(&o->start.ask, value, e);
    case OPT_SEED:
        return eval_ask_seed(&o->start.ask, value, e);
    case OPT_PAIRED:
        o->start.ask.paired = true;
        return OK;
    case OPT_COUNT:
        o->start.count = true;
        return OK;
    case OPT_OWN_AXIS:
        o->start.ask.own_axis = true;
        return OK;
    default:
        return err_set(e, ERR_USAGE, "see pft-coordinator --help");
    }
}

static enum err take_step(struct options *o, const char *value, struct errbuf *e)
{
    char *end = NULL;
    errno = 0;
    unsigned long long step = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0) {
        return err_set(e, ERR_USAGE, "--from-step %s: a step is a whole number from 0 on", value);
    }
    o->start.goes_back = true;
    o->start.from_step = step;
    return OK;
}

static enum err take_option(struct options *o, int option, const char *value, struct errbuf *e)
{
    switch (option) {
    case OPT_OUT:
        o->start.run = value;
        return OK;
    case OPT_BIND:
        o->bind = value;
        return OK;
    case OPT_STATUS:
        o->status = value;
        return OK;
    case OPT_KEYS:
        o->keys = value;
        return OK;
    case OPT_RESUME:
        o->start.resume = true;
        return OK;
    case OPT_FROM_STEP:
        return take_step(o, value, e);
    case OPT_SET:
        if (o->start.n_sets == SETS_MAX) {
            return err_set(e, ERR_USAGE, "--set: at most %d of them", SETS_MAX);
        }
        o->sets[o->start.n_sets++] = value;
        return OK;
    case OPT_EVAL:
        o->start.eval_only = true;
        return OK;
    case OPT_SERVE:
        o->serve = value;
        return OK;
    case OPT_FROM:
        o->start.from = value;
        return OK;
    case OPT_ASK:
        o->start.answers = true;
        o->start.eval_only = true;
        return OK;
    case OPT_STEER:
        if (o->start.n_steers == SETS_MAX) {
            return err_set(e, ERR_USAGE, "--steer: at most %d of them", SETS_MAX);
        }
        o->steers[o->start.n_steers++] = value;
        return OK;
    case OPT_STEER_VALUES:
        o->start.steer_values = value;
        o->start.ask.by_vector = true;
        return OK;
    default:
        return take_asked(o, option, value, e);
    }
}

static const struct option known[] = {
    {"out", required_argument, NULL, OPT_OUT},
    {"bind", required_argument, NULL, OPT_BIND},
    {"status", required_argument, NULL, OPT_STATUS},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"resume", no_argument, NULL, OPT_RESUME},
    {"from-step", required_argument, NULL, OPT_FROM_STEP},
    {"set", required_argument, NULL, OPT_SET},
    {"eval-only", no_argument, NULL, OPT_EVAL},
    {"from", required_argument, NULL, OPT_FROM},
    {"serve", required_argument, NULL, OPT_SERVE},
    {"task", required_argument, NULL, OPT_TASK},
    {"shots", required_argument, NULL, OPT_SHOTS},
    {"mix", required_argument, NULL, OPT_MIX},
    {"only-mix", no_argument, NULL, OPT_ONLY_MIX},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"fit", required_argument, NULL, OPT_FIT},
    {"seed", required_argument, NULL, OPT_SEED},
    {"paired", no_argument, NULL, OPT_PAIRED},
    {"count", no_argument, NULL, OPT_COUNT},
    {"own-axis", no_argument, NULL, OPT_OWN_AXIS},
    {"ask", no_argument, NULL, OPT_ASK},
    {"steer", required_argument, NULL, OPT_STEER},
    {"steer-values", required_argument, NULL, OPT_STEER_VALUES},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

static enum err parse(int argc, char **argv, struct options *o, struct errbuf *e)
{
    int option;
    o->start.ask = eval_ask_usual();
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == OPT_HELP || option == OPT_VERSION) {
            (void)fputs(option == OPT_HELP ? USAGE : "pft-coordinator " PFT_VERSION "\n", stdout);
            exit(EXIT_FINISHED);
        }
        enum err error = take_option(o, option, optarg, e);
        if (error != OK) {
            return error;
        }
        o->asked = o->asked || (option >= OPT_TASK && option <= OPT_COUNT);
    }
    o->start.sets = o->sets;
    o->start.steers = o->steers;
    o->start.config = optind < argc ? argv[optind] : NULL;
    if (o->serve && (o->start.config || o->start.run || o->start.n_sets > 0 || o->start.resume ||
                     o->start.eval_only || o->start.from)) {
        return err_set(
            e, ERR_USAGE,
            "--serve DIR goes with --bind, --status and --keys only; tasks are submitted");
    }
    if (o->serve) {
        return OK;
    }
    if (argc - optind > 1) {
        return err_set(e, ERR_USAGE, "one CONFIG is wanted, then comes %s", argv[optind + 1]);
    }
    if (!o->start.config && !(o->start.eval_only && o->start.from)) {
        return err_set(e, ERR_USAGE, "a CONFIG is needed");
    }
    if (!o->start.run) {
        return err_set(e, ERR_USAGE, "--out RUN is needed");
    }
    if (o->start.goes_back && (!o->start.resume || o->start.eval_only)) {
        return err_set(e, ERR_USAGE, "--from-step goes with --resume of a training run");
    }
    if (o->start.steer_values && (o->start.answers || o->start.n_steers > 0)) {
        return err_set(e, ERR_USAGE, "--steer-values goes with --eval-only and without --steer");
    }
    if (o->start.steer_values && o->start.ask.task != EVAL_SELECT) {
        return err_set(e, ERR_USAGE, "--steer-values goes with --task select alone");
    }
    if ((o->start.from || o->start.n_steers > 0 || o->start.steer_values) && !o->start.eval_only) {
        return err_set(e, ERR_USAGE, "--from and --steer go with --eval-only or --ask");
    }
    if (o->asked && (!o->start.eval_only || o->start.answers)) {
        return err_set(e, ERR_USAGE,
                       "what an evaluation asks (--task and the like) goes with --eval-only");
    }
    enum err error = o->bind ? address_check_bind(o->bind, o->keys != NULL, e) : OK;
    return error == OK && o->status ? address_check_bind(o->status, o->keys != NULL, e) : error;
}

/* The coordinator's own key, from the folder of keys. */
static enum err read_key(struct options *o, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_join(path, o->keys, "server.key", e);
    if (error == OK && !file_exists(path)) {
        error =
            err_set(e, ERR_NOT_FOUND, "%s: is not there; pft keys init %s makes it", path, o->keys);
    }
    if (error == OK) {
        error = key_file_read(path, &o->key, e);
    }
    if (error == OK && o->key.role != KEY_COORDINATOR) {
        error = err_set(e, ERR_REFUSED, "%s: is the key of %s '%s', not a coordinator's", path,
                        key_role_name(o->key.role), o->key.name);
    }
    return error;
}

static struct serving_keys keys_of(const struct options *o)
{
    return (struct serving_keys){.key = o->keys ? &o->key : NULL, .folder = o->keys};
}

/* A connection is a descriptor: room for as many as the system lets us have. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum err serve(const struct options *o, struct start *start, struct address_file *address,
                      struct phases_outcome *outcome, struct errbuf *e)
{
    const struct serving_keys keys = keys_of(o);
    struct serving serving = {0};
    enum err error =
        address_file_choose(o->start.run, o->bind, o->status, o->keys != NULL, address, e);
    if (error == OK) {
        error = serving_open(start, o->start.run, o->start.eval_only, address, &keys, &serving, e);
    }
    struct server *server = serving.server;
    if (error == OK) {
        error = address_file_write(address, server_jobs_address(server),
                                   server_status_address(server), e);
    }
    if (error == OK) {
        log_event(LOG_INFO, "serving", "run=%s jobs=%s status=%s kernels=%s", o->start.run,
                  server_jobs_address(server), server_status_address(server), start->setup.kernels);
        phases_begin(serving.phases);
        server_run(server);
    }
    serving_close(&serving, outcome);
    address_file_remove(address, server != NULL);
    return error;
}

static enum exit_code conclude(const struct options *o, struct start *start,
                               const struct phases_outcome *outcome)
{
    struct errbuf e = {{0}};
    enum err error = OK;
    if (outcome->end == PHASES_STOPPED) {
        log_event(LOG_INFO, "stopped", "go on with --resume");
        return EXIT_STOPPED;
    }
    if (outcome->end == PHASES_FAILED) {
        (void)fprintf(stderr, "pft-coordinator: %s\n", outcome->why.text);
        return EXIT_ERROR;
    }
    if (o->start.answers) {
        return EXIT_FINISHED;
    }
    if (o->start.eval_only) {
        bool written =
            outcome->eval.len > 0 && puts(outcome->eval.data) >= 0 && fflush(stdout) == 0;
        return written ? EXIT_FINISHED : EXIT_ERROR;
    }
    FAILPOINT("report.before");
    error = summary_write(start, o->start.run, outcome, true, &e);
    if (error != OK) {
        (void)fprintf(stderr, "pft-coordinator: %s\n", e.text);
    }
    return error == OK ? EXIT_FINISHED : EXIT_ERROR;
}

static enum exit_code explain(enum err error, const struct errbuf *e)
{
    (void)fprintf(stderr, "pft-coordinator: %s\n", e->text[0] ? e->text : err_text(error));
    return error == ERR_USAGE                          ? EXIT_USAGE
           : error == ERR_REFUSED || error == ERR_BUSY ? EXIT_REFUSED
                                                       : EXIT_ERROR;
}

static enum exit_code keep_tasks(const struct options *o)
{
    struct errbuf e = {{0}};
    bool left = false;
    const struct fleet_options fleet = {
        .dir = o->serve, .bind = o->bind, .status = o->status, .keys = keys_of(o)};
    enum err error = fleet_run(&fleet, &left, &e);
    return error != OK ? explain(error, &e) : left ? EXIT_STOPPED : EXIT_FINISHED;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct start start = {0};
    struct address_file address;
    struct phases_outcome outcome = {0};
    struct errbuf e = {{0}};
    const bool begun = program_begin("pft-coordinator", &argc, &argv);
    log_init("coordinator", LOG_INFO);
    program_pauses();
    if (!begun) {
        return EXIT_STOPPED;
    }
    (void)umask(077);
    enum err error = FAILPOINT_SETUP("coordinator", &e);
    if (error == OK) {
        error = parse(argc, argv, &o, &e);
    }
    if (error == OK && o.keys) {
        error = read_key(&o, &e);
    }
    raise_descriptors();
    if (error == OK && o.serve) {
        enum exit_code code = keep_tasks(&o);
        key_clear(&o.key);
        return code;
    }
    if (error == OK) {
        error = start_open(&o.start, &start, &e);
    }
    if (error == OK && o.start.count) {
        error = eval_work_count(&start, &outcome.eval, &e);
        outcome.end = PHASES_FINISHED;
    } else if (error == OK) {
        error = serve(&o, &start, &address, &outcome, &e);
    }
    enum exit_code code = error == OK ? conclude(&o, &start, &outcome) : explain(error, &e);
    str_free(&outcome.eval);
    key_clear(&o.key);
    bool discard = error != OK && start.fresh;
    start_free(&start);
    if (discard) {
        journal_discard(o.start.run);
    }
    return code;
}
