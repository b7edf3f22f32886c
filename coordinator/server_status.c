/* server_status.c - the status socket: how the run is, and an operator's commands. */
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

static void fill_workers(const struct server *s, struct status *status)
{
    const struct roster *roster = dispatch_roster(s->dispatch);
    uint32_t n = roster_count(roster);
    uint64_t now = server_now_ns();
    double computed_s = 0.0;
    double wall_s = 0.0;
    status->workers = mem_calloc(n, sizeof *status->workers);
    for (uint32_t i = 0; status->workers && i < n; i++) {
        const struct worker *w = roster_at(roster, i);
        struct status_worker *out = &status->workers[status->n_workers++];
        out->slots = w->n_slots;
        out->units_done = w->units_done;
        out->tokens_per_s = w->tokens_per_s;
        out->last_heard_ms = roster_silence_ns(roster, w, now) / 1000000u;
        out->strikes = w->strikes;
        out->utilisation = worker_utilisation(w, &computed_s, &wall_s);
        (void)snprintf(out->id, sizeof out->id, "%s", w->name);
        (void)snprintf(out->host, sizeof out->host, "%s", w->host);
        (void)snprintf(out->core_type, sizeof out->core_type, "%s", w->core_type);
        (void)snprintf(out->state, sizeof out->state, "%s", worker_state_name(w->state));
    }
    status->utilisation = utilisation_share(computed_s, wall_s);
}

static void drain(struct server *s, const char *worker, struct status *status)
{
    int n = 0;
    for (size_t i = 0; i < s->n_peers; i++) {
        struct peer *peer = &s->peers[i];
        if (peer->used && (worker[0] == '\0' || strcmp(peer->name, worker) == 0)) {
            server_drain_worker(s, peer);
            n++;
        }
    }
    status->outcome = n > 0 || worker[0] == '\0' ? STATUS_DONE : STATUS_NO_WORKER;
    if (status->outcome == STATUS_DONE) {
        (void)snprintf(status->answer, sizeof status->answer,
                       "%d %s told to finish what runs and leave", n,
                       n == 1 ? "worker is" : "workers are");
    } else {
        (void)snprintf(status->answer, sizeof status->answer, "no worker is named %s", worker);
    }
}

/* What came of the command, in status; the stop itself comes after the reply is sent. */
static void command(struct server *s, const struct status_request *request, struct status *status)
{
    enum key_role role = server_asker(s);
    if (!rights_command(role)) {
        status->outcome = STATUS_REFUSED;
        (void)snprintf(status->answer, sizeof status->answer,
                       "only an operator may drain or stop: use a key with role operator, or the "
                       "ipc socket in the run folder as its owner (this is an %s)",
                       key_role_name(role));
    } else if (request->command == STATUS_DRAIN) {
        drain(s, request->worker, status);
    } else {
        status->outcome = STATUS_DONE;
        (void)snprintf(status->answer, sizeof status->answer,
                       "stopping; --resume goes on with the run");
    }
    log_event(LOG_INFO, "command", "%s by=%s key=%s outcome=%d",
              request->command == STATUS_DRAIN ? "drain" : "stop", key_role_name(role),
              socket_sender(s->status), (int)status->outcome);
}

void server_on_status(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload)
{
    struct server *s = ctx;
    struct errbuf e;
    struct status_request request;
    (void)payload;
    if (s->ended || !server_admits(s, s->status, RIGHTS_STATUS) || !header ||
        status_request_decode(header, bytes, &request, &e) != OK) {
        return;
    }
    struct status status = {.schema = STATUS_SCHEMA};
    uint8_t *reply = NULL;
    size_t n = 0;
    if (request.command != STATUS_ASK) {
        command(s, &request, &status);
    }
    s->events.status(s->events.ctx, &status);
    status.refused = server_turned_away(s);
    fill_workers(s, &status);
    if (status_encode(&status, &reply, &n) == OK) {
        enum err error = socket_send(s->status, route, reply, n, NULL);
        if (error != OK) {
            log_event(LOG_DEBUG, "status_unsent", "%s", err_text(error));
        }
    }
    mem_free(reply);
    bool stop = request.command == STATUS_STOP && status.outcome == STATUS_DONE && !s->ending;
    status_free(&status);
    if (stop) {
        s->events.signal(s->events.ctx);
    }
}
