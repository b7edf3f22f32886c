/* inflow.c - unread bytes by connection. */
#include "common/net/inflow.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/base/mem.h"

enum {
    CONNECTIONS = 1 << 16,
    PART_BYTES = 64,             /* framing and encryption of a part, generously */
    HEARTBEAT_BYTES_PER_S = 128, /* ZMTP's own pings and pongs, encrypted */
};

/* The descriptor is libzmq's and may be closed and used again any moment; the cookie tells. */
struct connection {
    bool used;
    uint64_t cookie;
    uint64_t delivered; /* bytes accounted for, at most those received as of the last check */
    uint64_t unread;    /* as of the last check */
};

struct inflow {
    struct connection *table; /* by descriptor */
    size_t capacity;
    uint64_t connection_bytes, total_bytes, checked_ms;
};

enum err inflow_open(uint64_t connection_bytes, uint64_t total_bytes, struct inflow **out)
{
    *out = mem_calloc(1, sizeof **out);
    if (!*out) {
        return ERR_NOMEM;
    }
    (*out)->connection_bytes = connection_bytes;
    (*out)->total_bytes = total_bytes;
    return OK;
}

void inflow_close(struct inflow **inflow)
{
    if (*inflow) {
        mem_free((*inflow)->table);
        mem_free(*inflow);
        *inflow = NULL;
    }
}

void inflow_widen(struct inflow *f, uint64_t connection_bytes, uint64_t total_bytes)
{
    f->connection_bytes =
        connection_bytes > f->connection_bytes ? connection_bytes : f->connection_bytes;
    f->total_bytes = total_bytes > f->total_bytes ? total_bytes : f->total_bytes;
}

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t bytes = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

void inflow_accepted(struct inflow *f, int fd)
{
    if (fd < 0 || fd >= CONNECTIONS) {
        return;
    }
    size_t before = f->capacity;
    void *grown = f->table;
    if (mem_grow(&grown, &f->capacity, (size_t)fd + 1, sizeof *f->table, CONNECTIONS) != OK) {
        return;
    }
    f->table = grown;
    for (size_t i = before; i < f->capacity; i++) {
        f->table[i] = (struct connection){.used = false};
    }
    uint64_t cookie = cookie_of(fd);
    f->table[fd] = (struct connection){.used = cookie != 0, .cookie = cookie};
}

static struct connection *find(struct inflow *f, int fd)
{
    return fd >= 0 && (size_t)fd < f->capacity && f->table[fd].used ? &f->table[fd] : NULL;
}

void inflow_delivered(struct inflow *f, int fd, uint64_t parts, uint64_t bytes)
{
    struct connection *c = find(f, fd);
    if (c) {
        c->delivered += bytes + parts * PART_BYTES;
    }
}

void inflow_hang_up(struct inflow *f, int fd)
{
    struct connection *c = find(f, fd);
    /* With a reset at the close, so that a peer in the middle of sending does not wait for ever. */
    const struct linger reset = {.l_onoff = 1};
    if (c && cookie_of(fd) == c->cookie) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        (void)shutdown(fd, SHUT_RDWR);
        c->used = false;
    }
}

/* False when the connection is gone. */
static bool measure(struct connection *c, int fd, uint64_t heartbeats)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;
    int queued = 0;
    if (cookie_of(fd) != c->cookie || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0 ||
        ioctl(fd, SIOCINQ, &queued) != 0) {
        return false;
    }
    uint64_t received = info.tcpi_bytes_received;
    received -= (uint64_t)queued < received ? (uint64_t)queued : received;
    c->delivered += heartbeats;
    /* What was credited too much is not kept for later. */
    c->delivered = c->delivered < received ? c->delivered : received;
    c->unread = received - c->delivered;
    return true;
}

uint32_t inflow_check(struct inflow *f, uint64_t now_ms)
{
    uint64_t passed_ms = f->checked_ms > 0 ? now_ms - f->checked_ms : 0;
    uint64_t heartbeats = (passed_ms * HEARTBEAT_BYTES_PER_S + 999) / 1000;
    uint64_t total = 0;
    uint32_t dropped = 0;
    f->checked_ms = now_ms;
    for (size_t i = 0; i < f->capacity; i++) {
        struct connection *c = &f->table[i];
        if (!c->used) {
            continue;
        }
        if (!measure(c, (int)i, heartbeats)) {
            c->used = false;
        } else if (c->unread > f->connection_bytes) {
            inflow_hang_up(f, (int)i);
            dropped++;
        } else {
            total += c->unread;
        }
    }
    while (total > f->total_bytes) {
        size_t worst = f->capacity;
        for (size_t i = 0; i < f->capacity; i++) {
            if (f->table[i].used &&
                (worst == f->capacity || f->table[i].unread > f->table[worst].unread)) {
                worst = i;
            }
        }
        if (worst == f->capacity) {
            break;
        }
        total -= f->table[worst].unread;
        inflow_hang_up(f, (int)worst);
        f->table[worst].used = false;
        dropped++;
    }
    return dropped;
}
