/* eval_kind.c - the table of evaluation kinds. */
#include "coordinator/eval_kind.h"

#include <string.h>

#include "coordinator/config.h"
#include "coordinator/dataset.h"

static const struct eval_kind *const kinds[EVAL_TASKS] = {
    [EVAL_SELECT] = &eval_select,         [EVAL_BEHAVIOUR] = &eval_behaviour,
    [EVAL_RETENTION] = &eval_retention,   [EVAL_HISTORY] = &eval_history,
    [EVAL_DIVERGENCE] = &eval_divergence, [EVAL_VALUES] = &eval_values,
    [EVAL_GENERATED] = &eval_generated};

const struct eval_kind *eval_kind(enum eval_task task)
{
    return kinds[task];
}

int eval_task_from(const char *name)
{
    for (int i = 0; i < EVAL_TASKS; i++) {
        if (strcmp(name, kinds[i]->name) == 0) {
            return i;
        }
    }
    return -1;
}

enum eval_task eval_task_for(const struct dataset *d)
{
    enum eval_task task = EVAL_SELECT;
    while (task + 1 < EVAL_TASKS && !kinds[task]->reads(d)) {
        task++;
    }
    return task;
}

uint32_t eval_limit(const struct eval_input *in)
{
    uint32_t n = in->test->n_scenarios;
    return in->ask.limit > 0 && in->ask.limit < n ? in->ask.limit : n;
}

uint32_t eval_readouts(const struct eval_input *in)
{
    const uint32_t asked =
        in->cfg->eval_readouts & (in->ask.before ? in->cfg->eval_before_readouts : UINT32_MAX);
    return in->ask.only_mix ? 0 : asked & kinds[in->ask.task]->readouts;
}
