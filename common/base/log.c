/* log.c - event lines on stderr, each written with one call. */
#include "common/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 2048, LIMIT_MS = 60000 };

static const char *program_name = "pft";
static enum log_level lowest = LOG_INFO;
static atomic_int copy_fd = -1;

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    lowest = level;
}

void log_copy(int fd)
{
    atomic_store(&copy_fd, fd);
}

static void write_line(enum log_level level, const char *event, const char *fmt, va_list args)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char line[LINE_BYTES];
    char when[32];
    struct timespec now;
    struct tm parts;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    int n = snprintf(line, sizeof line, "%s.%03ldZ %s %s %s", when, now.tv_nsec / 1000000,
                     program_name, names[level], event);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (fmt[0] != '\0' && used + 2 < sizeof line) {
        line[used++] = ' ';
        int m = vsnprintf(line + used, sizeof line - used, fmt, args);
        used += m < 0 ? 0 : (size_t)m;
    }
    if (used > sizeof line - 2) {
        used = sizeof line - 2;
    }
    line[used++] = '\n';
    (void)fwrite(line, 1, used, stderr);
    int copy = atomic_load(&copy_fd);
    if (copy >= 0 && write(copy, line, used) < 0) {
        return; /* there is nobody to tell */
    }
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    if (level < lowest) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    write_line(level, event, fmt, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, uint64_t now_ms, enum log_level level, const char *event,
                 const char *fmt, ...)
{
    if (level < lowest) {
        return;
    }
    if (limit->last_ms != 0 && now_ms - limit->last_ms < LIMIT_MS) {
        limit->suppressed++;
        return;
    }
    va_list args;
    va_start(args, fmt);
    write_line(level, event, fmt, args);
    va_end(args);
    if (limit->suppressed > 0) {
        log_event(level, event, "repeated=%" PRIu64, limit->suppressed);
    }
    limit->last_ms = now_ms ? now_ms : 1;
    limit->suppressed = 0;
}
