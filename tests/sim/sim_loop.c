/* sim_loop.c - what the two shells use of libuv, over virtual time. A turn does what libuv's does:
 * timers that are due, then what came in, then the check handle. */
#include <string.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/sim/sim.h"

enum { TIMERS = 4, SIGNALS = 2 };

struct sim_loop {
    int node;
    uv_timer_t *timers[TIMERS];
    uint64_t due[TIMERS], repeat[TIMERS]; /* due 0: stopped */
    uv_check_t *check;
    uv_check_cb on_check;
    bool idle;
    uv_signal_t *signals[SIGNALS];
    uv_signal_cb on_signal[SIGNALS];
    int signum[SIGNALS];
    uv_process_t *process;
    uv_exit_cb on_exit;
    uv_pipe_t *pipe;
    uv_alloc_cb on_alloc;
    uv_read_cb on_read;
};

struct sim_loop *sim_loop_of(const struct uv_loop_s *loop)
{
    return loop->data;
}

int uv_loop_init(uv_loop_t *loop)
{
    struct sim_loop *l = mem_calloc(1, sizeof *l);
    CHECK(l != NULL);
    l->node = sim.here;
    loop->data = l;
    sim.nodes[sim.here].loop = l;
    return 0;
}

int uv_loop_close(uv_loop_t *loop)
{
    struct sim_loop *l = loop->data;
    if (sim.nodes[l->node].loop == l) {
        sim.nodes[l->node].loop = NULL;
    }
    mem_free(l);
    return 0;
}

/* Called by the shells when they close, to let handles go: here they are gone at once. */
int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    (void)loop;
    (void)mode;
    return 0;
}

void uv_stop(uv_loop_t *loop)
{
    (void)loop;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
    struct sim_loop *l = loop->data;
    for (int i = 0; i < TIMERS; i++) {
        if (!l->timers[i]) {
            l->timers[i] = handle;
            handle->loop = loop;
            handle->type = UV_TIMER;
            return 0;
        }
    }
    CHECK(!"room for one more timer");
    return -1;
}

static int timer_at(const struct sim_loop *l, const uv_timer_t *handle)
{
    for (int i = 0; i < TIMERS; i++) {
        if (l->timers[i] == handle) {
            return i;
        }
    }
    CHECK(!"a timer of this loop");
    return -1;
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    struct sim_loop *l = handle->loop->data;
    int i = timer_at(l, handle);
    handle->timer_cb = cb;
    l->due[i] = sim.now + timeout * SIM_MS;
    l->repeat[i] = repeat * SIM_MS;
    sim_turn_by(l->node, l->due[i]);
    return 0;
}

int uv_check_init(uv_loop_t *loop, uv_check_t *check)
{
    ((struct sim_loop *)loop->data)->check = check;
    check->loop = loop;
    check->type = UV_CHECK;
    return 0;
}

int uv_check_start(uv_check_t *check, uv_check_cb cb)
{
    ((struct sim_loop *)check->loop->data)->on_check = cb;
    return 0;
}

int uv_idle_init(uv_loop_t *loop, uv_idle_t *idle)
{
    idle->loop = loop;
    idle->type = UV_IDLE;
    return 0;
}

int uv_idle_start(uv_idle_t *idle, uv_idle_cb cb)
{
    struct sim_loop *l = idle->loop->data;
    (void)cb;
    l->idle = true;
    sim_turn_by(l->node, sim.now);
    return 0;
}

int uv_idle_stop(uv_idle_t *idle)
{
    ((struct sim_loop *)idle->loop->data)->idle = false;
    return 0;
}

int uv_signal_init(uv_loop_t *loop, uv_signal_t *handle)
{
    struct sim_loop *l = loop->data;
    handle->loop = loop;
    handle->type = UV_SIGNAL;
    l->signals[l->signals[0] ? 1 : 0] = handle;
    return 0;
}

int uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int signum)
{
    struct sim_loop *l = handle->loop->data;
    int i = l->signals[0] == handle ? 0 : 1;
    l->on_signal[i] = cb;
    l->signum[i] = signum;
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    struct sim_loop *l = handle->loop->data;
    for (int i = 0; i < TIMERS; i++) {
        if ((uv_handle_t *)l->timers[i] == handle) {
            l->timers[i] = NULL;
            l->due[i] = 0;
        }
    }
    l->on_check = handle->type == UV_CHECK ? NULL : l->on_check;
    l->idle = handle->type == UV_IDLE ? false : l->idle;
    if (cb) {
        cb(handle);
    }
}

