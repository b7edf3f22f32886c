/* agent_work.c - the slots and results of a worker: wanting, fetching, computing, announcing. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/agent_state.h"

enum { ACTIONS_MAX = 64 * LIMIT_SLOTS };

struct agent_action *agent_act(struct agent *a, enum agent_act what)
{
    if (a->count == a->capacity) {
        /* Without memory for one more action nothing sensible can be decided: a bug or the end. */
        void *grown = a->actions;
        CHECK(mem_grow(&grown, &a->capacity, a->count + 1, sizeof *a->actions, ACTIONS_MAX) == OK);
        a->actions = grown;
    }
    struct agent_action *action = &a->actions[a->count++];
    memset(action, 0, sizeof *action);
    action->act = what;
    return action;
}

void agent_act_text(struct agent *a, enum agent_act what, uint64_t number, const char *fmt, ...)
{
    struct agent_action *action = agent_act(a, what);
    action->number = number;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(action->text, sizeof action->text, fmt, args);
    va_end(args);
}

static void drop_result(struct agent *a, uint32_t r)
{
    if (a->results[r].state != RESULT_FREE) {
        a->results[r].state = RESULT_FREE;
        agent_act(a, AGENT_DROP_RESULT)->result = r;
    }
}

/* Everything under way belonged to the session that is over. */
void agent_work_drop(struct agent *a)
{
    a->fetching = 0;
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        struct agent_slot *slot = &a->slots[s];
        if (slot->state == SLOT_COMPUTING) {
            slot->state = SLOT_LEAVING;
            agent_act(a, AGENT_ABANDON)->slot = s;
        } else if (slot->state != SLOT_LEAVING) {
            slot->state = SLOT_IDLE;
        }
    }
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        drop_result(a, r);
    }
    if (a->has_params) {
        a->has_params = false;
        (void)agent_act(a, AGENT_DROP_PARAMS);
    }
}

/* Results and slots in use; a request is made only where its result will find room. */
static uint32_t results_taken(const struct agent *a)
{
    uint32_t taken = 0;
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        taken += a->results[r].state != RESULT_FREE;
    }
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        taken += a->slots[s].state != SLOT_IDLE;
    }
    return taken;
}

static void send_request(struct agent *a, uint32_t s, uint64_t now)
{
    struct agent_action *action = agent_act(a, AGENT_SEND_REQUEST);
    action->slot = s;
    action->number = a->slots[s].request;
    a->slots[s].asked_ms = now;
}

void agent_work_want(struct agent *a, uint64_t now)
{
    if (a->state != AGENT_READY) {
        return;
    }
    uint32_t room = a->cfg.slots + AGENT_RESULTS_EXTRA;
    uint32_t taken = results_taken(a);
    for (uint32_t s = 0; s < a->cfg.slots && taken < room; s++) {
        if (a->slots[s].state == SLOT_IDLE) {
            a->slots[s].state = SLOT_WANTING;
            a->slots[s].request++;
            send_request(a, s, now);
            taken++;
        }
    }
}

void agent_work_release(struct agent *a, const struct wire_job *job)
{
    struct agent_action *action = agent_act(a, AGENT_RELEASE);
    action->job = job->job;
    action->attempt = job->attempt;
    memcpy(action->token, job->token, sizeof action->token);
}

void agent_work_stop_wanting(struct agent *a, bool hand_back)
{
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        struct agent_slot *slot = &a->slots[s];
        if (slot->state == SLOT_FETCHING && hand_back) {
            agent_work_release(a, &slot->job);
            slot->state = SLOT_IDLE;
        }
        if (slot->state == SLOT_WANTING) {
            slot->state = SLOT_IDLE;
        }
    }
}

bool agent_work_left(const struct agent *a)
{
    bool left = false;
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        left = left || a->slots[s].state == SLOT_COMPUTING;
    }
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        left = left || a->results[r].state != RESULT_FREE;
    }
    return left;
}

