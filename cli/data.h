/* data.h - what the parts of pft data share: its options and the files they name.
 * Owns: struct data_command. Never: knows a format (coordinator/data_format.h does). */
#ifndef PFT_CLI_DATA_H
#define PFT_CLI_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/args.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/text/tokenizer.h"
#include "coordinator/config.h"
#include "coordinator/data_format.h"
#include "coordinator/dataset.h"
#include "coordinator/values.h"

struct data_command {
    const char *file;
    const char *values_path, *model_path, *format, *layout, *out, *limit;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool json;

    struct run_config *cfg; /* defaults, then --layout and --set */
    struct values *values;  /* NULL without --values */
    struct tokenizer *tok;  /* NULL without --model */
};

/* pft data forest: prints the trees of the file's groups as JSON to out. */
MUST_USE enum err data_forest(const struct data_command *c, struct str *out, struct errbuf *e);

#endif
