/* agent_state.h - what the two halves of the agent share. Private to agent.c (the session:
 * connecting, proving, draining) and agent_work.c (slots and results). */
#ifndef PFT_AGENT_STATE_H
#define PFT_AGENT_STATE_H

#include "worker/agent.h"

enum slot_state { SLOT_IDLE, SLOT_WANTING, SLOT_FETCHING, SLOT_COMPUTING, SLOT_LEAVING };
enum result_state { RESULT_FREE, RESULT_ANNOUNCED, RESULT_SENDING, RESULT_SENT };

struct agent_slot {
    enum slot_state state;
    uint64_t request;
    uint64_t asked_ms;
    struct wire_job job;
};

struct agent_result {
    enum result_state state;
    bool score;
    bool sent; /* the socket took it at sent_ms */
    uint64_t said_ms, sent_ms;
    struct wire_job job;
};

struct agent {
    struct agent_config cfg;
    enum agent_state state;
    struct wire_welcome settings;
    uint64_t session, epoch;
    uint64_t opened_ms, hello_ms, heard_ms, beat_ms, probe_ms, fetch_ms, drain_ms, retry_ms;
    uint64_t alone_ms;      /* since when nobody is heard */
    uint64_t alone_said_ms; /* how long that was when it was said */
    uint64_t reopen_ms;
    char waits_for[WIRE_TEXT_BYTES]; /* why it was refused for now, said once; "" otherwise */
    bool probe_sent, signalled, has_params;
    enum agent_exit drain_exit;
    uint64_t params_version, fetching;
    uint64_t unexpected;
    struct agent_slot slots[LIMIT_SLOTS];
    struct agent_result results[AGENT_RESULTS];
    struct agent_action *actions;
    size_t first, count, capacity;
};

/* Appends an action, zeroed but for its name. */
struct agent_action *agent_act(struct agent *a, enum agent_act what);
void agent_act_text(struct agent *a, enum agent_act what, uint64_t number, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* Slots and results: asks for work where slots are idle and results find room; gives a job back;
 * drops everything (it belonged to a session that is over); stops wanting (a drain). */
void agent_work_want(struct agent *a, uint64_t now);
void agent_work_release(struct agent *a, const struct wire_job *job);
void agent_work_drop(struct agent *a);
void agent_work_stop_wanting(struct agent *a, bool hand_back);
void agent_work_tick(struct agent *a, uint64_t now);
/* Does anything run or wait for its settlement? */
bool agent_work_left(const struct agent *a);

/* Messages about work. */
bool agent_work_job(struct agent *a, const struct wire_job *job, uint64_t now);
void agent_work_credit(struct agent *a, const struct wire_job_note *note, uint64_t now);
void agent_work_settled(struct agent *a, enum wire_kind kind, const struct wire_job_note *note,
                        uint64_t now);

#endif
