/* sim_net.c - socket.h over a network that delays, loses, repeats and reorders, whose connections
 * break and whose partitions swallow or hold what is sent. Real connections do not lose or repeat
 * single messages; the programs must stand it all the same. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/net/socket.h"
#include "common/wire/message.h"
#include "tests/sim/sim.h"

enum { SOCKETS = 64, LINKS = 512, RETRY_FIRST_MS = 100 };
#define HALF_OPEN_NS (3 * SIM_S) /* ZMTP's own heartbeat ends a dead connection */

struct socket {
    uint64_t id;
    bool router;
    int node;
    socket_receive receive;
    void *ctx;
    char address[ADDRESS_BYTES];
    uint32_t limit;
    uint32_t retry_ms;
};

enum { TO_ROUTER, TO_DEALER, WAYS };

/* A connection of a dealer with a router; an end may be gone without the other knowing yet. */
struct link {
    uint64_t id, dealer, router;
    int worker;
    uint32_t waiting[WAYS]; /* sent, not read: what a high-water mark counts */
    uint64_t last[WAYS];    /* arrival of the last message */
};

struct parcel {
    struct parcel *next;
    uint64_t link;
    int way, node;
    uint8_t *header;
    size_t bytes;
    struct blob *payload;
};

struct partition {
    uint64_t until[WAYS];
    bool hold;
};

static struct {
    uint64_t ids;
    struct socket *sockets[SOCKETS];
    struct link links[LINKS];
    struct parcel *first[SIM_NODES], *last[SIM_NODES]; /* arrived, not read yet */
    struct parcel *flying;                             /* all others, for the end */
    struct partition partitions[SIM_NODES];
    uint64_t slow_ns, slow_until;
} net;

static void free_parcel(struct parcel *p)
{
    blob_free(&p->payload);
    mem_free(p->header);
    mem_free(p);
}

static void drop_inbox(int node)
{
    for (struct parcel *p = net.first[node]; p;) {
        struct parcel *next = p->next;
        free_parcel(p);
        p = next;
    }
    net.first[node] = net.last[node] = NULL;
}

void sim_net_reset(void)
{
    for (int i = 0; i < SIM_NODES; i++) {
        drop_inbox(i);
    }
    for (struct parcel *p = net.flying; p;) {
        struct parcel *next = p->next;
        free_parcel(p);
        p = next;
    }
    memset(&net, 0, sizeof net);
}

static struct socket *find_socket(uint64_t id)
{
    for (int i = 0; i < SOCKETS; i++) {
        if (net.sockets[i] && net.sockets[i]->id == id) {
            return net.sockets[i];
        }
    }
    return NULL;
}

static struct link *find_link(uint64_t id)
{
    for (int i = 0; id != 0 && i < LINKS; i++) {
        if (net.links[i].id == id) {
            return &net.links[i];
        }
    }
    return NULL;
}

static struct link *link_of_dealer(uint64_t dealer)
{
    for (int i = 0; i < LINKS; i++) {
        if (net.links[i].id != 0 && net.links[i].dealer == dealer) {
            return &net.links[i];
        }
    }
    return NULL;
}

static bool cut(int worker, int way)
{
    return net.partitions[worker].until[way] > sim.now;
}

static void try_connect(void *ctx, uint64_t id);

static void reconnect(struct socket *s, uint64_t after_ns)
{
    sim_at(sim.now + after_ns, s->node, sim.nodes[s->node].life, try_connect, NULL, s->id);
}

static void unlink_now(struct link *l)
{
    struct socket *dealer = find_socket(l->dealer);
    *l = (struct link){0};
    if (dealer) {
        dealer->retry_ms = RETRY_FIRST_MS;
        reconnect(dealer, RETRY_FIRST_MS * SIM_MS);
    }
}

static void try_connect(void *ctx, uint64_t id)
{
    struct socket *s = find_socket(id);
    struct socket *router = NULL;
    (void)ctx;
    if (!s || link_of_dealer(id)) {
        return;
    }
    for (int i = 0; i < SOCKETS; i++) {
        struct socket *r = net.sockets[i];
        if (r && r->router && strcmp(r->address, s->address) == 0) {
            router = r;
        }
    }
    if (!router || cut(s->node, TO_ROUTER) || cut(s->node, TO_DEALER)) {
        reconnect(s, s->retry_ms * SIM_MS);
        s->retry_ms = s->retry_ms * 2 < 2000 ? s->retry_ms * 2 : 2000;
        return;
    }
    s->retry_ms = RETRY_FIRST_MS;
    for (int i = 0; i < LINKS; i++) {
        if (net.links[i].id == 0) {
            net.links[i] = (struct link){
                .id = ++net.ids, .dealer = id, .router = router->id, .worker = s->node};
            return;
        }
    }
    CHECK(!"room for one more connection");
}

enum err socket_context_open(struct socket_context **out, struct errbuf *e)
{
    (void)e;
    *out = NULL;
    return OK;
}

void socket_context_close(struct socket_context **c)
{
    *c = NULL;
}

