/* agent.c - the state machine of a worker; its tables are told in the header. */
#include "worker/agent.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/agent_state.h"

const char *agent_state_name(enum agent_state state)
{
    static const char *const names[AGENT_STATES] = {"connecting", "preparing", "probing",
                                                    "ready",      "draining",  "gone"};
    return (unsigned)state < AGENT_STATES ? names[state] : "unknown";
}

/* Which messages a state listens to. */
#define ALWAYS (1u << WIRE_REFUSED)
#define SESSION (ALWAYS | 1u << WIRE_PONG | 1u << WIRE_DRAIN | 1u << WIRE_GOODBYE)
#define WORK                                                                                       \
    (SESSION | 1u << WIRE_JOB | 1u << WIRE_SEND | 1u << WIRE_ACK | 1u << WIRE_STALE |              \
     1u << WIRE_REJECTED | 1u << WIRE_PARAMS | 1u << WIRE_REPROBE)
static const uint32_t heard[AGENT_STATES] = {
    [AGENT_CONNECTING] = ALWAYS | 1u << WIRE_WELCOME,
    [AGENT_PREPARING] = SESSION,
    [AGENT_PROBING] = WORK | 1u << WIRE_READY,
    [AGENT_READY] = WORK,
    [AGENT_DRAINING] = WORK,
    [AGENT_GONE] = 0,
};

enum err agent_new(const struct agent_config *cfg, struct agent **out)
{
    CHECK(cfg->slots >= 1 && cfg->slots <= LIMIT_SLOTS);
    struct agent *a = mem_calloc(1, sizeof *a);
    if (!a) {
        return ERR_NOMEM;
    }
    a->cfg = *cfg;
    a->capacity = 16 + 8 * (size_t)cfg->slots;
    a->actions = mem_calloc(a->capacity, sizeof *a->actions);
    if (!a->actions) {
        mem_free(a);
        return ERR_NOMEM;
    }
    *out = a;
    return OK;
}

void agent_free(struct agent **agent)
{
    if (*agent) {
        mem_free((*agent)->actions);
        mem_free(*agent);
        *agent = NULL;
    }
}

bool agent_next(struct agent *a, struct agent_action *out)
{
    if (a->first == a->count) {
        a->first = a->count = 0;
        return false;
    }
    *out = a->actions[a->first++];
    return true;
}

static void leave(struct agent *a, enum agent_exit code, const char *why)
{
    if (a->state != AGENT_GONE) {
        a->state = AGENT_GONE;
        agent_act_text(a, AGENT_EXIT, code, "%s", why);
    }
}

static void say_goodbye(struct agent *a, enum agent_exit code, const char *why)
{
    if (a->session != 0) {
        agent_act(a, AGENT_SEND_GOODBYE)->number = a->session;
    }
    leave(a, code, why);
}

/* No session any more; a hello is due after wait_ms, over the connection that is there. */
static void start_over(struct agent *a, uint64_t now, uint64_t wait_ms)
{
    bool leaves = a->signalled || a->state == AGENT_DRAINING;
    agent_work_drop(a);
    a->session = 0;
    a->probe_sent = false;
    a->epoch = a->epoch < now ? now : a->epoch + 1;
    if (leaves) {
        leave(a, AGENT_EXIT_DONE, "told to leave, and the session is over");
        return;
    }
    a->state = AGENT_CONNECTING;
    a->opened_ms = now;
    a->hello_ms = 0;
    a->retry_ms = now + wait_ms;
}

static void connect_anew(struct agent *a, uint64_t now, uint64_t wait_ms)
{
    start_over(a, now, wait_ms);
    if (a->state == AGENT_CONNECTING) {
        (void)agent_act(a, AGENT_OPEN);
    }
}

void agent_start(struct agent *a, uint64_t now)
{
    a->alone_ms = now;
    a->reopen_ms = AGENT_REOPEN_MS;
    connect_anew(a, now, 0);
}

static void start_drain(struct agent *a, enum agent_exit code, uint64_t now)
{
    if (a->state == AGENT_CONNECTING || a->state == AGENT_PREPARING) {
        say_goodbye(a, code, "drained before any work");
        return;
    }
    a->state = AGENT_DRAINING;
    a->drain_ms = now;
    a->drain_exit = code;
    (void)agent_act(a, AGENT_SEND_DRAIN);
    agent_work_stop_wanting(a, true);
}

void agent_signal(struct agent *a, uint64_t now)
{
    if (a->signalled) {
        say_goodbye(a, AGENT_EXIT_HURRIED, "second signal");
        return;
    }
    a->signalled = true;
    if (a->state != AGENT_DRAINING && a->state != AGENT_GONE) {
        start_drain(a, AGENT_EXIT_DONE, now);
    }
}