int uv_pipe_init(uv_loop_t *loop, uv_pipe_t *handle, int ipc)
{
    (void)ipc;
    handle->loop = loop;
    handle->type = UV_NAMED_PIPE;
    ((struct sim_loop *)loop->data)->pipe = handle;
    return 0;
}

/* Stands for the probe's pipe: no descriptor, what is read comes from on_probe_over. */
int uv_pipe(uv_file fds[2], int read_flags, int write_flags)
{
    (void)read_flags;
    (void)write_flags;
    fds[0] = fds[1] = -1;
    return 0;
}

int uv_pipe_open(uv_pipe_t *handle, uv_file file)
{
    (void)handle;
    (void)file;
    return 0;
}

/* The one program that is ever started: the run's own probe. Its pipe is read after its exit. */
static void on_probe_over(void *ctx, uint64_t fails)
{
    static const char digest[] = "5053464f5053464f5053464f5053464f\n";
    struct sim_loop *l = ctx;
    uv_buf_t buf = {0};
    if (!l->process) { /* killed before */
        return;
    }
    uv_process_t *process = l->process;
    l->process = NULL;
    l->on_exit(process, fails ? 1 : 0, 0);
    if (!fails && l->on_read) {
        l->on_alloc((uv_handle_t *)l->pipe, sizeof digest, &buf);
        size_t n = sizeof digest - 1 < buf.len ? sizeof digest - 1 : buf.len;
        memcpy(buf.base, digest, n);
        l->on_read((uv_stream_t *)l->pipe, (ssize_t)n, &buf);
    }
    if (l->on_read) {
        l->on_read((uv_stream_t *)l->pipe, UV_EOF, &buf);
    }
    sim_turn_by(l->node, sim.now);
}

int uv_spawn(uv_loop_t *loop, uv_process_t *handle, const uv_process_options_t *options)
{
    struct sim_loop *l = loop->data;
    struct sim_node *n = &sim.nodes[l->node];
    bool fails = n->wrong[FAULT_OWN_PROBE] > 0;
    if (fails) {
        n->wrong[FAULT_OWN_PROBE]--;
        sim_count(FAULT_OWN_PROBE);
    }
    handle->loop = loop;
    handle->type = UV_PROCESS;
    l->process = handle;
    l->on_exit = options->exit_cb;
    sim_at(sim.now + sim_between(10, 400) * SIM_MS, l->node, n->life, on_probe_over, l, fails);
    return 0;
}

int uv_process_kill(uv_process_t *handle, int signum)
{
    struct sim_loop *l = handle->loop->data;
    if (l->process == handle) {
        const uv_buf_t none = {0};
        l->process = NULL;
        l->on_exit(handle, 0, signum);
        if (l->on_read) {
            l->on_read((uv_stream_t *)l->pipe, UV_EOF, &none);
        }
    }
    return 0;
}

int uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb read)
{
    struct sim_loop *l = stream->loop->data;
    l->on_alloc = alloc;
    l->on_read = read;
    return 0;
}

int uv_read_stop(uv_stream_t *stream)
{
    ((struct sim_loop *)stream->loop->data)->on_read = NULL;
    return 0;
}

void sim_loop_signal(int node, int signum)
{
    struct sim_loop *l = sim.nodes[node].loop;
    for (int i = 0; l && i < SIGNALS; i++) {
        if (l->on_signal[i] && l->signum[i] == signum) {
            l->on_signal[i](l->signals[i], signum);
        }
    }
    sim_turn_by(node, sim.now);
}

static void run_timers(struct sim_loop *l)
{
    for (int i = 0; i < TIMERS; i++) {
        if (l->due[i] == 0 || l->due[i] > sim.now) {
            continue;
        }
        l->due[i] = l->repeat[i] ? sim.now + l->repeat[i] : 0;
        l->timers[i]->timer_cb(l->timers[i]);
        if (sim.nodes[l->node].dead) {
            return;
        }
    }
}

void sim_loop_turn(int node)
{
    struct sim_node *n = &sim.nodes[node];
    struct sim_loop *l = n->loop;
    if (!l) {
        return;
    }
    run_timers(l);
    for (int i = 0; i < SIM_TURN_ITEMS && !n->dead && sim_net_deliver(node); i++) {
    }
    if (!n->dead) {
        (void)sim_mailboxes_ready(node);
    }
    if (!n->dead && l->on_check) {
        l->on_check(l->check);
    }
    if (n->dead) {
        return;
    }
    if (l->idle || sim_net_waits(node)) {
        sim_turn_by(node, sim.now + 1000);
    }
    for (int i = 0; i < TIMERS; i++) {
        if (l->due[i] != 0) {
            sim_turn_by(node, l->due[i]);
        }
    }
    if (node == 0) {
        sim_oracle_turn();
    }
}
