/* fleet.c - one task after another. */
#include "coordinator/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "coordinator/fleet_state.h"
#include "coordinator/summary.h"
#include "coordinator/task_folder.h"

enum { REPORTS_MAX = 2048 };

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

bool fleet_save(struct fleet *f, struct task_order *order, const struct clerk_tag *tag)
{
    static const struct clerk_tag nobody = {.what = CLERK_NOBODY};
    enum err error = clerk_save(f->clerk, &f->list, order, tag ? tag : &nobody);
    f->saves += error == OK;
    f->unsaved = f->unsaved || (error != OK && !tag);
    return error == OK;
}

/* The end of everything: what the disk holds must be read anew before anything goes on. */
static void give_up(struct fleet *f, enum err error, const char *why)
{
    if (f->failed == OK) {
        f->failed = error;
        (void)err_set(&f->why, error, "%s", why);
        log_event(LOG_ERROR, "disk_failed", "%s", why);
    }
    f->stopping = true;
}

static void end_task(struct fleet *f, enum task_state state, const char *text)
{
    task_list_end(&f->list, f->task, state, text, now_s());
    const struct task_info *info = task_list_find(&f->list, f->task);
    log_event(state == TASK_FAILED ? LOG_ERROR : LOG_INFO, "task_ended", "task=%llu state=%s %s",
              (unsigned long long)f->task, info ? task_state_name(info->state) : "-", text);
    f->state = FLEET_ENDING;
    (void)fleet_save(f, NULL, NULL);
}

/* Closed without a word about how it ended: it goes on after a restart, or was cancelled. */
static void leave_task(struct fleet *f)
{
    const struct task_info *info = task_list_find(&f->list, f->task);
    if (info && info->state == TASK_CANCELLED) {
        log_event(LOG_INFO, "task_ended", "task=%llu state=cancelled", (unsigned long long)f->task);
    }
    f->state = FLEET_IDLE;
    f->task = 0;
}

static bool cancelled(const struct fleet *f)
{
    const struct task_info *info = task_list_find(&f->list, f->task);
    return !info || info->state == TASK_CANCELLED;
}

/* A full disk, before anything of the task was lost: it stays the running one, and is opened again
 * once the list can be written. */
static void wait_for_room(struct fleet *f, const char *why)
{
    log_event(LOG_ERROR, "task_waits", "task=%llu %s", (unsigned long long)f->task, why);
    (void)snprintf(f->trouble, sizeof f->trouble, "%s", why);
    f->unsaved = true;
    leave_task(f);
}

static enum err write_result(struct opened *run, const struct phases_outcome *outcome,
                             struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_join(path, run->run, task_folder_result(run->sort), e);
    if (error == OK && FAILPOINT_FAILS("task.result")) {
        return err_set(e, err_from_errno(errno), "%s: cannot be written: %s", path,
                       strerror(errno));
    }
    if (error == OK) {
        error = run->sort == TASK_EVALUATE
                    ? file_write_atomic(path, outcome->eval.data, outcome->eval.len, e)
                    : summary_write(&run->start, run->run, outcome, false, e);
    }
    FAILPOINT("task.result_written");
    return error;
}

static void conclude(struct fleet *f, const struct phases_outcome *outcome)
{
    struct errbuf e = {{0}};
    enum err error = OK;
    if (cancelled(f) || outcome->end == PHASES_STOPPED) {
        leave_task(f);
        return;
    }
    if (outcome->disk_failed) {
        give_up(f, ERR_IO, outcome->why.text);
        leave_task(f);
        return;
    }
    if (outcome->end == PHASES_FAILED) {
        end_task(f, TASK_FAILED, outcome->why.text);
        return;
    }
    error = write_result(f->run, outcome, &e);
    if (error == ERR_IO) {
        give_up(f, error, e.text);
        leave_task(f);
        return;
    }
    if (error == ERR_NOSPACE) {
        wait_for_room(f, e.text);
        return;
    }
    end_task(f, error == OK ? TASK_FINISHED : TASK_FAILED, error == OK ? "" : e.text);
}

