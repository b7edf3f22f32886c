/* setup.h - everything a run is made of before it starts: settings, values, data, model, tokens,
 * plan. Owns: all of it. Never: sockets, threads, the journal's content. Place: main makes one,
 * phases reads it. Blocks on the disk and tokenises the data; before the loop starts. */
#ifndef PFT_SETUP_H
#define PFT_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/str.h"
#include "common/format/model_file.h"
#include "common/text/tokenizer.h"
#include "common/wire/message.h"
#include "coordinator/anchor.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/forest.h"
#include "coordinator/params.h"
#include "coordinator/plan.h"
#include "coordinator/reference.h"
#include "coordinator/schedule.h"
#include "coordinator/values.h"

struct setup {
    struct run_config *cfg;
    struct values *values; /* NULL: none named */
    struct dataset *train; /* NULL: nothing to train on */
    struct dataset *test;  /* NULL: no evaluation */
    struct model_file *model;
    char model_path[FILE_PATH_BYTES];
    char model_hash[HASH_SHA256_HEX];
    struct tokenizer *tok;
    struct forest *forest;       /* NULL without train */
    struct plan *plan;           /* NULL without train */
    struct reference *reference; /* NULL: the objective needs none */
    struct anchor *anchor;       /* NULL: anchor.data is not set, or nothing to train */
    struct schedule schedule;
    struct adamw_config adamw;
    uint64_t steps;                /* T; 0 without training */
    uint32_t unit_rows;            /* tokens of the largest unit of training */
    char kernels[WIRE_NAME_BYTES]; /* resolved level */
    uint32_t kernels_bit;          /* of hello.kernel_levels */
    char precision[8];             /* resolved: "fp32" or "bf16" */
    char train_hash[HASH_SHA256_HEX];
    struct str fixed_text; /* what must not change between starts of a run: lines "name: value" */
    uint8_t fixed[32];     /* SHA-256 of it */
    char fixed_hex[HASH_SHA256_HEX];
};

/* What was settled when the run was made. NULL, also inside: nothing yet. */
struct setup_known {
    const char *kernels, *precision;
};

/* train: false leaves the training data, forest and plan out. cfg is taken over, also on an error.
 * The caller frees with setup_free. */
MUST_USE enum err setup_open(struct run_config *cfg, const struct setup_known *known, bool train,
                             struct setup *s, struct errbuf *e);
void setup_free(struct setup *s); /* fine on a zeroed struct */

/* Appends the settings of a config that decide the bits of a run, a "key: value" a line; paths and
 * what is only looked at may change, and files count by their hash elsewhere. Check str_ok. */
void setup_fixed_keys(const struct run_config *cfg, struct str *text);

/* setup_open's last step: fills fixed_text, fixed and fixed_hex. */
MUST_USE enum err setup_fix(struct setup *s, struct errbuf *e);
/* Appends what differs between the fixed text of an earlier start and this one, as "name: was OLD,
 * now NEW" joined by "; "; long values are cut. Check str_ok. */
void setup_difference(const char *earlier, const char *now, struct str *out);

/* Floats of the adapter. */
size_t setup_floats(const struct setup *s);

/* The most slots a step can keep busy. */
uint32_t setup_useful_slots(const struct setup *s);

/* Learning rate of a step. */
double setup_rate(const struct setup *s, uint64_t step);

#endif
