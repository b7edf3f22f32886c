/* step.c - units of a job, one after another. */
#include "worker/step.h"

#include <string.h>

#include "common/base/hash.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "payloads are little-endian and used in place"
#endif

static uint64_t leaves_of(const struct unit *unit)
{
    uint64_t leaves = 0;
    for (uint32_t t = 0; t < unit->n_trees; t++) {
        leaves += unit->trees[t].n_leaves;
    }
    return leaves;
}

static uint32_t labels_of(const struct unit *unit)
{
    uint32_t labels = 0;
    for (uint32_t t = 0; t < unit->n_trees; t++) {
        labels += unit->trees[t].n_labels;
    }
    return labels;
}

static enum err failed(struct step_result *result, enum err error, const struct unit *unit,
                       struct errbuf *e)
{
    result->failure = error == ERR_RANGE   ? WIRE_FAILURE_NUMBERS
                      : error == ERR_NOMEM ? WIRE_FAILURE_RESOURCES
                                           : WIRE_FAILURE_INPUT;
    return err_prefix(e, error, "unit %llx", (unsigned long long)unit->id);
}

static enum err run_gradients(struct engine_slot *slot, const struct step_work *work,
                              struct step_result *result, struct errbuf *e)
{
    int64_t *sum = (int64_t *)(void *)blob_data_mut(result->payload);
    memset(sum, 0, work->lora_count * sizeof *sum);
    for (uint32_t i = 0; i < work->job->units; i++) {
        const struct unit *unit = &work->units[i];
        if (atomic_load_explicit(work->stop, memory_order_relaxed)) {
            result->stopped = true;
            return OK;
        }
        struct unit_result one;
        enum err error = engine_gradient(slot, unit, work->lora, work->job->step, sum, &one, e);
        if (error != OK) {
            return failed(result, error, unit, e);
        }
        result->rows[i] = (struct wire_unit_row){
            .unit = unit->id, .loss = one.loss, .sumsq = one.sumsq, .labels = one.labels};
    }
    return OK;
}

static enum err run_scores(struct engine_slot *slot, const struct step_work *work,
                           struct step_result *result, struct errbuf *e)
{
    double *leaf = (double *)(void *)blob_data_mut(result->payload);
    for (uint32_t i = 0; i < work->job->units; i++) {
        const struct unit *unit = &work->units[i];
        if (atomic_load_explicit(work->stop, memory_order_relaxed)) {
            result->stopped = true;
            return OK;
        }
        enum err error = engine_score(slot, unit, work->lora, leaf, e);
        if (error != OK) {
            return failed(result, error, unit, e);
        }
        leaf += leaves_of(unit);
        result->rows[i] = (struct wire_unit_row){.unit = unit->id, .labels = labels_of(unit)};
    }
    return OK;
}

enum err step_run(struct engine_slot *slot, const struct step_work *work,
                  struct step_result *result, struct errbuf *e)
{
    memset(result, 0, sizeof *result);
    bool gradient = work->job->kind == WIRE_GRADIENT;
    uint64_t values = gradient ? work->lora_count : 0;
    for (uint32_t i = 0; !gradient && i < work->job->units; i++) {
        values += leaves_of(&work->units[i]);
    }
    if (values == 0 || (gradient && !work->lora)) {
        result->failure = WIRE_FAILURE_INPUT;
        return err_set(e, ERR_RANGE, "job %llx asks for no values",
                       (unsigned long long)work->job->job);
    }
    result->payload = gradient ? payload_room_take(work->room, values * 8) : blob_new(values * 8);
    if (!result->payload) {
        result->failure = WIRE_FAILURE_RESOURCES;
        return err_set(e, ERR_NOMEM, "no memory for %llu values", (unsigned long long)values);
    }
    enum err error =
        gradient ? run_gradients(slot, work, result, e) : run_scores(slot, work, result, e);
    if (error != OK || result->stopped) {
        blob_free(&result->payload);
        return error;
    }
    result->n_rows = work->job->units;
    hash_xxh128(blob_data(result->payload), blob_bytes(result->payload), result->hash);
    return OK;
}
