/* recover.c - checkpoint, then replay. */
#include "coordinator/recover.h"

#include "common/base/check.h"
#include "common/base/failpoint.h"

static enum err replay_step(void *context, const struct journal_step *step, const float *gradient,
                            size_t count)
{
    struct params *p = context;
    CHECK(step->step == p->version && count == p->adam.count);
    FAILPOINT("resume.replay");
    params_step(p, gradient, step->lr, NULL);
    return OK;
}

enum err recover_params(const char *run, struct journal *j,
                        const uint8_t config[CHECKPOINT_CONFIG_BYTES], struct params *p,
                        struct str *warnings, struct errbuf *e)
{
    return recover_params_at(run, j, config, journal_steps(j), p, warnings, e);
}

enum err recover_params_at(const char *run, struct journal *j,
                           const uint8_t config[CHECKPOINT_CONFIG_BYTES], uint64_t step,
                           struct params *p, struct str *warnings, struct errbuf *e)
{
    bool back = step < journal_steps(j); /* later checkpoints are right, but not asked for */
    enum err error = checkpoint_load(run, config, back ? step : UINT64_MAX, p, warnings, e);
    if (error != OK && error != ERR_NOT_FOUND && error != ERR_CORRUPT) {
        return error;
    }
    if (p->version > journal_steps(j)) {
        return err_set(e, ERR_CORRUPT,
                       "%s: the checkpoint is of step %llu, run.db knows %llu steps: these files "
                       "are not of one run",
                       run, (unsigned long long)p->version, (unsigned long long)journal_steps(j));
    }
    return journal_replay(j, p->version, step, p->adam.count, replay_step, p, e);
}
