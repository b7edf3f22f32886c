/* sim_world.c - virtual time: the heap of events, the draws of the seed, one run from start to end.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "tests/sim/sim.h"

#define FINISH_NS (600 * SIM_S) /* after the faults stopped, the run must be over by then */

struct sim_world sim;
struct sim_options sim_options = {.audit = -1.0};

const char *sim_fault_name(enum sim_fault kind)
{
    static const char *const names[FAULT_KINDS + 1] = {
#define SIM_FAULT_TEXT(name, text) [name] = (text),
        SIM_FAULTS(SIM_FAULT_TEXT)
#undef SIM_FAULT_TEXT
    };
    return names[kind];
}

void sim_fail(const char *fmt, ...)
{
    if (!sim.failed) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(sim.why, sizeof sim.why, fmt, args);
        va_end(args);
        sim.failed = true;
        sim_trace("VIOLATION %s", sim.why);
    }
}

void sim_trace(const char *fmt, ...)
{
    if (sim.trace) {
        va_list args;
        va_start(args, fmt);
        (void)fprintf(stderr, "%11.6f %2d | ", (double)sim.now * 1e-9, sim.here);
        (void)vfprintf(stderr, fmt, args);
        (void)fputc('\n', stderr);
        va_end(args);
    }
}

uint64_t sim_draw(void)
{
    return rng_at(rng_key(sim.plan.seed, 's', 'i', 'm'), sim.draws++);
}

uint64_t sim_below(uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)sim_draw() * bound) >> 64);
}

uint64_t sim_between(uint64_t low, uint64_t high)
{
    return low + sim_below(high - low + 1);
}

bool sim_chance(double p)
{
    return p > 0.0 && (double)(sim_draw() >> 11) * 0x1p-53 < p;
}

void sim_count(enum sim_fault kind)
{
    sim.counts[kind]++;
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct sim_event event)
{
    void *grown = sim.events;
    CHECK(mem_grow(&grown, &sim.events_capacity, sim.n_events + 1, sizeof event, 1u << 24) == OK);
    sim.events = grown;
    size_t i = sim.n_events++;
    for (; i > 0 && earlier(&event, &sim.events[(i - 1) / 2]); i = (i - 1) / 2) {
        sim.events[i] = sim.events[(i - 1) / 2];
    }
    sim.events[i] = event;
}

static struct sim_event pop(void)
{
    struct sim_event first = sim.events[0];
    struct sim_event last = sim.events[--sim.n_events];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim.n_events) {
            break;
        }
        child += child + 1 < sim.n_events && earlier(&sim.events[child + 1], &sim.events[child]);
        if (!earlier(&sim.events[child], &last)) {
            break;
        }
        sim.events[i] = sim.events[child];
        i = child;
    }
    sim.events[i] = last;
    return first;
}

void sim_at(uint64_t at, int node, uint64_t life, void (*fire)(void *ctx, uint64_t a), void *ctx,
            uint64_t a)
{
    push((struct sim_event){.at = at < sim.now ? sim.now : at,
                            .order = sim.order++,
                            .node = node,
                            .life = life,
                            .fire = fire,
                            .ctx = ctx,
                            .a = a});
}

void sim_turn_due(void *ctx, uint64_t node)
{
    struct sim_node *n = &sim.nodes[node];
    (void)ctx;
    if (n->turn_at == 0 || n->turn_at > sim.now) {
        return; /* an earlier turn did what this one was for */
    }
    n->turn_at = 0;
    sim_loop_turn((int)node);
}

void sim_turn_by(int node, uint64_t at)
{
    struct sim_node *n = &sim.nodes[node];
    at = at < sim.now ? sim.now : at;
    if (n->alive && (n->turn_at == 0 || at < n->turn_at)) {
        n->turn_at = at;
        sim_at(at, node, n->life, sim_turn_due, NULL, (uint64_t)node);
    }
}

bool sim_alive(void)
{
    struct sim_node *n = &sim.nodes[sim.here];
    if (!n->dead && n->fuse > 0 && --n->fuse == 0) {
        n->dead = true;
        sim_trace("killed in the middle");
    }
    return !n->dead;
}

static void fire(struct sim_event event)
{
    struct sim_node *n = &sim.nodes[event.node];
    if (event.life != 0) {
        if (!n->alive || n->life != event.life) {
            return;
        }
        if (n->paused_until > sim.now) {
            event.at = n->paused_until;
            if (event.fire == sim_turn_due) {
                n->turn_at = event.at;
            }
            push(event);
            return;
        }
    }
    sim.here = event.node;
    event.fire(event.ctx, event.a);
    if (event.life != 0) {
        sim_after_code(event.node);
    }
}

