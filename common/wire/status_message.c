/* status_message.c - byte form of the status reply. */
#include "common/wire/status_message.h"

#include <assert.h>
#include <math.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/task_codec.h"
#include "common/wire/wire_arena.h"
#include "pft.pb-c.h"

enum { STATUS_ARENA_BYTES = 8 << 20, REQUEST_ARENA_BYTES = STATUS_REQUEST_BYTES + 4096 };

void status_request_encode(const struct status_request *r, uint8_t out[STATUS_REQUEST_BYTES],
                           size_t *bytes)
{
    static_assert(TASK_ORDER_BYTES + sizeof r->worker + 64 <= STATUS_REQUEST_BYTES, "all fit");
    Pft__StatusRequest request = PFT__STATUS_REQUEST__INIT;
    Pft__TaskOrder order;
    request.schema = STATUS_SCHEMA;
    request.command = (uint32_t)r->command;
    request.worker = wire_text(r->worker);
    request.task = r->task;
    request.offset = r->offset;
    request.part = (uint32_t)r->part;
    if (r->command == STATUS_SUBMIT) {
        task_order_pack(&r->order, &order);
        request.order = &order;
    }
    CHECK(pft__status_request__get_packed_size(&request) <= STATUS_REQUEST_BYTES);
    *bytes = pft__status_request__pack(&request, out);
}

static enum err unpack_request(const Pft__StatusRequest *p, struct status_request *r,
                               struct errbuf *e)
{
    if (p->schema != STATUS_SCHEMA) {
        return err_set(e, ERR_RANGE, "status request of schema %u, %d is known", p->schema,
                       STATUS_SCHEMA);
    }
    if (p->command >= STATUS_COMMANDS || p->part >= TASK_PARTS ||
        !wire_copy_text(r->worker, sizeof r->worker, p->worker)) {
        return err_set(e, ERR_RANGE, "status request: command %u, part %u, or a bad worker name",
                       p->command, p->part);
    }
    r->command = (enum status_command)p->command;
    r->part = (enum task_part)p->part;
    r->task = p->task;
    r->offset = p->offset;
    if (r->command != STATUS_SUBMIT) {
        return OK;
    }
    return p->order ? task_order_unpack(p->order, &r->order, e)
                    : err_set(e, ERR_RANGE, "a submit without an order");
}

enum err status_request_decode(const uint8_t *data, size_t bytes, struct status_request *out,
                               struct errbuf *e)
{
    struct wire_arena arena;
    *out = (struct status_request){.command = STATUS_ASK};
    if (bytes > STATUS_REQUEST_BYTES) {
        return err_set(e, ERR_PARSE, "%zu bytes are no status request", bytes);
    }
    void *block = mem_aligned(REQUEST_ARENA_BYTES, 1);
    if (!block) {
        return err_set(e, ERR_NOMEM, "no memory for a status request");
    }
    wire_arena_init(&arena, block, REQUEST_ARENA_BYTES);
    Pft__StatusRequest *request = pft__status_request__unpack(&arena.allocator, bytes, data);
    enum err error = request ? unpack_request(request, out, e)
                             : err_set(e, ERR_PARSE, "%zu bytes are no status request", bytes);
    mem_free(block);
    return error;
}

void status_request_free(struct status_request *r)
{
    task_order_free(&r->order);
}

static void pack_worker(const struct status_worker *w, Pft__StatusWorker *p)
{
    pft__status_worker__init(p);
    p->id = wire_text(w->id);
    p->host = wire_text(w->host);
    p->slots = w->slots;
    p->state = wire_text(w->state);
    p->units_done = w->units_done;
    p->tokens_per_s = w->tokens_per_s;
    p->last_heard_ms = w->last_heard_ms;
    p->core_type = wire_text(w->core_type);
    p->strikes = w->strikes;
    p->utilisation = w->utilisation;
}

static void pack_reply(const struct status *s, Pft__StatusReply *p)
{
    pft__status_reply__init(p);
    p->schema = s->schema;
    p->run = wire_text(s->run);
    p->task = wire_text(s->task);
    p->state = wire_text(s->state);
    p->step_open = s->step_open;
    p->step_committed = s->step_committed;
    p->step_total = s->step_total;
    p->loss = s->loss;
    p->kl = s->kl;
    p->suspects = wire_text(s->suspects);
    p->audits_confirmed = s->audits_confirmed;
    p->audits_unconfirmed = s->audits_unconfirmed;
    p->pairs_per_s = s->pairs_per_s;
    p->tokens_per_s = s->tokens_per_s;
    p->eta_s = s->eta_s;
    p->units_queued = s->units_queued;
    p->units_leased = s->units_leased;
    p->units_done = s->units_done;
    p->useful_slots = s->useful_slots;
    p->utilisation = s->utilisation;
    p->refused = s->refused;
    p->text = wire_text(s->text);
    p->outcome = (uint32_t)s->outcome;
    p->answer = wire_text(s->answer);
    p->task_id = s->task_id;
    p->content.data = s->content;
    p->content.len = s->content_bytes;
    p->content_total = s->content_total;
}

