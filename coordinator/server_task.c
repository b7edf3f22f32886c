/* server_task.c - what of the server belongs to one run or task: dispatch, events, settings, the
 * published parameters, the sessions. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/server_state.h"

enum { BACK_MS = 500 }; /* after its task a worker asks for the next one */

enum err server_task_open(struct server *s, const struct server_config *cfg,
                          const struct server_events *events, struct errbuf *e)
{
    CHECK(!s->dispatch);
    struct dispatch_config dispatch = {.strict = cfg->welcome.strict,
                                       .epoch = (uint32_t)cfg->start,
                                       .payload_bytes = cfg->floats * sizeof(int64_t),
                                       .has_probe = cfg->has_probe,
                                       .audit_rate = cfg->audit_rate,
                                       .audit_book = cfg->audit_book};
    memcpy(dispatch.probe, cfg->probe, sizeof dispatch.probe);
    CHECK(getrandom(dispatch.audit_secret, sizeof dispatch.audit_secret, 0) ==
          (ssize_t)sizeof dispatch.audit_secret);
    enum err error = dispatch_new(&dispatch, &s->dispatch);
    if (error != OK) {
        return err_set(e, error, "no memory for the queue");
    }
    s->cfg = *cfg;
    s->events = *events;
    server_make_room(s);
    s->ending = s->draining = false;
    s->own_probe_known = cfg->has_probe;
    if (!cfg->has_probe) {
        server_probe_start(s);
    }
    server_wake(s);
    return OK;
}

void server_task_close(struct server *s, const char *why)
{
    for (size_t i = 0; i < s->n_peers; i++) {
        struct peer *peer = &s->peers[i];
        if (peer->used) {
            const struct socket_route route = peer->control;
            uint64_t session = peer->session;
            server_peer_free(s, peer);
            server_put_off(s, &route, session, WIRE_REFUSED_STATE, BACK_MS, why);
        }
    }
    server_probe_stop(s);
    dispatch_free(&s->dispatch);
    blob_free(&s->params);
    s->params_version = 0;
    s->batch = NULL;
    s->events = (struct server_events){0};
    s->cfg = (struct server_config){0}; /* what it points to was the task's */
    s->own_probe_known = s->own_probe_pending = false;
    s->ending = s->draining = false;
}

enum err server_open(const struct server_doors *doors, const struct server_config *cfg,
                     const struct server_events *events, struct server **out, struct errbuf *e)
{
    enum err error = server_shell_open(doors, cfg, out, e);
    if (error == OK) {
        error = server_task_open(*out, cfg, events, e);
        if (error != OK) {
            server_close(out);
        }
    }
    return error;
}

enum err server_open_standing(const struct server_doors *doors, const struct server_owner *owner,
                              struct server **out, struct errbuf *e)
{
    enum err error = server_shell_open(doors, NULL, out, e);
    if (error == OK) {
        (*out)->owner = *owner;
        server_waits_for(*out, "no task is open");
    }
    return error;
}

void server_waits_for(struct server *s, const char *why)
{
    (void)snprintf(s->waits_for, sizeof s->waits_for, "%s", why);
}

void server_audit_book(const struct server *s, struct str *out)
{
    dispatch_audit_book(s->dispatch, out);
}
