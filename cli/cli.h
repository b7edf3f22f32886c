/* cli.h - the sub-commands of pft, one function a file. Each gets its own words (argv[0] is the
 * sub-command) and returns the exit code: 0 fine, 1 failed, 2 wrong usage, 3 refused, 130
 * interrupted. Results go to stdout, everything else to stderr. */
#ifndef PFT_CLI_H
#define PFT_CLI_H

#include "common/base/err.h"

int cli_run(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_infer(int argc, char **argv);
int cli_generate(int argc, char **argv);
int cli_chat(int argc, char **argv);
int cli_capture(int argc, char **argv);
int cli_export(int argc, char **argv);
int cli_data(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_profile(int argc, char **argv);
int cli_submit(int argc, char **argv);
int cli_jobs(int argc, char **argv);
int cli_cancel(int argc, char **argv);
int cli_logs(int argc, char **argv);
int cli_scale(int argc, char **argv);
int cli_reproduce(int argc, char **argv);
int cli_judge(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_config(int argc, char **argv);
int cli_drain(int argc, char **argv);
int cli_stop(int argc, char **argv);
int cli_keys(int argc, char **argv);

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_REFUSED = 3, CLI_INTERRUPTED = 130 };

/* "command: text" to stderr; the exit code that fits the error. */
int cli_explain(const char *command, enum err error, const struct errbuf *e);

#endif
