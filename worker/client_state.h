/* client_state.h - what the two halves of the shell share. Private to client.c (loop, sockets,
 * messages in) and client_send.c (messages out). */
#ifndef PFT_CLIENT_STATE_H
#define PFT_CLIENT_STATE_H

#include <uv.h>

#include "common/base/log.h"
#include "common/net/socket.h"
#include "common/wire/answers.h"
#include "worker/agent.h"
#include "worker/client.h"
#include "worker/slots.h"

struct client_result {
    struct blob *payload;
    struct step_result result; /* rows and hash; its payload is moved to the line above */
    float seconds;
};

struct client_slot {
    struct unit *units;              /* read, not yet given to the slot's thread */
    struct answer_request *requests; /* of a GENERATE job */
    uint32_t n_units;
    uint64_t moved, moved_ms; /* progress last seen to grow */
    struct errbuf failed;
};

struct client {
    struct client_config cfg;
    char id[WIRE_NAME_BYTES], host[WIRE_HOST_BYTES], shape[WIRE_DIGEST_HEX];
    uint64_t process; /* random; a part of the default id, since containers share hosts and pids */
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t terminate, interrupt;
    struct socket_context *context;
    struct socket *control, *tensor;
    char tensor_address[ADDRESS_BYTES];
    bool attached; /* attach was sent on the tensor socket */
    struct mailbox *reports;
    struct slots *slots;
    struct agent *agent;
    struct blob *params;
    uint64_t params_version;
    uint64_t engine; /* number of the last slots_prepare */
    bool has_digest; /* of the engine that is there */
    uint8_t digest[WIRE_DIGEST_BYTES];
    struct client_slot slot[LIMIT_SLOTS];
    struct client_result results[AGENT_RESULTS];
    enum agent_state shown; /* in the log */
    bool ended;
    enum agent_exit exit;
    uint64_t malformed;
    uint64_t broken; /* handshakes that failed, as last logged */
    struct log_limit malformed_limit, unexpected_limit, broken_limit;
};

/* The loop ends with this exit code. */
void client_end(struct client *c, enum agent_exit code);
/* Logs that nobody was heard for so long, and what speaks against the address. */
void client_say_unheard(const struct client *c, uint64_t seconds);
void client_open_tensor(struct client *c);
/* Makes the engine that the welcome asks for, or tells the agent why not; another kernel level
 * starts the program again. */
void client_prepare(struct client *c, uint64_t now);

/* One message on the control (or tensor) socket; what the socket said. */
enum err client_send(struct client *c, struct socket *socket, const struct wire_message *m,
                     struct blob *payload);

void client_send_hello(struct client *c, uint64_t epoch);
void client_send_probe(struct client *c);
void client_send_request(struct client *c, const struct agent_action *action);
void client_send_release(struct client *c, const struct agent_action *action);
void client_send_failed(struct client *c, const struct agent_action *action);
void client_send_announcement(struct client *c, uint32_t result);
void client_send_heartbeat(struct client *c, uint64_t now_ms);
void client_send_note(struct client *c, enum wire_kind kind, uint64_t session, const char *text);
/* Over the tensor channel, with attach before the first; they tell the agent when unsent. */
void client_send_fetch(struct client *c, uint64_t version);
void client_send_result(struct client *c, uint32_t result, uint64_t now_ms);
bool client_attach(struct client *c);

#endif
