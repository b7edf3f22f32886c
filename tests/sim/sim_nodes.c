/* sim_nodes.c - the life of processes: start, SIGTERM, kill, power loss, and the supervisor that
 * starts them again as an operator would. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/serving.h"
#include "coordinator/start.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_serving.h"
#include "worker/client.h"

static struct start start;
static struct serving serving;
static char names[SIM_NODES][8];
static bool keep_down;

struct serving *sim_serving(void)
{
    return &serving;
}

static void start_event(void *ctx, uint64_t node)
{
    (void)ctx;
    if (!sim.nodes[node].alive && !sim.finished) {
        sim_start_node((int)node);
    }
}

static void start_after(int node, uint64_t ns)
{
    if (!keep_down) {
        sim_at(sim.now + ns, node, 0, start_event, NULL, (uint64_t)node);
    }
}

static void born(int node)
{
    struct sim_node *n = &sim.nodes[node];
    n->alive = true;
    n->dead = false;
    n->life = ++sim.lives;
    n->turn_at = 0;
    n->paused_until = 0;
    n->started_ns = sim.now;
    sim.here = node;
    sim_trace("starts");
}

static void buried(int node)
{
    struct sim_node *n = &sim.nodes[node];
    n->alive = n->dead = n->fuse_is_power = false;
    n->fuse = 0;
    n->turn_at = 0;
    n->client = NULL;
}

/* Frees what the process had; what a dead one does meanwhile has no effect. */
static enum phases_end close_coordinator(struct errbuf *why)
{
    struct phases_outcome outcome = {0};
    serving_close(&serving, &outcome);
    str_free(&outcome.eval);
    start_free(&start);
    serving = (struct serving){0};
    if (sim_calls_open() > 0) {
        sim_fail("%u files are left open when the coordinator is gone", sim_calls_open());
    }
    *why = outcome.why;
    return outcome.end;
}

static void coordinator_is_gone(bool power)
{
    struct errbuf why;
    bool dead = sim.nodes[0].dead;
    sim_net_gone(0, power);
    (void)close_coordinator(&why);
    CHECK(dead);
    sim_disk_crash(power);
    if (power) {
        sim.nodes[0].clock_ns = sim_below(5 * SIM_S) - sim.now;
    }
    buried(0);
    start_after(0, sim_between(100, 1500) * SIM_MS);
}

/* It cannot start: a disk that fails for now is tried again; data that an fsync lied about may be
 * past saving, and then somebody begins the run anew. */
static void coordinator_failed(enum err error, const struct errbuf *e)
{
    struct errbuf why;
    (void)close_coordinator(&why);
    sim_net_gone(0, false);
    sim_disk_crash(false);
    buried(0);
    sim_trace("cannot start: %s", e->text);
    if (sim_disk_hurt()) {
        start_after(0, SIM_S);
    } else if (sim_disk_lied()) {
        sim_disk_wipe();
        sim_oracle_again();
        start_after(0, SIM_S);
    } else {
        sim_fail("the coordinator cannot start (%s): %s", err_text(error), e->text);
    }
}

static void start_coordinator(void)
{
    static const struct address_file address = {.jobs = SIM_ADDRESS, .status = SIM_STATUS};
    struct errbuf e = {{0}};
    born(0);
    start = (struct start){0};
    (void)sim_disk_hurt();
    enum err error = sim_setup(&start.setup, &e);
    if (error == OK) {
        error = journal_open(SIM_RUN, &start.journal, &e);
    }
    if (error == OK) {
        error = start_go_on(SIM_RUN, &start, &e);
    }
    if (error == OK && !sim.nodes[0].dead) {
        sim_oracle_started(&start);
    }
    if (error == OK) {
        error = serving_open(&start, SIM_RUN, false, &address, NULL, &serving, &e);
    }
    if (error == OK && !sim.nodes[0].dead) {
        phases_begin(serving.phases);
        server_start(serving.server);
    }
    if (sim.nodes[0].dead) {
        coordinator_is_gone(sim.nodes[0].fuse_is_power);
    } else if (error != OK) {
        coordinator_failed(error, &e);
    } else {
        sim_after_code(0);
    }
}

static void start_worker(int node)
{
    struct sim_node *n = &sim.nodes[node];
    struct errbuf e = {{0}};
    born(node);
    (void)snprintf(names[node], sizeof names[node], "w%02d", node);
    const struct client_config config = {.address = SIM_ADDRESS,
                                         .id = names[node],
                                         .slots = sim.plan.slots[node],
                                         .model_hash = SIM_MODEL};
    CHECK(client_open(&config, &n->client, &e) == OK);
}

void sim_start_node(int node)
{
    if (node == 0) {
        start_coordinator();
    } else {
        start_worker(node);
    }
}

static void coordinator_ended(void)
{
    struct errbuf why;
    enum phases_end end = close_coordinator(&why);
    if (sim.nodes[0].dead) {
        coordinator_is_gone(sim.nodes[0].fuse_is_power);
        return;
    }
    sim_net_gone(0, false);
    sim_disk_crash(false);
    buried(0);
    sim_trace("ended: %d %s", end, why.text);
    if (end == PHASES_FINISHED) {
        sim_oracle_finished();
        return;
    }
    if (end == PHASES_FAILED) {
        sim_oracle_stopped(why.text);
    }
    start_after(0, sim_between(100, 1500) * SIM_MS);
}

static void worker_is_gone(int node, bool half_open)
{
    struct sim_node *n = &sim.nodes[node];
    sim_net_gone(node, half_open);
    if (n->client) {
        client_close(&n->client);
    }
    if (half_open) {
        n->clock_ns = sim_below(5 * SIM_S) - sim.now;
    }
    buried(node);
    start_after(node, sim_between(300, 5000) * SIM_MS);
}

void sim_after_code(int node)
{
    struct sim_node *n = &sim.nodes[node];
    enum agent_exit code;
    sim.here = node;
    if (!n->alive) {
        return;
    }
    if (n->dead && node == 0) {
        coordinator_is_gone(n->fuse_is_power);
    } else if (n->dead) {
        worker_is_gone(node, false);
    } else if (node == 0 && serving.server && server_ended(serving.server)) {
        coordinator_ended();
    } else if (node != 0 && client_ended(n->client, &code)) {
        sim_trace("exits with %d", (int)code);
        worker_is_gone(node, false);
    }
}

void sim_kill(int node, bool power)
{
    struct sim_node *n = &sim.nodes[node];
    if (!n->alive) {
        return;
    }
    sim.here = node;
    sim_trace(power ? "power lost" : "killed");
    n->dead = true;
    if (node == 0) {
        coordinator_is_gone(power);
    } else {
        worker_is_gone(node, power);
    }
}

void sim_terminate(int node)
{
    if (sim.nodes[node].alive) {
        sim.here = node;
        sim_trace("SIGTERM");
        sim_loop_signal(node, SIGTERM);
        sim_after_code(node);
    }
}

void sim_start_all(void)
{
    keep_down = false;
    start_after(0, SIM_MS);
    for (int i = 1; i <= (int)sim.plan.workers; i++) {
        start_after(i, sim_below(2 * SIM_S));
    }
}

void sim_close_all(void)
{
    keep_down = true;
    for (int i = 0; i < SIM_NODES; i++) {
        sim_kill(i, false);
    }
}
