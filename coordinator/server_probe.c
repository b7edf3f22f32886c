/* server_probe.c - the run's own probe: a pft-worker of this machine computes the digest that every
 * worker must show. Once per run; the digest is kept. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/cpu.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "coordinator/server_state.h"

/* What the process said last, on stdout or stderr: the digest, or why there is none. */
static const char *last_line(struct server_probe *p)
{
    while (p->length > 0 && p->line[p->length - 1] == '\n') {
        p->line[--p->length] = '\0';
    }
    const char *end = strrchr(p->line, '\n');
    return end ? end + 1 : p->line;
}

static void on_closed(uv_handle_t *handle)
{
    struct server_probe *p = handle->data;
    if (--p->open == 0) {
        mem_free(p);
    }
}

static void close_probe(struct server_probe *p)
{
    p->open = 2;
    uv_close((uv_handle_t *)&p->process, on_closed);
    uv_close((uv_handle_t *)&p->out, on_closed);
}

/* In a strict run the digest of this machine decides; in a relaxed one the first worker's may. */
static void without_own(struct server *s, const char *why)
{
    s->own_probe_pending = false;
    if (s->cfg.welcome.strict) {
        dispatch_stop(s->dispatch,
                      "%.300s (as this machine took its own probe, without which no strict run "
                      "begins; strict: false goes on without)",
                      why);
        server_wake(s);
    } else {
        log_event(LOG_WARN, "probe_failed", "%s; the first worker's digest decides", why);
    }
}

static void digest_known(struct server *s, struct server_probe *p)
{
    s->own_probe_known = p->good && hash_from_hex(last_line(p), WIRE_DIGEST_BYTES, s->own_probe);
    if (s->own_probe_known) {
        s->own_probe_pending = false;
        log_event(LOG_INFO, "probe", "digest=%s", last_line(p));
        dispatch_expect_probe(s->dispatch, s->own_probe);
        s->events.probe(s->events.ctx, s->own_probe);
    } else {
        char why[SERVER_PROBE_LINE + 192];
        const char *last = last_line(p);
        (void)snprintf(why, sizeof why, "%s%spft-worker --probe: %s", last, last[0] ? "; " : "",
                       p->good ? "that is no digest" : p->how);
        without_own(s, why);
        if (s->cfg.welcome.strict) {
            return;
        }
    }
    for (size_t i = 0; i < s->n_peers; i++) {
        if (s->peers[i].used && s->peers[i].probe_waits) {
            s->peers[i].probe_waits = false;
            server_judge_probe(s, &s->peers[i], s->peers[i].probe);
        }
    }
}

/* Judges and closes once the process is gone and its pipe is empty. */
static void end_probe(struct server_probe *p)
{
    struct server *s = p->server;
    if (!p->exited || !p->read_whole) {
        return;
    }
    if (s) {
        s->probe = NULL;
    }
    if (s && !s->ended) {
        digest_known(s, p);
    }
    close_probe(p);
}

static void on_probe_exit(uv_process_t *process, int64_t status, int signum)
{
    struct server_probe *p = process->data;
    p->exited = true;
    p->good = status == 0 && signum == 0;
    char limit[MEM_HINT_BYTES];
    mem_limit_hint(limit);
    (void)snprintf(p->how, sizeof p->how, "%s %lld%s", signum ? "signal" : "exit",
                   signum ? (long long)signum : (long long)status, p->good ? "" : limit);
    end_probe(p);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct server_probe *p = handle->data;
    *buf = uv_buf_init(p->line + p->length, (unsigned)(SERVER_PROBE_LINE - 1 - p->length));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct server_probe *p = stream->data;
    if (n > 0) {
        p->length += (size_t)n;
        p->line[p->length] = '\0';
    }
    if (n < 0 || p->length == SERVER_PROBE_LINE - 1) {
        (void)uv_read_stop(stream);
        p->read_whole = true;
        end_probe(p);
    }
}

/* Whether this machine can compute as the run does. */
static bool runs_here(const struct wire_welcome *w)
{
    uint32_t level = 0;
    return cpu_level_from(w->kernels, &level) && cpu_runs(level) &&
           (strcmp(w->precision, "bf16") != 0 || cpu_has_bf16());
}

