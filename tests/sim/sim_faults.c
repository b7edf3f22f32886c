/* sim_faults.c - which faults a seed makes, when, to whom, and for how long. */
#include "tests/sim/sim.h"

enum { FAULTS_MIN = 8, FAULTS_MAX = 24, FAULTS_SURE = 6 };

/* A fault strikes soon after a version was published, so that all parts of a run get their share.
 */
struct planned {
    enum sim_fault kind;
    uint64_t version;
    bool begun;
};

static struct planned planned[FAULTS_MAX];
static uint32_t n_planned, n_begun;
static uint64_t over_at; /* every fault has ended by then */

static uint64_t lasts(uint64_t from_ms, uint64_t to_ms)
{
    uint64_t until = sim.now + sim_between(from_ms, to_ms) * SIM_MS;
    over_at = until > over_at ? until : over_at;
    return until;
}

static int any_worker(void)
{
    return 1 + (int)sim_below(sim.plan.workers);
}

static void fast_again(void *ctx, uint64_t worker)
{
    (void)ctx;
    sim.nodes[worker].slow = 1;
}

static void power_off(void *ctx, uint64_t a)
{
    (void)ctx;
    (void)a;
    if (sim.nodes[0].alive) {
        sim_count(FAULT_POWER);
        sim_kill(0, true);
    }
}

static void strike_network(enum sim_fault kind, int w)
{
    switch ((int)kind) {
    case FAULT_PARTITION:
    case FAULT_PARTITION_TO:
    case FAULT_PARTITION_FROM:
        sim_net_partition(w, kind != FAULT_PARTITION_FROM, kind != FAULT_PARTITION_TO,
                          lasts(300, 8000), sim_chance(0.4));
        break;
    case FAULT_BREAK:
        sim_net_break(w);
        break;
    default: /* FAULT_DELAY */
        sim_net_slow(sim_between(50, 800) * SIM_MS, lasts(500, 5000));
        break;
    }
}

static void slow_down(int w)
{
    sim_count(FAULT_WORKER_SLOW);
    sim.nodes[w].slow = sim_between(3, 20);
    sim_at(lasts(1000, 8000), w, 0, fast_again, NULL, (uint64_t)w);
}

static void strike_worker(enum sim_fault kind, int w)
{
    struct sim_node *n = &sim.nodes[w];
    switch ((int)kind) {
    case FAULT_WORKER_KILL:
    case FAULT_WORKER_CRASH:
        sim_kill(w, kind == FAULT_WORKER_CRASH);
        break;
    case FAULT_WORKER_FUSE:
        n->fuse = (uint32_t)sim_between(1, 30);
        break;
    case FAULT_WORKER_STOP:
        n->paused_until = lasts(300, 12000);
        break;
    case FAULT_WORKER_SLOW:
        slow_down(w);
        break;
    case FAULT_WORKER_DRAIN:
        sim_terminate(w);
        break;
    case FAULT_PROBE: /* seen when the worker proves itself the next time */
        n->wrong[kind]++;
        sim_kill(w, false);
        return;
    default: /* gradients and frames, counted when they are made */
        n->wrong[kind] += (uint32_t)sim_between(1, 4);
        if (kind == FAULT_SILENT && sim_chance(0.5)) { /* a copy will be made of what is slow */
            slow_down(w);
        }
        return;
    }
}

static void strike_coordinator(enum sim_fault kind)
{
    struct sim_node *n = &sim.nodes[0];
    switch ((int)kind) {
    case FAULT_COORDINATOR_KILL:
    case FAULT_POWER:
        sim_kill(0, kind == FAULT_POWER);
        break;
    case FAULT_COORDINATOR_FUSE:
    case FAULT_POWER_FUSE:
        n->fuse = (uint32_t)sim_between(1, 80);
        n->fuse_is_power = kind == FAULT_POWER_FUSE;
        break;
    case FAULT_COORDINATOR_TERM:
        sim_terminate(0);
        break;
    case FAULT_COORDINATOR_STALL:
        n->paused_until = lasts(300, 12000);
        break;
    case FAULT_CHECKPOINT_DAMAGE:
        sim_kill(0, false);
        (void)sim_disk_damage_newest(".ckpt");
        break;
    default: /* FAULT_WALL_JUMP */
        sim.wall_offset_ns += sim_chance(0.5) ? 86400 * SIM_S : 0 - 86400 * SIM_S;
        break;
    }
}

static void strike_disk(enum sim_fault kind)
{
    switch ((int)kind) {
    case FAULT_DISK_FULL:
        sim_disk_full(lasts(500, 5000));
        break;
    case FAULT_DISK_SLOW:
        sim_disk_slow(lasts(500, 5000));
        break;
    case FAULT_SYNC_LOST:
        sim_disk_lie((uint32_t)sim_between(1, 4));
        sim_at(lasts(50, 3000), 0, 0, power_off, NULL, 0);
        break;
    default: /* FAULT_WRITE_ERROR, FAULT_SYNC_ERROR: counted when they are made */
        sim_disk_fail(kind == FAULT_SYNC_ERROR, (uint32_t)sim_between(1, 6));
        break;
    }
}

