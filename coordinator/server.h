/* server.h - the shell of the coordinator: the loop, the sockets, the peers. It turns messages into
 * calls of dispatch and dispatch's actions into messages, and hands what concerns the run
 * (payloads, scores, a finished batch) to the phases. Owns: the loop, sockets, sessions, dispatch,
 * the published parameters, the process that computes the run's probe. Never: sums, writes files,
 * decides what comes next. Everything on the loop's thread; nothing blocks.
 *
 * With an owner (a standing coordinator) the loop and the sockets outlive the run, here a task: its
 * end is told to the owner, sessions end with it, and workers are told when to ask again. */
#ifndef PFT_SERVER_H
#define PFT_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/address.h"
#include "common/net/blob.h"
#include "common/net/key_file.h"
#include "common/net/mailbox.h"
#include "common/net/socket.h"
#include "common/wire/message.h"
#include "common/wire/status_message.h"
#include "coordinator/batch.h"
#include "coordinator/dispatch.h"
#include "coordinator/params.h"

enum { SERVER_HEARTBEAT_MS = 500, SERVER_SILENCE_MS = 4000 };

struct server;

/* What the server tells; ctx comes first. The batch is the one given to server_batch. */
struct server_events {
    void *ctx;
    /* A payload that is wanted: hand it on; dispatch_summed is called by server_summed later. */
    void (*payload)(void *ctx, const struct job *job, const struct wire_result_ready *announced,
                    struct blob *payload);
    /* Scores of a job's units, leaves in order. */
    void (*scores)(void *ctx, const struct job *job, const double *leaf_logp);
    /* Answers or captured sums of a job's units, checked in form; borrowed. May be NULL where no
     * such batch is ever opened. */
    void (*values)(void *ctx, const struct job *job, const struct blob *payload);
    /* Units of a job are counted. */
    void (*counted)(void *ctx, uint32_t tokens);
    void (*restart)(void *ctx);
    void (*batch_done)(void *ctx, uint32_t tag);
    /* Steps from .. to hold results of a worker that lost an audit; text names it. May be NULL. */
    void (*suspect)(void *ctx, uint64_t from, uint64_t to, const char *text);
    void (*stop)(void *ctx, const char *why);                          /* the run cannot go on */
    void (*probe)(void *ctx, const uint8_t digest[WIRE_DIGEST_BYTES]); /* keep it */
    void (*status)(void *ctx, struct status *status);                  /* all but the workers */
    void (*signal)(void *ctx);                                         /* SIGTERM or SIGINT */
    void (*tick)(void *ctx, uint64_t now_ms);                          /* about twice a second */
};

/* Where it listens, and to whom: for as long as the server lives, which borrows all of it. */
struct server_doors {
    const char *bind; /* control address */
    const char *status;
    const struct key_file *key; /* the coordinator's; NULL: no keys */
    const char *keys_folder;    /* who may come in */
};

struct server_config {
    struct wire_welcome welcome; /* session and tensor_endpoint are filled per worker */
    uint32_t kernels_bit;
    const char *model_hash, *model_name, *model_path;
    const char *shape_digest;
    size_t floats;  /* of the adapter */
    uint64_t start; /* number of this start of the coordinator */
    bool has_probe; /* known from an earlier start */
    uint8_t probe[WIRE_DIGEST_BYTES];
    double audit_rate;
    const char *audit_book; /* of an earlier start; NULL: none */
};

/* What the owner of a server that outlives its tasks is told; ctx comes first. */
struct server_owner {
    void *ctx;
    void (*task_over)(void *ctx); /* the task called server_end: server_task_close is due */
    void (*status)(void *ctx, struct status *status); /* all but the workers */
    /* A command about tasks. True: the reply in status goes out now; false: the owner gives it to
     * server_reply later. The request may be changed. */
    bool (*command)(void *ctx, const struct socket_route *route, struct status_request *request,
                    struct status *status);
    void (*signal)(void *ctx);
    void (*tick)(void *ctx, uint64_t now_ms);
};

/* As server_open, without a task. */
MUST_USE enum err server_open_standing(const struct server_doors *doors,
                                       const struct server_owner *owner, struct server **out,
                                       struct errbuf *e);
/* cfg and events are the task's until server_task_close, which ends every session;
 * why goes to the workers. Not while another task is open. */
MUST_USE enum err server_task_open(struct server *s, const struct server_config *cfg,
                                   const struct server_events *events, struct errbuf *e);
void server_task_close(struct server *s, const char *why);
/* What workers are told while no task is open. */
void server_waits_for(struct server *s, const char *why);
/* Sends a status reply, the workers filled in unless tasks or content take their room; what cannot
 * be sent is dropped. */
void server_reply(struct server *s, const struct socket_route *route, struct status *status);

/* Binds everything, with keys on tcp sockets if there are any, and proves that strangers stay out
 * (ERR_REFUSED, ERR_IO: it could not); starts the probe process when the digest is not known. */
MUST_USE enum err server_open(const struct server_doors *doors, const struct server_config *cfg,
                              const struct server_events *events, struct server **out,
                              struct errbuf *e);
/* Endpoints that came out of the binds. */
const char *server_jobs_address(const struct server *s);
const char *server_status_address(const struct server *s);

/* ready(ctx) on the loop when letters wait in the mailbox. */
MUST_USE enum err server_attach(struct server *s, struct mailbox *m, void (*ready)(void *ctx),
                                void *ctx);

/* Runs the loop until server_end. start: arms timers and signals, for whoever turns the loop
 * itself; ended: there is no more turn to make. */
void server_run(struct server *s);
void server_start(struct server *s);
bool server_ended(const struct server *s);
/* Says goodbye to every worker and stops the loop. */
void server_end(struct server *s, enum wire_parting why, const char *text);
void server_close(struct server **s);

/* The parameters that jobs use from now on; takes the reference. */
MUST_USE enum err server_publish(struct server *s, struct params_snapshot *snapshot);

/* Opens a batch (borrowed until the next one or server_close). adapter false: jobs run with the
 * adapter off. version: of the parameters its jobs use, the one published last. */
MUST_USE enum err server_batch(struct server *s, const struct batch *batch, bool adapter,
                               uint64_t version);
void server_summed(struct server *s, uint64_t job, enum err code);
void server_committed(struct server *s, uint32_t tag);
void server_pause(struct server *s, bool paused);
/* No new jobs; workers are told to drain. */
void server_drain(struct server *s);

/* What is known of the workers' audits, to be kept for a later start. */
void server_audit_book(const struct server *s, struct str *out);
struct queue_counts server_counts(const struct server *s);
uint32_t server_workers(const struct server *s);
uint32_t server_slots(const struct server *s); /* of workers that take jobs */

#endif
