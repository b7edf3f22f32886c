/* scale_command.c - pft scale: more or fewer local workers of a pft run, while it runs.
 * Owns: the words of the command. Never: processes; the pft run that started them does. */
#include <poll.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/local.h"
#include "cli/scale_file.h"
#include "common/base/clock.h"

enum { PATIENCE_MS = 10000, LOOK_MS = 50 };

/* Until the wish is taken up and its result is told. */
static enum err await_answer(const char *run, uint32_t wanted, struct scale_state *s,
                             struct errbuf *e)
{
    uint64_t end = clock_now_ms() + PATIENCE_MS;
    while (clock_now_ms() < end) {
        bool waits = scale_wish_waits(run);
        enum err error = scale_read(run, s, e);
        if (error != OK || (!waits && s->wanted == wanted)) {
            return error;
        }
        (void)poll(NULL, 0, LOOK_MS);
    }
    scale_withdraw(run);
    return err_set(e, ERR_TIMEOUT, "%s: its pft run (pid %ld) did not answer within %d s", run,
                   s->pid, PATIENCE_MS / 1000);
}

static enum err scale(const char *run, uint32_t wanted, struct errbuf *e)
{
    struct scale_state before;
    struct scale_state after = {0};
    enum err error = scale_read(run, &before, e);
    if (error == OK) {
        error = scale_wish(run, wanted, e);
    }
    if (error == OK) {
        error = await_answer(run, wanted, &after, e);
    }
    if (error != OK) {
        return error;
    }
    return printf("%u worker%s, %u before; %u drain\n", after.running,
                  after.running == 1 ? "" : "s", before.running, after.draining) > 0 &&
                   fflush(stdout) == 0
               ? OK
               : err_set(e, ERR_IO, "cannot write to stdout");
}

int cli_scale(int argc, char **argv)
{
    struct errbuf e = {0};
    struct args a = {.usage = "pft scale RUN N",
                     .what = "Makes it N local workers while pft run goes on: new ones join, spare "
                             "ones finish what they compute and leave."};
    long n = 0;
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK && a.n_positional != 2) {
        error = err_set(&e, ERR_USAGE, "a run folder and a number are needed; usage: %s", a.usage);
    }
    if (error == OK) {
        error = args_number("N", a.positional[1], 1, LOCAL_WORKERS_MAX, &n, &e);
    }
    if (error == OK) {
        error = scale(a.positional[0], (uint32_t)n, &e);
    }
    return error == OK ? CLI_OK : cli_explain("pft scale", error, &e);
}
