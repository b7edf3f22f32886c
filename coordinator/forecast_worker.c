/* forecast_worker.c - a worker in virtual time: the rules of worker/agent.h without its session,
 * which in a forecast is never lost. Times between repeats are the agent's. */
#include "common/base/check.h"
#include "coordinator/forecast_state.h"

enum { OUTPUTS_EXTRA = 2 }; /* results that may wait beside the slots */

#define BEAT_NS 500000000ull
#define WANT_NS 2000000000ull      /* between repeats of a request */
#define ANNOUNCE_NS 5000000000ull  /* of an announcement */
#define TRANSFER_NS 30000000000ull /* of a fetch and of a gradient */

uint64_t forecast_compute_ns(const struct forecast_sim *s, uint32_t rows)
{
    double ns = s->cfg->seconds_per_token * rows * 1e9;
    return ns > 1.0 ? (uint64_t)ns : 1;
}

static void ask(struct forecast_sim *s, struct forecast_worker *w, uint32_t slot)
{
    w->slots[slot].asked_ns = s->now_ns;
    forecast_say(s, w,
                 (struct forecast_event){
                     .kind = FORECAST_WANT, .slot = slot, .request = w->slots[slot].request});
}

/* A request is made only where its result will find room. */
static void want(struct forecast_sim *s, struct forecast_worker *w)
{
    uint32_t taken = 0;
    uint32_t room = s->cfg->slots + OUTPUTS_EXTRA;
    for (uint32_t r = 0; r < room; r++) {
        taken += w->outputs[r].state != OUTPUT_FREE;
    }
    for (uint32_t i = 0; i < s->cfg->slots; i++) {
        taken += w->slots[i].state != VIRTUAL_IDLE;
    }
    for (uint32_t i = 0; i < s->cfg->slots && taken < room; i++) {
        if (w->slots[i].state == VIRTUAL_IDLE) {
            w->slots[i].state = VIRTUAL_WANTING;
            w->slots[i].request++;
            ask(s, w, i);
            taken++;
        }
    }
}

static void compute(struct forecast_sim *s, struct forecast_worker *w, uint32_t slot)
{
    struct forecast_slot *v = &w->slots[slot];
    struct forecast_event end = v->job;
    uint64_t ns = forecast_compute_ns(s, v->job.rows);
    v->state = VIRTUAL_COMPUTING;
    v->leaving = false;
    v->begun_ns = s->now_ns;
    end.kind = FORECAST_COMPUTED;
    end.worker = w->index;
    end.request = ++v->run;
    s->out->compute_s += (double)ns * 1e-9;
    if (v->used_in != s->step + 1) {
        v->used_in = s->step + 1;
        s->used++;
    }
    forecast_at(s, s->now_ns + ns, &end);
}

static void fetch(struct forecast_sim *s, struct forecast_worker *w)
{
    w->fetch_ns = s->now_ns;
    forecast_say(s, w, (struct forecast_event){.kind = FORECAST_FETCH, .version = w->fetching - 1});
}

static void on_job(struct forecast_sim *s, struct forecast_worker *w,
                   const struct forecast_event *job)
{
    struct forecast_slot *v = &w->slots[job->slot];
    if (v->state != VIRTUAL_WANTING || v->request != job->request) {
        return; /* the same answer again */
    }
    v->job = *job;
    if (w->has_params && w->params_version == job->version) {
        compute(s, w, job->slot);
        return;
    }
    v->state = VIRTUAL_FETCHING;
    if (w->fetching != job->version + 1) {
        w->fetching = job->version + 1;
        fetch(s, w);
    }
}

static void on_params(struct forecast_sim *s, struct forecast_worker *w, uint64_t version)
{
    w->has_params = true;
    w->params_version = version;
    if (w->fetching == version + 1) {
        w->fetching = 0;
    }
    for (uint32_t i = 0; i < s->cfg->slots; i++) {
        if (w->slots[i].state == VIRTUAL_FETCHING && w->slots[i].job.version == version) {
            compute(s, w, i);
        }
    }
}

static void announce(struct forecast_sim *s, struct forecast_worker *w, struct forecast_output *o)
{
    o->state = OUTPUT_ANNOUNCED;
    o->said_ns = s->now_ns;
    forecast_say(
        s, w,
        (struct forecast_event){.kind = FORECAST_ANNOUNCE, .job = o->job, .attempt = o->attempt});
}

static void on_computed(struct forecast_sim *s, struct forecast_worker *w,
                        const struct forecast_event *end)
{
    struct forecast_slot *v = &w->slots[end->slot];
    if (v->state != VIRTUAL_COMPUTING || v->run != end->request) {
        return;
    }
    v->state = VIRTUAL_IDLE;
    for (uint32_t r = 0; !v->leaving && r < s->cfg->slots + OUTPUTS_EXTRA; r++) {
        if (w->outputs[r].state == OUTPUT_FREE) {
            w->outputs[r] = (struct forecast_output){.job = end->job, .attempt = end->attempt};
            announce(s, w, &w->outputs[r]);
            break;
        }
    }
    want(s, w);
}

