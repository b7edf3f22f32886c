/* forecast.c - the virtual clock, the coordinator's loop around the real dispatch, its reducer. */
#include "coordinator/forecast.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/forecast_state.h"

enum {
    EVENTS_MAX = 20000000, /* a forecast that has not ended by then has no end */
    PENDING_MAX = 1 << 26,
    OUTPUTS_EXTRA = 2,
};

#define BEGIN_NS 1000000000ull /* dispatch takes 0 for "never" */

/* Events: a heap by time; equal times in order of coming. */

static bool before(const struct forecast_timed *a, const struct forecast_timed *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->seq < b->seq);
}

void forecast_at(struct forecast_sim *s, uint64_t at_ns, const struct forecast_event *event)
{
    if (mem_grow((void **)&s->heap, &s->heap_capacity, s->n_heap + 1, sizeof *s->heap,
                 PENDING_MAX) != OK) {
        s->out_of_memory = true;
        return;
    }
    struct forecast_timed timed = {.at_ns = at_ns, .seq = s->seq++, .event = *event};
    size_t i = s->n_heap++;
    while (i > 0 && before(&timed, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = timed;
}

static struct forecast_event take_event(struct forecast_sim *s)
{
    struct forecast_event first = s->heap[0].event;
    struct forecast_timed last = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < s->n_heap; child = 2 * i + 1) {
        child += child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child]);
        if (!before(&s->heap[child], &last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return first;
}

/* The loop reads one message at a time. */

static void read_next(struct forecast_sim *s)
{
    const struct forecast_event loop = {.kind = FORECAST_LOOP};
    s->loop_busy = true;
    forecast_at(s, s->now_ns + s->message_ns, &loop);
}

static void put_in_inbox(struct forecast_sim *s, const struct forecast_event *event)
{
    if (s->inbox_count == s->inbox_capacity) {
        size_t capacity = s->inbox_capacity ? s->inbox_capacity * 2 : 256;
        struct forecast_event *bigger = mem_calloc(capacity, sizeof *bigger);
        if (!bigger) {
            s->out_of_memory = true;
            return;
        }
        for (size_t i = 0; i < s->inbox_count; i++) {
            bigger[i] = s->inbox[(s->inbox_first + i) % s->inbox_capacity];
        }
        mem_free(s->inbox);
        s->inbox = bigger;
        s->inbox_capacity = capacity;
        s->inbox_first = 0;
    }
    s->inbox[(s->inbox_first + s->inbox_count++) % s->inbox_capacity] = *event;
    if (!s->loop_busy) {
        read_next(s);
    }
}

void forecast_say(struct forecast_sim *s, const struct forecast_worker *w,
                  struct forecast_event event)
{
    event.worker = w->index;
    forecast_at(s, s->now_ns + s->latency_ns, &event);
}

static void tell(struct forecast_sim *s, const struct forecast_worker *w,
                 const struct dispatch_action *a, enum forecast_kind kind)
{
    const struct forecast_event event = {
        .kind = kind, .worker = w->index, .job = a->job, .attempt = a->attempt};
    forecast_at(s, s->now_ns + s->latency_ns, &event);
}

static void send_over(struct forecast_sim *s, struct forecast_link *l, uint64_t bytes,
                      const struct forecast_event *event)
{
    if (forecast_link_add(l, bytes, event, s->now_ns) != OK) {
        s->out_of_memory = true;
    }
}

void forecast_send_gradient(struct forecast_sim *s, const struct forecast_worker *w, uint64_t job,
                            uint32_t attempt)
{
    const struct forecast_event event = {
        .kind = FORECAST_PAYLOAD, .worker = w->index, .job = job, .attempt = attempt};
    s->out->gradients++;
    send_over(s, &s->down, s->cfg->floats * 8, &event);
}

/* The first of the worker's queue: its connection carries one after the other. */
static void send_queued(struct forecast_sim *s, const struct forecast_worker *w)
{
    const struct forecast_event event = {
        .kind = FORECAST_PARAMS, .worker = w->index, .version = w->queued[0]};
    send_over(s, &s->up, s->cfg->floats * 4, &event);
}

/* As server_send_params: when its queue is full the worker's next heartbeat tries again. */
static void send_params(struct forecast_sim *s, struct forecast_worker *w)
{
    w->fetch_waits = w->n_queued == FORECAST_TENSOR_QUEUE;
    if (w->fetch_waits) {
        return;
    }
    s->out->params_sent++;
    w->queued[w->n_queued++] = s->step;
    if (w->n_queued == 1) {
        send_queued(s, w);
    }
}

static void params_through(struct forecast_sim *s, struct forecast_worker *w)
{
    w->n_queued--;
    memmove(w->queued, w->queued + 1, w->n_queued * sizeof w->queued[0]);
    if (w->n_queued > 0) {
        send_queued(s, w);
    }
}

static void assign(struct forecast_sim *s, const struct forecast_worker *w,
                   const struct dispatch_action *a)
{
    const struct job *job = dispatch_job(s->dispatch, a->job);
    uint64_t bytes = 0;
    if (!job) {
        dispatch_release(s->dispatch, a->worker, a->job, a->attempt, s->now_ns);
        return;
    }
    for (uint32_t i = 0; i < job->n_units; i++) {
        bytes += s->cfg->steps[s->step].frame_bytes[job->units[i]];
    }
    const struct forecast_event event = {.kind = FORECAST_JOB,
                                         .worker = w->index,
                                         .slot = a->slot,
                                         .attempt = a->attempt,
                                         .rows = job->rows,
                                         .n_units = job->n_units,
                                         .job = a->job,
                                         .request = a->request,
                                         .version = s->step};
    send_over(s, &s->up, bytes, &event);
}

/* Everything is in: the reducer converts, steps and makes the next version. */
static void finish(struct forecast_sim *s)
{
    const struct forecast_event event = {.kind = FORECAST_FINISHED};
    double ns = (double)s->cfg->floats * 8.0 / s->cfg->finishing_bytes_per_s * 1e9;
    uint64_t from = s->reducer_free_ns > s->now_ns ? s->reducer_free_ns : s->now_ns;
    s->reducer_free_ns = from + (uint64_t)ns;
    forecast_at(s, s->reducer_free_ns, &event);
}

static void give_up(struct forecast_sim *s, const char *why)
{
    s->out->stopped = true;
    s->done = true;
    (void)snprintf(s->out->text, sizeof s->out->text, "%s", why);
}

/* Nobody else is in the roster, and nobody leaves it: its places are those of workers[]. */
static struct forecast_worker *worker_of(struct forecast_sim *s, uint64_t id)
{
    const struct worker *w = roster_get(dispatch_roster(s->dispatch), id);
    return w ? &s->workers[w->index] : NULL;
}

static void for_worker(struct forecast_sim *s, const struct forecast_worker *w,
                       const struct dispatch_action *a)
{
    const struct forecast_event probed = {.kind = FORECAST_PROBED, .worker = w->index};
    if (a->act == DISPATCH_ASSIGN) {
        assign(s, w, a);
    } else if (a->act == DISPATCH_CREDIT) {
        tell(s, w, a, FORECAST_CREDIT);
    } else if (a->act == DISPATCH_PROBE) { /* a quarantine is over: asked and answered */
        forecast_at(s, s->now_ns + 2 * s->latency_ns, &probed);
    } else if (a->act == DISPATCH_SETTLED || a->act == DISPATCH_CANCEL) {
        tell(s, w, a, FORECAST_SETTLED);
    }
}

static void carry_out(struct forecast_sim *s, const struct dispatch_action *a)
{
    const struct forecast_worker *w = a->worker ? worker_of(s, a->worker) : NULL;
    if (a->act == DISPATCH_STOP || a->act == DISPATCH_GONE) {
        give_up(s, a->text);
    } else if (a->act == DISPATCH_BATCH_DONE) {
        finish(s);
    } else if (w) {
        for_worker(s, w, a);
    }
}

static void pump(struct forecast_sim *s)
{
    struct dispatch_action action;
    while (!s->done && dispatch_next(s->dispatch, &action)) {
        carry_out(s, &action);
    }
}

static void open_step(struct forecast_sim *s)
{
    const struct forecast_step *step = &s->cfg->steps[s->step];
    for (uint32_t i = 0; i < step->n_units; i++) {
        s->unit_ids[i] = (uint64_t)s->step << 32 | i;
    }
    const struct dispatch_batch batch = {.kind = JOB_GRADIENT,
                                         .tag = s->step,
                                         .n_units = step->n_units,
                                         .unit_ids = s->unit_ids,
                                         .rows = step->rows};
    s->opened_ns = s->now_ns;
    s->used = 0;
    s->out_of_memory = dispatch_open(s->dispatch, &batch, s->now_ns) != OK || s->out_of_memory;
}

/* The figures begin when the warm-up is over. */
static void begin_counting(struct forecast_sim *s)
{
    double warm_up = s->out->seconds[0];
    struct dispatch_stats stats = dispatch_stats(s->dispatch);
    *s->out = (struct forecast){.seconds = {warm_up}};
    s->up.bytes = s->up.busy_ns = s->down.bytes = s->down.busy_ns = s->link_busy_ns = 0;
    s->counted_ns = s->now_ns;
    s->jobs_before = stats.assigned - stats.backups;
    s->backups_before = stats.backups;
    s->lost_before = stats.lost;
}

static void on_finished(struct forecast_sim *s)
{
    s->out->seconds[s->step] = (double)(s->now_ns - s->opened_ns) * 1e-9;
    s->out->slots_used = s->used > s->out->slots_used ? s->used : s->out->slots_used;
    dispatch_committed(s->dispatch, s->step);
    if (s->step == 0) {
        begin_counting(s);
    }
    s->step++;
    s->done = s->done || s->step == s->cfg->n_steps;
    if (!s->done) {
        open_step(s);
    }
}

static void on_heartbeat(struct forecast_sim *s, struct forecast_worker *w)
{
    struct dispatch_running running[LIMIT_SLOTS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->cfg->slots; i++) {
        bool computes = w->slots[i].state == VIRTUAL_COMPUTING && !w->slots[i].leaving;
        if (computes || w->slots[i].state == VIRTUAL_FETCHING) {
            running[n++] = (struct dispatch_running){.job = w->slots[i].job.job,
                                                     .attempt = w->slots[i].job.attempt};
        }
    }
    dispatch_heartbeat(s->dispatch, w->id, running, n, s->now_ns);
    if (w->fetch_waits) {
        send_params(s, w);
    }
}

static void on_announce(struct forecast_sim *s, const struct forecast_worker *w,
                        const struct forecast_event *event)
{
    struct result_row rows[LIMIT_JOB_UNITS];
    const struct job *job = dispatch_job(s->dispatch, event->job);
    struct dispatch_result result = {.worker = w->id,
                                     .job = event->job,
                                     .attempt = event->attempt,
                                     .n_rows = job ? job->n_units : 0,
                                     .rows = rows};
    result.compute_ns = job ? forecast_compute_ns(s, job->rows) : 0;
    for (uint32_t i = 0; i < result.n_rows; i++) {
        rows[i] =
            (struct result_row){.unit = s->unit_ids[job->units[i]], .sumsq = 1.0, .labels = 1};
    }
    dispatch_announce(s->dispatch, &result, s->now_ns);
}

static void on_payload(struct forecast_sim *s, const struct forecast_worker *w,
                       const struct forecast_event *event)
{
    struct forecast_event summed = {.kind = FORECAST_SUMMED, .job = event->job};
    if (dispatch_payload(s->dispatch, w->id, event->job, event->attempt, s->now_ns) != OK) {
        return;
    }
    double ns = (double)s->cfg->floats * 8.0 / s->cfg->adding_bytes_per_s * 1e9;
    uint64_t from = s->reducer_free_ns > s->now_ns ? s->reducer_free_ns : s->now_ns;
    s->reducer_free_ns = from + (uint64_t)ns;
    forecast_at(s, s->reducer_free_ns, &summed);
}

static void on_probed(struct forecast_sim *s, const struct forecast_worker *w)
{
    const uint8_t digest[HASH_XXH128_BYTES] = {0};
    if (dispatch_probed(s->dispatch, w->id, digest, s->now_ns, NULL) != OK) {
        give_up(s, "a worker of the forecast is not known any more");
    }
}

/* A message that the loop has read. */
static void hear(struct forecast_sim *s, const struct forecast_event *event)
{
    struct forecast_worker *w = &s->workers[event->worker];
    switch (event->kind) {
    case FORECAST_WANT:
        dispatch_want(s->dispatch, w->id, event->slot, event->request, s->now_ns);
        break;
    case FORECAST_HEARTBEAT:
        on_heartbeat(s, w);
        break;
    case FORECAST_ANNOUNCE:
        on_announce(s, w, event);
        break;
    case FORECAST_FETCH:
        w->fetch_waits = false;
        if (event->version == s->step) {
            send_params(s, w);
        }
        break;
    case FORECAST_PAYLOAD:
        on_payload(s, w, event);
        break;
    case FORECAST_PROBED:
        on_probed(s, w);
        break;
    case FORECAST_SUMMED:
        dispatch_summed(s->dispatch, event->job, OK, s->now_ns);
        break;
    case FORECAST_FINISHED:
        on_finished(s);
        break;
    case FORECAST_TO_LOOP:
    case FORECAST_JOB:
    case FORECAST_PARAMS:
    case FORECAST_CREDIT:
    case FORECAST_SETTLED:
    case FORECAST_COMPUTED:
    case FORECAST_BEAT:
    case FORECAST_TO_WORKER:
    case FORECAST_LOOP:
    case FORECAST_TICK:
    default:
        CHECK(!"a message for the coordinator");
    }
    pump(s);
}

static void tick(struct forecast_sim *s)
{
    const struct forecast_event event = {.kind = FORECAST_TICK};
    uint64_t rest = dispatch_tick(s->dispatch, s->now_ns);
    pump(s);
    rest = rest < 5000000 ? 5000000 : rest; /* as server.c */
    forecast_at(s, s->now_ns + rest, &event);
}

static void happen(struct forecast_sim *s, const struct forecast_event *event)
{
    if (event->kind == FORECAST_LOOP) {
        struct forecast_event message = s->inbox[s->inbox_first];
        s->inbox_first = (s->inbox_first + 1) % s->inbox_capacity;
        s->inbox_count--;
        s->loop_busy = false;
        hear(s, &message);
        if (s->inbox_count > 0) {
            read_next(s);
        }
    } else if (event->kind == FORECAST_TICK) {
        tick(s);
    } else if (event->kind < FORECAST_TO_LOOP) {
        put_in_inbox(s, event);
    } else {
        forecast_worker_hear(s, &s->workers[event->worker], event);
    }
}

/* Moves the clock to the next thing that happens; a flow that is through is heard one latency
 * later. */
static void go_on(struct forecast_sim *s)
{
    uint64_t first = s->n_heap > 0 ? s->heap[0].at_ns : UINT64_MAX;
    uint64_t up = forecast_link_next_ns(&s->up);
    uint64_t down = forecast_link_next_ns(&s->down);
    uint64_t now = first < up ? first : up;
    struct forecast_event event;
    now = now < down ? now : down;
    CHECK(now != UINT64_MAX && now >= s->now_ns);
    s->link_busy_ns += s->up.n + s->down.n > 0 ? now - s->now_ns : 0;
    s->now_ns = now;
    if (up == now || down == now) {
        forecast_link_take(up == now ? &s->up : &s->down, now, &event);
        forecast_at(s, now + s->latency_ns, &event);
        if (event.kind == FORECAST_PARAMS) {
            params_through(s, &s->workers[event.worker]);
        }
        return;
    }
    event = take_event(s);
    happen(s, &event);
}

static enum err enter_workers(struct forecast_sim *s, struct errbuf *e)
{
    const struct forecast_config *cfg = s->cfg;
    for (uint32_t i = 0; i < cfg->workers; i++) {
        struct forecast_worker *w = &s->workers[i];
        char name[ROSTER_NAME_BYTES];
        (void)snprintf(name, sizeof name, "worker-%u", i);
        const struct roster_hello hello = {
            .name = name, .host = "", .core_type = "", .epoch = 1, .slots = cfg->slots};
        w->index = i;
        w->slots = s->slots + (size_t)i * cfg->slots;
        w->outputs = s->outputs + (size_t)i * (cfg->slots + OUTPUTS_EXTRA);
        enum err error = dispatch_hello(s->dispatch, &hello, s->now_ns, &w->id, e);
        if (error != OK) {
            return error;
        }
        on_probed(s, w);
    }
    pump(s);
    open_step(s);
    for (uint32_t i = 0; i < cfg->workers; i++) {
        forecast_worker_begin(s, &s->workers[i]);
    }
    tick(s);
    return OK;
}

static enum err prepare(struct forecast_sim *s, struct errbuf *e)
{
    const struct forecast_config *cfg = s->cfg;
    const struct dispatch_config dispatch = {.strict = true,
                                             .epoch = 1,
                                             .payload_bytes = cfg->floats * sizeof(int64_t),
                                             .has_probe = true};
    size_t slots = (size_t)cfg->workers * cfg->slots;
    uint32_t units = 0;
    for (uint32_t i = 0; i < cfg->n_steps; i++) {
        units = cfg->steps[i].n_units > units ? cfg->steps[i].n_units : units;
    }
    s->now_ns = BEGIN_NS;
    s->latency_ns = (uint64_t)(cfg->latency_s * 1e9);
    s->message_ns = (uint64_t)(cfg->message_s * 1e9);
    s->up.bytes_per_s = s->down.bytes_per_s = cfg->link_bytes_per_s;
    s->workers = mem_calloc(cfg->workers, sizeof *s->workers);
    s->slots = mem_calloc(slots, sizeof *s->slots);
    s->outputs = mem_calloc(slots + (size_t)cfg->workers * OUTPUTS_EXTRA, sizeof *s->outputs);
    s->unit_ids = mem_calloc(units, sizeof *s->unit_ids);
    bool room = s->workers && s->slots && s->outputs && s->unit_ids;
    enum err error = room ? dispatch_new(&dispatch, &s->dispatch) : ERR_NOMEM;
    return error == OK ? enter_workers(s, e) : err_set(e, error, "no memory for a forecast");
}

static enum err check(const struct forecast_config *cfg, struct errbuf *e)
{
    const struct {
        const char *name;
        double value;
    } rates[] = {{"seconds per token", cfg->seconds_per_token},
                 {"bytes/s of the link", cfg->link_bytes_per_s},
                 {"bytes/s of adding", cfg->adding_bytes_per_s},
                 {"bytes/s of finishing", cfg->finishing_bytes_per_s}};
    if (cfg->workers < 1 || cfg->workers > LIMIT_WORKERS || cfg->slots < 1 ||
        cfg->slots > LIMIT_SLOTS) {
        return err_set(e, ERR_RANGE,
                       "%u workers of %u slots: 1 to %d workers of 1 to %d slots are possible",
                       cfg->workers, cfg->slots, LIMIT_WORKERS, LIMIT_SLOTS);
    }
    if (cfg->n_steps < 2 || cfg->n_steps > FORECAST_STEPS) {
        return err_set(e, ERR_RANGE, "%u steps: 2 to %d are possible", cfg->n_steps,
                       FORECAST_STEPS);
    }
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        if (!(rates[i].value > 0.0 && isfinite(rates[i].value))) {
            return err_set(e, ERR_RANGE, "%s: %g; a number above 0 is needed", rates[i].name,
                           rates[i].value);
        }
    }
    return cfg->latency_s >= 0.0 && cfg->latency_s <= 60.0 && cfg->message_s >= 0.0 &&
                   cfg->message_s <= 1.0
               ? OK
               : err_set(e, ERR_RANGE, "a latency of %g s: 0 to 60 s are possible", cfg->latency_s);
}

static void sum_up(struct forecast_sim *s)
{
    struct forecast *f = s->out;
    struct dispatch_stats stats = dispatch_stats(s->dispatch);
    f->total_s = (double)(s->now_ns - s->counted_ns) * 1e-9;
    f->backups = stats.backups - s->backups_before;
    f->jobs = stats.assigned - stats.backups - s->jobs_before;
    f->lost = stats.lost - s->lost_before;
    f->bytes_out = s->up.bytes;
    f->bytes_in = s->down.bytes;
    f->out_busy_s = (double)s->up.busy_ns * 1e-9;
    f->in_busy_s = (double)s->down.busy_ns * 1e-9;
    f->link_busy_s = (double)s->link_busy_ns * 1e-9;
}

enum err forecast_make(const struct forecast_config *cfg, struct forecast *out, struct errbuf *e)
{
    *out = (struct forecast){0};
    struct forecast_sim s = {.cfg = cfg, .out = out};
    enum err error = check(cfg, e);
    error = error == OK ? prepare(&s, e) : error;
    while (error == OK && !s.done && !s.out_of_memory) {
        go_on(&s);
        if (++s.n_events == EVENTS_MAX) {
            give_up(&s, "no end in sight: the link cannot carry what is repeated over it");
        }
    }
    if (error == OK && s.out_of_memory) {
        error = err_set(e, ERR_NOMEM, "no memory for a forecast");
    }
    if (error == OK) {
        sum_up(&s);
    }
    dispatch_free(&s.dispatch);
    forecast_link_free(&s.up);
    forecast_link_free(&s.down);
    mem_free(s.heap);
    mem_free(s.inbox);
    mem_free(s.workers);
    mem_free(s.slots);
    mem_free(s.outputs);
    mem_free(s.unit_ids);
    return error;
}
