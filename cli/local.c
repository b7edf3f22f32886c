/* local.c - children of pft: one coordinator, N workers, one progress line. */
#include "cli/local.h"

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
#include "cli/scale_file.h"
#include "cli/status.h"
#include "cli/talk.h"
#include "common/base/clock.h"
#include "common/base/cpus.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

enum {
    TICK_MS = 250,
    LOOK_MS = 20, /* until the coordinator listens */
    ASK_TIMEOUT_MS = 200,
    ALONE_MS = 60000, /* after the workers said goodbye the coordinator has so long to end */
    RESTARTS = 3,
    ADDRESS_FILE_BYTES = 1 << 16,
    COORDINATOR_STOPPED = 5, /* its exit code after a signal */
    WORKER_RUN_FAILED = 6,   /* its exit code when the coordinator said that the run failed */
};

struct worker_child {
    struct child child;
    int restarts;
    bool retired; /* told to drain by pft scale: its end is not to be mended */
};

struct local_run {
    uv_loop_t loop;
    uv_timer_t tick;
    uv_signal_t interrupt, terminate, stop;
    struct child coordinator;
    struct worker_child *workers; /* [LOCAL_WORKERS_MAX]: libuv holds pointers into it */
    uint32_t n_workers;           /* that were ever started, or will be */
    uint32_t wanted;
    struct scale_state shown; /* as last published */
    bool workers_started;
    int interrupts;
    uint64_t alone_ms;         /* since when no worker is left; 0: some are */
    bool gave_up;              /* no worker is left */
    char reason[ERRBUF_BYTES]; /* of the last worker that failed */
    const struct local_options *options;
    char bin[FILE_PATH_BYTES];
    char jobs[ADDRESS_BYTES], status[ADDRESS_BYTES]; /* from address.json */
    struct progress progress;
    uv_work_t look; /* asks for the status in libuv's pool: the loop waits for nobody */
    bool looking;
    enum err looked;
    struct status seen;
    struct errbuf error;
};

static void child_ended(struct child *child, void *context);

static enum err start_coordinator(struct local_run *r, struct errbuf *e)
{
    const char **argv = mem_calloc((size_t)r->options->n_words + 4, sizeof *argv);
    int n = 1;
    if (!argv) {
        return err_set(e, ERR_NOMEM, "no memory for %d words", r->options->n_words);
    }
    for (int i = 0; i < r->options->n_words; i++) {
        argv[n++] = r->options->words[i];
    }
    argv[n++] = "--out";
    argv[n++] = r->options->out;
    argv[n] = NULL;
    r->coordinator.on_end = child_ended;
    r->coordinator.context = r;
    r->coordinator.capture = r->options->capture;
    if (r->options->talk) {
        talk_open(r->options->talk, &r->loop, &r->coordinator);
    }
    enum err error = child_start(&r->loop, &r->coordinator, r->bin, "pft-coordinator", argv, e);
    mem_free(argv);
    if (error == OK && r->options->talk) {
        talk_begin(r->options->talk);
    }
    return error;
}

static enum err start_worker(struct local_run *r, uint32_t i, struct errbuf *e)
{
    char slots[16];
    char threads[16];
    const char *checkpointing = r->options->checkpointing ? "--gradient-checkpointing" : NULL;
    const char *argv[] = {NULL,  r->jobs,     "--model", r->options->model, "--slots",
                          slots, "--threads", threads,   checkpointing,     NULL};
    (void)snprintf(slots, sizeof slots, "%u", r->options->slots);
    (void)snprintf(threads, sizeof threads, "%u", r->options->threads);
    struct child *child = &r->workers[i].child;
    child->on_end = child_ended;
    child->context = r;
    return child_start(&r->loop, child, r->bin, "pft-worker", argv, e);
}

static bool lives(const struct worker_child *w)
{
    return w->child.started && !w->child.ended;
}

