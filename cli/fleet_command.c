/* fleet_command.c - pft drain and pft stop: an operator's commands over the status socket. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/status.h"

static enum err obey(const struct status *s, const char *target, struct errbuf *e)
{
    switch (s->outcome) {
    case STATUS_DONE:
        return puts(s->answer) >= 0 && fflush(stdout) == 0
                   ? OK
                   : err_set(e, ERR_IO, "cannot write to stdout");
    case STATUS_REFUSED:
        return err_set(e, ERR_REFUSED, "%s: %s", target, s->answer);
    case STATUS_NOT_THERE:
        return err_set(e, ERR_NOT_FOUND, "%s: %s; pft status lists the workers", target, s->answer);
    case STATUS_NONE:
    case STATUS_OUTCOMES:
    default:
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: this coordinator knows no commands (an older build)", target);
    }
}

static enum err send_command(const char *target, const char *key_path,
                             const struct status_request *request, struct errbuf *e)
{
    struct status s = {0};
    enum err error = status_ask(target, key_path, request, 1, &s, e);
    if (error == OK) {
        error = obey(&s, target, e);
    }
    status_free(&s);
    return error;
}

static int run(int argc, char **argv, struct args *a, int most, enum status_command command)
{
    struct errbuf e = {0};
    const char *key = NULL;
    const struct args_option options[] = {
        {"--key", "FILE", "an operator's key, for tcp addresses with keys", &key, NULL, NULL}};
    struct status_request request = {.command = command};
    char name[32];
    a->options = options;
    a->n_options = 1;
    (void)snprintf(name, sizeof name, "pft %s", argv[0]);
    enum err error = args_parse(a, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK && (a->n_positional < 1 || a->n_positional > most)) {
        error = err_set(&e, ERR_USAGE, "a run folder or an address is needed; usage: %s", a->usage);
    }
    if (error == OK && a->n_positional == 2) {
        int n = snprintf(request.worker, sizeof request.worker, "%s", a->positional[1]);
        if (n < 1 || (size_t)n >= sizeof request.worker) {
            error = err_set(&e, ERR_USAGE, "a worker's name has 1 to %zu bytes",
                            sizeof request.worker - 1);
        }
    }
    if (error == OK) {
        error = send_command(a->positional[0], key, &request, &e);
    }
    return error == OK ? CLI_OK : cli_explain(name, error, &e);
}

int cli_drain(int argc, char **argv)
{
    struct args a = {.usage = "pft drain RUN|ADDRESS [WORKER] [--key FILE]",
                     .what = "Tells one worker, or all, to finish what they compute and leave. The "
                             "run waits for others."};
    return run(argc, argv, &a, 2, STATUS_DRAIN);
}

int cli_stop(int argc, char **argv)
{
    struct args a = {.usage = "pft stop RUN|ADDRESS [--key FILE]",
                     .what = "Stops a coordinator as SIGTERM does: what is done is on disk, "
                             "--resume goes on."};
    return run(argc, argv, &a, 1, STATUS_STOP);
}