enum err socket_open(struct socket_context *c, struct uv_loop_s *loop,
                     const struct socket_options *options, socket_receive receive, void *ctx,
                     struct socket **out, struct errbuf *e)
{
    (void)c;
    (void)loop;
    struct socket *s = mem_calloc(1, sizeof *s);
    int i = 0;
    while (i < SOCKETS && net.sockets[i]) {
        i++;
    }
    CHECK(s != NULL && i < SOCKETS);
    *s = (struct socket){.id = ++net.ids,
                         .router = options->type == SOCKET_ROUTER,
                         .node = sim.here,
                         .receive = receive,
                         .ctx = ctx,
                         .limit = (uint32_t)options->queue_messages,
                         .retry_ms = RETRY_FIRST_MS};
    net.sockets[i] = s;
    *out = s;
    (void)e;
    return OK;
}

enum err socket_bind(struct socket *s, const char *address, char endpoint[ADDRESS_BYTES],
                     struct errbuf *e)
{
    (void)e;
    (void)snprintf(s->address, sizeof s->address, "%s", address);
    (void)snprintf(endpoint, ADDRESS_BYTES, "%s", address);
    return OK;
}

enum err socket_connect(struct socket *s, const char *address, struct errbuf *e)
{
    (void)e;
    (void)snprintf(s->address, sizeof s->address, "%s", address);
    reconnect(s, sim_between(1, 10) * SIM_MS);
    return OK;
}

/* half_open: the other ends learn of it by their own heartbeat only. */
static void close_socket(struct socket *s, bool half_open)
{
    for (int i = 0; i < LINKS; i++) {
        struct link *l = &net.links[i];
        if (l->id == 0 || (l->dealer != s->id && l->router != s->id)) {
            continue;
        }
        if (half_open) {
            *(l->dealer == s->id ? &l->dealer : &l->router) = 0;
        } else {
            *(l->dealer == s->id ? &l->dealer : &l->router) = 0;
            unlink_now(l);
        }
    }
    for (int i = 0; i < SOCKETS; i++) {
        net.sockets[i] = net.sockets[i] == s ? NULL : net.sockets[i];
    }
    mem_free(s);
}

void socket_close(struct socket **s)
{
    if (*s) {
        close_socket(*s, false);
        *s = NULL;
    }
}

static void half_open_over(void *ctx, uint64_t id)
{
    struct link *l = find_link(id);
    (void)ctx;
    if (l) {
        unlink_now(l);
    }
}

void sim_net_gone(int node, bool half_open)
{
    for (int i = 0; i < LINKS; i++) {
        struct link *l = &net.links[i];
        struct socket *router = find_socket(l->router);
        if (l->id == 0 || (node != 0 && l->worker != node) ||
            (node == 0 && (!router || router->node != 0))) {
            continue;
        }
        *(node == 0 ? &l->router : &l->dealer) = 0;
        if (half_open) {
            sim_at(sim.now + HALF_OPEN_NS, 0, 0, half_open_over, NULL, l->id);
        } else {
            unlink_now(l);
        }
    }
    drop_inbox(node);
}