bool agent_work_job(struct agent *a, const struct wire_job *job, uint64_t now)
{
    struct agent_slot *slot = job->slot < a->cfg.slots ? &a->slots[job->slot] : NULL;
    if (slot && slot->state != SLOT_IDLE && slot->state != SLOT_WANTING &&
        slot->job.job == job->job && slot->job.attempt == job->attempt) {
        return false; /* the same answer again */
    }
    if (!slot || slot->state != SLOT_WANTING || slot->request != job->request) {
        agent_work_release(a, job);
        return false;
    }
    slot->job = *job;
    if (!wire_job_fetches(job) || (a->has_params && a->params_version == job->version)) {
        slot->state = SLOT_COMPUTING;
        agent_act(a, AGENT_COMPUTE)->slot = job->slot;
        return true;
    }
    slot->state = SLOT_FETCHING;
    if (a->fetching != job->version + 1) {
        a->fetching = job->version + 1;
        a->fetch_ms = now;
        agent_act(a, AGENT_FETCH)->number = job->version;
    }
    return true;
}

void agent_params(struct agent *a, uint64_t version, uint64_t now)
{
    (void)now;
    a->has_params = true;
    a->params_version = version;
    if (a->fetching == version + 1) {
        a->fetching = 0;
    }
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        struct agent_slot *slot = &a->slots[s];
        if (slot->state == SLOT_FETCHING && slot->job.version == version) {
            slot->state = SLOT_COMPUTING;
            agent_act(a, AGENT_COMPUTE)->slot = s;
        }
    }
}

void agent_params_gone(struct agent *a, uint64_t version, uint64_t now)
{
    if (a->fetching != version + 1) {
        return;
    }
    a->fetching = 0;
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        struct agent_slot *slot = &a->slots[s];
        if (slot->state == SLOT_FETCHING && slot->job.version == version) {
            agent_work_release(a, &slot->job);
            slot->state = SLOT_IDLE;
        }
    }
    agent_work_want(a, now);
}

static bool same_attempt(const struct wire_job *job, const struct wire_job_note *note)
{
    return job->job == note->job && job->attempt == note->attempt &&
           memcmp(job->token, note->token, sizeof job->token) == 0;
}

static struct agent_result *find_result(struct agent *a, const struct wire_job_note *note,
                                        uint32_t *index)
{
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        if (a->results[r].state != RESULT_FREE && same_attempt(&a->results[r].job, note)) {
            *index = r;
            return &a->results[r];
        }
    }
    return NULL;
}

static void send_result(struct agent *a, uint32_t r, uint64_t now)
{
    a->results[r].state = RESULT_SENT;
    a->results[r].sent = true;
    a->results[r].sent_ms = now;
    agent_act(a, AGENT_SEND_RESULT)->result = r;
}

void agent_work_credit(struct agent *a, const struct wire_job_note *note, uint64_t now)
{
    uint32_t r;
    struct agent_result *result = find_result(a, note, &r);
    if (!result) { /* dropped meanwhile, since nobody wanted it: its credit is free for others */
        struct agent_action *action = agent_act(a, AGENT_RELEASE);
        action->job = note->job;
        action->attempt = note->attempt;
        memcpy(action->token, note->token, sizeof action->token);
        return;
    }
    if (result->score) {
        return;
    }
    result->said_ms = now;
    if (result->sent && now - result->sent_ms < AGENT_TRANSFER_MS) {
        result->state = RESULT_SENT;
    } else {
        send_result(a, r, now);
    }
}

