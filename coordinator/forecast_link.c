/* forecast_link.c - a heap of flows by the service at which each is through. */
#include "coordinator/forecast_link.h"

#include <math.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/forecast_state.h"

enum { FLOWS_MAX = 1 << 24 };

struct forecast_flow {
    double end;   /* value of `served` at which it is through */
    uint64_t seq; /* equal ends: first come, first out */
    struct forecast_event event;
};

static bool before(const struct forecast_flow *a, const struct forecast_flow *b)
{
    return a->end < b->end || (a->end <= b->end && a->seq < b->seq);
}

static void advance(struct forecast_link *l, uint64_t now_ns)
{
    if (l->n > 0 && now_ns > l->at_ns) {
        uint64_t passed = now_ns - l->at_ns;
        l->served += (double)passed * 1e-9 * l->bytes_per_s / (double)l->n;
        l->busy_ns += passed;
    }
    l->at_ns = now_ns;
}

enum err forecast_link_add(struct forecast_link *l, uint64_t bytes,
                           const struct forecast_event *event, uint64_t now_ns)
{
    enum err error =
        mem_grow((void **)&l->heap, &l->capacity, l->n + 1, sizeof *l->heap, FLOWS_MAX);
    if (error != OK) {
        return error;
    }
    advance(l, now_ns);
    l->bytes += bytes;
    struct forecast_flow flow = {
        .end = l->served + (double)bytes, .seq = l->flows++, .event = *event};
    size_t i = l->n++;
    while (i > 0 && before(&flow, &l->heap[(i - 1) / 2])) {
        l->heap[i] = l->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    l->heap[i] = flow;
    return OK;
}

uint64_t forecast_link_next_ns(const struct forecast_link *l)
{
    if (l->n == 0) {
        return UINT64_MAX;
    }
    double left = l->heap[0].end - l->served;
    double ns = ceil(left * (double)l->n / l->bytes_per_s * 1e9);
    return l->at_ns + (ns > 0.0 ? (uint64_t)ns : 0);
}

void forecast_link_take(struct forecast_link *l, uint64_t now_ns, struct forecast_event *event)
{
    CHECK(l->n > 0);
    advance(l, now_ns);
    l->served = l->served > l->heap[0].end ? l->served : l->heap[0].end;
    *event = l->heap[0].event;
    struct forecast_flow last = l->heap[--l->n];
    size_t i = 0;
    for (size_t child = 1; child < l->n; child = 2 * i + 1) {
        child += child + 1 < l->n && before(&l->heap[child + 1], &l->heap[child]);
        if (!before(&l->heap[child], &last)) {
            break;
        }
        l->heap[i] = l->heap[child];
        i = child;
    }
    l->heap[i] = last;
}

void forecast_link_free(struct forecast_link *l)
{
    mem_free(l->heap);
    *l = (struct forecast_link){0};
}
