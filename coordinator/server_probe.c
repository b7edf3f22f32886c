/* server_probe.c - the run's own probe: a pft-worker of this machine computes the digest that every
 * worker must show. Once per run; the digest is kept. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "coordinator/server_state.h"

enum { DIGEST_HEX = 2 * WIRE_DIGEST_BYTES };

static bool read_digest(const struct server_probe *p, uint8_t digest[WIRE_DIGEST_BYTES])
{
    return p->length >= DIGEST_HEX && hash_from_hex(p->line, WIRE_DIGEST_BYTES, digest);
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

static void digest_known(struct server *s, const struct server_probe *p, bool good, int64_t status,
                         int signum)
{
    s->own_probe_pending = false;
    s->own_probe_known = good && read_digest(p, s->own_probe);
    if (s->own_probe_known) {
        log_event(LOG_INFO, "probe", "digest=%.*s", DIGEST_HEX, p->line);
        dispatch_expect_probe(s->dispatch, s->own_probe);
        s->events.probe(s->events.ctx, s->own_probe);
    } else {
        log_event(LOG_WARN, "probe_failed", "exit=%lld signal=%d; the first worker's decides",
                  (long long)status, signum);
    }
    for (size_t i = 0; i < s->n_peers; i++) {
        if (s->peers[i].used && s->peers[i].probe_waits) {
            s->peers[i].probe_waits = false;
            server_judge_probe(s, &s->peers[i], s->peers[i].probe);
        }
    }
}

static void on_probe_exit(uv_process_t *process, int64_t status, int signum)
{
    struct server_probe *p = process->data;
    struct server *s = p->server;
    if (s) {
        s->probe = NULL;
    }
    if (s && !s->ended) {
        digest_known(s, p, status == 0 && signum == 0, status, signum);
    }
    close_probe(p);
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
    }
}

enum err server_probe_start(struct server *s, struct errbuf *e)
{
    char self[FILE_PATH_BYTES];
    char folder[FILE_PATH_BYTES];
    char program[FILE_PATH_BYTES];
    char lora[96];
    char seed[32];
    char tiles[32];
    const struct wire_welcome *w = &s->cfg.welcome;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return err_set(e, ERR_IO, "cannot tell where this program lies");
    }
    self[n] = '\0';
    file_folder_of(folder, self);
    enum err error = file_join(program, folder, "pft-worker", e);
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
    if (!p) {
        return err_set(e, ERR_NOMEM, "no memory for the probe");
    }
    CHECK(uv_pipe_init(&s->loop, &p->out, 0) == 0);
    p->server = s;
    p->process.data = p->out.data = p;
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->out},
        {.flags = UV_INHERIT_FD, .data.fd = 2}};
    const uv_process_options_t options = {
        .file = program, .args = argv, .exit_cb = on_probe_exit, .stdio = stdio, .stdio_count = 3};
    int code = uv_spawn(&s->loop, &p->process, &options);
    if (code != 0) {
        close_probe(p);
        return err_set(e, ERR_IO, "%s: %s", program, uv_strerror(code));
    }
    s->probe = p;
    (void)uv_read_start((uv_stream_t *)&p->out, on_alloc, on_read);
    return OK;
}

void server_probe_stop(struct server *s)
{
    if (s->probe) {
        s->probe->server = NULL;
        (void)uv_process_kill(&s->probe->process, SIGKILL);
        s->probe = NULL;
    }
}
