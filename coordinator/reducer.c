/* reducer.c - the thread behind reduce and params. */
#include "coordinator/reducer.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/net/desk.h"

enum { LETTERS_MAX = 4096 };
enum order_kind { ORDER_BEGIN, ORDER_ADD, ORDER_FINISH };

struct order {
    struct letter letter; /* first */
    enum order_kind kind;
    uint64_t step, job;
    uint32_t n_units, first_anchor;
    double lr;
    bool checkpoint;
    struct blob *payload;
    struct reducer_report *report; /* made early: once the work is done it must be told */
    uint8_t digest[HASH_XXH128_BYTES];
    uint32_t units[LIMIT_JOB_UNITS];
    int64_t loss[LIMIT_JOB_UNITS];
    uint32_t labels[LIMIT_JOB_UNITS];
};

struct reducer {
    struct params *params;
    struct reduce *reduce;
    struct mailbox *reports;
    struct desk *desk;
};

void reducer_report_free(struct reducer_report *report)
{
    blob_free(&report->gradient);
    if (report->snapshot) {
        params_snapshot_release(report->snapshot);
    }
    params_free(&report->state);
    mem_free(report);
}

static void drop_report(struct letter *letter)
{
    reducer_report_free((struct reducer_report *)letter);
}

static void drop_order(struct letter *letter)
{
    struct order *order = (struct order *)letter;
    blob_free(&order->payload);
    if (order->report) {
        reducer_report_free(order->report);
    }
    mem_free(order);
}

static enum err post_order(struct reducer *r, struct order *order)
{
    return order ? desk_post(r->desk, &order->letter) : ERR_NOMEM;
}

static struct order *new_order(enum order_kind kind, uint64_t step)
{
    struct order *order = mem_calloc(1, sizeof *order);
    if (order) {
        order->letter.drop = drop_order;
        order->kind = kind;
        order->step = step;
        order->report = mem_calloc(1, sizeof *order->report);
        if (!order->report) {
            drop_order(&order->letter);
            return NULL;
        }
        order->report->letter.drop = drop_report;
    }
    return order;
}

static enum err copy_state(const struct params *p, struct params **out)
{
    enum err error = params_new_empty(p->adam.count, &p->cfg, out);
    if (error == OK) {
        struct params *copy = *out;
        size_t bytes = p->adam.count * sizeof *p->adam.p;
        memcpy(copy->adam.p, p->adam.p, bytes);
        memcpy(copy->adam.m, p->adam.m, bytes);
        memcpy(copy->adam.v, p->adam.v, bytes);
        copy->adam.beta1_t = p->adam.beta1_t;
        copy->adam.beta2_t = p->adam.beta2_t;
        copy->version = p->version;
    }
    return error;
}

static void finish(struct reducer *r, const struct order *order, struct reducer_report *report)
{
    report->kind = REDUCER_STEPPED;
    report->step = order->step;
    report->gradient = blob_new(r->params->adam.count * sizeof(float));
    if (!report->gradient) {
        report->code = ERR_NOMEM;
        return;
    }
    float *gradient = (float *)(void *)blob_data_mut(report->gradient);
    FAILPOINT("reduce.finish");
    report->code = reduce_finish(r->reduce, gradient, &report->total);
    if (report->code != OK) {
        return;
    }
    CHECK(r->params->version == order->step);
    params_step(r->params, gradient, order->lr, &report->norm);
    FAILPOINT("reduce.stepped");
    report->code = params_snapshot(r->params, &report->snapshot);
    if (report->code == OK && order->checkpoint) {
        report->code = copy_state(r->params, &report->state);
    }
}

static void add(struct reducer *r, const struct order *order, struct reducer_report *report)
{
    struct reduce_job job = {.n_units = order->n_units,
                             .units = order->units,
                             .loss = order->loss,
                             .labels = order->labels,
                             .payload = blob_data(order->payload),
                             .bytes = blob_bytes(order->payload)};
    memcpy(job.digest, order->digest, sizeof job.digest);
    report->kind = REDUCER_SUMMED;
    report->job = order->job;
    FAILPOINT("reduce.add");
    report->code = reduce_add(r->reduce, order->step, &job);
}

/* One order, on the desk's thread. */
static uint32_t carry_out(void *ctx, struct letter *letter, bool closing)
{
    struct reducer *r = ctx;
    struct order *order = (struct order *)letter;
    (void)closing;
    if (order->kind == ORDER_BEGIN) {
        CHECK(reduce_begin(r->reduce, order->step, order->n_units, order->first_anchor) == OK);
        return 0;
    }
    struct reducer_report *report = order->report;
    order->report = NULL;
    uint64_t begin = clock_now_ns();
    if (order->kind == ORDER_ADD) {
        add(r, order, report);
    } else {
        finish(r, order, report);
    }
    report->seconds = (double)(clock_now_ns() - begin) * 1e-9;
    if (mailbox_post(r->reports, &report->letter) != OK) {
        reducer_report_free(report); /* the program is ending */
    }
    return 0;
}

enum err reducer_open(struct params **params, struct mailbox *reports, struct reducer **out,
                      struct errbuf *e)
{
    struct reducer *r = mem_calloc(1, sizeof *r);
    if (!r) {
        return err_set(e, ERR_NOMEM, "no memory for the reducer");
    }
    r->params = *params;
    *params = NULL;
    r->reports = reports;
    enum err error = reduce_new(r->params->adam.count, &r->reduce);
    if (error == OK) {
        error = desk_open(LETTERS_MAX, carry_out, r, &r->desk);
    }
    if (error != OK) {
        reducer_close(&r);
        return err_set(
            e, error,
            "cannot start the thread that sums gradients; do ulimit -u and ulimit -v allow it?");
    }
    *out = r;
    return OK;
}

enum err reducer_begin(struct reducer *r, uint64_t step, uint32_t n_units, uint32_t first_anchor)
{
    struct order *order = new_order(ORDER_BEGIN, step);
    if (order) {
        order->n_units = n_units;
        order->first_anchor = first_anchor;
    }
    return post_order(r, order);
}

enum err reducer_add(struct reducer *r, uint64_t step, uint64_t job_id,
                     const struct reduce_job *job, struct blob *payload)
{
    CHECK(job->n_units <= LIMIT_JOB_UNITS);
    struct order *order = new_order(ORDER_ADD, step);
    if (order) {
        order->job = job_id;
        order->n_units = job->n_units;
        memcpy(order->units, job->units, job->n_units * sizeof *job->units);
        memcpy(order->loss, job->loss, job->n_units * sizeof *job->loss);
        memcpy(order->labels, job->labels, job->n_units * sizeof *job->labels);
        memcpy(order->digest, job->digest, sizeof order->digest);
        order->payload = blob_ref(payload);
    }
    return post_order(r, order);
}

enum err reducer_finish(struct reducer *r, uint64_t step, double lr, bool checkpoint)
{
    struct order *order = new_order(ORDER_FINISH, step);
    if (order) {
        order->lr = lr;
        order->checkpoint = checkpoint;
    }
    return post_order(r, order);
}

void reducer_close(struct reducer **reducer)
{
    struct reducer *r = *reducer;
    *reducer = NULL;
    if (!r) {
        return;
    }
    desk_close(&r->desk);
    reduce_free(&r->reduce);
    params_free(&r->params);
    mem_free(r);
}
