/* half_open.c - a list in order of acceptance. */
#include "common/net/half_open.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/net/socket_options.h"

enum { FORGET_MS = SOCKET_HANDSHAKE_MS + 1000, LATE_MS = SOCKET_HANDSHAKE_MS * 3 / 4 };

struct entry {
    int fd;
    bool evicted; /* counts no more; its end is waited for */
    uint64_t address, accepted_ms;
};

struct half_open {
    uint32_t total, per_address;
    size_t n, capacity;
    struct entry *list;
};

enum err half_open_open(uint32_t total, uint32_t per_address, struct half_open **out)
{
    struct half_open *h = mem_calloc(1, sizeof *h);
    *out = NULL;
    if (!h) {
        return ERR_NOMEM;
    }
    h->total = total;
    h->per_address = per_address;
    h->capacity = 2 * (size_t)total + 2;
    h->list = mem_calloc(h->capacity, sizeof *h->list);
    if (!h->list) {
        mem_free(h);
        return ERR_NOMEM;
    }
    *out = h;
    return OK;
}

void half_open_close(struct half_open **h)
{
    if (*h) {
        mem_free((*h)->list);
        mem_free(*h);
        *h = NULL;
    }
}

static void drop(struct half_open *h, size_t i)
{
    h->n--;
    memmove(h->list + i, h->list + i + 1, (h->n - i) * sizeof *h->list);
}

static size_t find(const struct half_open *h, int fd)
{
    size_t i = 0;
    while (i < h->n && h->list[i].fd != fd) {
        i++;
    }
    return i;
}

static void forget_old(struct half_open *h, uint64_t now_ms)
{
    size_t old = 0;
    while (old < h->n &&
           (h->n - old == h->capacity || now_ms - h->list[old].accepted_ms > FORGET_MS)) {
        old++;
    }
    h->n -= old;
    memmove(h->list, h->list + old, h->n * sizeof *h->list);
}

/* The oldest one that counts, of one address or (0) of all. */
static int evict_oldest(struct half_open *h, uint64_t address)
{
    for (size_t i = 0; i < h->n; i++) {
        struct entry *e = &h->list[i];
        if (!e->evicted && (address == 0 || e->address == address)) {
            e->evicted = true;
            return e->fd;
        }
    }
    return -1;
}

int half_open_accepted(struct half_open *h, int fd, uint64_t address, uint64_t now_ms)
{
    uint32_t all = 0;
    uint32_t same = 0;
    (void)half_open_over(h, fd, now_ms); /* an earlier one on that descriptor is gone */
    forget_old(h, now_ms);
    h->list[h->n++] = (struct entry){.fd = fd, .address = address, .accepted_ms = now_ms};
    for (size_t i = 0; i < h->n; i++) {
        all += !h->list[i].evicted;
        same += !h->list[i].evicted && h->list[i].address == address;
    }
    if (address != 0 && same > h->per_address) {
        return evict_oldest(h, address);
    }
    return all > h->total ? evict_oldest(h, 0) : -1;
}

enum half_open_end half_open_over(struct half_open *h, int fd, uint64_t now_ms)
{
    size_t i = find(h, fd);
    if (i == h->n) {
        return HALF_OPEN_UNKNOWN;
    }
    enum half_open_end end = h->list[i].evicted                           ? HALF_OPEN_EVICTED
                             : now_ms - h->list[i].accepted_ms >= LATE_MS ? HALF_OPEN_LATE
                                                                          : HALF_OPEN_WAITING;
    drop(h, i);
    return end;
}

void half_open_evict(struct half_open *h, int fd)
{
    size_t i = find(h, fd);
    if (i < h->n) {
        h->list[i].evicted = true;
    }
}