static void on_refused(struct agent *a, const struct wire_note *note, uint64_t now)
{
    enum wire_refusal code = (enum wire_refusal)note->code;
    if (code == WIRE_REFUSED_SESSION && note->session != a->session) {
        return; /* an answer to an earlier session */
    }
    if (code == WIRE_REFUSED_SESSION) {
        connect_anew(a, now, 0);
        return;
    }
    if (note->retry_ms > 0) {
        if (strcmp(a->waits_for, note->text) != 0) {
            (void)snprintf(a->waits_for, sizeof a->waits_for, "%s", note->text);
            agent_act_text(a, AGENT_NOTE, 0, "refused for now: %.900s", note->text);
        }
        a->reopen_ms = AGENT_REOPEN_MS;
        start_over(a, now, note->retry_ms);
        return;
    }
    /* Nothing is wrong with one that waits and is told not to come back. */
    leave(a, code == WIRE_REFUSED_STATE ? AGENT_EXIT_DONE : AGENT_EXIT_REFUSED, note->text);
}

static void on_welcome(struct agent *a, const struct wire_welcome *welcome)
{
    a->settings = *welcome;
    a->session = welcome->session;
    a->waits_for[0] = '\0';
    a->reopen_ms = AGENT_REOPEN_MS;
    a->state = AGENT_PREPARING;
    (void)agent_act(a, AGENT_PREPARE);
}

static void on_parting(struct agent *a, const struct wire_note *note, uint64_t now)
{
    if (note->code == WIRE_PARTING_FINISHED) {
        say_goodbye(a, AGENT_EXIT_DONE, "the run is finished");
    } else if (note->code == WIRE_PARTING_FAILED) {
        say_goodbye(a, AGENT_EXIT_RUN_FAILED, note->text);
    } else {
        agent_act(a, AGENT_SEND_GOODBYE)->number = a->session; /* it waits for it */
        connect_anew(a, now, AGENT_HELLO_MS);
    }
}

static void on_ready(struct agent *a, uint64_t now)
{
    if (a->signalled) {
        start_drain(a, AGENT_EXIT_DONE, now);
        return;
    }
    a->state = AGENT_READY;
    agent_work_stop_wanting(a, false);
    agent_work_want(a, now);
}

static bool dispatch(struct agent *a, const struct wire_message *m, uint64_t now)
{
    switch (m->kind) {
    case WIRE_REFUSED:
        on_refused(a, &m->note, now);
        return false;
    case WIRE_WELCOME:
        on_welcome(a, &m->welcome);
        return false;
    case WIRE_READY:
        on_ready(a, now);
        return false;
    case WIRE_JOB:
        return agent_work_job(a, &m->job, now);
    case WIRE_SEND:
        agent_work_credit(a, &m->job_note, now);
        return false;
    case WIRE_ACK:
    case WIRE_STALE:
    case WIRE_REJECTED:
        agent_work_settled(a, m->kind, &m->job_note, now);
        return false;
    case WIRE_PARAMS:
        return a->fetching == m->params.version + 1;
    case WIRE_REPROBE:
        a->state = a->state == AGENT_READY ? AGENT_PROBING : a->state;
        a->probe_sent = false;
        agent_act(a, AGENT_RUN_PROBE)->number = 1;
        return false;
    case WIRE_DRAIN:
        if (a->state != AGENT_DRAINING) {
            start_drain(a, AGENT_EXIT_DONE, now);
        }
        return false;
    case WIRE_GOODBYE:
        on_parting(a, &m->note, now);
        return false;
    case WIRE_PONG:
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_PROBE:
    case WIRE_REQUEST:
    case WIRE_HEARTBEAT:
    case WIRE_RESULT_READY:
    case WIRE_FAILED:
    case WIRE_RELEASE:
    case WIRE_ATTACH:
    case WIRE_FETCH:
    case WIRE_RESULT:
    case WIRE_KINDS:
    default:
        return false;
    }
}

bool agent_message(struct agent *a, const struct wire_message *m, uint64_t now)
{
    bool known = m->kind < WIRE_KINDS && (heard[a->state] & (1u << m->kind)) != 0;
    bool mine =
        m->kind == WIRE_REFUSED || m->kind == WIRE_WELCOME || wire_session_of(m) == a->session;
    if (!known || !mine) {
        a->unexpected++;
        return false;
    }
    a->heard_ms = a->alone_ms = now;
    a->alone_said_ms = 0;
    return dispatch(a, m, now);
}

void agent_prepared(struct agent *a, enum err code, const char *text, uint64_t now)
{
    (void)now;
    if (a->state != AGENT_PREPARING) {
        return; /* of a session that is over */
    }
    if (code != OK) {
        say_goodbye(a,
                    code == ERR_UNSUPPORTED || code == ERR_REFUSED ? AGENT_EXIT_REFUSED
                                                                   : AGENT_EXIT_ERROR,
                    text);
        return;
    }
    a->state = AGENT_PROBING;
    (void)agent_act(a, AGENT_RUN_PROBE);
}

