/* agent.h - what a worker does next: messages, finished work and the time in, actions out.
 * Owns: the session, the state of every slot and of every result that waits for its settlement.
 * Never: sockets, threads, clocks, logs, payload bytes. Place: client (the shell) feeds it and
 * carries out its actions; the simulator drives the same code. Pure; one thread.
 *
 *   state      | meaning                                    | leaves by
 *   CONNECTING | sockets open, hello sent until answered    | welcome
 *   PREPARING  | settings known, the engine is being made   | prepared
 *   PROBING    | the arithmetic is being proven             | ready
 *   READY      | slots want, compute and announce           | reprobe, drain
 *   DRAINING   | no new jobs; what runs is finished         | nothing left
 *   GONE       | goodbye said, the program ends             | -
 *   any state but GONE: silence or an unknown session -> CONNECTING with new sockets; everything
 *   under way is dropped then, since attempts belong to a session and a lost job is done by others.
 *   A refusal with a time to come back does the same over the connection that is there: the
 *   coordinator waits for its next task, or this one is not for this worker. One with code STATE
 *   and no such time is an operator's drain of a worker that waits. A session that ends under a
 *   drain ends the program.
 *
 *   slot       | meaning
 *   IDLE       | nothing asked for
 *   WANTING    | request sent, repeated every AGENT_WANT_MS (the same request is answered again)
 *   FETCHING   | job here, its parameters are not
 *   COMPUTING  | on its thread
 *   LEAVING    | told to stop between two units; its answer is thrown away
 *
 *   result     | meaning
 *   FREE       | -
 *   ANNOUNCED  | result_ready sent, repeated every AGENT_ANNOUNCE_MS until send or settled
 *   SENDING    | credit here, payload not yet taken by the socket
 *   SENT       | waits for ack, stale or rejected; announced again after AGENT_ANNOUNCE_MS
 * What may still be on its way over a slow link is not asked for, nor sent, a second time before
 * AGENT_TRANSFER_MS are over: repeats would fill the link that they wait for. */
#ifndef PFT_AGENT_H
#define PFT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/message.h"

enum {
    AGENT_HELLO_MS = 500,      /* between hellos that were not answered */
    AGENT_WANT_MS = 2000,      /* between repeats of a request, a probe */
    AGENT_ANNOUNCE_MS = 5000,  /* between repeats of an announcement */
    AGENT_TRANSFER_MS = 30000, /* between repeats of a fetch, and of a payload */
    AGENT_REOPEN_MS = 3000,    /* connecting in vain: new sockets; doubles up to the next line */
    AGENT_REOPEN_MAX_MS = 15000,
    AGENT_UNHEARD_MS = 5000,      /* hearing nobody is said after so long, then as long again */
    AGENT_UNHEARD_MAX_MS = 60000, /* at least so often */
    AGENT_DRAIN_MS = 20000,       /* a drain gives running jobs this long */
    AGENT_RESULTS_EXTRA = 2,
    AGENT_RESULTS = LIMIT_SLOTS + AGENT_RESULTS_EXTRA,
};

/* Exit codes of pft-worker; README of the program names them too. */
enum agent_exit {
    AGENT_EXIT_DONE = 0,        /* the run is over, or drained as asked */
    AGENT_EXIT_ERROR = 1,       /* no memory, model cannot be read, ... */
    AGENT_EXIT_USAGE = 2,       /* command line */
    AGENT_EXIT_REFUSED = 3,     /* wrong model, version, kernels or arithmetic */
    AGENT_EXIT_UNREACHABLE = 4, /* nobody heard for --give-up-after seconds */
    AGENT_EXIT_HURRIED = 5,     /* a second signal: left at once */
    AGENT_EXIT_RUN_FAILED = 6,  /* the coordinator ended with an error */
};

enum agent_state {
    AGENT_CONNECTING,
    AGENT_PREPARING,
    AGENT_PROBING,
    AGENT_READY,
    AGENT_DRAINING,
    AGENT_GONE,
    AGENT_STATES,
};

