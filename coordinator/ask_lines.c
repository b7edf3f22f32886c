/* ask_lines.c - a thread between stdin and a mailbox. */
#include "coordinator/ask_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

enum {
    CHUNK_BYTES = 1 << 16,
    WAITING_MAX = 4,
    WRITE_BYTES = 4096, /* what a pipe that polls as writable takes without a wait */
    KEPT_BYTES = ASK_LINE_BYTES + CHUNK_BYTES + 1, /* a line, and what came with its end */
};

struct answer {
    struct letter letter; /* first */
    struct str text;
    struct ask_line *next; /* room for the line after it: the thread allocates nothing by itself */
};

struct ask_lines {
    struct mailbox *to;
    struct mailbox *answered; /* struct answer, one for each line that was read */
    struct ask_line *first;
    pthread_t thread;
    bool started;
    int stop[2];     /* a pipe whose closed end wakes the thread */
    struct str kept; /* read, not yet handed on; before a read without a line end */
    bool skipping;   /* what is left of a line that is too long */
    bool too_long;   /* such a line was read to its end */
};

static void drop_line(struct letter *letter)
{
    ask_line_free((struct ask_line *)letter);
}

void ask_line_free(struct ask_line *line)
{
    if (line) {
        str_free(&line->text);
        mem_free(line);
    }
}

static struct ask_line *new_line(void)
{
    struct ask_line *line = mem_calloc(1, sizeof *line);
    if (line) {
        line->letter.drop = drop_line;
    }
    return line;
}

static void drop_answer(struct letter *letter)
{
    struct answer *a = (struct answer *)letter;
    ask_line_free(a->next);
    str_free(&a->text);
    mem_free(a);
}

/* Keeps what was read; of a line that is too long nothing. */
static void keep(struct ask_lines *l, const char *chunk, size_t n)
{
    const char *end = memchr(chunk, '\n', n);
    const size_t first = end ? (size_t)(end - chunk) : n;
    if (l->skipping || l->kept.len + first > ASK_LINE_BYTES) {
        str_clear(&l->kept);
        l->too_long = end != NULL;
        l->skipping = end == NULL;
        n -= end ? first + 1 : n;
        chunk = end ? end + 1 : chunk;
    }
    if (n > 0) {
        str_append(&l->kept, chunk, n);
    }
}

/* Reads what stdin has; false at its end, or when the thread is to stop. */
static bool read_more(struct ask_lines *l)
{
    char chunk[CHUNK_BYTES];
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = l->stop[0], .events = POLLIN}};
    ssize_t n = -1;
    while (n < 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return false;
        }
        if (fds[1].revents != 0) {
            return false;
        }
        n = fds[0].revents != 0 ? read(STDIN_FILENO, chunk, sizeof chunk) : -1;
        if (n < 0 && fds[0].revents != 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
    }
    if (n > 0) {
        keep(l, chunk, (size_t)n);
    }
    return n > 0 && str_ok(&l->kept) == OK;
}

/* Takes the first line out of what is kept, at the end of stdin also one without a line end; false
 * when there is none. */
static bool take_line(struct ask_lines *l, bool over, struct ask_line *out)
{
    const char *end = l->kept.len > 0 ? memchr(l->kept.data, '\n', l->kept.len) : NULL;
    if (l->too_long || (over && l->skipping)) { /* it came before what is kept */
        l->too_long = l->skipping = false;
        out->too_long = true;
        return true;
    }
    if (!end && !(over && l->kept.len > 0)) {
        return false;
    }
    const size_t n = end ? (size_t)(end - l->kept.data) : l->kept.len;
    struct str rest = {.limit = KEPT_BYTES};
    str_append(&out->text, l->kept.data, n);
    if (end) {
        str_append(&rest, end + 1, l->kept.len - n - 1);
    }
    str_free(&l->kept);
    l->kept = rest;
    return true;
}