static void draw_plan(struct sim_plan *p, uint64_t seed, bool quiet)
{
    *p = (struct sim_plan){.seed = seed, .quiet = quiet};
    p->workers = sim_chance(0.5) ? (uint32_t)sim_between(1, 4) : (uint32_t)sim_between(1, 16);
    p->steps = (uint32_t)sim_between(20, 28);
    p->batch_groups =
        (uint32_t)sim_between(16, 24); /* at most two trees a unit: 8 units at least */
    p->groups = p->batch_groups * (uint32_t)sim_between(1, 3);
    p->unit_tokens = (uint32_t)sim_between(6, 9);
    p->checkpoint_steps = (uint32_t)sim_between(2, 8);
    p->strict = !sim_chance(0.25);
    p->latency_ns = sim_between(SIM_MS / 10, 5 * SIM_MS);
    p->spikes = sim_chance(0.3);
    p->loss = sim_chance(0.5) ? 0.01 * (double)sim_between(1, 8) : 0.0;
    p->duplicate = sim_chance(0.5) ? 0.01 * (double)sim_between(1, 8) : 0.0;
    p->reorder = sim_chance(0.5) ? 0.02 * (double)sim_between(1, 5) : 0.0;
    uint32_t slots = 0;
    for (uint32_t w = 1; w <= p->workers; w++) {
        p->slots[w] = (uint32_t)sim_between(1, 3);
        slots += p->slots[w];
    }
    p->length_ns = sim_between(4, 20) * SIM_S;
    slots = slots < p->batch_groups ? slots : p->batch_groups; /* no more can be busy */
    CHECK(p->steps > 0 && p->batch_groups > 0);
    p->token_ns = p->length_ns * slots / p->steps / p->batch_groups / 6;
    p->token_ns = p->token_ns < SIM_S / 2 ? p->token_ns : SIM_S / 2;
    if (quiet) {
        p->loss = p->duplicate = p->reorder = 0.0;
    }
}

/* Workers that share a host: none, two each, or all. */
static void draw_hosts(struct sim_plan *p)
{
    uint64_t kind = rng_below(rng_key(p->seed, 'h', 'o', 's'), 0, 4);
    for (uint32_t w = 1; w <= p->workers; w++) {
        p->hosts[w] = kind == 0 ? 1 : kind == 1 ? (w + 1) / 2 : w;
    }
}

/* Steps of many units on three to six hosts, for figures that a share of the units decides. */
static void make_even(struct sim_plan *p)
{
    p->workers = 3 + (uint32_t)rng_below(rng_key(p->seed, 'e', 'v', 'e'), 0, 4);
    p->steps = 60;
    p->batch_groups = 48;
    p->groups = 96;
    p->checkpoint_steps = 20;
    p->strict = true;
    p->spikes = false;
    p->length_ns = 60 * SIM_S;
    p->token_ns = p->length_ns * p->workers / p->steps / p->batch_groups / 6;
    for (uint32_t w = 1; w <= p->workers; w++) {
        p->slots[w] = 1;
        p->hosts[w] = w;
    }
}

static void open_world(uint64_t seed, bool quiet, bool trace)
{
    sim = (struct sim_world){.trace = trace, .now = SIM_S};
    sim.plan.seed = seed;
    draw_plan(&sim.plan, seed, quiet);
    draw_hosts(&sim.plan);
    if (sim_options.liar || sim_options.even) {
        make_even(&sim.plan);
    }
    sim_net_reset();
    sim_disk_reset();
    sim_vfs_reset();
    sim_slots_reset();
    sim_oracle_open();
    for (int i = 0; i <= (int)sim.plan.workers; i++) {
        sim.nodes[i].slow = 1;
        sim.nodes[i].clock_ns = sim_below(1000 * SIM_S);
    }
    if (quiet) {
        sim.healed = true;
    } else {
        sim_faults_plan();
    }
    sim_start_all();
}

void sim_run(uint64_t seed, bool quiet, bool trace, struct sim_outcome *out)
{
    open_world(seed, quiet, trace);
    uint64_t healed_at = quiet ? sim.now : 0;
    while (!sim.finished && !sim.failed) {
        if (sim.n_events == 0) {
            sim_fail("nothing is left to happen and the run is not finished");
            break;
        }
        struct sim_event event = pop();
        sim.now = event.at;
        fire(event);
        healed_at = sim.healed && healed_at == 0 ? sim.now : healed_at;
        if (++sim.events_fired > SIM_EVENTS_MAX) {
            sim_fail("more than %d events: a livelock", SIM_EVENTS_MAX);
        }
        if (sim.now > sim.moved_at + FINISH_NS) {
            sim_fail("no step since %.1f s", (double)sim.moved_at * 1e-9);
        }
        if (healed_at && sim.now > healed_at + FINISH_NS) {
            sim_fail("the faults stopped at %.1f s, and the run is still not finished at %.1f s",
                     (double)healed_at * 1e-9, (double)sim.now * 1e-9);
        }
    }
    *out = (struct sim_outcome){.virtual_ns = sim.now,
                                .events = sim.events_fired,
                                .steps = sim.plan.steps,
                                .workers = sim.plan.workers,
                                .healed_after_ns = healed_at ? sim.now - healed_at : 0};
    sim_close_all();
    sim_oracle_close(out);
    sim_disk_free();
    sim_net_reset();
    mem_free(sim.events);
    out->failed = sim.failed;
    memcpy(out->why, sim.why, sizeof out->why);
    memcpy(out->counts, sim.counts, sizeof out->counts);
    for (int k = 0; k < FAULT_KINDS; k++) {
        out->faults += sim.counts[k];
    }
}
