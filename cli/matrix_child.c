/* matrix_child.c - a loop around one child. */
#include "cli/matrix_child.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "cli/children.h"
#include "cli/cli.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

enum { WORDS_MAX = 600, TICK_MS = 1000 };

struct watch {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t interrupt, terminate, stop;
    struct child child;
    struct matrix_child *out;
    uint64_t begin_ms;
    int interrupts;
};

static void ended(struct child *child, void *context)
{
    struct watch *w = context;
    (void)child;
    uv_stop(&w->loop);
}

static double seconds_since(uint64_t begin_ms)
{
    return (double)(clock_now_ms() - begin_ms) * 1e-3;
}

static void on_tick(uv_timer_t *timer)
{
    struct watch *w = timer->data;
    if (w->out->tick) {
        w->out->tick(w->out->context, seconds_since(w->begin_ms));
    }
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct watch *w = handle->data;
    (void)signum;
    child_signal(&w->child, w->interrupts++ == 0 ? SIGTERM : SIGKILL);
}

static void on_stop(uv_signal_t *handle, int signum)
{
    struct watch *w = handle->data;
    child_signal(&w->child, signum);
    clock_pause(); /* until fg or bg */
    child_signal(&w->child, SIGCONT);
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static enum err start(struct watch *w, const struct matrix_words *words, struct errbuf *e)
{
    char bin[FILE_PATH_BYTES];
    const char *argv[WORDS_MAX + 2] = {NULL};
    int n = 1;
    for (uint32_t i = 0; i < words->n && n < WORDS_MAX; i++) {
        argv[n++] = words->items[i];
    }
    argv[n] = NULL;
    (void)snprintf(w->child.log, sizeof w->child.log, "%s", w->out->log);
    w->child.capture = w->out->capture;
    w->child.on_end = ended;
    w->child.context = w;
    enum err error = children_folder(bin, e);
    return error == OK ? child_start(&w->loop, &w->child, bin, "pft", argv, e) : error;
}

enum err matrix_child_run(struct matrix_child *c, const struct matrix_words *words,
                          struct errbuf *e)
{
    struct watch *w = mem_calloc(1, sizeof *w);
    if (!w) {
        return err_set(e, ERR_NOMEM, "no memory to start a child");
    }
    w->out = c;
    w->begin_ms = clock_now_ms();
    w->timer.data = w->interrupt.data = w->terminate.data = w->stop.data = w;
    (void)uv_loop_init(&w->loop);
    (void)uv_timer_init(&w->loop, &w->timer);
    (void)uv_signal_init(&w->loop, &w->interrupt);
    (void)uv_signal_init(&w->loop, &w->terminate);
    (void)uv_signal_init(&w->loop, &w->stop);
    (void)uv_signal_start(&w->stop, on_stop, SIGTSTP);
    (void)uv_signal_start(&w->interrupt, on_signal, SIGINT);
    (void)uv_signal_start(&w->terminate, on_signal, SIGTERM);
    (void)uv_timer_start(&w->timer, on_tick, TICK_MS, TICK_MS);
    enum err error = start(w, words, e);
    if (error == OK) {
        (void)uv_run(&w->loop, UV_RUN_DEFAULT);
        c->seconds = seconds_since(w->begin_ms);
        c->code = w->interrupts > 0 ? CLI_INTERRUPTED : (int)w->child.exit_code;
        if (c->code != CLI_OK && c->code != CLI_INTERRUPTED && !c->quiet) {
            (void)fprintf(stderr, "pft: its last words (%s):\n", w->child.log);
            child_print_tail(&w->child);
        }
    }
    uv_walk(&w->loop, close_handle, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&w->loop);
    mem_free(w);
    return error;
}
