/* scale_file.c - RUN/workers.json and RUN/workers.want. */
#include "cli/scale_file.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"

enum { STATE_BYTES = 4096, WISH_BYTES = 32 };

static const char STATE[] = "workers.json", WISH[] = "workers.want", TAKEN[] = "workers.taken";

enum err scale_publish(const char *run, const struct scale_state *s, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char text[160];
    int n = snprintf(text, sizeof text,
                     "{\"pid\": %ld, \"wanted\": %u, \"running\": %u, \"draining\": %u}\n", s->pid,
                     s->wanted, s->running, s->draining);
    enum err error = file_join(path, run, STATE, e);
    return error == OK ? file_write_atomic(path, text, (size_t)n, e) : error;
}

static void remove_file(const char *run, const char *name)
{
    char path[FILE_PATH_BYTES];
    if (file_join(path, run, name, NULL) == OK) {
        (void)unlink(path);
    }
}

/* The file is renamed before it is read: a wish that comes meanwhile is another file. */
bool scale_take(const char *run, uint32_t most, uint32_t *wanted)
{
    char wish[FILE_PATH_BYTES];
    char taken[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    if (file_join(wish, run, WISH, NULL) != OK || file_join(taken, run, TAKEN, NULL) != OK ||
        rename(wish, taken) != 0) {
        return false;
    }
    enum err error = file_read(taken, WISH_BYTES, &text, &bytes, NULL);
    (void)unlink(taken);
    char *rest = text;
    long n = error == OK ? strtol(text, &rest, 10) : 0;
    bool good = error == OK && rest != text && *rest == '\n' && n >= 1 && n <= (long)most;
    mem_free(text);
    *wanted = good ? (uint32_t)n : 0;
    return good;
}

void scale_remove(const char *run)
{
    remove_file(run, STATE);
    remove_file(run, WISH);
}

static bool read_state(const char *text, size_t bytes, struct scale_state *s)
{
    json_t *root = json_loadb(text, bytes, 0, NULL);
    const json_t *pid = json_object_get(root, "pid");
    const json_t *wanted = json_object_get(root, "wanted");
    const json_t *running = json_object_get(root, "running");
    const json_t *draining = json_object_get(root, "draining");
    bool good = json_is_integer(pid) && json_is_integer(wanted) && json_is_integer(running) &&
                json_is_integer(draining) && json_integer_value(pid) > 1;
    if (good) {
        *s = (struct scale_state){.pid = (long)json_integer_value(pid),
                                  .wanted = (uint32_t)json_integer_value(wanted),
                                  .running = (uint32_t)json_integer_value(running),
                                  .draining = (uint32_t)json_integer_value(draining)};
    }
    json_decref(root);
    return good;
}

enum err scale_read(const char *run, struct scale_state *s, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    enum err error = file_join(path, run, STATE, e);
    if (error == OK && !file_exists(path)) {
        return err_set(e, ERR_NOT_FOUND,
                       "%s: no pft run owns workers there; workers that were started by hand are "
                       "added and drained by hand (SIGTERM)",
                       run);
    }
    if (error == OK) {
        error = file_read(path, STATE_BYTES, &text, &bytes, e);
    }
    if (error == OK && !read_state(text, bytes, s)) {
        error = err_set(e, ERR_PARSE, "%s: is no file of pft run", path);
    }
    mem_free(text);
    if (error == OK && kill((pid_t)s->pid, 0) != 0 && errno == ESRCH) {
        error =
            err_set(e, ERR_NOT_FOUND,
                    "%s: its pft run (pid %ld) was killed; pft run --resume goes on", run, s->pid);
    }
    return error;
}

enum err scale_wish(const char *run, uint32_t wanted, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char text[16];
    int n = snprintf(text, sizeof text, "%u\n", wanted);
    enum err error = file_join(path, run, WISH, e);
    return error == OK ? file_write_atomic(path, text, (size_t)n, e) : error;
}

bool scale_wish_waits(const char *run)
{
    char path[FILE_PATH_BYTES];
    return file_join(path, run, WISH, NULL) == OK && file_exists(path);
}

void scale_withdraw(const char *run)
{
    remove_file(run, WISH);
}