enum agent_act {
    AGENT_OPEN,           /* close what is open, connect the control channel anew */
    AGENT_SEND_HELLO,     /* number: epoch */
    AGENT_PREPARE,        /* make the engine of agent_settings; answer with agent_prepared */
    AGENT_RUN_PROBE,      /* number 1: really compute it; 0: an earlier digest of the same engine
                             will do. Answer with agent_probed */
    AGENT_SEND_PROBE,     /* the digest of the last probe */
    AGENT_SEND_REQUEST,   /* slot, number: request */
    AGENT_FETCH,          /* number: version, over the tensor channel */
    AGENT_COMPUTE,        /* slot: start its job (agent_slot_job) */
    AGENT_ABANDON,        /* slot: stop between two units; answer with agent_slot_done */
    AGENT_RELEASE,        /* job, attempt, token: say that it is given back */
    AGENT_SEND_FAILED,    /* slot's job failed; number: enum wire_failure */
    AGENT_ANNOUNCE,       /* result */
    AGENT_SEND_RESULT,    /* result, over the tensor channel; on a full queue agent_result_unsent */
    AGENT_DROP_RESULT,    /* result: free its payload */
    AGENT_DROP_PARAMS,    /* forget the parameters held */
    AGENT_SEND_HEARTBEAT, /* slots that compute and move, or wait for parameters */
    AGENT_SEND_DRAIN,
    AGENT_SEND_GOODBYE, /* number: session */
    AGENT_EXIT,         /* number: enum agent_exit; text says why */
    AGENT_UNHEARD,      /* number: seconds without a coordinator; worth a log line */
    AGENT_NOTE,         /* text is worth a log line */
};

struct agent_action {
    enum agent_act act;
    uint32_t slot, result, attempt;
    uint64_t number, job;
    uint8_t token[WIRE_TOKEN_BYTES];
    char text[WIRE_TEXT_BYTES];
};

struct agent_config {
    uint32_t slots;
    uint64_t give_up_ms; /* 0: never */
};

struct agent;

MUST_USE enum err agent_new(const struct agent_config *cfg, struct agent **out);
void agent_free(struct agent **a);

/* The next action, oldest first; false when there is none. Drain after every call below. */
bool agent_next(struct agent *a, struct agent_action *out);

void agent_start(struct agent *a, uint64_t now_ms);

/* A message from either channel. True: its payload is wanted - job: for the slot it names, started
 * by a later AGENT_COMPUTE; params: check them, keep them, then agent_params. Messages that this
 * state does not expect are counted and ignored. */
bool agent_message(struct agent *a, const struct wire_message *m, uint64_t now_ms);

/* Answers to actions. */
void agent_prepared(struct agent *a, enum err code, const char *text, uint64_t now_ms);
void agent_probed(struct agent *a, enum err code, const char *text, uint64_t now_ms);
void agent_params(struct agent *a, uint64_t version, uint64_t now_ms);
/* The coordinator does not have that version any more: jobs that waited for it are given back. */
void agent_params_gone(struct agent *a, uint64_t version, uint64_t now_ms);

enum agent_outcome { AGENT_COMPUTED, AGENT_FAILED, AGENT_ABANDONED };
/* The slot's thread is free again. Returns the index under which the shell keeps the payload
 * (AGENT_COMPUTED and still wanted), else UINT32_MAX: throw it away. score: the payload goes along
 * with the announcement. failure counts for AGENT_FAILED. */
uint32_t agent_slot_done(struct agent *a, uint32_t slot, enum agent_outcome outcome, bool score,
                         enum wire_failure failure, uint64_t now_ms);
/* The socket did not take it; it is asked for again soon. */
void agent_result_unsent(struct agent *a, uint32_t result, uint64_t now_ms);
void agent_fetch_unsent(struct agent *a);
void agent_hello_unsent(struct agent *a);
/* The coordinator does not let the worker's key in: it leaves. */
void agent_key_denied(struct agent *a);

/* SIGTERM or SIGINT: the first drains, the second leaves at once. */
void agent_signal(struct agent *a, uint64_t now_ms);

/* Call at least after the ms it returns. */
uint64_t agent_tick(struct agent *a, uint64_t now_ms);

/* Reading. The settings are those of the last welcome; the job is that of the slot's last
 * AGENT_COMPUTE, the result's job that of its announcement. */
enum agent_state agent_state(const struct agent *a);
const struct wire_welcome *agent_settings(const struct agent *a);
uint64_t agent_session(const struct agent *a); /* 0: none */
const struct wire_job *agent_slot_job(const struct agent *a, uint32_t slot);
bool agent_slot_computes(const struct agent *a, uint32_t slot);
bool agent_slot_fetches(const struct agent *a, uint32_t slot);
const struct wire_job *agent_result_job(const struct agent *a, uint32_t result);
uint64_t agent_unexpected(const struct agent *a); /* messages ignored so far */
const char *agent_state_name(enum agent_state state);

#endif
