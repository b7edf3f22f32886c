/* server_parked.c - workers of a standing coordinator that have no session: between two tasks, or
 * because the open one is not for them. They come back by themselves; what is kept here is for the
 * status only. */
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/server_state.h"

enum { ASK_MS = 1000, UNFIT_MS = 5000 };
static const uint64_t SILENT_NS = 15000000000u;

static struct parked *find(struct server *s, const char *name)
{
    for (size_t i = 0; i < s->n_parked; i++) {
        if (strcmp(s->parked[i].name, name) == 0) {
            return &s->parked[i];
        }
    }
    return NULL;
}

static void remember(struct server *s, const struct socket_route *route, const struct wire_hello *h,
                     bool unfit)
{
    struct parked *p = find(s, h->worker);
    if (!p) {
        void *grown = s->parked;
        if (mem_grow(&grown, &s->parked_capacity, s->n_parked + 1, sizeof *s->parked,
                     LIMIT_WORKERS) != OK) {
            return; /* it waits unseen */
        }
        s->parked = grown;
        p = &s->parked[s->n_parked++];
        log_event(LOG_INFO, "worker_waits", "worker=%s host=%s slots=%u", h->worker, h->host,
                  h->slots);
    }
    *p = (struct parked){
        .route = *route, .slots = h->slots, .heard_ns = server_now_ns(), .unfit = unfit};
    (void)snprintf(p->name, sizeof p->name, "%s", h->worker);
    (void)snprintf(p->host, sizeof p->host, "%s", h->host);
    (void)snprintf(p->core_type, sizeof p->core_type, "%s", h->core_type);
}

void server_park(struct server *s, const struct socket_route *route, const struct wire_hello *h,
                 enum wire_refusal code, const char *text)
{
    bool unfit = code != WIRE_REFUSED_STATE;
    remember(s, route, h, unfit);
    server_put_off(s, route, 0, code, unfit ? UNFIT_MS : ASK_MS, text);
}

void server_unpark(struct server *s, const char *name)
{
    struct parked *p = find(s, name);
    if (p) {
        *p = s->parked[--s->n_parked];
    }
}

uint32_t server_drain_parked(struct server *s, const char *worker)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->n_parked;) {
        struct parked *p = &s->parked[i];
        if (worker[0] != '\0' && strcmp(p->name, worker) != 0) {
            i++;
            continue;
        }
        server_put_off(s, &p->route, 0, WIRE_REFUSED_STATE, 0, "drained by an operator");
        *p = s->parked[--s->n_parked];
        n++;
    }
    return n;
}

void server_forget_silent(struct server *s)
{
    uint64_t now = server_now_ns();
    for (size_t i = 0; i < s->n_parked;) {
        if (now - s->parked[i].heard_ns > SILENT_NS) {
            s->parked[i] = s->parked[--s->n_parked];
        } else {
            i++;
        }
    }
}