static void on_task_over(void *ctx)
{
    struct fleet *f = ctx;
    struct phases_outcome outcome;
    CHECK(f->state == FLEET_RUNNING);
    server_waits_for(f->server, f->stopping ? "the coordinator is stopping" : "no task is open");
    phases_close(&f->phases, &outcome);
    server_task_close(f->server, "the task is over: the next one is waited for");
    f->events = (struct server_events){0};
    conclude(f, &outcome);
    str_free(&outcome.eval);
    opened_free(f->run, false);
    f->run = NULL;
    fleet_go_on(f);
}

/* From an open start to a task that runs; on an error nothing is left of it. */
static enum err run_task(struct fleet *f, struct opened *run, struct errbuf *e)
{
    struct phases_outcome outcome;
    run_settings_fill(&f->settings, &run->start);
    enum err error = phases_open(&run->start, run->run, run->sort == TASK_EVALUATE, &f->phases, e);
    if (error == OK) {
        f->events = phases_events(f->phases);
        error = server_task_open(f->server, &f->settings.server, &f->events, e);
    }
    bool open = error == OK;
    if (error == OK) {
        error = phases_attach(f->phases, f->server, e);
    }
    if (error == OK) {
        f->run = run;
        f->state = FLEET_RUNNING;
        phases_begin(f->phases);
        return OK;
    }
    phases_close(&f->phases, &outcome);
    if (open) {
        server_task_close(f->server, "the task could not be opened");
    }
    return error;
}

static void on_opened(struct fleet *f, struct opened *o)
{
    opener_join(&f->opener);
    CHECK(f->state == FLEET_OPENING && o->id == f->task);
    if (cancelled(f) || f->stopping) {
        bool discard = cancelled(f);
        leave_task(f);
        opened_free(o, discard);
    } else if (o->code == OK && !o->complete) {
        log_event(LOG_INFO, "task_begins", "task=%llu sort=%s run=%s", (unsigned long long)o->id,
                  task_sort_name(o->sort), o->run);
        enum err error = run_task(f, o, &o->text);
        if (error != OK) {
            end_task(f, TASK_FAILED, o->text.text);
            opened_free(o, true);
        }
    } else if (o->code == ERR_NOSPACE) {
        wait_for_room(f, o->text.text);
        opened_free(o, true);
    } else {
        end_task(f, o->code == OK ? TASK_FINISHED : TASK_FAILED, o->code == OK ? "" : o->text.text);
        opened_free(o, true);
    }
    fleet_go_on(f);
}

static void opened_ready(void *ctx)
{
    struct fleet *f = ctx;
    struct letter *l = mailbox_take(f->opened);
    if (l) {
        on_opened(f, (struct opened *)l);
    }
}

static void saved_ready(void *ctx)
{
    struct fleet *f = ctx;
    for (struct letter *l = mailbox_take(f->saved); l; l = mailbox_take(f->saved)) {
        struct clerk_report *r = (struct clerk_report *)l;
        if (r->verb == CLERK_SAVE) {
            f->saves--;
            if (r->code == ERR_IO && !r->orderless) {
                give_up(f, r->code, r->text.text);
            } else if (r->code != OK) {
                log_event(LOG_ERROR, "list_unsaved", "%s", r->text.text);
                (void)snprintf(f->trouble, sizeof f->trouble, "%s", r->text.text);
                f->unsaved = true;
            } else if (f->saves == 0 && !f->unsaved) {
                f->trouble[0] = '\0';
            }
        }
        fleet_answer(f, r);
        clerk_report_free(r);
    }
    fleet_go_on(f);
}

static void begin_next(struct fleet *f)
{
    const struct task_info *next = task_list_next(&f->list);
    if (!next) {
        server_waits_for(f->server, "no task is open");
        return;
    }
    server_waits_for(f->server, "the next task is being opened");
    f->task = next->id;
    f->state = FLEET_BEGINNING;
    task_list_begin(&f->list, next->id, now_s());
    (void)fleet_save(f, NULL, NULL);
}

/* The list is on disk as it is in memory. */
static bool saved(const struct fleet *f)
{
    return f->saves == 0 && !f->unsaved;
}

static void open_task(struct fleet *f)
{
    const struct task_info *info = task_list_find(&f->list, f->task);
    if (cancelled(f)) {
        leave_task(f);
        return;
    }
    if (opener_begin(&f->opener, f->dir, f->task, info->sort, f->opened) == OK) {
        f->state = FLEET_OPENING;
    } else {
        end_task(f, TASK_FAILED, "no memory, or no thread, to open it");
    }
}

