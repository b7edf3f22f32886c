/* inflow.c - unread bytes and messages by connection. */
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
    PART_BYTES = 64, /* framing and encryption of a part, generously */
    WINDOW_MS = 1000,
    CUT = 64, /* connections that are remembered after they were hung up on */
};

/* The descriptor is libzmq's and may be closed and used again any moment; the cookie tells. */
struct connection {
    bool used;
    uint64_t cookie;
    uint64_t delivered; /* bytes accounted for, at most those received as of the last check */
    uint64_t unread;    /* as of the last check */
    uint32_t number;    /* 0: nothing came yet */
    uint32_t messages;  /* in this window */
};

struct inflow {
    struct connection *table; /* by descriptor */
    size_t capacity;
    uint64_t connection_bytes, total_bytes, window_ms;
    uint32_t messages_per_s;
    uint32_t cut[CUT], n_cut; /* a ring of numbers */
};

enum err inflow_open(uint64_t connection_bytes, uint64_t total_bytes, uint32_t messages_per_s,
                     struct inflow **out)
{
    *out = mem_calloc(1, sizeof **out);
    if (!*out) {
        return ERR_NOMEM;
    }
    (*out)->connection_bytes = connection_bytes;
    (*out)->total_bytes = total_bytes;
    (*out)->messages_per_s = messages_per_s;
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

static bool was_cut(const struct inflow *f, uint32_t number)
{
    uint32_t n = f->n_cut < CUT ? f->n_cut : CUT;
    for (uint32_t i = 0; number != 0 && i < n; i++) {
        if (f->cut[i] == number) {
            return true;
        }
    }
    return false;
}

enum inflow_verdict inflow_delivered(struct inflow *f, int fd, uint32_t number, uint64_t parts,
                                     uint64_t bytes)
{
    struct connection *c = find(f, fd);
    if (was_cut(f, number)) {
        return INFLOW_LATE;
    }
    if (!c || number < c->number) {
        return INFLOW_GOOD; /* of an earlier connection on that descriptor */
    }
    c->number = number;
    c->delivered += bytes + parts * PART_BYTES;
    c->messages++;
    if (f->messages_per_s == 0 || c->messages <= f->messages_per_s) {
        return INFLOW_GOOD;
    }
    f->cut[f->n_cut++ % CUT] = number;
    inflow_hang_up(f, fd);
    return INFLOW_FLOOD;
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

/* False when the connection is gone. Of a unix socket the kernel does not count the bytes. */
static bool measure(struct connection *c, int fd)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;
    int queued = 0;
    if (cookie_of(fd) != c->cookie) {
        return false;
    }
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0 ||
        ioctl(fd, SIOCINQ, &queued) != 0) {
        return true;
    }
    uint64_t received = info.tcpi_bytes_received;
    received -= (uint64_t)queued < received ? (uint64_t)queued : received;
    /* What was credited too much is not kept for later. */
    c->delivered = c->delivered < received ? c->delivered : received;
    c->unread = received - c->delivered;
    return true;
}

uint32_t inflow_check(struct inflow *f, uint64_t now_ms)
{
    uint64_t total = 0;
    uint32_t dropped = 0;
    bool fresh = now_ms - f->window_ms >= WINDOW_MS;
    f->window_ms = fresh ? now_ms : f->window_ms;
    for (size_t i = 0; i < f->capacity; i++) {
        struct connection *c = &f->table[i];
        if (!c->used) {
            continue;
        }
        c->messages = fresh ? 0 : c->messages;
        if (!measure(c, (int)i)) {
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
