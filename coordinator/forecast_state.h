/* forecast_state.h - what forecast.c (clock, coordinator) and forecast_worker.c (the workers'
 * rules) share. Private to them and forecast_link.c. */
#ifndef PFT_FORECAST_STATE_H
#define PFT_FORECAST_STATE_H

#include "coordinator/forecast.h"
#include "coordinator/forecast_link.h"

enum { FORECAST_TENSOR_QUEUE = 4 }; /* parameters under way to one worker, as in server.c */

enum forecast_kind {
    /* To the coordinator's loop. */
    FORECAST_WANT,
    FORECAST_HEARTBEAT,
    FORECAST_ANNOUNCE,
    FORECAST_FETCH,
    FORECAST_PAYLOAD,
    FORECAST_PROBED,
    FORECAST_SUMMED,
    FORECAST_FINISHED,
    FORECAST_TO_LOOP, /* the last of these */
    /* To a worker. */
    FORECAST_JOB,
    FORECAST_PARAMS,
    FORECAST_CREDIT,
    FORECAST_SETTLED, /* or cancelled: nobody wants it any more */
    FORECAST_COMPUTED,
    FORECAST_BEAT,
    FORECAST_TO_WORKER, /* the last of these */
    FORECAST_LOOP,      /* the loop takes the next message */
    FORECAST_TICK,      /* dispatch asked to be called */
};

struct forecast_event {
    enum forecast_kind kind;
    uint32_t worker, slot, attempt;
    uint32_t rows, n_units;
    uint64_t job, request, version;
};

enum forecast_slot_state { VIRTUAL_IDLE, VIRTUAL_WANTING, VIRTUAL_FETCHING, VIRTUAL_COMPUTING };

struct forecast_slot {
    enum forecast_slot_state state;
    bool leaving; /* COMPUTING, but the answer is thrown away */
    uint64_t request, asked_ns;
    struct forecast_event job;
    uint64_t begun_ns;
    uint64_t run;     /* number of the computation; an end that names an earlier one is void */
    uint64_t used_in; /* step + 1 in which it last had work */
};

struct forecast_output {
    enum { OUTPUT_FREE, OUTPUT_ANNOUNCED, OUTPUT_SENT } state;
    bool sent; /* into the link at sent_ns */
    uint64_t job, said_ns, sent_ns;
    uint32_t attempt;
};

struct forecast_worker {
    uint64_t id; /* in dispatch */
    uint32_t index;
    bool has_params;
    uint64_t params_version, fetching, fetch_ns; /* fetching: version + 1; 0 = nothing */
    uint64_t queued[FORECAST_TENSOR_QUEUE]; /* versions on their way to it, one after the other */
    uint32_t n_queued;
    bool fetch_waits;                /* that queue was full */
    struct forecast_slot *slots;     /* [cfg.slots] */
    struct forecast_output *outputs; /* [cfg.slots + 2] */
};

struct forecast_timed {
    uint64_t at_ns, seq;
    struct forecast_event event;
};

struct forecast_sim {
    const struct forecast_config *cfg;
    struct forecast *out;
    struct dispatch *dispatch;
    uint64_t now_ns, latency_ns, message_ns;
    struct forecast_timed *heap; /* by time, then by order of coming */
    size_t n_heap, heap_capacity;
    uint64_t seq, n_events;
    struct forecast_event *inbox; /* a ring: what the loop has not read yet */
    size_t inbox_capacity, inbox_first, inbox_count;
    bool loop_busy;
    struct forecast_link up, down; /* out of the coordinator, into it */
    uint64_t link_busy_ns, link_at_ns;
    uint64_t reducer_free_ns;
    struct forecast_worker *workers;
    struct forecast_slot *slots;
    struct forecast_output *outputs;
    uint64_t *unit_ids;
    uint32_t step;
    uint64_t opened_ns, counted_ns, jobs_before, backups_before, lost_before;
    uint32_t used; /* slots with work in the open step */
    bool done, out_of_memory;
};

/* Later. */
void forecast_at(struct forecast_sim *s, uint64_t at_ns, const struct forecast_event *event);
/* A worker's message to the coordinator: there after the latency. */
void forecast_say(struct forecast_sim *s, const struct forecast_worker *w,
                  struct forecast_event event);
/* A gradient into the coordinator's link. */
void forecast_send_gradient(struct forecast_sim *s, const struct forecast_worker *w, uint64_t job,
                            uint32_t attempt);

/* The worker's side. begin: it is ready and asks for work; hear: an event to it is due. */
void forecast_worker_begin(struct forecast_sim *s, struct forecast_worker *w);
uint64_t forecast_compute_ns(const struct forecast_sim *s, uint32_t rows);
void forecast_worker_hear(struct forecast_sim *s, struct forecast_worker *w,
                          const struct forecast_event *event);

#endif
