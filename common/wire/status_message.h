/* status_message.h - what the status endpoint says, as plain structs, and its bytes.
 * Owns: struct status and its byte form. Never: sockets, JSON, how figures come about. */
#ifndef PFT_STATUS_MESSAGE_H
#define PFT_STATUS_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/message.h"
#include "common/wire/task_message.h"

enum {
    STATUS_SCHEMA = 1,
    STATUS_REQUEST_BYTES = TASK_ORDER_BYTES + 256,
    STATUS_REPLY_BYTES = 2 << 20,
    STATUS_STATE_BYTES = 16,
    STATUS_TASKS = 1000,
    STATUS_CONTENT_BYTES = 256 << 10, /* of a log or result in one reply */
};

enum status_command {
    STATUS_ASK,    /* nothing but the status */
    STATUS_DRAIN,  /* one worker, or all, finish what runs and leave */
    STATUS_STOP,   /* the coordinator stops as after SIGTERM */
    STATUS_SUBMIT, /* one more task */
    STATUS_JOBS,   /* the list of tasks */
    STATUS_CANCEL, /* a task */
    STATUS_READ,   /* a piece of a task's log or result */
    STATUS_COMMANDS,
};

enum status_outcome {
    STATUS_NONE, /* no command was given, or none is known there */
    STATUS_DONE,
    STATUS_REFUSED,
    STATUS_NOT_THERE, /* no worker, no task of that name */
    STATUS_OUTCOMES,
};

struct status_request {
    enum status_command command;
    char worker[WIRE_NAME_BYTES]; /* of STATUS_DRAIN; "" means all */
    uint64_t task;                /* of STATUS_CANCEL and STATUS_READ */
    uint64_t offset;              /* of STATUS_READ: bytes to skip */
    enum task_part part;          /* of STATUS_READ */
    struct task_order order;      /* of STATUS_SUBMIT */
};

struct status_worker {
    char id[WIRE_NAME_BYTES];
    char host[WIRE_HOST_BYTES];
    uint32_t slots;
    char state[STATUS_STATE_BYTES];
    uint64_t units_done;
    double tokens_per_s;
    uint64_t last_heard_ms;
    char core_type[WIRE_NAME_BYTES];
    uint32_t strikes;
    double utilisation; /* computing / wall of its slots in the last 30 s, 0 to 1; NaN: unknown */
};

struct status {
    uint32_t schema;
    char run[WIRE_ADDRESS_BYTES];
    char task[WIRE_NAME_BYTES];
    char state[STATUS_STATE_BYTES]; /* starting running degraded draining finished failed */
    uint64_t step_open, step_committed, step_total;
    double loss;         /* NaN: none yet */
    double kl;           /* of the anchor, nats a token; NaN: none (yet) */
    double pairs_per_s;  /* mean of the last 30 s */
    double tokens_per_s; /* mean of the last 30 s */
    double eta_s;        /* NaN: unknown */
    double utilisation;  /* of all slots, as a worker's; NaN: unknown */
    uint32_t units_queued, units_leased;
    uint64_t units_done;
    uint32_t useful_slots;
    uint64_t refused; /* connections: no key, a wrong one, too many bytes */
    enum status_outcome outcome;
    char answer[WIRE_TEXT_BYTES];   /* what came of a command */
    char text[WIRE_TEXT_BYTES];     /* why degraded or failed; "" otherwise */
    char suspects[WIRE_TEXT_BYTES]; /* steps that hold results of a worker that lost an audit */
    uint64_t audits_confirmed;      /* units that two hosts agreed on, of this start */
    uint64_t audits_unconfirmed;    /* that were to be, and no second host was left */
    uint32_t n_workers;
    struct status_worker *workers; /* [n_workers]; this and the next: mem_free by status_free */
    uint64_t task_id;              /* of STATUS_SUBMIT */
    uint32_t n_tasks;
    struct task_info *tasks; /* [n_tasks], of STATUS_JOBS */
    uint32_t content_bytes;
    uint8_t *content; /* [content_bytes], of STATUS_READ */
    uint64_t content_total;
};

/* The one-frame request. The order must have passed task_order_check. */
void status_request_encode(const struct status_request *r, uint8_t out[STATUS_REQUEST_BYTES],
                           size_t *bytes);
/* ERR_PARSE or ERR_RANGE for anything but a request of a known schema; on OK the order's texts are
 * the caller's (status_request_free). */
MUST_USE enum err status_request_decode(const uint8_t *data, size_t bytes,
                                        struct status_request *out, struct errbuf *e);
void status_request_free(struct status_request *r);

/* *out is a block of *bytes of the caller's (mem_free). */
MUST_USE enum err status_encode(const struct status *s, uint8_t **out, size_t *bytes);
/* Reads a reply from anywhere, ranges checked; on OK the workers are the caller's (status_free). */
MUST_USE enum err status_decode(const uint8_t *data, size_t bytes, struct status *s,
                                struct errbuf *e);
void status_free(struct status *s);

#endif
