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
                       "%s: the checkpoint is of step %llu, run.db knows %llu steps: run.db or "
                       "run.db-wal is older than checkpoints/, damaged or gone",
                       run, (unsigned long long)p->version, (unsigned long long)journal_steps(j));
    }
    const uint64_t from = p->version;
    error = journal_replay(j, from, step, p->adam.count, replay_step, p, e);
    if (error == ERR_NOT_FOUND && !back) { /* pruned: a newer checkpoint stood for it */
        return err_set(e, ERR_CORRUPT,
                       "%s: the log of step %llu was deleted when there was a newer checkpoint; "
                       "no undamaged one is in %s/checkpoints",
                       run, (unsigned long long)from, run);
    }
    if (error == OK && p->version != step) {
        return err_set(e, ERR_CORRUPT, "%s/run.db: the rows of steps %llu to %llu are missing", run,
                       (unsigned long long)p->version, (unsigned long long)step - 1);
    }
    return error;
}