/* The tasks as pack wants them; both blocks are the caller's. */
static enum err pack_tasks(const struct status *s, Pft__TaskInfo **infos, Pft__TaskInfo ***pointers)
{
    *infos = mem_calloc(s->n_tasks, sizeof **infos);
    *pointers = mem_calloc(s->n_tasks, sizeof(Pft__TaskInfo *));
    for (size_t i = 0; *infos && *pointers && i < s->n_tasks; i++) {
        task_info_pack(&s->tasks[i], &(*infos)[i]);
        (*pointers)[i] = &(*infos)[i];
    }
    return *infos && *pointers ? OK : ERR_NOMEM;
}

enum err status_encode(const struct status *s, uint8_t **out, size_t *bytes)
{
    size_t n = s->n_workers;
    Pft__StatusWorker *workers = mem_calloc(n, sizeof *workers);
    Pft__StatusWorker **pointers = mem_calloc(n, sizeof(Pft__StatusWorker *));
    Pft__TaskInfo *infos = NULL;
    Pft__TaskInfo **tasks = NULL;
    enum err error = workers && pointers ? pack_tasks(s, &infos, &tasks) : ERR_NOMEM;
    *out = NULL;
    if (error == OK) {
        Pft__StatusReply reply;
        pack_reply(s, &reply);
        reply.n_tasks = s->n_tasks;
        reply.tasks = tasks;
        for (size_t i = 0; i < n; i++) {
            pack_worker(&s->workers[i], &workers[i]);
            pointers[i] = &workers[i];
        }
        reply.n_workers = n;
        reply.workers = pointers;
        *bytes = pft__status_reply__get_packed_size(&reply);
        *out = *bytes <= STATUS_REPLY_BYTES ? mem_calloc(1, *bytes) : NULL;
        error = *bytes > STATUS_REPLY_BYTES ? ERR_FULL : *out ? OK : ERR_NOMEM;
        if (error == OK) {
            (void)pft__status_reply__pack(&reply, *out);
        }
    }
    mem_free(workers);
    mem_free(pointers);
    mem_free(infos);
    mem_free(tasks);
    return error;
}

static bool is_share(double value)
{
    return isnan(value) || (value >= 0.0 && value <= 1.0);
}

static bool unpack_worker(const Pft__StatusWorker *p, struct status_worker *w)
{
    *w = (struct status_worker){.slots = p->slots,
                                .units_done = p->units_done,
                                .tokens_per_s = p->tokens_per_s,
                                .last_heard_ms = p->last_heard_ms,
                                .strikes = p->strikes,
                                .utilisation = p->utilisation};
    return wire_copy_text(w->id, sizeof w->id, p->id) &&
           wire_copy_text(w->host, sizeof w->host, p->host) &&
           wire_copy_text(w->state, sizeof w->state, p->state) &&
           wire_copy_text(w->core_type, sizeof w->core_type, p->core_type);
}

static enum err unpack_tasks(const Pft__StatusReply *p, struct status *s, struct errbuf *e)
{
    if (p->n_tasks > STATUS_TASKS || p->content.len > STATUS_CONTENT_BYTES) {
        return err_set(e, ERR_RANGE,
                       "status reply: %zu tasks and %zu bytes, at most %d and %d are possible",
                       p->n_tasks, p->content.len, STATUS_TASKS, STATUS_CONTENT_BYTES);
    }
    s->tasks = mem_calloc(p->n_tasks, sizeof *s->tasks);
    s->content = mem_calloc(1, p->content.len);
    if (!s->tasks || !s->content) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tasks", p->n_tasks);
    }
    s->n_tasks = (uint32_t)p->n_tasks;
    for (uint32_t i = 0; i < s->n_tasks; i++) {
        if (!task_info_unpack(p->tasks[i], &s->tasks[i])) {
            return err_set(e, ERR_RANGE, "status reply: task %u is out of range", i);
        }
    }
    s->content_bytes = (uint32_t)p->content.len;
    if (p->content.len > 0) {
        memcpy(s->content, p->content.data, p->content.len);
    }
    return OK;
}

