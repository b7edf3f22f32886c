/* go_back.c - first the parameters of the step are made as at any start; only then is removed what
 * lies behind it. */
#include "coordinator/go_back.h"

#include <inttypes.h>
#include <unistd.h>

#include "common/base/log.h"
#include "coordinator/audit.h"
#include "coordinator/checkpoint.h"
#include "coordinator/recover.h"

/* What a finished run left of the steps that are no more. */
static void remove_outcome(const char *run)
{
    static const char *const names[] = {"report.md", "adapter/adapter_model.safetensors"};
    char path[FILE_PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (file_join(path, run, names[i], NULL) == OK && unlink(path) == 0) {
            log_event(LOG_INFO, "removed", "%s: it was made of later steps", path);
        }
    }
}

/* What is known of the workers is so of the steps that are left. */
static enum err shorten_audits(struct start *s, uint64_t step, struct errbuf *e)
{
    static const uint8_t secret[AUDIT_SECRET_BYTES];
    struct audit *a = NULL;
    enum err error = audit_new(0.0, secret, &a);
    if (error == OK && s->audits.len > 0 && audit_load(a, s->audits.data) == OK) {
        str_clear(&s->audits);
        audit_go_back(a, step);
        audit_dump(a, &s->audits);
        error = str_ok(&s->audits);
        if (error == OK) {
            error =
                journal_meta_set(s->journal, "audits", s->audits.len > 0 ? s->audits.data : "", e);
        }
    }
    audit_free(&a);
    return error;
}

static enum err forget_suspects(struct start *s, struct errbuf *e)
{
    str_clear(&s->suspects);
    enum err error = journal_meta_get(s->journal, "suspects", &s->suspects, e);
    return error == ERR_NOT_FOUND ? OK : error;
}

enum err go_back(const char *run, struct start *s, uint64_t step, struct errbuf *e)
{
    uint64_t steps = journal_steps(s->journal);
    if (step > steps) {
        return err_set(e, ERR_RANGE,
                       "--from-step %" PRIu64 ": %s has %" PRIu64 " steps; 0 to %" PRIu64
                       " are possible",
                       step, run, steps, steps);
    }
    enum err error = recover_params_at(run, s->journal, s->setup.fixed, step, s->params, NULL, e);
    if (error == ERR_NOT_FOUND) {
        return err_set(
            e, error,
            "--from-step %" PRIu64 ": the records of earlier steps are pruned, %s keeps "
            "its two newest checkpoints (checkpoint.steps); a step from the older one on "
            "is possible, or 0",
            step, run);
    }
    if (error == OK) {
        error = checkpoint_drop_after(run, step, e);
    }
    if (error == OK) {
        remove_outcome(run);
        error = journal_go_back(&s->journal, run, step, e);
    }
    if (error == OK) {
        error = shorten_audits(s, step, e);
    }
    if (error == OK) {
        error = forget_suspects(s, e);
    }
    if (error == OK) {
        s->has_after = false;
        log_event(LOG_INFO, "went_back", "step=%" PRIu64 " from=%" PRIu64, step, steps);
    }
    return error;
}
