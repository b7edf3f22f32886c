/* server_status.c - the status socket: how the run is, and commands about tasks. */
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/server_state.h"

static uint64_t silent_ms(uint64_t heard_ns, uint64_t now_ns)
{
    return (now_ns > heard_ns ? now_ns - heard_ns : 0) / 1000000u;
}

static void fill_worker(const struct worker *w, uint64_t now_ns, struct status_worker *out)
{
    out->slots = w->n_slots;
    out->units_done = w->units_done;
    out->tokens_per_s = w->tokens_per_s;
    out->last_heard_ms = silent_ms(w->heard_ns, now_ns);
    out->strikes = w->strikes;
    (void)snprintf(out->id, sizeof out->id, "%s", w->name);
    (void)snprintf(out->host, sizeof out->host, "%s", w->host);
    (void)snprintf(out->core_type, sizeof out->core_type, "%s", w->core_type);
    (void)snprintf(out->state, sizeof out->state, "%s", worker_state_name(w->state));
}

static void fill_parked(const struct parked *p, uint64_t now_ns, struct status_worker *out)
{
    out->slots = p->slots;
    out->last_heard_ms = silent_ms(p->heard_ns, now_ns);
    (void)snprintf(out->id, sizeof out->id, "%s", p->name);
    (void)snprintf(out->host, sizeof out->host, "%s", p->host);
    (void)snprintf(out->core_type, sizeof out->core_type, "%s", p->core_type);
    (void)snprintf(out->state, sizeof out->state, "%s", p->unfit ? "unfit" : "waiting");
}

void server_fill_workers(struct server *s, struct status *status)
{
    const struct roster *roster = s->dispatch ? dispatch_roster(s->dispatch) : NULL;
    uint32_t joined = roster ? roster_count(roster) : 0;
    uint64_t now = server_now_ns();
    size_t n = joined + s->n_parked < LIMIT_WORKERS ? joined + s->n_parked : LIMIT_WORKERS;
    status->workers = mem_calloc(n, sizeof *status->workers);
    for (size_t i = 0; status->workers && i < n; i++) {
        struct status_worker *out = &status->workers[status->n_workers++];
        if (i < joined) {
            fill_worker(roster_at(roster, (uint32_t)i), now, out);
        } else {
            fill_parked(&s->parked[i - joined], now, out);
        }
    }
}

void server_reply(struct server *s, const struct socket_route *route, const struct status *status)
{
    uint8_t *reply = NULL;
    size_t n = 0;
    if (!s->ended && status_encode(status, &reply, &n) == OK) {
        enum err error = socket_send(s->status, route, reply, n, NULL);
        if (error != OK) {
            log_event(LOG_DEBUG, "status_unsent", "%s", err_text(error));
        }
    }
    mem_free(reply);
}

/* Without keys only who can open the socket file may change what is done: a task names files that
 * are read here. */
static bool may_command(const struct server *s)
{
    return address_ipc_path(s->status_address) != NULL;
}

/* True: the reply goes out now. */
static bool command(struct server *s, const struct socket_route *route,
                    struct status_request *request, struct status *status)
{
    bool changes = request->command == STATUS_SUBMIT || request->command == STATUS_CANCEL;
    if (request->command == STATUS_ASK) {
        return true;
    }
    if (!s->standing || request->command == STATUS_DRAIN || request->command == STATUS_STOP) {
        status->outcome = STATUS_REFUSED;
        (void)snprintf(status->answer, sizeof status->answer, "%s",
                       s->standing ? "this coordinator drains and stops by signals"
                                   : "this coordinator has one run and no list of tasks; "
                                     "pft-coordinator --serve DIR keeps one");
        return true;
    }
    if (changes && !may_command(s)) {
        status->outcome = STATUS_REFUSED;
        (void)snprintf(status->answer, sizeof status->answer,
                       "tasks are submitted and cancelled over the ipc socket in the coordinator's "
                       "folder only: a tcp port is open to every user");
        return true;
    }
    return s->owner.command(s->owner.ctx, route, request, status);
}

void server_on_status(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    struct server *s = ctx;
    struct errbuf e = {{0}};
    struct status_request request;
    (void)payload;
    if (s->ended || !header) {
        return;
    }
    enum err error = status_request_decode(header, bytes, &request, &e);
    struct status status = {.schema = STATUS_SCHEMA};
    bool now = true;
    if (error == ERR_RANGE) { /* ours, but with something in it that cannot be */
        status.outcome = STATUS_REFUSED;
        (void)snprintf(status.answer, sizeof status.answer, "%s", e.text);
    } else if (error != OK) {
        return;
    } else {
        now = command(s, route, &request, &status);
    }
    if (now) {
        if (s->standing) {
            s->owner.status(s->owner.ctx, &status);
        } else {
            s->events.status(s->events.ctx, &status);
        }
        server_fill_workers(s, &status);
        server_reply(s, route, &status);
    }
    status_request_free(&request);
    status_free(&status);
}
