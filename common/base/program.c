/* program.c - standard streams, the parent, the last flush. */
#include "common/base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/base/clock.h"

static void open_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) {
            _exit(EXIT_FAILURE); /* nowhere to say why */
        }
    }
}

/* The one place that sees every result: what stdio still holds is only now written. */
static void close_stdout(int status, void *name)
{
    const bool earlier = ferror(stdout) != 0;
    errno = 0;
    if ((fflush(stdout) != 0 || earlier) && status == EXIT_SUCCESS) {
        (void)fprintf(stderr, "%s: stdout cannot be written%s%s; what was printed is incomplete\n",
                      (const char *)name, errno ? ": " : "", errno ? strerror(errno) : "");
        _exit(EXIT_FAILURE);
    }
}

static bool stay_with_parent(const char *pid)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    return strtol(pid, NULL, 10) == (long)getppid();
}

static void on_stop(int signum)
{
    const int kept = errno;
    (void)signum;
    clock_pause();
    errno = kept;
}

void program_pauses(void)
{
    const struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    (void)sigaction(SIGTSTP, &stop, NULL);
}

bool program_begin(const char *name, int *argc, char ***argv)
{
    open_streams();
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is met as EFBIG */
    (void)on_exit(close_stdout, (void *)(uintptr_t)name);
    if (*argc < 3 || strcmp((*argv)[1], "--with-parent") != 0) {
        return true;
    }
    const bool there = stay_with_parent((*argv)[2]);
    (*argv)[2] = (*argv)[0];
    *argc -= 2;
    *argv += 2;
    return there;
}
