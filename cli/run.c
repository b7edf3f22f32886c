/* run.c - pft run: a local coordinator, N one-slot workers, a progress line, one exit code.
 * Owns: the processes it starts. Never: trains; the coordinator and the workers do.
 * The coordinator prints the closing table to stdout; logs go to RUN/logs/. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "cli/args.h"
#include "cli/children.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/status.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/format/model_default.h"
#include "coordinator/config.h"

enum {
    TICK_MS = 250,
    STATUS_TIMEOUT_MS = 200,
    MAX_WORKERS = 256,
    RESTARTS = 3,
    ADDRESS_FILE_BYTES = 1 << 16
};

struct run_options {
    const char *config, *out, *workers;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool resume;
};

struct worker_child {
    struct child child;
    int restarts;
};

struct local_run {
    uv_loop_t loop;
    uv_timer_t tick;
    uv_signal_t interrupt, terminate;
    struct child coordinator;
    struct worker_child *workers; /* [n_workers] */
    uint32_t n_workers;
    bool workers_started;
    int interrupts;
    char bin[FILE_PATH_BYTES], out[FILE_PATH_BYTES], model[FILE_PATH_BYTES];
    char jobs[ADDRESS_BYTES], status[ADDRESS_BYTES]; /* from address.json */
    struct progress progress;
    struct errbuf error;
};

static enum err read_options(struct run_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--workers", "N", "one-slot workers to start (default: one per core)", &o->workers, NULL,
         NULL},
        {"--out", "RUN", "folder of the run (default: runs/<name of the config>)", &o->out, NULL,
         NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--resume", NULL, "go on with the unfinished run in RUN", NULL, NULL, &o->resume},
    };
    struct args a = {.usage = "pft run CONFIG [--workers N] [--set KEY=VALUE]... [--out RUN]",
                     .what = "Evaluates, trains, evaluates again and exports, on local workers.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one CONFIG is needed, %d words were given; usage: %s",
                        a.n_positional, a.usage);
    }
    o->config = a.positional[0];
    return error;
}

/* runs/<config name without .yaml> when --out is not given. */
static enum err choose_out(struct local_run *r, const struct run_options *o, struct errbuf *e)
{
    if (o->out) {
        int n = snprintf(r->out, sizeof r->out, "%s", o->out);
        return n < FILE_PATH_BYTES ? OK : err_set(e, ERR_RANGE, "--out is too long a path");
    }
    const char *slash = strrchr(o->config, '/');
    const char *name = slash ? slash + 1 : o->config;
    const char *dot = strrchr(name, '.');
    int n = snprintf(r->out, sizeof r->out, "runs/%.*s",
                     (int)(dot && dot != name ? (size_t)(dot - name) : strlen(name)), name);
    return n < FILE_PATH_BYTES ? OK : err_set(e, ERR_RANGE, "config path is too long");
}

static enum err check_out(const struct local_run *r, const struct run_options *o, struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    char report[FILE_PATH_BYTES];
    enum err error = file_join(db, r->out, "run.db", e);
    if (error == OK) {
        error = file_join(report, r->out, "report.md", e);
    }
    if (error != OK || o->resume == file_exists(db)) {
        return error;
    }
    if (o->resume) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no run to resume; leave --resume out",
                       r->out);
    }
    return err_set(e, ERR_REFUSED,
                   file_exists(report) ? "%s holds a finished run; choose another --out"
                                       : "%s holds an unfinished run; add --resume to go on with "
                                         "it, or choose another --out",
                   r->out);
}

static void child_ended(struct child *child, void *context);

static enum err start_coordinator(struct local_run *r, const struct run_options *o,
                                  struct errbuf *e)
{
    const char *argv[ARGS_REPEATS * 2 + 8];
    int n = 1;
    argv[n++] = o->config;
    argv[n++] = "--out";
    argv[n++] = r->out;
    if (o->resume) {
        argv[n++] = "--resume";
    }
    for (int i = 0; i < o->n_sets; i++) {
        argv[n++] = "--set";
        argv[n++] = o->sets[i];
    }
    argv[n] = NULL;
    r->coordinator.on_end = child_ended;
    r->coordinator.context = r;
    return child_start(&r->loop, &r->coordinator, r->bin, "pft-coordinator", argv, e);
}

