/* client.h - the shell of a worker: its loop, its two sockets, its signals. It turns messages,
 * reports of the slots and time into calls of the agent, and the agent's actions into messages and
 * work. Owns: sockets, payloads on their way, the parameters held. Never: decides. */
#ifndef PFT_CLIENT_H
#define PFT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include <stdbool.h>

#include "common/net/key_file.h"
#include "worker/agent.h"

struct model_file;

struct client_config {
    const char *address;        /* of the coordinator's control channel */
    const char *id;             /* NULL: host.pid.random */
    const struct key_file *key; /* for tcp addresses; NULL: none. Borrowed */
    uint32_t slots;
    uint32_t threads; /* of a slot */
    bool checkpointing;
    uint64_t give_up_ms; /* 0: never */
    const struct model_file *model;
    const char *model_hash;
    char **argv; /* of the program: another kernel level means starting it again */
};

/* Serves a run until it ends; blocks. Returns the exit code of the program, after a log line that
 * says why. */
enum agent_exit client_run(const struct client_config *cfg);

/* The same for whoever turns the loop itself: open begins to connect; ended: there is no more turn
 * to make, *code is the exit code; close waits for the slots' threads. cfg's pointers are borrowed
 * until then. */
struct client;
MUST_USE enum err client_open(const struct client_config *cfg, struct client **out,
                              struct errbuf *e);
bool client_ended(const struct client *c, enum agent_exit *code);
void client_close(struct client **c);

#endif
