/* args.h - the words after a sub-command: options with or without a value, the rest positional.
 * Owns: nothing (points into argv). An unknown option is refused with the nearest known one. */
#ifndef PFT_ARGS_H
#define PFT_ARGS_H

#include <stdbool.h>

#include "common/base/err.h"

enum { ARGS_POSITIONAL = 4, ARGS_REPEATS = 64 };

struct args_option {
    const char *name;  /* "--out" */
    const char *value; /* what the value is ("FOLDER"), NULL for a flag */
    const char *what;  /* one line for --help */
    const char **into; /* where the value goes; for a repeatable one an array of ARGS_REPEATS */
    int *count;        /* NULL, or how often it came: then `into` is an array */
    bool *flag;        /* for a flag */
};

struct args {
    const char *usage; /* "pft run CONFIG [options]" */
    const char *what;  /* one or two lines for --help */
    const struct args_option *options;
    int n_options;
    const char *positional[ARGS_POSITIONAL];
    int n_positional;
};

/* Parses argv[1..]. ERR_USAGE with a text for wrong words; ERR_STATE after --help was printed to
 * stdout (the caller then returns 0). "--name=value" and "--name value" are the same. */
MUST_USE enum err args_parse(struct args *a, int argc, char **argv, struct errbuf *e);

/* A whole number in [least, most]; the message names the option. */
MUST_USE enum err args_number(const char *option, const char *text, long least, long most,
                              long *out, struct errbuf *e);

/* A number above 0 and at most `most`; the message names the option. */
MUST_USE enum err args_positive(const char *option, const char *text, double most, double *out,
                                struct errbuf *e);

#endif