/* False, with errno: stdout does not take it, or (ECANCELED) the thread is to stop meanwhile. */
static bool write_whole(const struct ask_lines *l, const char *data, size_t n)
{
    struct pollfd fds[] = {{.fd = STDOUT_FILENO, .events = POLLOUT},
                           {.fd = l->stop[0], .events = POLLIN}};
    while (n > 0) {
        if (poll(fds, 2, -1) < 0) {
            if (errno != EINTR) {
                return false;
            }
            continue;
        }
        ssize_t written = 0;
        if (fds[0].revents != 0) {
            written = write(STDOUT_FILENO, data, n < WRITE_BYTES ? n : WRITE_BYTES);
        } else if (fds[1].revents != 0) {
            errno = ECANCELED;
            return false;
        }
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        data += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Reads the next line into the room that is given, with what became of the answer before it. */
static void read_line(struct ask_lines *l, bool *over, struct ask_line *line)
{
    line->end = line->trouble[0] != '\0';
    while (!line->end && !take_line(l, *over, line)) {
        line->end = *over;
        *over = *over || !read_more(l);
    }
}

static void *read_lines(void *argument)
{
    struct ask_lines *l = argument;
    struct ask_line *line = l->first;
    bool over = false;
    l->first = NULL;
    while (line) {
        read_line(l, &over, line);
        const bool last = line->end;
        if (mailbox_post(l->to, &line->letter) != OK) {
            ask_line_free(line);
            break;
        }
        struct answer *a = last ? NULL : (struct answer *)mailbox_wait(l->answered);
        line = a ? a->next : NULL;
        if (a && !write_whole(l, a->text.data, a->text.len)) {
            (void)snprintf(line->trouble, sizeof line->trouble,
                           "the answer cannot be written to stdout: %s", strerror(errno));
        }
        if (a) {
            a->next = NULL;
            drop_answer(&a->letter);
        }
    }
    return NULL;
}

enum err ask_lines_open(struct mailbox *to, struct ask_lines **out, struct errbuf *e)
{
    struct ask_lines *l = mem_calloc(1, sizeof *l);
    *out = l;
    if (!l) {
        return err_set(e, ERR_NOMEM, "no memory to read questions");
    }
    l->to = to;
    l->stop[0] = l->stop[1] = -1;
    l->kept.limit = KEPT_BYTES;
    l->first = new_line();
    enum err error = l->first ? mailbox_open(WAITING_MAX, &l->answered) : ERR_NOMEM;
    if (error == OK && pipe2(l->stop, O_CLOEXEC) != 0) {
        error = ERR_IO;
    }
    l->started = error == OK && pthread_create(&l->thread, NULL, read_lines, l) == 0;
    if (!l->started) {
        ask_lines_close(out);
        return err_set(
            e, error == OK ? ERR_NOMEM : error,
            "cannot start the thread that reads questions; do ulimit -u and ulimit -v allow it?");
    }
    return OK;
}

enum err ask_lines_answer(struct ask_lines *l, const struct str *answer, struct errbuf *e)
{
    struct answer *a = mem_calloc(1, sizeof *a);
    if (a) {
        a->letter.drop = drop_answer;
        a->next = new_line();
        str_append(&a->text, answer->data, answer->len);
        str_add(&a->text, "\n");
    }
    if (!a || !a->next || str_ok(&a->text) != OK || mailbox_post(l->answered, &a->letter) != OK) {
        if (a) {
            drop_answer(&a->letter);
        }
        return err_set(e, ERR_NOMEM, "no memory for an answer of %zu bytes", answer->len);
    }
    return OK;
}

void ask_lines_close(struct ask_lines **lines)
{
    struct ask_lines *l = *lines;
    *lines = NULL;
    if (!l) {
        return;
    }
    if (l->stop[1] >= 0) {
        (void)close(l->stop[1]);
    }
    if (l->answered) {
        mailbox_stop(l->answered);
    }
    if (l->started) {
        pthread_join(l->thread, NULL);
    }
    if (l->stop[0] >= 0) {
        (void)close(l->stop[0]);
    }
    mailbox_close(&l->answered);
    str_free(&l->kept);
    ask_line_free(l->first);
    mem_free(l);
}
