/* lease.c - the heap of deadlines and the cost window. All stored times are "less all shifts": a
 * shift by our own stall is then one addition, whatever the number of leases. */
#include "coordinator/lease.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

#define NONE UINT32_MAX

enum { MADS = 6, CAP_TTLS = 20 };

struct entry {
    struct lease lease;
    uint32_t place; /* in the heap; NONE = free */
    uint32_t next_free;
};

struct window {
    double ns_per_token[LEASE_WINDOW];
    uint64_t seen;
    double median, mad;
};

struct leases {
    struct entry *entries;
    size_t entries_capacity;
    uint32_t n_entries, first_free;
    uint32_t *heap; /* handles, earliest deadline first */
    size_t heap_capacity;
    uint32_t n_heap;
    uint64_t shift_ns;
    struct window windows[JOB_KINDS]; /* from grant to result */
    struct window costs[JOB_KINDS];   /* of computing alone */
};

enum err leases_new(struct leases **out)
{
    struct leases *l = mem_calloc(1, sizeof *l);
    if (!l) {
        return ERR_NOMEM;
    }
    l->first_free = NONE;
    *out = l;
    return OK;
}

void leases_free(struct leases **l)
{
    if (*l) {
        mem_free((*l)->entries);
        mem_free((*l)->heap);
        mem_free(*l);
        *l = NULL;
    }
}

static uint64_t deadline_at(const struct leases *l, uint32_t place)
{
    return l->entries[l->heap[place]].lease.deadline_ns;
}

static void put(struct leases *l, uint32_t place, uint32_t handle)
{
    l->heap[place] = handle;
    l->entries[handle].place = place;
}

/* Moves the entry at place up or down until the heap holds again. */
static void settle(struct leases *l, uint32_t place)
{
    uint32_t handle = l->heap[place];
    uint64_t deadline = l->entries[handle].lease.deadline_ns;
    while (place > 0 && deadline < deadline_at(l, (place - 1) / 2)) {
        put(l, place, l->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= l->n_heap) {
            break;
        }
        if (child + 1 < l->n_heap && deadline_at(l, child + 1) < deadline_at(l, child)) {
            child++;
        }
        if (deadline_at(l, child) >= deadline) {
            break;
        }
        put(l, place, l->heap[child]);
        place = child;
    }
    put(l, place, handle);
}

static uint64_t at_most(double ns)
{
    return ns < 1e18 ? (uint64_t)ns : (uint64_t)1000000000000000000u;
}

static uint64_t ttl_of(const struct leases *l, enum job_kind kind, uint32_t tokens)
{
    const struct window *w = &l->windows[kind];
    if (w->seen == 0) {
        return LEASE_FIRST_NS;
    }
    uint64_t ttl = at_most((w->median + MADS * w->mad) * (double)(tokens ? tokens : 1));
    return ttl > LEASE_FLOOR_NS ? ttl : LEASE_FLOOR_NS;
}

enum err lease_grant(struct leases *l, const struct lease *what, uint64_t now_ns, uint32_t *handle)
{
    enum err error = mem_grow((void **)&l->heap, &l->heap_capacity, (size_t)l->n_heap + 1,
                              sizeof *l->heap, LEASE_MAX);
    if (error == OK && l->first_free == NONE) {
        error = mem_grow((void **)&l->entries, &l->entries_capacity, (size_t)l->n_entries + 1,
                         sizeof *l->entries, LEASE_MAX);
    }
    if (error != OK) {
        return error;
    }
    uint32_t h = l->first_free;
    if (h == NONE) {
        h = l->n_entries++;
    } else {
        l->first_free = l->entries[h].next_free;
    }
    uint64_t now = now_ns - l->shift_ns;
    struct lease *lease = &l->entries[h].lease;
    *lease = *what;
    lease->granted_ns = now;
    lease->ttl_ns = ttl_of(l, what->kind, what->tokens);
    lease->deadline_ns = now + lease->ttl_ns;
    uint64_t cap = CAP_TTLS * lease->ttl_ns;
    lease->cap_ns = now + (cap > LEASE_CAP_NS ? cap : LEASE_CAP_NS);
    put(l, l->n_heap++, h);
    settle(l, l->n_heap - 1);
    *handle = h;
    return OK;
}

