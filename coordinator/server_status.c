/* server_status.c - the status socket: how the run is, an operator's commands, and those about
 * tasks, which go to the owner of a standing server. */
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/server_state.h"

/* The worker's own share, its seconds added to those of all. */
static double worker_utilisation(const struct worker *w, double *computed_s, double *wall_s)
{
    double computed = 0.0;
    double wall = 0.0;
    utilisation_add(&w->utilisation, w->n_slots, &computed, &wall);
    *computed_s += computed;
    *wall_s += wall;
    return utilisation_share(computed, wall);
}

static void fill_worker(const struct worker *w, uint64_t silence_ns, struct status_worker *out)
{
    out->slots = w->n_slots;
    out->units_done = w->units_done;
    out->tokens_per_s = w->tokens_per_s;
    out->last_heard_ms = silence_ns / 1000000u;
    out->strikes = w->strikes;
    (void)snprintf(out->id, sizeof out->id, "%s", w->name);
    (void)snprintf(out->host, sizeof out->host, "%s", w->host);
    (void)snprintf(out->core_type, sizeof out->core_type, "%s", w->core_type);
    (void)snprintf(out->state, sizeof out->state, "%s", worker_state_name(w->state));
}

static void fill_parked(const struct parked *p, uint64_t now_ns, struct status_worker *out)
{
    out->slots = p->slots;
    out->last_heard_ms = (now_ns > p->heard_ns ? now_ns - p->heard_ns : 0) / 1000000u;
    out->utilisation = utilisation_share(0.0, 0.0);
    (void)snprintf(out->id, sizeof out->id, "%s", p->name);
    (void)snprintf(out->host, sizeof out->host, "%s", p->host);
    (void)snprintf(out->core_type, sizeof out->core_type, "%s", p->core_type);
    (void)snprintf(out->state, sizeof out->state, "%s", p->unfit ? "unfit" : "waiting");
}

static void fill_workers(const struct server *s, struct status *status)
{
    const struct roster *roster = s->dispatch ? dispatch_roster(s->dispatch) : NULL;
    uint32_t joined = roster ? roster_count(roster) : 0;
    uint64_t now = server_now_ns();
    double computed_s = 0.0;
    double wall_s = 0.0;
    size_t n = joined + s->n_parked < LIMIT_WORKERS ? joined + s->n_parked : LIMIT_WORKERS;
    status->workers = mem_calloc(n, sizeof *status->workers);
    for (size_t i = 0; status->workers && i < n; i++) {
        struct status_worker *out = &status->workers[status->n_workers++];
        if (i < joined) {
            const struct worker *w = roster_at(roster, (uint32_t)i);
            fill_worker(w, roster_silence_ns(roster, w, now), out);
            out->utilisation = worker_utilisation(w, &computed_s, &wall_s);
        } else {
            fill_parked(&s->parked[i - joined], now, out);
        }
    }
    status->utilisation = utilisation_share(computed_s, wall_s);
}

void server_reply(struct server *s, const struct socket_route *route, struct status *status)
{
    uint8_t *reply = NULL;
    size_t n = 0;
    status->refused = server_turned_away(s);
    status->utilisation = utilisation_share(0.0, 0.0);
    wire_make_plain(status->run); /* a path, an error of the system: nobody could read the reply */
    wire_make_plain(status->text);
    wire_make_plain(status->answer);
    wire_make_plain(status->suspects);
    if (s->dispatch) {
        struct dispatch_stats stats = dispatch_stats(s->dispatch);
        status->audits_confirmed = stats.confirmed;
        status->audits_unconfirmed = stats.unconfirmed;
    }
    if (status->n_tasks == 0 && status->content_bytes == 0) {
        fill_workers(s, status);
    }
    if (!s->ended && status_encode(status, &reply, &n) == OK) {
        enum err error = socket_send(s->status, route, reply, n, NULL);
        if (error != OK) {
            log_event(LOG_DEBUG, "status_unsent", "%s", err_text(error));
        }
    }
    mem_free(reply);
}

