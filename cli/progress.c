/* progress.c - one line that says how far a run is. */
#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/wire/status_message.h"

enum { BAR_CELLS = 24, PLAIN_EVERY_MS = 10000, LINE_BYTES = 2048 };

void progress_init(struct progress *p)
{
    *p = (struct progress){.terminal = isatty(STDERR_FILENO) != 0};
}

static void duration(char out[16], double seconds)
{
    if (!(seconds >= 0.0) || seconds > 360000.0) {
        (void)snprintf(out, 16, "--:--");
        return;
    }
    unsigned total = (unsigned)(seconds + 0.5);
    if (total >= 3600) {
        (void)snprintf(out, 16, "%u:%02u:%02u", total / 3600, total / 60 % 60, total % 60);
    } else {
        (void)snprintf(out, 16, "%02u:%02u", total / 60, total % 60);
    }
}

static void bar(char out[BAR_CELLS + 1], uint64_t done, uint64_t total)
{
    uint64_t cells = total > 0 ? done * BAR_CELLS / total : 0;
    for (uint64_t i = 0; i < BAR_CELLS; i++) {
        out[i] = i < cells ? '#' : '.';
    }
    out[BAR_CELLS] = '\0';
}

/* Training counts steps; everything else counts units. */
static void position(const struct status *s, uint64_t *done, uint64_t *total, const char **what)
{
    if (strcmp(s->task, "train") == 0) {
        *done = s->step_committed;
        *total = s->step_total;
        *what = "step";
        return;
    }
    *done = s->units_done;
    *total = s->units_done + s->units_queued + s->units_leased;
    *what = "unit";
}

static void render(char line[LINE_BYTES], const struct status *s)
{
    char cells[BAR_CELLS + 1];
    char eta[16];
    char loss[32] = "";
    char kl[32] = "";
    char pairs[48] = "";
    char busy[24] = "";
    uint64_t done;
    uint64_t total;
    const char *what;
    position(s, &done, &total, &what);
    bar(cells, done, total);
    duration(eta, s->eta_s);
    if (!isnan(s->loss) && strcmp(s->task, "train") == 0) {
        (void)snprintf(loss, sizeof loss, "loss %.4f  ", s->loss);
        if (!isnan(s->kl)) {
            (void)snprintf(kl, sizeof kl, "KL %.4f  ", s->kl);
        }
        (void)snprintf(pairs, sizeof pairs, "%.2f pairs/s  ", s->pairs_per_s);
    }
    if (!isnan(s->utilisation)) {
        (void)snprintf(busy, sizeof busy, " %.0f%% busy", 100.0 * s->utilisation);
    }
    (void)snprintf(line, LINE_BYTES,
                   "%-12s [%s] %s %llu/%llu  %s%s%s%.0f tokens/s  %u worker%s%s  ETA %s%s%s%s",
                   s->task, cells, what, (unsigned long long)done, (unsigned long long)total, loss,
                   kl, pairs, s->tokens_per_s, s->n_workers, s->n_workers == 1 ? "" : "s", busy,
                   eta, s->text[0] ? "  " : "",
                   strcmp(s->state, "degraded") == 0 ? "degraded: " : "", s->text);
}

void progress_show(struct progress *p, const struct status *s, uint64_t now_ms)
{
    char line[LINE_BYTES];
    render(line, s);
    bool new_task = strncmp(p->last_task, s->task, sizeof p->last_task - 1) != 0;
    if (p->terminal) {
        if (new_task) {
            progress_end(p);
        }
        (void)fprintf(stderr, "\r\033[K%.*s", 200, line);
        (void)fflush(stderr);
        p->open = true;
    } else if (new_task || now_ms - p->last_ms >= PLAIN_EVERY_MS) {
        (void)fprintf(stderr, "%s\n", line);
        p->last_ms = now_ms;
    }
    (void)snprintf(p->last_task, sizeof p->last_task, "%s", s->task);
}

void progress_end(struct progress *p)
{
    if (p->open) {
        (void)fputc('\n', stderr);
        p->open = false;
    }
}