/* Our environment; NULL without memory. Failpoints name places in this program and are left out. */
static char **probe_environment(void)
{
    size_t n = 0;
    size_t kept = 0;
    while (environ[n]) {
        n++;
    }
    char **out = mem_calloc(n + 1, sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
#ifdef PFT_FAILPOINTS
        if (strncmp(environ[i], "PFT_FAILPOINT=", 14) == 0) {
            continue;
        }
#endif
        out[kept++] = environ[i];
    }
    return out;
}

/* The pft-worker beside this program. */
static enum err find_worker(char program[FILE_PATH_BYTES], struct errbuf *e)
{
    char self[FILE_PATH_BYTES];
    char folder[FILE_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return err_set(e, ERR_IO, "cannot tell where this program lies");
    }
    self[n] = '\0';
    file_folder_of(folder, self);
    return file_join(program, folder, "pft-worker", e);
}

static enum err start(struct server *s, struct errbuf *e)
{
    char program[FILE_PATH_BYTES];
    char lora[96];
    char seed[32];
    char tiles[32];
    const struct wire_welcome *w = &s->cfg.welcome;
    enum err error = find_worker(program, e);
    if (error != OK) {
        return error;
    }
    (void)snprintf(lora, sizeof lora, "%u,%.9g,%u,%.9g", w->lora_r, (double)w->lora_alpha,
                   w->lora_targets, (double)w->lora_dropout);
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)w->seed);
    (void)snprintf(tiles, sizeof tiles, "%u,%u", w->tile_rows, w->tile_cols);
    char *argv[] = {program,
                    (char *)(uintptr_t) "--probe",
                    (char *)(uintptr_t) "--model",
                    (char *)(uintptr_t)s->cfg.model_path,
                    (char *)(uintptr_t) "--kernels",
                    (char *)(uintptr_t)w->kernels,
                    (char *)(uintptr_t) "--lora",
                    lora,
                    (char *)(uintptr_t) "--precision",
                    (char *)(uintptr_t)w->precision,
                    (char *)(uintptr_t) "--seed",
                    seed,
                    (char *)(uintptr_t) "--tiles",
                    tiles,
                    NULL};
    struct server_probe *p = mem_calloc(1, sizeof *p);
    char **environment = probe_environment();
    if (!p || !environment) {
        mem_free(p);
        mem_free(environment);
        return err_set(e, ERR_NOMEM, "no memory for the probe");
    }
    uv_file ends[2];
    int code = uv_pipe(ends, UV_NONBLOCK_PIPE, 0);
    if (code != 0) {
        mem_free(p);
        mem_free(environment);
        return err_set(e, ERR_IO, "no pipe for the probe: %s", uv_strerror(code));
    }
    CHECK(uv_pipe_init(&s->loop, &p->out, 0) == 0);
    CHECK(uv_pipe_open(&p->out, ends[0]) == 0);
    p->server = s;
    p->process.data = p->out.data = p;
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
                                     {.flags = UV_INHERIT_FD, .data.fd = ends[1]}};
    const uv_process_options_t options = {.file = program,
                                          .args = argv,
                                          .env = environment,
                                          .exit_cb = on_probe_exit,
                                          .stdio = stdio,
                                          .stdio_count = 3};
    code = uv_spawn(&s->loop, &p->process, &options);
    mem_free(environment);
    (void)close(ends[1]);
    if (code != 0) {
        close_probe(p);
        return err_set(e, ERR_IO, "%s: %s", program, uv_strerror(code));
    }
    s->probe = p;
    (void)uv_read_start((uv_stream_t *)&p->out, on_alloc, on_read);
    return OK;
}

void server_probe_start(struct server *s)
{
    struct errbuf e = {{0}};
    if (!runs_here(&s->cfg.welcome)) {
        log_event(LOG_WARN, "probe_elsewhere",
                  "this machine cannot run kernels %s in %s; the first worker's digest decides",
                  s->cfg.welcome.kernels, s->cfg.welcome.precision);
        return;
    }
    s->own_probe_pending = true;
    if (start(s, &e) != OK) {
        without_own(s, e.text);
    }
}

void server_probe_stop(struct server *s)
{
    if (s->probe) {
        s->probe->server = NULL;
        (void)uv_process_kill(&s->probe->process, SIGKILL);
        s->probe = NULL;
    }
}
