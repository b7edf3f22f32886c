/* plan.c - shuffle, steps, weights, packing. */
#include "coordinator/plan.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

enum { PLAN_SHUFFLE = 0x5AFF1E }; /* purpose word of the shuffle's key */

struct plan {
    struct plan_config cfg;
    struct plan_group *groups;
    uint32_t n_groups;
    uint64_t steps, epoch_steps;
    uint32_t *order; /* groups in the order of `epoch`, so that a step costs no new shuffle */
    uint64_t epoch;  /* what order holds; UINT64_MAX = nothing yet */
};

static enum err check(const struct plan_config *c, const struct plan_group *groups, uint32_t n,
                      struct errbuf *e)
{
    if (n == 0 || n > LIMIT_GROUPS) {
        return err_set(e, ERR_RANGE, "data.train has %u prompt groups; 1 to %d are possible", n,
                       LIMIT_GROUPS);
    }
    if (c->batch_groups == 0 || c->unit_tokens == 0) {
        return err_set(e, ERR_RANGE,
                       "train.batch_groups is %u and unit_tokens is %u; both must be "
                       "at least 1",
                       c->batch_groups, c->unit_tokens);
    }
    if (c->max_steps == 0 && c->epochs == 0) {
        return err_set(e, ERR_RANGE, "train.epochs and train.max_steps are both 0; set one");
    }
    if (c->normalisation != PLAN_PAPER) {
        return OK;
    }
    if (c->micro_groups == 0) {
        return err_set(e, ERR_RANGE, "the micro-batch of train.normalisation: paper is 0 pairs");
    }
    for (uint32_t i = 0; i < n; i++) {
        if (groups[i].pairs != 1) {
            return err_set(e, ERR_RANGE,
                           "group %u has %u pairs; train.normalisation: paper needs one pair a "
                           "group (data.group: pair)",
                           i, groups[i].pairs);
        }
    }
    return OK;
}

enum err plan_new(const struct plan_config *cfg, const struct plan_group *groups, uint32_t n_groups,
                  struct plan **out, struct errbuf *e)
{
    enum err error = check(cfg, groups, n_groups, e);
    if (error != OK) {
        return error;
    }
    uint32_t batch = cfg->batch_groups;
    uint64_t epoch_steps = ((uint64_t)n_groups + batch - 1) / batch;
    uint64_t steps = cfg->max_steps ? cfg->max_steps : epoch_steps * cfg->epochs;
    if (steps > PLAN_STEPS_MAX) {
        return err_set(e, ERR_RANGE,
                       "%llu steps in all; at most %u are possible (train.epochs, "
                       "train.max_steps)",
                       (unsigned long long)steps, PLAN_STEPS_MAX);
    }
    struct plan *p = mem_calloc(1, sizeof *p);
    if (!p) {
        return ERR_NOMEM;
    }
    p->cfg = *cfg;
    p->n_groups = n_groups;
    p->epoch_steps = epoch_steps;
    p->steps = steps;
    p->epoch = UINT64_MAX;
    p->groups = mem_calloc(n_groups, sizeof *p->groups);
    p->order = mem_calloc(n_groups, sizeof *p->order);
    if (!p->groups || !p->order) {
        plan_free(&p);
        return ERR_NOMEM;
    }
    memcpy(p->groups, groups, n_groups * sizeof *groups);
    *out = p;
    return OK;
}

void plan_free(struct plan **plan)
{
    if (*plan) {
        mem_free((*plan)->groups);
        mem_free((*plan)->order);
        mem_free(*plan);
        *plan = NULL;
    }
}

uint64_t plan_steps(const struct plan *plan)
{
    return plan->steps;
}

uint64_t plan_epoch_steps(const struct plan *plan)
{
    return plan->epoch_steps;
}

/* A side's weight in a micro-batch: its own tokens over those of the micro-batch. */
static void weigh_micro_batch(const struct plan *p, struct plan_item *items, uint32_t n,
                              uint32_t micro_batches)
{
    uint64_t labels_a = 0;
    uint64_t labels_b = 0;
    for (uint32_t i = 0; i < n; i++) {
        labels_a += p->groups[items[i].group].labels_a;
        labels_b += p->groups[items[i].group].labels_b;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct plan_group *g = &p->groups[items[i].group];
        double a = labels_a ? (double)g->labels_a / (double)labels_a : 0.0;
        double b = labels_b ? (double)g->labels_b / (double)labels_b : 0.0;
        items[i].w_a = (float)(a / micro_batches);
        items[i].w_b = (float)(b / micro_batches);
    }
}

