/* server_state.h - what the parts of the server share. Private to coordinator/server*.c: server.c
 * (loop, actions out), server_gate.c (sockets, keys), server_peers.c (who is who),
 * server_messages.c (workers' messages in), server_status.c (status and commands),
 * server_probe.c (the run's own probe), server_task.c (what belongs to one run or task),
 * server_parked.c (workers that wait for another task). */
#ifndef PFT_SERVER_STATE_H
#define PFT_SERVER_STATE_H

#include <uv.h>

#include "common/base/log.h"
#include "common/net/allow_list.h"
#include "common/net/socket.h"
#include "common/net/zap.h"
#include "coordinator/rights.h"
#include "coordinator/server.h"

enum {
    SERVER_STRIKES = 3,
    SERVER_BAD_ROUTES = 64,
    SERVER_SECRET_BYTES = 32,
    SERVER_PROBE_LINE = 2048,
};

/* A result that was announced and waits for its payload or its settlement. */
struct announced {
    struct announced *next;
    struct wire_result_ready ready;
};

/* A closed connection may still hold a goodbye: it is read before the worker counts as gone. */
enum link {
    LINK_UP,
    LINK_LOST,    /* a message could not be sent */
    LINK_DRAINED, /* and the sockets had a whole turn since */
};

struct peer {
    bool used;
    enum link link;
    uint64_t session;
    uint64_t worker;  /* id in dispatch */
    uint64_t process; /* of its hello */
    char name[WIRE_NAME_BYTES];
    char user[KEY_NAME_BYTES]; /* name of its key; "" on sockets without keys */
    struct socket_route control, tensor;
    bool has_tensor;
    bool slow;
    uint32_t strikes; /* malformed messages */
    bool fetch_waits; /* asked for parameters, its tensor queue was full */
    bool probe_waits; /* its digest came before the run's own was known */
    uint8_t probe[WIRE_DIGEST_BYTES];
    struct announced *announced;
};

/* Peers without a session that send nonsense. */
struct bad_route {
    struct socket_route route;
    uint32_t strikes;
};

/* A process may outlive the task that asked for it: it frees itself when it has ended. */
struct server_probe {
    struct server *server; /* NULL: nobody wants the digest any more */
    uv_process_t process;
    uv_pipe_t out;
    int open;                /* handles */
    bool exited, read_whole; /* judged when both are: a pipe may hold what came before the exit */
    bool good;               /* exit code 0 */
    char how[128];           /* "exit 1", "signal 9" */
    char line[SERVER_PROBE_LINE]; /* of its stdout and stderr, in the order written */
    size_t length;
};

/* A worker that was told to come back. */
struct parked {
    char name[WIRE_NAME_BYTES], host[WIRE_HOST_BYTES], core_type[WIRE_NAME_BYTES];
    struct socket_route route;
    uint32_t slots;
    uint64_t heard_ns;
    bool unfit; /* the open task is not for it */
};

struct server {
    struct server_doors doors;
    struct server_config cfg; /* of the open task */
    struct server_events events;
    uv_loop_t loop;
    uv_timer_t timer, beat;
    uv_check_t check;
    uv_idle_t idle;
    uv_signal_t terminate, interrupt;
    bool due;
    struct socket_context *context;
    struct socket *control, *tensor, *status;
    char jobs_address[ADDRESS_BYTES], tensor_address[ADDRESS_BYTES], status_address[ADDRESS_BYTES];
    struct zap *zap; /* with keys, like the next two */
    struct mailbox *news;
    struct allow_list allowed;
    uint64_t news_ms;                      /* when it last changed */
    bool owner_commands;                   /* nobody but the owner reaches the status socket */
    struct socket_refusals refusals_first; /* in the self-attack */
    uint64_t turned_away_told, left_told;  /* logged */
    struct log_limit turned_away_limit, left_limit;
    bool tell_tensor; /* the endpoint does not follow from the control address by the rule */
    struct dispatch *dispatch;
    struct peer *peers;
    size_t n_peers, peers_capacity;
    uint32_t places[LIMIT_WORKERS]; /* by the low bits of a worker's id: where its peer may lie */
    struct bad_route bad[SERVER_BAD_ROUTES];
    uint32_t bad_next;
    uint8_t secret[SERVER_SECRET_BYTES];
    const struct batch *batch;
    bool adapter;
    uint64_t version;
    struct blob *params;
    uint64_t params_version;
    size_t params_floats;
    uint8_t params_digest[WIRE_DIGEST_BYTES];
    bool own_probe_known, own_probe_pending;
    uint8_t own_probe[WIRE_DIGEST_BYTES];
    struct server_probe *probe;
    bool standing;
    struct server_owner owner;
    char waits_for[WIRE_TEXT_BYTES];
    struct parked *parked; /* [n_parked] */
    size_t n_parked, parked_capacity;
    bool ending; /* goodbyes are said, theirs are waited for */
    bool ended, draining;
    uint64_t malformed, bad_tokens;
    struct log_limit malformed_limit, refused_limit;
};