static enum err start_worker(struct local_run *r, uint32_t i, struct errbuf *e)
{
    const char *argv[] = {NULL, r->jobs, "--model", r->model, NULL};
    struct child *child = &r->workers[i].child;
    child->on_end = child_ended;
    child->context = r;
    return child_start(&r->loop, child, r->bin, "pft-worker", argv, e);
}

static void stop_loop(struct local_run *r)
{
    (void)uv_timer_stop(&r->tick);
    for (uint32_t i = 0; i < r->n_workers; i++) {
        if (r->workers[i].child.started && !r->workers[i].child.ended) {
            return;
        }
    }
    if (r->coordinator.ended) {
        uv_stop(&r->loop);
    }
}

static void child_ended(struct child *child, void *context)
{
    struct local_run *r = context;
    if (child == &r->coordinator) {
        for (uint32_t i = 0; i < r->n_workers; i++) {
            child_signal(&r->workers[i].child, SIGTERM);
        }
        stop_loop(r);
        return;
    }
    if (r->coordinator.ended) {
        stop_loop(r);
        return;
    }
    for (uint32_t i = 0; i < r->n_workers && r->interrupts == 0; i++) {
        struct worker_child *w = &r->workers[i];
        if (child != &w->child || child->exit_code == 0) {
            continue;
        }
        progress_end(&r->progress);
        (void)fprintf(stderr, "pft: worker %u ended with exit code %d\n", i + 1,
                      (int)child->exit_code);
        child_print_tail(child);
        bool again = child->exit_code != 2 && child->exit_code != 3 && w->restarts++ < RESTARTS;
        if (!again || start_worker(r, i, &r->error) != OK) {
            (void)fprintf(stderr, "pft: worker %u is not started again\n", i + 1);
        }
    }
}

/* True once RUN/address.json of this coordinator is there. */
static bool read_addresses(struct local_run *r)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    if (file_join(path, r->out, "address.json", NULL) != OK || !file_exists(path) ||
        file_read(path, ADDRESS_FILE_BYTES, &text, &bytes, NULL) != OK) {
        return false;
    }
    json_t *root = json_loadb(text, bytes, 0, NULL);
    mem_free(text);
    const char *jobs = json_string_value(json_object_get(root, "jobs"));
    const char *status = json_string_value(json_object_get(root, "status"));
    json_int_t pid = json_integer_value(json_object_get(root, "pid"));
    bool ready = jobs && status && pid == r->coordinator.process.pid;
    if (ready) {
        (void)snprintf(r->jobs, sizeof r->jobs, "%s", jobs);
        (void)snprintf(r->status, sizeof r->status, "%s", status);
    }
    json_decref(root);
    return ready;
}