static void weigh(const struct plan *p, struct plan_item *items, uint32_t n)
{
    if (p->cfg.normalisation == PLAN_MEAN) {
        float w = (float)(1.0 / n);
        for (uint32_t i = 0; i < n; i++) {
            items[i].w_a = w;
            items[i].w_b = w;
        }
        return;
    }
    uint32_t size = p->cfg.micro_groups;
    uint32_t micro_batches = (n + size - 1) / size;
    for (uint32_t at = 0; at < n; at += size) {
        weigh_micro_batch(p, items + at, n - at < size ? n - at : size, micro_batches);
    }
}

void plan_step(struct plan *plan, uint64_t step, struct plan_item *items, uint32_t *n)
{
    CHECK(step < plan->steps);
    uint64_t epoch = step / plan->epoch_steps;
    if (epoch != plan->epoch) {
        for (uint32_t i = 0; i < plan->n_groups; i++) {
            plan->order[i] = i;
        }
        rng_shuffle(rng_key(plan->cfg.seed, PLAN_SHUFFLE, epoch, 0), plan->order, plan->n_groups);
        plan->epoch = epoch;
    }
    uint64_t first = step % plan->epoch_steps * plan->cfg.batch_groups;
    uint64_t left = plan->n_groups - first;
    uint32_t count = left < plan->cfg.batch_groups ? (uint32_t)left : plan->cfg.batch_groups;
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (struct plan_item){.group = plan->order[first + i]};
    }
    weigh(plan, items, count);
    *n = count;
}

/* Where the next unit that starts at tree `first` ends, and its rows. */
static uint32_t unit_end(const uint32_t *rows, uint32_t n, uint32_t first, uint32_t unit_tokens,
                         uint64_t *sum)
{
    uint32_t end = first + 1;
    *sum = rows[first];
    while (end < n && end - first < LIMIT_UNIT_TREES && *sum + rows[end] <= unit_tokens) {
        *sum += rows[end++];
    }
    return end;
}

uint32_t plan_useful_slots(struct plan *plan)
{
    uint32_t most = 0;
    uint32_t batch =
        plan->cfg.batch_groups < plan->n_groups ? plan->cfg.batch_groups : plan->n_groups;
    struct plan_item *items = mem_calloc(batch, sizeof *items);
    uint32_t *rows = mem_calloc(batch, sizeof *rows);
    uint64_t steps = plan->epoch_steps < plan->steps ? plan->epoch_steps : plan->steps;
    for (uint64_t s = 0; items && rows && s < steps; s++) {
        uint32_t n = 0;
        uint32_t units = 0;
        uint64_t sum;
        plan_step(plan, s, items, &n);
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = plan->groups[items[i].group].rows;
        }
        for (uint32_t at = 0; at < n; units++) {
            at = unit_end(rows, n, at, plan->cfg.unit_tokens, &sum);
        }
        most = units > most ? units : most;
    }
    mem_free(items);
    mem_free(rows);
    return most;
}

enum err plan_pack(const uint32_t *rows, uint32_t n, uint32_t edge, uint32_t unit_tokens,
                   uint32_t tag, struct plan_unit **units, uint32_t *n_units, struct errbuf *e)
{
    const uint32_t limit = tag < PLAN_EVAL_TAG ? LIMIT_STEP_UNITS : PLAN_PACK_UNITS;
    struct plan_unit *list = NULL;
    size_t capacity = 0;
    uint32_t count = 0;
    for (uint32_t at = 0; at < n; count++) {
        enum err error =
            mem_grow((void **)&list, &capacity, (size_t)count + 1, sizeof *list, limit);
        if (error != OK) {
            mem_free(list);
            return error == ERR_FULL
                       ? err_set(e, ERR_RANGE,
                                 "tag %u has more than %u units; raise unit_tokens (%u) or lower "
                                 "train.batch_groups",
                                 tag, limit, unit_tokens)
                       : error;
        }
        uint64_t sum;
        uint32_t end = unit_end(rows, at < edge ? edge : n, at, unit_tokens, &sum);
        list[count] = (struct plan_unit){.id = (uint64_t)tag << 32 | count,
                                         .first = at,
                                         .count = end - at,
                                         .rows = sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum};
        at = end;
    }
    *units = list;
    *n_units = count;
    return OK;
}

uint64_t plan_job_rows(const struct plan_load *load)
{
    if (load->left_ns == 0 || load->slots == 0 || load->units_left == 0) {
        return 1;
    }
    double rows_per_ns = (double)load->rows_left / (double)load->left_ns;
    double share = (double)load->rows_left / load->slots / 2.0;
    double floor_ns = (double)load->way_ns * load->slots;
    double fit = (double)load->target_ns * rows_per_ns;
    double rows = share < fit ? share : fit;
    /* Units are not cut, so an even share may be exceeded by half of one. */
    double even =
        (double)load->rows_open / load->slots + (double)load->rows_left / load->units_left / 2.0;
    double least = floor_ns * rows_per_ns;
    least = least < even ? least : even;
    rows = rows > least ? rows : least;
    return rows > 1.0 ? (uint64_t)rows : 1;
}