static void drain(struct server *s, const char *worker, struct status *status)
{
    uint32_t n = server_drain_parked(s, worker);
    for (size_t i = 0; i < s->n_peers; i++) {
        struct peer *peer = &s->peers[i];
        if (peer->used && (worker[0] == '\0' || strcmp(peer->name, worker) == 0)) {
            server_drain_worker(s, peer);
            n++;
        }
    }
    status->outcome = n > 0 || worker[0] == '\0' ? STATUS_DONE : STATUS_NOT_THERE;
    if (status->outcome == STATUS_DONE) {
        (void)snprintf(status->answer, sizeof status->answer,
                       "%u %s told to finish what runs and leave", n,
                       n == 1 ? "worker is" : "workers are");
    } else {
        (void)snprintf(status->answer, sizeof status->answer, "no worker is named %s", worker);
    }
}

static const char *command_name(enum status_command command)
{
    static const char *const names[STATUS_COMMANDS] = {"ask",  "drain",  "stop", "submit",
                                                       "jobs", "cancel", "read"};
    return (unsigned)command < STATUS_COMMANDS ? names[command] : "unknown";
}

static void refuse_role(enum key_role role, struct status *status)
{
    status->outcome = STATUS_REFUSED;
    (void)snprintf(status->answer, sizeof status->answer,
                   "only an operator may drain, stop, submit or cancel: use a key with role "
                   "operator, or the ipc socket in the coordinator's folder as its owner (this is "
                   "an %s)",
                   key_role_name(role));
}

/* What came of the command, in status. True: the reply goes out now, and a stop comes after it. */
static bool command(struct server *s, const struct socket_route *route,
                    struct status_request *request, struct status *status)
{
    enum key_role role = server_asker(s);
    bool now = true;
    if (!rights_command(role, request->command)) {
        refuse_role(role, status);
    } else if (request->command == STATUS_DRAIN) {
        drain(s, request->worker, status);
    } else if (request->command == STATUS_STOP) {
        status->outcome = STATUS_DONE;
        (void)snprintf(status->answer, sizeof status->answer, "%s",
                       s->standing ? "stopping; started again it goes on with its tasks"
                                   : "stopping; --resume goes on with the run");
    } else if (!s->standing) {
        status->outcome = STATUS_REFUSED;
        (void)snprintf(status->answer, sizeof status->answer,
                       "this coordinator has one run and no list of tasks; pft-coordinator "
                       "--serve DIR keeps one");
    } else {
        now = s->owner.command(s->owner.ctx, route, request, status);
    }
    if (!rights_command(KEY_OBSERVER, request->command)) { /* it changes something */
        log_event(LOG_INFO, "command", "%s by=%s key=%s outcome=%d", command_name(request->command),
                  key_role_name(role), socket_sender(s->status), (int)status->outcome);
    }
    return now;
}

static void stop(struct server *s)
{
    if (s->standing) {
        s->owner.signal(s->owner.ctx);
    } else {
        s->events.signal(s->events.ctx);
    }
}

void server_on_status(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    struct server *s = ctx;
    struct errbuf e = {{0}};
    struct status_request request;
    (void)payload;
    if (s->ended || !server_admits(s, s->status, RIGHTS_STATUS) || !header) {
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
    } else if (request.command != STATUS_ASK) {
        now = command(s, route, &request, &status);
    }
    if (now) {
        if (s->standing) {
            s->owner.status(s->owner.ctx, &status);
        } else {
            s->events.status(s->events.ctx, &status);
        }
        server_reply(s, route, &status);
    }
    if (error == OK && request.command == STATUS_STOP && status.outcome == STATUS_DONE &&
        !s->ending) {
        stop(s);
    }
    status_request_free(&request);
    status_free(&status);
}
