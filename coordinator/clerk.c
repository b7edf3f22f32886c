/* clerk.c - one thread, letters in, letters out. */
#include "coordinator/clerk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/status_message.h"
#include "coordinator/task_folder.h"

enum { WORK_MAX = 256 };

struct work {
    struct letter letter; /* first */
    enum clerk_verb verb;
    struct clerk_tag tag;
    struct str list;
    bool has_order;
    struct task_order order;
    enum task_part part;
    enum task_sort sort;
    uint64_t offset;
    struct clerk_report *report; /* what will be said of it; made beforehand */
};

struct clerk {
    char dir[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    int lock;
    struct mailbox *work, *reports;
    pthread_t thread;
    bool started;
};

static void drop_work(struct letter *letter)
{
    struct work *w = (struct work *)letter;
    str_free(&w->list);
    task_order_free(&w->order);
    clerk_report_free(w->report);
    mem_free(w);
}

void clerk_report_free(struct clerk_report *report)
{
    if (report) {
        mem_free(report->content);
        mem_free(report);
    }
}

static void drop_report(struct letter *letter)
{
    clerk_report_free((struct clerk_report *)letter);
}

static enum err write_list(const struct clerk *c, const struct work *w, struct errbuf *e)
{
    if (FAILPOINT_FAILS("list.write")) {
        return err_set(e, err_from_errno(errno), "%s: cannot be written: %s", c->path,
                       strerror(errno));
    }
    enum err error = file_write_atomic(c->path, w->list.data, w->list.len, e);
    FAILPOINT("list.written");
    return error;
}

/* Whatever fails of an order: no list names its folder, so what the disk holds there is known to
 * count for nothing. */
static void save(const struct clerk *c, const struct work *w, struct clerk_report *r)
{
    r->code = w->has_order ? task_folder_make(c->dir, w->tag.task, &w->order, &r->text) : OK;
    r->orderless = r->code != OK;
    if (r->code == OK) {
        r->code = write_list(c, w, &r->text);
    }
}

static void read_content(const struct clerk *c, const struct work *w, struct clerk_report *r)
{
    char path[FILE_PATH_BYTES];
    int fd = -1;
    size_t total = 0;
    const char *name = w->part == TASK_LOG ? "task.log" : task_folder_result(w->sort);
    r->code = task_folder_file(path, c->dir, w->tag.task, name, &r->text);
    if (r->code == OK && !file_exists(path)) {
        r->code = err_set(&r->text, ERR_NOT_FOUND, "%s: is not there", path);
    }
    if (r->code == OK) {
        r->code = file_open(path, &fd, &total, &r->text);
    }
    if (r->code != OK) {
        return;
    }
    size_t left = w->offset < total ? total - (size_t)w->offset : 0;
    size_t bytes = left < STATUS_CONTENT_BYTES ? left : STATUS_CONTENT_BYTES;
    r->content = mem_calloc(1, bytes);
    if (!r->content) {
        r->code = err_set(&r->text, ERR_NOMEM, "no memory for %zu bytes", bytes);
    } else if (bytes > 0) {
        r->code = file_read_at(fd, path, w->offset, r->content, bytes, &r->text);
    }
    r->content_bytes = r->code == OK ? (uint32_t)bytes : 0;
    r->content_total = total;
    (void)close(fd);
}

static void *clerk_main(void *argument)
{
    struct clerk *c = argument;
    for (struct letter *l = mailbox_wait(c->work); l; l = mailbox_wait(c->work)) {
        struct work *w = (struct work *)l;
        struct clerk_report *r = w->report;
        w->report = NULL;
        r->letter.drop = drop_report;
        r->verb = w->verb;
        r->tag = w->tag;
        if (w->verb == CLERK_SAVE) {
            save(c, w, r);
        } else {
            read_content(c, w, r);
        }
        drop_work(l);
        if (mailbox_post(c->reports, &r->letter) != OK) {
            clerk_report_free(r); /* the program is ending */
        }
    }
    return NULL;
}

static enum err take_lock(struct clerk *c, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_join(path, c->dir, "lock", e);
    if (error != OK) {
        return error;
    }
    c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->lock < 0) {
        return err_set(e, err_from_errno(errno), "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (flock(c->lock, LOCK_EX | LOCK_NB) != 0) {
        return err_set(e, ERR_BUSY,
                       "%s: another coordinator keeps its tasks there; stop it, or "
                       "give another --serve folder",
                       c->dir);
    }
    return OK;
}

static enum err read_list(const struct clerk *c, struct task_list *list, struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    if (!file_exists(c->path)) {
        return OK;
    }
    enum err error = file_read(c->path, TASK_LIST_BYTES, &text, &bytes, e);
    if (error == OK) {
        error = task_list_parse(text, bytes, list, e);
        error = error == OK ? OK : err_prefix(e, error, "%s", c->path);
    }
    mem_free(text);
    return error;
}

/* A list that is lost or older than the folders beside it does not give their numbers out again. */
static enum err skip_numbers(const struct clerk *c, struct task_list *list, struct errbuf *e)
{
    uint64_t last = 0;
    enum err error = task_folder_last(c->dir, &last, e);
    if (error == OK && last > list->last) {
        log_event(LOG_WARN, "tasks_unlisted",
                  "%s ends at task %" PRIu64 ", tasks/%" PRIu64
                  " is there: the list is older or was lost; numbers go on behind that",
                  c->path, list->last, last);
        list->last = last;
    }
    return error;
}

static enum err make_folders(struct clerk *c, struct errbuf *e)
{
    char tasks[FILE_PATH_BYTES];
    enum err error = file_join(tasks, c->dir, "tasks", e);
    if (error == OK) {
        error = file_join(c->path, c->dir, "tasks.json", e);
    }
    return error == OK ? file_make_folder(tasks, e) : error;
}

enum err clerk_open(const char *dir, struct mailbox *reports, struct task_list *list,
                    struct clerk **out, struct errbuf *e)
{
    *out = NULL;
    *list = (struct task_list){0};
    struct clerk *c = mem_calloc(1, sizeof *c);
    if (!c) {
        return err_set(e, ERR_NOMEM, "no memory for the clerk");
    }
    c->lock = -1;
    c->reports = reports;
    (void)snprintf(c->dir, sizeof c->dir, "%s", dir);
    enum err error = make_folders(c, e);
    if (error == OK) {
        error = take_lock(c, e);
    }
    if (error == OK) {
        error = read_list(c, list, e);
    }
    if (error == OK) {
        error = skip_numbers(c, list, e);
    }
    if (error == OK && mailbox_open(WORK_MAX, &c->work) != OK) {
        error = err_set(e, ERR_NOMEM, "no memory for the clerk");
    }
    if (error == OK) {
        c->started = pthread_create(&c->thread, NULL, clerk_main, c) == 0;
        error = c->started ? OK
                           : err_set(e, ERR_NOMEM,
                                     "cannot start the thread that saves tasks; do ulimit -u and "
                                     "ulimit -v allow it?");
    }
    if (error != OK) {
        task_list_free(list);
        clerk_close(&c);
        return error;
    }
    *out = c;
    return OK;
}

static struct work *new_work(enum clerk_verb verb, const struct clerk_tag *tag)
{
    struct work *w = mem_calloc(1, sizeof *w);
    struct clerk_report *report = mem_calloc(1, sizeof *report);
    if (!w || !report) {
        mem_free(w);
        mem_free(report);
        return NULL;
    }
    w->letter.drop = drop_work;
    w->verb = verb;
    w->tag = *tag;
    w->report = report;
    return w;
}

static enum err post(struct clerk *c, struct work *w)
{
    enum err error = mailbox_post(c->work, &w->letter);
    if (error != OK) {
        drop_work(&w->letter);
    }
    return error;
}

enum err clerk_save(struct clerk *c, const struct task_list *list, struct task_order *order,
                    const struct clerk_tag *tag)
{
    struct work *w = new_work(CLERK_SAVE, tag);
    if (!w) {
        return ERR_NOMEM;
    }
    task_list_text(list, &w->list);
    if (str_ok(&w->list) != OK) {
        drop_work(&w->letter);
        return ERR_NOMEM;
    }
    if (order) {
        w->has_order = true;
        w->order = *order;
        *order = (struct task_order){0};
    }
    return post(c, w);
}

enum err clerk_read(struct clerk *c, enum task_part part, enum task_sort sort, uint64_t offset,
                    const struct clerk_tag *tag)
{
    struct work *w = new_work(CLERK_READ, tag);
    if (!w) {
        return ERR_NOMEM;
    }
    w->part = part;
    w->sort = sort;
    w->offset = offset;
    return post(c, w);
}

void clerk_close(struct clerk **clerk)
{
    struct clerk *c = *clerk;
    *clerk = NULL;
    if (!c) {
        return;
    }
    if (c->work) {
        mailbox_stop(c->work);
    }
    if (c->started) {
        (void)pthread_join(c->thread, NULL);
    }
    mailbox_close(&c->work);
    if (c->lock >= 0) {
        (void)close(c->lock);
    }
    mem_free(c);
}