static void on_tick(uv_timer_t *timer)
{
    struct local_run *r = timer->data;
    if (!r->workers_started) {
        if (!read_addresses(r)) {
            return;
        }
        r->workers_started = true;
        for (uint32_t i = 0; i < r->n_workers; i++) {
            if (start_worker(r, i, &r->error) != OK) {
                (void)fprintf(stderr, "pft: %s\n", r->error.text);
            }
        }
        return;
    }
    struct status s = {0};
    if (status_fetch(r->status, &s, STATUS_TIMEOUT_MS, NULL) == OK) {
        progress_show(&r->progress, &s, clock_now_ms());
        status_free(&s);
    }
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct local_run *r = handle->data;
    progress_end(&r->progress);
    if (r->interrupts++ == 0) {
        (void)fprintf(stderr, "pft: stopping; go on later with --resume (once more: at once)\n");
        child_signal(&r->coordinator, SIGTERM);
        return;
    }
    child_signal(&r->coordinator, SIGKILL);
    for (uint32_t i = 0; i < r->n_workers; i++) {
        child_signal(&r->workers[i].child, SIGKILL);
    }
    (void)signum;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static int run_loop(struct local_run *r)
{
    r->tick.data = r->interrupt.data = r->terminate.data = r;
    (void)uv_timer_init(&r->loop, &r->tick);
    (void)uv_signal_init(&r->loop, &r->interrupt);
    (void)uv_signal_init(&r->loop, &r->terminate);
    (void)uv_signal_start(&r->interrupt, on_signal, SIGINT);
    (void)uv_signal_start(&r->terminate, on_signal, SIGTERM);
    (void)uv_timer_start(&r->tick, on_tick, 50, TICK_MS);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    progress_end(&r->progress);
    uv_walk(&r->loop, close_handle, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&r->loop);
    if (r->coordinator.exit_code != 0 && r->interrupts == 0) {
        (void)fprintf(stderr,
                      "pft: the coordinator ended with exit code %d; its last words (%s):\n",
                      (int)r->coordinator.exit_code, r->coordinator.log);
        child_print_tail(&r->coordinator);
    }
    return r->interrupts > 0 ? CLI_INTERRUPTED : (int)r->coordinator.exit_code;
}

static enum err prepare_logs(struct local_run *r, struct errbuf *e)
{
    char logs[FILE_PATH_BYTES];
    enum err error = file_join(logs, r->out, "logs", e);
    if (error == OK) {
        error = file_make_folder(logs, e);
    }
    if (error == OK) {
        error = file_join(r->coordinator.log, logs, "coordinator.log", e);
    }
    for (uint32_t i = 0; i < r->n_workers && error == OK; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "worker-%u.log", i + 1);
        error = file_join(r->workers[i].child.log, logs, name, e);
    }
    return error;
}

static enum err prepare(struct local_run *r, const struct run_options *o, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    long workers = sysconf(_SC_NPROCESSORS_ONLN);
    enum err error = config_load(o->config, o->sets, o->n_sets, &cfg, e);
    if (error == OK) {
        error = model_resolve(cfg->model_path, r->model, e);
    }
    config_free(&cfg);
    if (error == OK && o->workers) {
        error = args_number("--workers", o->workers, 0, MAX_WORKERS, &workers, e);
    }
    if (error == OK) {
        error = choose_out(r, o, e);
    }
    if (error == OK) {
        error = check_out(r, o, e);
    }
    if (error == OK) {
        error = children_folder(r->bin, e);
    }
    r->n_workers = (uint32_t)workers;
    r->workers = mem_calloc((size_t)workers, sizeof *r->workers);
    if (error == OK && !r->workers) {
        error = err_set(e, ERR_NOMEM, "no memory for %ld workers", workers);
    }
    return error == OK ? prepare_logs(r, e) : error;
}

int cli_run(int argc, char **argv)
{
    struct run_options o = {0};
    struct errbuf e = {0};
    enum err error = read_options(&o, argc, argv, &e);
    if (error != OK) {
        if (error == ERR_STATE) {
            return CLI_OK;
        }
        (void)fprintf(stderr, "pft run: %s\n", e.text);
        return CLI_USAGE;
    }
    struct local_run *r = mem_calloc(1, sizeof *r);
    error = r ? prepare(r, &o, &e) : ERR_NOMEM;
    int code = CLI_FAILED;
    if (error == OK) {
        progress_init(&r->progress);
        (void)uv_loop_init(&r->loop);
        error = start_coordinator(r, &o, &e);
    }
    if (error == OK) {
        code = run_loop(r);
    } else {
        (void)fprintf(stderr, "pft run: %s\n", e.text[0] ? e.text : err_text(error));
        code = error == ERR_REFUSED ? CLI_REFUSED : CLI_FAILED;
    }
    if (r) {
        mem_free(r->workers);
    }
    mem_free(r);
    return code;
}
