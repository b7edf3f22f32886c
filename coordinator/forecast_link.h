/* forecast_link.h - one direction of a link in virtual time, shared evenly by the flows on it, as
 * TCP connections share one. Owns: the flows under way. Never: decides what flows. Used by forecast
 * alone. Pure; O(log n) per flow: a flow ends when the service that each flow has had since the
 * beginning reaches its start plus its bytes. */
#ifndef PFT_FORECAST_LINK_H
#define PFT_FORECAST_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct forecast_event; /* forecast_state.h */
struct forecast_flow;

struct forecast_link {
    double bytes_per_s;
    double served; /* bytes each flow would have got since the beginning */
    uint64_t at_ns;
    struct forecast_flow *heap; /* by end */
    size_t n, capacity;
    uint64_t bytes, busy_ns, flows; /* so far; the caller may set them to zero */
};

/* event is copied and comes out of forecast_link_take when the bytes are through. */
MUST_USE enum err forecast_link_add(struct forecast_link *l, uint64_t bytes,
                                    const struct forecast_event *event, uint64_t now_ns);
/* When the next flow ends; UINT64_MAX when there is none. */
uint64_t forecast_link_next_ns(const struct forecast_link *l);
/* Takes the flow that ends at now_ns = forecast_link_next_ns. */
void forecast_link_take(struct forecast_link *l, uint64_t now_ns, struct forecast_event *event);
void forecast_link_free(struct forecast_link *l);

#endif
