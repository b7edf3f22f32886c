/* summary.c - from run.db to the report. */
#include "coordinator/summary.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "coordinator/export.h"
#include "coordinator/objective.h"
#include "coordinator/report.h"

struct texts {
    struct str before, after, config, suspects, table, markdown;
    char adapter[FILE_PATH_BYTES], report[FILE_PATH_BYTES];
    char hash[HASH_SHA256_HEX];
};

/* NULL when run.db has none. */
static enum err get_eval(struct journal *j, const char *name, struct str *out, const char **json,
                         struct errbuf *e)
{
    enum err error = journal_eval_get(j, name, out, e);
    *json = error == OK ? out->data : NULL;
    return error == ERR_NOT_FOUND ? OK : error;
}

/* Behind the number of the first of them. */
static enum err get_suspects(struct journal *j, struct str *out, const char **text,
                             struct errbuf *e)
{
    enum err error = journal_meta_get(j, "suspects", out, e);
    const char *space = error == OK ? strchr(out->data, ' ') : NULL;
    *text = space ? space + 1 : NULL;
    return error == ERR_NOT_FOUND ? OK : error;
}

static enum err add_steps(struct journal *j, struct report_input *in, struct errbuf *e)
{
    enum err error = OK;
    in->steps = journal_steps(j);
    for (uint64_t i = 0; i < in->steps && error == OK; i++) {
        struct journal_step step;
        error = journal_step_get(j, i, &step, e);
        if (error == OK) {
            in->pairs += step.pairs;
            in->tokens += step.tokens;
            in->train_seconds += step.seconds;
            in->first_loss = i == 0 ? step.loss : in->first_loss;
            in->last_loss = step.loss;
            in->most_kl = step.kl > in->most_kl ? step.kl : in->most_kl;
            in->last_kl = step.kl;
        }
    }
    return error;
}

static enum err gather(struct start *start, const char *run, const struct phases_outcome *outcome,
                       struct texts *t, struct report_input *in, struct errbuf *e)
{
    struct journal *j = start->journal;
    *in = (struct report_input){.run = run,
                                .model_hash = start->setup.model_hash,
                                .kernels = start->setup.kernels,
                                .precision = start->setup.precision,
                                .anchored = start->setup.anchor != NULL,
                                .eval_seconds = outcome->eval_seconds,
                                .total_seconds = outcome->total_seconds};
    config_dump(start->setup.cfg, &t->config);
    enum err error = str_ok(&t->config);
    in->config = t->config.data;
    in->objective = objective_meaning(start->setup.cfg);
    in->test = start->setup.test;
    in->values = start->setup.values;
    if (error == OK) {
        error = get_eval(j, "before", &t->before, &in->eval_before, e);
    }
    if (error == OK) {
        error = get_eval(j, "after", &t->after, &in->eval_after, e);
    }
    if (error == OK) {
        error = add_steps(j, in, e);
    }
    if (error == OK) {
        error = get_suspects(j, &t->suspects, &in->suspects, e);
    }
    if (error == OK) {
        error = file_join(t->adapter, run, "adapter", e);
    }
    if (error == OK) {
        error = file_join(t->report, run, "report.md", e);
    }
    if (error == OK && export_hash(t->adapter, t->hash, e) == OK) {
        in->adapter_hash = t->hash;
    }
    return error;
}

enum err summary_write(struct start *start, const char *run, const struct phases_outcome *outcome,
                       bool table, struct errbuf *e)
{
    struct texts t = {0};
    struct report_input in;
    struct model_description d = model_describe(start->setup.model);
    enum err error = gather(start, run, outcome, &t, &in, e);
    in.model_name = d.name;
    in.model_quantisation = d.quantisation;
    if (error == OK) {
        error = report_markdown(&in, &t.markdown, e);
    }
    if (error == OK) {
        error = file_write_atomic(t.report, t.markdown.data, t.markdown.len, e);
    }
    if (error == OK && table) {
        error = report_table(&in, &t.table, e);
    }
    if (error == OK && table &&
        (fwrite(t.table.data, 1, t.table.len, stdout) != t.table.len || fflush(stdout) != 0)) {
        error = err_set(e, ERR_IO, "cannot write the table to stdout");
    }
    str_free(&t.before);
    str_free(&t.after);
    str_free(&t.config);
    str_free(&t.suspects);
    str_free(&t.table);
    str_free(&t.markdown);
    return error;
}
