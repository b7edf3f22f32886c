/* status_command.c - the words of `pft status`. */
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/status.h"

int cli_status(int argc, char **argv)
{
    bool json = false;
    const char *key = NULL;
    struct errbuf e = {0};
    const struct args_option options[] = {
        {"--json", NULL, "print one JSON object (docs/status.md)", NULL, NULL, &json},
        {"--key", "FILE", "an observer's or operator's key, for tcp addresses with keys", &key,
         NULL, NULL}};
    struct args a = {.usage = "pft status RUN|ADDRESS [--json] [--key FILE]",
                     .what = "Asks a running coordinator how far it is.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK && a.n_positional != 1) {
        error = err_set(&e, ERR_USAGE, "a run folder or an address is needed; usage: %s", a.usage);
    }
    if (error == OK) {
        error = status_show(a.positional[0], key, json, &e);
    }
    return error == OK ? CLI_OK : cli_explain("pft status", error, &e);
}
