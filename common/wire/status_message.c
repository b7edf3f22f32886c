/* status_message.c - byte form of the status reply. */
#include "common/wire/status_message.h"

#include <assert.h>
#include <math.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/wire/wire_arena.h"
#include "pft.pb-c.h"

enum { STATUS_ARENA_BYTES = 8 << 20 };

static char *text(const char *s)
{
    return (char *)(uintptr_t)s; /* pack only reads */
}

/* False when it does not fit or holds control characters. */
static bool copy_text(char *out, size_t room, const char *in)
{
    size_t n = strnlen(in, room);
    if (n == room) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)in[i] < ' ') {
            return false;
        }
    }
    memcpy(out, in, n + 1);
    return true;
}

void status_request_encode(const struct status_request *r, uint8_t out[STATUS_REQUEST_BYTES],
                           size_t *bytes)
{
    static_assert(sizeof r->worker + 16 <= STATUS_REQUEST_BYTES, "every request fits");
    Pft__StatusRequest request = PFT__STATUS_REQUEST__INIT;
    request.schema = STATUS_SCHEMA;
    request.command = (uint32_t)r->command;
    request.worker = text(r->worker);
    *bytes = pft__status_request__pack(&request, out);
}

enum err status_request_decode(const uint8_t *data, size_t bytes, struct status_request *out,
                               struct errbuf *e)
{
    _Alignas(16) uint8_t block[4096];
    struct wire_arena arena;
    *out = (struct status_request){.command = STATUS_ASK};
    wire_arena_init(&arena, block, sizeof block);
    Pft__StatusRequest *request = bytes <= STATUS_REQUEST_BYTES
                                      ? pft__status_request__unpack(&arena.allocator, bytes, data)
                                      : NULL;
    if (!request) {
        return err_set(e, ERR_PARSE, "%zu bytes are no status request", bytes);
    }
    if (request->schema != STATUS_SCHEMA) {
        return err_set(e, ERR_RANGE, "status request of schema %u, %d is known", request->schema,
                       STATUS_SCHEMA);
    }
    if (request->command >= STATUS_COMMANDS ||
        !copy_text(out->worker, sizeof out->worker, request->worker)) {
        return err_set(e, ERR_RANGE, "status request: command %u, or a bad worker name",
                       request->command);
    }
    out->command = (enum status_command)request->command;
    return OK;
}

static void pack_worker(const struct status_worker *w, Pft__StatusWorker *p)
{
    pft__status_worker__init(p);
    p->id = text(w->id);
    p->host = text(w->host);
    p->slots = w->slots;
    p->state = text(w->state);
    p->units_done = w->units_done;
    p->tokens_per_s = w->tokens_per_s;
    p->last_heard_ms = w->last_heard_ms;
    p->core_type = text(w->core_type);
    p->strikes = w->strikes;
    p->utilisation = w->utilisation;
}

static void pack_reply(const struct status *s, Pft__StatusReply *p)
{
    pft__status_reply__init(p);
    p->schema = s->schema;
    p->run = text(s->run);
    p->task = text(s->task);
    p->state = text(s->state);
    p->step_open = s->step_open;
    p->step_committed = s->step_committed;
    p->step_total = s->step_total;
    p->loss = s->loss;
    p->pairs_per_s = s->pairs_per_s;
    p->tokens_per_s = s->tokens_per_s;
    p->eta_s = s->eta_s;
    p->units_queued = s->units_queued;
    p->units_leased = s->units_leased;
    p->units_done = s->units_done;
    p->useful_slots = s->useful_slots;
    p->utilisation = s->utilisation;
    p->text = text(s->text);
    p->refused = s->refused;
    p->outcome = (uint32_t)s->outcome;
    p->answer = text(s->answer);
}

enum err status_encode(const struct status *s, uint8_t **out, size_t *bytes)
{
    size_t n = s->n_workers;
    Pft__StatusWorker *workers = mem_calloc(n, sizeof *workers);
    Pft__StatusWorker **pointers = mem_calloc(n, sizeof(Pft__StatusWorker *));
    enum err error = workers && pointers ? OK : ERR_NOMEM;
    *out = NULL;
    if (error == OK) {
        Pft__StatusReply reply;
        pack_reply(s, &reply);
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
    return copy_text(w->id, sizeof w->id, p->id) && copy_text(w->host, sizeof w->host, p->host) &&
           copy_text(w->state, sizeof w->state, p->state) &&
           copy_text(w->core_type, sizeof w->core_type, p->core_type);
}

static enum err unpack_reply(const Pft__StatusReply *p, struct status *s, struct errbuf *e)
{
    *s = (struct status){.schema = p->schema,
                         .step_open = p->step_open,
                         .step_committed = p->step_committed,
                         .step_total = p->step_total,
                         .loss = p->loss,
                         .pairs_per_s = p->pairs_per_s,
                         .tokens_per_s = p->tokens_per_s,
                         .eta_s = p->eta_s,
                         .units_queued = p->units_queued,
                         .units_leased = p->units_leased,
                         .units_done = p->units_done,
                         .useful_slots = p->useful_slots,
                         .refused = p->refused,
                         .utilisation = p->utilisation};
    if (p->schema != STATUS_SCHEMA) {
        return err_set(e, ERR_UNSUPPORTED, "status reply of schema %u, %d is known", p->schema,
                       STATUS_SCHEMA);
    }
    if (!copy_text(s->run, sizeof s->run, p->run) || !copy_text(s->task, sizeof s->task, p->task) ||
        !copy_text(s->state, sizeof s->state, p->state) ||
        !copy_text(s->text, sizeof s->text, p->text) ||
        !copy_text(s->answer, sizeof s->answer, p->answer)) {
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
    return OK;
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
    *s = (struct status){0};
}