static struct entry *live(const struct leases *l, uint32_t handle)
{
    CHECK(handle < l->n_entries && l->entries[handle].place != NONE);
    return &l->entries[handle];
}

void lease_renew(struct leases *l, uint32_t handle, uint64_t now_ns)
{
    struct entry *entry = live(l, handle);
    struct lease *lease = &entry->lease;
    uint64_t wanted = now_ns - l->shift_ns + lease->ttl_ns;
    wanted = wanted < lease->cap_ns ? wanted : lease->cap_ns;
    if (wanted > lease->deadline_ns) {
        lease->deadline_ns = wanted;
        settle(l, entry->place);
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

static void learn(struct window *w, double ns_per_token)
{
    double sorted[LEASE_WINDOW];
    w->ns_per_token[w->seen++ % LEASE_WINDOW] = ns_per_token;
    size_t n = w->seen < LEASE_WINDOW ? (size_t)w->seen : LEASE_WINDOW;
    if (w->seen > LEASE_WINDOW && w->seen % 16 != 0) {
        return; /* a full window changes slowly; sorting it for every tiny job would cost more */
    }
    memcpy(sorted, w->ns_per_token, n * sizeof *sorted);
    w->median = median_of(sorted, n);
    for (size_t i = 0; i < n; i++) {
        double off = w->ns_per_token[i] - w->median;
        sorted[i] = off < 0.0 ? -off : off;
    }
    w->mad = median_of(sorted, n);
}

static void learn_tokens(struct window *w, uint64_t spent_ns, uint32_t tokens)
{
    learn(w, (double)(spent_ns ? spent_ns : 1) / (double)(tokens ? tokens : 1));
}

void lease_computed(struct leases *l, uint32_t handle, uint64_t spent_ns, uint64_t now_ns)
{
    const struct lease *lease = &live(l, handle)->lease;
    uint64_t most = lease_elapsed_ns(l, handle, now_ns);
    learn_tokens(&l->costs[lease->kind], spent_ns > 0 && spent_ns < most ? spent_ns : most,
                 lease->tokens);
}

void lease_end(struct leases *l, uint32_t handle, bool measured, uint64_t now_ns)
{
    struct entry *entry = live(l, handle);
    const struct lease *lease = &entry->lease;
    if (measured) {
        learn_tokens(&l->windows[lease->kind], lease_elapsed_ns(l, handle, now_ns), lease->tokens);
    }
    uint32_t place = entry->place;
    entry->place = NONE;
    entry->next_free = l->first_free;
    l->first_free = handle;
    l->n_heap--;
    if (place < l->n_heap) {
        put(l, place, l->heap[l->n_heap]);
        settle(l, place);
    }
}

const struct lease *lease_get(const struct leases *l, uint32_t handle)
{
    return &live(l, handle)->lease;
}

uint64_t lease_elapsed_ns(const struct leases *l, uint32_t handle, uint64_t now_ns)
{
    uint64_t now = now_ns - l->shift_ns;
    uint64_t granted = live(l, handle)->lease.granted_ns;
    return now > granted ? now - granted : 0;
}

uint32_t lease_due(const struct leases *l, uint64_t now_ns)
{
    return l->n_heap > 0 && deadline_at(l, 0) <= now_ns - l->shift_ns ? l->heap[0] : NONE;
}

uint64_t lease_sleep_ns(const struct leases *l, uint64_t now_ns)
{
    if (l->n_heap == 0) {
        return UINT64_MAX;
    }
    uint64_t now = now_ns - l->shift_ns;
    return deadline_at(l, 0) > now ? deadline_at(l, 0) - now : 0;
}

void lease_shift(struct leases *l, uint64_t lost_ns)
{
    l->shift_ns += lost_ns;
}

static uint64_t of_tokens(const struct window *w, uint64_t tokens)
{
    return w->seen ? at_most(w->median * (double)(tokens ? tokens : 1)) : 0;
}

uint64_t lease_expected_ns(const struct leases *l, enum job_kind kind, uint64_t tokens)
{
    return of_tokens(&l->windows[kind], tokens);
}

uint64_t lease_cost_ns(const struct leases *l, enum job_kind kind, uint64_t tokens)
{
    return of_tokens(&l->costs[kind], tokens);
}

uint32_t leases_count(const struct leases *l)
{
    return l->n_heap;
}