static void stop_when_quiet(struct fleet *f)
{
    bool quiet = f->state != FLEET_OPENING && f->state != FLEET_RUNNING;
    if (quiet && (f->saves == 0 || f->failed != OK) && !f->ended) {
        f->ended = true;
        server_end(f->server, WIRE_PARTING_SHUTDOWN, "the coordinator was told to stop");
    }
}

void fleet_go_on(struct fleet *f)
{
    if (f->stopping) {
        stop_when_quiet(f);
        return;
    }
    if (!saved(f)) {
        return;
    }
    if (f->state == FLEET_ENDING) {
        leave_task(f);
    }
    if (f->state == FLEET_BEGINNING) {
        open_task(f);
    }
    if (f->state == FLEET_IDLE) {
        begin_next(f);
    }
}

void fleet_stop_task(struct fleet *f)
{
    if (f->state == FLEET_RUNNING) {
        f->events.signal(f->events.ctx);
    }
}

static void on_signal(void *ctx)
{
    struct fleet *f = ctx;
    f->stopping = true;
    fleet_stop_task(f);
    fleet_go_on(f);
}

static void on_tick(void *ctx, uint64_t now_ms)
{
    struct fleet *f = ctx;
    if (f->state == FLEET_RUNNING) {
        f->events.tick(f->events.ctx, now_ms);
    }
    if (f->unsaved && f->saves == 0 && f->failed == OK) {
        f->unsaved = false;
        (void)fleet_save(f, NULL, NULL);
    }
    if (f->stopping && f->failed != OK) {
        fleet_stop_task(f);
    }
    fleet_go_on(f);
}

static enum err open_all(struct fleet *f, const struct fleet_options *o, struct errbuf *e)
{
    const struct server_owner owner = {.ctx = f,
                                       .task_over = on_task_over,
                                       .status = fleet_status,
                                       .command = fleet_command,
                                       .signal = on_signal,
                                       .tick = on_tick};
    enum err error = mailbox_open(REPORTS_MAX, &f->saved);
    if (error == OK) {
        error = mailbox_open(REPORTS_MAX, &f->opened);
    }
    if (error != OK) {
        return err_set(e, error, "no memory for the fleet");
    }
    error = clerk_open(o->dir, f->saved, &f->list, &f->clerk, e);
    if (error == OK) {
        error =
            address_file_choose(o->dir, o->bind, o->status, o->keys.key != NULL, &f->address, e);
    }
    if (error == OK) {
        const struct server_doors doors = {.bind = f->address.jobs,
                                           .status = f->address.status,
                                           .key = o->keys.key,
                                           .keys_folder = o->keys.folder};
        error = server_open_standing(&doors, &owner, &f->server, e);
    }
    if (error == OK && (server_attach(f->server, f->saved, saved_ready, f) != OK ||
                        server_attach(f->server, f->opened, opened_ready, f) != OK)) {
        error = err_set(e, ERR_NOMEM, "cannot attach the mailboxes");
    }
    return error == OK ? address_file_write(&f->address, server_jobs_address(f->server),
                                            server_status_address(f->server), e)
                       : error;
}

static void close_all(struct fleet *f, bool *left)
{
    bool served = f->server != NULL;
    *left = task_list_next(&f->list) != NULL;
    opener_join(&f->opener);
    clerk_close(&f->clerk);
    mailbox_close(&f->saved);
    mailbox_close(&f->opened);
    server_close(&f->server);
    if (f->address.path[0] != '\0') {
        address_file_remove(&f->address, served);
    }
    task_list_free(&f->list);
}

enum err fleet_run(const struct fleet_options *o, bool *left, struct errbuf *e)
{
    struct fleet *f = mem_calloc(1, sizeof *f);
    *left = false;
    if (!f) {
        return err_set(e, ERR_NOMEM, "no memory for the fleet");
    }
    f->dir = o->dir;
    enum err error = open_all(f, o, e);
    if (error == OK) {
        log_event(LOG_INFO, "serving", "dir=%s jobs=%s status=%s tasks=%zu", o->dir,
                  server_jobs_address(f->server), server_status_address(f->server), f->list.n);
        fleet_go_on(f);
        server_run(f->server);
        error = f->failed;
        *e = f->why;
    }
    close_all(f, left);
    mem_free(f);
    return error;
}