bool socket_route_equal(const struct socket_route *a, const struct socket_route *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static void arrive(void *ctx, uint64_t a)
{
    struct parcel *p = ctx;
    (void)a;
    for (struct parcel **at = &net.flying; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    p->next = NULL;
    if (!find_link(p->link)) {
        free_parcel(p);
        return;
    }
    *(net.last[p->node] ? &net.last[p->node]->next : &net.first[p->node]) = p;
    net.last[p->node] = p;
    sim_turn_by(p->node, sim.now);
}

/* A gradient, parameters or a list of units with one bit turned, where that was asked for. */
static struct blob *spoil(struct blob *payload, const struct link *l, int way, bool tensor)
{
    struct sim_node *n = &sim.nodes[l->worker];
    enum sim_fault kind = way == TO_ROUTER ? FAULT_FLIP
                          : tensor         ? FAULT_FLIP_PARAMS
                                           : FAULT_FLIP_UNITS;
    if (n->wrong[kind] == 0 || blob_bytes(payload) < 64) {
        return blob_ref(payload);
    }
    struct blob *copy = blob_new(blob_bytes(payload));
    CHECK(copy != NULL);
    memcpy(blob_data_mut(copy), blob_data(payload), blob_bytes(payload));
    blob_data_mut(copy)[sim_below(blob_bytes(copy))] ^= (uint8_t)(1u << sim_below(8));
    n->wrong[kind]--;
    sim_count(kind);
    return copy;
}

static void fly(struct link *l, int way, int node, const uint8_t *header, size_t bytes,
                struct blob *payload, bool tensor)
{
    struct parcel *p = mem_calloc(1, sizeof *p);
    CHECK(p != NULL);
    p->link = l->id;
    p->way = way;
    p->node = node;
    p->bytes = bytes;
    p->header = mem_calloc(bytes, 1);
    CHECK(p->header != NULL);
    memcpy(p->header, header, bytes);
    p->payload = payload ? spoil(payload, l, way, tensor) : NULL;
    p->next = net.flying;
    net.flying = p;
    uint64_t latency = net.slow_until > sim.now ? net.slow_ns : sim.plan.latency_ns;
    uint64_t at = sim.now + latency / 2 + sim_below(latency + 1);
    if (cut(l->worker, way)) {
        at = net.partitions[l->worker].until[way] + sim_below(latency + 1);
    }
    if (!sim.healed && sim_chance(sim.plan.reorder)) {
        at += sim_below(40 * latency);
        sim_count(FAULT_REORDER);
    } else {
        at = at > l->last[way] ? at : l->last[way];
        l->last[way] = at;
    }
    l->waiting[way]++;
    sim_at(at, node, 0, arrive, p, 0);
}

static struct link *link_for(const struct socket *s, const struct socket_route *route)
{
    if (!s->router) {
        return link_of_dealer(s->id);
    }
    uint64_t id = 0;
    memcpy(&id, route->bytes, sizeof id);
    struct link *l = find_link(id);
    return l && l->router == s->id ? l : NULL;
}

/* What the channel of parameters and gradients is told by. */
static bool carries_tensors(const struct socket *s)
{
    char tensor[ADDRESS_BYTES];
    CHECK(address_tensor(SIM_ADDRESS, tensor, NULL) == OK);
    return strcmp(s->address, tensor) == 0;
}

enum err socket_send(struct socket *s, const struct socket_route *route, const uint8_t *header,
                     size_t bytes, struct blob *payload)
{
    struct link *l = link_for(s, route);
    int way = s->router ? TO_DEALER : TO_ROUTER;
    if (!sim_alive()) {
        return OK;
    }
    if (!l) {
        return s->router ? ERR_GONE : ERR_BUSY;
    }
    if (l->waiting[way] >= s->limit) {
        return ERR_BUSY;
    }
    const struct socket *other = find_socket(s->router ? l->dealer : l->router);
    if (!other) {
        l->waiting[way]++; /* half-open: it fills the queue and goes nowhere */
        return OK;
    }
    if (cut(l->worker, way) && !net.partitions[l->worker].hold) {
        return OK;
    }
    if (!sim.healed && sim_chance(sim.plan.loss)) {
        sim_count(FAULT_LOSS);
        return OK;
    }
    if (!sim.healed && sim_chance(sim.plan.duplicate)) {
        sim_count(FAULT_DUPLICATE);
        fly(l, way, other->node, header, bytes, payload, false);
    }
    uint8_t lie[LIMIT_HEADER_BYTES];
    size_t lie_bytes;
    if (way == TO_ROUTER && sim_liars_copy(l->worker, header, bytes, lie, &lie_bytes)) {
        fly(l, way, other->node, lie, lie_bytes, payload, false);
    }
    fly(l, way, other->node, header, bytes, payload, carries_tensors(s));
    return OK;
}

bool sim_net_waits(int node)
{
    return net.first[node] != NULL;
}

static void trace(const struct parcel *p)
{
    struct wire_message m;
    if (sim.trace && wire_decode(p->header, p->bytes, &m, NULL) == OK && m.kind != WIRE_PONG &&
        m.kind != WIRE_HEARTBEAT) {
        sim_trace("<- %s", wire_kind_name(m.kind));
    }
}

bool sim_net_deliver(int node)
{
    struct parcel *p = net.first[node];
    if (!p) {
        return false;
    }
    net.first[node] = p->next;
    net.last[node] = p->next ? net.last[node] : NULL;
    struct link *l = find_link(p->link);
    struct socket *s = l ? find_socket(p->way == TO_ROUTER ? l->router : l->dealer) : NULL;
    if (s) {
        struct socket_route route = {.length = sizeof l->id};
        memcpy(route.bytes, &l->id, sizeof l->id);
        l->waiting[p->way]--;
        trace(p);
        s->receive(s->ctx, s->router ? &route : NULL, p->header, p->bytes, &p->payload);
    }
    free_parcel(p);
    return true;
}

void sim_net_break(int worker)
{
    for (int i = 0; i < LINKS; i++) {
        if (net.links[i].id != 0 && net.links[i].worker == worker) {
            unlink_now(&net.links[i]);
        }
    }
}

/* A partition that lasts ends the connection, unless it is meant to hold what is sent. */
static void partition_lasts(void *ctx, uint64_t worker)
{
    (void)ctx;
    if (!net.partitions[worker].hold &&
        (cut((int)worker, TO_ROUTER) || cut((int)worker, TO_DEALER))) {
        sim_net_break((int)worker);
    }
}

void sim_net_partition(int worker, bool to, bool from, uint64_t until, bool hold)
{
    struct partition *p = &net.partitions[worker];
    p->hold = hold;
    p->until[TO_DEALER] = to ? until : p->until[TO_DEALER];
    p->until[TO_ROUTER] = from ? until : p->until[TO_ROUTER];
    sim_at(sim.now + HALF_OPEN_NS, 0, 0, partition_lasts, NULL, (uint64_t)worker);
}

void sim_net_slow(uint64_t latency_ns, uint64_t until)
{
    net.slow_ns = latency_ns;
    net.slow_until = until;
}

void sim_net_heal(void)
{
    memset(net.partitions, 0, sizeof net.partitions);
    net.slow_until = 0;
}
