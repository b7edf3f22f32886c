/* examples.h - what a person can read of an evaluation: a few held-out dilemmas with the option
 * that the model picks by itself under either value, before and after training. Owns: which
 * dilemmas are shown (the first of the file and the one in its middle, so none is chosen for its
 * outcome) and their layout. Never: scores anything. Pure. */
#ifndef PFT_EXAMPLES_H
#define PFT_EXAMPLES_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct dataset;
struct values;

/* The "questions" of one readout (eval_result.h) before and after; either may be NULL. Borrowed. */
struct examples_picks {
    const void *before, *after; /* json_t arrays */
    const char *readout;        /* "likelihood" */
};

/* Appends the dilemmas; nothing where no question is of a named axis. plain: text for a terminal of
 * 80 columns, else Markdown. ERR_NOMEM only. */
MUST_USE enum err examples_add(const struct dataset *test, const struct values *values,
                               const struct examples_picks *picks, bool plain, struct str *out);

#endif