/* Opens the three sockets, with keys where they apply, and attacks those. */
MUST_USE enum err server_open_sockets(struct server *s, struct errbuf *e);
/* Makes room for the messages of a task that was opened just now. */
void server_make_room(struct server *s);
void server_close_sockets(struct server *s);
/* In a receive callback: may the key of this message (still) use the socket? Always true without
 * keys; after a false the sender is hung up on, a second after the list changed at the earliest. */
bool server_admits(struct server *s, struct socket *socket, const char *domain);
/* In the status callback: whom the message is from, as far as rights go. */
enum key_role server_asker(const struct server *s);
/* Connections that were turned away (socket_refusals), those of the self-attack apart. */
uint64_t server_turned_away(const struct server *s);
/* Logs them when there are new ones, once a minute at most. */
void server_report_turned_away(struct server *s);
/* Tells a worker to finish what it computes and leave. */
void server_drain_worker(struct server *s, struct peer *peer);
/* Looks after deadlines once the sockets had their turn. */
void server_wake(struct server *s);
/* The loop, the handles, the sockets; no task. cfg: of the one run, NULL for a standing server. On
 * an error there is no server. */
MUST_USE enum err server_shell_open(const struct server_doors *doors,
                                    const struct server_config *cfg, struct server **out,
                                    struct errbuf *e);

/* Refuses for now, and remembers the worker for the status. */
void server_park(struct server *s, const struct socket_route *route, const struct wire_hello *h,
                 enum wire_refusal code, const char *text);
void server_unpark(struct server *s, const char *name);
void server_forget_silent(struct server *s);
/* Tells those that wait (worker "": all of them) to leave; how many were told. */
uint32_t server_drain_parked(struct server *s, const char *worker);

/* Ends the loop once the last peer has said goodbye. */
void server_end_when_alone(struct server *s);

/* Carries out every waiting action of dispatch. After each call of dispatch. */
void server_pump(struct server *s);
uint64_t server_now_ns(void);

/* To a peer, on the control or tensor socket. Trouble is told to dispatch; OK when it went out. */
enum err server_send(struct server *s, struct peer *peer, const struct wire_message *m,
                     struct blob *payload);
enum err server_send_tensor(struct server *s, struct peer *peer, const struct wire_message *m,
                            struct blob *payload);
void server_refuse(struct server *s, const struct socket_route *route, uint64_t session,
                   enum wire_refusal code, uint32_t retry_ms, const char *text);
/* The same without a word in the log: nothing is wrong, it is to come back. */
void server_put_off(struct server *s, const struct socket_route *route, uint64_t session,
                    enum wire_refusal code, uint32_t retry_ms, const char *text);
void server_send_params(struct server *s, struct peer *peer);

/* Peers. */
struct peer *server_peer_new(struct server *s, uint64_t worker, const struct socket_route *route);
struct peer *server_peer_by_session(const struct server *s, uint64_t session);
struct peer *server_peer_by_worker(const struct server *s, uint64_t worker);
struct peer *server_peer_by_name(const struct server *s, const char *name);
void server_peer_free(struct server *s, struct peer *peer);
/* Lets peers go whose link was lost and whose last messages are read; true: some wait a turn. */
bool server_part_lost(struct server *s);
/* The attempt's token: a keyed hash, so nothing is stored and nothing can be guessed. */
void server_token(const struct server *s, uint64_t worker, uint64_t job, uint32_t attempt,
                  uint8_t token[WIRE_TOKEN_BYTES]);
struct announced *server_find_announced(const struct peer *peer, uint64_t job, uint32_t attempt);
void server_drop_announced(struct peer *peer, uint64_t job, uint32_t attempt);
/* True when that route has used up its strikes. */
bool server_route_is_bad(const struct server *s, const struct socket_route *route);
void server_strike(struct server *s, const struct socket_route *route, struct peer *peer,
                   const char *why);

/* Messages in: the receive callbacks of the three sockets. */
void server_on_control(void *ctx, const struct socket_route *route, const uint8_t *header,
                       size_t bytes, struct blob **payload);
void server_on_tensor(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload);
void server_on_status(void *ctx, const struct socket_route *route, const uint8_t *header,
                      size_t bytes, struct blob **payload);
/* Judges a worker's digest, by the run's own first. */
void server_judge_probe(struct server *s, struct peer *peer,
                        const uint8_t digest[WIRE_DIGEST_BYTES]);

/* What comes and goes with jobs that are no gradients (server_values.c). */
enum wire_job_kind server_wire_kind(enum job_kind kind);
/* The frame of a GENERATE job; NULL without memory. */
struct blob *server_requests_frame(const struct server *s, const struct job *job,
                                   const struct unit *const *units);
/* A result that brought its payload along: checked, judged, handed to the run. */
void server_on_values(struct server *s, struct peer *peer, const struct wire_result_ready *m,
                      const struct blob *payload);
/* An announcement as dispatch takes it. */
void server_fill_result(const struct peer *peer, const struct wire_result_ready *m,
                        struct result_row rows[LIMIT_JOB_UNITS], struct dispatch_result *out);

/* The run's own probe. Where this machine cannot run the run's kernels the first worker's digest
 * decides; where the probe fails a strict run stops and a relaxed one takes the first worker's. */
void server_probe_start(struct server *s);
void server_probe_stop(struct server *s);

#endif
