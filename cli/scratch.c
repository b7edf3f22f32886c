/* scratch.c - mkdtemp and its opposite. */
#include "cli/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FTW_FDS = 16 };

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_clear(const char *folder)
{
    (void)nftw(folder, remove_entry, FTW_FDS, FTW_DEPTH | FTW_PHYS);
}

/* Sleeps until nobody holds the other end. It keeps no stream or terminal of ours open, and what
 * ends the others does not end it. */
static _Noreturn void keep(const char *folder, int end)
{
    sigset_t all;
    char none;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)setsid();
    (void)dup2(end, STDIN_FILENO);
    (void)close_range(STDIN_FILENO + 1, ~0U, 0);
    while (read(STDIN_FILENO, &none, 1) < 0 && errno == EINTR) {
    }
    scratch_clear(folder);
    _exit(EXIT_SUCCESS);
}

enum err scratch_make(struct scratch *s, struct errbuf *e)
{
    int ends[2];
    const char *base = getenv("TMPDIR");
    base = base && base[0] != '\0' ? base : "/tmp";
    enum err error = file_join(s->folder, base, "pft-XXXXXX", e);
    if (error == OK && !mkdtemp(s->folder)) {
        error = err_set(e, err_from_errno(errno),
                        "%s: no folder can be made there: %s (TMPDIR names another place)", base,
                        strerror(errno));
    }
    if (error != OK) {
        s->folder[0] = '\0';
        return error;
    }
    if (pipe(ends) != 0) {
        error = err_set(e, err_from_errno(errno), "no pipe can be made: %s", strerror(errno));
        scratch_clear(s->folder);
        s->folder[0] = '\0';
        return error;
    }
    s->keeper = fork(); /* -1: nobody keeps it; pft removes it all the same */
    if (s->keeper == 0) {
        (void)close(ends[1]);
        keep(s->folder, ends[0]);
    }
    (void)close(ends[0]);
    s->held = ends[1];
    return OK;
}

void scratch_remove(struct scratch *s)
{
    if (s->folder[0] == '\0') {
        return;
    }
    scratch_clear(s->folder);
    (void)close(s->held);
    if (s->keeper > 0) {
        (void)waitpid(s->keeper, NULL, 0);
    }
    *s = (struct scratch){.folder = ""};
}
