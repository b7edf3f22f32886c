/* explain.c - an error of a sub-command to stderr and to an exit code. */
#include <stdio.h>

#include "cli/cli.h"

int cli_explain(const char *command, enum err error, const struct errbuf *e)
{
    (void)fprintf(stderr, "%s: %s\n", command, e->text[0] ? e->text : err_text(error));
    if (error == ERR_USAGE) {
        return CLI_USAGE;
    }
    return error == ERR_REFUSED || error == ERR_BUSY ? CLI_REFUSED : CLI_FAILED;
}
