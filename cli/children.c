/* children.c - processes that pft starts. */
#include "cli/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

enum { TAIL_LINES = 12, LOG_BYTES = 64 << 20, PID_BYTES = 24, SIGNAL_CODE = 128 };

enum err children_folder(char out[FILE_PATH_BYTES], struct errbuf *e)
{
    char self[FILE_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return err_set(e, ERR_IO, "/proc/self/exe: %s", strerror(errno));
    }
    self[n] = '\0';
    file_folder_of(out, self);
    return OK;
}

static void closed(uv_handle_t *handle)
{
    struct child *child = handle->data;
    child->ended = true;
    child->on_end(child, child->context);
}

static void exited(uv_process_t *process, int64_t status, int signum)
{
    struct child *child = process->data;
    child->exit_code = signum != 0 ? 128 + signum : status;
    uv_close((uv_handle_t *)process, closed);
}

/* Processes that the kernel killed for want of memory since it began; 0: not known. */
static uint64_t oom_kills(void)
{
    char line[128];
    unsigned long long n = 0;
    FILE *file = fopen("/proc/vmstat", "re");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "oom_kill %llu", &n) != 1) {
    }
    if (file) {
        (void)fclose(file);
    }
    return n;
}

/* program --with-parent PID words...: it stops when this process is gone (program.h). */
static const char **with_parent(const struct child *child, char pid[PID_BYTES], const char **words)
{
    size_t n = 1;
    while (words[n]) {
        n++;
    }
    const char **argv = mem_calloc(n + 3, sizeof *argv);
    if (argv) {
        (void)snprintf(pid, PID_BYTES, "%ld", (long)getpid());
        argv[0] = child->program;
        argv[1] = "--with-parent";
        argv[2] = pid;
        memcpy((void *)(argv + 3), (const void *)(words + 1), (n - 1) * sizeof *argv);
    }
    return argv;
}

static enum err spawn(uv_loop_t *loop, struct child *child, const char **words, int out, int log,
                      struct errbuf *e)
{
    char pid[PID_BYTES];
    const char **argv = with_parent(child, pid, words);
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = out},
        {.flags = UV_INHERIT_FD, .data.fd = log},
    };
    if (child->in) {
        stdio[0] = (uv_stdio_container_t){.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
                                          .data.stream = (uv_stream_t *)child->in};
        stdio[1] = (uv_stdio_container_t){.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                          .data.stream = (uv_stream_t *)child->out};
    }
    const uv_process_options_t options = {.file = child->program,
                                          .args = (char **)(uintptr_t)argv,
                                          .exit_cb = exited,
                                          .stdio = stdio,
                                          .stdio_count = 3,
                                          .flags = UV_PROCESS_DETACHED};
    child->started = false;
    child->ended = false;
    child->process.data = child;
    child->oom_kills = oom_kills();
    int code = argv ? uv_spawn(loop, &child->process, &options) : UV_ENOMEM;
    mem_free((void *)argv);
    if (code != 0) {
        return err_set(e, ERR_IO, "%s cannot be started: %s", child->program, uv_strerror(code));
    }
    child->started = true;
    return OK;
}

enum err child_start(uv_loop_t *loop, struct child *child, const char *bin_folder, const char *name,
                     const char **argv, struct errbuf *e)
{
    enum err error = file_join(child->program, bin_folder, name, e);
    if (error != OK) {
        return error;
    }
    int log = open(child->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) {
        return err_set(e, err_from_errno(errno), "%s: %s", child->log, strerror(errno));
    }
    off_t begin = lseek(log, 0, SEEK_END);
    child->log_begin = begin > 0 ? begin : 0;
    int out = STDOUT_FILENO;
    if (child->capture) {
        out = open(child->capture, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    error = out < 0 ? err_set(e, err_from_errno(errno), "%s: %s", child->capture, strerror(errno))
                    : spawn(loop, child, argv, out, log, e);
    (void)close(log);
    if (child->capture && out >= 0) {
        (void)close(out);
    }
    return error;
}

void child_signal(struct child *child, int signum)
{
    if (child->started && !child->ended && !uv_is_closing((uv_handle_t *)&child->process)) {
        (void)uv_process_kill(&child->process, signum);
    }
}

void child_describe(const struct child *child, char out[CHILD_TEXT_BYTES])
{
    const int code = (int)child->exit_code;
    if (code <= SIGNAL_CODE) {
        (void)snprintf(out, CHILD_TEXT_BYTES, "ended with exit code %d", code);
        return;
    }
    char limit[MEM_HINT_BYTES];
    mem_limit_hint(limit);
    (void)snprintf(out, CHILD_TEXT_BYTES, "was killed by signal %d (%s)%s", code - SIGNAL_CODE,
                   strsignal(code - SIGNAL_CODE),
                   code - SIGNAL_CODE == SIGKILL && oom_kills() > child->oom_kills
                       ? ": the system ran out of memory; fewer --workers or --slots, or "
                         "--gradient-checkpointing, need less"
                       : limit);
}

/* What the child wrote to its log since its start, *begin into the text; NULL: nothing. */
static char *read_log(const struct child *child, size_t *begin, size_t *bytes)
{
    char *text = NULL;
    if (file_read(child->log, LOG_BYTES, &text, bytes, NULL) != OK) {
        return NULL;
    }
    *begin = (size_t)child->log_begin < *bytes ? (size_t)child->log_begin : *bytes;
    return text;
}

void child_reason(const struct child *child, char out[ERRBUF_BYTES])
{
    size_t begin;
    size_t bytes;
    char *text = read_log(child, &begin, &bytes);
    out[0] = '\0';
    if (!text) {
        return;
    }
    const char *found = NULL;
    for (const char *at = text + begin; (at = strstr(at, " error ")) != NULL; at++) {
        found = at + strlen(" error ");
    }
    const char *space = found ? strchr(found, ' ') : NULL; /* behind the event */
    const size_t n = space ? strcspn(space + 1, "\n") : 0;
    if (n > 0 && space < found + strcspn(found, "\n")) {
        (void)snprintf(out, ERRBUF_BYTES, "%.*s", (int)n, space + 1);
    }
    mem_free(text);
}

void child_print_tail(const struct child *child)
{
    size_t begin;
    size_t bytes;
    char *text = read_log(child, &begin, &bytes);
    if (!text) {
        return;
    }
    size_t at = bytes;
    int lines = 0;
    while (at > begin && lines <= TAIL_LINES) {
        at--;
        lines += text[at] == '\n';
    }
    at += lines > TAIL_LINES;
    for (char *line = text + at; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        (void)fprintf(stderr, "  | %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    mem_free(text);
}
