/* step.c - units of a job, one after another. */
#include "worker/step.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "worker/engine_generate.h"

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

static bool told_to_stop(const struct step_work *work, struct step_result *result)
{
    result->stopped = atomic_load_explicit(work->stop, memory_order_relaxed);
    return result->stopped;
}

static enum err run_gradients(struct engine_slot *slot, const struct step_work *work,
                              struct step_result *result, struct errbuf *e)
{
    int64_t *sum = (int64_t *)(void *)blob_data_mut(result->payload);
    memset(sum, 0, work->lora_count * sizeof *sum);
    for (uint32_t i = 0; i < work->job->units && !told_to_stop(work, result); i++) {
        const struct unit *unit = &work->units[i];
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
    for (uint32_t i = 0; i < work->job->units && !told_to_stop(work, result); i++) {
        const struct unit *unit = &work->units[i];
        enum err error = work->job->score == WIRE_KL
                             ? engine_divergence(slot, unit, work->lora, leaf, e)
                             : engine_score(slot, unit, work->lora, leaf, e);
        if (error != OK) {
            return failed(result, error, unit, e);
        }
        leaf += leaves_of(unit);
        result->rows[i] = (struct wire_unit_row){.unit = unit->id, .labels = labels_of(unit)};
    }
    return OK;
}

static enum err run_capture(struct engine_slot *slot, const struct step_work *work,
                            struct step_result *result, struct errbuf *e)
{
    int64_t *sum = (int64_t *)(void *)blob_data_mut(result->payload);
    memset(sum, 0, work->sums * sizeof *sum);
    for (uint32_t i = 0; i < work->job->units && !told_to_stop(work, result); i++) {
        const struct unit *unit = &work->units[i];
        enum err error = engine_capture(slot, unit, work->lora, sum, e);
        if (error != OK) {
            return failed(result, error, unit, e);
        }
        result->rows[i] = (struct wire_unit_row){.unit = unit->id, .labels = labels_of(unit)};
    }
    return OK;
}

static enum err no_memory(struct step_result *result, uint64_t values, struct errbuf *e)
{
    result->failure = WIRE_FAILURE_RESOURCES;
    return err_set(e, ERR_NOMEM, "no memory for %llu values", (unsigned long long)values);
}

static void write_answer(const struct engine_answer *a, uint32_t *out)
{
    out[0] = a->n;
    out[1] = (uint32_t)a->end;
    memcpy(out + 2, a->tokens, a->n * sizeof *out);
}

static enum err put_answers(const struct step_work *work, const struct engine_answer *answers,
                            struct step_result *result, struct errbuf *e)
{
    size_t words = 0;
    for (uint32_t i = 0; i < work->job->units; i++) {
        words += 2 + (size_t)answers[i].n;
    }
    result->payload = blob_new(words * 4);
    if (!result->payload) {
        return no_memory(result, words, e);
    }
    uint32_t *out = (uint32_t *)(void *)blob_data_mut(result->payload);
    for (uint32_t i = 0; i < work->job->units; i++) {
        const struct unit *unit = &work->units[i];
        write_answer(&answers[i], out);
        out += 2 + answers[i].n;
        result->rows[i] = (struct wire_unit_row){.unit = unit->id, .labels = labels_of(unit)};
    }
    return OK;
}

static enum err run_answers(struct engine_slot *slot, const struct step_work *work,
                            struct step_result *result, struct errbuf *e)
{
    struct engine_answer answers[LIMIT_JOB_UNITS] = {{0}};
    enum err error = work->requests
                         ? engine_generate(slot, work->units, work->requests, work->job->units,
                                           work->lora, work->stop, &result->stopped, answers, e)
                         : err_set(e, ERR_PARSE, "units without requests");
    if (error != OK) {
        error = failed(result, error, &work->units[0], e);
    } else if (!result->stopped) {
        error = put_answers(work, answers, result, e);
    }
    for (uint32_t i = 0; i < work->job->units; i++) {
        mem_free(answers[i].tokens);
    }
    return error;
}

/* Values of 8 bytes that a job of a known size brings. */
static uint64_t values_of(const struct step_work *work)
{
    uint64_t values = 0;
    if (work->job->kind != WIRE_SCORE) {
        return work->job->kind == WIRE_GRADIENT ? work->lora_count : work->sums;
    }
    for (uint32_t i = 0; i < work->job->units; i++) {
        values += leaves_of(&work->units[i]);
    }
    return values;
}

static enum err run_sized(struct engine_slot *slot, const struct step_work *work,
                          struct step_result *result, struct errbuf *e)
{
    const enum wire_job_kind kind = work->job->kind;
    const uint64_t values = values_of(work);
    if (values == 0 || (kind == WIRE_GRADIENT && !work->lora)) {
        result->failure = WIRE_FAILURE_INPUT;
        return err_set(e, ERR_RANGE, "job %llx asks for no values",
                       (unsigned long long)work->job->job);
    }
    result->payload =
        kind == WIRE_GRADIENT ? payload_room_take(work->room, values * 8) : blob_new(values * 8);
    if (!result->payload) {
        return no_memory(result, values, e);
    }
    return kind == WIRE_GRADIENT ? run_gradients(slot, work, result, e)
           : kind == WIRE_SCORE  ? run_scores(slot, work, result, e)
                                 : run_capture(slot, work, result, e);
}

enum err step_run(struct engine_slot *slot, const struct step_work *work,
                  struct step_result *result, struct errbuf *e)
{
    memset(result, 0, sizeof *result);
    enum err error = engine_slot_steer(slot, work->steer, e); /* never of a gradient */
    if (error != OK) {
        return failed(result, error, &work->units[0], e);
    }
    error = work->job->kind == WIRE_GENERATE ? run_answers(slot, work, result, e)
                                             : run_sized(slot, work, result, e);
    if (error != OK || result->stopped) {
        blob_free(&result->payload);
        return error;
    }
    result->n_rows = work->job->units;
    hash_xxh128(blob_data(result->payload), blob_bytes(result->payload), result->hash);
    return OK;
}