void agent_work_settled(struct agent *a, enum wire_kind kind, const struct wire_job_note *note,
                        uint64_t now)
{
    uint32_t r;
    if (find_result(a, note, &r)) {
        drop_result(a, r);
    }
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        struct agent_slot *slot = &a->slots[s];
        if (!same_attempt(&slot->job, note)) {
            continue;
        }
        if (slot->state == SLOT_FETCHING) {
            slot->state = SLOT_IDLE;
        } else if (slot->state == SLOT_COMPUTING) {
            slot->state = SLOT_LEAVING;
            agent_act(a, AGENT_ABANDON)->slot = s;
        }
    }
    if (kind == WIRE_REJECTED) {
        agent_act_text(a, AGENT_NOTE, 0, "result rejected: %.900s", note->text);
    }
    agent_work_want(a, now);
}

static uint32_t new_result(struct agent *a, const struct wire_job *job, bool score, uint64_t now)
{
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        if (a->results[r].state == RESULT_FREE) {
            a->results[r] = (struct agent_result){
                .state = RESULT_ANNOUNCED, .score = score, .said_ms = now, .job = *job};
            agent_act(a, AGENT_ANNOUNCE)->result = r;
            return r;
        }
    }
    CHECK(!"a request is made only where its result finds room");
    return UINT32_MAX;
}

uint32_t agent_slot_done(struct agent *a, uint32_t s, enum agent_outcome outcome, bool score,
                         enum wire_failure failure, uint64_t now)
{
    struct agent_slot *slot = &a->slots[s];
    bool wanted = slot->state == SLOT_COMPUTING;
    uint32_t result = UINT32_MAX;
    slot->state = SLOT_IDLE;
    if (wanted && a->state != AGENT_GONE) {
        if (outcome == AGENT_COMPUTED) {
            result = new_result(a, &slot->job, score, now);
        } else if (outcome == AGENT_FAILED) {
            struct agent_action *action = agent_act(a, AGENT_SEND_FAILED);
            action->slot = s;
            action->number = (uint64_t)failure;
        } else {
            agent_work_release(a, &slot->job);
        }
    }
    agent_work_want(a, now);
    return result;
}

void agent_result_unsent(struct agent *a, uint32_t r, uint64_t now)
{
    if (a->results[r].state == RESULT_SENT) {
        a->results[r].state = RESULT_SENDING;
        a->results[r].sent = false;
        a->results[r].said_ms = now;
    }
}

void agent_fetch_unsent(struct agent *a)
{
    a->fetch_ms = 0;
}

void agent_work_tick(struct agent *a, uint64_t now)
{
    if (a->fetching != 0 && (a->fetch_ms == 0 || now - a->fetch_ms >= AGENT_TRANSFER_MS)) {
        a->fetch_ms = now;
        agent_act(a, AGENT_FETCH)->number = a->fetching - 1;
    }
    for (uint32_t s = 0; s < a->cfg.slots; s++) {
        if (a->slots[s].state == SLOT_WANTING && now - a->slots[s].asked_ms >= AGENT_WANT_MS) {
            send_request(a, s, now);
        }
    }
    for (uint32_t r = 0; r < AGENT_RESULTS; r++) {
        struct agent_result *result = &a->results[r];
        uint64_t age = now - result->said_ms;
        if (result->state == RESULT_SENDING) {
            send_result(a, r, now);
        } else if ((result->state == RESULT_ANNOUNCED || result->state == RESULT_SENT) &&
                   age >= AGENT_ANNOUNCE_MS) {
            result->state = RESULT_ANNOUNCED;
            result->said_ms = now;
            agent_act(a, AGENT_ANNOUNCE)->result = r;
        }
    }
    agent_work_want(a, now);
}

const struct wire_job *agent_slot_job(const struct agent *a, uint32_t slot)
{
    return &a->slots[slot].job;
}

bool agent_slot_computes(const struct agent *a, uint32_t slot)
{
    return a->slots[slot].state == SLOT_COMPUTING;
}

bool agent_slot_fetches(const struct agent *a, uint32_t slot)
{
    return a->slots[slot].state == SLOT_FETCHING;
}

const struct wire_job *agent_result_job(const struct agent *a, uint32_t result)
{
    return &a->results[result].job;
}