static struct scale_state count_workers(const struct local_run *r)
{
    struct scale_state s = {.pid = (long)getpid(), .wanted = r->wanted};
    for (uint32_t i = 0; i < r->n_workers; i++) {
        bool alive = lives(&r->workers[i]);
        s.running += alive && !r->workers[i].retired;
        s.draining += alive && r->workers[i].retired;
    }
    return s;
}

static bool workers_left(const struct local_run *r)
{
    const struct scale_state s = count_workers(r);
    return s.running + s.draining > 0;
}

static void stop_loop(struct local_run *r)
{
    (void)uv_timer_stop(&r->tick);
    if (r->coordinator.ended && !workers_left(r)) {
        uv_stop(&r->loop);
    }
}

/* Without a worker of ours nothing would ever happen again: the run is stopped, it can go on. */
static void give_up_without_workers(struct local_run *r)
{
    if (!workers_left(r) && !r->gave_up && r->interrupts == 0) {
        r->gave_up = true;
        (void)fprintf(stderr, "pft: no worker is left, stopping the coordinator\n");
        child_signal(&r->coordinator, SIGTERM);
    }
}

/* Sent home by the coordinator, which ends by itself: nothing is to be done about it. */
static bool said_goodbye(const struct child *worker)
{
    return worker->exit_code == 0 || worker->exit_code == WORKER_RUN_FAILED;
}

/* False: it failed for the reason that a worker before it had, which nothing will mend; that has
 * been shown. */
static bool tell_end(struct local_run *r, uint32_t i)
{
    const struct child *child = &r->workers[i].child;
    char how[CHILD_TEXT_BYTES];
    char reason[ERRBUF_BYTES];
    child_describe(child, how);
    child_reason(child, reason);
    const bool known = reason[0] != '\0' && strcmp(reason, r->reason) == 0;
    (void)fprintf(stderr, "pft: worker %u %s%s\n", i + 1, how,
                  known ? ", for the same reason" : "");
    if (!known) {
        child_print_tail(child);
    }
    (void)snprintf(r->reason, sizeof r->reason, "%s", reason);
    return !known;
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
        if (child != &w->child || said_goodbye(child) || w->retired) {
            continue;
        }
        progress_end(&r->progress);
        bool again = tell_end(r, i) && child->exit_code != 2 && child->exit_code != 3 &&
                     w->restarts++ < RESTARTS;
        if (!again || start_worker(r, i, &r->error) != OK) {
            (void)fprintf(stderr, "pft: worker %u is not started again\n", i + 1);
        }
    }
    if (!said_goodbye(child)) {
        give_up_without_workers(r);
    }
}

static enum err log_of(const struct local_run *r, uint32_t i, char path[FILE_PATH_BYTES],
                       struct errbuf *e)
{
    char logs[FILE_PATH_BYTES];
    char name[32];
    enum err error = file_join(logs, r->options->out, "logs", e);
    (void)snprintf(name, sizeof name, "worker-%u.log", i + 1);
    return error == OK ? file_join(path, logs, name, e) : error;
}

/* One more worker, in the first place that is free. */
static enum err add_worker(struct local_run *r, struct errbuf *e)
{
    uint32_t i = 0;
    while (i < r->n_workers && (lives(&r->workers[i]) || !r->workers[i].retired)) {
        i++;
    }
    if (i == LOCAL_WORKERS_MAX) {
        return err_set(e, ERR_FULL, "%d workers, with those that drain, are the most",
                       LOCAL_WORKERS_MAX);
    }
    struct worker_child *w = &r->workers[i];
    r->n_workers = i == r->n_workers ? i + 1 : r->n_workers;
    w->retired = false;
    w->restarts = 0;
    enum err error = log_of(r, i, w->child.log, e);
    return error == OK ? start_worker(r, i, e) : error;
}