/* Whether it can strike now: a process that is down cannot be killed. */
static bool possible(enum sim_fault kind, int w)
{
    if (kind >= FAULT_WORKER_KILL && kind <= FAULT_WORKER_DRAIN) {
        return sim.nodes[w].alive;
    }
    return (kind != FAULT_CHECKPOINT_DAMAGE &&
            (kind < FAULT_COORDINATOR_KILL || kind > FAULT_COORDINATOR_STALL)) ||
           sim.nodes[0].alive;
}

static bool counted_when_made(enum sim_fault kind)
{
    return kind == FAULT_WORKER_SLOW || kind == FAULT_WRITE_ERROR || kind == FAULT_SYNC_ERROR ||
           kind == FAULT_SYNC_LOST || (kind >= FAULT_FLIP && kind <= FAULT_OWN_PROBE);
}

static void strike(void *ctx, uint64_t a)
{
    enum sim_fault kind = (enum sim_fault)a;
    int w = any_worker();
    (void)ctx;
    if (sim.healed) {
        return;
    }
    if (!possible(kind, w)) { /* it is down: soon */
        sim_at(sim.now + sim_between(100, 400) * SIM_MS, 0, 0, strike, NULL, a);
        return;
    }
    sim.here = 0;
    sim_trace("FAULT %s (worker %d)", sim_fault_name(kind), w);
    if (!counted_when_made(kind)) {
        sim_count(kind);
    }
    if (kind <= FAULT_DELAY) {
        strike_network(kind, w);
    } else if (kind <= FAULT_WORKER_DRAIN || kind >= FAULT_FLIP) {
        strike_worker(kind, w);
    } else if (kind <= FAULT_COORDINATOR_STALL || kind == FAULT_CHECKPOINT_DAMAGE ||
               kind == FAULT_WALL_JUMP) {
        strike_coordinator(kind);
    } else {
        strike_disk(kind);
    }
}

static void heal(void *ctx, uint64_t a)
{
    (void)ctx;
    (void)a;
    if (sim.now < over_at) {
        sim_at(over_at + SIM_S, 0, 0, heal, NULL, 0);
        return;
    }
    sim.here = 0;
    sim_trace("the faults are over");
    sim.healed = true;
    sim.healed_at = sim.now;
    sim_net_heal();
    sim_disk_heal();
    for (int i = 0; i < SIM_NODES; i++) {
        sim.nodes[i].fuse = 0;
        for (int k = 0; k < FAULT_KINDS; k++) {
            sim.nodes[i].wrong[k] = 0;
        }
    }
}

/* Faults that cost the promise itself, each for its own reason, are kept to a share of the seeds: a
 * wrong gradient that nobody computes twice is counted, an fsync that lies loses what it said. */
static bool allowed(enum sim_fault kind)
{
    if (kind == FAULT_SILENT || kind == FAULT_BAND) {
        return sim.plan.seed % 4 == 0 || sim_options.audit >= 1.0;
    }
    if (kind == FAULT_SYNC_LOST) {
        return sim.plan.seed % 8 == 3;
    }
    return kind != FAULT_OWN_PROBE &&
           (kind != FAULT_PROBE || sim.nodes[0].wrong[FAULT_OWN_PROBE] == 0);
}

void sim_faults_plan(void)
{
    n_planned = (uint32_t)sim_between(FAULTS_MIN, FAULTS_MAX);
    n_begun = 0;
    over_at = 0;
    /* Without its own digest a strict run ends, as it should. */
    sim.nodes[0].wrong[FAULT_OWN_PROBE] = sim_chance(0.1) && !sim.plan.strict;
    for (uint32_t i = 0; i < n_planned;) {
        enum sim_fault kind = (enum sim_fault)sim_below(FAULT_TIMED);
        if (allowed(kind) && (i >= FAULTS_SURE || !counted_when_made(kind))) {
            planned[i++] = (struct planned){.kind = kind, .version = sim_below(sim.plan.steps - 2)};
        }
    }
    sim_liars_plan();
    sim_faults_reach(0);
}

void sim_faults_reach(uint64_t version)
{
    sim_liars_reach(version);
    uint64_t step_ns = sim.plan.length_ns / sim.plan.steps;
    for (uint32_t i = 0; i < n_planned; i++) {
        if (planned[i].begun || planned[i].version > version) {
            continue;
        }
        /* Those of the first step have the time in which workers come, too. */
        uint64_t room = version == 0 ? 3 * SIM_S + step_ns : step_ns;
        uint64_t at = sim.now + sim_below(room);
        planned[i].begun = true;
        sim_at(at, 0, 0, strike, NULL, planned[i].kind);
        over_at = at > over_at ? at : over_at;
        if (++n_begun == n_planned) {
            sim_at(over_at + SIM_S, 0, 0, heal, NULL, 0);
        }
    }
}
