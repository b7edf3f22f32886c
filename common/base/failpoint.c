/* failpoint.c - the armed place, and what happens when the program passes it. */
#include "common/base/failpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"

enum action { NOTHING, KILL, FAIL, DELAY };
enum { DELAY_MS_MAX = 600000, TEXT_BYTES = 128 };

struct failpoint {
    const char *name, *program, *takes, *when;
};

#define FAILPOINT_ROW(name, program, takes, when) {name, program, takes, when},
static const struct failpoint points[] = {FAILPOINT_LIST(FAILPOINT_ROW)};
enum { POINTS = sizeof points / sizeof points[0] };

static struct {
    const struct failpoint *point; /* NULL: every one */
    enum action action;
    int errnum;
    unsigned long first, times, delay_ms;
    atomic_ulong passes;
} armed;

static const struct failpoint *find(const char *program, const char *name)
{
    for (size_t i = 0; i < POINTS; i++) {
        if (strcmp(points[i].name, name) == 0 &&
            (!program || strcmp(points[i].program, program) == 0)) {
            return &points[i];
        }
    }
    return NULL;
}

static bool number(const char *text, unsigned long low, unsigned long high, unsigned long *out)
{
    char *rest;
    errno = 0;
    *out = strtoul(text, &rest, 10);
    return errno == 0 && rest != text && *rest == '\0' && text[0] != '-' && *out >= low &&
           *out <= high;
}

static enum err parse_action(const char *word, struct errbuf *e)
{
    if (strcmp(word, "kill") == 0) {
        armed.action = KILL;
    } else if (strcmp(word, "eio") == 0 || strcmp(word, "enospc") == 0) {
        armed.action = FAIL;
        armed.errnum = word[1] == 'i' ? EIO : ENOSPC;
    } else if (strncmp(word, "delay ", 6) == 0 &&
               number(word + 6, 0, DELAY_MS_MAX, &armed.delay_ms)) {
        armed.action = DELAY;
        armed.times = 0;
    } else {
        return err_set(e, ERR_USAGE,
                       "PFT_FAILPOINT: %s: kill, eio, enospc or \"delay MS\" (0 to %d) is wanted",
                       word, DELAY_MS_MAX);
    }
    return OK;
}

static enum err parse(const char *program, char *text, struct errbuf *e)
{
    char *rest = text;
    const char *name = strsep(&rest, ":");
    const char *action = strsep(&rest, ":");
    const char *first = strsep(&rest, ":");
    const char *times = strsep(&rest, ":");
    armed.point = find(program, name);
    armed.first = 1;
    armed.times = 1;
    if (!armed.point && strcmp(name, "*") != 0) {
        return err_set(e, ERR_USAGE,
                       "PFT_FAILPOINT: %s: the %s has no such place; PFT_FAILPOINT=list shows them",
                       name, program);
    }
    enum err error = parse_action(action ? action : "", e);
    if (error != OK) {
        return error;
    }
    if (armed.action == FAIL && armed.point && strcmp(armed.point->takes, "io") != 0) {
        return err_set(e, ERR_USAGE, "PFT_FAILPOINT: %s: takes kill and delay, nothing fails there",
                       name);
    }
    if (!armed.point && armed.action != DELAY) {
        return err_set(e, ERR_USAGE, "PFT_FAILPOINT: *: takes a delay only");
    }
    if ((first && !number(first, 1, 1000000, &armed.first)) ||
        (times && !number(times, 1, 1000000, &armed.times)) || rest) {
        return err_set(e, ERR_USAGE,
                       "PFT_FAILPOINT: NAME:ACTION[:FIRST[:TIMES]] with numbers from 1 is wanted");
    }
    return OK;
}

enum err failpoint_arm(const char *program, const char *text, struct errbuf *e)
{
    char copy[TEXT_BYTES];
    armed.action = NOTHING;
    atomic_store(&armed.passes, 0);
    if (!text) {
        return OK;
    }
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
        return err_set(e, ERR_USAGE, "PFT_FAILPOINT: longer than %d bytes", TEXT_BYTES - 1);
    }
    enum err error = parse(program, copy, e);
    if (error != OK) {
        armed.action = NOTHING;
    }
    return error;
}

enum err failpoint_setup(const char *program, struct errbuf *e)
{
    const char *text = getenv("PFT_FAILPOINT");
    if (text && strcmp(text, "list") == 0) {
        for (size_t i = 0; i < POINTS; i++) {
            if (strcmp(points[i].program, program) == 0) {
                (void)printf("%s %s %s\n", points[i].name, points[i].takes, points[i].when);
            }
        }
        exit(fflush(stdout) == 0 ? 0 : 1);
    }
    return failpoint_arm(program, text, e);
}

static void say(const char *name, const char *what)
{
    char line[TEXT_BYTES];
    int n = snprintf(line, sizeof line, "failpoint %s %s\n", name, what);
    ssize_t written = write(STDERR_FILENO, line, (size_t)n);
    (void)written;
}

static void wait_ms(unsigned long ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* 0, or the errno to fail with. */
static int reached(const char *name)
{
    if (armed.action == NOTHING || (armed.point && strcmp(armed.point->name, name) != 0)) {
        return 0;
    }
    CHECK(find(NULL, name) != NULL);
    unsigned long pass = atomic_fetch_add(&armed.passes, 1) + 1;
    if (pass < armed.first || (armed.times > 0 && pass - armed.first >= armed.times)) {
        return 0;
    }
    if (armed.action == DELAY) {
        if (pass == armed.first) {
            say(name, "delay");
        }
        wait_ms(armed.delay_ms);
        return 0;
    }
    say(name, armed.action == KILL ? "kill" : armed.errnum == EIO ? "eio" : "enospc");
    if (armed.action == KILL) {
        (void)kill(getpid(), SIGKILL);
        wait_ms(DELAY_MS_MAX); /* until the signal is here */
    }
    return armed.errnum;
}

void failpoint_pass(const char *name)
{
    (void)reached(name);
}

bool failpoint_fails(const char *name)
{
    int errnum = reached(name);
    if (errnum != 0) {
        errno = errnum;
    }
    return errnum != 0;
}