/* So many workers from now on: spare ones drain, the youngest first; missing ones start. */
static void scale_to(struct local_run *r, uint32_t wanted)
{
    struct scale_state s = count_workers(r);
    r->wanted = wanted;
    for (; s.running < wanted; s.running++) {
        if (add_worker(r, &r->error) != OK) {
            (void)fprintf(stderr, "pft: no more workers: %s\n", r->error.text);
            break;
        }
    }
    for (uint32_t i = r->n_workers; i-- > 0 && s.running > wanted;) {
        struct worker_child *w = &r->workers[i];
        if (lives(w) && !w->retired) {
            w->retired = true;
            child_signal(&w->child, SIGTERM);
            s.running--;
        }
    }
}

static void publish_workers(struct local_run *r)
{
    const struct scale_state s = count_workers(r);
    if (s.wanted != r->shown.wanted || s.running != r->shown.running ||
        s.draining != r->shown.draining) {
        if (scale_publish(r->options->out, &s, &r->error) != OK) {
            (void)fprintf(stderr, "pft: %s\n", r->error.text);
        }
        r->shown = s;
    }
}

/* True once RUN/address.json of this coordinator is there. */
static bool read_addresses(struct local_run *r)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    if (file_join(path, r->options->out, "address.json", NULL) != OK || !file_exists(path) ||
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

static void fetch(uv_work_t *work)
{
    struct local_run *r = work->data;
    const struct status_request ask = {.command = STATUS_ASK};
    r->looked = status_fetch(r->status, NULL, &ask, &r->seen, ASK_TIMEOUT_MS, NULL);
}

static void on_fetched(uv_work_t *work, int status)
{
    struct local_run *r = work->data;
    r->looking = false;
    if (status == 0 && r->looked == OK) {
        if (!r->coordinator.ended) {
            progress_show(&r->progress, &r->seen, clock_now_ms());
        }
        status_free(&r->seen);
    }
}

/* Shows how far the run is, when the answer comes. */
static void look(struct local_run *r)
{
    if (r->options->quiet || r->looking) {
        return;
    }
    r->seen = (struct status){0};
    r->look.data = r;
    r->looking = uv_queue_work(&r->loop, &r->look, fetch, on_fetched) == 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct local_run *r = timer->data;
    if (!r->workers_started) {
        if (!read_addresses(r)) {
            return;
        }
        r->workers_started = true;
        uv_timer_set_repeat(timer, TICK_MS);
        scale_to(r, r->wanted);
        publish_workers(r);
        return;
    }
    uint64_t now = clock_now_ms();
    uint32_t wanted;
    if (!r->coordinator.ended && r->interrupts == 0 &&
        scale_take(r->options->out, LOCAL_WORKERS_MAX, &wanted)) {
        progress_end(&r->progress);
        scale_to(r, wanted);
    }
    publish_workers(r);
    r->alone_ms = workers_left(r) ? 0 : r->alone_ms > 0 ? r->alone_ms : now;
    if (r->alone_ms > 0 && now - r->alone_ms > ALONE_MS) {
        give_up_without_workers(r);
    }
    look(r);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct local_run *r = handle->data;
    progress_end(&r->progress);
    if (r->interrupts++ == 0) {
        (void)fprintf(stderr, "pft: stopping%s%s (once more: at once)\n",
                      r->options->goes_on ? "; " : "",
                      r->options->goes_on ? r->options->goes_on : "");
        child_signal(&r->coordinator, SIGTERM);
        return;
    }
    child_signal(&r->coordinator, SIGKILL);
    for (uint32_t i = 0; i < r->n_workers; i++) {
        child_signal(&r->workers[i].child, SIGKILL);
    }
    (void)signum;
}

/* Ctrl-Z: the terminal tells pft alone, its children have sessions of their own. */
static void on_stop(uv_signal_t *handle, int signum)
{
    struct local_run *r = handle->data;
    (void)signum;
    progress_end(&r->progress);
    for (uint32_t i = 0; i < r->n_workers; i++) {
        child_signal(&r->workers[i].child, SIGTSTP);
    }
    child_signal(&r->coordinator, SIGTSTP);
    clock_pause(); /* until fg or bg */
    child_signal(&r->coordinator, SIGCONT);
    for (uint32_t i = 0; i < r->n_workers; i++) {
        child_signal(&r->workers[i].child, SIGCONT);
    }
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
    r->tick.data = r->interrupt.data = r->terminate.data = r->stop.data = r;
    (void)uv_timer_init(&r->loop, &r->tick);
    (void)uv_signal_init(&r->loop, &r->interrupt);
    (void)uv_signal_init(&r->loop, &r->terminate);
    (void)uv_signal_init(&r->loop, &r->stop);
    (void)uv_signal_start(&r->stop, on_stop, SIGTSTP);
    (void)uv_signal_start(&r->interrupt, on_signal, SIGINT);
    (void)uv_signal_start(&r->terminate, on_signal, SIGTERM);
    (void)uv_timer_start(&r->tick, on_tick, LOOK_MS, LOOK_MS);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    progress_end(&r->progress);
    uv_walk(&r->loop, close_handle, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&r->loop);
    if (r->gave_up) {
        if (r->reason[0] != '\0') {
            (void)fprintf(stderr, "pft: no worker could go on: %s\n", r->reason);
        }
        return CLI_FAILED;
    }
    if (r->coordinator.exit_code != 0 && r->interrupts == 0) {
        char how[CHILD_TEXT_BYTES];
        child_describe(&r->coordinator, how);
        (void)fprintf(stderr, "pft: the coordinator %s; its last words (%s):\n", how,
                      r->coordinator.log);
        child_print_tail(&r->coordinator);
    }
    bool stopped = r->interrupts > 0 || r->coordinator.exit_code == COORDINATOR_STOPPED;
    return stopped ? CLI_INTERRUPTED : (int)r->coordinator.exit_code;
}

static enum err prepare_logs(struct local_run *r, struct errbuf *e)
{
    char logs[FILE_PATH_BYTES];
    enum err error = file_join(logs, r->options->out, "logs", e);
    if (error == OK) {
        error = file_make_folder(logs, e);
    }
    if (error == OK) {
        error = file_join(r->coordinator.log, logs, "coordinator.log", e);
    }
    return error;
}

enum err local_shape(const char *workers, const char *slots, const char *threads,
                     struct local_options *o, struct errbuf *e)
{
    long s = 1;
    long t = 1;
    enum err error = slots ? args_number("--slots", slots, 1, LIMIT_SLOTS, &s, e) : OK;
    if (error == OK && threads) {
        error = args_number("--threads", threads, 1, LIMIT_THREADS, &t, e);
    }
    long n = (long)cpus_usable("") / (s * t);
    n = n < 1 ? 1 : n > LOCAL_WORKERS_MAX ? LOCAL_WORKERS_MAX : n;
    if (error == OK && workers) {
        error = args_number("--workers", workers, 1, LOCAL_WORKERS_MAX, &n, e);
    }
    o->workers = (uint32_t)n;
    o->slots = (uint32_t)s;
    o->threads = (uint32_t)t;
    return error;
}

enum err local_run(const struct local_options *o, int *code, struct errbuf *e)
{
    struct local_run *r = mem_calloc(1, sizeof *r);
    if (!r) {
        return err_set(e, ERR_NOMEM, "no memory to start the run");
    }
    r->options = o;
    r->wanted = o->workers;
    r->workers = mem_calloc(LOCAL_WORKERS_MAX, sizeof *r->workers);
    enum err error = r->workers ? OK : err_set(e, ERR_NOMEM, "no memory for the workers");
    if (error == OK) {
        error = children_folder(r->bin, e);
    }
    if (error == OK) {
        error = prepare_logs(r, e);
    }
    if (error == OK) {
        progress_init(&r->progress);
        (void)uv_loop_init(&r->loop);
        error = start_coordinator(r, e);
    }
    if (error == OK) {
        scale_remove(o->out); /* of a pft run that was killed */
        *code = run_loop(r);
        scale_remove(o->out);
    }
    mem_free(r->workers);
    mem_free(r);
    return error;
}
