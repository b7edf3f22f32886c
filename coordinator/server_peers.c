/* server_peers.c - sessions, routes, tokens, strikes. */
#include <assert.h>
#include <sodium.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "coordinator/server_state.h"

enum { SESSION_INDEX_BITS = 16 };

static uint64_t random_bits(void)
{
    uint64_t bits = 0;
    CHECK(getrandom(&bits, sizeof bits, 0) == (ssize_t)sizeof bits);
    return bits;
}

struct peer *server_peer_new(struct server *s, uint64_t worker, const struct socket_route *route)
{
    size_t i = 0;
    while (i < s->n_peers && s->peers[i].used) {
        i++;
    }
    if (i == s->n_peers) {
        void *grown = s->peers;
        if (mem_grow(&grown, &s->peers_capacity, i + 1, sizeof *s->peers, LIMIT_WORKERS) != OK) {
            return NULL;
        }
        s->peers = grown;
        s->n_peers++;
    }
    struct peer *peer = &s->peers[i];
    s->places[worker % LIMIT_WORKERS] = (uint32_t)i;
    /* The low bits say where it lies, the rest cannot be guessed; never 0. */
    uint64_t high = random_bits() | (1ull << 63);
    *peer = (struct peer){.used = true,
                          .session = (high >> SESSION_INDEX_BITS << SESSION_INDEX_BITS) | i,
                          .worker = worker,
                          .control = *route};
    return peer;
}

struct peer *server_peer_by_session(const struct server *s, uint64_t session)
{
    size_t i = session & ((1u << SESSION_INDEX_BITS) - 1);
    struct peer *peer = i < s->n_peers ? &s->peers[i] : NULL;
    return peer && peer->used && peer->session == session ? peer : NULL;
}

/* Every action asks; with a thousand workers the search would cost more than the answer. */
struct peer *server_peer_by_worker(const struct server *s, uint64_t worker)
{
    uint32_t place = s->places[worker % LIMIT_WORKERS];
    if (place < s->n_peers && s->peers[place].used && s->peers[place].worker == worker) {
        return &s->peers[place];
    }
    for (size_t i = 0; i < s->n_peers; i++) {
        if (s->peers[i].used && s->peers[i].worker == worker) {
            return &s->peers[i];
        }
    }
    return NULL;
}

struct peer *server_peer_by_name(const struct server *s, const char *name)
{
    for (size_t i = 0; i < s->n_peers; i++) {
        if (s->peers[i].used && strcmp(s->peers[i].name, name) == 0) {
            return &s->peers[i];
        }
    }
    return NULL;
}

void server_peer_free(struct server *s, struct peer *peer)
{
    (void)s;
    while (peer->announced) {
        struct announced *next = peer->announced->next;
        mem_free(peer->announced);
        peer->announced = next;
    }
    peer->used = false;
}

void server_token(const struct server *s, uint64_t worker, uint64_t job, uint32_t attempt,
                  uint8_t token[WIRE_TOKEN_BYTES])
{
    uint8_t name[20];
    bytes_put_u64(name, worker);
    bytes_put_u64(name + 8, job);
    bytes_put_u32(name + 16, attempt);
    static_assert(WIRE_TOKEN_BYTES >= crypto_generichash_BYTES_MIN, "a token is a short hash");
    CHECK(crypto_generichash(token, WIRE_TOKEN_BYTES, name, sizeof name, s->secret,
                             sizeof s->secret) == 0);
}

bool server_part_lost(struct server *s)
{
    bool waiting = false;
    for (size_t i = 0; i < s->n_peers; i++) {
        struct peer *peer = &s->peers[i];
        if (!peer->used || peer->link == LINK_UP) {
            continue;
        }
        if (peer->link == LINK_LOST) {
            peer->link = LINK_DRAINED;
            waiting = true;
            continue;
        }
        uint64_t worker = peer->worker;
        log_event(LOG_WARN, "worker_unreachable", "worker=%s", peer->name);
        server_peer_free(s, peer);
        dispatch_gone(s->dispatch, worker, "its connection is gone", server_now_ns());
    }
    return waiting;
}

struct announced *server_find_announced(const struct peer *peer, uint64_t job, uint32_t attempt)
{
    struct announced *a = peer->announced;
    while (a && (a->ready.job != job || a->ready.attempt != attempt)) {
        a = a->next;
    }
    return a;
}

void server_drop_announced(struct peer *peer, uint64_t job, uint32_t attempt)
{
    for (struct announced **at = &peer->announced; *at; at = &(*at)->next) {
        if ((*at)->ready.job == job && (*at)->ready.attempt == attempt) {
            struct announced *gone = *at;
            *at = gone->next;
            mem_free(gone);
            return;
        }
    }
}

bool server_route_is_bad(const struct server *s, const struct socket_route *route)
{
    for (uint32_t i = 0; i < SERVER_BAD_ROUTES; i++) {
        if (s->bad[i].strikes >= SERVER_STRIKES && socket_route_equal(&s->bad[i].route, route)) {
            return true;
        }
    }
    return false;
}

void server_strike(struct server *s, const struct socket_route *route, struct peer *peer,
                   const char *why)
{
    s->malformed++;
    log_limited(&s->malformed_limit, clock_now_ms(), LOG_WARN, "malformed",
                "worker=%s count=%llu %s", peer ? peer->name : "-",
                (unsigned long long)s->malformed, why);
    uint32_t i = 0;
    while (i < SERVER_BAD_ROUTES &&
           !(s->bad[i].strikes > 0 && socket_route_equal(&s->bad[i].route, route))) {
        i++;
    }
    if (i == SERVER_BAD_ROUTES) {
        i = s->bad_next++ % SERVER_BAD_ROUTES;
        s->bad[i] = (struct bad_route){.route = *route};
    }
    s->bad[i].strikes++;
    if (peer) {
        dispatch_blame(s->dispatch, peer->worker, why, server_now_ns());
        server_pump(s);
    }
}