/* It stops between two units. */
static void abandon(struct forecast_sim *s, struct forecast_worker *w, struct forecast_slot *v)
{
    uint64_t whole = forecast_compute_ns(s, v->job.rows);
    uint64_t unit = whole / v->job.n_units > 0 ? whole / v->job.n_units : 1;
    uint64_t elapsed = s->now_ns - v->begun_ns;
    struct forecast_event end = v->job;
    v->leaving = true;
    s->out->compute_s -= (double)(whole > elapsed ? whole - elapsed : 0) * 1e-9;
    end.kind = FORECAST_COMPUTED;
    end.worker = w->index;
    end.request = ++v->run;
    forecast_at(s, s->now_ns + unit - elapsed % unit, &end);
}

static void on_settled(struct forecast_sim *s, struct forecast_worker *w, uint64_t job,
                       uint32_t attempt)
{
    for (uint32_t r = 0; r < s->cfg->slots + OUTPUTS_EXTRA; r++) {
        struct forecast_output *o = &w->outputs[r];
        if (o->state != OUTPUT_FREE && o->job == job && o->attempt == attempt) {
            o->state = OUTPUT_FREE;
        }
    }
    for (uint32_t i = 0; i < s->cfg->slots; i++) {
        struct forecast_slot *v = &w->slots[i];
        if (v->job.job != job || v->job.attempt != attempt) {
            continue;
        }
        if (v->state == VIRTUAL_FETCHING) {
            v->state = VIRTUAL_IDLE;
        } else if (v->state == VIRTUAL_COMPUTING && !v->leaving) {
            abandon(s, w, v);
        }
    }
    want(s, w);
}

static void on_credit(struct forecast_sim *s, struct forecast_worker *w, uint64_t job,
                      uint32_t attempt)
{
    for (uint32_t r = 0; r < s->cfg->slots + OUTPUTS_EXTRA; r++) {
        struct forecast_output *o = &w->outputs[r];
        if (o->state != OUTPUT_FREE && o->job == job && o->attempt == attempt) {
            bool under_way = o->sent && s->now_ns - o->sent_ns < TRANSFER_NS;
            o->state = OUTPUT_SENT;
            o->said_ns = s->now_ns;
            if (!under_way) {
                o->sent = true;
                o->sent_ns = s->now_ns;
                forecast_send_gradient(s, w, job, attempt);
            }
        }
    }
}

static void on_beat(struct forecast_sim *s, struct forecast_worker *w)
{
    forecast_say(s, w, (struct forecast_event){.kind = FORECAST_HEARTBEAT});
    if (w->fetching != 0 && s->now_ns - w->fetch_ns >= TRANSFER_NS) {
        fetch(s, w);
    }
    for (uint32_t i = 0; i < s->cfg->slots; i++) {
        if (w->slots[i].state == VIRTUAL_WANTING && s->now_ns - w->slots[i].asked_ns >= WANT_NS) {
            ask(s, w, i);
        }
    }
    for (uint32_t r = 0; r < s->cfg->slots + OUTPUTS_EXTRA; r++) {
        struct forecast_output *o = &w->outputs[r];
        if (o->state != OUTPUT_FREE && s->now_ns - o->said_ns >= ANNOUNCE_NS) {
            announce(s, w, o);
        }
    }
    const struct forecast_event again = {.kind = FORECAST_BEAT, .worker = w->index};
    forecast_at(s, s->now_ns + BEAT_NS, &again);
}

void forecast_worker_begin(struct forecast_sim *s, struct forecast_worker *w)
{
    const struct forecast_event beat = {.kind = FORECAST_BEAT, .worker = w->index};
    want(s, w);
    /* Fleets do not beat in step. */
    forecast_at(s, s->now_ns + BEAT_NS * (w->index + 1) / s->cfg->workers, &beat);
}

void forecast_worker_hear(struct forecast_sim *s, struct forecast_worker *w,
                          const struct forecast_event *event)
{
    switch (event->kind) {
    case FORECAST_JOB:
        on_job(s, w, event);
        return;
    case FORECAST_PARAMS:
        on_params(s, w, event->version);
        return;
    case FORECAST_CREDIT:
        on_credit(s, w, event->job, event->attempt);
        return;
    case FORECAST_SETTLED:
        on_settled(s, w, event->job, event->attempt);
        return;
    case FORECAST_COMPUTED:
        on_computed(s, w, event);
        return;
    case FORECAST_BEAT:
        on_beat(s, w);
        return;
    case FORECAST_WANT:
    case FORECAST_HEARTBEAT:
    case FORECAST_ANNOUNCE:
    case FORECAST_FETCH:
    case FORECAST_PAYLOAD:
    case FORECAST_PROBED:
    case FORECAST_SUMMED:
    case FORECAST_FINISHED:
    case FORECAST_TO_LOOP:
    case FORECAST_TO_WORKER:
    case FORECAST_LOOP:
    case FORECAST_TICK:
    default:
        CHECK(!"an event for a worker");
    }
}
