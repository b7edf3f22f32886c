/* fleet_commands.c - submit, jobs, cancel and read, and what the status says of the tasks. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "coordinator/fleet_state.h"

static void say(struct status *status, enum status_outcome outcome, const char *text)
{
    status->outcome = outcome;
    (void)snprintf(status->answer, sizeof status->answer, "%s", text);
}

static bool submit(struct fleet *f, const struct socket_route *route, struct task_order *order,
                   struct status *status)
{
    struct errbuf e = {{0}};
    uint64_t before = f->list.last;
    struct clerk_tag tag = {.what = CLERK_SUBMIT, .route = *route};
    if (f->stopping) {
        say(status, STATUS_REFUSED, "the coordinator is stopping");
        return true;
    }
    enum err error = task_list_submit(&f->list, order, (uint64_t)time(NULL), &tag.task, &e);
    if (error != OK) {
        say(status, STATUS_REFUSED, e.text);
        return true;
    }
    tag.fresh = f->list.last != before;
    if (!fleet_save(f, tag.fresh ? order : NULL, &tag)) {
        if (tag.fresh) {
            task_list_forget(&f->list, tag.task);
        }
        say(status, STATUS_REFUSED, "too many requests wait for the disk: try again");
        return true;
    }
    return false;
}

static bool cancel(struct fleet *f, const struct socket_route *route, uint64_t id,
                   struct status *status)
{
    struct errbuf e = {{0}};
    const struct clerk_tag tag = {.what = CLERK_CANCEL, .route = *route, .task = id};
    enum err error = task_list_cancel(&f->list, id, (uint64_t)time(NULL), &e);
    if (error != OK) {
        say(status, error == ERR_NOT_FOUND ? STATUS_NOT_THERE : STATUS_REFUSED, e.text);
        return true;
    }
    if (!fleet_save(f, NULL, &tag)) {
        f->unsaved = true;
        say(status, STATUS_REFUSED, "it stops, but too many requests wait for the disk: try again");
    }
    if (id == f->task) {
        fleet_stop_task(f);
    }
    return status->outcome == STATUS_REFUSED;
}

static bool list_jobs(const struct fleet *f, struct status *status)
{
    status->tasks = mem_calloc(f->list.n, sizeof *status->tasks);
    for (size_t i = 0; status->tasks && i < f->list.n; i++) {
        status->tasks[status->n_tasks++] = f->list.tasks[i].info;
    }
    say(status, STATUS_DONE, "");
    return true;
}

static bool read_content(struct fleet *f, const struct socket_route *route,
                         const struct status_request *request, struct status *status)
{
    const struct task_info *info = task_list_find(&f->list, request->task);
    const struct clerk_tag tag = {.what = CLERK_CONTENT, .route = *route, .task = request->task};
    if (!info) {
        say(status, STATUS_NOT_THERE, "there is no such task");
        return true;
    }
    if (clerk_read(f->clerk, request->part, info->sort, request->offset, &tag) != OK) {
        say(status, STATUS_REFUSED, "too many requests wait for the disk: try again");
        return true;
    }
    return false;
}

bool fleet_command(void *ctx, const struct socket_route *route, struct status_request *request,
                   struct status *status)
{
    struct fleet *f = ctx;
    switch (request->command) {
    case STATUS_SUBMIT:
        return submit(f, route, &request->order, status);
    case STATUS_JOBS:
        return list_jobs(f, status);
    case STATUS_CANCEL:
        return cancel(f, route, request->task, status);
    case STATUS_READ:
        return read_content(f, route, request, status);
    case STATUS_ASK:
    case STATUS_DRAIN:
    case STATUS_STOP:
    case STATUS_COMMANDS:
    default:
        say(status, STATUS_REFUSED, "a command that is not known here");
        return true;
    }
}

static void fill_answer(struct fleet *f, struct clerk_report *r, struct status *status)
{
    const struct task_info *info = task_list_find(&f->list, r->tag.task);
    if (r->code == ERR_NOT_FOUND && r->tag.what == CLERK_CONTENT && info) {
        bool yet = info->state == TASK_QUEUED || info->state == TASK_RUNNING;
        status->outcome = STATUS_NOT_THERE;
        (void)snprintf(status->answer, sizeof status->answer,
                       "task %" PRIu64 " is %s, there is nothing to read%s", info->id,
                       task_state_name(info->state), yet ? " yet" : "");
        return;
    }
    /* Reports come in order: what a ticket of before names was kept, or is forgotten by now. */
    bool kept = r->code == OK || (r->tag.what == CLERK_SUBMIT && !r->tag.fresh && info);
    if (!kept) {
        bool unknown = r->code == ERR_IO && !r->orderless && r->tag.what != CLERK_CONTENT;
        struct errbuf text = r->text;
        (void)err_set(&text, r->code, "%s%s", r->text.text,
                      unknown ? "; pft jobs will show whether it was kept, once the coordinator "
                                "is started again"
                              : "");
        say(status, r->code == ERR_NOT_FOUND ? STATUS_NOT_THERE : STATUS_REFUSED, text.text);
        return;
    }
    if (!info) {
        say(status, STATUS_REFUSED, "it could not be kept, and is not in the list: try again");
        return;
    }
    status->outcome = STATUS_DONE;
    status->task_id = r->tag.task;
    if (r->tag.what == CLERK_CONTENT) {
        status->content = r->content;
        status->content_bytes = r->content_bytes;
        status->content_total = r->content_total;
        r->content = NULL;
        /* Said along with the bytes, so that a reader knows when no more can come. */
        say(status, STATUS_DONE, task_state_name(info->state));
        return;
    }
    (void)snprintf(status->answer, sizeof status->answer, "task %" PRIu64 " is %s", r->tag.task,
                   r->tag.what == CLERK_SUBMIT ? "submitted" : "cancelled");
}

void fleet_answer(struct fleet *f, struct clerk_report *r)
{
    struct status status = {.schema = STATUS_SCHEMA};
    if (r->tag.what == CLERK_NOBODY) {
        return;
    }
    if (r->tag.what == CLERK_SUBMIT && r->tag.fresh && r->code != OK) {
        task_list_forget(&f->list, r->tag.task); /* its order could not be kept */
    }
    if (r->tag.what != CLERK_CONTENT && r->code == OK) {
        log_event(LOG_INFO, r->tag.what == CLERK_SUBMIT ? "task_submitted" : "task_cancelled",
                  "task=%" PRIu64, r->tag.task);
    }
    fill_answer(f, r, &status);
    fleet_status(f, &status);
    server_reply(f->server, &r->tag.route, &status);
    status_free(&status);
}

void fleet_status(void *ctx, struct status *status)
{
    struct fleet *f = ctx;
    if (f->state == FLEET_RUNNING) {
        f->events.status(f->events.ctx, status);
    } else {
        bool between = f->state == FLEET_IDLE;
        status->loss = status->kl = status->eta_s = (double)NAN;
        (void)snprintf(status->run, sizeof status->run, "%s", f->dir);
        (void)snprintf(status->task, sizeof status->task, "%s", between ? "none" : "open");
        (void)snprintf(status->state, sizeof status->state, "%s",
                       f->stopping ? "draining"
                       : between   ? "waiting"
                                   : "starting");
    }
    if (f->trouble[0] != '\0') {
        (void)snprintf(status->state, sizeof status->state, "degraded");
        (void)snprintf(status->text, sizeof status->text, "%s", f->trouble);
    }
}
