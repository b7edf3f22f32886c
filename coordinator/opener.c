/* opener.c - from a task's folder to a start. */
#include "coordinator/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "coordinator/task_folder.h"

enum { SETS_MAX = 128 };

/* Paths and words that start_options points to. */
struct room {
    struct task_order order;
    char config[FILE_PATH_BYTES], from[FILE_PATH_BYTES];
    char digest[HASH_SHA256_HEX];
    const char *sets[SETS_MAX];
};

void opened_free(struct opened *o, bool discard)
{
    bool fresh = discard && o->start.fresh;
    start_free(&o->start);
    if (fresh) {
        journal_discard(o->run);
    }
    if (o->log >= 0) {
        log_copy(-1);
        (void)close(o->log);
    }
    mem_free(o);
}

static void drop_opened(struct letter *letter)
{
    opened_free((struct opened *)letter, false);
}

static enum err split_sets(struct room *room, struct start_options *options, struct errbuf *e)
{
    for (char *line = room->order.sets; *line != '\0';) {
        char *end = strchr(line, '\n');
        if (options->n_sets == SETS_MAX) {
            return err_set(e, ERR_RANGE, "more than %d overrides", SETS_MAX);
        }
        room->sets[options->n_sets++] = line;
        if (!end) {
            break;
        }
        *end = '\0';
        line = end + 1;
    }
    options->sets = room->sets;
    return OK;
}

/* from: a run folder, or the number of a task of this list. */
static enum err find_from(const char *dir, struct room *room, struct start_options *options,
                          struct errbuf *e)
{
    const char *from = room->order.from;
    uint64_t id = 0;
    if (from[0] == '\0') {
        return OK;
    }
    options->from = from;
    if (strspn(from, "0123456789") == strlen(from) && sscanf(from, "%" SCNu64, &id) == 1) {
        options->from = room->from;
        return task_folder_path(room->from, dir, id, e);
    }
    return OK;
}

static enum err fill(const char *dir, struct opened *o, struct room *room,
                     struct start_options *options, struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    enum err error = task_folder_order(dir, o->id, &room->order, e);
    if (error == OK) {
        error = task_folder_file(room->config, dir, o->id, "config.yaml", e);
    }
    if (error == OK) {
        error = file_join(db, o->run, "run.db", e);
    }
    if (error != OK) {
        return error;
    }
    *options = (struct start_options){.config = file_exists(room->config) ? room->config : NULL,
                                      .run = o->run,
                                      .order = room->digest,
                                      .resume = file_exists(db),
                                      .eval_only = o->sort == TASK_EVALUATE};
    error = split_sets(room, options, e);
    return error == OK ? find_from(dir, room, options, e) : error;
}

static enum err open_log(const char *dir, struct opened *o, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = task_folder_file(path, dir, o->id, "task.log", e);
    if (error != OK) {
        return error;
    }
    o->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (o->log < 0) {
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    log_copy(o->log);
    return OK;
}

/* A result counts for the order that it was made for. */
static enum err check_result(const struct opened *o, const struct room *room, struct errbuf *e)
{
    struct journal *j = NULL;
    enum err error = journal_open_reader(o->run, &j, e);
    error = error == OK ? start_check_order(j, o->run, room->digest, e) : error;
    journal_close(&j);
    return error;
}

static enum err open_task(const char *dir, struct opened *o, struct errbuf *e)
{
    char result[FILE_PATH_BYTES];
    struct room *room = mem_calloc(1, sizeof *room);
    struct start_options options;
    enum err error = room ? task_folder_path(o->run, dir, o->id, e)
                          : err_set(e, ERR_NOMEM, "no memory to open a task");
    if (error == OK) {
        error = open_log(dir, o, e);
    }
    if (error == OK) {
        error = file_join(result, o->run, task_folder_result(o->sort), e);
    }
    if (error == OK) {
        error = task_folder_digest(dir, o->id, room->digest, e);
    }
    o->complete = error == OK && file_exists(result);
    if (o->complete) {
        error = check_result(o, room, e);
    }
    if (error == OK && !o->complete) {
        error = fill(dir, o, room, &options, e);
        if (error == OK) {
            error = start_open(&options, &o->start, e);
        }
    }
    if (room) {
        task_order_free(&room->order);
    }
    mem_free(room);
    return error;
}

static void *opener_main(void *argument)
{
    struct opener *o = argument;
    struct opened *opened = o->opened;
    opened->letter.drop = drop_opened;
    opened->id = o->id;
    opened->sort = o->sort;
    opened->log = -1;
    FAILPOINT("task.open");
    opened->code = open_task(o->dir, opened, &opened->text);
    FAILPOINT("task.opened");
    if (mailbox_post(o->reports, &opened->letter) != OK) {
        opened_free(opened, false); /* the program is ending */
    }
    return NULL;
}

enum err opener_begin(struct opener *o, const char *dir, uint64_t id, enum task_sort sort,
                      struct mailbox *reports)
{
    struct opened *opened = mem_calloc(1, sizeof *opened);
    *o = (struct opener){.dir = dir, .id = id, .sort = sort, .reports = reports, .opened = opened};
    o->running = opened && pthread_create(&o->thread, NULL, opener_main, o) == 0;
    if (!o->running) {
        mem_free(opened);
    }
    return o->running ? OK : ERR_NOMEM;
}

void opener_join(struct opener *o)
{
    if (o->running) {
        (void)pthread_join(o->thread, NULL);
        o->running = false;
    }
}