static enum err unpack_reply(const Pft__StatusReply *p, struct status *s, struct errbuf *e)
{
    *s = (struct status){.schema = p->schema,
                         .step_open = p->step_open,
                         .step_committed = p->step_committed,
                         .step_total = p->step_total,
                         .loss = p->loss,
                         .kl = p->kl,
                         .audits_confirmed = p->audits_confirmed,
                         .audits_unconfirmed = p->audits_unconfirmed,
                         .pairs_per_s = p->pairs_per_s,
                         .tokens_per_s = p->tokens_per_s,
                         .eta_s = p->eta_s,
                         .units_queued = p->units_queued,
                         .units_leased = p->units_leased,
                         .units_done = p->units_done,
                         .useful_slots = p->useful_slots,
                         .refused = p->refused,
                         .utilisation = p->utilisation,
                         .task_id = p->task_id,
                         .content_total = p->content_total};
    if (p->schema != STATUS_SCHEMA) {
        return err_set(e, ERR_UNSUPPORTED, "status reply of schema %u, %d is known", p->schema,
                       STATUS_SCHEMA);
    }
    if (!wire_copy_text(s->run, sizeof s->run, p->run) ||
        !wire_copy_text(s->task, sizeof s->task, p->task) ||
        !wire_copy_text(s->state, sizeof s->state, p->state) ||
        !wire_copy_text(s->text, sizeof s->text, p->text) ||
        !wire_copy_text(s->suspects, sizeof s->suspects, p->suspects) ||
        !wire_copy_text(s->answer, sizeof s->answer, p->answer)) {
        return err_set(e, ERR_RANGE,
                       "status reply: a text is too long or holds control "
                       "characters");
    }
    if (p->outcome >= STATUS_OUTCOMES) {
        return err_set(e, ERR_RANGE, "status reply: outcome %u", p->outcome);
    }
    s->outcome = (enum status_outcome)p->outcome;
    if (!is_share(p->utilisation)) {
        return err_set(e, ERR_RANGE, "status reply: utilisation %g, 0 to 1 are possible",
                       p->utilisation);
    }
    if (p->n_workers > LIMIT_WORKERS) {
        return err_set(e, ERR_RANGE, "status reply: %zu workers, at most %d", p->n_workers,
                       LIMIT_WORKERS);
    }
    s->workers = mem_calloc(p->n_workers, sizeof *s->workers);
    if (!s->workers) {
        return err_set(e, ERR_NOMEM, "no memory for %zu workers", p->n_workers);
    }
    s->n_workers = (uint32_t)p->n_workers;
    for (uint32_t i = 0; i < s->n_workers; i++) {
        if (!unpack_worker(p->workers[i], &s->workers[i])) {
            return err_set(e, ERR_RANGE, "status reply: worker %u has a bad text", i);
        }
        if (!is_share(s->workers[i].utilisation)) {
            return err_set(e, ERR_RANGE,
                           "status reply: utilisation %g of worker %u, 0 to 1 are possible",
                           s->workers[i].utilisation, i);
        }
    }
    return unpack_tasks(p, s, e);
}

enum err status_decode(const uint8_t *data, size_t bytes, struct status *s, struct errbuf *e)
{
    *s = (struct status){0};
    if (bytes == 0 || bytes > STATUS_REPLY_BYTES) {
        return err_set(e, ERR_RANGE, "status reply of %zu bytes, 1 to %d are possible", bytes,
                       STATUS_REPLY_BYTES);
    }
    size_t capacity =
        bytes * 4 + (64 << 10) < STATUS_ARENA_BYTES ? bytes * 4 + (64 << 10) : STATUS_ARENA_BYTES;
    void *block = mem_aligned(capacity, 1);
    if (!block) {
        return err_set(e, ERR_NOMEM, "no memory for a status reply of %zu bytes", bytes);
    }
    struct wire_arena arena;
    wire_arena_init(&arena, block, capacity);
    Pft__StatusReply *reply = pft__status_reply__unpack(&arena.allocator, bytes, data);
    enum err error = reply ? unpack_reply(reply, s, e)
                           : err_set(e, ERR_PARSE, "%zu bytes are no status reply", bytes);
    mem_free(block);
    if (error != OK) {
        status_free(s);
    }
    return error;
}

void status_free(struct status *s)
{
    mem_free(s->workers);
    mem_free(s->tasks);
    mem_free(s->content);
    *s = (struct status){0};
}
