/* report.h - what a run ends with: the table on stdout and RUN/report.md, from the same rows.
 * Owns: wording and layout. Never: computes anything but differences. */
#ifndef PFT_REPORT_H
#define PFT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct dataset;
struct values;

struct report_input {
    const char *run;             /* folder */
    const char *eval_before;     /* JSON of eval_finish, or NULL */
    const char *eval_after;      /* JSON of eval_finish, or NULL */
    const char *config;          /* canonical YAML */
    const char *objective;       /* objective_name and what it does, or NULL: nothing was trained */
    const struct dataset *test;  /* what the evaluations asked, or NULL: no dilemmas are shown */
    const struct values *values; /* of its axes, or NULL */
    const char *model_name;
    const char *model_quantisation;
    const char *model_hash;
    const char *adapter_hash; /* SHA-256 of adapter_model.safetensors, or NULL */
    const char *kernels, *precision;
    uint64_t steps, pairs, tokens; /* trained */
    double first_loss, last_loss;
    bool anchored;
    double most_kl, last_kl; /* of the anchor, over the steps */
    const char *suspects;    /* steps not to be trusted (audit.h), or NULL */
    double train_seconds, eval_seconds, total_seconds;
};

/* The readable table (plain text, for the terminal). */
MUST_USE enum err report_table(const struct report_input *in, struct str *out, struct errbuf *e);

/* The same as Markdown with settings, hashes and how to use the adapter. */
MUST_USE enum err report_markdown(const struct report_input *in, struct str *out, struct errbuf *e);

#endif
