/* plan_work.c - batches to rows and frame bytes. */
#include "cli/plan_work.h"

#include "common/base/mem.h"
#include "common/wire/units_frame.h"
#include "coordinator/batch.h"
#include "coordinator/tree_work.h"

/* Whether the step has as many groups as any. */
static bool is_whole(const struct setup *s, uint64_t step)
{
    uint32_t n_groups;
    (void)forest_groups(s->forest, &n_groups);
    uint32_t batch = s->cfg->train_batch_groups;
    uint64_t first = step % plan_epoch_steps(s->plan) * batch;
    return n_groups <= batch || first + batch <= n_groups;
}

static enum err take_step(struct plan_work *w, uint32_t index, const struct batch *b,
                          struct tree_work *seen, struct errbuf *e)
{
    uint32_t *list = mem_calloc(b->n_units, 2 * sizeof *list);
    if (!list) {
        return err_set(e, ERR_NOMEM, "no memory for %u units", b->n_units);
    }
    w->lists[index] = list;
    w->steps[index] = (struct forecast_step){
        .n_units = b->n_units, .rows = list, .frame_bytes = list + b->n_units};
    for (uint32_t u = 0; u < b->n_units; u++) {
        const struct unit *unit = &b->units[u];
        list[u] = b->rows[u];
        list[b->n_units + u] = (uint32_t)units_frame_bytes(&unit, 1);
        for (uint32_t t = 0; t < unit->n_trees; t++) {
            tree_work_add(seen, &unit->trees[t]);
        }
    }
    if (index > 0) {
        w->tokens += b->tokens;
        w->pairs += b->pairs;
        w->units += b->n_units;
    }
    w->n_steps = index + 1;
    return OK;
}

enum err plan_work_make(const struct setup *s, struct plan_work *w, struct errbuf *e)
{
    struct tree_work seen = {0};
    enum err error = OK;
    uint32_t n = 0;
    *w = (struct plan_work){0};
    for (uint64_t step = 0; step < s->steps && n < PLAN_WORK_STEPS; step++) {
        if (is_whole(s, step)) {
            w->numbers[n++] = step;
        }
    }
    w->numbers[1] = n == 1 ? w->numbers[0] : w->numbers[1];
    n = n == 1 ? 2 : n;
    for (uint32_t i = 0; i < n && error == OK; i++) {
        struct batch b;
        error = batch_train(s, w->numbers[i], &b, e);
        if (error == OK) {
            error = take_step(w, i, &b, &seen, e);
            batch_free(&b);
        }
    }
    if (error != OK) {
        plan_work_free(w);
        return error;
    }
    w->context = seen.context / seen.rows;
    w->label_rows = seen.label_rows / seen.rows;
    return OK;
}

void plan_work_free(struct plan_work *w)
{
    for (uint32_t i = 0; i < PLAN_WORK_STEPS; i++) {
        mem_free(w->lists[i]);
    }
    *w = (struct plan_work){0};
}