void agent_probed(struct agent *a, enum err code, const char *text, uint64_t now)
{
    if (code != OK) {
        say_goodbye(a, AGENT_EXIT_ERROR, text);
        return;
    }
    if (a->state == AGENT_PROBING || a->state == AGENT_DRAINING) {
        a->probe_sent = true;
        a->probe_ms = now;
        (void)agent_act(a, AGENT_SEND_PROBE);
    }
}

void agent_hello_unsent(struct agent *a)
{
    a->hello_ms = 0;
}

void agent_key_denied(struct agent *a)
{
    leave(a, AGENT_EXIT_REFUSED,
          "the coordinator does not let this key in: it is not on its list, was revoked, or is no "
          "worker's (pft keys list DIR there)");
}

/* Said after 5 seconds, then ever later, at least once a minute. */
static void tick_alone(struct agent *a, uint64_t now)
{
    const uint64_t alone = now - a->alone_ms;
    const uint64_t said = a->alone_said_ms;
    const uint64_t pause = said < AGENT_UNHEARD_MS ? AGENT_UNHEARD_MS : said;
    if (alone - said >= (pause < AGENT_UNHEARD_MAX_MS ? pause : AGENT_UNHEARD_MAX_MS)) {
        a->alone_said_ms = alone;
        agent_act(a, AGENT_UNHEARD)->number = alone / 1000;
    }
}

static void tick_connecting(struct agent *a, uint64_t now)
{
    if (now < a->retry_ms) {
        return;
    }
    tick_alone(a, now);
    uint64_t since = a->opened_ms > a->retry_ms ? a->opened_ms : a->retry_ms;
    if (now - since >= a->reopen_ms) {
        a->reopen_ms =
            a->reopen_ms * 2 < AGENT_REOPEN_MAX_MS ? a->reopen_ms * 2 : AGENT_REOPEN_MAX_MS;
        connect_anew(a, now, 0);
        return;
    }
    if (a->hello_ms == 0 || now - a->hello_ms >= AGENT_HELLO_MS) {
        a->hello_ms = now;
        agent_act(a, AGENT_SEND_HELLO)->number = a->epoch;
    }
}

static void tick_draining(struct agent *a, uint64_t now)
{
    bool late = now - a->drain_ms >= AGENT_DRAIN_MS;
    for (uint32_t s = 0; late && s < a->cfg.slots; s++) {
        if (a->slots[s].state == SLOT_COMPUTING) {
            agent_work_release(a, &a->slots[s].job);
        }
    }
    if (late || !agent_work_left(a)) {
        say_goodbye(a, a->drain_exit, late ? "drained in part: out of time" : "drained");
    }
}

uint64_t agent_tick(struct agent *a, uint64_t now)
{
    uint64_t rest = 200;
    if (a->state == AGENT_GONE) {
        return rest;
    }
    if (a->cfg.give_up_ms > 0 && now - a->alone_ms >= a->cfg.give_up_ms) {
        leave(a, AGENT_EXIT_UNREACHABLE,
              "no coordinator was heard for --give-up-after seconds; is the address right, "
              "does it run?");
        return rest;
    }
    if (a->state == AGENT_CONNECTING) {
        tick_connecting(a, now);
        return 50;
    }
    if (now - a->heard_ms >= a->settings.silence_ms) {
        agent_act_text(a, AGENT_NOTE, 0, "nothing heard for %llu ms, connecting again",
                       (unsigned long long)(now - a->heard_ms));
        connect_anew(a, now, 0);
        return 50;
    }
    if (now - a->beat_ms >= a->settings.heartbeat_ms) {
        a->beat_ms = now;
        (void)agent_act(a, AGENT_SEND_HEARTBEAT);
    }
    if (a->state == AGENT_PROBING && a->probe_sent && now - a->probe_ms >= AGENT_WANT_MS) {
        a->probe_ms = now;
        (void)agent_act(a, AGENT_SEND_PROBE);
    }
    agent_work_tick(a, now);
    if (a->state == AGENT_DRAINING) {
        tick_draining(a, now);
        rest = 20;
    }
    return rest < a->settings.heartbeat_ms ? rest : a->settings.heartbeat_ms;
}

enum agent_state agent_state(const struct agent *a)
{
    return a->state;
}

const struct wire_welcome *agent_settings(const struct agent *a)
{
    return &a->settings;
}

uint64_t agent_session(const struct agent *a)
{
    return a->session;
}

uint64_t agent_unexpected(const struct agent *a)
{
    return a->unexpected;
}
